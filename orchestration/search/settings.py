"""The settings of a study: its identity, the order of its folds, its pruning rule, its sampler.

Pruning by fold: all trials take the folds in one seeded, shuffled order, so that the k-th report of
two trials is of the same fold. The reported value is the UF1 of the fold's val clips, because the
study maximises UF1. The log-loss would be less noisy, but it also measures confidence: with label
smoothing in the space it stops better trials that are less confident (docs/search.md). A trial is
pruned when a paired one-sided Wilcoxon test finds its folds worse than those of the best trial so
far. The rule is lenient: it never prunes before `MIN_FOLDS` folds, nor while the trial has the
better mean.

Pruning by epoch: asynchronous successive halving (Li et al. 2018) over the epochs of all folds.
"""

import random
import warnings
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from orchestration.folds.plan import Plan, with_config
from orchestration.search.flags import Pruning, SecondObjective
from search_spaces.space import Space, apply_values

MIN_FOLDS = 6
# Of each of the tests after a fold; docs/search.md shows the trade-off that chose it.
P_THRESHOLD = 0.01


@dataclass(frozen=True)
class StudySettings:
    """How to search.

    Attributes:
        space: what is varied.
        num_trials: trials in all; with a larger number a finished study continues.
        pruning: the rule that stops a trial early.
        second_objective: what is minimised beside the maximised UF1.
        folds_per_trial: folds of a trial; None for all.
        num_startup: random trials before the sampler's model is used.
        level: ``inner`` or ``nested``.
        group: name of the outer group that is left out, such as ``1 of 5``.
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
    """Check that the space returns values of an experiment.

    Raises:
        DadnetError: if it does not; one line.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    try:
        values = space.draw(study.ask())
    except DadnetError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise DadnetError(f"space {space.name}: {type(error).__name__}: {error}") from error
    with_config(plan, apply_values(plan.config, values))


def fold_order(plan: Plan, at_most: int | None) -> tuple[str, ...]:
    """The folds, shuffled with the experiment's seed: the same order for all trials."""
    names = sorted(fold.name for fold in plan.folds)
    random.Random(seed_hash("fold order", plan.config.seed)).shuffle(names)
    return tuple(names[:at_most])


def study_digest(plan: Plan, settings: StudySettings) -> str:
    """Hash of everything that changes a study except the number of trials."""
    return digest16(
        {
            "schema": 1,
            "base": plan.experiment.digest,
            "space": settings.space.name,
            "pruning": settings.pruning,
            "second_objective": settings.second_objective,
            "folds_per_trial": settings.folds_per_trial,
            "num_startup": settings.num_startup,
            # Studies that were judged by log-loss are other ones.
            **({} if settings.pruning == "none" else {"judged_by": "val_uf1"}),
        }
    )


def make_pruner(pruning: Pruning, epochs: int, p_threshold: float = P_THRESHOLD) -> BasePruner:
    """The pruning rule of a name; the first rung of `asha` is a tenth of a fold's epochs."""
    if pruning == "none":
        return NopPruner()
    if pruning == "asha":
        return SuccessiveHalvingPruner(min_resource=max(1, epochs // 10), reduction_factor=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return WilcoxonPruner(p_threshold=p_threshold, n_startup_steps=MIN_FOLDS)


class SeededTPESampler(BaseSampler):
    """Multivariate TPE with groups and constant liar (Bergstra et al. 2011, as in Optuna).

    Every draw depends on the study's seed, the trial's number and the parameter alone. Optuna's
    own sampler draws from one stream, which starts again when a killed study continues, so that the
    study would propose other trials than an uninterrupted one. Here the proposal is a function of
    the seed, the trial's number and the finished trials.

    Groups model parameters that occur together, so that a conditional space is searched as
    one; the constant liar counts running trials as bad ones, so that two trials at once differ.

    A pruned trial counts as worse than every complete one, as in Optuna. This is deliberate: an
    estimate of its full UF1, paired by fold with the complete trials, classes more of the truly
    best trials as good, but found neither better winners nor the known region more often
    (docs/search.md).

    Args:
        seed: of the study.
        num_startup: random trials before the model is used.
    """

    def __init__(self, seed: int, num_startup: int = 10) -> None:
        self._seed, self._num_startup = seed, num_startup
        self._relative: tuple[int, TPESampler] | None = None

    def _tpe(self, trial: FrozenTrial, purpose: str) -> TPESampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(
                n_startup_trials=self._num_startup,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=seed_hash("proposal", self._seed, trial.number, purpose) % 2**32,
            )

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are drawn jointly; `sample_relative` uses the same sampler."""
        sampler = self._tpe(trial, "together")
        self._relative = trial.number, sampler
        return sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the joint parameters."""
        assert self._relative is not None
        assert self._relative[0] == trial.number
        return self._relative[1].sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter independently of the others."""
        sampler = self._tpe(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)
