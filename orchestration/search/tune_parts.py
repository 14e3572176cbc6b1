"""What Ray Tune needs of a study: a searcher that proposes and a scheduler that stops."""

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestration.search.study import Study
from orchestration.search.trial import Proposal, report_of


class StudySearcher(Searcher):  # type: ignore[misc]
    """Optuna's proposals, and the end of every trial told to it.

    Not Ray's OptunaSearch, which has no word for a stopped trial, leaves one with NaN open for
    ever and starts Optuna's stream of random numbers anew after a kill.

    Args:
        study: open.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()  # what is compared is the study's business
        self._study = study
        self._running: dict[str, Proposal] = {}
        self.lost = ""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration, or that there is none."""
        if self.lost or (proposal := self._study.propose()) is None:
            return str(Searcher.FINISHED)
        self._running[trial_id] = proposal
        return {"proposal": proposal, "epochs": self._study.epochs}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell how a trial ended; one that was merely interrupted stays open, to go on later."""
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
        """Nothing to save: the storage is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it beside its results; nobody reads that


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Stops a trial when the study's rule says so.

    Args:
        study: open.
    """

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
