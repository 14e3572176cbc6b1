import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test, t

from dadnet.base.errors import DadnetError
from dadnet.labels import metrics
from results.statistics.compare import (
    LEAST_SEEDS,
    detectable_gap,
    difference,
    holm,
    over_seeds,
    swap_test,
)
from results.statistics.counts import Counts
from results.statistics.standings import rank_intervals, ranks_of, standings

SUBJECTS = tuple(f"s{n:02d}" for n in range(20))


def made(skill: float, seed: int, subjects=SUBJECTS) -> Counts:
    """Return counts over the same clips whatever skill and seed."""
    clips = np.random.default_rng(99).integers(1, 6, (len(subjects), 3))
    draw = np.random.default_rng(seed)
    stack = np.zeros((len(subjects), 3, 3), dtype=np.int64)
    for s, truth in itertools.product(range(len(subjects)), range(3)):
        share = np.full(3, (1 - skill) / 2)
        share[truth] = skill
        stack[s, truth] = draw.multinomial(clips[s, truth], share)
    return Counts(subjects, stack, None, None)


def of_stack(stack) -> Counts:
    """Return counts of subjects with these confusions."""
    stack = np.asarray(stack, dtype=np.int64)
    return Counts(SUBJECTS[: len(stack)], stack, None, None)


def test_difference_of_a_row_with_itself_is_nothing():
    row = made(0.7, 1)
    found = difference(row, row)
    assert (found.value, found.p, found.spread) == (0.0, 1.0, 0.0)


def test_difference_is_that_of_the_pooled_figures_and_turns_its_sign():
    one, two = made(0.8, 1), made(0.6, 2)
    there, back = difference(one, two), difference(two, one)
    assert there.value == pytest.approx(metrics.uf1(one.pooled) - metrics.uf1(two.pooled))
    assert back.value == pytest.approx(-there.value)
    assert back.p == pytest.approx(there.p)
    assert there.interval.low < there.value < there.interval.high


def test_swap_test_agrees_with_scipy_and_with_all_swaps_by_hand():
    few = SUBJECTS[:8]
    one, two = made(0.75, 3, few), made(0.6, 4, few)

    def uf1(stack):
        return metrics.uf1(stack.sum(axis=0))

    observed = abs(uf1(one.confusions) - uf1(two.confusions))
    apart = []
    for swaps in itertools.product((False, True), repeat=8):
        mask = np.array(swaps)[:, None, None]
        left = np.where(mask, two.confusions, one.confusions)
        right = np.where(mask, one.confusions, two.confusions)
        apart.append(abs(uf1(left) - uf1(right)))
    exact = np.mean(np.array(apart) >= observed - 1e-9)
    assert swap_test(one, two) == pytest.approx(exact, abs=0.015)

    def statistic(first, second, axis):
        first, second = (np.moveaxis(np.asarray(x, dtype=int), axis, -1) for x in (first, second))
        stack = np.stack([one.confusions, two.confusions])
        places = np.arange(8)
        left, right = (
            metrics.mean_of_defined(metrics.class_f1(counts, stacked=counts.ndim - 2))
            for counts in (stack[order, places].sum(axis=-3) for order in (first, second))
        )
        return left - right

    scipys = permutation_test(
        (np.zeros(8), np.ones(8)), statistic, permutation_type="samples", vectorized=True
    )
    assert swap_test(one, two) == pytest.approx(scipys.pvalue, abs=0.015)


def test_no_p_is_below_one_in_ten_thousand():
    right, wrong = np.diag([4, 4, 4]), np.roll(np.diag([4, 4, 4]), 1, axis=1)
    best, worst = (of_stack([table] * 20) for table in (right, wrong))
    assert swap_test(best, worst) == 1 / 10_000


def test_letters_and_p_are_of_the_corrected_values(monkeypatch):
    rows = [made(0.9, 1), made(0.8, 2), made(0.7, 3)]
    raw = {id(rows[1]): 0.03, id(rows[2]): 0.04}
    monkeypatch.setattr(
        "results.statistics.standings.swap_test", lambda first, second: raw[id(second)]
    )
    found = standings(rows, 3)
    assert [place.tie for place in found] == [0, 0, 0]  # 2 x 0.03 is not below the level
    assert [place.p for place in found] == [None, pytest.approx(0.06), pytest.approx(0.06)]


def test_seeds_vary_and_not_the_subjects_alone():
    # Every subject is alike, so that nothing but the seeds can vary.
    good, bad = np.diag([4, 4, 4]), np.full((3, 3), 4 / 3).round().astype(int)
    rows = [of_stack([table] * 8) for table in (good, bad, good, good)]
    found = over_seeds(rows)
    half = t.ppf(0.975, 3) * np.std(found.values, ddof=1) / np.sqrt(4)
    assert found.interval.low == pytest.approx(found.mean - half)
    assert found.interval.high == 1.0  # of a UF1


def test_equal_seeds_have_the_interval_of_their_subjects():
    row = made(0.7, 1)
    found = over_seeds([row] * 4)
    left_out = np.array([metrics.uf1(row.pooled - one) for one in row.confusions])
    sizes = row.confusions.sum(axis=(1, 2))
    number = sizes.sum() ** 2 / (sizes**2).sum()
    # The jackknife's variance has (S - 1) / S for equal subjects; here S is the effective number.
    variance = ((left_out - left_out.mean()) ** 2).sum() * (19 / 20) ** 2 * number / (number - 1)
    half = t.ppf(0.975, number - 1) * np.sqrt(variance)
    assert found.deviation == 0
    assert (found.interval.low, found.interval.high, found.interval.method) == (
        pytest.approx(found.mean - half),
        pytest.approx(found.mean + half),
        "t",
    )


