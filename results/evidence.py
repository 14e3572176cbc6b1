"""What a run page and a comparison show beside the board's figures, read from the records.

Beside the records, all optional; a page says where one is missing:
- curves named ``alignment_stage_<n>`` in a record: the alignment loss of stage n by epoch;
- ``features/<fold>.json`` beside ``folds``: see `Features`;
- ``events.jsonl``: one JSON object per line with ``at`` (ISO 8601) and ``event``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dadnet.errors import DadnetError
from dadnet.tasks import has
from results.canonical import (
    SCHEMA,
    check_digest,
    check_keys,
    check_list,
    check_names,
    check_numbers,
    check_text,
    seal,
    unseal,
)
from results.ledger import Ledger, file_name, write_once
from results.records import Experiment, FoldRecord, Prediction
from results.studies import base_config

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Features:
    """The student's pooled features of a fold's test clips, before the linear layer.

    Attributes:
        experiment: digest; fold: name.
        clip_ids: (N,) of the test clips.
        features: (N, D).
        class_means: (K, D), the mean feature of the fit clips of each class. Every fold has its
            own student, whose axes mean nothing elsewhere; relative to its own class means a
            clip can be shown beside those of other folds.
    """

    experiment: str
    fold: str
    clip_ids: tuple[str, ...]
    features: FloatArray
    class_means: FloatArray

    def __post_init__(self) -> None:
        check_digest("the experiment of the features", self.experiment)
        check_text("fold", self.fold)
        check_names("clips of the features", self.clip_ids, least=1)
        shapes = (self.features.shape, self.class_means.shape)
        if (
            self.features.ndim != 2
            or self.class_means.ndim != 2
            or len(self.features) != len(self.clip_ids)
            or shapes[0][1] != shapes[1][1]
        ):
            raise DadnetError(f"expected features (N, D) and class means (K, D), got: {shapes}")
        if not (np.isfinite(self.features).all() and np.isfinite(self.class_means).all()):
            raise DadnetError("expected finite features, got: NaN or infinity")

    def to_json(self) -> str:
        """Return the sealed text; values are rounded to six significant digits."""
        return seal(
            {
                "schema": SCHEMA,
                "experiment": self.experiment,
                "fold": self.fold,
                "clip_ids": list(self.clip_ids),
                "features": _rounded(self.features),
                "class_means": _rounded(self.class_means),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Features:
        """Return the features of `to_json`'s text; raises `DadnetError` on damage."""
        keys = ("schema", "experiment", "fold", "clip_ids", "features", "class_means")
        value = check_keys("features", unseal(text, "features"), keys)
        tables = {
            name: np.array(
                [check_numbers(name, row) for row in check_list(name, value[name])], dtype=float
            )
            for name in ("features", "class_means")
        }
        clip_ids = check_names("clip_ids", value["clip_ids"], least=1)
        return cls(value["experiment"], value["fold"], clip_ids, **tables)


def put_features(ledger: Ledger, experiment: Experiment, features: Features) -> bool:
    """Store a fold's features once, atomically; False if there are some already."""
    name = f"{file_name(features.fold)}.json"
    path = ledger.folder(experiment) / "features" / name
    return write_once(path, features.to_json() + "\n")


def read_features(ledger: Ledger, experiment: Experiment) -> list[Features]:
    """Return the stored features of the experiment's folds; none is no error, damage is one.

    Raises:
        DadnetError: naming the damaged file.
    """
    found = []
    for fold in experiment.folds:
        path = ledger.folder(experiment) / "features" / f"{file_name(fold.name)}.json"
        if path.exists():
            try:
                features = Features.from_json(path.read_bytes())
                if (features.experiment, features.fold) != (experiment.digest, fold.name):
                    raise DadnetError("it belongs to another fold")
            except DadnetError as error:
                raise DadnetError(f"{path}: {error}") from error
            found.append(features)
    return found


def read_events(ledger: Ledger, experiment: Experiment) -> list[dict[str, Any]]:
    """Return the event log; a half-written last line is left out, any other damage is an error."""
    path = ledger.events_path(experiment)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise DadnetError(f"line {number} of {path} is no JSON: {error}") from error
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events


def corners(num_classes: int) -> FloatArray:
    """Return the corners of the map, (K, 2): a regular polygon, the first one on top."""
    angle = math.pi / 2 + 2 * math.pi * np.arange(num_classes) / num_classes
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def map_of_features(folds: Sequence[Features]) -> dict[str, tuple[float, float]]:
    """Return the place of each clip between its fold's class means, by clip.

    The affine coordinates of the clip's feature with respect to the class means (least squares,
    they sum to 1) weigh the corners of the polygon.
    """
    places: dict[str, tuple[float, float]] = {}
    for fold in folds:
        means = fold.class_means
        axes = (means[1:] - means[0]).T  # (D, K - 1)
        shares, *_ = np.linalg.lstsq(axes, (fold.features - means[0]).T, rcond=None)
        weights = np.concatenate([1 - shares.sum(axis=0, keepdims=True), shares]).T  # (N, K)
        for name, place in zip(fold.clip_ids, weights @ corners(len(means)), strict=True):
            places[name] = (float(place[0]), float(place[1]))
    return places


