"""Resampling of whole subjects: the bootstrap with BCa intervals, and the paired swap.

``S`` subjects, ``K`` classes, ``R`` resamples. A subject is drawn with all its clips, because the
clips of one person resemble each other. Rows over the same subjects share their resamples, which
is what makes differences and ranks between them sharp.

All counts are whole numbers far below 2^24, so the matrix products are exact in float32 and
equal on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtrit

from dadnet.base.digests import digest16
from dadnet.labels.metrics import f1, mean_of_defined, recall, totals
from results.ledger.val_side import IntArray

NUM_RESAMPLES = 9_999
CONFIDENCE = 0.95
FIGURES = ("uf1", "uar", "accuracy")
# Draws made at once; they are the same for any number, and a set of many subjects has many.
_AT_ONCE = 2_000_000
# Experiments resampled by one matrix product.
_BATCH = 10
# With a subject of more of the clips than this the acceleration is that of one subject.
LARGEST_SHARE = 1 / 3
# Figures closer than this are equal but for rounding in single precision.
_EQUAL = 2e-6

FloatArray = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
AnyFloats = npt.NDArray[Any]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; `method` says how it was made, and it always holds its estimate.

    Attributes:
        low, high: the ends, or None where there is no interval.
        method: ``BCa``, ``percentile`` (where BCa is not defined or not to be trusted), ``t`` (over
            seeds) or ``none``.
        why: why it is not BCa or there is none; "" where nothing has to be said.
    """

    low: float | None
    high: float | None
    method: Literal["BCa", "percentile", "t", "none"]
    why: str = ""

    def text(self, sign: str = "") -> str:
        """Return such as ``0.660 to 0.780``, empty without an interval; `sign` may be "+"."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:{sign}.3f} to {self.high:{sign}.3f}"

    def holding(self, value: float) -> Interval:
        """Return the interval, widened to hold a value where it does not."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=min(self.low, value), high=max(self.high, value))


NO_INTERVAL = Interval(None, None, "none")