def test_noise_of_single_clips_counts_once_over_seeds():
    # No seed is better: their figures differ as single clips do, which the subjects show already.
    rows = [made(0.7, seed) for seed in range(40)]
    found = over_seeds(rows)
    common = sum(row.confusions for row in rows)
    left_out = np.array([metrics.uf1(common.sum(axis=0) - one) for one in common])
    over_subjects = np.sqrt(((left_out - left_out.mean()) ** 2).sum())
    half = (found.interval.high - found.interval.low) / 2
    assert half == pytest.approx(t.ppf(0.975, 17) * over_subjects, rel=0.15)


def test_few_seeds_have_no_interval_over_seeds():
    few = [made(0.7, seed) for seed in range(LEAST_SEEDS - 1)]
    found = over_seeds(few).interval
    assert (found.low, found.high, found.method) == (None, None, "none")
    assert found.why == f"{LEAST_SEEDS - 1} seeds, of {LEAST_SEEDS} needed"
    assert over_seeds([*few, made(0.7, 9)]).interval.method == "t"
    perfect = of_stack([np.diag([4, 4, 4])] * 8)
    assert over_seeds([perfect] * 5).interval.why == "no spread over subjects and seeds"


def test_other_clips_are_not_compared():
    with pytest.raises(DadnetError, match="same clips"):
        difference(made(0.7, 1), made(0.7, 1, SUBJECTS[:5]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


def test_rows_that_cannot_be_told_apart_share_a_letter():
    strong = [made(0.95, 1), made(0.94, 2)]
    weak = [made(0.45, 3), made(0.44, 4)]
    rows = sorted(strong + weak, key=lambda row: -metrics.uf1(row.pooled))
    found = standings(rows, 250)
    assert [place.tie for place in found] == [0, 0, 1, 1]
    assert found[0].p is None
    assert found[1].p >= 0.05 > found[2].p
    assert found[0].ranks[1] <= 2
    assert found[2].ranks[0] >= 3


def test_rows_beyond_the_limit_are_not_tested_and_still_have_ranks():
    rows = [made(0.9, 1), made(0.8, 2), made(0.7, 3)]
    found = standings(rows, 2)
    assert found[2].tie is None
    assert found[2].ranks is not None
    assert standings([], 2) == ()


def test_rank_intervals_of_equal_rows_and_of_lone_ones():
    row = made(0.8, 1)
    assert rank_intervals([row, row]) == ((1, 1), (1, 1))  # always equal: both are the best
    assert rank_intervals([row]) == (None,)
    behind = made(0.4, 2)
    assert ranks_of([row, row, behind]) == (1, 1, 3)
    assert rank_intervals([row, row, behind])[2] == (3, 3)


def wrong_in(clips: list[int]) -> Counts:
    """Return counts over subjects with 20 clips of one class, of which so many are wrong."""
    stack = np.zeros((len(clips), 3, 3), dtype=np.int64)
    for s, wrong in enumerate(clips):
        stack[s, s % 3, s % 3], stack[s, s % 3, (s + 1) % 3] = 20 - wrong, wrong
    return Counts(SUBJECTS[: len(clips)], stack, None, None)


def test_an_interval_is_widened_to_the_rank_that_hardly_any_resample_gives():
    # Each of the others loses one subject. Some subject is missing in every resample, and then one
    # of them has no error, while the steady row always has some: it leads only on all subjects.
    steady = wrong_in([1] * 19 + [0])
    others = [wrong_in([20 * (s == k) for s in range(20)]) for k in range(19)]
    first, *rest = standings([steady, *others], 250)
    assert first.rank == 1
    assert first.ranks[0] == 1
    assert first.ranks[1] > 3
    assert all(place.ranks[0] == 1 for place in rest)


@given(st.lists(st.tuples(st.floats(0.34, 0.95), st.integers(0, 3)), min_size=2, max_size=7))
@settings(max_examples=40, deadline=None)
def test_a_rank_lies_in_its_interval_and_equal_rows_are_placed_equally(kinds):
    rows = [made(skill, seed, SUBJECTS[:4]) for skill, seed in kinds]
    rows.sort(key=lambda row: -metrics.uf1(row.pooled))
    places = standings(rows, 250)
    for row, place in zip(rows, places, strict=True):
        assert place.ranks[0] <= place.rank <= place.ranks[1]
        assert place.rank == 1 + sum(
            round(metrics.uf1(other.pooled), 6) > round(metrics.uf1(row.pooled), 6)
            for other in rows
        )
        alike = [
            (other.rank, other.ranks)
            for twin, other in zip(rows, places, strict=True)
            if np.array_equal(twin.confusions, row.confusions)
        ]
        assert set(alike) == {(place.rank, place.ranks)}


def test_seeds_over_the_same_subjects():
    rows = [made(skill, seed) for seed, skill in enumerate((0.6, 0.7, 0.8, 0.7, 0.7))]
    found = over_seeds(rows)
    values = [metrics.uf1(row.pooled) for row in rows]
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    # wider than that of the mean over fixed seeds, since seeds are drawn as well
    assert found.interval.high - found.interval.low > 2 * found.deviation / np.sqrt(5)
    assert over_seeds(rows) == found
    with pytest.raises(DadnetError, match="two or more seeds"):
        over_seeds(rows[:1])


def test_the_gap_that_can_be_shown_shrinks_with_more_subjects():
    many = tuple(f"m{n:03d}" for n in range(200))
    small = detectable_gap([made(0.8, 1), made(0.75, 2)], 250)
    large = detectable_gap([made(0.8, 1, many), made(0.75, 2, many)], 250)
    alone = detectable_gap([made(0.8, 1)], 250)
    assert small[1]
    assert large[1]
    assert not alone[1]
    assert large[0] < small[0] / 2
    assert detectable_gap([], 250) is None
