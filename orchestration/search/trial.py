"""One trial: its folds in the study's order, a report after each, the rest cancelled at the end.

Light on purpose: no torch, and only val sides are read, so a trial's process knows no test clip.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from dadnet.labels.metrics import uf1
from results.ledger.records import Experiment
from results.ledger.val_side import ValLedger, ValSide

OnEpoch = Callable[[int, float], None]


class TrialFailedError(RuntimeError):
    """The trial cannot have a value; it ends as FAIL."""


class ServiceLostError(RuntimeError):
    """Nobody makes folds any more; the trial is left open, to go on another time."""


@dataclass(frozen=True)
class Job:
    """What is asked of the workers.

    Attributes:
        trial: who asks; unique among all studies.
        base: name of the plan that the experiment's values are applied to.
        values: of the search space.
        experiment: digest of the experiment that results.
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
    """Whoever makes the val sides of folds."""

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Ask for folds."""

    def wait(self, job: Job, fold: str, on_epoch: OnEpoch | None) -> None:
        """Return when a fold that was asked for is made.

        Args:
            job: as submitted.
            fold: its name.
            on_epoch: called with every epoch (from 1) and its val log-loss; may raise.

        Raises:
            TrialFailedError: if the fold was given up.
            ServiceLostError: if the workers are gone.
        """

    def cancel(self, job: Job) -> None:
        """Drop what is not made yet, unless another trial wants it."""


@dataclass(frozen=True)
class Report:
    """A trial so far.

    Attributes:
        step: folds seen, or epochs where the trial reports by epoch.
        value: what the pruning rule compares at that step: larger is better.
        num_folds: folds seen.
        val_uf1: pooled over them; NaN before the first.
        seconds: of training; parameters: trainable numbers.
    """

    step: int
    value: float
    num_folds: int
    val_uf1: float
    seconds: float
    parameters: int


def run_trial(
    job: Job,
    experiment: Experiment,
    folds: Sequence[str],
    vals: ValLedger,
    service: FoldService,
    report: Callable[[Report], None],
    *,
    epochs: int | None = None,
) -> None:
    """Make or look up the folds of a trial and report after each.

    Args:
        job: what to ask for.
        experiment: the trial's experiment.
        folds: names, in the study's order.
        vals: where val sides are found; those that are there are not made again.
        service: makes the others.
        report: called after every fold; may raise to end the trial.
        epochs: of a fold; given, the trial also reports after every epoch (`asha`).

    Raises:
        TrialFailedError: if a fold was given up or has no finite log-loss.
    """
    missing = set(vals.missing(experiment, tuple(folds)))
    service.submit(job, [fold for fold in folds if fold in missing])
    seen: list[ValSide] = []

    def on_epoch(epoch: int, log_loss: float) -> None:
        assert epochs is not None
        losses = [*(side.log_loss for side in seen), log_loss]
        _check_finite(folds[len(seen)], log_loss)
        report(_report(seen, len(seen) * epochs + epoch, -sum(losses) / len(losses)))

    try:
        for fold in folds:
            if fold in missing:
                service.wait(job, fold, on_epoch if epochs else None)
            side = vals.get(experiment, fold)
            if side is None:
                raise TrialFailedError(f"fold {fold} was made, but its val side cannot be read")
            if epochs and fold not in missing:
                for epoch, loss in enumerate(side.curves["val_log_loss"][:-1], start=1):
                    on_epoch(epoch, float("nan") if loss is None else loss)
            _check_finite(fold, side.log_loss)
            seen.append(side)
            mean = sum(s.log_loss for s in seen) / len(seen)
            step, value = len(seen), side.log_loss
            if epochs:
                step, value = len(seen) * epochs, mean
            report(_report(seen, step, -value))
    finally:
        service.cancel(job)


def _check_finite(fold: str, log_loss: float) -> None:
    if not np.isfinite(log_loss):
        raise TrialFailedError(f"fold {fold}: the val log-loss is not finite")


def _report(seen: Sequence[ValSide], step: int, value: float) -> Report:
    return Report(
        step=step,
        value=value,
        num_folds=len(seen),
        val_uf1=pooled_uf1(seen),
        seconds=sum(side.seconds for side in seen),
        parameters=max((side.parameters for side in seen), default=0),
    )


def pooled_uf1(sides: Sequence[ValSide]) -> float:
    """UF1 of the val clips of some folds, counts added up first; NaN without a fold.

    A subject is in the val part of several folds; it counts once for each.
    """
    if not sides:
        return float("nan")
    return uf1(np.sum([side.counts for side in sides], axis=0))


def report_of(result: Mapping[str, Any]) -> Report:
    """The report in a result of Ray Tune, which adds fields of its own."""
    return Report(**{field.name: result[field.name] for field in fields(Report)})
