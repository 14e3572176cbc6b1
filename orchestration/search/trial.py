"""One trial: its folds in the study's order, a report after each, the rest cancelled at the end.

It imports no torch and reads val sides only, so a trial's process starts quickly and has no access
to test clips.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dadnet.labels.metrics import uf1
from results.ledger.records import Experiment
from results.ledger.val_side import ValLedger, ValSide

if TYPE_CHECKING:
    from orchestration.folds.plan import Plan

OnTrialEpoch = Callable[[int, float], None]
"""Called with an epoch (from 1) and its val UF1; may raise."""


class TrialFailedError(RuntimeError):
    """The trial cannot have a value; its state becomes FAIL."""


class ServiceLostError(RuntimeError):
    """The workers are gone; the trial stays open, so that a later search continues it."""


@dataclass(frozen=True)
class Job:
    """A request for folds.

    Attributes:
        trial: name of the trial; unique among all studies.
        base: digest of the base experiment, whose plan the values are applied to.
        values: of the search space.
        experiment: digest of the resulting experiment.
    """

    trial: str
    base: str
    values: dict[str, Any]
    experiment: str


@dataclass(frozen=True)
class Proposal:
    """A trial to run."""

    number: int
    job: Job
    experiment: Experiment
    folds: tuple[str, ...]


class FoldService(Protocol):
    """Makes the val sides of folds."""

    def add_base(self, plan: "Plan") -> None:
        """Add a base plan; a job names it by the digest of its experiment."""

    def drop_base(self, plan: "Plan") -> None:
        """Remove a base plan."""

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Request folds."""

    def wait(self, job: Job, fold: str, on_epoch: OnTrialEpoch | None) -> None:
        """Return when a requested fold is made.

        Raises:
            TrialFailedError: if the fold failed for good.
            ServiceLostError: if the workers are gone.
        """

    def cancel(self, job: Job) -> None:
        """Drop the folds that are not made yet, unless another trial requested them too."""


@dataclass(frozen=True)
class Report:
    """The results of a trial so far.

    Attributes:
        step: number of folds, or of epochs where the trial reports by epoch.
        value: what the pruning rule compares at that step, of the kind that the study maximises:
            UF1 of the fold's val clips; by epoch the mean over the folds so far.
        num_folds: finished folds.
        val_uf1: pooled over them; NaN before the first.
        seconds: of training.
        parameters: trainable numbers.
    """

    step: int
    value: float
    num_folds: int
    val_uf1: float
    seconds: float
    parameters: int


def run_trial(
    proposal: Proposal,
    vals: ValLedger,
    service: FoldService,
    report: Callable[[Report], None],
    *,
    epochs: int | None = None,
) -> None:
    """Make or look up the folds of a trial and report after each.

    Args:
        proposal: the trial; its folds are in the study's order.
        vals: the finished val sides, which are not made again.
        service: makes the others.
        report: called after every fold; may raise to end the trial.
        epochs: of a fold, to report after every epoch too (`asha`); None to report by fold.

    Raises:
        TrialFailedError: if a fold failed for good or has no finite log-loss.
    """
    job, experiment, folds = proposal.job, proposal.experiment, proposal.folds
    missing = set(vals.missing(experiment, folds))
    service.submit(job, [fold for fold in folds if fold in missing])
    sides: list[ValSide] = []

    def on_epoch(epoch: int, val_uf1: float) -> None:
        assert epochs is not None
        if not np.isfinite(val_uf1):
            raise TrialFailedError(f"fold {folds[len(sides)]}: the val UF1 is not finite")
        figures = [*(side.uf1 for side in sides), val_uf1]
        report(_report(sides, len(sides) * epochs + epoch, sum(figures) / len(figures)))

    try:
        for fold in folds:
            if fold in missing:
                service.wait(job, fold, on_epoch if epochs else None)
            side = vals.get(experiment, fold)
            if side is None:
                raise TrialFailedError(f"fold {fold} was made, but its val side cannot be read")
            if epochs and fold not in missing:
                for epoch, figure in enumerate(side.curves["val_uf1"][:-1], start=1):
                    on_epoch(epoch, float("nan") if figure is None else figure)
            if not np.isfinite(side.log_loss):
                raise TrialFailedError(f"fold {fold}: the val log-loss is not finite")
            sides.append(side)
            step, value = len(sides), side.uf1
            if epochs:
                step, value = step * epochs, sum(s.uf1 for s in sides) / step
            report(_report(sides, step, value))
    finally:
        service.cancel(job)


def _report(sides: Sequence[ValSide], step: int, value: float) -> Report:
    return Report(
        step=step,
        value=value,
        num_folds=len(sides),
        val_uf1=pooled_uf1(sides),
        seconds=sum(side.seconds for side in sides),
        parameters=max((side.parameters for side in sides), default=0),
    )


def pooled_uf1(sides: Sequence[ValSide]) -> float:
    """UF1 of the val clips of some folds, from the sum of their counts; NaN without a fold.

    A subject is in the val part of several folds; it counts once for each.
    """
    if not sides:
        return float("nan")
    return uf1(np.sum([side.counts for side in sides], axis=0))


def report_of(result: Mapping[str, Any]) -> Report:
    """The report in a result of Ray Tune, which adds fields of its own."""
    return Report(**{field.name: result[field.name] for field in fields(Report)})
