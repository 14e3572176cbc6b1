"""The command that makes an experiment again, and where its folds were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

from results.ledger.records import Experiment, FoldRecord
from results.ledger.sources import source_path, sources_of
from results.ledger.studies import base_config


def reproduce(
    experiment: Experiment,
    num_trials: int | None = None,
    *,
    flows: str | None = None,
    ledger: str | None = None,
) -> str:
    """Return the command that makes the experiment again.

    Flags are the fields of the stored config, which is also what the command line is made from.

    Args:
        experiment: of a run, of an import, or a nested estimate.
        num_trials: of each search behind a nested estimate, where it is known.
        flows: folder of the flow store; by default, where ``ingest`` puts it.
        ledger: folder of the ledger, to go on in it.
    """
    config: Mapping[str, Any] = experiment.config
    if config.get("source") == "import":
        return (
            f"dadnet import FILE.csv --method {quote(experiment.method)} "
            f"--dataset {quote(experiment.dataset)} --protocol {experiment.protocol} "
            f"--selection {experiment.selection}"
        )
    search, config = config.get("search"), base_config(config)
    verb = "loso" if search is None else "tune"
    words = [f"dadnet {verb}", f"--flows {quote(flows or f'flows/{experiment.dataset}')}"]
    words += [] if ledger is None else [f"--ledger {quote(ledger)}"]
    if search is not None:
        words.append(f"--selection nested --outer-groups {len(search['outer_groups'])}")
        named = {name: search[name] for name in ("space", "pruning", "folds_per_trial")}
        words += [_flag(name, value) for name, value in named.items() if value is not None]
        words += [] if num_trials is None else [f"--num-trials {num_trials}"]
        config["data"] = {n: v for n, v in config["data"].items() if n != "selection"}
    if experiment.teacher_digest is not None:
        words.append("--macro-weights teacher.safetensors")
    config = _with_source_paths(
        config, f"{ledger or 'runs'}/{experiment.dataset}/{experiment.digest}"
    )
    for part in sorted(config):
        fields = config[part]
        values = fields if isinstance(fields, Mapping) else {part: fields}
        words += [_flag(name, value) for name, value in sorted(values.items())]
    return " \\\n  ".join(word for word in words if word)


def shown_path(path: object) -> str:
    """Return a path for a page that others read: not where it lies in somebody's home."""
    text = str(path)
    if "://" in text or not Path(text).is_absolute():
        return text
    here = Path.cwd()
    return str(Path(text).relative_to(here)) if Path(text).is_relative_to(here) else Path(text).name


def _with_source_paths(config: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """A config that names a user's own source by its files in the ledger."""
    named: dict[str, Any] = {
        name: dict(part) if isinstance(part, Mapping) else part for name, part in config.items()
    }
    for flag, code in sources_of(config).items():
        section = "model" if flag == "model" else "optim"
        named[section][flag] = f"{folder}/{source_path(flag, code)}"
    return named


# Switches that are on unless they are turned off.
_ON = ("stn", "channel_attention")


def _flag(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        if value == (name in _ON):
            return ""
        return f"--{flag}" if value else f"--no-{flag}"
    if isinstance(value, Mapping):
        words = [quote(f"{key}={json.dumps(part)}") for key, part in sorted(value.items())]
        return " ".join([f"--{flag}", *words])
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return f"--{flag} {quote(str(value))}"


# Of each fold by itself, or names of a machine, which are nobody's business on a published page.
_NOT_SHOWN = ("started_at", "seconds", "pid", "worker", "tries", "hostname")


def made_when(records: Sequence[FoldRecord]) -> str:
    """Return the day, the duration and the devices of a run in words; "" if none is known."""
    spans = []
    for record in records:
        started, seconds = record.host.get("started_at"), record.host.get("seconds")
        if isinstance(started, str) and isinstance(seconds, (int, float)):
            spans.append((datetime.fromisoformat(started), float(seconds)))
    names = [record.host.get("gpu_name") or record.host.get("device") for record in records]
    devices = sorted({str(name) for name in names if name})
    parts = [f"on {', '.join(devices)}"] if devices else []
    if spans:
        first = min(begun for begun, _ in spans)
        wall = max((begun - first).total_seconds() + seconds for begun, seconds in spans)
        training = sum(seconds for _, seconds in spans)
        parts.insert(0, f"{first:%Y-%m-%d} in {duration(wall)}")
        parts.append(f"{duration(training)} of training over all folds")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration for people.

    >>> duration(7), duration(400), duration(9000)
    ('7 s', '6 min 40 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def environment(records: Sequence[FoldRecord]) -> list[tuple[str, str]]:
    """Return the machines and versions of the folds: name, and values with counts."""
    seen: dict[str, dict[str, int]] = {}
    for record in records:
        host = dict(record.host)
        versions = host.pop("versions", {})
        if host.get("device", "cpu") != "cpu" and "stack" in host:
            # Numbers of a GPU depend on the stack by rounding.
            host["stack"] = f"folds trained in stacks of {host['stack']} on {host['device']}"
        values = {**host, **(versions if isinstance(versions, dict) else {})}
        for name, value in values.items():
            if name in _NOT_SHOWN:
                continue
            counts = seen.setdefault(str(name), {})
            counts[str(value)] = counts.get(str(value), 0) + 1
    return [
        (name, ", ".join(f"{value} ({n})" if len(numbers) > 1 else value for value, n in rows))
        for name, numbers in sorted(seen.items())
        for rows in [sorted(numbers.items(), key=lambda item: (-item[1], item[0]))[:4]]
    ]
