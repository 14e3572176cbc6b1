"""What a run will take, from a few measured steps of one fold."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dadnet.member import FoldView
from dadnet.member_kinds import new_member
from orchestration.plan import Plan
from orchestration.progress import duration
from orchestration.work import WorkOptions

_TIMED = 3


@dataclass(frozen=True)
class Cost:
    """Work of some folds.

    Attributes:
        step_s: seconds of one training step of a lone fold.
        val_s: seconds of scoring one validation clip.
        fold_s: seconds of every fold, if none stops early.
        device: where it was measured.
    """

    step_s: float
    val_s: float
    fold_s: tuple[float, ...]
    device: str = "cpu"

    def wall_s(self, workers: int) -> float:
        """Seconds on so many workers that each take the next fold; start-up not counted.

        Args:
            workers: at least 1.
        """
        busy = [0.0] * workers
        for seconds in self.fold_s:
            busy[busy.index(min(busy))] += seconds
        return max(busy)

    def line(self, workers: int) -> str:
        """For a person: what the run takes and what that was computed from."""
        return (
            f"about {duration(self.wall_s(workers))} on {workers} workers, start-up not counted: "
            f"{len(self.fold_s)} folds, {self.step_s * 1000:.0f} ms a step on {self.device}, "
            f"{sum(self.fold_s) / 3600:.2f} hours of work in all"
        )


def measure_cost(plan: Plan, names: Sequence[str], options: WorkOptions) -> Cost:
    """Time a few steps of the first fold and count the steps of all.

    Args:
        plan: the experiment's plan.
        names: the folds to make, at least one.
        options: the device.
    """
    torch.set_num_threads(1)
    device = torch.device(options.device)
    view = FoldView.of(plan.dataset, plan.fold(names[0]), device)
    member = new_member(plan.config, view, plan.teacher, device)
    member.model.train()
    rows = member.batches()[0]
    step_s = _median_seconds(lambda: member.training_step(rows))
    val_s = _median_seconds(member.val_probabilities) / max(1, len(view.val))
    fold_s = []
    for name in names:
        fold = plan.fold(name)
        fit, val = len(plan.dataset.rows(fold.fit)), len(plan.dataset.rows(fold.val))
        # Cost goes with the clips: the batches of a fold are of nearly equal size.
        fold_s.append(member.num_epochs * (step_s * fit / len(rows) + val_s * val))
    return Cost(step_s, val_s, tuple(fold_s), options.device)


def _median_seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(_TIMED):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
