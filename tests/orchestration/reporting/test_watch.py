import json
import subprocess
import sys

import pytest
from rich.console import Console

from benchmarks.dry import dry_plan, dry_record
from orchestration import main
from orchestration.folds.queue import LeaseQueue
from orchestration.reporting import watch
from orchestration.reporting.progress import Progress
from results.ledger.ledger import Ledger
from tests.build.listing import listing


class Run:
    """A run whose steps the test takes: queue, ledger and event log are real."""

    def __init__(self, root, num_folds=4) -> None:
        self.plan = dry_plan(num_folds, 0)
        self.ledger = Ledger(root)
        self.ledger.open(self.plan.experiment)
        self.names = [fold.name for fold in self.plan.folds]
        self.queue = LeaseQueue(self.names)
        self.log = self.ledger.events_path(self.plan.experiment)
        self.progress = Progress(self.log, 10, "dry", Console(quiet=True))
        self._seen = 0

    def finish(self, name: str) -> None:
        record = dry_record(self.plan, self.plan.fold(name), {})
        self.ledger.put(self.plan.experiment, record)
        self.queue.finish("w1", name)
        self.show()

    def show(self) -> None:
        snapshot = self.queue.snapshot(self._seen)
        self._seen += len(snapshot["events"])
        self.progress.show(snapshot)


def watch_once(capsys, root, *words: str) -> tuple[int, str]:
    status = main.main(["watch", "--ledger", str(root), "--once", *words])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def half_done(run: Run) -> None:
    """One fold done, one at epoch 5 in its second try, one that waits after a failure."""
    one, two, three, _ = run.names
    run.queue.claim("w1", 0)
    run.queue.claim("w1", 0)
    run.finish(one)
    run.queue.fail("w1", two, "Traceback\nRuntimeError: no [memory]")
    run.queue.claim("w1", 0)
    run.queue.inform("w1", two, {"epoch": 5, "val_uf1": 0.625})
    run.queue.claim("w2", 1)
    run.queue.put_back("w2", three, "SIGTERM")
    run.progress._news_at = float("-inf")  # it is time for news
    run.show()


def test_a_run_that_goes_on_is_seen_with_epoch_worker_retries_and_eta(run, tmp_path, capsys):
    with run.progress:
        half_done(run)
        status, text = watch_once(capsys, tmp_path)
    assert status == 3
    assert "1 of 4 folds done, 1 running, 0 failed, 1 retries; running for" in text
    assert "ETA 0" in text
    row = next(line.split() for line in text.splitlines() if run.names[1] in line)
    assert row[1:5] == ["running", "5/10", "0.625", "1"]
    assert "w1" in row
    assert "no [memory]" in text
    order = [text.index(run.names[k]) for k in (1, 2, 0)]  # running, waiting, done
    assert order == sorted(order)


def test_a_finished_run_is_complete_and_the_status_is_0(run, tmp_path, capsys):
    with run.progress:
        for _ in range(4):
            run.queue.claim("w1", 0)
        for name in run.names:
            run.finish(name)
    status, text = watch_once(capsys, tmp_path)
    assert (status, "4 of 4 folds done" in text, "complete" in text) == (0, True, True)


def test_a_run_whose_process_died_is_dead_and_its_folds_are_lost(run, tmp_path, capsys):
    run.progress.__enter__()
    half_done(run)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    lines[0]["pid"] = gone.pid
    run.log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    status, text = watch_once(capsys, tmp_path)
    assert status == 3
    assert "dead, last news" in text
    assert next(line.split()[1] for line in text.splitlines() if run.names[1] in line) == "lost"
    lines[0]["hostname"] = "elsewhere"  # where its process cannot be seen
    for line in lines:
        line["at"] = "2020-01-01T00:00:00+00:00"
    run.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "silent, last news" in watch_once(capsys, tmp_path)[1]


def test_an_interrupted_run_is_shown_as_one(run, tmp_path, capsys):
    run.progress.__enter__()
    half_done(run)
    run.progress.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "interrupted, last news" in watch_once(capsys, tmp_path)[1]


def test_the_ledger_counts_whatever_the_log_says(run, tmp_path, capsys):
    with run.progress:
        half_done(run)
    run.ledger.fold_path(run.plan.experiment, run.names[0]).unlink()
    assert "0 of 4 folds done" in watch_once(capsys, tmp_path)[1]
    run.log.unlink()
    status, text = watch_once(capsys, tmp_path, "--experiment", run.plan.experiment.digest[:6])
    assert status == 3
    assert "no run has reported yet" in text


def test_a_search_is_seen_by_its_own_log(run, tmp_path, capsys):
    log = tmp_path / ".studies" / "events.jsonl"
    run.progress = Progress(log, 10, "search", Console(quiet=True))
    with run.progress:
        half_done(run)
        status, text = watch_once(capsys, tmp_path)
        assert status == 3
        assert f"search {log.parent}: 1 of 3 folds done, 1 running" in text
    assert watch_once(capsys, tmp_path)[0] == 0


def test_a_log_that_grows_is_read_on_and_a_fresh_one_from_its_start(run, tmp_path):
    seen = watch.Watched.of(run.ledger, run.plan.experiment)
    with run.progress:
        seen.look(0)
        assert seen.run.folds == {}
        half_done(run)
        seen.look(0)
        assert seen.run.folds[run.names[1]].epoch == 5
    run.log.write_text("")
    seen.look(0)
    assert seen.run.folds == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--experiment", "ffffff"], "experiment: expected the start of one of"),
        (["--rows", "-1"], "rows: expected 0 or more, got -1"),
    ],
)
def test_what_cannot_be_shown_is_one_line(run, tmp_path, capsys, words, says):
    with run.progress:
        half_done(run)
    status, text = watch_once(capsys, tmp_path, *words)
    assert (status, says in text, text.count("\n")) == (2, True, 1)


def test_damage_costs_a_warning_and_an_empty_ledger_is_one_line(run, tmp_path, capsys):
    with run.progress:
        half_done(run)
    run.log.write_text("no json\n" + run.log.read_text())
    run.ledger.fold_path(run.plan.experiment, run.names[0]).write_text("{")
    before = listing(tmp_path)
    status, text = watch_once(capsys, tmp_path)
    assert (status, "0 of 4 folds done" in text, "1 damaged" in text) == (3, True, True)
    assert "left out: line 1 is 'no json'" in text
    assert text.count("warning: damaged ") == 1
    assert "warning: 2 files of the ledger are left out" in text
    assert listing(tmp_path) == before
    status, text = watch_once(capsys, tmp_path / "empty")
    assert (status, "expected a folder with experiments" in text) == (2, True)
