"""Protocols over several datasets, run from several flow stores."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration import run_loso
from orchestration.folds.plan import default_flows
from results.__main__ import main as results
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger
from tests.build.flows import make_clips, write_store

PUBLISHED = Path(__file__).parents[2] / "data" / "ststnet_predictions.csv"
EMOTIONS = {
    "casme2": {"negative": "disgust", "positive": "happiness", "surprise": "surprise"},
    "samm": {"negative": "anger", "positive": "happiness", "surprise": "surprise"},
    "smic": {"negative": "negative", "positive": "positive", "surprise": "surprise"},
}
SMALL = (
    "--input-size", "32", "--epochs", "1", "--warmup-epochs", "0", "--model-type", "baseline",
    "--workers", "0",
)  # fmt: skip


@pytest.fixture(scope="session")
def megc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flow stores with the 68 subjects and the labels of the composite; the flows are noise."""
    with PUBLISHED.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    clips = make_clips(1, 1).iloc[:0]
    for row in rows:
        subject = f"{row['dataset']}/{row['subject']}"
        clips.loc[len(clips)] = {
            "clip_id": f"{subject}/{row['clip']}", "dataset": row["dataset"], "subject": subject,
            "filename": row["clip"], "onset": 1, "apex": 5, "offset": 9,
            "emotion": EMOTIONS[row["dataset"]][row["label"]], "action_units": "", "part": "",
        }  # fmt: skip
    root = tmp_path_factory.mktemp("megc")
    for seed, (name, part) in enumerate(clips.groupby("dataset")):
        noise = np.random.default_rng(seed)
        flows = noise.normal(size=(len(part), 2, 32, 32)).astype(np.float16)
        write_store(root / str(name), part.reset_index(drop=True), flows=flows)
    return root


def flows(root: Path, *names: str) -> str:
    return ",".join(str(root / name) for name in names)


@pytest.mark.slow
def test_cde_reports_full_and_three_parts_of_one_pooled_set(megc: Path, tmp_path: Path, capsys):
    stores = flows(megc, "casme2", "samm", "smic")
    words = ["--dataset", "megc2019", "--protocol", "cde", "--class-set", "3class-megc"]
    words += ["--flows", stores, "--ledger", str(tmp_path), "--stack", "8", "--batch-size", "64"]
    assert run_loso.main([*words, *SMALL]) == 0
    assert "audit passed: 68 folds, 68 subjects, 442 clips" in capsys.readouterr().out
    groups = leaderboard(Ledger(tmp_path)).groups
    [full], *parts = (group.rows for group in groups)
    assert [group.subset for group in groups] == ["", "casme2", "samm", "smic"]
    confusion = np.array(full.summary.confusion)
    assert confusion.sum(axis=1).tolist() == [250, 109, 83]
    truth = [np.sum(rows[0].summary.confusion, axis=1).tolist() for rows in parts]
    assert truth == [[88, 32, 25], [92, 26, 15], [70, 51, 43]]
    np.testing.assert_array_equal(sum(np.array(r[0].summary.confusion) for r in parts), confusion)
    # One pooled set: each fold trained on all other subjects of all three datasets.
    for record in Ledger(tmp_path).records(full.experiment):
        assert len(record.fit_subjects) + len(record.val_subjects) == 67
    log = tmp_path / "megc.log"
    words = ["predictions", "--ledger", str(tmp_path), "--format", "megc-log", "--out", str(log)]
    assert results(words) == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sum(len(line) == 2 for line in lines) == 68
    assert sum(len(line) == 3 for line in lines) == 442


def small(tmp_path: Path, **sizes: int) -> str:
    """Stores of three subjects with six clips each, of different sizes of flow."""
    for seed, (name, size) in enumerate(sizes.items()):
        clips = make_clips(3, 6, name)
        write_store(tmp_path / name, clips, size=size, seed=seed)
    return flows(tmp_path, *sizes)


def test_cross_dataset_tests_each_dataset_on_the_others(tmp_path: Path):
    stores = small(tmp_path, casme2=32, samm=48)
    words = ["--dataset", "casme2+samm", "--protocol", "cross-dataset", "--flows", stores]
    assert run_loso.main([*words, "--ledger", str(tmp_path / "runs"), *SMALL]) == 0
    [experiment] = Ledger(tmp_path / "runs").experiments()
    assert [fold.name for fold in experiment.folds] == ["casme2", "samm"]
    assert [g.subset for g in leaderboard(tmp_path / "runs").groups] == ["", "casme2", "samm"]


def test_the_order_of_the_stores_is_no_part_of_the_experiment(tmp_path: Path):
    stores = small(tmp_path, casme2=32, samm=48)
    words = ["--dataset", "casme2+samm", "--protocol", "cde", "--ledger", str(tmp_path / "runs")]
    assert run_loso.main([*words, *SMALL, "--flows", stores]) == 0
    assert run_loso.main([*words, *SMALL, "--flows", ",".join(stores.split(",")[::-1])]) == 0
    assert len(Ledger(tmp_path / "runs").experiments()) == 1


@pytest.mark.parametrize(
    ("dataset", "protocol", "message"),
    [
        ("casme2", "cde", r"dataset: expected casme2\+samm, which is what"),
        ("megc2019", "cde", r"dataset: expected casme2\+samm, which is what"),
    ],
)
def test_a_composite_has_its_own_name(tmp_path: Path, capsys, dataset, protocol, message):
    stores = small(tmp_path, casme2=32, samm=32)
    words = ["--dataset", dataset, "--protocol", protocol, "--flows", stores]
    assert run_loso.main([*words, "--ledger", str(tmp_path / "runs"), *SMALL]) == 2
    assert pd.Series([capsys.readouterr().err]).str.contains(message).all()
    assert not (tmp_path / "runs").exists()


def test_one_clip_in_two_stores_is_refused(tmp_path: Path, capsys):
    stores = small(tmp_path, casme2=32)
    words = ["--dataset", "casme2", "--flows", f"{stores},{stores}", "--ledger"]
    assert run_loso.main([*words, str(tmp_path / "runs"), *SMALL]) == 2
    assert "the same clip in two of them: casme2/sub01/clip0" in capsys.readouterr().err


def test_a_store_normalised_over_its_dataset_spoils_the_composite(tmp_path: Path, capsys):
    write_store(tmp_path / "casme2", make_clips(3, 6, "casme2"), normalisation="dataset")
    stores = f"{tmp_path / 'casme2'},{small(tmp_path, samm=32)}"
    words = ["--dataset", "casme2+samm", "--protocol", "cde", "--flows", stores]
    assert run_loso.main([*words, "--ledger", str(tmp_path / "runs"), *SMALL]) == 2
    assert "normalised on 'dataset'" in capsys.readouterr().err


def test_a_known_composite_looks_for_its_members():
    assert str(default_flows("megc2019")) == "flows/casme2,flows/samm,flows/smic"
    assert default_flows("casme3") == Path("flows/casme3")
