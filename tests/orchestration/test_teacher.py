"""The teacher's command: its recipe, its card, and that it goes on and refuses as it should."""

import json

import pytest
import torch
from safetensors import safe_open

from dadnet.flow.store import load_flow_store
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.protocols import Fold
from dadnet.folds.view import FoldView
from dadnet.inference.model_file import CARD
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.teacher import Teacher
from dadnet.training.train_teacher import BalancedFold, train_teacher_network
from orchestration import teacher
from orchestration.folds.flags import TEACHER
from tests.build.flows import make_clips, write_store

WORDS = ["--dataset", "ckplus", "--input-size", "32", "--epochs", "3", "--lr", "1e-3"]


@pytest.fixture(scope="module")
def macro(tmp_path_factory):
    """CK+ as it is: subjects apart, negative clips the most frequent."""
    clips = make_clips(6, 6, "ckplus")
    clips.loc[(clips.index % 4 == 0) & (clips["subject"] != "ckplus/sub01"), "emotion"] = "disgust"
    return write_store(tmp_path_factory.mktemp("macro") / "flows", clips, seed=3)


def test_the_recipe_is_the_public_one_and_flags_win():
    optim = TEACHER.parse(["--dataset", "ckplus", "--size", "micro", "--batch-size", "8"]).optim
    assert (optim.lr, optim.epochs, optim.weight_decay) == (5e-5, 100, 1e-4)
    assert optim.lr * optim.lr_floor == pytest.approx(1e-7)
    assert (optim.warmup_epochs, optim.batch_size) == (0, 8)
    assert TEACHER.parse(["--dataset", "ckplus"]).weighted_sampler
    assert not TEACHER.parse(["--dataset", "ckplus", "--no-weighted-sampler"]).weighted_sampler
    assert TEACHER.parse([]).preset == "smoke"
    assert TEACHER.parse(["--preset", "smoke", "--dataset", "ckplus"]).input_size == 56


def test_the_card_says_where_the_weights_come_from(macro, tmp_path, capsys):
    out = tmp_path / "teacher.safetensors"
    words = ["--flows", str(macro), "--out", str(out), *WORDS]
    assert teacher.main(words) == 0
    assert "teacher epoch 3/3" in capsys.readouterr().out
    with safe_open(out, framework="pt") as file:
        card = json.loads(file.metadata()[CARD])
    store = load_flow_store(macro)
    assert card["kind"] == "teacher"
    assert card["data_digest"] == store.digest
    assert card["flow"] == store.card["parameters"]
    assert card["subjects"] == [f"ckplus/sub{i:02d}" for i in range(1, 7)]
    assert card["classes"] == ["negative", "positive", "surprise"]
    assert set(card["metrics"]) == {"val_uf1", "val_uar", "val_log_loss", "train_loss"}
    assert set(card["origin"]["val_subjects"]) < set(card["subjects"])
    assert card["weights_digest"] == Teacher.load(out).digest
    assert not list(tmp_path.glob("*.checkpoint"))

    before = out.stat().st_mtime_ns
    assert teacher.main(words) == 0
    assert "is complete" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before
    assert teacher.main([*words, "--no-weighted-sampler"]) == 2
    assert "teacher of other data or settings" in capsys.readouterr().err


def view(macro) -> FoldView:
    dataset = MicroExpressionDataset.from_store(load_flow_store(macro), "3class", 32)
    subjects = tuple(sorted(set(dataset.clips["subject"])))
    return FoldView.of(
        dataset, Fold("teacher", subjects[1:], subjects[:1], ()), torch.device("cpu")
    )


def test_the_weighted_sampler_draws_classes_equally_often(macro):
    seen = view(macro)
    fold = BalancedFold(teacher._config(TEACHER.parse(WORDS)), seen, None, torch.device("cpu"))
    drawn = torch.zeros(3, dtype=torch.int64)
    for fold.epoch in range(200):
        rows = torch.cat(fold.batches())
        assert len(rows) == len(seen.fit)
        assert set(rows.tolist()) <= set(seen.fit.tolist())
        drawn += seen.labels[rows].bincount(minlength=3)
    share = seen.labels[seen.fit].bincount(minlength=3) / len(seen.fit)
    assert share.max() > 0.45  # the set itself is unbalanced
    assert (drawn / drawn.sum()).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_an_interrupted_teacher_goes_on_with_the_same_numbers(macro, tmp_path):
    config = teacher._config(TEACHER.parse(WORDS))

    def train(name, stop_at=None):
        def on_epoch(epoch, _):
            if epoch == stop_at:
                raise KeyboardInterrupt

        return train_teacher_network(
            config, view(macro), weighted_sampler=True, device=torch.device("cpu"),
            checkpoint=CheckpointFile(tmp_path / name, "e" * 16, "teacher"),
            on_epoch=on_epoch, checkpoint_every=1,
        )  # fmt: skip

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", stop_at=2)
    resumed = train("cut").model.state_dict()
    assert all(torch.equal(v, resumed[k]) for k, v in whole.model.state_dict().items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "samm"], "expected the flows of samm"),
        (["--out", "t.pth"], "ends in .safetensors"),
        (["--preset", "best"], "preset"),
        (["--input-size", "8"], "at least 32"),
        (["--class-set", "2class"], "no class set '2class'"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(macro, tmp_path, capsys, words, message):
    out = tmp_path / "t.safetensors"
    assert teacher.main(["--flows", str(macro), "--out", str(out), *WORDS, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not out.exists()


def test_a_class_without_clips_to_train_on_is_refused(tmp_path, capsys):
    clips = make_clips(4, 6, "ckplus")
    clips.loc[clips["emotion"] == "surprise", "emotion"] = "disgust"
    flows = write_store(tmp_path / "flows", clips)
    words = ["--flows", str(flows), "--out", str(tmp_path / "t.safetensors"), *WORDS]
    assert teacher.main(words) == 2
    assert "clips of all 3 classes" in capsys.readouterr().err
