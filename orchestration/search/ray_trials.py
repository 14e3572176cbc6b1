"""Run the trials of a study with Ray Tune: a searcher that proposes, a scheduler that prunes."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from dadnet.base.location import absolute
from orchestration.search.study import Study
from orchestration.search.trial import Proposal, ServiceLostError, report_of
from orchestration.search.trial_process import RayService, trial_function
from orchestration.workers.handle import QueueHandle

_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def search_on_ray(study: Study, queue: QueueHandle, concurrent: int) -> None:
    """Run the missing trials of an open study with Ray Tune, on a worker group's queue.

    With one concurrent trial the study does not depend on timing.

    Raises:
        ServiceLostError: if the workers are gone; the trials stay open.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    RayService(queue).add_base(study.plan)
    folder = Path(tempfile.mkdtemp(prefix=f"dadnet-{study.digest}-"))
    ledger = str(absolute(study.vals.root))
    trainable = tune.with_parameters(trial_function, ledger=ledger, queue=queue)
    searcher = StudySearcher(study)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 0.01}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(study),
            num_samples=-1,
            max_concurrent_trials=concurrent,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        # Nothing in this folder is needed again: storage and ledger hold the study's state.
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if searcher.lost:
        raise ServiceLostError(searcher.lost)


def _trial_name(trial: Any) -> str:
    proposal: Proposal = trial.config["proposal"]
    return f"trial-{proposal.number}-{proposal.experiment.digest}"


class StudySearcher(Searcher):  # type: ignore[misc]
    """Passes the study's proposals to Ray Tune, and the end of every trial to the study.

    Ray's OptunaSearch is not used: it cannot mark a trial as pruned, leaves a trial with NaN open
    for ever and restarts Optuna's stream of random numbers after a kill.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()  # without metric and mode: the study compares
        self._study = study
        self._running: dict[str, Proposal] = {}
        self.lost = ""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration, or `FINISHED`."""
        if self.lost or (proposal := self._study.propose()) is None:
            return str(Searcher.FINISHED)
        self._running[trial_id] = proposal
        return {"proposal": proposal, "epochs": self._study.epochs}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Store how a trial ended; an interrupted one stays open and continues next time."""
        proposal = self._running.pop(trial_id)
        number, result = proposal.number, result or {}
        if "lost" in result:
            self.lost = result["lost"]
        elif "failed" in result:
            self._study.fail(number, result["failed"])
        elif error:
            self._study.fail(number, "the trial's process died too often")
        elif "num_folds" in result and number in self._study.stopped:
            self._study.prune(number, report_of(result))
        elif result.get("num_folds") == len(proposal.folds):
            self._study.complete(number, report_of(result))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study's storage is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it with its results, and nothing reads that


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Stops a trial when the study's pruning rule says so."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self._study = study

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Store the report and decide."""
        if "num_folds" in result:
            number = trial.config["proposal"].number
            if self._study.report(number, report_of(result)):
                self._study.stopped.add(number)
                return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}
