"""A trial in a separate process, and its access to the workers. Imports no torch, which is slow."""

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

POLL_S = 0.1


class RayService:
    """The worker group's queue as a fold service, for the driver and for trials.

    Args:
        queue: of the worker group.
        poll_s: seconds between two questions while waiting.
    """

    def __init__(self, queue: QueueHandle, poll_s: float = POLL_S) -> None:
        self._queue, self._poll_s = queue, poll_s

    def add_base(self, plan: "Plan") -> None:
        """Add a base plan; a job names it by the digest of its experiment."""
        self._queue.ask(StudyQueue.add_base, plan.experiment.digest, [ray.put(plan)])

    def drop_base(self, plan: "Plan") -> None:
        """Remove a base plan."""
        self._queue.ask(StudyQueue.drop_base, plan.experiment.digest)

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Put folds into the queue."""
        self._queue.ask(StudyQueue.submit, job, list(folds))

    def wait(self, job: Job, fold: str, on_epoch: OnTrialEpoch | None) -> None:
        """Wait until a worker has made the fold."""
        epoch = 1
        while True:
            answer = self._queue.ask(StudyQueue.state, job.experiment, fold, epoch)
            for number, figure in answer["epochs"].items():
                epoch = number + 1
                if on_epoch is not None and answer["state"] != "done":
                    on_epoch(number, figure)
            if answer["state"] == "done":
                return
            if answer["state"] == "failed":
                raise TrialFailedError(f"fold {fold} was given up: {answer['why']}")
            if answer["state"] == "broken":
                raise ServiceLostError(answer["why"])
            time.sleep(self._poll_s)

    def cancel(self, job: Job) -> None:
        """Remove the folds that are not made yet, unless another trial requested them too."""
        self._queue.ask(StudyQueue.cancel, job.trial)


def trial_function(config: Mapping[str, Any], ledger: str, queue: QueueHandle) -> None:
    """Run one trial in a separate process, as Ray Tune's trainable.

    Args:
        config: ``proposal`` and ``epochs``.
        ledger: folder of the ledger.
        queue: of the worker group.
    """
    from ray import tune

    proposal: Proposal = config["proposal"]
    try:
        run_trial(
            proposal,
            ValLedger(ledger),
            RayService(queue),
            lambda report: tune.report(asdict(report)),
            epochs=config["epochs"],
        )
    except TrialFailedError as error:
        tune.report({"failed": str(error)})
    except ServiceLostError as error:
        tune.report({"lost": str(error)})
