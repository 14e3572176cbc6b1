"""The queue as the maker of folds sees it: one interface for this process and for a cluster."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from orchestration.folds.queue import Claim, LeaseQueue

P = ParamSpec("P")
R = TypeVar("R")


class LeaseLostError(RuntimeError):
    """The fold was given to another worker."""


class FoldQueue(Protocol):
    """Where `make_folds` gets its folds from, and where it reports them."""

    def take(self) -> Claim | None:
        """Take the next fold; None if none waits now."""

    def finish(self, fold: str) -> None:
        """Report that the fold's record is in the ledger."""

    def diverge(self, fold: str, why: str) -> None:
        """Report that the fold's loss is not finite, which the ledger says too."""

    def elsewhere(self, fold: str) -> None:
        """Report that another run on the same ledger has claimed the fold."""

    def inform(self, fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Report an epoch (from 1); raises `LeaseLostError` if another worker has the fold."""

    def put_back(self, why: str, folds: Iterable[str] | None = None) -> None:
        """Put back folds that did not fail (default: all that are held); others may go on."""


class Ask(Protocol):
    """Calls a method of the `LeaseQueue`, given as a function so that its types are checked."""

    def __call__(
        self, method: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call it and return its answer."""


class WorkerQueue:
    """The queue as one worker sees it: a `FoldQueue` of one plan after the other.

    It may be in another process: `ask` calls its methods.
    """

    def __init__(self, ask: Ask, worker: str, rank: int) -> None:
        self.ask, self.worker, self.rank = ask, worker, rank
        self.held: dict[str, Claim] = {}  # folds that were taken and not given back, by name
        self._plan = ""
        self._first: Claim | None = None

    def begin(self) -> Claim | None:
        """Take a fold of any plan; `take` returns it first, and then folds of its plan alone."""
        if (claim := self.claim(None)) is not None:
            self._first, self._plan = claim, claim.plan
        return claim

    def claim(self, plan: str | None) -> Claim | None:
        """Take a fold of a plan, or of any."""
        if (claim := self.ask(LeaseQueue.claim, self.worker, self.rank, plan)) is not None:
            self.held[claim.fold] = claim
        return claim

    def take(self) -> Claim | None:
        """As of `FoldQueue`."""
        claim, self._first = self._first, None
        return claim or self.claim(self._plan)

    def finish(self, fold: str) -> None:
        """As of `FoldQueue`."""
        self.ask(LeaseQueue.finish, self.worker, self.held.pop(fold).name)

    def diverge(self, fold: str, why: str) -> None:
        """As of `FoldQueue`."""
        self.ask(LeaseQueue.diverge, self.worker, self.held.pop(fold).name, why)

    def elsewhere(self, fold: str) -> None:
        """As of `FoldQueue`."""
        self.ask(LeaseQueue.elsewhere, self.worker, self.held.pop(fold).name)

    def inform(self, fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """As of `FoldQueue`."""
        info = {"epoch": epoch, **metrics}
        if not self.ask(LeaseQueue.inform, self.worker, self.held[fold].name, info):
            raise LeaseLostError(fold)

    def report(self, message: str) -> None:
        """Pass a message on to the driver."""
        self.ask(LeaseQueue.message, "told", message, self.worker)

    def put_back(self, why: str, folds: Iterable[str] | None = None) -> None:
        """As of `FoldQueue`: the run is to stop, or others have failed."""
        self._give_back(LeaseQueue.put_back, why, list(self.held if folds is None else folds))

    def fail(self, why: str) -> None:
        """Give back the folds that are held after a failure."""
        self._give_back(LeaseQueue.fail, why, list(self.held))

    def retire(self, why: str) -> None:
        """End this worker, which is sick; the folds that are held go to others."""
        self._first = None
        self.ask(LeaseQueue.retire, self.worker, why)
        self.held.clear()

    def _give_back(
        self, method: Callable[[LeaseQueue, str, str, str], None], why: str, folds: list[str]
    ) -> None:
        self._first = None
        for fold in folds:
            self.ask(method, self.worker, self.held.pop(fold).name, why)
