"""A network and an augmentation of the user's own, from the flag to the leaderboard."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from dadnet import export, predict
from orchestration import ablate, explain, robustness, run_loso
from results.__main__ import main as results_main
from results.leaderboard.ranking import leaderboard, text_table
from results.ledger.ledger import Ledger
from results.pages.reproduce import reproduce
from tests.build.own import NET, STAGED, WRONG, own_words, write_source
from tests.build.runs import LAST_S, ledger_content, run_words, wait_until
from tests.build.source import ROOT

AUGMENT = """
import torch

def shift(flows, generator):
    steps = torch.randint(0, 3, (1,), generator=generator).item()
    return flows.roll(steps, dims=3)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The word that names the network."""
    return f"{write_source(tmp_path_factory.mktemp('own'))}:small_net"


@pytest.fixture(scope="module")
def finished(site, own, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("finished") / "runs"
    words = own_words(site, ledger, own, "--model-args", "dropout=0.3", "--keep-weights", "best")
    assert run_loso.main(words) == 0
    return ledger


def the_experiment(ledger):
    [experiment] = Ledger(ledger).experiments()
    return experiment


def test_it_stands_on_the_board_with_its_name_and_arguments(finished):
    table = leaderboard(Ledger(finished))
    assert the_experiment(finished).method == "small_net(dropout=0.3)"
    assert "small_net(dropout=0.3)" in text_table(table, width=200)


def test_the_ledger_keeps_the_source_and_a_run_from_it_is_the_same_experiment(
    finished, site, tmp_path
):
    experiment = the_experiment(finished)
    [kept] = finished.rglob("source/model/net.py")
    assert kept.read_text() == NET
    command = reproduce(experiment)
    assert f"--model runs/synthetic/{experiment.digest}/source/model/net.py:small_net" in command
    assert "--model-args dropout=0.3" in command
    words = own_words(site, tmp_path / "runs", f"{kept}:small_net", "--model-args", "dropout=0.3")
    assert run_loso.main(words) == 0
    assert ledger_content(tmp_path / "runs") == ledger_content(finished)


def test_a_changed_file_is_another_experiment_and_a_renamed_one_is_not(site, tmp_path, capsys):
    digests = []
    for name, text in (("a.py", NET), ("b.py", NET), ("a.py", f"{NET}\nMORE = 1\n")):
        word = f"{write_source(tmp_path, text, name)}:small_net"
        assert run_loso.main(own_words(site, tmp_path / "runs", word, "--dry-run")) == 0
        digests.append(capsys.readouterr().out.split("experiment ")[1][:16])
    assert digests[0] == digests[1] != digests[2]


def test_a_stack_of_several_says_how_it_is_trained(site, own, tmp_path, capsys):
    assert run_loso.main(own_words(site, tmp_path / "a", own)) == 0
    capsys.readouterr()
    assert run_loso.main(own_words(site, tmp_path / "b", own, "--stack", "3")) == 0
    assert (
        "one after the other: on a CPU, net.py:small_net rounds alike then"
        in capsys.readouterr().out
    )
    alone, stacked = ledger_content(tmp_path / "a"), ledger_content(tmp_path / "b")
    for name, record in stacked.items():
        for one, other in zip(record["predictions"], alone[name]["predictions"], strict=True):
            np.testing.assert_allclose(one["probabilities"], other["probabilities"], atol=0.05)


def test_one_that_draws_is_trained_one_by_one_in_a_stack_with_the_same_numbers(
    finished, site, own, tmp_path, capsys
):
    words = own_words(site, tmp_path / "runs", own, "--model-args", "dropout=0.3", "--stack", "3")
    assert run_loso.main(words) == 0
    said = capsys.readouterr().out
    assert "one after the other: net.py:small_net, RuntimeError: vmap: called random" in said
    assert ledger_content(tmp_path / "runs") == ledger_content(finished)


def test_killed_and_given_again_it_is_as_if_undisturbed(site, own, tmp_path):
    more = ["--model-args", "dropout=0.3", "--stack", "2", "--epochs", "40"]
    assert run_loso.main(own_words(site, tmp_path / "a", own, *more)) == 0
    words, log = own_words(site, tmp_path / "b", own, *more), tmp_path / "log"
    with log.open("w") as stream:
        run = subprocess.Popen(
            [sys.executable, "-m", "orchestration.run_loso", *words],
            stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT,
        )  # fmt: skip
    wait_until(lambda: any((tmp_path / "b").rglob("checkpoints/*.pt")), LAST_S, log)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert any((tmp_path / "b").rglob("checkpoints/*.pt"))
    assert run_loso.main(words) == 0
    assert ledger_content(tmp_path / "b") == ledger_content(tmp_path / "a")


def test_predict_and_export_run_the_source_only_if_asked(finished, site, tmp_path, capsys):
    folder = finished / "synthetic" / the_experiment(finished).digest
    [weights, *_] = sorted((folder / "weights").iterdir())
    asked = ["--weights", str(folder), "--input", str(site / "flows")]
    assert predict.main([*asked, "--card"]) == 0
    assert "def small_net" in capsys.readouterr().out
    assert predict.main(asked) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "net.py:small_net" in error
    assert "--run-source" in error
    assert predict.main([*asked, "--run-source", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["clips"]) == 30
    out = tmp_path / "net.pt2"
    asked = ["--weights", str(weights), "--format", "torch-export", "--out", str(out)]
    assert export.main(asked) == 2
    assert not out.exists()
    assert export.main([*asked, "--run-source"]) == 0
    assert out.exists()


def test_robustness_runs_the_source_only_if_asked(finished, site, tmp_path, capsys):
    words = [
        "--ledger", str(finished), "--experiment", the_experiment(finished).digest, "--flows",
        str(site / "flows"), "--kinds", "noise", "--workers", "0", "--site", str(tmp_path),
    ]  # fmt: skip
    assert robustness.main(words) == 2
    assert "--run-source" in capsys.readouterr().err
    assert robustness.main([*words, "--run-source"]) == 0


def test_explain_and_the_grid_of_our_modules_refuse_a_network_of_ones_own(
    finished, site, own, tmp_path, capsys
):
    words = ["--ledger", str(finished), "--experiment", the_experiment(finished).digest]
    assert explain.main(words) == 2
    assert "a network of its own source (net.py:small_net)" in capsys.readouterr().err
    assert ablate.main([*own_words(site, tmp_path, own), "--grid", "modules"]) == 2
    assert "grid modules: a network of your own has none" in capsys.readouterr().err


def test_it_cannot_be_a_teacher(finished, site, tmp_path, capsys):
    [weights, *_] = sorted(finished.rglob("weights/*"))
    words = run_words(site, tmp_path / "runs", "--workers", "0")
    words[words.index("--macro-weights") + 1] = str(weights)
    assert run_loso.main(words) == 2
    assert "holds a network of its own source; expected a MicroFlowNeXt" in capsys.readouterr().err


def test_ablate_varies_the_stages_that_its_maps_have(site, tmp_path, capsys):
    word = f"{write_source(tmp_path, STAGED)}:staged"
    words = own_words(site, tmp_path / "runs", word, "--model-type", "dad_net", "--dry-run")
    more = ["--grid", "alignment", "--macro-weights", str(site / "teacher.safetensors")]
    assert ablate.main([*words, *more, "--site", str(tmp_path / "site")]) == 0
    said = capsys.readouterr().out
    assert "4 experiments" in said  # none, stage 2, stage 3, both
    assert "the student alone" in said


def test_a_bundle_is_verified_and_merged_without_running_its_source(site, tmp_path, capsys):
    mark = tmp_path / "it-ran"
    text = f"import pathlib\npathlib.Path({str(mark)!r}).write_text('')\n{NET}"
    word = f"{write_source(tmp_path, text)}:small_net"
    assert run_loso.main(own_words(site, tmp_path / "runs", word)) == 0
    mark.unlink()
    bundle = tmp_path / "mine.zip"
    assert results_main(["pack", "--ledger", str(tmp_path / "runs"), "--out", str(bundle)]) == 0
    assert results_main(["verify", str(bundle)]) == 0
    assert "holds source of its own (net.py:small_net), which is not run" in capsys.readouterr().out
    merged = tmp_path / "merged"
    assert results_main(["merge", str(bundle), "--ledger", str(merged)]) == 0
    assert [kept.read_text() for kept in merged.rglob("source/model/net.py")] == [text]
    assert not mark.exists()


def test_a_student_of_ones_own_is_aligned_with_the_teacher(site, tmp_path):
    word = f"{write_source(tmp_path, STAGED)}:staged"
    teacher = ["--macro-weights", str(site / "teacher.safetensors"), "--num-projections", "8"]
    words = own_words(site, tmp_path / "runs", word, "--model-type", "dad_net", *teacher)
    assert run_loso.main([*words, "--stack", "2", "--keep-weights", "best"]) == 0
    experiment = the_experiment(tmp_path / "runs")
    assert experiment.method == "DAD-Net (staged/ultralight)"
    assert experiment.teacher_digest
    for record in Ledger(tmp_path / "runs").records(experiment):
        assert min(record.curves["alignment_stage_2"]) > 0
        assert min(record.curves["alignment_stage_3"]) > 0


def test_maps_that_are_missing_are_named_before_anything_is_written(site, tmp_path, own, capsys):
    teacher = ["--macro-weights", str(site / "teacher.safetensors")]
    words = own_words(site, tmp_path / "runs", own, "--model-type", "dad_net", *teacher)
    assert run_loso.main(words) == 2
    assert "expected a map stage2 of net.py:small_net, got logits alone" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_augmentation_of_ones_own_is_kept_and_its_draws_are_repeated(
    site, tmp_path, own, capsys
):
    word = f"{write_source(tmp_path, AUGMENT, 'turn.py')}:shift"
    words = own_words(site, tmp_path / "a", own, "--augmentation", word)
    assert run_loso.main(words) == 0
    [kept] = (tmp_path / "a").rglob("source/augmentation/turn.py")
    assert kept.read_text() == AUGMENT
    again = own_words(site, tmp_path / "b", own, "--augmentation", word, "--stack", "2")
    assert run_loso.main(again) == 0
    assert "the augmentation turn.py:shift takes the clips of one fold" in capsys.readouterr().out
    assert ledger_content(tmp_path / "a") == ledger_content(tmp_path / "b")
    plain = own_words(site, tmp_path / "c", own, "--augmentation", "none")
    assert run_loso.main(plain) == 0
    assert the_experiment(tmp_path / "a").digest != the_experiment(tmp_path / "c").digest


def test_the_example_runs(site, tmp_path):
    example = ROOT / "examples" / "own_model.py"
    assert len(example.read_text().splitlines()) <= 20
    shutil.copy(example, tmp_path / "mine.py")
    words = own_words(site, tmp_path / "runs", f"{tmp_path / 'mine.py'}:small_net")
    assert run_loso.main([*words, "--model-args", "width=16"]) == 0
    assert the_experiment(tmp_path / "runs").method == "small_net(width=16)"


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_what_is_wrong_with_a_source_is_one_line_before_anything_is_written(
    site, tmp_path, capsys, text, expected
):
    word = f"{write_source(tmp_path, text)}:build"
    assert run_loso.main(own_words(site, tmp_path / "runs", word)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--model", "no/such/file.py:net"], "error: model: no/such/file.py: No such file or dir"),
        (["--model", "no_such_package.net:build"], "error: model: no module no_such_package.net"),
        (["--model", "ststnet"], "error: model: expected FILE.py:function or package.module:fun"),
        (["--augmentation=mirror"], "error: augmentation: expected none, hflip, standard, refer"),
        (["--model-args", "width"], "model-args: expected key=value, got 'width'"),
        (["--model-args", "width=3", "--model", "None"], "model_args: expected none without --mod"),
        (["--model-type", "ststnet"], "model_type: expected baseline or dad_net with --model"),
        (["--model-args", "breadth=3"], "got an unexpected keyword argument 'breadth'"),
    ],
)
def test_a_wrong_flag_is_one_line(site, own, tmp_path, capsys, more, expected):
    assert run_loso.main([*own_words(site, tmp_path / "runs", own), *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error


def test_the_help_says_that_a_file_runs_with_the_users_rights(capsys):
    with pytest.raises(SystemExit):
        run_loso.main(["--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "The file runs with your rights, here and on every worker" in words  # --model
    assert "the file runs with your rights, here and on every worker" in words  # --augmentation
