"""`dadnet reproduce`: the recipes that it runs, and ours beside the published figures."""

import csv

import msgspec
import numpy as np
import pytest

from orchestration import reproduce, run_loso
from orchestration.folds.cost import Cost
from results.leaderboard import published as figures
from results.ledger.ledger import Ledger
from tests.build.flows import make_clips, pattern_flow, write_store

NAMES = ("casme2", "samm", "smic")


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """Two subjects of each dataset of the composite, with its emotions' names."""
    root = tmp_path_factory.mktemp("flows")
    noise = np.random.default_rng(0)
    for name in NAMES:
        clips = make_clips(2, 3, name)
        negative = {"smic": "negative", "samm": "anger", "casme2": "disgust"}[name]
        positive = "positive" if name == "smic" else "happiness"
        words = {"disgust": negative, "happiness": positive, "surprise": "surprise"}
        fields = np.stack([pattern_flow(e, 32, noise) for e in clips["emotion"]])
        named = clips.assign(emotion=clips["emotion"].map(words))
        write_store(root / name, named, flows=fields)
    return ",".join(str(root / name) for name in NAMES)


def words(flows, root, *more):
    given = ["megc2019", "--flows", flows, "--ledger", str(root / "runs"), "--workers", "0"]
    return [*given, "--without-teacher", "--epochs", "1", *more]


def test_ours_stands_beside_the_published_figures_and_nothing_is_made_twice(
    flows, tmp_path, capsys, monkeypatch
):
    table = tmp_path / "table.csv"
    given = words(flows, tmp_path, "--recipes", "ststnet,majority", "--csv", str(table))
    assert reproduce.main(given) == 0
    first = table.read_bytes()
    rows = list(csv.DictReader(table.read_text().splitlines()))
    [whole] = [r for r in rows if r["published"] == "STSTNet 2019" and r["part"] == ""]
    assert (whole["published_uf1"], whole["published_uar"]) == ("0.7353", "0.7605")
    assert float(whole["difference"]) == pytest.approx(float(whole["uf1"]) - 0.7353)
    inside = float(whole["low"]) <= 0.7353 <= float(whole["high"])
    assert whole["inside"] == str(inside)
    assert whole["their_selection"] == "fixed"
    assert "another number of clips; The reported UAR seems" in whole["reasons"]
    parts = {r["part"]: r["published_uf1"] for r in rows if r["method"] == "STSTNet" and r["part"]}
    assert parts == {"casme2": "0.8382", "samm": "0.6588", "smic": ""}
    assert {r["published"] for r in rows if r["method"] == "majority class"} == {""}
    assert "no published figure is known" in capsys.readouterr().out
    assert reproduce.main(given) == 0
    assert capsys.readouterr().out.count("6 of 6 folds are in") == 2
    assert table.read_bytes() == first
    one = next(row for row in figures.published() if row.method == "STSTNet")
    same = msgspec.structs.replace(one, uf1=float(whole["uf1"]))
    monkeypatch.setattr(figures, "published", lambda: (same,))
    assert reproduce.main(given) == 0
    assert "ours +0.000, in our interval, selection fixed" in capsys.readouterr().out


def test_a_dry_run_prints_the_cost_of_every_experiment_and_of_all(
    flows, tmp_path, capsys, monkeypatch
):
    cost = Cost(0.0, 0.0, 0.0, (30.0,) * 6)  # 3 minutes each; measuring takes seconds
    monkeypatch.setattr(run_loso, "cost_here", lambda *_: (cost, 1))
    given = words(flows, tmp_path, "--recipes", "reference-v1,majority,prior-draw", "--dry-run")
    assert reproduce.main(given) == 0
    out = capsys.readouterr().out
    assert "left out, without a teacher's weights: reference-v1\n" in out
    assert out.count("6 of 6 folds to run") == 2
    assert "2 experiments, 6.0 min in all" in out
    assert not Ledger(tmp_path / "runs").experiments()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["casme2"],
            "reference-v1: expected its teacher's weights, got none; give --macro-weights",
        ),
        (["casme2", "--recipes", "reference-v2"], "--macro-weights-v2 FILE, or --without-teacher"),
        (["casme2", "--recipes", "reference-v1", "--without-teacher"], "recipes: expected one"),
        (["casme2", "--recipes", "stsnet"], "did you mean ststnet?"),
        (["casme"], "did you mean casme"),
    ],
)
def test_bad_input_is_one_line_and_status_2(given, message, capsys):
    assert reproduce.main(given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_second_recipe_has_no_teacher_on_dfme_but_for_7_classes():
    def given(*words):
        flags = reproduce.REPRODUCE.parse(["dfme", "--recipes", "reference-v2", *words])
        return reproduce.commands(flags)[0][0]

    assert "--model-type baseline" in " ".join(given())
    with_teacher = given("--class-set", "7class", "--macro-weights-v2", "t.safetensors")
    assert "--macro-weights t.safetensors" in " ".join(with_teacher)
