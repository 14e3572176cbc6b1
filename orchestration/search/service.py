"""Who makes the folds of a search: this process, or one open group of Ray Train workers.

The group serves all trials, one study after another, and the folds of the winners. Trials ask its
board for folds, and the records in the ledger are the answer. A trainer inside each trial was five
times slower, and hangs when the trials hold the CPUs that their trainers wait for.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from dadnet.base.location import absolute
from orchestration.folds.make import WorkOptions, make_folds_of_plan
from orchestration.folds.plan import Plan, with_config
from orchestration.folds.queue import Board, FoldRow
from orchestration.search.trial import FoldService, Job, OnTrialEpoch
from orchestration.search.trial_process import RayService
from search_spaces.space import apply_values


class SearchService(FoldService, Protocol):
    """A service to which plans can be added."""

    def add_base(self, plan: Plan) -> None:
        """Make a base plan known; jobs name it by its experiment's digest."""

    def drop_base(self, plan: Plan) -> None:
        """Let go of a base plan."""


class LocalService:
    """Makes folds in this process, one after the other.

    Args:
        options: where and how; the test side is never made.
    """

    def __init__(self, options: WorkOptions) -> None:
        assert not options.test_side
        self._options = options
        self._bases: dict[str, Plan] = {}

    def add_base(self, plan: Plan) -> None:
        """Make a base plan known; jobs name it by its experiment's digest."""
        self._bases[plan.experiment.digest] = plan

    def drop_base(self, plan: Plan) -> None:
        """Let go of a base plan."""
        self._bases.pop(plan.experiment.digest, None)

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Nothing to do: folds are made when they are waited for."""

    def wait(self, job: Job, fold: str, on_epoch: OnTrialEpoch | None) -> None:
        """Make the fold now."""
        base = self._bases[job.base]
        plan = with_config(base, apply_values(base.config, job.values))

        def inform(_: str, epoch: int, metrics: Mapping[str, float]) -> None:
            if on_epoch is not None:
                on_epoch(epoch, metrics["val_log_loss"])

        host = {"worker": "driver", "tries": 1}
        make_folds_of_plan(plan, [fold], self._options, on_epoch=inform, host=lambda _: host)

    def cancel(self, job: Job) -> None:
        """Nothing to do."""


class StudyBoard(Board):
    """A board to which trials bring folds of several plans, and take them back.

    A fold's name on it is ``experiment/fold``, so that two trials of one experiment share it.
    """

    def __init__(self, lease_s: float = 15.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__((), lease_s, clock)
        self.open = True
        self._jobs: dict[str, dict[str, Any]] = {}
        self._wanted: dict[str, set[str]] = {}
        self._epochs: dict[str, dict[int, float]] = {}
        self._bases: dict[str, list[Any]] = {}
        self._broken = ""

    def add_base(self, name: str, reference: list[Any]) -> None:
        """Make a base plan known by the only item of a list: its object reference."""
        self._bases[name] = reference

    def drop_base(self, name: str) -> None:
        """Let go of a base plan whose study is over."""
        self._bases.pop(name, None)

    def base(self, name: str) -> list[Any]:
        """The object reference of a base plan, in a list so that it is not resolved."""
        return self._bases[name]

    def submit(self, job: dict[str, Any], folds: Sequence[str]) -> None:
        """A trial asks for folds; those that are on the board already are shared."""
        prefix = f"{job['experiment']}/"
        self._jobs[job["experiment"]] = {
            "base": job["base"],
            "values": job["values"],
            "prefix": prefix,
        }
        for fold in folds:
            name = prefix + fold
            row = self.rows.get(name)
            if row is None or row.state not in ("waiting", "running"):
                self.add(FoldRow(name, plan=job["experiment"]))
                self._epochs.pop(name, None)
            self._wanted.setdefault(name, set()).add(job["trial"])

    def cancel(self, trial: str) -> None:
        """A trial wants no more folds; what nobody else wants is dropped or given up."""
        for name, trials in list(self._wanted.items()):
            trials.discard(trial)
            if trials:
                continue
            del self._wanted[name]
            self._epochs.pop(name, None)
            if self.rows[name].state == "running":
                self.move(self.rows[name], "cancelled")  # its worker leaves at the next epoch
            else:
                self.drop(name)

    def state(self, experiment: str, fold: str, epochs_from: int) -> dict[str, Any]:
        """State of a fold, why it failed, and its val log-loss by epoch from one on."""
        name = f"{experiment}/{fold}"
        epochs = self._epochs.get(name, {})
        return {
            "state": "broken" if self._broken else self.rows[name].state,
            "why": self._broken or self.rows[name].why,
            "epochs": {e: loss for e, loss in sorted(epochs.items()) if e >= epochs_from},
        }

    def job(self, name: str) -> dict[str, Any]:
        """Base plan, values and prefix of a fold on the board."""
        return self._jobs[name.partition("/")[0]]

    def break_off(self, why: str) -> None:
        """The workers are gone: whoever waits is told."""
        self._broken = why

    def close(self) -> None:
        """No more folds will come; what waits is dropped."""
        self.open = False
        for trial in {trial for trials in self._wanted.values() for trial in trials}:
            self.cancel(trial)

    def inform(self, worker: str, fold: str, info: dict[str, Any]) -> bool:
        """As of the board; the val log-loss of every epoch is kept for the trial."""
        if not super().inform(worker, fold, info):
            return False
        self._epochs.setdefault(fold, {})[int(info["epoch"])] = float(info["val_log_loss"])
        return True

    def beat(self, worker: str, folds: Sequence[str]) -> bool:
        """As of the board; False also for a fold that was dropped."""
        known = [fold for fold in folds if fold in self.rows]
        return super().beat(worker, known) and len(known) == len(folds)

    def finish(self, worker: str, fold: str) -> None:
        """As of the board; a fold that was given up is dropped."""
        if fold not in self._wanted:
            self.drop(fold)
        else:
            super().finish(worker, fold)

    def fail(self, worker: str, fold: str, why: str) -> None:
        """As of the board; a fold that was given up is dropped."""
        if fold not in self._wanted:
            self.drop(fold)
        else:
            super().fail(worker, fold, why)

    def left(self, worker: str, fold: str) -> None:
        """As of the board; nothing to say of a fold that was given up."""
        if fold in self._wanted:
            super().left(worker, fold)


class OpenGroup:
    """One worker group for a whole search, followed in a thread.

    Args:
        name: of group and board.
        options: where and how folds are made.
        epochs: of a fold at most, for the metrics.
        workers: at most; None for one per GPU, else per CPU, also of nodes that join later.
        stack: folds that a worker trains at once.
        on_snapshot: as of `run_group`.
    """

    def __init__(
        self,
        name: str,
        options: WorkOptions,
        *,
        epochs: int,
        workers: int | None,
        stack: int,
        on_snapshot: Callable[[dict[str, Any]], None],
    ) -> None:
        from orchestration.workers.capacity import default_workers, offered, worker_share
        from orchestration.workers.connection import connect
        from orchestration.workers.group import LEASE_S, WorkerGroup

        connect(workers or 1)
        self.workers = workers or default_workers()
        self._group = WorkerGroup(
            name,
            StudyBoard(LEASE_S),
            {
                "plan": None,
                "options": replace(options, ledger=absolute(options.ledger)),
                "stack": stack,
                "names": (),
                "share": stack,
            },
            epochs=epochs,
            # The trials need some of the CPUs.
            share=worker_share(offered().get("GPU", 0), cpus=0.9),
            at_most=workers or sys.maxsize,
            max_failures=1000,
        )
        self.board = self._group.board
        self.service = RayService(self.board)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, args=(on_snapshot,), daemon=True)
        self._thread.start()

    def _follow(self, on_snapshot: Callable[[dict[str, Any]], None]) -> None:
        try:
            self._group.follow(on_snapshot, self._break_off)
        except BaseException as failure:  # it is handed to the driver's thread
            self._failure = failure

    def _break_off(self, failure: BaseException | None) -> None:
        why = f"the workers are gone: {failure or 'the group has ended'}"
        self.service._call("break_off", why.strip().splitlines()[0])

    def close(self) -> None:
        """Let the workers end; raises what broke the group."""
        self.service._call("close")
        self._thread.join()
        if self._failure is not None:
            raise self._failure
