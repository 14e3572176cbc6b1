"""Rows against each other: paired differences, swap tests, seeds and power.

``S`` subjects, ``R`` resamples. Two rows are only ever compared over the same clips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from dadnet.base.errors import DadnetError
from results.statistics.counts import Counts
from results.statistics.resampling import (
    CONFIDENCE,
    AnyFloats,
    Interval,
    effective_subjects,
    figures,
    figures_of_many,
    interval,
    jackknife,
    marginal_figures,
    marginals,
    pooled_uf1,
    subject_sizes,
    subject_swaps,
    subject_weights,
)

LEVEL = 0.05
POWER = 0.8
# Seeds of one method from which on their mean has an interval.
LEAST_SEEDS = 3
# Figures closer than this are equal but for rounding in single precision.
_TOLERANCE = 2e-6


@dataclass(frozen=True)
class Difference:
    """The pooled UF1 of one row minus that of another, over the same clips.

    Attributes:
        value: the difference; interval: over subjects, BCa where it is defined.
        p: two-sided, of the paired permutation that swaps whole subjects.
        spread: standard deviation of the difference over the resamples.
    """

    value: float
    interval: Interval
    p: float
    spread: float


@dataclass(frozen=True)
class Comparison:
    """The pooled UF1 of one experiment minus that of another, over the same clips.

    Attributes:
        first, second: names of the two experiments.
        value: the difference; interval: its 95 % interval over subjects, None where there is none.
        p: two-sided, of the paired permutation that swaps whole subjects.
    """

    first: str
    second: str
    value: float
    interval: tuple[float, float] | None
    p: float

    @classmethod
    def of(cls, first: str, second: str, gap: Difference) -> Comparison:
        """The difference of two experiments of these names."""
        ends = gap.interval.low, gap.interval.high
        interval = None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
        return cls(first, second, gap.value, interval, gap.p)

    def __str__(self) -> str:
        ends = "no interval"
        if self.interval is not None:
            ends = f"95 % interval {self.interval[0]:+.3f} to {self.interval[1]:+.3f}"
        return f"UF1 of {self.first} minus {self.second}: {self.value:+.3f}, {ends}, p {self.p:.4f}"

    __repr__ = __str__


def difference(first: Counts, second: Counts) -> Difference:
    """Compare two rows.

    Raises:
        DadnetError: if they did not score the same clips.
    """
    if not first.same_clips(second):
        raise DadnetError("expected two rows over the same clips of the same subjects")
    weights = subject_weights(first.subjects)
    resampled = figures(weights, first.confusions)[0] - figures(weights, second.confusions)[0]
    resampled = resampled.astype(np.float64)
    value = pooled_uf1(first.confusions) - pooled_uf1(second.confusions)
    left_out = jackknife(first.confusions)[0] - jackknife(second.confusions)[0]
    return Difference(
        value,
        interval(resampled, value, left_out, subject_sizes(first.confusions)),
        swap_test(first, second),
        _spread(resampled),
    )


def swap_test(first: Counts, second: Counts) -> float:
    """Return p of the paired permutation test on the pooled UF1.

    Under the hypothesis that both methods are alike, any subject's whole record may be swapped
    between them. p = (1 + permutations at least as far apart as observed) / (1 + permutations).

    Args:
        first, second: over the same clips.
    """
    swaps = subject_swaps(first.subjects)
    one, two = marginals(first.confusions), marginals(second.confusions)
    moved = (one - two).T @ swaps.T  # (3K, R): what leaves the first and enters the second
    left, right = (table.sum(axis=0)[:, None] for table in (one, two))
    apart = marginal_figures(left - moved)[0] - marginal_figures(right + moved)[0]
    observed = abs(pooled_uf1(first.confusions) - pooled_uf1(second.confusions))
    extreme = np.count_nonzero(np.abs(apart) >= observed - _TOLERANCE)
    return float((1 + extreme) / (1 + len(apart)))


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Return p values corrected for their number, in the same order.

    Reference: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, number in enumerate(sorted(range(len(values)), key=lambda n: (values[n], n))):
        highest = max(highest, min(1.0, (len(values) - rank) * values[number]))
        adjusted[number] = highest
    return tuple(adjusted)


def detectable_gap(rows: Sequence[Counts], at_most: int) -> tuple[float, bool] | None:
    """Return the gap in UF1 that these subjects can show in 80 % of studies at the 5 % level.

    (z_0.975 + z_0.8) times the standard deviation of a difference: the median over the pairs
    (best, other); with one row only, that of two independent rows, sqrt(2) times its own. Rows
    without any spread, such as those without any error, have no part in it.

    Returns:
        The gap, and whether it was measured on pairs; None with fewer than two subjects, or
        without a row that has a spread.
    """
    if not rows or len(rows[0].subjects) < 2:
        return None
    weights = subject_weights(rows[0].subjects)
    alike = [row for row in rows[:at_most] if row.same_clips(rows[0])]
    resampled = figures_of_many(weights, [row.confusions for row in alike])
    samples = [
        (row, sample[0]) for row, sample in zip(alike, resampled, strict=True) if np.ptp(sample[0])
    ]
    if not samples:
        return None
    (best, of_best), *others = samples
    spreads = [
        _spread(of_best - of_other)
        for other, of_other in others
        if not np.array_equal(other.confusions, best.confusions)
    ]
    spread = float(np.median(spreads)) if spreads else math.sqrt(2) * _spread(of_best)
    factor = float(ndtri(1 - LEVEL / 2) + ndtri(POWER))
    return factor * spread, bool(spreads)


@dataclass(frozen=True)
class OverSeeds:
    """One method over several seeds.

    Attributes:
        values: UF1 of each seed, in the order of the seeds.
        mean: their mean; deviation: their standard deviation (n - 1).
        interval: of the mean over other seeds and other subjects; none of two seeds.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    interval: Interval


