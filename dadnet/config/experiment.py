"""The experiment: everything that changes a number, in frozen dataclasses, and its digest.

The command line, the presets and the records use these classes, so there is one definition. The
string under each field is its help text. Device, workers, stack size and paths are not in here.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dadnet.base.errors import DadnetError

Size = Literal["ultralight", "nano", "micro", "tiny", "small", "base"]
ModelType = Literal[
    "dad_net",
    "baseline",
    "ststnet",
    "off-apexnet",
    "rcn-a",
    "dual-inception",
    "resnet20",
    "htnet-like",
    "mdmo-svm",
    "lbp-svm",
    "majority",
    "prior-draw",
]
# Rows of the leaderboard of those that are not ours; see `dadnet.models.baselines`.
BASELINE_NAMES: Mapping[ModelType, str] = {
    "ststnet": "STSTNet",
    "off-apexnet": "OFF-ApexNet",
    "rcn-a": "RCN-A",
    "dual-inception": "Dual-Inception",
    "resnet20": "ResNet-20",
    "htnet-like": "HTNet-like",
    "mdmo-svm": "MDMO-like + linear SVM",
    "lbp-svm": "LBP of flow + linear SVM",
    "majority": "majority class",
    "prior-draw": "draw by class shares",
}
# By scikit-learn, in one go.
FITTED_BASELINES: tuple[ModelType, ...] = ("mdmo-svm", "lbp-svm", "majority", "prior-draw")
Policy = Literal["none", "hflip", "standard", "reference-v1"]
Alignment = Literal["gswd", "sliced-wasserstein", "mmd", "l2", "kl", "pkt", "crd", "coral", "none"]
SLICED = ("gswd", "sliced-wasserstein")  # these alone have projections and a form
Precision = Literal["float32", "tf32", "bf16"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DadnetError(message)


def _check_choices(config: Any) -> None:
    """Raise if a field annotated with ``Literal`` holds a value outside it."""
    for name, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is Literal and getattr(config, name) not in get_args(hint):
            raise DadnetError(
                f"{name}: expected one of {', '.join(map(str, get_args(hint)))}, "
                f"got {getattr(config, name)!r}"
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which clips, which classes, which folds, and what may choose the epoch."""

    dataset: str = "synthetic"
    """Name of the dataset that the flow store holds."""
    class_set: str = "3class"
    """Map from emotions to classes, such as 3class, 4class, 5class or 7class, or a set of labels of
    which a clip has any number: action-units, action-units-12, 5class-multi."""
    protocol: Literal["loso", "official", "cde", "cross-dataset", "group-kfold"] = "loso"
    """Rule from clips to folds: one subject left out per fold (loso; cde: the same over several
    datasets together), the parts given by the set (official), one dataset left out per fold
    (cross-dataset), or so many groups of subjects (group-kfold)."""
    num_folds: int = 10
    """Folds of group-kfold; DFME's paper has 10."""
    selection: Literal["inner", "last", "oracle"] = "inner"
    """What chooses the epoch: a part of the training subjects, nothing (the last epoch), or the
    test subject (oracle: only to show the damage, never ranked)."""
    val_fraction: float = 0.2
    """Share of the training clips that `inner` selection keeps for validation."""
    normalisation: Literal["clip", "fit"] = "clip"
    """Statistics for the z-score per channel: of each clip itself, or of the fit clips."""
    shuffle_labels: bool = False
    """Permute the labels over the clips: a control, whose score must be at chance."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _require(bool(self.dataset), "dataset: expected a name, got an empty string")
        _require(self.num_folds >= 2, f"num_folds: expected 2 or more, got {self.num_folds}")
        _require(
            0.05 <= self.val_fraction <= 0.5,
            f"val_fraction: expected a share from 0.05 to 0.5, got {self.val_fraction}",
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network. `baseline` is the student alone."""

    model_type: ModelType = "dad_net"
    """Dual stream with a frozen teacher, the student alone (baseline), or a rival: then of all
    else about the model only input_size counts, and of the loss only label_smoothing."""
    micro_size: Size = "micro"
    """Size of the trainable student."""
    macro_size: Size = "ultralight"
    """Size of the frozen teacher."""
    input_size: int = 224
    """Side of the flow field in pixels, at least 32 (28 for most rivals); stored flows of another
    size are resized."""
    flow_correction: Literal["inverse", "similarity"] = "inverse"
    """How the spatial transformer corrects the vectors it resamples."""
    head: Literal["tokens", "pooled", "linear"] = "tokens"
    """Attention over positions, the reference's head at batch size one, or none."""
    stn: bool = True
    """Spatial transformer in front of the student."""
    channel_attention: bool = True
    """Peak-enhanced channel attention between the stages."""
    drop_path: float = 0.0
    """Stochastic depth at the last block; grows linearly from 0. The reference uses none."""

    def __post_init__(self) -> None:
        _check_choices(self)
        rival = self.model_type in BASELINE_NAMES
        _require(
            self.input_size >= (28 if rival else 32),
            f"input_size: expected at least {'28' if rival else '32 (the stages halve 4, 2, 2, 2)'}"
            f", got {self.input_size}",
        )
        _require(
            self.model_type != "htnet-like" or self.input_size % 8 == 0,
            f"input_size: expected a multiple of 8 for htnet-like, got {self.input_size}",
        )
        _require(0 <= self.drop_path < 1, f"drop_path: expected 0 <= p < 1, got {self.drop_path}")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross-entropy (of labels: binary, their mean) + alignment_weight * mean over stages of the
    alignment."""

    alignment: Alignment = "gswd"
    """What is aligned: gswd is DAD-Net's; the others are rivals. none: no alignment at all."""
    alignment_weight: float = 0.5
    """Weight lambda of the alignment."""
    alignment_stages: tuple[int, ...] = (2, 3)
    """Stages whose features are aligned, counted from 0 as the reference does: 2,3 are the last
    two of four."""
    num_projections: int = 100
    """Number L of projections of a sliced distance."""
    gswd_form: Literal["tokens", "flat"] = "tokens"
    """One point per position, or (the reference's first form) one per clip."""
    label_smoothing: float = 0.05
    """Label smoothing of the cross-entropy; of labels, over the two values of each."""

    def __post_init__(self) -> None:
        _check_choices(self)
        stages = tuple(sorted(set(self.alignment_stages)))
        _require(
            stages == self.alignment_stages and set(stages) <= {0, 1, 2, 3},
            f"alignment_stages: expected rising stages out of 0,1,2,3, "
            f"got {','.join(map(str, self.alignment_stages))}",
        )
        _require(
            self.alignment_weight >= 0,
            f"alignment_weight: expected 0 or more, got {self.alignment_weight}",
        )
        _require(
            self.num_projections >= 1,
            f"num_projections: expected 1 or more, got {self.num_projections}",
        )
        _require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing: expected 0 <= s < 1, got {self.label_smoothing}",
        )


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW with a linear warm-up and a cosine, and the augmentation."""

    epochs: int = 100
    """Epochs at most."""
    batch_size: int = 32
    """Clips per step."""
    lr: float = 3e-5
    """Peak learning rate."""
    lr_floor: float = 0.0033
    """Learning rate at the end of the cosine, as a share of the peak."""
    warmup_epochs: int = 0
    """Epochs of linear warm-up."""
    weight_decay: float = 1e-4
    """AdamW's decoupled weight decay."""
    patience: int = 0
    """Stop after so many epochs without a better `val` score; 0: never."""
    augmentation: Policy = "none"
    """Augmentation policy; vectors turn with the field."""
    precision: Precision = "float32"
    """How a training step multiplies: float32, tf32 (GPUs only) or bf16; scores are float32."""

    def __post_init__(self) -> None:
        _check_choices(self)
        for name in ("epochs", "batch_size"):
            _require(
                getattr(self, name) >= 1, f"{name}: expected 1 or more, got {getattr(self, name)}"
            )
        _require(self.lr > 0, f"lr: expected more than 0, got {self.lr}")
        _require(0 <= self.lr_floor <= 1, f"lr_floor: expected 0 to 1, got {self.lr_floor}")
        _require(
            0 <= self.warmup_epochs < self.epochs,
            f"warmup_epochs: expected 0 to below epochs ({self.epochs}), got {self.warmup_epochs}",
        )
        _require(self.weight_decay >= 0, f"weight_decay: expected >= 0, got {self.weight_decay}")
        _require(self.patience >= 0, f"patience: expected >= 0, got {self.patience}")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """All that a user can choose and that changes a number."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 42
    """Seed of every draw."""

    def __post_init__(self) -> None:
        _require(self.seed >= 0, f"seed: expected 0 or more, got {self.seed}")
        _require(
            not (self.data.selection == "last" and self.optim.patience),
            "patience: expected 0 with selection 'last', which looks at no validation part",
        )

    @property
    def num_epochs(self) -> int:
        """Epochs at most; what is fitted in one go has one."""
        return 1 if self.model.model_type in FITTED_BASELINES else self.optim.epochs

    @property
    def aligned(self) -> bool:
        """Whether a teacher is run at all."""
        return (
            self.model.model_type == "dad_net"
            and self.loss.alignment != "none"
            and self.loss.alignment_weight > 0
            and bool(self.loss.alignment_stages)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain nested JSON of every field.

        A choice that was not there at first is left out at its default, so that what was written
        before it is still the same experiment.
        """
        config: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if self.loss.alignment == "gswd":
            del config["loss"]["alignment"]
        return config

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ExperimentConfig":
        """Build from :meth:`to_json`.

        Raises:
            DadnetError: if a key is unknown or a value is out of its range.
        """
        parts: dict[str, Any] = {
            "data": DataConfig,
            "model": ModelConfig,
            "loss": LossConfig,
            "optim": OptimConfig,
        }
        _reject_unknown("experiment", data, {*parts, "seed"})
        built: dict[str, Any] = {"seed": data.get("seed", 42)}
        for name, part in parts.items():
            values = dict(data.get(name, {}))
            _reject_unknown(name, values, {f.name for f in dataclasses.fields(part)})
            if "alignment_stages" in values:
                values["alignment_stages"] = tuple(values["alignment_stages"])
            built[name] = part(**values)
        return cls(**built)

    def method(self) -> str:
        """The name of a row on the leaderboard."""
        name = BASELINE_NAMES.get(self.model.model_type, f"MicroFlowNeXt ({self.model.micro_size})")
        if self.model.model_type == "dad_net":
            name = f"DAD-Net ({self.model.micro_size}/{self.model.macro_size})"
            if self.loss.alignment != "gswd":
                name += f", alignment {self.loss.alignment}"
        return name + (", labels shuffled" if self.data.shuffle_labels else "")


