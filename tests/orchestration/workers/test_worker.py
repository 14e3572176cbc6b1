"""What a worker does after an error: the fold fails, or the worker ends."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestration.folds.options import WorkOptions
from orchestration.folds.queue import LeaseQueue
from orchestration.folds.worker_queue import WorkerQueue
from orchestration.workers.worker import RemoteQueue, serve


class Queue(RemoteQueue):
    """A worker's queue without an actor."""

    def __init__(self) -> None:
        self.leases = LeaseQueue(["a", "b"])
        WorkerQueue.__init__(self, lambda method, *args: method(self.leases, *args), "w0", 0)
        self.claim = lambda plan: WorkerQueue.claim(self, plan)
        self.heartbeats = nullcontext

    @property
    def messages(self) -> str:
        return "\n".join(e.get("message", "") for e in self.leases.events)


def serve_with(queue: Queue, ledger: Path, make: Callable[[], None]) -> list[str]:
    """Serve with what makes folds; returns how often it was called."""
    calls: list[str] = []

    def make_folds(plan: Any, queue: Any, options: Any, stop: Any) -> None:
        calls.append("made")
        make()

    plans: Any = SimpleNamespace(of=lambda name: None)
    serve(queue, plans, WorkOptions(ledger), make_folds)
    return calls


def no_memory() -> None:
    raise MemoryError("no room for 3 arrays")


def test_a_worker_without_memory_ends_and_its_folds_are_not_to_blame(tmp_path):
    queue = Queue()
    assert serve_with(queue, tmp_path, no_memory) == ["made"]
    assert queue.leases.verdict("w0") == "replace"
    assert [row.failures for row in queue.leases.rows.values()] == [0, 0]
    assert queue.leases.snapshot()["counts"]["waiting"] == 2
    assert "the worker ends (MemoryError: no room for 3 arrays)" in queue.messages


def test_an_error_of_a_fold_is_counted_and_the_worker_goes_on(tmp_path):
    def broken() -> None:
        raise KeyError("k")

    queue = Queue()
    assert len(serve_with(queue, tmp_path, broken)) == 6
    assert queue.leases.snapshot()["counts"]["failed"] == 2
    assert queue.leases.verdict("w0") == "work"


def test_a_worker_whose_node_does_not_see_the_ledger_makes_nothing(tmp_path):
    queue = Queue()
    assert serve_with(queue, tmp_path / "not mounted", no_memory) == []
    assert queue.leases.verdict("w0") == "replace"
    assert f"its node does not see {tmp_path}/not mounted" in queue.messages


@pytest.mark.parametrize("kind", [FileNotFoundError, PermissionError])
def test_storage_that_goes_away_in_a_fold_ends_the_worker(tmp_path, kind):
    ledger = tmp_path / "runs"
    ledger.mkdir()

    def unmounted() -> None:
        ledger.rmdir()
        raise kind("record")

    queue = Queue()
    assert serve_with(queue, ledger, unmounted) == ["made"]
    assert [row.failures for row in queue.leases.rows.values()] == [0, 0]
    assert queue.leases.verdict("w0") == "replace"
