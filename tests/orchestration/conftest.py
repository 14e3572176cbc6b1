"""A trained run in files: flow store, teacher weights, and the flags of a short experiment."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration import teacher
from results.ledger import Ledger
from results.records import comparable
from tests.conftest import make_clips, write_store


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `flows` (5 subjects) and `teacher.safetensors`."""
    root = tmp_path_factory.mktemp("site")
    write_store(root / "flows", make_clips(5, 6))
    macro = write_store(root / "macro", make_clips(4, 6, "synthetic-macro"), seed=1)
    words = ["--flows", str(macro), "--out", str(root / "teacher.safetensors")]
    assert teacher.main([*words, "--input-size", "32", "--epochs", "4"]) == 0
    return root


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
