"""`loso` and `tune` from Python equal the commands: same digests, records, messages."""

import inspect
import os
import signal
import subprocess
import sys
from importlib import import_module

import pandas as pd
import pytest

from dadnet.base.errors import DadnetError
from dadnet.base.keywords import flag_types
from dadnet.flow.store import load_flow_store
from orchestration import run_loso, tune
from orchestration.api import loso
from orchestration.api import tune as tune_call
from orchestration.folds.flags import RunFlags
from orchestration.search.flags import TuneFlags
from results.__main__ import main as results_main
from results.ledger.ledger import Ledger
from results.ledger.records import comparable
from tests.build.own import write_source
from tests.build.runs import ledger_content, run_words
from tests.build.source import ROOT


def run_flags(site, ledger, **more):
    """The keywords of `run_words`."""
    return {
        "flows": site / "flows", "ledger": ledger, "input_size": 32, "epochs": 6,
        "macro_weights": site / "teacher.safetensors", "num_projections": 8, "workers": 0,
        "quiet": True, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def called(site, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("called") / "runs"
    return loso(**run_flags(site, ledger))


@pytest.fixture(scope="module")
def commanded(site, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("commanded") / "runs"
    assert run_loso.main(run_words(site, ledger, "--workers", "0")) == 0
    return ledger


def test_a_call_gives_the_records_of_the_command(called, commanded):
    [experiment] = Ledger(commanded).experiments()
    assert called.digest == experiment.digest
    assert ledger_content(called.ledger) == ledger_content(commanded)


def test_figures_are_those_of_the_leaderboard(called, commanded, tmp_path, capsys):
    words = ["leaderboard", "--ledger", str(commanded), "--out", str(tmp_path), "--format", "csv"]
    assert results_main(words) == 0
    row = pd.read_csv(tmp_path / "synthetic.csv").iloc[0]
    assert called.uf1 == pytest.approx(row["uf1"], abs=1e-6)
    assert called.uar == pytest.approx(row["uar"], abs=1e-6)
    assert called.accuracy == pytest.approx(row["accuracy"], abs=1e-6)
    assert called.interval == pytest.approx((row["uf1_low"], row["uf1_high"]), abs=1e-6)


def test_a_call_resumes_what_a_command_left_and_a_finished_one_trains_nothing(
    site, tmp_path, monkeypatch
):
    words = run_words(site, tmp_path / "runs", "--workers", "0", "--only", "synthetic/sub02")
    assert run_loso.main(words) == 3
    part = loso(**run_flags(site, tmp_path / "runs", only=["synthetic/sub03"]))
    assert part.missing == ("synthetic/sub01", "synthetic/sub04", "synthetic/sub05")
    assert sorted(set(part.predictions["subject"])) == ["synthetic/sub02", "synthetic/sub03"]
    with pytest.raises(DadnetError, match="incomplete: 3 of 5 folds .* are missing"):
        _ = part.uf1
    assert "incomplete, 3 of 5 missing" in part._repr_html_()
    whole = loso(**run_flags(site, tmp_path / "runs"))
    assert whole.complete
    monkeypatch.setattr(run_loso, "make_missing", lambda *_: pytest.fail("trained again"))
    assert loso(**run_flags(site, tmp_path / "runs")).uf1 == whole.uf1


def test_every_flag_of_the_commands_is_a_keyword():
    for call, flags in ((loso, RunFlags), (tune_call, TuneFlags)):
        names = set(inspect.signature(call).parameters)
        assert names == {*flag_types(flags), "quiet", "labels", "subjects"}
    for parse, flags in ((run_loso.main, RunFlags), (tune.main, TuneFlags)):
        shown = help_of(parse)
        names = {name.replace("_", "-") for name in flag_types(flags)}
        assert not {name for name in names if f"-{name}" not in shown}


def help_of(main) -> str:
    words = [sys.executable, "-m", main.__module__, "--help"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "epoch: expected one of the command's flags.*nearest: epochs"),
        ({"stn": "no"}, "stn: expected True or False, got 'no'"),
        ({"epochs": "many"}, "many"),
        ({"epochs": 0}, "epochs: expected 1 or more, got 0"),
        ({"workers": object()}, "workers: expected text or a number"),
        ({"resume": True}, "resume: expected one of the command's flags"),
        ({"class_set": "9class"}, "9class"),
        ({"model_type": "baseline"}, "a baseline has no teacher"),
        ({"only": ("nobody",)}, "only: expected some of the 5 folds"),
    ],
)
def test_bad_input_is_an_error_of_one_line_and_nothing_is_written(site, tmp_path, given, message):
    with pytest.raises(DadnetError, match=message) as caught:
        loso(**run_flags(site, tmp_path / "runs", **given))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_messages_are_those_of_the_command(site, tmp_path, capsys):
    assert run_loso.main(run_words(site, tmp_path / "runs", "--epochs", "many")) == 2
    said = capsys.readouterr().err
    with pytest.raises(DadnetError) as caught:
        loso(**run_flags(site, tmp_path / "runs", epochs="many"))
    assert said == f"error: {caught.value}\n"


def test_flows_in_memory_become_a_store(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = load_flow_store(site / "flows")
    given = run_flags(site, tmp_path / "runs", flows=store.flows, dataset="mine", dry_run=True)
    labels, subjects = store.clips["emotion"], store.clips["subject"].str.split("/").str[1]
    result = loso(**given, labels=labels, subjects=subjects)
    assert [fold.num_test_clips for fold in result.experiment.folds] == [6] * 5
    [folder] = (tmp_path / "flows").iterdir()
    written = load_flow_store(folder)
    assert sorted(written.clips["flow_digest"]) == sorted(store.clips["flow_digest"])
    assert result.experiment.data_digest == written.digest
    assert loso(**given, labels=labels, subjects=subjects).digest == result.digest
    with pytest.raises(DadnetError, match="labels, subjects: expected both"):
        loso(**given, labels=labels)
    with pytest.raises(DadnetError, match="labels, subjects: expected both"):
        loso(**run_flags(site, tmp_path / "runs"), labels=labels, subjects=subjects)


def test_a_function_of_a_file_is_the_experiment_that_the_file_is(site, tmp_path, monkeypatch):
    file = write_source(tmp_path, name="api_net.py")
    monkeypatch.syspath_prepend(tmp_path)
    flags = run_flags(site, tmp_path / "runs", dry_run=True, macro_weights=None)
    given = loso(**flags, model=import_module("api_net").small_net, model_args={"width": 6})
    named = loso(**flags, model=f"{file}:small_net", model_args={"width": 6})
    assert given.digest == named.digest
    assert given.experiment.method == "small_net(width=6)"


def test_switches_can_be_turned_from_the_value_of_a_preset(site, tmp_path):
    flags = run_flags(site, tmp_path / "runs", dry_run=True, preset="reference-v2")
    del flags["macro_weights"]
    planned = [
        loso(**flags, model_type="baseline", stn=stn, channel_attention=True)
        for stn in (True, False)
    ]
    assert [p.experiment.config["model"]["stn"] for p in planned] == [True, False]
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_keeps_the_checkpoint_and_the_next_call_goes_on(
    site, tmp_path, monkeypatch, commanded
):
    epochs = []

    def press(snapshot):
        epochs.append(snapshot)
        if len(epochs) == 12:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run_loso.Progress, "show", lambda self, snapshot: press(snapshot))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loso(**run_flags(site, tmp_path / "runs", checkpoint_every=1))
    assert signal.getsignal(signal.SIGINT) is before
    assert list((tmp_path / "runs").rglob("checkpoints/*.pt"))
    monkeypatch.undo()
    assert loso(**run_flags(site, tmp_path / "runs", checkpoint_every=1)).complete
    assert ledger_content(tmp_path / "runs") == ledger_content(commanded)


def test_the_progress_is_printed_unless_it_is_not_wanted(site, tmp_path, capsys):
    flags = run_flags(site, tmp_path / "runs", epochs=4)
    loso(**flags)
    assert capsys.readouterr().out == ""
    loso(**{**flags, "quiet": False, "ledger": tmp_path / "again"})
    said = capsys.readouterr().out
    assert "fold synthetic/sub01 done (1/5, ETA" in said
    assert "0 of 5 folds are in" in said


ON_RAY = """
from torch import nn
from orchestration.api import loso

WIDTH = 4

def net(num_classes, input_size):
    return nn.Sequential(nn.Conv2d(2, WIDTH, 5, stride=4), nn.Flatten(), nn.LazyLinear(num_classes))

flags = {flags}
print("first", loso(**flags).complete)
flags.pop("macro_weights"), flags.pop("num_projections")
print("own", loso(**flags, model=net).complete)
"""


@pytest.mark.slow
def test_on_ray_the_records_are_the_same_and_a_network_of_the_script_reaches_the_workers(
    site, tmp_path, commanded
):
    flags = run_flags(site, tmp_path / "runs", workers=2)
    texts = {name: v if isinstance(v, int) else str(v) for name, v in flags.items()}
    script = tmp_path / "script.py"
    script.write_text(ON_RAY.replace("{flags}", repr(texts)))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "first True\nown True\n"
    ledger = Ledger(tmp_path / "runs")
    found = {experiment.method: experiment for experiment in ledger.experiments()}
    [expected] = Ledger(commanded).experiments()
    same = found[expected.method]
    assert same == expected
    records = {record.fold: comparable(record) for record in ledger.records(same)}
    assert records == ledger_content(commanded)
    assert len(ledger.records(found["net"])) == 5