def _reject_unknown(where: str, data: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(data) - known):
        raise DadnetError(
            f"{where}: unknown {', '.join(unknown)}; available are {', '.join(sorted(known))}"
        )


def experiment_digest(
    config: ExperimentConfig, data_digest: str, teacher_digest: str | None
) -> str:
    """Hash of all that changes a number: 16 hexadecimal digits of SHA-256.

    What a configuration does not use is left out, so that it cannot split one experiment in two:
    only a `dad_net` has a teacher and an alignment.

    Args:
        config: the user's choices.
        data_digest: digest of the flow store.
        teacher_digest: hash of the teacher's weights, None without a teacher.
    """
    used = config.to_json()
    if config.model.model_type != "dad_net":
        del used["model"]["macro_size"]
        used["loss"] = {"label_smoothing": config.loss.label_smoothing}
        teacher_digest = None
    elif config.loss.alignment == "none":
        used["loss"] = {"alignment": "none", "label_smoothing": config.loss.label_smoothing}
    elif config.loss.alignment not in SLICED:
        del used["loss"]["num_projections"], used["loss"]["gswd_form"]
    if config.model.model_type in BASELINE_NAMES:
        used["model"] = {
            "model_type": config.model.model_type,
            "input_size": config.model.input_size,
        }
    if config.model.model_type in FITTED_BASELINES:
        used["loss"] = used["optim"] = {}
    elif config.optim.precision == "float32":
        del used["optim"]["precision"]  # as before there was a choice
    if config.data.selection != "inner":
        del used["data"]["val_fraction"]
    if config.data.protocol != "group-kfold":
        del used["data"]["num_folds"]
    canonical = json.dumps(
        {"schema": 1, "config": used, "data": data_digest, "teacher": teacher_digest},
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
