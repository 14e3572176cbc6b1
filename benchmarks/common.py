"""Ratios measured side by side: ways take turns; medians and spread are stored with the machine."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one way: median, quartiles and number of repetitions."""

    median_s: float
    low_s: float
    high_s: float
    repeats: int


def measure(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time several ways in turn, so that a noisy minute affects all of them.

    Args:
        ways: name and the work to time; each runs once before, without timing.
        repeats: rounds.
    """
    for work in ways.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            started = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    return {name: _timing(values) for name, values in seconds.items()}


def _timing(values: list[float]) -> Timing:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return Timing(statistics.median(values), low, high, len(values))


def machine() -> dict[str, Any]:
    """Processor, cores, versions."""
    cpu = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
    }


def quiet(most: float = 1.0) -> float:
    """The load of the last minute; a machine with other work gives no figures."""
    load = os.getloadavg()[0]
    if load > most:
        raise SystemExit(f"the load is {load:.1f}: wait until it is at most {most:g}")
    return load


def arguments(
    description: str | None, repeats: int, switches: Mapping[str, str] | None = None
) -> argparse.Namespace:
    """`--json FILE`, `--repeats N` and `--device NAME`, equal for all benchmarks.

    Args:
        description: of the script.
        repeats: default of `--repeats`.
        switches: name and help of further switches.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds of every way")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is")
    for name, meaning in (switches or {}).items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    return parser.parse_args()


def report(name: str, rows: list[dict[str, Any]], out: Path | None) -> None:
    """Print rows; write them with the machine if a file is given."""
    for row in rows:
        print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                        for k, v in row.items()))  # fmt: skip
    if out is not None:
        write(name, rows, out)


def write(name: str, rows: list[dict[str, Any]], out: Path) -> None:
    """Write rows and the machine to a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"benchmark": name, "machine": machine(), "rows": rows}, indent=1)
    out.write_text(text + "\n", encoding="utf-8")


def as_row(timings: Mapping[str, Timing], per: int = 1) -> dict[str, Any]:
    """Milliseconds per unit of each way, with quartiles.

    Args:
        timings: of :func:`measure`.
        per: units of work in one repetition.
    """
    row: dict[str, Any] = {}
    for name, timing in timings.items():
        scaled = {k: v * 1000 / per for k, v in asdict(timing).items() if k != "repeats"}
        row[f"{name}_ms"] = scaled["median_s"]
        row[f"{name}_ms_quartiles"] = [round(scaled["low_s"], 3), round(scaled["high_s"], 3)]
    return row
