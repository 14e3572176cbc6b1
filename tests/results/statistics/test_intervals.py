import numpy as np
import pytest

from results.statistics import resampling
from results.statistics.compare import LEAST_SEEDS, detectable_gap, difference, over_seeds
from results.statistics.counts import Counts
from results.statistics.resampling import interval
from results.statistics.summary import summarise, summarise_many

NUM_TABLES, MOST_SUBJECTS = 5_000, 60


def of_stack(stack) -> Counts:
    """Return counts of subjects with these confusions."""
    stack = np.asarray(stack, dtype=np.int64)
    return Counts(tuple(f"i{n:02d}" for n in range(len(stack))), stack, None, None)


def random_table(draw: np.random.Generator, subjects: int, classes: int) -> Counts:
    """Return counts of a random skill, mostly of unequal subjects, at times of one huge subject."""
    clips = draw.geometric(draw.uniform(0.1, 1), (subjects, classes))
    clips *= draw.random((subjects, classes)) < draw.uniform(0.2, 1)
    clips[:, 0] += clips.sum(axis=1) == 0  # every subject has a clip
    clips[0] *= draw.choice([1, 1, 50])
    skill = draw.choice([0.0, draw.random(), 0.98, 1.0])
    shares = np.full((classes, classes), (1 - skill) / (classes - 1))
    np.fill_diagonal(shares, skill)
    return of_stack(draw.multinomial(clips, shares))


def assert_holds(ends, value, low=0.0):
    """Assert that an interval is ordered, has its estimate and lies in its range."""
    if ends.low is None:
        assert (ends.high, ends.method) == (None, "none")
        return
    assert low <= ends.low <= value <= ends.high <= 1
    assert (ends.method in ("percentile", "none")) == (ends.why != "")


def test_an_interval_has_its_estimate_is_ordered_and_lies_in_its_range(monkeypatch):
    # Fewer resamples are quicker, and reach the edges earlier.
    monkeypatch.setattr(resampling, "NUM_RESAMPLES", 199)
    draw, made, methods = np.random.default_rng(7), 0, set()
    for subjects in range(1, MOST_SUBJECTS + 1):
        classes = int(draw.integers(2, 6))
        tables = [
            random_table(draw, subjects, classes) for _ in range(-(-NUM_TABLES // MOST_SUBJECTS))
        ]
        made += len(tables)
        for summary in summarise_many(tables):
            for score in (summary.uf1, summary.uar, summary.accuracy):
                assert_holds(score.interval, score.value)
                methods.add(score.interval.method)
        if subjects > 1:
            seeds = over_seeds(tables[:3])
            assert_holds(seeds.interval, seeds.mean)
            clips = tables[0].confusions.sum(axis=2)
            wrong = of_stack(clips[:, :, None] * np.roll(np.eye(classes, dtype=int), 1, axis=1))
            gap = difference(tables[0], wrong)
            assert_holds(gap.interval, gap.value, low=-1)
    assert made >= NUM_TABLES
    assert methods == {"BCa", "percentile", "none"}


def test_an_interval_is_widened_to_its_estimate():
    found = interval(np.linspace(0.5, 0.6, 999), 0.7, np.array([0.6, 0.7, 0.8]), np.ones(3))
    assert (found.low, found.high) == (pytest.approx(0.5, abs=1e-3), 0.7)


def test_one_large_subject_has_percentiles_and_the_row_says_which():
    table = [[2, 1, 0], [0, 2, 1], [1, 0, 2]]
    even = summarise(of_stack([table, np.diag([4, 4, 1]), table, np.diag([3, 3, 3])])).uf1.interval
    assert (even.method, even.why) == ("BCa", "")
    large = np.array([table, np.diag([4, 4, 1]), table, np.array(table) * 2])
    found = summarise(of_stack(large)).uf1.interval
    assert (found.method, found.why) == ("percentile", "one subject has 40 % of the clips")


def test_levels_that_cross_give_percentiles():
    # One subject decides (acceleration -0.16) and three have nearly all clips (wide tails): where
    # the figure is low among its resamples, the lower level lies beyond the pole.
    left_out, sizes = np.repeat([0.0, 1.0], [49, 1]), np.repeat([1_000.0, 1.0], [3, 47])
    distribution = np.linspace(0, 1, 1001)
    for value, method in ((0.5, "BCa"), (0.05, "percentile")):
        found = interval(distribution, value, left_out, sizes)
        assert found.method == method
        assert found.low <= value <= found.high
    assert found.why == "the levels of BCa are not defined"


def test_a_perfect_row_does_not_make_the_power_line_zero():
    draw = np.random.default_rng(3)
    shares = np.full((3, 3), 0.15) + 0.55 * np.eye(3)
    clips = np.full((12, 3), 4)
    perfect = of_stack([np.diag([4, 4, 4])] * 12)
    one, two = (of_stack(draw.multinomial(clips, shares)) for _ in range(2))
    assert detectable_gap([perfect, one, two], 250) == detectable_gap([one, two], 250)
    assert detectable_gap([one, two], 250)[0] > 0.01
    assert detectable_gap([perfect, one], 250) == detectable_gap([one], 250)
    assert detectable_gap([perfect, perfect], 250) is None


def test_two_seeds_have_a_mean_and_no_interval_and_three_have_one():
    draw = np.random.default_rng(5)
    shares = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    rows = [of_stack(draw.multinomial(np.full((9, 3), 4), shares)) for _ in range(3)]
    two, three = over_seeds(rows[:2]), over_seeds(rows)
    assert LEAST_SEEDS == 3
    assert (two.interval.low, two.interval.why) == (None, "2 seeds, of 3 needed")
    assert 0 < two.mean < 1
    assert (three.interval.method, three.interval.low < three.mean) == ("t", True)
