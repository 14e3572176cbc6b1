"""Rivals by the command that runs everything else."""

import re

import numpy as np
import pytest

from dadnet import load_model
from dadnet.flow.store import load_flow_store
from orchestration import run_loso
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger


def words(site, ledger, *more):
    return ["--flows", str(site / "flows"), "--ledger", str(ledger), "--workers", "0", *more]


def test_rivals_run_as_other_experiments_and_their_kept_weights_predict(site, tmp_path):
    ledger = tmp_path / "runs"
    keep = ["--keep-weights", "best", "--stack", "2"]
    recipe = ["--preset", "ststnet", "--epochs", "3"]
    assert run_loso.main(words(site, ledger, *recipe, *keep)) == 0
    assert run_loso.main(words(site, ledger, "--preset", "mdmo-svm", *keep)) == 0
    assert run_loso.main(words(site, ledger, "--preset", "majority", "--dry-run")) == 0
    [group] = leaderboard(Ledger(ledger)).groups
    assert {row.experiment.method for row in group.rows} == {"STSTNet", "MDMO-like + linear SVM"}
    assert all(row.complete and row.rank for row in group.rows)
    flows = load_flow_store(site / "flows").flows
    for experiment in Ledger(ledger).experiments():
        [record, *_] = Ledger(ledger).records(experiment)
        weights = Ledger(ledger).weights_path(experiment, record.fold)
        clips = list(load_flow_store(site / "flows").clips["clip_id"])
        predicted = load_model(weights).predict(flows[clips.index(record.predictions[0].clip_id)])
        np.testing.assert_allclose(
            list(predicted.probabilities.values()), record.predictions[0].probabilities, atol=1e-5
        )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--preset", "ststnet", "--macro-weights", "t.safetensors"], "a ststnet has no teacher"),
        (["--preset", "htnet-like", "--input-size", "28"], "at least 32|multiple of 8"),
    ],
)
def test_what_a_rival_cannot_use_is_one_line(site, tmp_path, capsys, more, message):
    assert run_loso.main(words(site, tmp_path / "runs", *more)) == 2
    out = capsys.readouterr()
    assert re.search(message, out.out + out.err)
