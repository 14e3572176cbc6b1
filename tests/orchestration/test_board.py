import pytest

from orchestration.board import MAX_TRIES, Board


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def states(board: Board) -> dict[str, str]:
    return {row["name"]: row["state"] for row in board.snapshot()["rows"]}


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
