"""The flags of the commands that work on weights and datasets, and of the teacher.

A command line is parsed before the work's imports, which take seconds: nothing here loads torch,
pandas or OpenCV.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dadnet.base import cli
from dadnet.base.errors import DadnetError, unknown
from dadnet.base.location import Location
from dadnet.config.experiment import OptimConfig
from dadnet.config.model import Size
from dadnet.config.presets import warmup_note, with_capped_warmup

# Datasets with an official layout that is read; `dadnet.datasets.official.registry` reads them.
OFFICIAL = (
    "casme2", "casme3", "casme3c", "fourdme", "dfme", "samm", "smic", "ckplus", "synthetic",
    "synthetic-macro",
)  # fmt: skip
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}


@dataclass(frozen=True, kw_only=True)
class DoctorFlags:
    """What to compare."""

    dataset: Annotated[str, tyro.conf.arg(help=f"Name of the dataset: {', '.join(OFFICIAL)}.")]
    root: Path
    """Folder of the dataset."""
    annotation: Path | None = None
    """Annotation file, if there are several."""
    frames: str = "auto"
    """Folder of the frames below the root."""

    def __post_init__(self) -> None:
        if self.dataset not in OFFICIAL:
            raise unknown("dataset", self.dataset, OFFICIAL)


@dataclass(frozen=True, kw_only=True)
class PredictFlags:
    """The weights, the clips, and the form of the output."""

    weights: tuple[Path, ...]
    """Model files (.safetensors), or the folder of an experiment in the ledger: runs/SET/DIGEST."""
    input: tuple[Path, ...] = ()
    """Flows (.npy), an onset and an apex frame, a folder of either, or a flow store."""
    probs: bool = False
    """Print the probability of every class."""
    json: bool = False
    """Print one JSON document."""
    card: bool = False
    """Print the cards of the weights as JSON, and stop."""
    device: str = "cpu"
    """torch's name of the device."""
    run_source: bool = False
    """Run the source that the weights of a user's own network hold, with your rights."""

    def __post_init__(self) -> None:
        if not self.weights:
            raise DadnetError("weights: expected at least one file or folder")
        if not self.input and not self.card:
            raise DadnetError("input: expected a clip, a folder or a flow store (--input)")


@dataclass(frozen=True, kw_only=True)
class ConvertFlags:
    """The checkpoint, and facts that it does not contain."""

    file: Annotated[Path, tyro.conf.Positional]
    """The checkpoint (.pth, .pt)."""
    out: Annotated[Path, tyro.conf.Positional]
    """The model file to write (.safetensors)."""
    classes: tuple[str, ...]
    """Class names in the order of its outputs, such as negative,positive,surprise."""
    branch: Literal["student", "teacher"] | None = None
    """Which stream to take from a checkpoint of two."""
    dataset: str = ""
    """Dataset of its training subjects: the audit refuses to test on them. Without it the file
    cannot be a teacher."""
    input_size: int | None = None
    """Side of its flow field in pixels; default: derived from its spatial transformer."""
    flow_correction: Literal["inverse", "similarity"] | None = None
    """Correction of the vectors; default: similarity for the first public layout, else inverse."""
    stn: bool = True
    """Whether its spatial transformer was in use: the second layout stores also an unused one."""


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """The model, the file and the format."""

    weights: Path
    """Model file (.safetensors)."""
    out: Path
    """File to write: .onnx, or .pt2 for torch-export."""
    format: Literal["onnx", "torch-export"] = "onnx"
    """ONNX for onnxruntime and others, or torch's exported program."""

    run_source: bool = False
    """Run the source that the weights of a user's own network hold, with your rights."""

    def __post_init__(self) -> None:
        if self.out.suffix != (suffix := SUFFIXES[self.format]):
            raise DadnetError(f"out: expected a name that ends in {suffix}, got {self.out}")


@dataclass(frozen=True, kw_only=True)
class TeacherFlags:
    """What the teacher is trained on and how."""

    dataset: str = "synthetic-macro"
    """Name of the macro-expression dataset, such as ckplus."""
    flows: Location | None = None
    """Folder or URI of its flow store; default flows/DATASET."""
    out: Path = Path("teacher.safetensors")
    """File of the weights."""
    preset: Literal["reference", "smoke"] | None = None
    """Recipe that gives the defaults: the public one for CK+, or a short one for small flows;
    default smoke for synthetic-macro, reference for all else."""
    class_set: str = "3class"
    """Class set of the teacher's head."""
    size: Size = "ultralight"
    """Size of the teacher."""
    input_size: int = 224
    """Side of the flow field in pixels; equal to that of the later runs."""
    weighted_sampler: bool = True
    """Draw every class equally often, with replacement."""
    seed: int = 42
    """Seed of every draw."""
    optim: Annotated[OptimConfig, tyro.conf.arg(name="")] = field(default_factory=OptimConfig)


# DAD-Net's public recipe: AdamW 5e-5, cosine to 1e-7, 100 epochs, classes balanced.
_REFERENCE = OptimConfig(
    epochs=100, batch_size=32, lr=5e-5, lr_floor=1e-7 / 5e-5, weight_decay=1e-4,
    augmentation="standard",
)  # fmt: skip
# Small flows and a short schedule, as the preset `smoke` of a run.
_SMOKE = OptimConfig(
    epochs=30, batch_size=32, lr=2e-3, lr_floor=0.01, warmup_epochs=3, weight_decay=0.05,
    augmentation="hflip",
)  # fmt: skip
_TEACHERS = {
    "reference": TeacherFlags(optim=_REFERENCE),
    "smoke": TeacherFlags(input_size=56, weighted_sampler=False, optim=_SMOKE),
}


def teacher_preset(given: TeacherFlags) -> TeacherFlags:
    """The recipe that the flags name; its warm-up ends before the last epoch."""
    name = given.preset or ("smoke" if given.dataset == "synthetic-macro" else "reference")
    made = _TEACHERS[name]
    return replace(made, preset=name, optim=with_capped_warmup(made.optim, given.optim.epochs))


def capped_teacher_warmup(flags: TeacherFlags) -> str:
    """One line if the recipe's warm-up is longer than the epochs leave room for, else ""."""
    recipe = _TEACHERS[flags.preset].optim if flags.preset else flags.optim
    return warmup_note(recipe, flags.optim)


DOCTOR = cli.Command("python -m dadnet.doctor", DoctorFlags)
PREDICT = cli.Command("python -m dadnet.predict", PredictFlags)
CONVERT = cli.Command("python -m dadnet.convert", ConvertFlags)
EXPORT = cli.Command("python -m dadnet.export", ExportFlags)
