"""Command lines of short runs and searches, and what their ledgers hold."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from results.ledger.ledger import Ledger
from results.ledger.records import comparable

LAST_S = 300.0  # what takes longer hangs, also on a busy machine


def run_words(site: Path, ledger: Path, *more: str) -> list[str]:
    """Flags of a short run; `--workers 0` keeps it in this process."""
    return [
        "--flows", str(site / "flows"), "--ledger", str(ledger), "--input-size", "32",
        "--epochs", "6", "--macro-weights", str(site / "teacher.safetensors"),
        "--num-projections", "8", *more,
    ]  # fmt: skip


def ledger_content(ledger: Path) -> dict[str, dict]:
    """Everything that two runs must agree on, by fold."""
    found = Ledger(ledger)
    [experiment] = found.experiments()
    return {record.fold: comparable(record) for record in found.records(experiment)}


def wait_until(
    condition: Callable[[], bool], seconds: float = LAST_S, log: Path | None = None
) -> None:
    """Wait for something to be so; fails with the log if it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not in {seconds} s: {log.read_text() if log else ''}"
        time.sleep(0.05)


def below(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    with suppress(OSError):  # one that has just ended
        for thread in Path("/proc", str(pid), "task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from below(child)


def is_alive(pid: int) -> bool:
    """Whether a process has not ended; a zombie has."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tune_words(site: Path, root: Path, *more: str) -> list[str]:
    """Flags of a search of seconds."""
    return [
        "--flows", str(site / "flows"), "--macro-weights", str(site / "teacher.safetensors"),
        "--ledger", str(root / "runs"), "--site", str(root / "site"), "--input-size", "32",
        "--epochs", "3", "--warmup-epochs", "0", "--space", "smoke", "--num-trials", "3",
        "--startup-trials", "2", "--workers", "0", "--selection", "inner", *more,
    ]  # fmt: skip


def storage_words(flows: Path, ledger: object, *more: str) -> list[str]:
    return [
        "--flows", str(flows), "--ledger", str(ledger), "--input-size", "32", "--epochs", "2",
        "--warmup-epochs", "0", "--model-type", "baseline", "--workers", "0",
        "--checkpoint-every", "1", *more,
    ]  # fmt: skip
