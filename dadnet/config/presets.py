"""Named recipes: one function each, which returns a whole experiment configuration."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from dadnet.base.errors import unknown
from dadnet.config.baselines import FITTED_BASELINES, ModelType
from dadnet.config.experiment import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    Policy,
)
from dadnet.config.model import Size


def _adam(*, epochs: int, batch_size: int, lr: float) -> OptimConfig:
    return OptimConfig(epochs=epochs, batch_size=batch_size, lr=lr, lr_floor=1.0, weight_decay=0.0)


def smoke(data: DataConfig) -> ExperimentConfig:
    """Small flows and a short schedule: a whole run on a laptop in minutes.

    `python -m orchestration.run_loso --preset smoke`; used by `make demo`. Not a paper's recipe.
    """
    return ExperimentConfig(
        data=data,
        model=ModelConfig(micro_size="ultralight", macro_size="ultralight", input_size=56),
        optim=OptimConfig(
            epochs=30, batch_size=16, lr=2e-3, lr_floor=0.01, warmup_epochs=3, weight_decay=0.05,
            augmentation="hflip",
        ),
    )  # fmt: skip


def reference_v1(data: DataConfig) -> ExperimentConfig:
    """The first public recipe (LanEinstein/DAD-Net v1) with AdamW, epochs chosen on `val`."""
    dfme = data.dataset == "dfme"
    return ExperimentConfig(
        data=data,
        model=ModelConfig(flow_correction="similarity", head="pooled"),
        loss=LossConfig(alignment_weight=0.1) if dfme else LossConfig(),
        optim=OptimConfig(
            epochs=205, batch_size=8, lr=1e-4, lr_floor=0.01, warmup_epochs=5, weight_decay=1e-4,
            augmentation="none" if dfme else "reference-v1",
        ),
    )  # fmt: skip


def reference_v2(data: DataConfig) -> ExperimentConfig:
    """The second public recipe (DAD-Net v2), which differs by dataset and class set.

    Datasets that the recipe does not name use its CAS(ME)^3 row.
    """
    size: Size = "base"
    stages: tuple[int, ...] = (0, 3)
    weight, pruned = 1.0, False
    augmentation: Policy = "hflip"
    if data.dataset == "fourdme":
        stages, weight, augmentation = (0, 2, 3), 1.5, "standard"
    elif data.dataset == "dfme":
        size = {"3class": "small", "7class": "micro"}.get(data.class_set, "base")  # type: ignore[assignment]
        stages, augmentation, pruned = (2, 3), "standard", True
        weight = 1.0 if data.class_set == "7class" else 0.0
    model = ModelConfig(micro_size=size, macro_size=size)
    if pruned:
        model = replace(
            model, channel_attention=False, head="linear", stn=data.class_set != "7class"
        )
    loss = LossConfig(alignment_stages=stages, alignment_weight=weight)
    return ExperimentConfig(
        data=data,
        model=model,
        loss=loss,
        optim=OptimConfig(
            epochs=100, batch_size=32, lr=3e-5, lr_floor=1e-7 / 3e-5, weight_decay=1e-4,
            patience=0 if data.selection == "last" else 30,
            augmentation=augmentation,
        ),
    )  # fmt: skip


# Input size and schedule of each baseline. AdamW without decay is Adam, which most papers use.
# Values that no available source states are our choice, and marked as ours.
_RECIPES: Mapping[ModelType, tuple[int, OptimConfig]] = {
    # The authors' Python code; their Matlab code has the same rate and batch.
    "ststnet": (28, _adam(epochs=800, batch_size=256, lr=5e-5)),
    # Epochs of the public re-run (MEB, table 3); rate and batch are ours.
    "off-apexnet": (28, _adam(epochs=3000, batch_size=256, lr=1e-4)),
    # The authors' code, except for its SGD (momentum 0.9, rate halved every 10 epochs).
    "rcn-a": (60, OptimConfig(epochs=100, batch_size=64, lr=5e-4, weight_decay=0.0)),
    # Ours.
    "dual-inception": (28, _adam(epochs=500, batch_size=256, lr=1e-4)),
    # Epochs of the residual networks of MEB (table 11), decay and batch of He et al.; rate ours.
    "resnet20": (
        32,
        OptimConfig(epochs=200, batch_size=128, lr=1e-3, weight_decay=1e-4, augmentation="hflip"),
    ),
    # HTNet's code, except for its 28 pixels.
    "htnet-like": (32, _adam(epochs=800, batch_size=256, lr=5e-5)),
    # No schedule: these are fitted in one step.
    **dict.fromkeys(FITTED_BASELINES, (112, OptimConfig(epochs=1))),
}


def baseline(name: ModelType, data: DataConfig) -> ExperimentConfig:
    """The recipe of a method's paper, as far as it is published; see `dadnet.models.baselines`.

    `python -m orchestration.run_loso --preset ststnet`. Label smoothing is 0, and the learning rate
    is constant unless the recipe differs. The user chooses the selection, as for all presets.
    """
    size, optim = _RECIPES[name]
    return ExperimentConfig(
        data=data,
        model=ModelConfig(model_type=name, input_size=size),
        loss=LossConfig(label_smoothing=0.0),
        optim=optim,
    )


def with_capped_warmup(optim: OptimConfig, epochs: int) -> OptimConfig:
    """A recipe whose warm-up leaves at least one of so many epochs for the cosine."""
    return replace(optim, warmup_epochs=min(optim.warmup_epochs, max(0, epochs - 1)))


def warmup_note(recipe: OptimConfig, optim: OptimConfig) -> str:
    """One line if a recipe's warm-up does not fit into the epochs of a run, else ""."""
    if recipe.warmup_epochs < optim.epochs or optim.warmup_epochs != optim.epochs - 1:
        return ""
    return (
        f"warm-up: {optim.warmup_epochs} instead of {recipe.warmup_epochs} epochs, since the run "
        f"has {optim.epochs}"
    )


PRESETS: dict[str, Callable[[DataConfig], ExperimentConfig]] = {
    "smoke": smoke,
    "reference-v1": reference_v1,
    "reference-v2": reference_v2,
    **{name: partial(baseline, name) for name in _RECIPES},
}


def get_preset(name: str, data: DataConfig) -> ExperimentConfig:
    """The preset of that name for a dataset.

    Raises:
        DadnetError: if there is none of that name.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name](data)
