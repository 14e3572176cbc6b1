"""After the search: the winner's folds, their test clips scored once, and the records.

This is the only place of a search that looks at a test clip, and it runs when the study is over.
Its weights are those that the trial was judged by, kept since; a fold whose weights are gone
(another study's copy of a trial that did not win) is trained again to the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import torch

from dadnet.base.location import Location
from dadnet.labels.metrics import uar, uf1
from orchestration.folds.plan import Plan, with_config
from orchestration.folds.record import fold_record, load_trained
from orchestration.search.service import SearchService
from orchestration.search.trial import Job
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord, PlannedFold
from results.ledger.studies import nested_digest, searched_method
from results.ledger.val_side import ValLedger
from results.statistics.counts import count
from results.statistics.summary import count_records
from search_spaces.space import apply_values


@dataclass(frozen=True)
class WinnerFolds:
    """Folds of a winner that are to be scored.

    Attributes:
        base: the plan that the values are applied to; plan: the winner's.
        values: of its trial.
        folds: names.
        study: digest of the study that found it.
    """

    base: Plan
    plan: Plan
    values: Mapping[str, Any]
    folds: tuple[str, ...]
    study: str

    @classmethod
    def of(
        cls, base: Plan, values: Mapping[str, Any], folds: Sequence[str], study: str
    ) -> "WinnerFolds":
        """Apply a trial's values to a base plan."""
        plan = with_config(base, apply_values(base.config, values))
        return cls(base, plan, values, tuple(folds), study)


def train_winners(
    winners: Sequence[WinnerFolds], service: Callable[[], SearchService], ledger: Location
) -> int:
    """Train those of the folds whose val side or weights are not there.

    Args:
        winners: what is to be scored.
        service: gives who makes the folds; called only if some are missing.
        ledger: folder of the ledger.

    Returns:
        How many folds were trained.

    Raises:
        TrialFailedError: if a fold was given up.
    """
    vals, asked = ValLedger(ledger), []
    for winner in winners:
        vals.keep_weights(winner.plan.experiment, winner.study)
        if missing := vals.without_weights(winner.plan.experiment, winner.folds):
            experiment = winner.plan.experiment.digest
            name, base = f"{winner.study}/winner/{experiment}", winner.base.experiment.digest
            service().add_base(winner.base)
            job = Job(name, base, dict(winner.values), experiment)
            service().submit(job, missing)
            asked.append((job, missing))
    try:
        for job, missing in asked:
            for fold in missing:
                service().wait(job, fold, None)
    finally:
        for job, _ in asked:
            service().cancel(job)
    return sum(len(missing) for _, missing in asked)


def score_fold(plan: Plan, fold: str, ledger: Location, study: str) -> FoldRecord:
    """Score a trained fold's test clips.

    Args:
        plan: the winner's.
        fold: trained before.
        ledger: folder of the ledger.
        study: digest of the study.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vals = ValLedger(ledger)
    trained, side = load_trained(plan, fold, vals, device), vals.get(plan.experiment, fold)
    assert trained is not None, fold
    assert side is not None, fold
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    host = {**side.host, "study": study, "scored_at": now}
    return fold_record(plan, plan.fold(fold), trained, device, host)


def score_winner(plan: Plan, ledger: Location, study: str) -> int:
    """Write the records of all folds of a winner; those that are there are left alone.

    Returns:
        How many folds were scored by this call.
    """
    records = Ledger(ledger)
    records.open(plan.experiment)
    missing = records.missing(plan.experiment)
    for fold in missing:
        records.put(plan.experiment, score_fold(plan, fold, ledger, study))
    ValLedger(ledger).release_weights(plan.experiment, study)
    return len(missing)


@dataclass(frozen=True)
class NestedFold:
    """A fold of a nested estimate: the winner of the study that never saw its test subject."""

    name: str
    plan: Plan
    study: str


def nested_experiment(
    base: Plan, folds: Sequence[NestedFold], search: dict[str, Any]
) -> Experiment:
    """The experiment of a nested estimate: every fold has the configuration of its group's winner.

    Args:
        base: of the whole set.
        folds: one per fold of the base plan.
        search: how the winners were found.
    """
    winners = {fold.name: fold.plan.experiment.digest for fold in folds}
    config = {**base.experiment.config, "search": search, "winners": winners}
    planned = {fold.name: fold for fold in base.experiment.folds}
    old = base.experiment
    digest = nested_digest(config, old.data_digest, old.teacher_digest)
    order: tuple[PlannedFold, ...] = tuple(planned[fold.name] for fold in folds)
    method = searched_method(old.method)
    return replace(
        old, digest=digest, method=method, selection="nested", config=config, folds=order
    )


def score_nested(experiment: Experiment, folds: Sequence[NestedFold], ledger: Location) -> int:
    """Score every fold of a nested estimate once; gives the number scored by this call."""
    records = Ledger(ledger)
    records.open(experiment)
    missing = set(records.missing(experiment))
    for fold in folds:
        if fold.name in missing:
            record = score_fold(fold.plan, fold.name, ledger, fold.study)
            host = {**record.host, "trained_as": record.experiment}
            records.put(
                experiment,
                replace(record, experiment=experiment.digest, selection="nested", host=host),
            )
    for fold in folds:
        ValLedger(ledger).release_weights(fold.plan.experiment, fold.study)
    return len(missing)


def figures_by_part(experiment: Experiment, ledger: Location) -> dict[str, dict[str, float]]:
    """UF1 and UAR of a finished experiment, by part of an official split.

    Returns:
        Part ("" where there are none) -> ``uf1``, ``uar``, counts pooled over all folds.
    """
    rows = [row for record in Ledger(ledger).records(experiment) for row in record.predictions]
    figures = {}
    for part in sorted({row.part for row in rows}):
        chosen = [row for row in rows if row.part == part]
        counts = count(chosen, experiment.classes).pooled
        figures[part] = {"uf1": uf1(counts), "uar": uar(counts)}
    return figures


def pooled_test_uf1(experiment: Experiment, ledger: Location) -> float:
    """UF1 over all test clips of a finished experiment."""
    records = Ledger(ledger).records(experiment)
    return uf1(count_records(records, experiment.classes).pooled)
