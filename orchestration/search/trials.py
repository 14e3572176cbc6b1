"""Run the trials of a study: in this process, or driven by Ray Tune."""

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dadnet.base.location import absolute
from orchestration.search.service import SearchService
from orchestration.search.study import Study
from orchestration.search.trial import (
    Proposal,
    Report,
    ServiceLostError,
    TrialFailedError,
    run_trial,
)

_NOTHING = Report(0, math.nan, 0, math.nan, 0.0, 0)


class _Stopped(Exception):
    """The pruning rule has stopped the trial."""


def search_here(study: Study, service: SearchService) -> None:
    """Run the missing trials in this process, one at a time.

    Args:
        study: open.
        service: makes the folds.
    """
    service.add_base(study.plan)
    while (proposal := study.propose()) is not None:
        _run_here(study, service, proposal)


def _run_here(study: Study, service: SearchService, proposal: Proposal) -> None:
    last = _NOTHING

    def report(now: Report) -> None:
        nonlocal last
        last = now
        if study.report(proposal.number, now):
            raise _Stopped

    try:
        run_trial(
            proposal.job,
            proposal.experiment,
            proposal.folds,
            study.vals,
            service,
            report,
            epochs=study.epochs,
        )
    except _Stopped:
        study.prune(proposal.number, last)
    except TrialFailedError as error:
        study.fail(proposal.number, str(error))
    else:
        study.complete(proposal.number, last)


def search_on_ray(study: Study, board: Any, concurrent: int) -> None:
    """Run the missing trials with Ray Tune.

    Args:
        study: open.
        board: of the open group.
        concurrent: trials at a time; with 1 the study does not depend on timing.

    Raises:
        ServiceLostError: if the workers are gone; the trials are left open.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from ray import tune

    from orchestration.search.trial_process import RayService, trial_function
    from orchestration.search.tune_parts import StudyScheduler, StudySearcher

    RayService(board).add_base(study.plan)
    folder = Path(tempfile.mkdtemp(prefix=f"dadnet-{study.digest}-"))
    trainable = tune.with_parameters(
        trial_function, ledger=str(absolute(study.vals.root)), board=board
    )
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
        # Nothing in this folder is needed again: the storage and the ledger are the truth.
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


_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def _trial_name(trial: Any) -> str:
    proposal: Proposal = trial.config["proposal"]
    return f"trial-{proposal.number}-{proposal.experiment.digest}"
