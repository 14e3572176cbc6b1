"""The benchmark of the search: it runs, and its means carry their errors."""

import json
import sys

import pytest

from benchmarks import search
from benchmarks.landscape import make_landscape_plan


def row(seed: int, lost: float, found: bool) -> dict:
    return {
        "seed": seed, "none_uf1": 0.8, "folds_uf1": 0.8 - lost, "none_in_region": True,
        "folds_in_region": found, "saved": 0.5, "lost_uf1": lost, "replay_saved": 0.5,
        "replay_lost_uf1": 0.0,
    }  # fmt: skip


def test_a_mean_comes_with_its_standard_error_and_a_region_with_its_rate():
    found = search.summary([row(1, 0.03, True), row(2, -0.01, True), row(3, 0.01, False)])
    assert found["seeds"] == 3
    assert found["mean_lost_uf1"] == pytest.approx(0.01)
    assert found["se_lost_uf1"] == pytest.approx(0.02 / 3**0.5)
    assert found["mean_folds_in_region"] == pytest.approx(2 / 3)
    assert found["se_none_in_region"] == 0.0
    assert "se_saved" not in search.summary([row(1, 0.0, True)])


def test_it_runs_and_pruning_saves_folds(monkeypatch, tmp_path, capsys):
    small = make_landscape_plan(seed=1, subjects=10, clips=6)
    monkeypatch.setattr(search, "make_landscape_plan", lambda seed: small)
    monkeypatch.setattr(search, "TRIALS", 14)
    out = tmp_path / "search.json"
    monkeypatch.setattr(sys, "argv", ["search", "--seeds", "1", "--json", str(out)])
    search.main()
    measured, means = json.loads(out.read_text())["rows"]
    assert measured["folds_folds"] < measured["none_folds"] <= 140
    assert measured["saved"] == 1 - measured["folds_folds"] / measured["none_folds"]
    assert measured["replay_saved"] > 0
    assert means["seeds"] == 1
    assert "lost_uf1" in capsys.readouterr().out


def test_no_seed_that_the_threshold_was_chosen_on_is_a_default():
    assert set(search.SEEDS).isdisjoint(range(5))
    assert len(search.SEEDS) == len(set(search.SEEDS)) == 25