def map_of_probabilities(rows: Sequence[Prediction]) -> dict[str, tuple[float, float]]:
    """Return the place of each clip between the corners, weighed by its probabilities.

    A clip with several labels has no such place.
    """
    places: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row.probabilities is not None and isinstance(row.label, str):
            x, y = np.array(row.probabilities) @ corners(len(row.probabilities))
            places[row.clip_id] = (float(x), float(y))
    return places


def hardest(rows: Sequence[Prediction], classes: Sequence[str], number: int) -> list[Prediction]:
    """Return the wrong clips, those that were surest to be something else first."""
    wrong = [row for row in rows if row.label != row.prediction]

    def share(row: Prediction) -> float:
        return probability_of_truth(row, classes) or 0.0

    return sorted(wrong, key=lambda row: (share(row), row.clip_id))[:number]


def probability_of_truth(row: Prediction, classes: Sequence[str]) -> float | None:
    """Return the probability given to a clip's class, or to its labels and no others together."""
    known = row.probabilities
    if known is None:
        return None
    if isinstance(row.label, str):
        return known[list(classes).index(row.label)]
    return math.prod(
        p if has(row.label, name) else 1 - p for name, p in zip(classes, known, strict=True)
    )


def reproduce(experiment: Experiment, num_trials: int | None = None) -> str:
    """Return the command that makes the experiment again.

    Flags are the fields of the stored config, which is also what the command line is made from.

    Args:
        experiment: of a run, of an import, or a nested estimate.
        num_trials: of each search behind a nested estimate, where it is known.
    """
    config: Mapping[str, Any] = experiment.config
    if config.get("source") == "import":
        return (
            f"python -m results import FILE.csv --method {_quoted(experiment.method)} "
            f"--dataset {_quoted(experiment.dataset)} --protocol {experiment.protocol} "
            f"--selection {experiment.selection}"
        )
    search, config = config.get("search"), base_config(config)
    program = "run_loso" if search is None else "tune"
    words = [f"python -m orchestration.{program}", f"--flows flows/{_quoted(experiment.dataset)}"]
    if search is not None:
        words.append(f"--selection nested --outer-groups {len(search['outer_groups'])}")
        named = {name: search[name] for name in ("space", "pruning", "folds_per_trial")}
        words += [_flag(name, value) for name, value in named.items() if value is not None]
        words += [] if num_trials is None else [f"--num-trials {num_trials}"]
        config["data"] = {n: v for n, v in config["data"].items() if n != "selection"}
    if experiment.teacher_digest is not None:
        words.append("--macro-weights teacher.safetensors")
    for part in sorted(config):
        fields = config[part]
        values = fields if isinstance(fields, Mapping) else {part: fields}
        words += [_flag(name, value) for name, value in sorted(values.items())]
    return " \\\n  ".join(word for word in words if word)


# Switches that are on unless they are turned off.
_ON = ("stn", "channel_attention")


def _flag(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        if value == (name in _ON):
            return ""
        return f"--{flag}" if value else f"--no-{flag}"
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return f"--{flag} {_quoted(str(value))}"


def _quoted(text: str) -> str:
    plain = text and all(c.isascii() and (c.isalnum() or c in "-_./,+:") for c in text)
    return text if plain else "'" + text.replace("'", "'\"'\"'") + "'"


def environment(records: Sequence[FoldRecord]) -> list[tuple[str, str]]:
    """Return what the folds say of where they were made: name and values with counts."""
    seen: dict[str, dict[str, int]] = {}
    for record in records:
        host = dict(record.host)
        versions = host.pop("versions", {})
        values = {**host, **(versions if isinstance(versions, dict) else {})}
        for name, value in values.items():
            if name in ("started_at", "seconds", "pid", "worker", "tries"):
                continue
            counts = seen.setdefault(str(name), {})
            counts[str(value)] = counts.get(str(value), 0) + 1
    return [
        (name, ", ".join(f"{value} ({n})" if len(found) > 1 else value for value, n in rows))
        for name, found in sorted(seen.items())
        for rows in [sorted(found.items(), key=lambda item: (-item[1], item[0]))[:4]]
    ]


def _rounded(table: FloatArray) -> list[list[float]]:
    return [[float(f"{value:.6g}") for value in row] for row in table.tolist()]
