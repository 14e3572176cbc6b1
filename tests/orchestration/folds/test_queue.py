from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.folds.queue import MAX_TRIES, Board


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def states(board: Board) -> dict[str, str]:
    return {row.name: row.state for row in board.rows.values()}


def test_every_fold_is_given_out_once_in_order():
    board = Board(["a", "b", "c"])
    assert board.claim("w1", 0, 1) == {"a": 1}
    assert board.claim("w2", 1, 2) == {"b": 1, "c": 1}
    assert board.claim("w1", 0, 1) == {}


def test_it_is_over_when_all_are_done():
    board = Board(["a"])
    board.claim("w1", 0, 1)
    assert not board.snapshot()["over"]
    board.finish("w1", "a")
    assert board.snapshot()["over"]
    assert board.claim("w1", 0, 1) is None


def test_a_fold_without_heartbeat_goes_to_another_worker(clock):
    board = Board(["a"], lease_s=5, clock=clock)
    board.claim("w1", 0, 1)
    clock.now = 4
    assert board.beat("w1", ["a"])
    clock.now = 8
    assert board.claim("w2", 1, 1) == {}
    clock.now = 10
    assert board.claim("w2", 1, 1) == {"a": 2}
    assert not board.beat("w1", ["a"])
    assert not board.inform("w1", "a", {"epoch": 3})


def test_a_new_process_in_a_place_takes_over_at_once():
    board = Board(["a", "b"])
    board.claim("w1", 0, 1)
    board.claim("w2", 1, 1)
    assert board.claim("w3", 0, 1) == {"a": 2}
    assert states(board) == {"a": "running", "b": "running"}


def test_a_fold_fails_after_three_tries_and_the_others_go_on():
    board = Board(["poison", "good"])
    for number in range(1, MAX_TRIES + 1):
        assert board.claim("w1", 0, 1) == {"poison": number}
        board.fail("w1", "poison", "Boom\n")
    assert board.claim("w1", 0, 1) == {"good": 1}
    board.finish("w1", "good")
    assert states(board) == {"poison": "failed", "good": "done"}
    assert board.snapshot()["over"]


def test_a_late_failure_of_a_worker_that_lost_the_fold_is_not_counted(clock):
    board = Board(["a"], lease_s=5, clock=clock)
    board.claim("w1", 0, 1)
    clock.now = 6
    board.claim("w2", 1, 1)
    board.fail("w1", "a", "late")
    assert states(board) == {"a": "running"}


def test_a_late_finish_counts_since_the_record_is_written(clock):
    board = Board(["a"], lease_s=5, clock=clock)
    board.claim("w1", 0, 1)
    clock.now = 6
    board.claim("w2", 1, 1)
    board.finish("w1", "a")
    assert states(board) == {"a": "done"}
    board.finish("w2", "a")
    kinds = [e["event"] for e in board.snapshot()["events"]]
    assert kinds == ["started", "returned", "started", "finished"]


def test_events_are_given_out_from_where_the_driver_stands():
    board = Board(["a"])
    board.claim("w1", 0, 1)
    seen = len(board.snapshot()["events"])
    board.warn("w1", "checkpoint set aside")
    assert board.snapshot(seen)["events"] == [
        {"event": "warning", "worker": "w1", "message": "checkpoint set aside"}
    ]


def test_a_worker_that_is_told_to_stop_does_not_count_against_the_fold():
    board = Board(["a", "b"])
    for number in range(1, MAX_TRIES + 3):
        assert board.claim("w1", 0, 1) == {"a": number}
        board.put_back("w1", "a", "SIGTERM")
    assert states(board) == {"a": "waiting", "b": "waiting"}
    assert {e["event"] for e in board.events} == {"started", "yielded"}


def test_a_board_that_stops_gives_nothing_out():
    board = Board(["a", "b"])
    board.claim("w1", 0, 1)
    board.stop()
    assert board.is_stopping()
    assert board.claim("w2", 1, 1) is None
    board.finish("w1", "a")
    assert states(board) == {"a": "done", "b": "waiting"}
    assert not board.snapshot()["over"]


@given(st.lists(st.tuples(st.sampled_from("cfpibs"), st.integers(0, 2), st.integers(0, 30))))
def test_counts_by_state_are_those_of_the_rows(calls):
    clock = Clock()
    board = Board([f"f{k}" for k in range(6)], lease_s=20, clock=clock)
    for call, rank, wait in calls:
        clock.now += wait
        worker = f"w{rank}"
        mine = [r.name for r in board.rows.values() if r.worker == worker and r.state == "running"]
        if call == "c":
            board.claim(worker, rank, 2)
        elif call == "s":
            board.claim(f"w{rank}-again", rank, 1)
        elif mine and call == "f":
            board.finish(worker, mine[0])
        elif mine and call == "p":
            board.put_back(worker, mine[0], "")
        elif mine and call == "i":
            board.fail(worker, mine[0], "boom")
        elif mine and call == "b":
            board.inform(worker, mine[0], {"epoch": 1})
    snapshot = board.snapshot()
    counted = Counter(row.state for row in board.rows.values())
    assert {s: n for s, n in snapshot["counts"].items() if n} == dict(counted)
    assert {r["name"] for r in snapshot["running"]} == {
        r.name for r in board.rows.values() if r.state == "running"
    }
    assert snapshot["over"] == (not counted["waiting"] and not counted["running"])
