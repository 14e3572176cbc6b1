"""Where rows stand among others: ranks and their intervals, tie groups, corrected p values.

``E`` rows over the same ``S`` subjects, ``R`` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dadnet.labels.metrics import f1
from results.statistics.compare import LEVEL, holm, swap_test
from results.statistics.counts import Counts
from results.statistics.resampling import AnyFloats, Weights, marginals, pooled_uf1, subject_weights

# Resamples for the ranks; a quantile of ranks needs fewer than one of figures.
NUM_RANK_RESAMPLES = 999


@dataclass(frozen=True)
class Standing:
    """Where a row stands among others.

    Attributes:
        rank: from 1; rows with equal figures share the best.
        tie: number of its tie group from 0; None if it could not be tested.
        p: Holm-corrected against the best row; None for the best and where not tested.
        ranks: 95 % interval of its rank, which holds the rank itself.
    """

    rank: int
    tie: int | None
    p: float | None
    ranks: tuple[int, int] | None


def standings(rows: Sequence[Counts], at_most: int) -> tuple[Standing, ...]:
    """Return the ranks, tie groups, corrected p values and rank intervals of ranked rows.

    The best row leads the first group. Its members are the rows that the swap test, corrected by
    Holm over the rows tested against this leader, does not distinguish from it. The best of the
    other rows leads the next group.

    Args:
        rows: best first.
        at_most: rows to test; with more, no corrected p could be small.
    """
    ties: dict[int, int] = {}
    against_best: dict[int, float] = {}
    open_rows = [n for n in range(min(len(rows), at_most)) if rows[n].same_clips(rows[0])]
    group = 0
    while open_rows:
        leader, *others = open_rows
        adjusted = holm([swap_test(rows[leader], rows[other]) for other in others])
        if leader == 0:
            against_best = dict(zip(others, adjusted, strict=True))
        near = [other for other, p in zip(others, adjusted, strict=True) if p >= LEVEL]
        ties.update(dict.fromkeys((leader, *near), group))
        open_rows = [other for other in others if other not in ties]
        group += 1
    ranks, intervals = ranks_of(rows), rank_intervals(rows)
    return tuple(
        Standing(ranks[n], ties.get(n), against_best.get(n), intervals[n]) for n in range(len(rows))
    )


def ranks_of(rows: Sequence[Counts]) -> tuple[int, ...]:
    """Return each row's rank by pooled UF1, from 1; rows with equal figures share the best."""
    table = np.array([[pooled_uf1(row.confusions) for row in rows]])
    return tuple(_shared_ranks(table)[0].tolist())


def rank_intervals(rows: Sequence[Counts]) -> tuple[tuple[int, int] | None, ...]:
    """Return the 95 % interval of each row's rank over resamples of the subjects.

    In each resample, rows with equal figures share the best rank. The interval is widened to hold
    the rank itself, which can lie outside the resamples' 95 % where few subjects decide. Rows over
    other subjects than the first have none: their resamples are not paired.
    """
    alike = [n for n, row in enumerate(rows) if row.subjects == rows[0].subjects]
    intervals: list[tuple[int, int] | None] = [None] * len(rows)
    if len(alike) < 2 or len(rows[0].subjects) < 2:
        return tuple(intervals)
    weights = subject_weights(rows[0].subjects)[:NUM_RANK_RESAMPLES]
    parts = ([rows[n] for n in alike[start : start + 500]] for start in range(0, len(alike), 500))
    ranks = _shared_ranks(np.concatenate([_uf1_of_many(weights, part) for part in parts], axis=1))
    ranks.sort(axis=0)
    last = NUM_RANK_RESAMPLES - 1
    low, high = ranks[math.floor(0.025 * last)], ranks[math.ceil(0.975 * last)]
    own = ranks_of(rows)
    for position, number in enumerate(alike):
        ends = (int(low[position]), own[number], int(high[position]))
        intervals[number] = (min(ends), max(ends))
    return tuple(intervals)


def _shared_ranks(table: AnyFloats) -> npt.NDArray[np.int32]:
    """Return the ranks in each line of figures, (R, E), from 1; equal figures share the best.

    Figures are rounded as exported: a difference that nobody can see is a tie.
    """
    number = table.shape[1]
    # One number holds figure and position, best first, so that one plain sort is enough.
    keys = -np.rint(table * 1e6).astype(np.int64) * number + np.arange(number)
    keys.sort(axis=1)
    figure = keys // max(number, 1)
    first = np.ones(keys.shape, bool)
    first[:, 1:] = figure[:, 1:] != figure[:, :-1]
    shared = np.maximum.accumulate(np.where(first, np.arange(1, number + 1), 0), axis=1)
    ranks = np.empty(keys.shape, np.int32)
    np.put_along_axis(ranks, keys % max(number, 1), shared.astype(np.int32), axis=1)
    return ranks


def _uf1_of_many(weights: Weights, rows: Sequence[Counts]) -> Weights:
    """Return UF1 of many rows over the same subjects in each resample, (R, E)."""
    parts = np.stack([marginals(row.confusions) for row in rows], axis=1)  # (S, E, 3K)
    hits, clips, predictions = np.split(parts, 3, axis=2)
    both = np.tensordot(weights, clips + predictions, axes=1)  # (R, E, K)
    by_class = f1(np.tensordot(weights, hits, axes=1), both)
    defined = both > 0
    mean: Weights = np.where(defined, by_class, 0).sum(axis=2) / defined.sum(axis=2).clip(min=1)
    return mean
