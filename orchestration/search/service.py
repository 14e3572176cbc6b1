"""The services that make the folds of a search: this process, or one group of Ray Train workers.

The group makes the folds of all trials, one study after another, and of the winners. Trials put
folds into its queue and read the results from the ledger. A trainer inside each trial was five
times slower, and it hangs when the trials hold the CPUs that their trainers wait for.
"""

import sys
import threading
from collections.abc import Mapping, Sequence

from orchestration.folds.here import LocalQueue
from orchestration.folds.make import make_folds
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan, with_config
from orchestration.folds.queue import OnSnapshot
from orchestration.search.queue import StudyQueue
from orchestration.search.trial import Job, OnTrialEpoch, TrialFailedError
from orchestration.search.trial_process import RayService
from search_spaces.space import apply_values


class LocalService:
    """Makes folds in this process, one after the other, without their test side."""

    def __init__(self, options: WorkOptions) -> None:
        assert not options.test_side
        self._options = options
        self._bases: dict[str, Plan] = {}

    def add_base(self, plan: Plan) -> None:
        """Add a base plan; a job names it by the digest of its experiment."""
        self._bases[plan.experiment.digest] = plan

    def drop_base(self, plan: Plan) -> None:
        """Remove a base plan."""
        self._bases.pop(plan.experiment.digest, None)

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Do nothing: `wait` makes the fold."""

    def wait(self, job: Job, fold: str, on_epoch: OnTrialEpoch | None) -> None:
        """Make the fold now; raises `TrialFailedError` if it diverges."""
        base = self._bases[job.base]
        plan = with_config(base, apply_values(base.config, job.values))
        queue = _OneFold(fold, on_epoch)
        make_folds(plan, queue, self._options)
        if queue.diverged:
            raise TrialFailedError(f"fold {fold} was given up: {queue.diverged}")

    def cancel(self, job: Job) -> None:
        """Do nothing."""


class _OneFold(LocalQueue):
    """A queue of one fold, whose epochs are reported to its trial."""

    def __init__(self, fold: str, on_epoch: OnTrialEpoch | None) -> None:
        super().__init__((fold,))
        self._on_epoch, self.diverged = on_epoch, ""

    def diverge(self, fold: str, why: str) -> None:
        """As of `FoldQueue`."""
        self.diverged = why
        super().diverge(fold, why)

    def inform(self, fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """As of `FoldQueue`."""
        if self._on_epoch is not None:
            self._on_epoch(epoch, metrics["val_uf1"])


class OpenGroup:
    """One worker group for a whole search, followed in a thread.

    `workers` is the most it has; None: one per GPU, else per CPU, also of nodes that join later.
    """

    def __init__(
        self,
        name: str,
        options: WorkOptions,
        *,
        epochs: int,
        workers: int | None,
        on_snapshot: OnSnapshot,
        quiet: bool = False,
    ) -> None:
        from orchestration.workers.capacity import default_workers, offered, worker_resources
        from orchestration.workers.connection import connect
        from orchestration.workers.group import WorkerGroup

        connect(workers or 1, quiet=quiet)
        self.workers = workers or default_workers()
        self._group = WorkerGroup(
            name,
            StudyQueue,
            (),
            options,
            epochs=epochs,
            # The trials need some of the CPUs.
            worker=worker_resources(offered().get("GPU", 0), cpus=0.9),
            at_most=workers or sys.maxsize,
            max_failures=1000,
        )
        self.queue = self._group.queue
        self.service = RayService(self.queue)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, args=(on_snapshot,), daemon=True)
        self._thread.start()

    def _follow(self, on_snapshot: OnSnapshot) -> None:
        try:
            self._group.follow(on_snapshot, self._break_off)
        except BaseException as failure:  # `close` raises it in the driver's thread
            self._failure = failure

    def _break_off(self, failure: BaseException | None) -> None:
        why = f"the workers are gone: {failure or 'the group has ended'}"
        self.queue.ask(StudyQueue.break_off, why.strip().splitlines()[0])

    def close(self) -> None:
        """End the workers; raises the error that ended the group, if any."""
        self.queue.ask(StudyQueue.close)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
