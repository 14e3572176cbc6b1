import io
import json

import pytest
from rich.console import Console

from orchestration.folds.queue import LeaseQueue
from orchestration.reporting.progress import Progress, duration, fraction_done, incomplete
from results.ledger.records import Divergence


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "00:05"), (125, "02:05"), (3725, "1:02:05"), (float("inf"), "--:--")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_running_epochs_count_as_parts_of_folds():
    queue = LeaseQueue(["a", "b", "c", "d"])
    queue.claim("w", 0)
    queue.claim("w", 0)
    queue.finish("w", "a")
    queue.inform("w", "b", {"epoch": 5})
    assert fraction_done(queue.snapshot(), epochs=10) == pytest.approx(1.5 / 4)


def show(tmp_path, *, terminal: bool) -> tuple[str, list[dict]]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    now = iter(range(0, 1000, 10))
    queue = LeaseQueue(["d/s1", "d/s2"])
    events = tmp_path / "deep" / "events.jsonl"
    with Progress(events, 10, "DAD-Net", console, clock=lambda: float(next(now))) as progress:
        queue.claim("w1", 0)
        queue.claim("w2", 1)
        queue.inform("w1", "d/s1", {"epoch": 9, "train_loss": 0.5, "val_uf1": 0.75})
        progress.show(queue.snapshot())
        seen = len(queue.snapshot()["events"])
        queue.finish("w1", "d/s1")
        queue.fail("w2", "d/s2", "Traceback\nRuntimeError: no [memory]")
        queue.message("warning", "state set aside", "w2")
        progress.show(queue.snapshot(seen))
    return out.getvalue(), [json.loads(line) for line in events.read_text().splitlines()]


def test_without_a_terminal_there_is_a_line_per_finished_fold(tmp_path):
    text, _ = show(tmp_path, terminal=False)
    assert "fold d/s1 done (1/2" in text
    assert "val UF1 0.750" in text
    assert "fold d/s2 to be tried again after try 1: RuntimeError: no [memory]" in text
    assert "warning (w2): state set aside" in text
    assert "\x1b" not in text


def test_on_a_terminal_there_is_a_live_table(tmp_path):
    text, _ = show(tmp_path, terminal=True)
    assert "0 of 2 folds done, 2 running" in text
    assert "9/10" in text
    assert "d/s2" in text


def test_the_event_log_outlives_the_run(tmp_path):
    _, events = show(tmp_path, terminal=False)
    assert [e["event"] for e in events] == [
        "run", "started", "started", "epochs", "finished", "returned", "warning", "epochs", "ended",
    ]  # fmt: skip
    assert events[3]["folds"] == {"d/s1": {"epoch": 9, "val_uf1": 0.75}, "d/s2": {}}
    assert all(e["at"].endswith("+00:00") for e in events)


def test_the_eta_does_not_count_the_time_before_the_first_fold(tmp_path):
    out, now = io.StringIO(), [0.0]
    queue = LeaseQueue(["d/s1", "d/s2"])
    console = Console(file=out, width=120)
    with Progress(tmp_path / "log", 10, "DAD-Net", console, clock=lambda: now[0]) as progress:
        progress.show(queue.snapshot())  # Ray starts
        now[0] = 100.0
        queue.claim("w1", 0)
        progress.show(queue.snapshot())
        seen = len(queue.snapshot()["events"])
        now[0] = 130.0
        queue.finish("w1", "d/s1")
        progress.show(queue.snapshot(seen))
    assert "ETA 00:30" in out.getvalue()


def test_the_last_line_of_an_incomplete_run_says_what_to_do_of_each_kind():
    first = Divergence("0" * 16, "d/s1", 3, "diverged", {})
    second = first.replace(fold="d/s2")
    again = "2 of 9 folds are missing; give the same command again to run them"
    lower = "; lower --lr, or --retry-diverged tries again"
    assert incomplete(9, 2, []) == f"incomplete: {again}"
    assert (
        incomplete(9, 1, [first]) == f"incomplete: 1 of 9 folds diverged (d/s1 in epoch 3){lower}"
    )
    assert incomplete(9, 4, [first, second]) == (
        f"incomplete: {again}; 2 of 9 folds diverged (d/s1 in epoch 3 and 1 more){lower}"
    )


def test_without_a_terminal_no_silence_lasts_longer_than_half_a_minute(tmp_path):
    out, now = io.StringIO(), [0.0]
    queue = LeaseQueue(["d/s1", "d/s2"])
    console = Console(file=out, width=120)
    with Progress(tmp_path / "log", 10, "DAD-Net", console, clock=lambda: now[0]) as progress:
        queue.claim("w1", 0)
        seen = 0
        for now[0] in (100.0, 110.0, 129.0, 131.0, 140.0):
            snapshot = queue.snapshot(seen)
            progress.show(snapshot)
            seen += len(snapshot["events"])
        queue.finish("w1", "d/s1")
        snapshot = queue.snapshot(seen)
        progress.show(snapshot)
        now[0] = 165.0  # 25 s after the last fold
        progress.show(queue.snapshot(seen + len(snapshot["events"])))
    assert [line.partition(";")[0].partition(" (")[0] for line in out.getvalue().splitlines()] == [
        "the first folds are in training",
        "0 of 2 folds done, 1 running, 0 failed",
        "fold d/s1 done",
    ]
