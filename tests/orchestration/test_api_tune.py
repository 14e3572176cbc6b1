"""`tune` from Python equals the command: same study, winner and records."""

import pandas as pd
import pytest

from dadnet.base.errors import DadnetError
from orchestration import tune
from orchestration.api import tune as tune_call
from results.ledger.studies import StudyLedger
from tests.build.runs import ledger_content, tune_words


@pytest.fixture(scope="module")
def found(site, tmp_path_factory):
    root = tmp_path_factory.mktemp("tuned")
    return root, tune_call(**tune_flags(site, root))


def test_it_equals_the_command(site, tmp_path, found):
    root, search = found
    assert tune.main(tune_words(site, tmp_path)) == 0
    [study] = StudyLedger(tmp_path / "runs").studies()
    assert list(search.trials["val_uf1"]) == [trial.val_uf1 for trial in study.trials]
    assert search.experiment.digest == study.best.experiment
    assert ledger_content(root / "runs") == ledger_content(tmp_path / "runs")
    assert search.winners == {"": study.best.params}


def test_it_has_trials_winner_and_result(found):
    search = found[1]
    assert list(search.trials["state"]) == ["COMPLETE"] * 3
    assert search.trials["winner"].sum() == 1
    assert 0 <= search.result.uf1 <= 1
    assert "3 trials" in str(search)


def test_the_same_call_trains_nothing_and_a_dry_run_returns_nothing(site, found):
    root, search = found
    again = tune_call(**tune_flags(site, root))
    pd.testing.assert_frame_equal(again.trials, search.trials)
    assert tune_call(**tune_flags(site, root, dry_run=True)) is None


def test_a_space_may_be_a_function(site, tmp_path):
    search = tune_call(**tune_flags(site, tmp_path, space=rates, num_trials=2))
    assert set(search.trials["rate"]) <= {1e-3, 1e-2}
    assert search.studies[0].space.startswith("rates@")


def test_a_search_without_a_winner_is_an_error(site, tmp_path):
    with pytest.raises(DadnetError, match="none of its 1 trials is complete"):
        tune_call(**tune_flags(site, tmp_path, space=breaks_later, num_trials=1))


def tune_flags(site, root, **more):
    """The keywords of `tune_words`."""
    return {
        "flows": site / "flows", "macro_weights": site / "teacher.safetensors",
        "ledger": root / "runs", "input_size": 32, "epochs": 3, "warmup_epochs": 0,
        "space": "smoke", "num_trials": 3, "startup_trials": 2, "workers": 0,
        "selection": "inner", "quiet": True, **more,
    }  # fmt: skip


def rates(trial):
    """Learning rates."""
    return {"optim.lr": trial.suggest_categorical("rate", [1e-3, 1e-2])}


def test_ctrl_c_is_raised_and_the_same_call_continues(site, tmp_path, found, monkeypatch):
    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestration.search.searches.train_winners", press)
    with pytest.raises(KeyboardInterrupt):
        tune_call(**tune_flags(site, tmp_path))
    monkeypatch.undo()
    again = tune_call(**tune_flags(site, tmp_path))
    assert list(again.trials["val_uf1"]) == list(found[1].trials["val_uf1"])


_CALLS = []


def breaks_later(trial):
    """Is checked once, then gives no experiment."""
    _CALLS.append(trial.suggest_float("drop", 0.0, 1.0))
    return {"optim.lr": 1e-3 if len(_CALLS) == 1 else -1.0}
