"""The forest plot: places on one scale, by hand."""

import json

import pytest

from results.leaderboard.forest import make_forest
from results.leaderboard.ranking import leaderboard
from results.pages.site import render_dataset

GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}
POOR = {"a": ["n>p", "p>p"], "b": ["s>n", "n>n"], "c": ["p>p", "s>n"]}


def test_every_row_with_an_interval_is_on_one_scale(ledger, fill):
    fill(GOOD, method="good")
    fill(POOR, method="poor")
    fill(GOOD, method="half", without=["c"])
    group = leaderboard(ledger).groups[0]
    forest = make_forest(group)
    assert [row.name for row in forest.rows] == ["good", "poor"]
    ticks = {float(text): place for place, text in forest.ticks}
    assert len(ticks) >= 3
    (least, left), (greatest, right) = min(ticks.items()), max(ticks.items())
    for row in forest.rows:
        for value, place in zip((row.low, row.value, row.high), row.x, strict=True):
            share = (value - least) / (greatest - least)
            assert place == pytest.approx(left + share * (right - left), abs=0.02)
            assert 0 <= place <= 100
    assert forest.best == forest.rows[0].x[1]
    assert [item[0] for item in json.loads(forest.data)] == ["good", "poor"]
    assert 'class="forest"' in render_dataset(leaderboard(ledger))


def test_one_row_is_no_plot(ledger, fill):
    fill(GOOD)
    assert make_forest(leaderboard(ledger).groups[0]) is None
    assert 'class="forest"' not in render_dataset(leaderboard(ledger))
