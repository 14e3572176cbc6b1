"""A sick worker is not a sick fold: who gets a failed fold, and which workers are retired."""

import errno

import pytest
import torch

from orchestration.folds.queue import LeaseQueue
from orchestration.folds.queue_state import HELD_BACK_S, MAX_REPLACED, FoldRow, is_of_the_process


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def claim(queue: LeaseQueue, worker: str, rank: int) -> str | None:
    given = queue.claim(worker, rank)
    return given and given.fold


def warnings_of(queue: LeaseQueue) -> list[str]:
    return [e["message"] for e in queue.events if e["event"] == "warning"]


def test_a_failed_fold_goes_to_another_worker_first(clock):
    queue = queue_of("a", clock)
    assert claim(queue, "w0", 0) == "a"
    queue.fail("w0", "a", "Boom")
    assert claim(queue, "w0", 0) is None
    assert not queue.is_over("w0")
    assert claim(queue, "w1", 1) == "a"
    queue.fail("w1", "a", "Boom")
    assert claim(queue, "w0", 0) == "a"  # all have failed it


def test_a_worker_that_is_alone_gets_its_failed_fold_again():
    queue = LeaseQueue(["a"])
    assert claim(queue, "w0", 0) == "a"
    queue.fail("w0", "a", "Boom")
    assert claim(queue, "w0", 0) == "a"


def test_a_failed_fold_does_not_wait_for_a_worker_that_is_dead_or_busy_for_long(clock):
    for beats, later in ((False, 16), (True, HELD_BACK_S)):
        queue = LeaseQueue(["other", "a"], lease_s=15, clock=clock)
        assert claim(queue, "w1", 1) == "other"
        assert claim(queue, "w0", 0) == "a"
        queue.fail("w0", "a", "Boom")
        assert claim(queue, "w0", 0) is None
        for _ in range(int(later)):
            clock.now += 1
            if beats:
                queue.heartbeat("w1", ["other"])
        assert claim(queue, "w0", 0) == ("a" if beats else "other")


def queue_of(folds: str, clock: Clock) -> LeaseQueue:
    """A queue that knows of rank 1 before it has folds."""
    queue = LeaseQueue((), lease_s=15, clock=clock)
    queue.open = True
    queue.claim("w1", 1)
    for fold in folds:
        queue.add(FoldRow(fold))
    return queue


def test_a_worker_that_fails_two_folds_that_others_make_is_replaced(clock):
    queue = queue_of("", clock)
    for fold in "ab":
        queue.add(FoldRow(fold))
        assert claim(queue, "w0", 0) == fold
        queue.fail("w0", fold, "Boom")
        assert queue.verdict("w0") == "work"
        assert claim(queue, "w1", 1) == fold
        queue.finish("w1", fold)
    assert queue.verdict("w0") == "replace"
    assert queue.is_over("w0")
    assert queue.heartbeat("w0", [])  # it is to stop
    assert queue.verdict("w1") == "work"
    queue.add(FoldRow("c"))
    assert claim(queue, "w0", 0) is None
    assert claim(queue, "w0-new", 0) == "c"
    [warning] = warnings_of(queue)
    assert "fails folds that other workers make" in warning


def test_a_stack_that_fails_at_once_is_one_failure(clock):
    queue = queue_of("abc", clock)
    assert [claim(queue, "w0", 0) for _ in range(3)] == ["a", "b", "c"]
    for fold in "abc":
        queue.fail("w0", fold, "one of them breaks all")
    while (fold := claim(queue, "w1", 1)) is not None:
        queue.finish("w1", fold)
    assert queue.verdict("w0") == "work"


def test_a_finished_fold_clears_a_worker(clock):
    queue = queue_of("ab", clock)
    assert claim(queue, "w0", 0) == "a"
    queue.fail("w0", "a", "Boom")
    assert claim(queue, "w0", 0) == "b"
    queue.finish("w0", "b")
    assert claim(queue, "w1", 1) == "a"
    queue.finish("w1", "a")
    queue.add(FoldRow("c"))
    assert claim(queue, "w0", 0) == "c"
    queue.fail("w0", "c", "Boom")
    assert claim(queue, "w1", 1) == "c"
    queue.finish("w1", "c")
    assert queue.verdict("w0") == "work"


def test_folds_of_a_retired_worker_go_back_without_a_counted_try(clock):
    queue = queue_of("abc", clock)
    assert [claim(queue, "w0", 0) for _ in range(2)] == ["a", "b"]
    queue.retire("w0", "MemoryError")
    assert [row.failures for row in queue.rows.values()] == [0, 0, 0]
    # A fold that breaks its workers comes last, so that the others are made.
    assert [claim(queue, "w1", 1) for _ in range(3)] == ["c", "a", "b"]


def test_a_worker_that_is_broken_again_and_again_is_given_up_and_the_run_can_end():
    queue = LeaseQueue(["a"])
    for number in range(MAX_REPLACED):
        assert claim(queue, f"w{number}", 0) == "a"
        queue.retire(f"w{number}", "MemoryError")
        assert queue.verdict(f"w{number}") == "replace"
    assert claim(queue, "last", 0) == "a"
    queue.retire("last", "MemoryError")
    assert queue.verdict("last") == "leave"
    assert queue.is_over("last")
    assert claim(queue, "even another", 0) is None
    assert queue.is_over("even another")
    assert not queue.snapshot()["over"]
    assert warnings_of(queue)[-1].startswith("the worker ends (MemoryError); it was replaced 3 ")


def test_a_finished_fold_gives_a_rank_all_its_replacements_again():
    queue = LeaseQueue(["a", "b"])
    for number in range(MAX_REPLACED):
        claim(queue, f"w{number}", 0)
        queue.retire(f"w{number}", "MemoryError")
    fold = claim(queue, "well", 0)
    queue.finish("well", fold)
    claim(queue, "well", 0)
    queue.retire("well", "MemoryError")
    assert queue.verdict("well") == "replace"


def chained() -> Exception:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError("could not read") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (chained(), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("shapes (2, 3) and (4, 5) do not fit"), False),
        (ValueError("CUDA error"), False),
        (KeyError("k"), False),
    ],
)
def test_errors_of_the_process_are_told_from_errors_of_the_fold(error, expected):
    assert is_of_the_process(error) is expected


def test_a_fold_is_kept_from_a_rank_whose_processes_die_again_and_again(clock):
    queue = queue_of("ab", clock)
    assert claim(queue, "p1", 0) == "a"
    assert claim(queue, "p2", 0) == "a"  # p1 died; its checkpoint is continued
    queue.finish("p2", "a")
    assert claim(queue, "p2", 0) == "b"
    assert claim(queue, "p3", 0) == "b"
    assert claim(queue, "p4", 0) is None  # dead twice since its last fold
    assert claim(queue, "w1", 1) == "b"
