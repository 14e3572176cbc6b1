"""What a run will take, from a few measured steps of one fold."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from dadnet.config.baselines import FITTED_BASELINES
from dadnet.config.experiment import ExperimentConfig
from dadnet.folds.view import FoldView
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.kinds import new_fold
from dadnet.training.loop import FoldTask, StoppedError, train_folds
from dadnet.training.one_fold import OneFold
from dadnet.training.stack_size import first_step
from dadnet.training.teacher import Teacher
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from orchestration.reporting.progress import duration

# What is timed runs at least so often, and so long.
_LEAST, _TIMED_S = 3, 1.5
# Epochs of a stack that take no longer than this are timed as well, and so many of them.
_SHORT_S, _EPOCHS = 2.0, 4
# Ray's own processes (queue, controller, dashboard, agents) take so much of a machine's cores while
# its workers train; measured over 20 s of a run with two workers.
_RAY_CORES = 0.15


@dataclass(frozen=True)
class Cost:
    """Work of some folds.

    Attributes:
        step_s: seconds of one training step of a fold; clip_s: of one of its clips.
        val_s: seconds of scoring one clip.
        fold_s: seconds of every fold, if none stops early.
        device: where it was measured.
        begin_s: seconds until a fold's first step.
        epoch_s: seconds of an epoch besides its clips: its part of writing the fold's state, and
            what an epoch takes besides its steps, such as waiting for the fold of a stack with the
            most batches.
        first_s: additional seconds of a worker's first step, which allocates memory and computes
            the teacher's maps.
    """

    step_s: float
    clip_s: float
    val_s: float
    fold_s: tuple[float, ...]
    device: str = "cpu"
    begin_s: float = 0.0
    epoch_s: float = 0.0
    first_s: float = 0.0

    def of(self, plan: Plan, names: Sequence[str]) -> Cost:
        """The cost of these folds at the same speed."""
        epochs, fold_s = plan.config.num_epochs, []
        for name in names:
            fold = plan.fold(name)
            fit, val, test = (len(plan.dataset.rows(s)) for s in (fold.fit, fold.val, fold.test))
            epoch_s = self.clip_s * fit + self.val_s * val + self.epoch_s
            # At the end test clips are scored, and features taken of them and of the fit clips.
            fold_s.append(self.begin_s + epochs * epoch_s + self.val_s * (fit + 2 * test))
        return replace(self, fold_s=tuple(fold_s))

    def wall_s(self, workers: int) -> float:
        """Seconds on so many workers (1 or more) that each take the next fold, without start-up."""
        busy = [self.first_s] * workers
        for seconds in self.fold_s:
            busy[busy.index(min(busy))] += seconds
        return max(busy)

    def line(self, workers: int) -> str:
        """One line of text: what the run takes and what that was computed from."""
        return (
            f"about {duration(self.wall_s(workers))} on {workers} workers, start-up not counted: "
            f"{len(self.fold_s)} folds, {self.step_s * 1000:.0f} ms a step on {self.device}, "
            f"{sum(self.fold_s) / 3600:.2f} hours of work in all"
        )


def measure_cost(
    plan: Plan, names: Sequence[str], options: WorkOptions, *, workers: int = 1
) -> Cost:
    """Time some steps and epochs of the first folds, as they will be run, and count those of all.

    Args:
        plan: the experiment's plan.
        names: the folds to make, at least one.
        options: device and stack, a number.
        workers: how many will train side by side. On a CPU they share caches and memory, so that
            many processes work here as well while the steps are timed.
    """
    torch.set_num_threads(1)
    device = torch.device(options.device)
    assert options.stack != "auto"
    stack = min(options.stack, -(-len(names) // workers))  # no more than a worker makes
    views = [FoldView.of(plan.dataset, plan.fold(name), device) for name in names[:stack]]
    step = first_step(plan.config, views, plan.teacher, device, options.graph)
    fold = new_fold(plan.config, views[0], plan.teacher, device)
    batch = len(fold.batches()[0])
    # A fit is short, and cannot be one of a few clips.
    alone = device.type != "cpu" or plan.config.model.model_type in FITTED_BASELINES
    cores = os.cpu_count() or 1
    neighbours = 0 if alone else min(workers, cores, len(names)) - 1
    tasks = [_first_batch(plan, name) for name in names[:stack]]
    # Nothing is lost to Ray where a core is free, or where there is none.
    slower = cores / (cores - _RAY_CORES) if 0 < neighbours == cores - 1 else 1.0

    def timed(work: Callable[[], object]) -> float:
        return slower * _seconds(work, device)

    with busy_neighbours(plan.config, tasks, plan.teacher, neighbours):
        started = time.perf_counter()
        step()
        first_s = time.perf_counter() - started
        step_s = timed(step) / stack
        val_s = timed(fold.val_probabilities) / max(1, len(views[0].val))
        begin_s = timed(lambda: new_fold(plan.config, views[0], plan.teacher, device))
        epoch_s = slower * _save_seconds(fold, device) / options.checkpoint_every
        counted = sum(step_s / batch * len(v.fit) + val_s * len(v.val) for v in views)
        if counted < _SHORT_S and (took := _epoch_seconds(plan, views, device)) is not None:
            epoch_s += max(0.0, slower * took - counted) / stack
    cost = Cost(step_s, step_s / batch, val_s, (), options.device, begin_s, epoch_s, first_s)
    return cost.of(plan, names)


def _epoch_seconds(plan: Plan, views: Sequence[FoldView], device: torch.device) -> float | None:
    """Seconds of an epoch of these folds together, without the first; None if there is only one."""
    ends: list[float] = []

    def stop() -> bool:
        ends.append(time.perf_counter())
        return len(ends) > _EPOCHS

    tasks = iter([FoldTask(plan.config, view) for view in views])
    with suppress(StoppedError):
        trained = train_folds(
            lambda: next(tasks, None), len(views), teacher=plan.teacher, device=device, stop=stop
        )
        list(trained)
    return (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else None


def _save_seconds(fold: OneFold, device: torch.device) -> float:
    with tempfile.TemporaryDirectory() as folder:
        file = CheckpointFile(Path(folder) / "state", "", fold.view.name)
        return _seconds(lambda: file.save(fold.state()), device)


@contextmanager
def busy_neighbours(
    config: ExperimentConfig, views: Sequence[FoldView], teacher: Teacher | None, number: int
) -> Iterator[None]:
    """Run other processes that train the first step of these folds again and again."""
    context = multiprocessing.get_context("spawn")  # threads and locks must not be inherited
    stop = context.Event()
    begun = [context.Event() for _ in range(number)]
    processes = [
        context.Process(target=_keep_busy, args=(config, views, teacher, one, stop))
        for one in begun
    ]
    for process in processes:
        process.start()
    try:
        for process, one in zip(processes, begun, strict=True):
            while not one.wait(0.1):
                if not process.is_alive():
                    raise RuntimeError(f"a process to be timed beside ended: {process.exitcode}")
        yield
    finally:
        stop.set()
        for process in processes:
            process.join()


def _first_batch(plan: Plan, name: str) -> FoldView:
    """A fold of one batch, light enough to be sent to another process."""
    device = torch.device("cpu")
    view = FoldView.of(plan.dataset, plan.fold(name), device)
    rows = view.fit[: plan.config.optim.batch_size]
    fit = torch.arange(len(rows))
    flows, labels = view.flows[rows].clone(), view.labels[rows].clone()
    return FoldView(name, flows, labels, fit, fit[:0], view.num_classes, f"batch of {name}")


def _keep_busy(
    config: ExperimentConfig,
    views: Sequence[FoldView],
    teacher: Teacher | None,
    begun: Event,
    stop: Event,
) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process stops this one
    step = first_step(config, views, teacher, torch.device("cpu"))
    step()
    begun.set()
    while not stop.is_set():
        step()


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Mean seconds of one call; a median would hide disturbances."""
    work()
    number, started = 0, time.perf_counter()
    while number < _LEAST or time.perf_counter() - started < _TIMED_S:
        work()
        number += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / number
