"""A search over an argument of the user's own network."""

from orchestration import tune
from results.ledger.ledger import Ledger
from results.ledger.studies import StudyLedger
from tests.build.own import write_source

SPACE = """
def widths(trial):
    return {"model.args.width": trial.suggest_categorical("width", [2, 3, 5])}
"""


def words(site, tmp_path, *more, space=SPACE):
    net, file = write_source(tmp_path), write_source(tmp_path, space, "space.py")
    return [
        "--flows", str(site / "flows"), "--ledger", str(tmp_path / "runs"), "--site",
        str(tmp_path / "site"), "--input-size", "32", "--epochs", "2", "--warmup-epochs", "0",
        "--space", f"{file}:widths", "--num-trials", "3", "--startup-trials", "2", "--workers",
        "0", "--selection", "inner", "--model", f"{net}:small_net", *more,
    ]  # fmt: skip


def test_its_argument_is_varied_and_the_winner_stands_in_the_ledger_under_its_name(site, tmp_path):
    assert tune.main(words(site, tmp_path, "--model-args", "dropout=0.1")) == 0
    [study] = StudyLedger(tmp_path / "runs").studies()
    assert [trial.state for trial in study.trials] == ["COMPLETE"] * 3
    width = study.best.params["width"]
    [experiment] = Ledger(tmp_path / "runs").experiments()
    assert experiment.method == f"small_net(dropout=0.1, width={width})"
    assert experiment.config["model"]["model_args"] == {"dropout": 0.1, "width": width}
    assert study.best.experiment == experiment.digest


def test_an_argument_that_does_not_exist_is_refused_before_the_first_trial(site, tmp_path, capsys):
    space = SPACE.replace("args.width", "args.breadth")
    assert tune.main(words(site, tmp_path, space=space)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "unexpected keyword argument 'breadth'" in error
    # No study has begun: the log alone is there.
    assert [p.name for p in (tmp_path / "runs").rglob("*") if p.is_file()] == ["events.jsonl"]


def test_without_a_network_of_ones_own_there_are_no_arguments(site, tmp_path, capsys):
    given = words(site, tmp_path)
    at = given.index("--model")
    given[at : at + 2] = ["--model-type", "baseline"]
    assert tune.main(given) == 2
    assert "expected --model with model.args.width" in capsys.readouterr().err
