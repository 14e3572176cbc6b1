"""Rows against each other: paired differences, swap tests, seeds and power.

``S`` subjects, ``R`` resamples. Two rows are only ever compared over the same clips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from results.statistics.counts import Counts
from results.statistics.resampling import (
    AnyFloats,
    Interval,
    effective_subjects,
    figures,
    figures_of_many,
    interval,
    jackknife,
    marginal_figures,
    marginals,
    percentile_interval,
    pooled_uf1,
    subject_swaps,
    subject_weights,
)

LEVEL = 0.05
POWER = 0.8
# Figures closer than this are equal but for rounding in single precision.
_TOLERANCE = 2e-6


@dataclass(frozen=True)
class Difference:
    """The pooled UF1 of one row minus that of another, over the same clips.

    Attributes:
        value: the difference; interval: BCa over subjects.
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
        interval(resampled, value, left_out, effective_subjects(first.confusions)),
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
    (best, other); with one row only, that of two independent rows, sqrt(2) times its own.

    Returns:
        The gap, and whether it was measured on pairs; None with fewer than two subjects.
    """
    if not rows or len(rows[0].subjects) < 2:
        return None
    best = rows[0]
    weights = subject_weights(best.subjects)
    resampled = figures(weights, best.confusions)[0]
    others = [
        other.confusions
        for other in rows[1:at_most]
        if other.same_clips(best) and not np.array_equal(other.confusions, best.confusions)
    ]
    spreads = [_spread(resampled - other[0]) for other in figures_of_many(weights, others)]
    spread = float(np.median(spreads)) if spreads else math.sqrt(2) * _spread(resampled)
    factor = float(ndtri(1 - LEVEL / 2) + ndtri(POWER))
    return factor * spread, bool(spreads)


@dataclass(frozen=True)
class OverSeeds:
    """One method over several seeds.

    Attributes:
        values: UF1 of each seed, in the order of the seeds.
        mean: their mean; deviation: their standard deviation (n - 1).
        interval: percentile, over resampled seeds and subjects at once.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    interval: Interval


def over_seeds(rows: Sequence[Counts], key: Sequence[str]) -> OverSeeds:
    """Return mean, standard deviation and interval of UF1 over seeds.

    Each resample draws as many seeds as there are, with replacement, and one set of subjects for
    all of them: the subjects are the same whatever the seed.

    Args:
        rows: of at least two seeds, over the same subjects.
        key: names that seed the drawing.

    Raises:
        DadnetError: if there are fewer than two rows, or over other subjects.
    """
    subjects = {row.subjects for row in rows}
    if len(rows) < 2 or len(subjects) != 1 or len(rows[0].subjects) < 2:
        raise DadnetError(
            "expected the counts of two or more seeds over the same two or more subjects"
        )
    values = tuple(pooled_uf1(row.confusions) for row in rows)
    weights = subject_weights(rows[0].subjects)
    samples = figures_of_many(weights, [row.confusions for row in rows])
    table = np.stack([sample[0] for sample in samples])  # (seeds, R)
    draw = np.random.default_rng(int(digest16(["seeds", *key]), 16))
    drawn = draw.integers(0, len(rows), table.shape)
    means = np.take_along_axis(table, drawn, axis=0).mean(axis=0, dtype=np.float64)
    return OverSeeds(
        values,
        float(np.mean(values)),
        float(np.std(values, ddof=1)),
        percentile_interval(means, effective_subjects(rows[0].confusions)),
    )


def _spread(values: AnyFloats) -> float:
    return float(np.std(values.astype(np.float64), ddof=1))
