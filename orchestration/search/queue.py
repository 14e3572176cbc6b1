"""The queue of a search: trials add folds, workers take them. Imports no torch, which is slow."""

from collections.abc import Sequence
from typing import Any

from orchestration.folds.queue import LeaseQueue
from orchestration.folds.queue_state import FoldRow, queue_name
from orchestration.search.trial import Job


class StudyQueue(LeaseQueue):
    """A queue to which trials add folds of several plans, and from which they remove them.

    A fold's name is ``experiment/fold``, so that two trials of one experiment share it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.open = True
        self._jobs: dict[str, tuple[str, dict[str, Any]]] = {}
        self._wanted: dict[str, set[str]] = {}
        self._epochs: dict[str, dict[int, float]] = {}
        self._broken = ""

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Add the folds of a trial; a fold that is in the queue already is made once for all."""
        self._jobs[job.experiment] = job.base, job.values
        for fold in folds:
            name = queue_name(job.experiment, fold)
            row = self.rows.get(name)
            if row is None or row.state not in ("waiting", "running"):
                self.add(FoldRow(fold, plan=job.experiment))
                self._epochs.pop(name, None)
            self._wanted.setdefault(name, set()).add(job.trial)

    def cancel(self, trial: str) -> None:
        """Remove the folds of a trial, except those that other trials requested too."""
        for name, trials in list(self._wanted.items()):
            trials.discard(trial)
            if trials:
                continue
            del self._wanted[name]
            self._epochs.pop(name, None)
            if self.rows[name].state == "running":
                self.move(self.rows[name], "cancelled")  # its worker stops at the next epoch
            else:
                self.drop(name)

    def state(self, experiment: str, fold: str, epochs_from: int) -> dict[str, Any]:
        """State of a fold, why it failed, and its val UF1 by epoch, from an epoch on."""
        name = queue_name(experiment, fold)
        epochs = self._epochs.get(name, {})
        return {
            "state": "broken" if self._broken else self.rows[name].state,
            "why": self._broken or self.rows[name].why,
            "epochs": {e: figure for e, figure in sorted(epochs.items()) if e >= epochs_from},
        }

    def plan_values(self, plan: str) -> tuple[str, dict[str, Any]]:
        """Name of the base plan of an experiment, and the values of its trial."""
        return self._jobs[plan]

    def break_off(self, why: str) -> None:
        """The workers are gone: `state` answers ``broken`` with this reason from now on."""
        self._broken = why

    def close(self) -> None:
        """No more folds will be added; waiting ones are removed."""
        self.open = False
        for trial in {trial for trials in self._wanted.values() for trial in trials}:
            self.cancel(trial)

    def inform(self, worker: str, name: str, info: dict[str, Any]) -> bool:
        """As of `LeaseQueue`; also stores the val UF1 of the epoch for the trials."""
        if not super().inform(worker, name, info):
            return False
        self._epochs.setdefault(name, {})[int(info["epoch"])] = float(info["val_uf1"])
        return True

    def finish(self, worker: str, name: str) -> None:
        """As of `LeaseQueue`; a cancelled fold is removed."""
        if name not in self._wanted:
            self.drop(name)
        else:
            super().finish(worker, name)

    def fail(self, worker: str, name: str, why: str) -> None:
        """As of `LeaseQueue`; a cancelled fold is removed."""
        if name not in self._wanted:
            self.drop(name)
        else:
            super().fail(worker, name, why)

    def diverge(self, worker: str, name: str, why: str) -> None:
        """As of `LeaseQueue`; a cancelled fold is removed."""
        if name not in self._wanted:
            self.drop(name)
        else:
            super().diverge(worker, name, why)

    def warn_of_loss(self, worker: str, name: str) -> None:
        """As of `LeaseQueue`, but without a warning for a cancelled fold."""
        if name in self._wanted:
            super().warn_of_loss(worker, name)
