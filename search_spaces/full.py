"""Everything at once: alignment, architecture, augmentation and optimiser."""

from typing import Any

from dadnet.config.experiment import ExperimentConfig
from search_spaces import optim
from search_spaces.recipe import RecipeSpace
from search_spaces.space import Space, Trial, Values

_RECIPE = RecipeSpace(
    ("ultralight", "nano", "micro", "tiny", "small", "base"),
    ("none", "hflip", "standard"),
    pruned=True,
)


def suggest(trial: Trial) -> Values:
    """What the recipes varied, stochastic depth, and the optimiser."""
    drop_path = {"model.drop_path": trial.suggest_float("drop_path", 0.0, 0.3)}
    return {**_RECIPE.suggest(trial), **drop_path, **optim.suggest(trial)}


def params_of(config: ExperimentConfig) -> dict[str, Any]:
    """The parameters of an experiment."""
    drop_path = {"drop_path": config.model.drop_path}
    return {**_RECIPE.params_of(config), **drop_path, **optim.params_of(config)}


SPACE = Space("full", "alignment, architecture, augmentation and optimiser", suggest, params_of)
