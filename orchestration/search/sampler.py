"""TPE whose every draw depends on the study's seed, the trial and the parameter alone.

Optuna's sampler draws from one stream, so a search that is killed and continued would propose
other trials than one that was not: the stream starts again. Here a trial's proposal is a function
of (seed, number of the trial, finished trials), however often it is asked for.
"""

import warnings
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from dadnet.base.seeding import seed_hash


class SeededTPESampler(BaseSampler):
    """Multivariate TPE with groups and constant liar (Bergstra et al. 2011, as in Optuna).

    Groups model parameters that occur together, so that a conditional space is searched as
    one; the constant liar counts running trials as bad ones, so that two trials at once differ.

    A stopped trial counts as worse than every complete one, as in Optuna. On purpose: an estimate
    of its full UF1, paired by fold with the complete trials, names more of the truly best trials
    good, but found neither better winners nor the known region more often (docs/search.md).

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
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together; the sampler is kept for drawing them."""
        sampler = self._tpe(trial, "together")
        self._relative = trial.number, sampler
        return sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn together."""
        assert self._relative is not None
        assert self._relative[0] == trial.number
        return self._relative[1].sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter by itself."""
        sampler = self._tpe(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)
