"""Real Ray runs in processes of their own: workers and drivers are killed, records compared."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestration import run_loso
from results.ledger.ledger import Ledger
from tests.build.runs import LAST_S, below, is_alive, ledger_content, run_words, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
EPOCHS = "40"


def long_words(site: Path, ledger: Path, *more: str) -> list[str]:
    return run_words(site, ledger, "--epochs", EPOCHS, "--checkpoint-every", "2", *more)


@pytest.fixture(scope="module")
def undisturbed(site, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("undisturbed") / "runs"
    assert run_loso.main(long_words(site, ledger, "--workers", "0")) == 0
    return ledger_content(ledger)


@contextmanager
def driver(words: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """The command in a process group of its own, which is gone afterwards."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.run_loso", *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(what: str, condition, process: subprocess.Popen, log: Path, seconds: float = LAST_S):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (found := condition()) is not None:
            return found
        assert process.poll() is None, f"ended before {what}: {log.read_text()}"
        time.sleep(0.05)
    raise AssertionError(f"no {what} in {seconds} s: {log.read_text()}")


def events(ledger: Path) -> list[dict]:
    logs = [path.read_text() for path in ledger.rglob("events.jsonl")]
    return [json.loads(line) for log in logs for line in log.splitlines()]


def fold_in_progress(ledger: Path) -> str | None:
    """A fold with a checkpoint, so that its training has begun and not ended."""
    states = sorted(ledger.rglob("checkpoints/*.pt"))
    return states[0].stem.replace("%2F", "/") if states else None


def stopped_worker(ledger: Path) -> tuple[str, int] | None:
    """A fold in progress, and its worker, which is stopped: the fold cannot be finished now."""
    if (fold := fold_in_progress(ledger)) is None:
        return None
    started = [e for e in events(ledger) if (e["event"], e.get("fold")) == ("started", fold)]
    if not started:
        return None
    [worker] = {e["worker"] for e in started}
    os.kill(pid := int(worker.split("-")[1]), signal.SIGSTOP)
    if fold == fold_in_progress(ledger) and not any(
        ledger.rglob(f"folds/{quote(fold, safe='')}.json")
    ):
        return fold, pid
    os.kill(pid, signal.SIGCONT)
    return None


def finish(words: list[str], log: Path) -> str:
    with driver(words, log) as process:
        assert process.wait(LAST_S) == 0, log.read_text()
    return log.read_text()


def test_a_killed_worker_loses_nothing(site, tmp_path, undisturbed):
    ledger, log = tmp_path / "runs", tmp_path / "log"
    with driver(long_words(site, ledger, "--workers", "2"), log) as process:
        fold, pid = wait_for("stopped worker", lambda: stopped_worker(ledger), process, log)
        os.kill(pid, signal.SIGKILL)
        assert process.wait(LAST_S) == 0, log.read_text()
    assert ledger_content(ledger) == undisturbed
    returned = [e for e in events(ledger) if e["event"] == "returned"]
    assert [e["fold"] for e in returned] == [fold]
    assert "died" in returned[0]["why"] or "no heartbeat" in returned[0]["why"]
    [experiment] = Ledger(ledger).experiments()
    tries = {r.fold: r.host["tries"] for r in Ledger(ledger).records(experiment)}
    assert tries == {name: 2 if name == fold else 1 for name in tries}


def test_a_killed_driver_given_again_goes_on(site, tmp_path, undisturbed):
    ledger, log = tmp_path / "runs", tmp_path / "log"
    words = long_words(site, ledger, "--workers", "1")
    with driver(words, log) as process:
        wait_for(
            "finished fold",
            lambda: next((e for e in events(ledger) if e["event"] == "finished"), None),
            process,
            log,
        )
        rays = set(below(process.pid))
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(is_alive, rays)), LAST_S, log)
    made = {p.name: p.stat().st_mtime_ns for p in ledger.rglob("folds/*.json")}
    assert 0 < len(made) < 5
    text = finish(words, log)
    assert f"{len(made)} of 5 folds are in" in text
    assert ledger_content(ledger) == undisturbed
    after = {p.name: p.stat().st_mtime_ns for p in ledger.rglob("folds/*.json")}
    assert all(after[name] == made[name] for name in made)


def test_ctrl_c_keeps_what_is_finished_and_exits_3(site, tmp_path, undisturbed):
    ledger, log = tmp_path / "runs", tmp_path / "log"
    words = long_words(site, ledger, "--workers", "1")
    with driver(words, log) as process:
        wait_for("checkpoint", lambda: fold_in_progress(ledger), process, log)
        process.send_signal(signal.SIGINT)
        assert process.wait(LAST_S) == 3, log.read_text()
    text = log.read_text()
    assert "interrupted; finished folds and checkpoints are kept" in text
    assert "Traceback" not in text
    assert run_loso.main([*words, "--workers", "0"]) == 0
    assert ledger_content(ledger) == undisturbed


def test_sigterm_in_one_process_keeps_the_epoch_and_exits_3(site, tmp_path, undisturbed):
    ledger, log = tmp_path / "runs", tmp_path / "log"
    words = run_words(site, ledger, "--epochs", EPOCHS, "--workers", "0", "--checkpoint-every")
    with driver([*words, "1000"], log) as process:
        wait_for(
            "start",
            lambda: next((e for e in events(ledger) if e["event"] == "started"), None),
            process,
            log,
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(LAST_S) == 3, log.read_text()
    kinds = [event["event"] for event in events(ledger)]
    assert kinds[-2:] == ["yielded", "ended"]
    assert fold_in_progress(ledger) is not None
    assert run_loso.main([*words, "1000"]) == 0
    assert ledger_content(ledger) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_all_processes_of_a_run_keeps_the_states_and_exits_3(
    number, site, tmp_path, undisturbed
):
    # A closed terminal sends SIGHUP to Ray's processes too, SLURM's --signal=USR1 likewise.
    ledger, log = tmp_path / "runs", tmp_path / "log"
    words = run_words(site, ledger, "--epochs", EPOCHS, "--workers", "1", "--checkpoint-every")
    with driver([*words, "1"], log) as process:
        wait_for("state", lambda: fold_in_progress(ledger), process, log)
        os.killpg(process.pid, number)
        assert process.wait(LAST_S) == 3, log.read_text()
    assert events(ledger)[-1]["event"] == "ended"
    assert run_loso.main([*words, "1", "--workers", "0"]) == 0
    assert ledger_content(ledger) == undisturbed


def test_a_fold_that_always_breaks_is_given_up_and_the_others_finish(site, tmp_path):
    # Its checkpoint can neither be read nor set aside: a folder has the name.
    ledger, log = tmp_path / "runs", tmp_path / "log"
    words = run_words(site, ledger, "--workers", "1", "--epochs", "2", "--warmup-epochs", "0")
    assert run_loso.main([*words, "--workers", "0"]) == 0
    [record] = ledger.rglob("folds/synthetic%2Fsub03.json")
    for path in ledger.rglob("folds/*.json"):
        path.unlink()
    checkpoint = record.parent.parent / "checkpoints" / "synthetic%2Fsub03.pt"
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.write_bytes(b"damaged")
    checkpoint.with_name(f"{checkpoint.name}.damaged").mkdir()
    with driver([*words, "--checkpoint-every", "1"], log) as process:
        assert process.wait(LAST_S) == 3, log.read_text()
    text = log.read_text()
    assert "fold synthetic/sub03 given up after try 3" in text
    assert "1 of 5 folds are missing" in text
    assert len(list(ledger.rglob("folds/*.json"))) == 4
