"""The spaces of the datasets: alignment plus what the public recipe (v2) varied between them.

It varied student size, augmentation and which modules are pruned (channel attention, head
attention, spatial transformer). The teacher is fixed, so the student's size is the only one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dadnet.config.experiment import ExperimentConfig
from search_spaces import alignment
from search_spaces.space import Space, Values

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class RecipeSpace:
    """Alignment, and the choices that a recipe made for one dataset.

    Attributes:
        sizes: sizes of the student.
        augmentations: policies.
        pruned: whether the modules may be left out.
    """

    sizes: tuple[str, ...]
    augmentations: tuple[str, ...]
    pruned: bool

    def suggest(self, trial: optuna.Trial) -> Values:
        """Alignment first, then architecture and augmentation."""
        values = {
            **alignment.suggest(trial),
            "model.micro_size": trial.suggest_categorical("micro_size", self.sizes),
            "optim.augmentation": trial.suggest_categorical("augmentation", self.augmentations),
        }
        if self.pruned:
            values["model.stn"] = trial.suggest_categorical("stn", [True, False])
            values["model.channel_attention"] = trial.suggest_categorical(
                "channel_attention", [True, False]
            )
            values["model.head"] = trial.suggest_categorical("head", ["tokens", "linear"])
        return values

    def params_of(self, config: ExperimentConfig) -> dict[str, Any]:
        """The parameters of an experiment."""
        params = {
            **alignment.params_of(config),
            "micro_size": config.model.micro_size,
            "augmentation": config.optim.augmentation,
        }
        if self.pruned:
            params["stn"] = config.model.stn
            params["channel_attention"] = config.model.channel_attention
            params["head"] = config.model.head
        return params

    def space(self, name: str, purpose: str) -> Space:
        """As a named space."""
        return Space(name, purpose, self.suggest, self.params_of)
