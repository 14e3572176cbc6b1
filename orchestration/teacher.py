"""Train the frozen macro-expression teacher: `python -m orchestration.teacher --dataset ckplus`.

One network is trained on all macro-expression subjects but those that validate it. The weights
file carries a card with classes, subjects, data digest, metrics and the hash of the weights; the
audit of every later run compares its subjects with the test subjects.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dadnet.base import cli
from dadnet.config.commands import TeacherFlags, capped_teacher_warmup
from orchestration.folds.flags import TEACHER

if __name__ == "__main__":
    TEACHER.parse_first(__doc__)

import torch
from rich.console import Console

from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError, listed
from dadnet.base.seeding import seed_hash
from dadnet.config.experiment import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    experiment_digest,
)
from dadnet.flow.store import FlowStore, load_flow_store
from dadnet.folds.audit import check_names
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.protocols import Fold, carve_val
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.teacher import Teacher
from dadnet.training.train_teacher import train_teacher_network

_METRICS = ("val_uf1", "val_uar", "val_log_loss", "train_loss")


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
    if line := capped_teacher_warmup(flags):
        console.print(line, markup=False)
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
            f"which holds {listed(found)}"
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
    return TEACHER.run(lambda flags: train_teacher(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
