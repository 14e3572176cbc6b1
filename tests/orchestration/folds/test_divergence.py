"""A fold whose loss is not finite is a result: recorded, not tried again, and the others go on."""

import math
import subprocess
import sys

import numpy as np
import pytest

from dadnet.training.one_fold import OneFold
from orchestration import run_loso, tune
from orchestration.folds import make as work
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger
from results.ledger.records import comparable
from results.ledger.studies import StudyLedger
from results.pages.run import row_of
from tests.build.flows import make_clips, write_store
from tests.build.own import own_words, write_source
from tests.build.runs import tune_words

# Its training breaks on a clip with one very large value; those of one subject have some.
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.LazyLinear(num_classes),
        )

    def forward(self, x):
        logits = self.net(x)
        return logits * torch.where(x.abs().amax() > 12, LIMIT, 1.0) if self.training else logits

def build(num_classes, input_size):
    return Net(num_classes)
"""
CALM, BREAKS = NET.replace("LIMIT", "1.0"), NET.replace("LIMIT", "torch.nan")


@pytest.fixture(scope="module")
def stormy(tmp_path_factory):
    """A folder with `flows`, of which those of sub03 have a very large value."""
    root = tmp_path_factory.mktemp("stormy")
    clips = make_clips(5, 6)
    flows = np.random.default_rng(0).normal(0, 1, (len(clips), 2, 32, 32)).astype(np.float16)
    flows[clips["subject"] == "synthetic/sub03", :, 16, 16] = 100
    write_store(root / "flows", clips, flows=flows)
    return root


def words(site, root, source, *more):
    word = f"{write_source(root / 'own', source)}:build"
    return own_words(site, root / "runs", word, "--augmentation", "none", *more)


def records_of(root):
    ledger = Ledger(root / "runs")
    [experiment] = ledger.experiments()
    return ledger, experiment, {r.fold: comparable(r) for r in ledger.records(experiment)}


def without_experiment(records):
    """Records without what names the source."""
    return {fold: {**r, "experiment": ""} for fold, r in records.items()}


def run(command, given):
    """The status of a command; in a process of its own if it starts Ray."""
    if given[-2:] != ["--workers", "1"]:
        return command.main(given)
    words = [sys.executable, "-m", command.__name__, *given]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    return done.returncode


def check(root, whole, capsys):
    """Folds that train on sub03 have diverged; the two others are those of the calm source."""
    ledger, experiment, made = records_of(root)
    known = ledger.divergences(experiment)
    assert len(made) == 2
    assert "synthetic/sub03" in made
    assert {d.fold for d in known} | set(made) == {fold.name for fold in experiment.folds}
    assert {(d.epoch, d.why) for d in known} == {(1, "diverged in epoch 1; lower --lr")}
    assert {d.host["tries"] for d in known} == {1}
    assert without_experiment(made) == {
        fold: record for fold, record in without_experiment(whole).items() if fold in made
    }
    [row] = leaderboard(ledger).groups[0].rows
    assert (row.status, row.num_done, row.num_planned) == ("incomplete", 2, 5)
    assert row.note == f"3 diverged ({known[0].fold} in epoch 1, ...)"
    shown = " ".join(capsys.readouterr().out.split())
    assert "diverged in epoch 1; lower --lr" in shown
    assert "incomplete: 3 of 5 folds diverged" in shown
    assert "--retry-diverged tries again" in shown
    assert "2/5" in shown


@pytest.fixture(scope="module")
def whole(stormy, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    assert run_loso.main(words(stormy, root, CALM)) == 0
    return records_of(root)[2]


@pytest.mark.parametrize(
    "more", [[], pytest.param(["--workers", "1"], marks=pytest.mark.slow)], ids=["here", "on Ray"]
)
def test_the_other_folds_are_made_and_those_are_not_tried_again(
    stormy, whole, tmp_path, capsys, monkeypatch, more
):
    given = words(stormy, tmp_path, BREAKS, *more)
    assert run(run_loso, given) == 3
    check(tmp_path, whole, capsys)
    assert not list(tmp_path.rglob("checkpoints/*.pt"))

    monkeypatch.setattr(run_loso, "make_missing", lambda *_: pytest.fail("tried again"))
    assert run_loso.main(given) == 3
    assert "incomplete: 3 of 5 folds diverged" in " ".join(capsys.readouterr().out.split())


def test_the_epoch_is_that_of_the_loss_and_the_state_from_before_it_is_removed(
    site, tmp_path, capsys, monkeypatch
):
    real = OneFold.append_losses

    def append(fold, losses):
        breaks = fold.view.name == "synthetic/sub02" and fold.epoch == 3
        real(fold, {**losses, "train_loss": math.inf} if breaks else losses)

    monkeypatch.setattr(OneFold, "append_losses", append)
    assert run_loso.main(words(site, tmp_path, CALM)) == 3
    ledger, experiment, made = records_of(tmp_path)
    assert [(d.fold, d.epoch) for d in ledger.divergences(experiment)] == [("synthetic/sub02", 3)]
    assert len(made) == 4
    assert not list(tmp_path.rglob("checkpoints/*.pt"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 5 folds diverged (synthetic/sub02 in epoch 3); lower --lr" in shown
    assert "4/5" in shown
    assert ": 1 diverged (synthetic/sub02 in epoch 3)" in shown
    assert "1 diverged (synthetic/sub02 in epoch 3)" in row_of(ledger, experiment).note


def test_the_other_folds_of_a_stack_are_made(stormy, tmp_path, capsys):
    root = tmp_path / "calm"
    assert run_loso.main(words(stormy, root, CALM, "--stack", "5")) == 0
    _, _, whole = records_of(root)
    assert run_loso.main(words(stormy, tmp_path, BREAKS, "--stack", "5")) == 3
    ledger, experiment, made = records_of(tmp_path)
    assert "one after the other: on a CPU" in " ".join(capsys.readouterr().out.split())
    assert len(ledger.divergences(experiment)) == 3
    assert len(made) == 2
    for fold, record in made.items():
        for name in ("train_loss", "val_log_loss"):
            expected = whole[fold]["curves"][name]
            np.testing.assert_allclose(record["curves"][name], expected, rtol=1e-3)


def test_retry_diverged_tries_again_and_a_record_ends_it(stormy, tmp_path, capsys, monkeypatch):
    given = words(stormy, tmp_path, BREAKS)
    assert run_loso.main(given) == 3
    tried = []
    real = work.FoldTask

    def count(config, view, checkpoint):
        tried.append(view.name)
        return real(config, view, checkpoint)

    monkeypatch.setattr(work, "FoldTask", count)
    ledger, experiment, _ = records_of(tmp_path)
    before = [d.fold for d in ledger.divergences(experiment)]
    assert run_loso.main([*given, "--retry-diverged"]) == 3
    assert tried == before == [d.fold for d in ledger.divergences(experiment)]

    # A worker that gets such a fold does not train it either.
    tried.clear()
    monkeypatch.setattr(run_loso, "_requested", lambda *_: tuple(before))
    capsys.readouterr()
    assert run_loso.main(given) == 3
    assert tried == []
    assert "given up after try 1: diverged in epoch 1" in capsys.readouterr().out


def test_a_damaged_note_of_a_divergence_is_set_aside_and_the_fold_tried_again(
    stormy, tmp_path, capsys
):
    given = words(stormy, tmp_path, BREAKS)
    assert run_loso.main(given) == 3
    ledger, experiment, _ = records_of(tmp_path)
    [path, *_] = sorted(tmp_path.rglob("diverged/*.json"))
    whole = [d.replace(host={}) for d in ledger.divergences(experiment)]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(UserWarning, match="damaged"):
        assert run_loso.main(given) == 3
    assert [d.replace(host={}) for d in ledger.divergences(experiment)] == whole


@pytest.mark.parametrize(
    "more",
    [[], ["--pruning", "asha"], pytest.param(["--workers", "1"], marks=pytest.mark.slow)],
    ids=["here", "asha", "on Ray"],
)
def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(site, tmp_path, capsys, more):
    space = write_source(
        tmp_path,
        "def space(trial):\n"
        "    return {'optim.lr': trial.suggest_categorical('lr', [1e-3, 1e30])}\n",
        "space.py",
    )
    given = tune_words(site, tmp_path, "--num-trials", "6", "--space", f"{space}:space", *more)
    assert run(tune, given) == 0
    [study] = StudyLedger(tmp_path / "runs").studies()
    states = {trial.params["lr"]: set() for trial in study.trials}
    for trial in study.trials:
        states[trial.params["lr"]].add(trial.state)
    assert states[1e30] == {"FAIL"}
    assert "COMPLETE" in states[1e-3]
    assert study.best.params["lr"] == 1e-3
    shown = " ".join(capsys.readouterr().out.split())
    assert "was given up: diverged in epoch 1; lower --lr" in shown
