"""A trial in a process of its own, and the board as it sees it. Imports no torch: that is slow."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import ray

from orchestration.search.queue import StudyQueue
from orchestration.search.trial import (
    Job,
    OnTrialEpoch,
    Proposal,
    ServiceLostError,
    TrialFailedError,
    run_trial,
)
from orchestration.workers.handle import QueueHandle
from results.ledger.val_side import ValLedger

if TYPE_CHECKING:
    from orchestration.folds.plan import Plan

ASK_S = 0.1


class RayService:
    """The board of an open group, as the driver or a trial sees it.

    Args:
        actor: the board.
        ask_s: seconds between two questions while waiting.
    """

    def __init__(self, actor: Any, ask_s: float = ASK_S) -> None:
        self._queue, self._ask_s = QueueHandle(actor), ask_s

    def add_base(self, plan: "Plan") -> None:
        """Make a base plan known; jobs name it by its experiment's digest."""
        self._queue.ask(StudyQueue.add_base, plan.experiment.digest, [ray.put(plan)])

    def drop_base(self, plan: "Plan") -> None:
        """Let go of a base plan."""
        self._queue.ask(StudyQueue.drop_base, plan.experiment.digest)

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Put folds on the board."""
        self._queue.ask(StudyQueue.submit, job, list(folds))

    def wait(self, job: Job, fold: str, on_epoch: OnTrialEpoch | None) -> None:
        """Wait until a worker has made the fold."""
        epoch = 1
        while True:
            found = self._queue.ask(StudyQueue.state, job.experiment, fold, epoch)
            for number, loss in found["epochs"].items():
                epoch = number + 1
                if on_epoch is not None and found["state"] != "done":
                    on_epoch(number, loss)
            if found["state"] == "done":
                return
            if found["state"] == "failed":
                raise TrialFailedError(f"fold {fold} was given up: {found['why']}")
            if found["state"] == "broken":
                raise ServiceLostError(found["why"])
            time.sleep(self._ask_s)

    def cancel(self, job: Job) -> None:
        """Take what is not made yet off the board."""
        self._queue.ask(StudyQueue.cancel, job.trial)


def trial_function(config: Mapping[str, Any], ledger: str, queue: Any) -> None:
    """One trial in a process of its own, as Ray Tune runs it.

    Args:
        config: ``proposal`` and ``epochs``.
        ledger: folder of the ledger.
        queue: of the open worker group.
    """
    from ray import tune

    proposal: Proposal = config["proposal"]
    try:
        run_trial(
            proposal.job,
            proposal.experiment,
            proposal.folds,
            ValLedger(ledger),
            RayService(queue),
            lambda report: tune.report(asdict(report)),
            epochs=config["epochs"],
        )
    except TrialFailedError as error:
        tune.report({"failed": str(error)})
    except ServiceLostError as error:
        tune.report({"lost": str(error)})
