"""Ranks, gaps and spreads against the resamples that they come from."""

import math

import numpy as np
import pytest
from scipy.stats import norm, rankdata, t

from dadnet.labels import metrics
from results.statistics.compare import Comparison, detectable_gap, difference, holm, over_seeds
from results.statistics.counts import Counts
from results.statistics.resampling import (
    NO_INTERVAL,
    NUM_RESAMPLES,
    Interval,
    interval,
    subject_sizes,
    subject_swaps,
    subject_weights,
)
from results.statistics.standings import NUM_RANK_RESAMPLES, rank_intervals, ranks_of, standings

SUBJECTS = tuple(f"s{n:02d}" for n in range(9))


def made(skill: float, seed: int) -> Counts:
    draw = np.random.default_rng(seed)
    share = np.full((3, 3), (1 - skill) / 2) + np.eye(3) * (skill - (1 - skill) / 2)
    stack = np.stack([[draw.multinomial(4, row) for row in share] for _ in SUBJECTS])
    return Counts(SUBJECTS, stack.astype(np.int64), None, None)


ROWS = [made(skill, seed) for seed, skill in enumerate((0.8, 0.75, 0.7, 0.65, 0.75))]
ROWS.sort(key=lambda row: -metrics.uf1(row.pooled))


def resampled(row: Counts, number: int = NUM_RESAMPLES) -> np.ndarray:
    """UF1 in each of the first resamples."""
    weights = subject_weights(row.subjects)[:number].astype(np.int64)
    pooled = np.einsum("rs,sij->rij", weights, row.confusions)
    return np.array(metrics.mean_of_defined(metrics.class_f1(pooled, stacked=1)))


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return np.stack([resampled(row) for row in ROWS], axis=1)


def test_the_interval_of_a_rank_has_its_quantiles_over_the_resamples():
    # So many and so similar rows that the neighbours of a quantile differ for some of them.
    rows = [made(0.7 + k / 1000, 100 + k) for k in range(80)]
    rows.sort(key=lambda row: -metrics.uf1(row.pooled))
    few = np.stack([resampled(row, NUM_RANK_RESAMPLES) for row in rows], axis=1)
    ranks = np.sort(rankdata(-np.round(few, 6), method="min", axis=1), axis=0)
    own = rankdata([-round(metrics.uf1(row.pooled), 6) for row in rows], method="min")
    low, high = ranks[math.floor(0.025 * 998)], ranks[math.ceil(0.975 * 998)]
    assert NUM_RANK_RESAMPLES == 999
    assert ranks_of(rows) == tuple(own.astype(int))
    expected = tuple(
        (int(min(a, n)), int(max(b, n))) for a, b, n in zip(low, high, own, strict=True)
    )
    assert rank_intervals(rows) == expected
    assert tuple(place.ranks for place in standings(rows, 2)) == expected


def test_rows_over_other_subjects_have_no_interval_of_a_rank():
    other = Counts(("x", "y"), ROWS[0].confusions[:2], None, None)
    assert rank_intervals([ROWS[0], other, ROWS[1]])[1] is None
    assert None not in rank_intervals([ROWS[0], other, ROWS[1]])[::2]
    single = Counts(("x",), ROWS[0].confusions[:1], None, None)
    assert rank_intervals([single, single]) == (None, None)
    assert standings([ROWS[0], other], 5)[1].tie is None


def test_two_subjects_are_enough():
    two = [Counts(SUBJECTS[:2], row.confusions[:2], None, None) for row in ROWS[:2]]
    assert None not in rank_intervals(two)
    assert detectable_gap(two, 4) is not None


def test_a_resample_without_any_label_counts_as_0():
    # Subject a has no label and none is found, so that nothing is defined where it is drawn twice.
    stack = np.zeros((2, 3, 2, 2), dtype=np.int64)
    stack[0, :, 0, 0] = 4
    stack[1] = [[2, 0], [0, 2]]
    worse = stack.copy()
    worse[1, 0] = [[1, 1], [1, 1]]
    rows = [Counts(("a", "b"), table, None, None) for table in (stack, worse)]
    assert rank_intervals(rows) == ((1, 1), (1, 2))
    assert ranks_of(rows) == (1, 2)


def test_a_difference_has_the_interval_and_spread_of_its_resamples(table):
    found = difference(ROWS[0], ROWS[2])
    left_out = [
        [metrics.uf1(row.pooled - one) for one in row.confusions] for row in (ROWS[0], ROWS[2])
    ]
    expected = interval(
        table[:, 0] - table[:, 2],
        found.value,
        np.subtract(*left_out),
        subject_sizes(ROWS[0].confusions),
    )
    assert found.interval.method == expected.method
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (expected.low, expected.high), abs=1e-5
    )
    assert found.spread == pytest.approx(np.std(table[:, 0] - table[:, 2], ddof=1), rel=1e-5)


