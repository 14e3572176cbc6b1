"""`--name` and the sizes of the network, from a run to the board."""

import pytest

from orchestration import run_loso, tune
from orchestration.folds.flags import preset_warning
from results.leaderboard.names import given_name
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger
from tests.build.runs import run_words, tune_words


def short(site, ledger, *more: str) -> list[str]:
    words = ["--flows", str(site / "flows"), "--ledger", str(ledger), "--workers", "0"]
    return [*words, "--model-type", "baseline", "--input-size", "32", "--epochs", "4", *more]


@pytest.fixture(scope="module")
def named(site, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("named") / "runs"
    assert run_loso.main(short(site, ledger, "--name", "my first")) == 0
    return ledger


def test_the_name_is_beside_the_experiment_and_not_in_its_digest(named, site, tmp_path, capsys):
    assert run_loso.main(short(site, tmp_path / "runs", "--dry-run")) == 0
    [experiment] = Ledger(named).experiments()
    assert f"experiment {experiment.digest}" in capsys.readouterr().out
    assert given_name(Ledger(named), experiment) == "my first"
    [row] = leaderboard(named).rows
    assert row.name == "my first"
    assert row.preset == "smoke, pixels 32, epochs 4"


def test_a_finished_run_takes_a_new_name_and_keeps_it_when_made_afresh(named, site):
    [experiment] = Ledger(named).experiments()
    assert run_loso.main(short(site, named, "--name", "better")) == 0
    assert given_name(Ledger(named), experiment) == "better"
    assert run_loso.main(short(site, named)) == 0
    assert run_loso.main(short(site, named, "--fresh")) == 0
    assert given_name(Ledger(named), experiment) == "better"


def test_a_name_that_another_row_has_is_refused_before_the_training(named, site, capsys):
    [experiment] = Ledger(named).experiments()
    name = given_name(Ledger(named), experiment)
    assert run_loso.main(short(site, named, "--seed", "7", "--name", name)) == 2
    assert f"{name!r} is the name of {experiment.digest}" in capsys.readouterr().err
    assert Ledger(named).experiments() == (experiment,)


def test_records_say_the_size_of_the_network(named):
    ledger = Ledger(named)
    [experiment] = ledger.experiments()
    sizes = {(r.host["parameters"], r.host["flops"]) for r in ledger.records(experiment)}
    assert len(sizes) == 1
    [row] = leaderboard(named).rows
    assert (row.made.parameters, row.made.flops) == sizes.pop()
    assert row.made.parameters > 10_000
    assert row.made.flops > row.made.parameters
    assert row.made.seconds > 0


@pytest.mark.slow
def test_a_search_names_its_winner(site, tmp_path):
    assert tune.main(tune_words(site, tmp_path, "--name", "found")) == 0
    [row] = leaderboard(tmp_path / "runs").rows
    assert row.name == "found"


def test_smoke_warns_on_a_real_dataset_alone():
    line = preset_warning("smoke", "casme2")
    assert line.startswith("warning: preset smoke is no recipe for casme2")
    assert "\n" not in line
    assert preset_warning("smoke", "synthetic") == ""
    assert preset_warning("reference-v2", "casme2") == ""


def test_a_dual_stream_counts_the_student_alone(site, tmp_path):
    words = run_words(site, tmp_path / "runs", "--workers", "0", "--only", "synthetic/sub01")
    assert run_loso.main(words) == 3
    assert run_loso.main(short(site, tmp_path / "runs", "--only", "synthetic/sub01")) == 3
    dual, alone = (row.made for row in leaderboard(tmp_path / "runs").rows)
    assert dual.flops == alone.flops
