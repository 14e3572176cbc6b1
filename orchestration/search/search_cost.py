"""What a search will take: trainings, hours, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.folds.cost import Cost, measure_cost
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from orchestration.reporting.progress import duration


@dataclass(frozen=True)
class SearchCost:
    """Work of a search at most: pruning, early stopping and finished folds make it less.

    Attributes:
        groups: studies; 1, or one per outer group.
        trials: of each.
        fold_s: for each study the seconds of every fold of a trial.
        winner_s: seconds of the folds that are trained after the search.
        step: what it was computed from.
    """

    groups: int
    trials: int
    fold_s: tuple[tuple[float, ...], ...]
    winner_s: tuple[float, ...]
    step: Cost

    @property
    def trainings(self) -> int:
        """Trainings of the search and after it."""
        return self.trials * sum(map(len, self.fold_s)) + len(self.winner_s)

    @property
    def seconds(self) -> float:
        """Seconds of work in all."""
        return self.trials * sum(map(sum, self.fold_s)) + sum(self.winner_s)

    def lines(self, workers: int, price: float | None) -> list[str]:
        """For a person.

        Args:
            workers: that take folds side by side.
            price: of an hour of one of them, or None.
        """
        folds = sorted({len(seconds) for seconds in self.fold_s})
        count = str(folds[0]) if len(folds) == 1 else f"{folds[0]} to {folds[-1]}"
        studies = f"{self.groups} outer groups x " if self.groups > 1 else ""
        unit = "GPU" if self.step.device.startswith("cuda") else "CPU"
        hours = self.seconds / 3600
        lines = [
            f"{studies}{self.trials} trials x {count} folds = "
            f"{self.trainings - len(self.winner_s):,} trainings at most, and "
            f"{len(self.winner_s)} for the test side",
            f"about {duration(self.seconds / workers)} on {workers} workers, {hours:.2f} "
            f"{unit}-hours of work; measured on one fold of the base recipe: "
            f"{self.step.step_s * 1000:.0f} ms a step on {self.step.device}",
        ]
        if price is not None:
            lines.append(f"{hours * price:,.2f} at {price:g} per {unit}-hour")
        return lines


def measure_search(
    studies: Sequence[tuple[Plan, Sequence[str]]],
    trials: int,
    finals: Sequence[tuple[Plan, Sequence[str]]],
    options: WorkOptions,
    workers: int = 1,
) -> SearchCost:
    """Time some steps of one fold and count the steps of all.

    Args:
        studies: plan and folds of every study.
        trials: of each.
        finals: plan and folds of what is trained for the test side.
        options: the device.
        workers: how many will train side by side.
    """
    measured = measure_cost(*studies[0], options, workers=workers)
    costs = [measured.of(plan, folds) for plan, folds in studies]
    last = [measured.of(plan, folds) for plan, folds in finals if folds]
    return SearchCost(
        groups=len(studies),
        trials=trials,
        fold_s=tuple(cost.fold_s for cost in costs),
        winner_s=tuple(seconds for cost in last for seconds in cost.fold_s),
        step=costs[0],
    )
