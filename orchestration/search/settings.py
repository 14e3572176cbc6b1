"""What a study is asked: its settings, the order of its folds, its identity."""

import random
from dataclasses import dataclass
from typing import Literal

import optuna

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from orchestration.folds.plan import Plan, with_config
from orchestration.search.pruning import Pruning
from search_spaces.space import Space, apply_values

SecondObjective = Literal["none", "seconds", "parameters"]


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        space: what is varied.
        num_trials: trials in all; more of them continue the study.
        pruning: the rule that stops a trial.
        second_objective: what is minimised beside the UF1.
        folds_per_trial: folds of a trial; None for all.
        num_startup: random trials before the model of the objective is used.
        level: ``inner`` or ``nested``; group: of an outer group, such as ``1 of 5``.
    """

    space: Space
    num_trials: int
    pruning: Pruning = "folds"
    second_objective: SecondObjective = "none"
    folds_per_trial: int | None = None
    num_startup: int = 10
    level: str = "inner"
    group: str = ""


def check_space(space: Space, plan: Plan) -> None:
    """Raise if what the space returns is no experiment.

    Raises:
        DadnetError: one line.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quiet = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    try:
        values = dict(space.suggest(quiet.ask()))
    except DadnetError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise DadnetError(f"space {space.name}: {type(error).__name__}: {error}") from error
    with_config(plan, apply_values(plan.config, values))


def fold_order(plan: Plan, at_most: int | None) -> tuple[str, ...]:
    """The folds, shuffled with the experiment's seed: the same for all trials."""
    names = sorted(fold.name for fold in plan.folds)
    random.Random(seed_hash("fold order", plan.config.seed)).shuffle(names)
    return tuple(names[:at_most])


def study_digest(plan: Plan, settings: SearchSettings) -> str:
    """Hash of all that changes a search but the number of trials."""
    return digest16(
        {
            "schema": 1,
            "base": plan.experiment.digest,
            "space": settings.space.name,
            "pruning": settings.pruning,
            "second_objective": settings.second_objective,
            "folds_per_trial": settings.folds_per_trial,
            "num_startup": settings.num_startup,
        }
    )
