"""The experiment: everything that changes a number, in frozen dataclasses, and its digest.

Command line, presets and records use these classes. The string under each field is its help text.
Device, workers, stack size and paths do not belong here.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode
from dadnet.config.baselines import BASELINES, FITTED_BASELINES
from dadnet.config.checks import check_fields, is_whole, require, require_count
from dadnet.config.model import ModelConfig as ModelConfig

Policy = Literal["none", "hflip", "standard", "reference-v1"]
Alignment = Literal["gswd", "sliced-wasserstein", "mmd", "l2", "kl", "pkt", "crd", "coral", "none"]
SLICED = ("gswd", "sliced-wasserstein")  # only these have projections and a form
Precision = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which clips, which classes, which folds, and what may choose the epoch."""

    dataset: str = "synthetic"
    """Name of the dataset that the flow store holds."""
    class_set: str = "3class"
    """Map from emotions to classes, such as 3class, 4class, 5class or 7class, or a set of labels of
    which a clip has any number: action-units, action-units-12, 5class-multi. own: the words of the
    flow store; FILE.yaml: your own map (docs/own_data.md)."""
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
        check_fields(self)
        require(self, "dataset", bool(self.dataset), "a name")
        require_count(self, "num_folds", 2)
        fraction = 0.05 <= self.val_fraction <= 0.5
        require(self, "val_fraction", fraction, "a share from 0.05 to 0.5")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross-entropy (of labels: binary, their mean) + alignment_weight * mean over stages of the
    alignment."""

    alignment: Alignment = "gswd"
    """What is aligned: gswd is DAD-Net's; the others are for comparison. none: no alignment."""
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
        check_fields(self)
        stages = self.alignment_stages
        whole = isinstance(stages, tuple) and all(map(is_whole, stages))
        rising = whole and tuple(sorted({*stages} & {0, 1, 2, 3})) == stages
        require(self, "alignment_stages", rising, "rising stages out of 0,1,2,3")
        require(self, "alignment_weight", self.alignment_weight >= 0, "0 or more")
        require_count(self, "num_projections", 1)
        require(self, "label_smoothing", 0 <= self.label_smoothing < 1, "0 <= s < 1")


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
    augmentation: Policy | OwnCode = "none"
    """Augmentation policy; vectors turn with the field. Or a function of your own,
    FILE.py:function, from flows in pixels (B, 2, H, W) and a generator to such flows; the file
    runs with your rights, here and on every worker. See docs/own_model.md."""
    precision: Precision = "float32"
    """How a training step multiplies: float32, tf32 (GPUs only) or bf16; scores are float32."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.augmentation, OwnCode):
            known = get_args(Policy)
            expected = f"one of {', '.join(known)} or FILE.py:function"
            require(self, "augmentation", self.augmentation in known, expected)
        for name in ("epochs", "batch_size"):
            require_count(self, name, 1)
        require(self, "lr", self.lr > 0, "more than 0")
        require(self, "lr_floor", 0 <= self.lr_floor <= 1, "0 to 1")
        warms_up = 0 <= self.warmup_epochs < self.epochs
        require(self, "warmup_epochs", warms_up, f"0 to below epochs ({self.epochs})")
        for name in ("weight_decay", "patience"):
            require(self, name, getattr(self, name) >= 0, ">= 0")


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
        check_fields(self)
        require(self, "seed", self.seed >= 0, "0 or more")
        if self.data.selection == "last" and self.optim.patience:
            raise DadnetError(
                "patience: expected 0 with selection 'last', which looks at no validation part"
            )

    @property
    def num_epochs(self) -> int:
        """Epochs at most; a fitted baseline has one."""
        return 1 if self.model.model_type in FITTED_BASELINES else self.optim.epochs

    @property
    def aligned(self) -> bool:
        """Whether the teacher is run."""
        return (
            self.model.model_type == "dad_net"
            and self.loss.alignment != "none"
            and self.loss.alignment_weight > 0
            and bool(self.loss.alignment_stages)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain nested JSON of every field.

        A field that was added later is left out at its default, so that experiments written before
        it keep their JSON.
        """
        config: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if self.loss.alignment == "gswd":
            del config["loss"]["alignment"]
        config["model"] = self.model.to_json()
        return config

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ExperimentConfig":
        """Build from :meth:`to_json`.

        Raises:
            DadnetError: if a key is unknown or a value is out of its range.
        """
        parts: dict[str, Any] = {
            "data": DataConfig, "model": ModelConfig, "loss": LossConfig, "optim": OptimConfig,
        }  # fmt: skip
        _reject_unknown("experiment", data, {*parts, "seed"})
        built: dict[str, Any] = {"seed": data["seed"]} if "seed" in data else {}
        for name, part in parts.items():
            values = _mapping(name, data.get(name, {}))
            _reject_unknown(name, values, {f.name for f in dataclasses.fields(part)})
            if isinstance(values.get("alignment_stages"), list):
                values["alignment_stages"] = tuple(values["alignment_stages"])
            if isinstance(own := values.get("augmentation"), Mapping):
                values["augmentation"] = OwnCode.from_json(own)
            built[name] = ModelConfig.from_json(values) if name == "model" else part(**values)
        return cls(**built)

    def method(self) -> str:
        """The name of a row on the leaderboard."""
        model = self.model
        student = model.student_name
        name = student if model.own_alone else f"MicroFlowNeXt ({student})"
        if model.model_type in BASELINES:
            name = BASELINES[model.model_type].title
        elif model.model_type == "dad_net":
            name = f"DAD-Net ({student}/{model.macro_size})"
            if self.loss.alignment != "gswd":
                name += f", alignment {self.loss.alignment}"
        return name + (", labels shuffled" if self.data.shuffle_labels else "")


