"""A study's record as an Optuna study again, and the importances of its parameters."""

from __future__ import annotations

import warnings
from typing import Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from results.ledger.studies import StudyRecord, TrialRow

_DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")


def as_optuna(record: StudyRecord) -> optuna.Study:
    """The study in memory: for Optuna's figures, not to go on with."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=_DIRECTIONS[: len(record.objectives)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(record.objectives))
    for row in record.trials:
        study.add_trial(_frozen(row))
    return study


def _frozen(row: TrialRow) -> optuna.trial.FrozenTrial:
    distributions = {
        name: optuna.distributions.json_to_distribution(text)
        for name, text in row.distributions.items()
    }
    return optuna.trial.create_trial(
        state=TrialState[row.state],
        values=None if row.values is None else list(row.values),
        params=dict(row.params),
        distributions=distributions,
        intermediate_values=dict(row.reports),
        user_attrs={"num_folds": row.num_folds, "val_uf1": row.val_uf1},
    )


def parameter_importances(record: StudyRecord) -> dict[str, float]:
    """Share of each parameter in what makes a trial good, by PED-ANOVA (Watanabe et al. 2023).

    Conditional parameters count where at least half of the complete trials have them; the others
    trials are then left out.

    Returns:
        Parameter -> share, largest first, sum 1; empty with fewer than four complete trials or if
        all are equal.
    """
    rows = [row for row in record.trials if row.state == "COMPLETE" and row.values]
    if len({row.values[0] for row in rows if row.values}) < 4:
        return {}
    names = sorted({name for row in rows for name in row.params})
    common = [name for name in names if 2 * sum(name in row.params for row in rows) >= len(rows)]
    chosen = [row for row in rows if set(common) <= set(row.params)]
    varied = [name for name in common if len({str(row.params[name]) for row in chosen}) > 1]
    if len(chosen) < 4 or not varied:
        return {}
    study = as_optuna(record)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(),
            params=varied,
            target=None if len(record.objectives) == 1 else lambda trial: trial.values[0],
        )
    return {name: float(share) for name, share in found.items()}
