"""Run the trials of a study in this process, without Ray."""

import math

from orchestration.search.study import Study
from orchestration.search.trial import FoldService, Proposal, Report, TrialFailedError, run_trial

_NO_FOLDS = Report(0, math.nan, 0, math.nan, 0.0, 0)


class _Stopped(Exception):
    """The pruning rule has stopped the trial."""


def search_here(study: Study, service: FoldService) -> None:
    """Run the missing trials of an open study in this process, one at a time."""
    service.add_base(study.plan)
    while (proposal := study.propose()) is not None:
        _run_here(study, service, proposal)


def _run_here(study: Study, service: FoldService, proposal: Proposal) -> None:
    last = _NO_FOLDS

    def report(latest: Report) -> None:
        nonlocal last
        last = latest
        if study.report(proposal.number, latest):
            raise _Stopped

    try:
        run_trial(proposal, study.vals, service, report, epochs=study.epochs)
    except _Stopped:
        study.prune(proposal.number, last)
    except TrialFailedError as error:
        study.fail(proposal.number, str(error))
    else:
        study.complete(proposal.number, last)