def _mapping(where: str, data: object) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise DadnetError(f"{where}: expected fields by name, got {data!r}")
    return dict(data)


def _reject_unknown(where: str, data: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(_mapping(where, data)) - known):
        raise DadnetError(
            f"{where}: unknown {', '.join(unknown)}; available are {', '.join(sorted(known))}"
        )


def experiment_digest(
    config: ExperimentConfig, data_digest: str, teacher_digest: str | None
) -> str:
    """Hash of all that changes a number: 16 hexadecimal digits of SHA-256.

    Unused fields are left out, so that they cannot split one experiment in two: only a `dad_net`
    has a teacher and an alignment.

    Args:
        config: the configuration.
        data_digest: digest of the flow store.
        teacher_digest: hash of the teacher's weights, None without a teacher.
    """
    used = config.to_json()
    if (own := config.model.model) is not None:
        names = ("model_type", "macro_size", "input_size", "model_args")
        used["model"] = {name: used["model"][name] for name in names} | {"model": own.digest}
    if isinstance(config.optim.augmentation, OwnCode):
        used["optim"]["augmentation"] = config.optim.augmentation.digest
    if config.model.model_type != "dad_net":
        del used["model"]["macro_size"]
        used["loss"] = {"label_smoothing": config.loss.label_smoothing}
        teacher_digest = None
    elif config.loss.alignment == "none":
        used["loss"] = {"alignment": "none", "label_smoothing": config.loss.label_smoothing}
    elif config.loss.alignment not in SLICED:
        del used["loss"]["num_projections"], used["loss"]["gswd_form"]
    if config.model.model_type in BASELINES:
        used["model"] = {
            "model_type": config.model.model_type,
            "input_size": config.model.input_size,
        }
    if config.model.model_type in FITTED_BASELINES:
        used["loss"] = used["optim"] = {}
    elif config.optim.precision == "float32":
        del used["optim"]["precision"]  # as before this field was added
    if config.data.selection != "inner":
        del used["data"]["val_fraction"]
    if config.data.protocol != "group-kfold":
        del used["data"]["num_folds"]
    canonical = json.dumps(
        {"schema": 1, "config": used, "data": data_digest, "teacher": teacher_digest},
        sort_keys=True,
        separators=(",", ":"),
    )
    return content_digest(canonical)
