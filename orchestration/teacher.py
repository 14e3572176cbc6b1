"""Train the frozen macro-expression teacher: `python -m orchestration.teacher --dataset ckplus`.

One network is trained on all macro-expression subjects but those that validate it. The weights
file carries a card with classes, subjects and data digest; the audit of every later run compares
its subjects with the test subjects.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console

from dadnet.checkpoint import CheckpointFile
from dadnet.clips import MicroExpressionDataset
from dadnet.config import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    Size,
    experiment_digest,
)
from dadnet.errors import DadnetError
from dadnet.flow_store import load_flow_store
from dadnet.member import FoldView
from dadnet.protocols import Fold, carve_val
from dadnet.seeding import seed_hash
from dadnet.teacher import Teacher
from dadnet.training import train_stack
from orchestration import cli


@dataclass(frozen=True, kw_only=True)
class TeacherFlags:
    """What the teacher is trained on and how."""

    dataset: str = "synthetic-macro"
    """Name of the macro-expression dataset."""
    flows: Path | None = None
    """Folder of its flow store; default flows/DATASET."""
    out: Path = Path("teacher.safetensors")
    """File of the weights."""
    class_set: str = "3class"
    """Class set of the teacher's head."""
    size: Size = "ultralight"
    """Size of the teacher."""
    input_size: int = 56
    """Side of the flow field in pixels; equal to that of the later runs."""
    seed: int = 42
    """Seed of every draw."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            epochs=30, batch_size=32, lr=2e-3, lr_floor=0.01, warmup_epochs=3, weight_decay=0.05,
            augmentation="hflip",
        )
    )  # fmt: skip


def train_teacher(flags: TeacherFlags, console: Console) -> int:
    """Train and write the teacher, unless the file is there and was made from the same.

    Returns:
        Exit status 0.

    Raises:
        DadnetError: if the input cannot be used.
    """
    flows = flags.flows or Path("flows") / flags.dataset
    store = load_flow_store(flows)
    config = _config(flags)
    dataset = MicroExpressionDataset.from_store(store, flags.class_set, flags.input_size)
    made_from = experiment_digest(config, store.digest, None)
    if flags.out.exists():
        return _already_there(flags.out, made_from, console)
    val = carve_val(dataset.clips, 0.2, seed_hash("val", flags.seed, "teacher"))
    fit = tuple(sorted(set(dataset.clips["subject"]) - set(val)))
    checkpoint = CheckpointFile(flags.out.with_suffix(".checkpoint"), made_from, "teacher")
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def tell(_: str, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch % 10 == 0 or epoch == config.optim.epochs:
            console.print(
                f"teacher epoch {epoch}/{config.optim.epochs}: train loss "
                f"{metrics['train_loss']:.3f}, val UF1 {metrics['val_uf1']:.3f}",
            )

    fold = Fold("teacher", fit, val, ())
    view = FoldView.of(dataset, fold, device)
    [trained] = train_stack(
        config, [view], teacher=None, device=device, checkpoints=[checkpoint], on_epoch=tell
    )
    chosen = trained.chosen_epoch - 1
    teacher = Teacher(
        weights={k: v.cpu() for k, v in trained.model.state_dict().items()},
        model=config.model,
        classes=dataset.classes,
        subjects=tuple(sorted((*fit, *val))),
        data_digest=store.digest,
        made_from=made_from,
        metrics={name: trained.curves[name][chosen] for name in ("val_uf1", "val_uar")},
    )
    teacher.save(flags.out)
    checkpoint.remove()
    console.print(
        f"{flags.out}: {flags.size} teacher {teacher.digest}, epoch {trained.chosen_epoch}, "
        f"val UF1 {teacher.metrics['val_uf1']:.3f} on {len(val)} of "
        f"{len(teacher.subjects)} subjects",
    )
    return cli.DONE


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
    """Run from the command line; gives the exit status."""

    def command(words: Sequence[str]) -> int:
        flags = cli.parse(
            TeacherFlags, words, prog="python -m orchestration.teacher", description=__doc__ or ""
        )
        return train_teacher(flags, cli.console())

    return cli.run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
