"""The spaces of the datasets: alignment plus what the public recipe (v2) varied between them.

It varied student size, augmentation and which modules are removed (channel attention, head
attention, spatial transformer). The teacher is fixed, so the student's size is the only one.
"""

from dataclasses import dataclass
from typing import Any

from dadnet.config.experiment import ExperimentConfig
from search_spaces import alignment
from search_spaces.space import Space, Trial, Values


@dataclass(frozen=True)
class RecipeSpace:
    """Alignment, and the choices that a recipe made for one dataset.

    Attributes:
        sizes: of the student.
        augmentations: policies.
        pruned: whether the modules may be left out.
    """

    sizes: tuple[str, ...]
    augmentations: tuple[str, ...]
    pruned: bool

    def suggest(self, trial: Trial) -> Values:
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
            names = ("stn", "channel_attention", "head")
            params |= {name: getattr(config.model, name) for name in names}
        return params


# By dataset: sizes, augmentations, whether modules may be left out, purpose.
_RECIPES = {
    # The recipe went from micro (7 classes) to base (4) and removed modules.
    "dfme": (
        RecipeSpace(("micro", "small", "base"), ("none", "standard"), pruned=True),
        "alignment, student size, augmentation and pruned modules for DFME",
    ),
    # The recipe took the base student, stages 0, 2, 3 and the `standard` augmentation.
    "fourdme": (
        RecipeSpace(("micro", "small", "base"), ("hflip", "standard"), pruned=False),
        "alignment, student size and augmentation for 4DME",
    ),
    # The recipe took the base student, stages 0 and 3 and flips.
    "casme3": (
        RecipeSpace(("micro", "small", "base"), ("hflip", "standard"), pruned=False),
        "alignment, student size and augmentation for CAS(ME)^3",
    ),
    # 147 clips call for smaller students, stronger augmentation and fewer modules.
    "casme2": (
        RecipeSpace(
            ("ultralight", "micro", "small", "base"), ("none", "hflip", "standard"), pruned=True
        ),
        "alignment, student size, augmentation and pruned modules for CASME II",
    ),
}
SPACES = tuple(
    Space(name, purpose, recipe.suggest, recipe.params_of)
    for name, (recipe, purpose) in _RECIPES.items()
)
