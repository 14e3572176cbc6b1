"""The benchmark of the search: it runs, and its means carry their errors."""

import json
import sys

import pytest

from benchmarks import search
from benchmarks.landscape import confidence, make_landscape_plan, skill
from search_spaces.space import apply_values


def row(seed: int, lost: float, found: bool) -> dict:
    return {
        "seed": seed, "none_uf1": 0.8, "folds_uf1": 0.8 - lost, "none_in_region": True,
        "folds_in_region": found, "saved": 0.5, "lost_uf1": lost, "replay_saved": 0.5,
        "replay_lost_uf1": 0.0, "uf1_saved": 0.5, "uf1_better": 10, "uf1_stopped": seed,
        "log_loss_saved": 0.6, "log_loss_better": 8, "log_loss_stopped": 0,
    }  # fmt: skip


def test_a_mean_comes_with_its_standard_error_and_a_region_with_its_rate():
    found = search.summary([row(1, 0.03, True), row(2, -0.01, True), row(3, 0.01, False)])
    assert found["seeds"] == 3
    assert found["mean_lost_uf1"] == pytest.approx(0.01)
    assert found["se_lost_uf1"] == pytest.approx(0.02 / 3**0.5)
    assert found["mean_folds_in_region"] == pytest.approx(2 / 3)
    assert found["se_none_in_region"] == 0.0
    assert (found["uf1_better"], found["uf1_stopped"], found["log_loss_stopped"]) == (30, 6, 0)
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


def test_the_rules_are_judged_on_the_same_trials_and_a_stricter_one_saves_less(monkeypatch):
    small = make_landscape_plan(seed=1, subjects=10, clips=6)
    monkeypatch.setattr(search, "make_landscape_plan", lambda seed: small)
    monkeypatch.setattr(search, "TRIALS", 14)
    rows = search.measure_rules(1, search.SMOOTHING)
    of_uf1 = [row["saved"] for row in rows if row["figure"] == "uf1"]
    assert of_uf1 == sorted(of_uf1, reverse=True)
    assert 0 < of_uf1[0] < 1
    assert all(0 <= row["stopped"] <= row["better"] < 14 for row in rows)
    summary = search.summary_of_rules([*rows, *rows])
    assert [row["seeds"] for row in summary] == [2] * 4
    assert [row["mean_saved"] for row in summary] == [row["saved"] for row in rows]
    assert [row["better"] for row in summary] == [2 * row["better"] for row in rows]


def test_in_the_landscape_more_smoothing_is_better_and_less_confident():
    usual = make_landscape_plan(seed=1, subjects=10, clips=6).config
    smoothed = apply_values(usual, {"loss.label_smoothing": 0.2})
    assert skill(smoothed) > skill(usual)
    assert confidence(smoothed) < confidence(usual) == 1


def test_no_seed_that_the_threshold_was_chosen_on_is_a_default():
    assert set(search.SEEDS).isdisjoint(range(5))
    assert len(search.SEEDS) == len(set(search.SEEDS)) == 25
