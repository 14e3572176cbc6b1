from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.folds.here import LocalQueue
from orchestration.folds.queue import MAX_TRIES, LeaseQueue
from orchestration.folds.queue_state import FoldRow


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def states(queue: LeaseQueue) -> dict[str, str]:
    return {row.name: row.state for row in queue.rows.values()}


def claim(queue: LeaseQueue, worker: str, rank: int) -> tuple[str, int] | None:
    """Fold and number of the try that a worker is given."""
    given = queue.claim(worker, rank)
    return None if given is None else (given.fold, given.tries)


def test_every_fold_is_given_out_once_in_order():
    queue = LeaseQueue(["a", "b", "c"])
    assert claim(queue, "w1", 0) == ("a", 1)
    assert [claim(queue, "w2", 1) for _ in range(2)] == [("b", 1), ("c", 1)]
    assert claim(queue, "w1", 0) is None
    assert not queue.is_over()


def test_it_is_over_when_all_are_done():
    queue = LeaseQueue(["a"])
    queue.claim("w1", 0)
    assert not queue.snapshot()["over"]
    queue.finish("w1", "a")
    assert queue.snapshot()["over"]
    assert claim(queue, "w1", 0) is None
    assert queue.is_over()


def test_a_fold_without_heartbeat_goes_to_another_worker(clock):
    queue = LeaseQueue(["a"], lease_s=5, clock=clock)
    queue.claim("w1", 0)
    clock.now = 4
    assert queue.renew("w1", ["a"])
    clock.now = 8
    assert claim(queue, "w2", 1) is None
    assert not queue.is_over()
    clock.now = 10
    assert claim(queue, "w2", 1) == ("a", 2)
    assert not queue.renew("w1", ["a"])
    assert not queue.inform("w1", "a", {"epoch": 3})


def test_a_new_process_of_a_rank_takes_over_at_once():
    queue = LeaseQueue(["a", "b"])
    queue.claim("w1", 0)
    queue.claim("w2", 1)
    assert claim(queue, "w3", 0) == ("a", 2)
    assert states(queue) == {"a": "running", "b": "running"}


def test_a_fold_fails_after_three_tries_and_the_others_go_on():
    queue = LeaseQueue(["poison", "good"])
    for number in range(1, MAX_TRIES + 1):
        assert claim(queue, "w1", 0) == ("poison", number)
        queue.fail("w1", "poison", "Boom\n")
    assert claim(queue, "w1", 0) == ("good", 1)
    queue.finish("w1", "good")
    assert states(queue) == {"poison": "failed", "good": "done"}
    assert queue.snapshot()["over"]


def test_a_fold_that_diverges_is_given_up_at_once_with_the_reason():
    queue = LeaseQueue(["a", "b"])
    assert claim(queue, "w1", 0) == ("a", 1)
    queue.diverge("w2", "a", "late")  # of a worker that lost the fold
    assert states(queue) == {"a": "running", "b": "waiting"}
    queue.diverge("w1", "a", "diverged in epoch 3")
    assert states(queue) == {"a": "failed", "b": "waiting"}
    assert claim(queue, "w1", 0) == ("b", 1)
    snapshot = queue.snapshot()
    assert snapshot["failures"] == 1
    [failed] = [event for event in snapshot["events"] if event["event"] == "failed"]
    assert (failed["fold"], failed["tries"], failed["why"]) == ("a", 1, "diverged in epoch 3")


def test_a_late_failure_of_a_worker_that_lost_the_fold_is_not_counted(clock):
    queue = LeaseQueue(["a"], lease_s=5, clock=clock)
    queue.claim("w1", 0)
    clock.now = 6
    queue.claim("w2", 1)
    queue.fail("w1", "a", "late")
    assert states(queue) == {"a": "running"}


def test_a_late_finish_counts_since_the_record_is_written(clock):
    queue = LeaseQueue(["a"], lease_s=5, clock=clock)
    queue.claim("w1", 0)
    clock.now = 6
    queue.claim("w2", 1)
    queue.finish("w1", "a")
    assert states(queue) == {"a": "done"}
    queue.finish("w2", "a")
    kinds = [e["event"] for e in queue.snapshot()["events"]]
    assert kinds == ["started", "returned", "started", "finished"]


def test_events_are_returned_from_the_first_new_one():
    queue = LeaseQueue(["a"])
    queue.claim("w1", 0)
    seen = len(queue.snapshot()["events"])
    queue.message("warning", "checkpoint set aside", "w1")
    assert queue.snapshot(seen)["events"] == [
        {"event": "warning", "worker": "w1", "message": "checkpoint set aside"}
    ]


def test_a_worker_that_is_asked_to_stop_does_not_count_against_the_fold():
    queue = LeaseQueue(["a", "b"])
    for number in range(1, MAX_TRIES + 3):
        assert claim(queue, "w1", 0) == ("a", number)
        queue.put_back("w1", "a", "SIGTERM")
    assert states(queue) == {"a": "waiting", "b": "waiting"}
    assert {e["event"] for e in queue.events} == {"started", "yielded"}


def test_a_queue_that_stops_gives_nothing_out():
    queue = LeaseQueue(["a", "b"])
    queue.claim("w1", 0)
    queue.stop()
    assert queue.heartbeat("w1", [])
    assert claim(queue, "w2", 1) is None
    assert queue.is_over()
    queue.finish("w1", "a")
    assert states(queue) == {"a": "done", "b": "waiting"}
    assert not queue.snapshot()["over"]


@given(st.lists(st.tuples(st.sampled_from("cfpibs"), st.integers(0, 2), st.integers(0, 30))))
def test_counts_by_state_are_those_of_the_rows(calls):
    clock = Clock()
    queue = LeaseQueue([f"f{k}" for k in range(6)], lease_s=20, clock=clock)
    for call, rank, wait in calls:
        clock.now += wait
        worker = f"w{rank}"
        mine = [r.name for r in queue.rows.values() if r.worker == worker and r.state == "running"]
        if call == "c":
            queue.claim(worker, rank)
            queue.claim(worker, rank)
        elif call == "s":
            queue.claim(f"w{rank}-again", rank)
        elif mine and call == "f":
            queue.finish(worker, mine[0])
        elif mine and call == "p":
            queue.put_back(worker, mine[0], "")
        elif mine and call == "i":
            queue.fail(worker, mine[0], "boom")
        elif mine and call == "b":
            queue.inform(worker, mine[0], {"epoch": 1})
    snapshot = queue.snapshot()
    counted = Counter(row.state for row in queue.rows.values())
    assert {s: n for s, n in snapshot["counts"].items() if n} == dict(counted)
    assert {r["name"] for r in snapshot["running"]} == {
        r.name for r in queue.rows.values() if r.state == "running"
    }
    assert snapshot["over"] == (not counted["waiting"] and not counted["running"])


def test_a_worker_makes_folds_of_one_plan_until_it_begins_again():
    queue = LocalQueue(())
    for plan, fold in (("p", "s1"), ("q", "s1"), ("p", "s2")):
        queue.ask(LeaseQueue.add, FoldRow(fold, plan=plan))
    assert queue.begin().name == "p/s1"
    assert [given and given.name for given in (queue.take() for _ in range(3))] == [
        "p/s1", "p/s2", None,
    ]  # fmt: skip
    queue.finish("s1")
    queue.put_back("the run is to stop")
    assert queue.held == {}
    assert queue.begin().name == "p/s2"
    queue.fail("Boom")
    queue.elsewhere(queue.begin().fold)
    assert queue.begin().name == "q/s1"
