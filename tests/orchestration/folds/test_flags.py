"""The flags of `run_loso`: which there are, their defaults, and what is refused."""

import dataclasses
import re
import subprocess
import sys
from functools import partial

import pytest

from dadnet.base.errors import DadnetError
from orchestration import run_loso
from orchestration.folds.flags import ABLATE, RunFlags, capped_warmup, parse_flags
from orchestration.search.flags import parse_flags as tune_flags
from tests.build.runs import run_words

FLAGS = """
    flows ledger preset name macro_weights workers gpus_per_worker stack graph checkpoint_every
    keep_weights keep_features only retry_diverged fresh strict dry_run
    dataset class_set protocol num_folds selection val_fraction normalisation shuffle_labels
    model_type micro_size macro_size input_size flow_correction head stn channel_attention drop_path
    model model_args
    alignment alignment_weight alignment_stages num_projections gswd_form label_smoothing
    epochs batch_size lr lr_floor warmup_epochs weight_decay patience augmentation precision
    seed
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "Unrecognized options: --epoch, 3; did you mean --epochs?"),
        (["--alignment-stages", "2,7"], "rising stages out of 0,1,2,3"),
        (["--input-size", "28"], "at least 32"),
        (["--input-size", "1000000"], "at most 4096, got 1000000"),
        (["--seed", "9" * 400], "seed: expected a whole number below 2**63"),
        (["--lr", "1e400"], "lr: expected a finite number, got inf"),
        (["--epochs", "1000001"], "epochs: expected at most 1000000"),
        (["--preset", "best"], "expected one of smoke"),
        (["--preset", "reference-2"], "did you mean reference-v2?"),
        (["--name", "x" * 81], "name: expected 1 to 80 printable characters"),
        (["--name", " x"], "without blanks at the ends"),
        (["--flows", "/nowhere"], "there is none"),
        (["--workers", "-1"], "workers: expected 0 or more"),
        (["--resume"], "resume: there is no such flag any more; a command goes on"),
        (["--resume=True", "--fresh"], "--fresh begins again"),
        (["--dataset", "casme2"], "expected synthetic, which is what"),
        (["--model-type", "baseline"], "a baseline has no teacher"),
        (["--macro-size", "base"], "macro_size base, the teacher ultralight"),
        (["--input-size", "56"], "input_size 56, the teacher 32; give --input-size 32, or leave"),
        (["--macro-weights", "/nowhere.safetensors"], "nowhere.safetensors"),
        (["--class-set", "9class"], "no class set '9class'"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_status_2(site, tmp_path, capsys, words, message):
    assert run_loso.main([*run_words(site, tmp_path / "runs"), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("parse", [parse_flags, ABLATE.parse, partial(tune_flags, description="")])
@pytest.mark.parametrize("preset", ["smoke", "reference-v1"])
def test_the_input_size_is_the_teachers_unless_given(site, parse, preset):
    words = ["--preset", preset, "--macro-weights", str(site / "teacher.safetensors")]
    assert parse(words).experiment.model.input_size == 32
    assert parse([*words, "--input-size", "64"]).experiment.model.input_size == 64
    assert parse(words[:2]).experiment.model.input_size in (56, 224)


def test_presets_give_defaults_and_flags_win():
    flags = parse_flags(["--preset", "reference-v2", "--dataset", "casme3", "--lr", "0.5"])
    assert flags.experiment.loss.alignment_stages == (0, 3)
    assert flags.experiment.optim.lr == 0.5
    assert flags.experiment.data.dataset == "casme3"


def test_switches_can_be_turned():
    flags = parse_flags(["--shuffle-labels", "--no-stn", "--no-channel-attention", "--fresh"])
    assert flags.experiment.data.shuffle_labels
    assert not flags.experiment.model.stn
    assert not flags.experiment.model.channel_attention
    assert flags.fresh


def test_a_switch_that_is_on_by_default_turns_both_ways():
    words = ["--preset", "dfme-7class"]
    assert not ABLATE.parse(words).experiment.model.stn
    assert ABLATE.parse([*words, "--stn"]).experiment.model.stn
    assert parse_flags(["--stn"]).experiment.model.stn


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (3, 2), (4, 3), (30, 3)])
def test_a_short_run_has_a_short_warmup_and_one_line_about_it(epochs, warmup):
    experiment = parse_flags(["--epochs", str(epochs)]).experiment
    assert experiment.optim.warmup_epochs == warmup
    line = capped_warmup("smoke", experiment)
    expected = f"warm-up: {warmup} instead of 3 epochs, since the run has {epochs}"
    assert line == (expected if epochs <= 3 else "")


@pytest.mark.parametrize("parse", [parse_flags, ABLATE.parse, partial(tune_flags, description="")])
def test_a_warmup_is_held_against_the_epochs_of_the_preset(parse):
    words = ["--preset", "reference-v1", "--warmup-epochs"]
    assert parse([*words, "150"]).experiment.optim.warmup_epochs == 150
    with pytest.raises(DadnetError, match=r"warmup_epochs: expected 0 to below epochs \(205\)"):
        parse([*words, "205"])


def test_the_flags_are_these():
    def names(kind) -> list[str]:
        found = []
        for field in dataclasses.fields(kind):
            nested = dataclasses.is_dataclass(getattr(kind(), field.name))
            found += names(type(getattr(kind(), field.name))) if nested else [field.name]
        return found

    assert names(RunFlags) == FLAGS.split()


def test_help_names_every_flag():
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.run_loso", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for flag in ("--alignment-stages", "--macro-weights", "--dry-run", "--stack", "--class-set"):
        assert re.search(rf"{flag}\b", done.stdout)
