"""Run the trials of a study in this process, without Ray; which version ran the earlier ones."""

import math

from optuna.trial import FrozenTrial

from dadnet.base.digests import code_digest
from dadnet.base.errors import listed
from orchestration.search.study import Study
from orchestration.search.trial import FoldService, Proposal, Report, TrialFailedError, run_trial
from results.ledger.quick import code_in

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


def run_by_another(study: Study) -> str:
    """One line on trials that another version of the program has run, if some are to run; or ""."""
    ours, codes = code_digest(), [_code_of(study, trial) for trial in study.trials()]
    known = [code for code in codes if code]
    others = [code for code in known if code != ours]
    if not others or study.finished:
        return ""
    return (
        f"{len(others)} of {len(known)} trials were run by another version of the program (code "
        f"{listed(sorted(set(others)))}; here it is {ours})"
    )


def _code_of(study: Study, trial: FrozenTrial) -> str:
    """Digest of the code that made the first fold of a trial; "" without a fold."""
    digest = trial.user_attrs.get("experiment")
    if not digest:
        return ""
    experiment = study.plan.experiment.replace(digest=digest)
    for fold in study.folds:
        if side := study.vals.get(experiment, fold):
            return code_in(side.host)
    return ""
