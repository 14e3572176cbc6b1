"""After the search: the winner's folds, their test clips scored once, and the records.

Only this part of a search reads test clips, and it runs when the study is finished. It scores the
weights that the trial was judged by; a fold whose weights were removed (another study's copy of a
trial that did not win) is trained again to the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import torch

from dadnet.base.location import Location
from dadnet.labels.metrics import uar, uf1
from orchestration.folds.plan import Plan, with_config
from orchestration.folds.record import fold_record, load_trained
from orchestration.search.trial import FoldService, Job
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord
from results.ledger.studies import nested_digest, searched_method
from results.ledger.val_side import ValLedger
from results.statistics.counts import count
from results.statistics.summary import count_records
from search_spaces.space import apply_values


@dataclass(frozen=True)
class WinnerFolds:
    """The winner of a study, and its folds to score.

    Attributes:
        base: the plan that the values are applied to.
        plan: the base with the values.
        values: of the trial that won.
        folds: names.
        study: digest of the study.
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
    winners: Sequence[WinnerFolds], service: Callable[[], FoldService], ledger: Location
) -> None:
    """Train those of the folds whose val side or weights are missing or damaged.

    `service` returns the service that makes folds; it is called only if some are missing.

    Raises:
        TrialFailedError: if a fold failed for good.
    """
    vals, jobs, cpu = ValLedger(ledger), [], torch.device("cpu")
    for winner in winners:
        vals.keep_weights(winner.plan.experiment, winner.study)
        read = {fold: load_trained(winner.plan, fold, vals, cpu) for fold in winner.folds}
        if missing := tuple(fold for fold, trained in read.items() if trained is None):
            experiment = winner.plan.experiment.digest
            name, base = f"{winner.study}/winner/{experiment}", winner.base.experiment.digest
            service().add_base(winner.base)
            job = Job(name, base, dict(winner.values), experiment)
            service().submit(job, missing)
            jobs.append((job, missing))
    try:
        for job, missing in jobs:
            for fold in missing:
                service().wait(job, fold, None)
    finally:
        for job, _ in jobs:
            service().cancel(job)


def score_fold(plan: Plan, fold: str, ledger: Location, study: str) -> FoldRecord:
    """Score the test clips of a fold that was trained with the winner of a study."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vals = ValLedger(ledger)
    trained, side = load_trained(plan, fold, vals, device), vals.get(plan.experiment, fold)
    assert trained is not None, fold
    assert side is not None, fold
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    host = {**side.host, "study": study, "scored_at": now}
    return fold_record(plan, trained, device, host)


def score_winner(plan: Plan, ledger: Location, study: str) -> None:
    """Score every fold of a winner once; folds with a record are skipped."""
    records = Ledger(ledger)
    records.open(plan.experiment)
    for fold in records.missing(plan.experiment):
        records.put(plan.experiment, score_fold(plan, fold, ledger, study))
    ValLedger(ledger).release_weights(plan.experiment, study)


def nested_experiment(
    base: Plan, winner_of: Mapping[str, WinnerFolds], search: dict[str, Any]
) -> Experiment:
    """The experiment of a nested estimate: every fold has the configuration of its group's winner.

    Args:
        base: of the whole set.
        winner_of: for every fold the winner of the study that never saw its test subject.
        search: the settings of the studies.
    """
    old, folds = base.experiment, sorted(winner_of)
    winners = {fold: winner_of[fold].plan.experiment.digest for fold in folds}
    config = {**old.config, "search": search, "winners": winners}
    planned = {fold.name: fold for fold in old.folds}
    return old.replace(
        digest=nested_digest(config, old.data_digest, old.teacher_digest),
        method=searched_method(old.method),
        selection="nested",
        config=config,
        folds=tuple(planned[fold] for fold in folds),
    )


def score_nested(
    experiment: Experiment, winner_of: Mapping[str, WinnerFolds], ledger: Location
) -> None:
    """Score every fold of a nested estimate once; folds with a record are skipped."""
    records = Ledger(ledger)
    records.open(experiment)
    for fold in records.missing(experiment):
        winner = winner_of[fold]
        record = score_fold(winner.plan, fold, ledger, winner.study)
        host = {**record.host, "trained_as": record.experiment}
        records.put(
            experiment, record.replace(experiment=experiment.digest, selection="nested", host=host)
        )
    for winner in winner_of.values():
        ValLedger(ledger).release_weights(winner.plan.experiment, winner.study)


def scores_by_part(experiment: Experiment, ledger: Location) -> dict[str, dict[str, float]]:
    """UF1 and UAR of a finished experiment, by part of an official split.

    Returns:
        Part ("" where there are none) -> ``uf1``, ``uar``, counts pooled over all folds.
    """
    rows = [row for record in Ledger(ledger).records(experiment) for row in record.predictions]
    scores = {}
    for part in sorted({row.part for row in rows}):
        chosen = [row for row in rows if row.part == part]
        counts = count(chosen, experiment.classes).pooled
        scores[part] = {"uf1": uf1(counts), "uar": uar(counts)}
    return scores


def pooled_test_uf1(experiment: Experiment, ledger: Location) -> float:
    """UF1 over all test clips of a finished experiment."""
    records = Ledger(ledger).records(experiment)
    return uf1(count_records(records, experiment.classes).pooled)
