"""Command lines of short runs and searches, and what their ledgers hold."""

import time
from collections.abc import Callable
from pathlib import Path

from results.ledger.ledger import Ledger
from results.ledger.records import comparable


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


def wait_until(condition: Callable[[], bool], seconds: float, log: Path) -> None:
    """Wait for something to be so; fails with the log if it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not in {seconds} s: {log.read_text()}"
        time.sleep(0.05)


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