def over_seeds(rows: Sequence[Counts]) -> OverSeeds:
    """Return mean, standard deviation and interval of UF1 over seeds.

    The variance of the mean of n seeds has two parts: of the subjects, which all seeds share, and
    of the seeds. Both come from the influence of each subject in each seed (jackknife), as in an
    analysis of variance with two crossed factors; the noise that is of neither counts once. The
    ends lie sqrt(t_S^2 v_S + t_n^2 v_n) from the mean, with Student's t of each part's degrees of
    freedom: so few seeds are not taken for a well-known spread. `benchmarks/coverage.py` measures
    how often the truth lies within: 3 or more seeds cover 93 to 97 %, two less where the
    effect of the seed is large.

    Args:
        rows: of at least two seeds, over the same subjects.

    Raises:
        DadnetError: if there are fewer than two rows, or over other subjects.

    Reference: Cameron, Gelbach, Miller, "Robust Inference with Multiway Clustering", JBES 2011
    (variance); Banerjee, "Approximate confidence interval for linear functions of means of k
    populations when the population variances are not equal", Sankhya 1960 (ends).
    """
    subjects = {row.subjects for row in rows}
    if len(rows) < 2 or len(subjects) != 1 or len(rows[0].subjects) < 2:
        raise DadnetError(
            "expected the counts of two or more seeds over the same two or more subjects"
        )
    values = tuple(pooled_uf1(row.confusions) for row in rows)
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    few = Interval(None, None, "none", f"{len(rows)} seeds, of {LEAST_SEEDS} needed")
    return OverSeeds(
        values, mean, deviation, few if len(rows) < LEAST_SEEDS else seed_interval(rows)
    )


def seed_interval(rows: Sequence[Counts]) -> Interval:
    """Return the interval of `over_seeds`, also of two seeds, where it covers too little.

    Args:
        rows: of at least two seeds, over the same two or more subjects.
    """
    number, values = len(rows), [pooled_uf1(row.confusions) for row in rows]
    left_out = np.stack([jackknife(row.confusions)[0] for row in rows])  # (n, S)
    influence = left_out.mean(axis=1, keepdims=True) - left_out
    influence *= 1 - 1 / left_out.shape[1]
    common = influence.mean(axis=0)
    subjects = effective_subjects(subject_sizes(rows[0].confusions))
    unbiased = subjects / (subjects - 1)
    of_subjects = unbiased * float((common**2).sum())
    of_both = unbiased * float(((influence - common) ** 2).sum()) / (number * (number - 1))
    of_seeds = max(0.0, float(np.var(values, ddof=1)) / number - of_both)
    if not of_subjects + of_seeds > 0:
        return Interval(None, None, "none", "no spread over subjects and seeds")
    factors = [float(stdtrit(size - 1, (1 - CONFIDENCE) / 2)) for size in (subjects, number)]
    half = math.sqrt(factors[0] ** 2 * of_subjects + factors[1] ** 2 * of_seeds)
    mean = float(np.mean(values))
    return Interval(max(0.0, mean - half), min(1.0, mean + half), "t")


def _spread(values: AnyFloats) -> float:
    return float(np.std(values.astype(np.float64), ddof=1))
