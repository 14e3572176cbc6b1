"""The training loop, for several folds at once: :func:`train_folds`.

The trainer sees the labels of `fit` and `val` clips only. All other labels are hidden, and no loss
can be computed with a hidden label (`dadnet.labels.targets`). The result of a fold depends on the
experiment and the fold alone: every draw is seeded by its purpose, so neither the other folds of
the stack nor an interruption changes it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from dadnet.config.experiment import ExperimentConfig
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.fold_stack import FoldStack
from dadnet.training.kinds import new_fold, new_stack
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.graph import Capture
from dadnet.training.stack.groups import order_in_stack
from dadnet.training.teacher import Teacher

OnFoldEpoch = Callable[[str, int, Mapping[str, float]], None]


class StoppedError(RuntimeError):
    """Training was asked to stop; the state of every fold is in its checkpoint."""


@dataclass(frozen=True, eq=False)
class FoldTask:
    """A fold to train.

    Attributes:
        config: the experiment.
        view: the clips and labels of the fold that the trainer may see.
        checkpoint: file of its state, or None; a fold with a state continues from there, with the
            same numbers as without an interruption.
        kind: class that trains the fold; None: that of the experiment's model.
    """

    config: ExperimentConfig
    view: FoldView
    checkpoint: CheckpointFile | None = None
    kind: type[OneFold] | None = None


def train_folds(
    next_task: Callable[[], FoldTask | None],
    slots: int,
    *,
    teacher: Teacher | None,
    device: torch.device,
    checkpoint_every: int = 5,
    on_epoch: OnFoldEpoch | None = None,
    stop: Callable[[], bool] = lambda: False,
    capture: Capture | None = None,
) -> Iterator[TrainedFold]:
    """Train folds as one stack on one device; the next fold takes the slot of a finished one.

    Args:
        next_task: returns the next fold, or None if there is none now.
        slots: folds trained at once, at least 1.
        teacher: the frozen macro-expression teacher, None for a baseline.
        device: where to train.
        checkpoint_every: epochs between two states.
        on_epoch: called with fold, epoch (from 1) and the epoch's metrics.
        stop: called after every epoch; if it returns true, the states of all folds are saved and
            training stops.
        capture: makes one CUDA graph of a step; None: steps are eager.

    Yields:
        The outcome of each fold as soon as the fold is finished.

    Raises:
        StoppedError: if `stop` returned true.
    """
    running: dict[OneFold, CheckpointFile | None] = {}
    stack: FoldStack | None = None
    while True:
        for fold in [fold for fold in running if fold.finished]:
            del running[fold]
            yield fold.outcome()
        while len(running) < slots and (task := next_task()) is not None:
            fold = (task.kind or new_fold)(task.config, task.view, teacher, device)
            if task.checkpoint is not None and (state := task.checkpoint.load()) is not None:
                fold.load_state(state)
            running[fold] = task.checkpoint
        if not running:
            return
        if any(fold.finished for fold in running):
            continue  # interrupted after its last epoch

        folds = sorted(running, key=order_in_stack)
        if stack is None or stack.folds != folds:
            for fold in folds:
                fold.leave_stack()
            stack = None  # its memory is free before the next one is made
            stack = new_stack(folds, capture)
        if stack is None:
            for fold in folds:
                fold.train_epoch()
            probabilities = [fold.val_probabilities() for fold in folds]
        else:
            stack.train_epoch()
            probabilities = stack.val_probabilities()

        stopping = stop()
        for fold, of_val in zip(folds, probabilities, strict=True):
            fold.validate(of_val)
        if stack is not None:
            stack.select()
        for fold, checkpoint in running.items():
            if stack is None:
                fold.select()
            if checkpoint is not None and (stopping or fold.epoch % checkpoint_every == 0):
                checkpoint.save(fold.state())
            if on_epoch is not None:
                on_epoch(fold.view.name, fold.epoch, fold.last_metrics())
        if stopping:
            raise StoppedError(", ".join(fold.view.name for fold in running))
