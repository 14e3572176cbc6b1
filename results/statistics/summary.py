"""Figures of an experiment: counts pooled over all folds, intervals from a subject bootstrap.

``K`` classes, ``S`` subjects. An interval over single clips would be too narrow, since the clips
of one person resemble each other; `benchmarks/coverage.py` measures by how much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError
from dadnet.labels import metrics
from results.ledger.records import FoldRecord
from results.ledger.val_side import IntArray, Nested, nested
from results.statistics.counts import UNIT, Counts, count
from results.statistics.resampling import (
    FIGURES,
    NO_INTERVAL,
    Interval,
    Weights,
    figures_of_many,
    interval,
    jackknife,
    point_figures,
    subject_sizes,
    subject_weights,
)


@dataclass(frozen=True)
class Score:
    """A pooled figure with its interval; `value` is None where the figure is undefined."""

    value: float | None
    interval: Interval


@dataclass(frozen=True)
class Summary:
    """The pooled figures of one experiment.

    Attributes:
        confusion: (K, K) counts over all folds, rows = truth; of several labels (K, 2, 2).
        uf1, uar, accuracy: with their intervals over subjects. Of several labels uf1 is the macro
            F1 and uar the mean recall of their presence; accuracy and mcc are None.
        class_f1: (K,), None for a class that is neither in the truth nor predicted.
        mcc: Matthews correlation, None where truth or prediction is one class only.
        log_loss: mean of -ln p(truth) in nats; ece: expected calibration error; None where a clip
            has no probabilities.
        fold_uf1: mean over subjects of each one's own UF1, twice: over the classes that occur
            there, and over all classes. Neither is comparable with a pooled figure; they are here
            because others publish them.
    """

    confusion: Nested
    uf1: Score
    uar: Score
    accuracy: Score
    class_f1: tuple[float | None, ...]
    mcc: float | None
    log_loss: float | None
    ece: float | None
    fold_uf1: tuple[float, float]


def count_records(records: Sequence[FoldRecord], classes: Sequence[str]) -> Counts:
    """Return the counts of finished folds of one experiment.

    Raises:
        DadnetError: if a clip was scored in two folds.
    """
    return count((row for record in records for row in record.predictions), classes)


def summarise(counts: Counts) -> Summary:
    """Return the pooled figures with their intervals.

    Raises:
        DadnetError: if there is no subject.
    """
    return summarise_many([counts])[0]


def summarise_many(many: Sequence[Counts]) -> list[Summary]:
    """Return the summary of each experiment; those of equal subjects and shape share resamples.

    Raises:
        DadnetError: if one has no subject.
    """
    if not all(counts.subjects for counts in many):
        raise DadnetError("expected the counts of some subjects, got: none")
    summaries: list[Summary] = []
    # Together also means equal shapes: the sums of a batch are split into equal parts.
    for (subjects, _), alike in groupby(many, key=lambda c: (c.subjects, c.confusions.shape)):
        weights, members = subject_weights(subjects), list(alike)
        resampled = figures_of_many(weights, [counts.confusions for counts in members])
        summaries += [_summary(*pair) for pair in zip(members, resampled, strict=True)]
    return summaries


def _summary(counts: Counts, resampled: Weights) -> Summary:
    pooled = counts.pooled
    uf1, uar, accuracy = _scores(counts, resampled)
    return Summary(
        confusion=nested(pooled),
        uf1=uf1,
        uar=uar,
        accuracy=accuracy,
        class_f1=tuple(_finite(value) for value in metrics.class_f1(pooled)),
        mcc=None if counts.multi_label else matthews(pooled),
        log_loss=None if counts.nats is None else float(counts.nats.sum() * UNIT / pooled.sum()),
        ece=calibration_error(counts),
        fold_uf1=fold_averaged(counts.confusions),
    )


def _scores(counts: Counts, resampled: Weights) -> tuple[Score, ...]:
    stack = counts.confusions
    values = point_figures(stack)
    left_out, sizes = jackknife(stack), subject_sizes(stack)
    alike = _without_errors(counts)
    return tuple(
        # Right clips: with several labels "right" would be another quantity.
        Score(None, NO_INTERVAL)
        if name == "accuracy" and counts.multi_label
        else Score(
            _finite(values[number]),
            alike or interval(resampled[number], float(values[number]), left_out[number], sizes),
        )
        for number, name in enumerate(FIGURES)
    )


def _without_errors(counts: Counts) -> Interval | None:
    """Return the interval of a row without any error, or without any right answer: there is none.

    Every resample of it has the same figures, which says nothing of other subjects.
    """
    right, subjects = counts.num_right.sum(), len(counts.subjects)
    if subjects > 1 and right in (0, counts.num_decisions.sum()):
        seen = "error" if right else "right answer"
        return Interval(None, None, "none", f"no {seen} seen in {subjects} subjects")
    return None


def matthews(confusion: npt.ArrayLike) -> float | None:
    """Return the Matthews correlation of a (K, K) matrix; None where it is undefined.

    With n clips, c right ones, t_k clips and p_k predictions of class k it is
    (c n - sum t_k p_k) / sqrt((n^2 - sum p_k^2) (n^2 - sum t_k^2)).

    Reference: Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", 2004.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    clips, predicted, number = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    below = (number**2 - predicted @ predicted) * (number**2 - clips @ clips)
    if below <= 0:
        return None
    return float((counts.trace() * number - clips @ predicted) / math.sqrt(below))


def calibration_error(counts: Counts) -> float | None:
    """Return the expected calibration error: mean over clips of |right - confidence| by bins.

    Reference: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017.
    """
    if counts.bins is None:
        return None
    clips, right, confidence = counts.bins.astype(np.float64).T
    return float(np.abs(right - confidence * UNIT).sum() / clips.sum())


def fold_averaged(confusions: IntArray) -> tuple[float, float]:
    """Return the mean of the subjects' own UF1: over the classes that occur, and over all."""
    by_class = metrics.class_f1(confusions, stacked=1)  # (S, K), NaN where a class does not occur
    defined = np.isfinite(by_class)
    filled = np.where(defined, by_class, 0.0)
    some = defined.any(axis=1)  # of several labels a subject may have none
    present = filled[some].sum(axis=1) / defined[some].sum(axis=1)
    return float(present.mean() if some.any() else 0.0), float(filled.mean(axis=1).mean())


def _finite(value: npt.ArrayLike) -> float | None:
    number = float(np.asarray(value))
    return number if math.isfinite(number) else None
