"""The number of folds to train at once, measured on this machine with this model and input size."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from dadnet.config.experiment import ExperimentConfig
from dadnet.folds.view import FoldView
from dadnet.training.kinds import new_fold, new_stack, share_nothing
from dadnet.training.loop import keep_freed_memory
from dadnet.training.stack.graph import GraphMode, capture_for
from dadnet.training.teacher import Teacher

_TIMED_STEPS = 5
# A size is tried only if that takes at most this fraction of all steps of the training.
_TRIAL_SHARE = 0.03
# From one size to the next. Two folds at once often gain nothing where four do, so a factor of two
# would stop too early.
_FACTOR = 4
# A larger stack must take less than this fraction of the time per fold, since it needs more memory
# and waits longer for its last fold.
_WORTH = 0.95


@dataclass(frozen=True)
class StackChoice:
    """The chosen stack size and the seconds per fold and step of each size that was tried.

    None was tried where folds are trained one after the other in a stack of any size.
    """

    size: int
    seconds: dict[int, float]

    def dealt(self, folds: int) -> "StackChoice":
        """The choice for this number of folds in stacks of nearly equal size: 3 and 3, not 4 and 2.

        Folds of one experiment mostly end together, and a small last stack takes about as long as a
        large one.
        """
        return replace(self, size=math.ceil(folds / math.ceil(folds / self.size)))

    def __str__(self) -> str:
        if not self.seconds:
            return f"stack of {self.size} (these folds are trained one after the other)"
        tried = ", ".join(f"{k}: {s * 1000:.1f}" for k, s in self.seconds.items())
        return f"stack of {self.size} (ms per fold and step by size: {tried})"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or torch's CPU allocator, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def choose_stack_size(
    config: ExperimentConfig,
    views: Sequence[FoldView],
    *,
    teacher: Teacher | None,
    device: torch.device,
    at_most: int,
    graph: GraphMode = "auto",
) -> StackChoice:
    """Try stacks of 1, 4, 16, ... folds for a few steps; take the fastest per fold.

    Args:
        config: the experiment.
        views: folds to try with; they are not changed.
        teacher: the frozen teacher, None for a baseline.
        device: device of the training.
        at_most: largest size to try, and the number of folds to train.
        graph: whether steps are captured, which needs memory too; see `capture_for`.

    Returns:
        The choice. If a size runs out of memory, half of it is the last size tried; short trainings
        try small sizes only. Without a try 1, where every size takes as long per fold.
    """
    if share_nothing(config, views[0].num_classes, device):
        return StackChoice(1, {})
    at_most = min(at_most, len(views))
    batches = math.ceil(len(views[0].fit) / config.optim.batch_size)
    affordable = _TRIAL_SHARE * at_most * config.num_epochs * batches / (1 + _TIMED_STEPS)
    seconds: dict[int, float] = {}
    size, best, full = 1, 1, False
    while not seconds or best < size <= affordable:
        try:
            seconds[size] = _seconds_per_step(config, views[:size], teacher, device, graph) / size
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size, full = size // 2, True
            continue
        if seconds[size] > _WORTH * seconds[best] and size > 1:
            break
        best = size
        size = best if full else min(_FACTOR * best, at_most)
    return StackChoice(best, seconds)


def first_step(
    config: ExperimentConfig,
    views: Sequence[FoldView],
    teacher: Teacher | None,
    device: torch.device,
    graph: GraphMode = "auto",
) -> Callable[[], object]:
    """Return the first training step of these folds as one program that can be repeated."""
    if device.type == "cpu":
        keep_freed_memory()  # as in training
    folds = [new_fold(config, view, teacher, device) for view in views]
    rows = [fold.batches()[0] for fold in folds]
    if (stack := new_stack(folds, capture_for(graph, device))) is not None:
        stack.stack.train()
        return partial(stack.draw_and_run, rows)
    for fold in folds:
        fold.model.train()
    return lambda: [fold.training_step(r) for fold, r in zip(folds, rows, strict=True)]


def _seconds_per_step(
    config: ExperimentConfig,
    views: Sequence[FoldView],
    teacher: Teacher | None,
    device: torch.device,
    graph: GraphMode,
) -> float:
    step = first_step(config, views, teacher, device, graph)
    step()
    times = []
    for _ in range(_TIMED_STEPS):
        _wait(device)
        started = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - started)
    return min(times)  # other work of the machine makes a step longer, never shorter


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
