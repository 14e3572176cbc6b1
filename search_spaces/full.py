"""Everything at once: alignment, architecture, augmentation and optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dadnet.config.experiment import ExperimentConfig
from search_spaces import optim
from search_spaces.recipe import RecipeSpace
from search_spaces.space import Space, Values

if TYPE_CHECKING:
    import optuna

_RECIPE = RecipeSpace(
    sizes=("ultralight", "nano", "micro", "tiny", "small", "base"),
    augmentations=("none", "hflip", "standard"),
    pruned=True,
)


def suggest(trial: optuna.Trial) -> Values:
    """What the recipes varied, stochastic depth, and the optimiser."""
    drop_path = {"model.drop_path": trial.suggest_float("drop_path", 0.0, 0.3)}
    return {**_RECIPE.suggest(trial), **drop_path, **optim.suggest(trial)}


def params_of(config: ExperimentConfig) -> dict[str, Any]:
    """The parameters of an experiment."""
    drop_path = {"drop_path": config.model.drop_path}
    return {**_RECIPE.params_of(config), **drop_path, **optim.params_of(config)}


SPACE = Space("full", "alignment, architecture, augmentation and optimiser", suggest, params_of)
