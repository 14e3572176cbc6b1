"""Which parameters of a search make a trial good."""

from __future__ import annotations

import warnings
from typing import Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from results.ledger.studies import StudyRecord, TrialRow

_DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")
# Two trials are too few to say anything of a parameter.
FEWEST = 3


def complete_trials(record: StudyRecord) -> list[TrialRow]:
    """Return the trials that saw all their folds."""
    return [row for row in record.trials if row.state == "COMPLETE"]


def varied_parameters(record: StudyRecord) -> list[str]:
    """Return the parameters with different values in at least a few complete trials."""
    rows = complete_trials(record)
    names = sorted({name for row in rows for name in row.params})
    values = {name: [row.params[name] for row in rows if name in row.params] for name in names}
    return [n for n in names if len(values[n]) >= FEWEST and len(set(map(str, values[n]))) > 1]


def is_number(record: StudyRecord, name: str) -> bool:
    """Whether a parameter has numbers, not words or switches."""
    values = [row.params[name] for row in complete_trials(record) if name in row.params]
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def is_log(record: StudyRecord, name: str) -> bool:
    """Whether a parameter is drawn on a logarithmic scale."""
    texts = [row.distributions.get(name) for row in complete_trials(record)]
    known = [optuna.distributions.json_to_distribution(text) for text in texts if text]
    return bool(known) and all(getattr(distribution, "log", False) for distribution in known)


def common_parameters(record: StudyRecord, names: list[str]) -> list[str]:
    """Return the parameters that most complete trials have; the others would leave trials out."""
    rows = complete_trials(record)
    return [name for name in names if 2 * sum(name in row.params for row in rows) >= len(rows)]


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
    rows = complete_trials(record)
    if len({row.values[0] for row in rows if row.values}) < 4:
        return {}
    common = common_parameters(record, sorted({name for row in rows for name in row.params}))
    chosen = [row for row in rows if set(common) <= set(row.params)]
    varied = [name for name in common if len({str(row.params[name]) for row in chosen}) > 1]
    if len(chosen) < 4 or not varied:
        return {}
    study = as_optuna(record)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        importances = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(),
            params=varied,
            target=None if len(record.objectives) == 1 else lambda trial: trial.values[0],
        )
    return {name: float(share) for name, share in importances.items()}