@lru_cache(maxsize=8)
def subject_weights(subjects: tuple[str, ...]) -> Weights:
    """Return how often each subject was drawn in each resample, (R, S), rows that sum to S.

    Seeded by the names, so that the same subjects always give the same resamples.
    """
    draw = _generator("bootstrap", subjects)
    size = len(subjects)
    weights = np.empty((NUM_RESAMPLES, size), np.float32)
    for some in np.array_split(np.arange(NUM_RESAMPLES), -(-NUM_RESAMPLES * size // _AT_ONCE)):
        chosen = draw.integers(0, size, (len(some), size))
        chosen += np.arange(len(some))[:, None] * size
        drawn = np.bincount(chosen.ravel(), minlength=len(some) * size)
        weights[some] = drawn.reshape(len(some), size)
    return weights


@lru_cache(maxsize=8)
def subject_swaps(subjects: tuple[str, ...]) -> Weights:
    """Return which subjects are swapped in each permutation, (R, S) of 0 and 1."""
    draw = _generator("swap", subjects)
    return draw.integers(0, 2, (NUM_RESAMPLES, len(subjects))).astype(np.float32)


def figures(weights: Weights, confusions: IntArray) -> Weights:
    """Return UF1, UAR and accuracy of weighted sums of counts.

    Args:
        weights: (R, S), whole numbers.
        confusions: as in `Counts`, (S, K, K) or (S, K, 2, 2).

    Returns:
        (3, R) in the order of `FIGURES`; where there is nothing to score, 0, and accuracy NaN.
    """
    return next(figures_of_many(weights, [confusions]))


def figures_of_many(weights: Weights, stacks: Sequence[IntArray]) -> Iterator[Weights]:
    """Yield the `figures` of each of several experiments over the same subjects, (3, R)."""
    for start in range(0, len(stacks), _BATCH):
        some = stacks[start : start + _BATCH]
        # One large product is much faster than narrow ones, and rows of length R are contiguous.
        sums = np.concatenate([marginals(stack) for stack in some], axis=1).T @ weights.T
        yield from map(marginal_figures, np.split(sums, len(some)))


def point_figures(confusions: IntArray) -> FloatArray:
    """Return UF1, UAR and accuracy of the sum of counts, in double precision: (3,)."""
    return marginal_figures(marginals(confusions).sum(axis=0).astype(np.float64)[:, None])[:, 0]


def pooled_uf1(confusions: IntArray) -> float:
    """Return UF1 of the sum of counts."""
    return float(point_figures(confusions)[0])


def marginals(confusions: IntArray) -> Weights:
    """Return hits, clips and predictions of each class, (S, 3K): all that the figures need."""
    return np.concatenate(totals(confusions, stacked=1), axis=-1).astype(np.float32)


def marginal_figures(sums: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the figures (3, R) of summed `marginals`, (3K, R), in the precision of the sums."""
    hits, clips, predictions = np.split(sums, 3)  # (K, R) each
    uf1 = mean_of_defined(f1(hits, clips + predictions), axis=0)
    uar = mean_of_defined(recall(hits, clips), axis=0)
    with np.errstate(invalid="ignore"):
        accuracy = hits.sum(axis=0) / clips.sum(axis=0)
    # With labels a resample may have none, neither true nor predicted: 0, as in scikit-learn.
    return np.stack([np.nan_to_num(uf1), np.nan_to_num(uar), accuracy])


def jackknife(confusions: IntArray) -> FloatArray:
    """Return the figures with each subject left out in turn, (3, S)."""
    parts = marginals(confusions).astype(np.float64)
    return marginal_figures((parts.sum(axis=0) - parts).T)


def interval(
    distribution: AnyFloats, value: float, left_out: FloatArray, sizes: FloatArray
) -> Interval:
    """Return the bias-corrected and accelerated interval (BCa), or else the percentile one.

    Percentiles are given where BCa has no levels in (0, 1) in their order, and where one subject
    has more than a third of the clips; `Interval.why` says which. The interval is widened to hold
    the figure, which can lie outside 95 % of the resamples where few subjects decide. The tails
    are those of `expanded_tail`: a bootstrap of few subjects is otherwise too narrow (measured in
    `benchmarks/coverage.py`).

    Args:
        distribution: (R,) the figure in each resample.
        value: the figure itself.
        left_out: (S,) the figure with each subject left out.
        sizes: see `subject_sizes`.

    Reference: Efron, "Better Bootstrap Confidence Intervals", JASA 1987.
    """
    if left_out.shape[0] < 2:
        return NO_INTERVAL
    tail, largest = expanded_tail(effective_subjects(sizes)), sizes.max() / sizes.sum()
    if largest > LARGEST_SHARE:
        alphas, why = None, f"one subject has {100 * largest:.0f} % of the clips"
    else:
        alphas = _bca_alphas(distribution, value, left_out, tail)
        why = "" if alphas else "the levels of BCa are not defined"
    ends = _quantiles(distribution, alphas or (tail, 1 - tail))
    return Interval(*ends, "BCa" if alphas else "percentile", why).holding(value)


def subject_sizes(confusions: IntArray) -> FloatArray:
    """Return the clips of each subject, or the decisions about its labels, (S,)."""
    return np.asarray(confusions.reshape(len(confusions), -1).sum(axis=1), np.float64)


def effective_subjects(sizes: FloatArray) -> float:
    """Return n^2 / sum n_s^2 with n_s clips of subject s: S for equal subjects, less for unequal.

    Reference: Carter, Schnepel, Steigerwald, "Asymptotic Behavior of a t-Test Robust to Cluster
    Heterogeneity", Review of Economics and Statistics 2017 (with equal intraclass correlation).
    """
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def expanded_tail(effective: float) -> float:
    """Return the share of resamples to cut off on each side: less than (1 - 0.95) / 2.

    The normal tail at t sqrt(n / (n - 1)), with Student's t of n - 1 degrees of freedom.

    Reference: Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 2015, with the effective number of subjects as n.
    """
    t = float(stdtrit(effective - 1, (1 - CONFIDENCE) / 2))
    return float(ndtr(math.sqrt(effective / (effective - 1)) * t))


def _bca_alphas(
    distribution: AnyFloats, value: float, left_out: FloatArray, tail: float
) -> tuple[float, float] | None:
    # Resamples equal to the figure count half; the margin is below one clip's worth.
    below = np.count_nonzero(distribution < value - _EQUAL)
    below += np.count_nonzero(distribution <= value + _EQUAL)
    bias = float(ndtri(below / (2 * distribution.shape[0])))
    size = left_out.shape[0]
    influence = (size - 1) * (left_out.mean() - left_out)
    spread = float((influence**2).sum() / size**2)
    if not math.isfinite(bias) or spread <= 0:
        return None
    acceleration = float((influence**3).sum() / size**3) / (6 * spread**1.5)
    alphas = []
    for z in (float(ndtri(tail)), float(ndtri(1 - tail))):
        shifted = bias + z
        slowed = 1 - acceleration * shifted
        if not slowed > 0:  # beyond the pole the levels cross
            return None
        alphas.append(float(ndtr(bias + shifted / slowed)))
    low, high = alphas
    return (low, high) if 0 < low < high < 1 else None


def _quantiles(values: AnyFloats, alphas: tuple[float, float]) -> tuple[float, float]:
    """Return two quantiles by linear interpolation; partial sorting is enough for them."""
    positions = [alpha * (values.shape[0] - 1) for alpha in alphas]
    ends = [(math.floor(position), math.ceil(position)) for position in positions]
    ordered = np.partition(values, sorted({end for pair in ends for end in pair}))
    low, high = (
        float(ordered[left]) + (position - left) * (float(ordered[right]) - float(ordered[left]))
        for position, (left, right) in zip(positions, ends, strict=True)
    )
    return low, high


def _generator(purpose: str, subjects: tuple[str, ...]) -> np.random.Generator:
    return np.random.default_rng(int(digest16([purpose, list(subjects)]), 16))
