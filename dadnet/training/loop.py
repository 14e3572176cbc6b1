"""The training loop, for several folds at once: :func:`train_folds`.

The trainer sees the labels of `fit` and `val` clips only. All other labels are hidden, and no loss
can be computed with a hidden label (`dadnet.labels.targets`). The result of a fold depends on the
experiment and the fold alone: every draw is seeded by its purpose, so neither the other folds of
the stack nor an interruption changes it.
"""

import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ExperimentConfig
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.inference.score import score
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.fold_stack import FoldStack
from dadnet.training.kinds import new_fold, new_stack
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.graph import Capture
from dadnet.training.stack.groups import order_in_stack
from dadnet.training.teacher import Teacher

OnFoldEpoch = Callable[[str, int, Mapping[str, float]], None]


_MALLOPT = {-1: 2**31 - 1, -2: 2**26, -4: 0}  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX

# Fit clips that a trained network is tried on.
_LOOKED_AT = 8


@cache
def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, up to 2 GiB; with glibc only.

    glibc gives large tensors back to the system as soon as they are free. Steps need the same sizes
    again and again, and the system clears every page that it hands out. A process whose environment
    already tunes glibc's memory, as that of Ray's workers does, is left as it is.
    """
    if sys.platform == "linux" and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", ""):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in _MALLOPT.items():
                mallopt(parameter, value)


class StoppedError(RuntimeError):
    """Training was asked to stop; the state of every fold is in its checkpoint."""


class DivergedError(DadnetError):
    """The loss of a fold is not finite: the same training would end so again.

    Attributes:
        fold: its name; epoch: from 1; why: both of them for a message about the fold.
    """

    def __init__(self, fold: str, epoch: int) -> None:
        self.fold, self.epoch = fold, epoch
        self.why = f"diverged in epoch {epoch}; lower --lr"
        super().__init__(f"fold {fold} {self.why}")


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
    on_divergence: Callable[[DivergedError], None] | None = None,
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
        on_divergence: called for a fold whose loss is not finite; it ends without an outcome, and
            the others go on. None: the error is raised.

    Yields:
        The outcome of each fold as soon as the fold is finished.

    Raises:
        StoppedError: if `stop` returned true.
        DivergedError: if a fold diverged and there is no `on_divergence`.
    """

    if device.type == "cpu":
        keep_freed_memory()

    def end_diverged(fold: OneFold, epoch: int) -> None:
        error = DivergedError(fold.view.name, epoch)
        if on_divergence is None:
            raise error
        on_divergence(error)

    running: dict[OneFold, CheckpointFile | None] = {}
    stack: FoldStack | None = None
    while True:
        for fold in [fold for fold in running if fold.finished]:
            del running[fold]
            trained = fold.outcome()
            if _is_finite(fold, trained):
                yield trained
            else:  # its last step was the one that diverged
                end_diverged(fold, trained.chosen_epoch)
        while len(running) < slots and (task := next_task()) is not None:
            running[_begin(task, teacher, device)] = task.checkpoint
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
        for fold in folds:
            if not math.isfinite(fold.curves["train_loss"][-1]):
                del running[fold]  # its last state stays: it is from before
                end_diverged(fold, fold.epoch)
        for fold, checkpoint in running.items():
            if stack is None:
                fold.select()
            if checkpoint is not None and (stopping or fold.epoch % checkpoint_every == 0):
                checkpoint.save(fold.state())
            if on_epoch is not None:
                on_epoch(fold.view.name, fold.epoch, fold.last_metrics())
        if stopping and running:
            raise StoppedError(", ".join(fold.view.name for fold in running))


def _is_finite(fold: OneFold, trained: TrainedFold) -> bool:
    """Whether a trained network gives probabilities: its last step may have broken it."""
    flows = fold.view.flows[fold.view.fit[:_LOOKED_AT]]
    scored = score(trained.model, flows, trained.statistics, task=fold.view.task)
    return bool(np.isfinite(scored).all())


def _begin(task: FoldTask, teacher: Teacher | None, device: torch.device) -> OneFold:
    """The fold of a task, at its beginning or where its checkpoint is."""
    fold = (task.kind or new_fold)(task.config, task.view, teacher, device)
    if task.checkpoint is not None and (state := task.checkpoint.load()) is not None:
        if reason := _misfit(state, fold):
            task.checkpoint.set_aside(reason)
        else:
            fold.load_state(state)
    return fold


def _misfit(state: Mapping[str, Any], fold: OneFold) -> str:
    """Why a state is none of this fold, which is at its beginning; "" if it is one."""
    fresh, trained = fold.state(), fold.optimiser.param_groups[0]["params"]
    weights = _shapes(fresh["model"])
    try:
        best, optimiser = state["best"]["weights"], state["optimiser"]
        fits = {
            "parts": state.keys() == fresh.keys(),
            "weights": _shapes(state["model"]) == weights and _shapes(best) in ({}, weights),
            "optimiser": all(len(g["params"]) == len(trained) for g in optimiser["param_groups"])
            and all(
                value.shape in ((), trained[index].shape)
                for index, moments in optimiser["state"].items()
                for value in moments.values()
            ),
            "best epoch": state["best"].keys() == fresh["best"].keys(),
            "curves": all(len(state["curves"][name]) == state["epoch"] for name in fold.curves),
            "epoch": 0 <= state["epoch"] <= fold.config.num_epochs and state["step"] >= 0,
        }
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        return f"not the state of a fold: {type(error).__name__} {error}"
    unfit = ", ".join(name for name, fit in fits.items() if not fit)
    return unfit and f"it does not fit the fold: {unfit}"


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}
