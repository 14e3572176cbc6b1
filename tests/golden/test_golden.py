"""What the tree gave once, it gives today: exports, digests of presets, trainings."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import results.__main__
from dadnet.config import DataConfig, experiment_digest
from dadnet.presets import PRESETS, get_preset
from orchestration import run_loso, teacher
from results.ledger import Ledger
from tests.conftest import make_clips, write_store

HERE = Path(__file__).parent
WITHIN = 1e-4  # kernels differ between machines


def site(folder: Path) -> Path:
    """Flows of 5 subjects and a teacher of other subjects, in a folder that holds neither yet."""
    write_store(folder / "flows", make_clips(5, 6))
    macro = write_store(folder / "macro", make_clips(4, 6, "synthetic-macro"), seed=1)
    words = ["--flows", str(macro), "--out", str(folder / "teacher.safetensors")]
    assert teacher.main([*words, "--input-size", "32", "--epochs", "4"]) == 0
    return folder


def train(folder: Path, ledger: Path, *more: str) -> None:
    """Run an experiment on a site; the flags may win over those of the short dual stream."""
    words = ["--flows", str(folder / "flows"), "--ledger", str(ledger), "--workers", "0"]
    short = ["--input-size", "32", "--epochs", "6"]
    dual = ["--macro-weights", str(folder / "teacher.safetensors"), "--num-projections", "8"]
    own = [] if "--preset" in more else short if "baseline" in more else [*short, *dual]
    assert run_loso.main([*words, *own, "--keep-features", "none", *more]) == 0


def outcome(ledger: Path) -> dict[str, Any]:
    """What the folds of the only experiment of a ledger came to."""
    [experiment] = Ledger(ledger).experiments()
    return {
        record.fold: {
            "chosen_epoch": record.chosen_epoch,
            "clips": {p.clip_id: [p.prediction, *p.probabilities] for p in record.predictions},
        }
        for record in Ledger(ledger).records(experiment)
    }


def export(ledger: Path, out: Path) -> None:
    """Write the board of a ledger as csv, json, md and tex."""
    words = ["--ledger", str(ledger), "--out", str(out), "--format", "csv,json,markdown,latex"]
    assert results.__main__.main(["leaderboard", *words, "--run-pages", "0"]) == 0
    (out / ".stamp.json").unlink(missing_ok=True)


def preset_digests() -> dict[str, str]:
    """The digest of each preset on made-up inputs, also where it depends on dataset and classes."""
    found = {}
    for name in PRESETS:
        for dataset, classes in (("casme2", "3class"), ("fourdme", "3class"), ("dfme", "7class")):
            config = get_preset(name, DataConfig(dataset=dataset, class_set=classes))
            digest = experiment_digest(config, "00112233aabbccdd", "ddccbbaa33221100")
            found[f"{name} {dataset} {classes}"] = digest
    return found


def test_exports_of_the_stored_ledger_are_the_stored_bytes(tmp_path: Path):
    shutil.copytree(HERE / "ledger", tmp_path / "ledger")
    export(tmp_path / "ledger", tmp_path / "site")
    made = {path.name: path.read_bytes() for path in (tmp_path / "site").iterdir()}
    stored = {path.name: path.read_bytes() for path in (HERE / "exports").iterdir()}
    assert sorted(made) == sorted(stored)
    for name in stored:
        assert made[name] == stored[name], name


def test_each_preset_has_the_stored_digest():
    assert preset_digests() == json.loads((HERE / "presets.json").read_text())


@pytest.fixture(scope="module")
def trained_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("stack", ["1", "3"])
def test_the_dual_stream_trains_to_the_stored_outcome(
    trained_site: Path, tmp_path: Path, stack: str
):
    train(trained_site, tmp_path / "runs", "--stack", stack)
    made = outcome(tmp_path / "runs")
    stored = json.loads((HERE / "training.json").read_text())[f"stack {stack}"]
    assert made.keys() == stored.keys()
    for fold, expected in stored.items():
        assert made[fold]["chosen_epoch"] == expected["chosen_epoch"], fold
        assert made[fold]["clips"].keys() == expected["clips"].keys()
        for clip, (prediction, *probabilities) in expected["clips"].items():
            found, *given = made[fold]["clips"][clip]
            assert given == pytest.approx(probabilities, abs=WITHIN), clip
            assert found == prediction, clip
