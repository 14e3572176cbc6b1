"""Train the frozen macro-expression teacher: `python -m orchestration.teacher --dataset ckplus`.

One network is trained on all macro-expression subjects but those that validate it. The weights
file carries a card with classes, subjects, data digest, metrics and the hash of the weights; the
audit of every later run compares its subjects with the test subjects.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console

from dadnet.base import cli
from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.base.seeding import seed_hash
from dadnet.config.experiment import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    experiment_digest,
)
from dadnet.config.model import Size
from dadnet.flow.store import FlowStore, load_flow_store
from dadnet.folds.audit import check_names
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.protocols import Fold, carve_val
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.teacher import Teacher
from dadnet.training.train_teacher import train_teacher_network
from orchestration.folds.flags import parse_with_preset

_METRICS = ("val_uf1", "val_uar", "val_log_loss", "train_loss")


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
_PRESETS = {
    "reference": TeacherFlags(optim=_REFERENCE),
    "smoke": TeacherFlags(input_size=56, weighted_sampler=False, optim=_SMOKE),
}


def parse_flags(words: Sequence[str]) -> TeacherFlags:
    """Flags of a teacher; those that are not given come from the preset.

    Raises:
        DadnetError: if the words do not fit.
    """
    prog = "python -m orchestration.teacher"
    return parse_with_preset(TeacherFlags, words, _defaults, prog, __doc__)


def _defaults(given: TeacherFlags) -> TeacherFlags:
    name = given.preset or ("smoke" if given.dataset == "synthetic-macro" else "reference")
    return replace(_PRESETS[name], preset=name)


def train_teacher(flags: TeacherFlags, console: Console) -> int:
    """Train and write the teacher, unless the file is there and was made from the same.

    Returns:
        Exit status 0.

    Raises:
        DadnetError: if the input cannot be used.
    """
    if flags.out.suffix != ".safetensors":
        raise DadnetError(f"out: expected a name that ends in .safetensors, got {flags.out}")
    store, config = _store(flags), _config(flags)
    height, width = store.flows.shape[2:]
    if {height, width} != {size := flags.input_size}:
        console.print(f"flows of {width} x {height} pixels are resized to {size} x {size}")
    dataset = MicroExpressionDataset.from_store(store, flags.class_set, flags.input_size)
    check_names(dataset.clips)
    if dataset.task.multi_label:
        raise DadnetError(
            f"class_set: a teacher is trained on one class of each clip, {flags.class_set} has "
            "several labels; expected such as 3class (a student of any class set may learn from it)"
        )
    made_from = experiment_digest(config, store.digest, None)
    if flags.weighted_sampler:
        made_from = content_digest(f"{made_from} weighted")
    if flags.out.exists():
        return _already_there(flags.out, made_from, console)
    val = carve_val(dataset.clips, 0.2, seed_hash("val", flags.seed, "teacher"))
    fit = tuple(sorted(set(dataset.clips["subject"]) - set(val)))
    fold = Fold("teacher", fit, val, ())
    checkpoint = CheckpointFile(flags.out.with_suffix(".checkpoint"), made_from, "teacher")
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def tell(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch % 10 == 0 or epoch == config.optim.epochs:
            console.print(
                f"teacher epoch {epoch}/{config.optim.epochs}: train loss "
                f"{metrics['train_loss']:.3f}, val UF1 {metrics['val_uf1']:.3f}"
            )

    trained = train_teacher_network(
        config,
        FoldView.of(dataset, fold, device),
        weighted_sampler=flags.weighted_sampler,
        device=device,
        checkpoint=checkpoint,
        on_epoch=tell,
    )
    teacher = _teacher(flags, config, store, dataset, fold, trained, made_from)
    teacher.save(flags.out)
    checkpoint.remove()
    console.print(
        f"{flags.out}: {flags.size} teacher {teacher.digest}, epoch {trained.chosen_epoch}, "
        f"val UF1 {teacher.metrics['val_uf1']:.3f} on {len(val)} of "
        f"{len(teacher.subjects)} subjects"
    )
    return cli.DONE


def _store(flags: TeacherFlags) -> FlowStore:
    flows = flags.flows or Path("flows") / flags.dataset
    store = load_flow_store(flows)
    if (found := sorted(set(store.clips["dataset"]))) != [flags.dataset]:
        raise DadnetError(
            f"dataset: expected the flows of {flags.dataset} in {flows}, "
            f"which holds {', '.join(found)}"
        )
    return store


def _config(flags: TeacherFlags) -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(dataset=flags.dataset, class_set=flags.class_set),
        model=ModelConfig(
            model_type="baseline", micro_size=flags.size, input_size=flags.input_size
        ),
        loss=LossConfig(alignment_weight=0.0, alignment_stages=()),
        optim=flags.optim,
        seed=flags.seed,
    )


def _teacher(
    flags: TeacherFlags,
    config: ExperimentConfig,
    store: FlowStore,
    dataset: MicroExpressionDataset,
    fold: Fold,
    trained: TrainedFold,
    made_from: str,
) -> Teacher:
    return Teacher(
        weights={k: v.cpu() for k, v in trained.model.state_dict().items()},
        model=config.model,
        classes=dataset.classes,
        subjects=tuple(sorted((*fold.fit, *fold.val))),
        data_digest=store.digest,
        made_from=made_from,
        metrics={name: trained.curves[name][trained.chosen_epoch - 1] for name in _METRICS},
        flow=store.card["parameters"],
        origin={
            "dataset": flags.dataset,
            "class_set": flags.class_set,
            "num_clips": dataset.counts(),
            "val_subjects": list(fold.val),
            "chosen_epoch": trained.chosen_epoch,
            "epochs_run": trained.epochs_run,
            "weighted_sampler": flags.weighted_sampler,
            "config": config.to_json(),
        },
    )


def _already_there(path: Path, made_from: str, console: Console) -> int:
    teacher = Teacher.load(path)
    if teacher.made_from != made_from:
        raise DadnetError(
            f"out: {path} holds a teacher of other data or settings; expected a new file name, "
            "or remove it first"
        )
    console.print(f"{path} is complete: teacher {teacher.digest}")
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return cli.run_command(lambda words: train_teacher(parse_flags(words), cli.console()), argv)


if __name__ == "__main__":
    sys.exit(main())
