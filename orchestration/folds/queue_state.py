"""What the queue knows of its folds, and of the health of its workers.

A worker is a process of a rank. It is sick if it fails folds that others make, or if its device or
process is broken. Then it is retired: it ends, and Ray Train starts another process of its rank.
Imports no torch: the queue's actor starts without it.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

# A rank is replaced so often without a finished fold; after that its folds go to other ranks.
MAX_REPLACED = 3
# Failures of a worker, all of whose folds others make, until it is retired.
SICK_FAILURES = 2
# A failed fold waits so long for another worker that is alive.
HELD_BACK_S = 60.0

State = Literal["waiting", "running", "elsewhere", "done", "failed", "cancelled"]
Verdict = Literal["work", "replace", "leave"]

_ERRNOS = {
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV, errno.EIO, errno.ESTALE,
    errno.ENOTCONN,
}  # fmt: skip
_TYPES = {"MemoryError", "OutOfMemoryError", "AcceleratorError"}
_TEXTS = (
    "allocate memory", "out of memory", "cuda error", "cudnn error", "cudnn_status",
    "cublas_status", "cufft_", "can't start new thread", "too many open files",
    "failed to map segment",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A fold that a worker has taken.

    Attributes:
        fold: its name in its plan.
        plan: name of the plan; empty where the queue has one plan only.
        worker: name of the worker.
        tries: number of this try, from 1.
    """

    fold: str
    plan: str
    worker: str
    tries: int

    @property
    def name(self) -> str:
        """The fold's name in the queue."""
        return queue_name(self.plan, self.fold)

    @property
    def circumstances(self) -> dict[str, Any]:
        """What the fold's record says of the claim."""
        return {"worker": self.worker, "tries": self.tries}


def queue_name(plan: str, fold: str) -> str:
    """A fold's name in the queue: ``plan/fold``, or that of the fold where there is one plan."""
    return f"{plan}/{fold}" if plan else fold


@dataclass
class FoldRow:
    """The state of one fold.

    `tries` counts how often the fold was given out, `failures` how often that ended badly: a
    worker that was asked to stop does not count.
    """

    fold: str
    plan: str = ""
    state: State = "waiting"
    worker: str = ""
    rank: int = 0
    tries: int = 0
    failures: int = 0
    renewed_at: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    name: str = ""
    failed_on: dict[int, float] = field(default_factory=dict)  # ranks, with the time

    def __post_init__(self) -> None:
        self.name = queue_name(self.plan, self.fold)


def is_of_the_process(error: BaseException | None) -> bool:
    """Whether an error is one of a device or a process: the fold is not to blame for it.

    That is: no memory, a broken CUDA context, no file descriptors or threads, lost storage.
    """
    while error is not None:
        if (
            type(error).__name__ in _TYPES
            or (isinstance(error, OSError) and error.errno in _ERRNOS)
            or (
                isinstance(error, (RuntimeError, ImportError, OSError))
                and any(text in str(error).lower() for text in _TEXTS)
            )
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclass
class _Rank:
    """The present process of a rank, and what happened since its last finished fold."""

    worker: str
    seen_at: float
    # The folds of each failure, without those that others have made since: a stack fails at once.
    failures: list[set[str]] = field(default_factory=list)
    is_same_failure: bool = False
    replaced: int = 0
    verdict: Verdict = "work"


class Health:
    """The health of all ranks, as the queue sees it.

    Args:
        lease_s: a worker that was not heard of for so long is not alive.
        clock: seconds.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float]) -> None:
        self._ranks: dict[int, _Rank] = {}
        self._rank_of: dict[str, int] = {}
        self._lease_s, self._clock = lease_s, clock

    def __len__(self) -> int:
        return len(self._ranks)

    def hear(self, worker: str, rank: int) -> str:
        """Register a call of a worker; returns the process that its rank had before."""
        state = self._ranks.setdefault(rank, _Rank(worker, 0.0))
        before, state.worker, state.seen_at = state.worker, worker, self._clock()
        self._rank_of[worker] = rank
        if before != worker and state.verdict == "replace":
            state.verdict, state.failures = "work", []
        state.is_same_failure = False
        return before

    def end_failure(self, rank: int) -> None:
        """The next fold that fails on this rank fails by itself."""
        self._ranks[rank].is_same_failure = False

    def beat(self, worker: str) -> None:
        """Register a heartbeat."""
        if (state := self._state(worker)) is not None:
            state.seen_at = self._clock()

    def verdict(self, worker: str) -> Verdict:
        """Whether a worker is to go on, to end and be replaced, or to end for good."""
        state = self._state(worker)
        return "work" if state is None else state.verdict

    def _state(self, worker: str) -> _Rank | None:
        """The state of a worker's rank; None if it is unknown or has another process by now."""
        state = self._ranks.get(self._rank_of.get(worker, -1))
        return state if state is not None and state.worker == worker else None

    def failed(self, rank: int, fold: str) -> None:
        """A fold has failed on a rank; the folds that fail between two claims failed together."""
        if (state := self._ranks.get(rank)) is not None:
            if not state.is_same_failure:
                state.failures.append(set())
            state.is_same_failure = True
            state.failures[-1].add(fold)

    def made(self, worker: str, fold: str) -> list[str]:
        """A worker has finished a fold; returns the workers that this shows to be sick."""
        rank, sick = self._rank_of.get(worker), []
        for number, state in self._ranks.items():
            if number == rank:
                state.failures, state.replaced = [], 0
                continue
            for folds in state.failures:
                folds.discard(fold)
            if state.verdict == "work" and state.failures.count(set()) >= SICK_FAILURES:
                sick.append(state.worker)
        return sick

    def retire(self, worker: str) -> Verdict:
        """Retire a worker; returns what becomes of its rank."""
        if (state := self._state(worker)) is None:
            return "replace"
        if state.verdict == "work":
            state.verdict = "replace" if state.replaced < MAX_REPLACED else "leave"
            state.replaced += 1
        return state.verdict

    def is_held_back(self, rank: int, failed_on: dict[int, float]) -> bool:
        """Whether a fold is not for this rank now: it failed there, and another is alive for it.

        Args:
            rank: that asks.
            failed_on: ranks on which the fold has failed, with the time.
        """
        if rank not in failed_on or not any(
            self._is_alive(state) and not self._is_suspect(state)
            for number, state in self._ranks.items()
            if number not in failed_on
        ):
            return False
        is_recent = self._clock() - failed_on[rank] < HELD_BACK_S
        return is_recent or self._is_suspect(self._ranks[rank])

    def _is_alive(self, state: _Rank) -> bool:
        return state.verdict != "leave" and self._clock() - state.seen_at <= self._lease_s

    @staticmethod
    def _is_suspect(state: _Rank) -> bool:
        return len(state.failures) >= SICK_FAILURES
