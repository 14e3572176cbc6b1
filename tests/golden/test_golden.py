"""What the tree gave once, it gives today: exports, digests of presets, trainings."""

import json
import shutil
from pathlib import Path

import pytest

from tests.golden.make import HERE, export, outcome, preset_digests, site, train

WITHIN = 1e-4  # kernels differ between machines


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