def test_the_detectable_gap_is_of_the_median_spread_and_of_80_percent_power(table):
    factor = norm.ppf(0.975) + norm.ppf(0.8)
    spreads = [np.std(table[:, 0] - table[:, k], ddof=1) for k in (1, 2, 3)]
    gap, of_pairs = detectable_gap(ROWS, 4)
    assert of_pairs
    assert gap == pytest.approx(factor * np.median(spreads), rel=1e-5)
    gap, of_pairs = detectable_gap([ROWS[0], ROWS[0]], 4)
    assert not of_pairs
    assert gap == pytest.approx(factor * np.sqrt(2) * np.std(table[:, 0], ddof=1), rel=1e-5)
    assert detectable_gap([Counts(("x",), ROWS[0].confusions[:1], None, None)], 4) is None


def test_over_seeds_adds_the_variances_of_subjects_and_of_seeds():
    rows, size = [made(0.9, 1), made(0.5, 2), made(0.7, 3)], len(SUBJECTS)
    found = over_seeds(rows)
    left_out = np.array([[metrics.uf1(r.pooled - one) for one in r.confusions] for r in rows])
    influence = (left_out.mean(axis=1)[:, None] - left_out) * (size - 1) / size
    # Mean squares of two crossed factors, here of the sums over subjects with equal clips.
    of_subjects = (influence.mean(axis=0) ** 2).sum() * size / (size - 1)
    apart = influence - influence.mean(axis=0)
    of_both = (apart**2).sum() * size / (size - 1) / 2 / 3
    values = [metrics.uf1(row.pooled) for row in rows]
    of_seeds = np.var(values, ddof=1) / 3 - of_both
    assert of_seeds > 0
    half = math.sqrt(t.ppf(0.975, size - 1) ** 2 * of_subjects + t.ppf(0.975, 2) ** 2 * of_seeds)
    assert found.values == pytest.approx(values)
    assert found.interval.low == pytest.approx(max(0, np.mean(values) - half))
    assert found.interval.high == pytest.approx(min(1, np.mean(values) + half))


def test_swaps_are_coins_and_resamples_keep_the_number_of_subjects():
    swaps, weights = subject_swaps(SUBJECTS), subject_weights(SUBJECTS)
    assert swaps.shape == weights.shape == (NUM_RESAMPLES, len(SUBJECTS))
    assert set(np.unique(swaps)) == {0, 1}
    assert swaps.mean() == pytest.approx(0.5, abs=0.01)
    assert (weights.sum(axis=1) == len(SUBJECTS)).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(weights.var(axis=0), 1 - 1 / 9, atol=0.05)


def test_holm_keeps_the_order_and_never_falls():
    assert holm([0.02, 0.01, 0.9, 0.02]) == pytest.approx((0.06, 0.04, 0.9, 0.06))
    assert holm([0.2, 0.04]) == pytest.approx((0.2, 0.08))


def test_a_comparison_says_names_difference_ends_and_p():
    gap = difference(ROWS[0], ROWS[3])
    made_of = Comparison.of("ours", "theirs", gap)
    assert made_of.interval == (gap.interval.low, gap.interval.high)
    assert (
        str(made_of)
        == repr(made_of)
        == (
            f"UF1 of ours minus theirs: {gap.value:+.3f}, 95 % interval {gap.interval.low:+.3f} to "
            f"{gap.interval.high:+.3f}, p {gap.p:.4f}"
        )
    )
    without = Comparison("a", "b", -0.5, None, 0.25)
    assert str(without) == "UF1 of a minus b: -0.500, no interval, p 0.2500"


def test_an_interval_is_text_with_three_digits():
    assert Interval(0.5, 0.75, "BCa") == Interval(0.5, 0.75, "BCa", "")
    assert Interval(0.5, 0.75, "BCa").text() == "0.500 to 0.750"
    assert Interval(-0.5, 0.75, "BCa").text("+") == "-0.500 to +0.750"
    assert NO_INTERVAL.text() == ""


def test_an_interval_is_widened_to_hold_a_value():
    span = Interval(0.5, 0.75, "percentile")
    assert span.holding(0.6) == span
    assert span.holding(0.25) == Interval(0.25, 0.75, "percentile")
    assert span.holding(1.0) == Interval(0.5, 1.0, "percentile")
    assert NO_INTERVAL.holding(1.0) == NO_INTERVAL
