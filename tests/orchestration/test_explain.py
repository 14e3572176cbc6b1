"""Explanations from kept weights: of every test clip, beside the record, on the run page."""

import json
import shutil

import numpy as np
import pytest
import torch

from dadnet.flow.normalisation import normalise
from dadnet.flow.store import load_flow_store
from dadnet.inference.explain import theta_numbers
from dadnet.inference.model_file import load_model_file
from orchestration import explain, run_loso
from results.__main__ import main as results_main
from results.ledger.explanation import read_explanation
from results.ledger.ledger import Ledger
from tests.build.runs import run_words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(site, tmp_path_factory):
    """Streams of unequal widths, so that adapters are needed."""
    root = tmp_path_factory.mktemp("explained")
    words = run_words(
        site, root / "runs", "--workers", "0", "--epochs", "3", "--micro-size", "nano"
    )
    assert run_loso.main([*words, "--warmup-epochs", "1", "--keep-weights", "best"]) == 0
    return root, Ledger(root / "runs").find(None)


def words(root, experiment, site, *more: str) -> list[str]:
    return [
        "--ledger", str(root / "runs"), "--experiment", experiment.digest, "--flows",
        str(site / "flows"), "--site", str(root / "site"), *more,
    ]  # fmt: skip


def test_every_test_clip_is_explained_and_the_run_page_shows_it(trained, site):
    root, experiment = trained
    teacher = ["--macro-weights", str(site / "teacher.safetensors")]
    assert explain.main(words(root, experiment, site, *teacher)) == 0
    ledger = Ledger(root / "runs")
    found = read_explanation(ledger, experiment)
    records = ledger.records(experiment)
    assert set(found.theta) == {row.clip_id for r in records for row in r.predictions}
    store, record = load_flow_store(site / "flows"), records[2]
    network = load_model_file(ledger.weights_path(experiment, record.fold)).network()
    clip = record.predictions[1].clip_id
    flow = store.flows[list(store.clips["clip_id"]).index(clip)].astype(np.float32)
    with torch.no_grad():
        theta = network(normalise(torch.from_numpy(flow)[None])).theta.double().numpy()
    np.testing.assert_allclose(found.theta[clip], theta_numbers(theta)[0], atol=1e-5)
    assert [part["stage"] for part in found.gradients] == [0, 1, 2, 3]
    assert set(found.gradients[0]["maps"]) == {"negative", "positive", "surprise"}
    assert [part["stage"] for part in found.densities] == [2, 3]
    assert found.density_fold == records[0].fold
    page = (root / "site" / f"run-{experiment.digest}.html").read_text()
    for name in ("theta-turn", "theta-shift", "channels", "density-2-before", "density-3-after"):
        assert f'id="plot-{name}"' in page
    assert page.count("data:image/png;base64,") == 12
    again = read_explanation(ledger, experiment).to_json()
    assert explain.main(words(root, experiment, site, *teacher)) == 0
    assert read_explanation(ledger, experiment).to_json() == again


def test_what_cannot_be_explained_is_one_line(trained, site, tmp_path, capsys):
    root, experiment = trained
    shutil.copytree(root / "runs", tmp_path / "runs")
    folder = Ledger(tmp_path / "runs").folder(experiment)
    teacher = ["--macro-weights", str(site / "teacher.safetensors")]

    def error_of(*more: str) -> str:
        capsys.readouterr()
        assert explain.main(words(tmp_path, experiment, site, *more)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "fold: expected one of synthetic/sub01" in error_of("--fold", "nobody")
    weights = sorted((folder / "weights").iterdir())[0]
    assert "macro_weights: expected the teacher" in error_of("--macro-weights", str(weights))
    shutil.rmtree(folder / "adapters")
    assert "its adapters were not kept" in error_of(*teacher)
    assert explain.main(words(tmp_path, experiment, site)) == 0  # all but the densities
    found = read_explanation(Ledger(tmp_path / "runs"), experiment)
    assert (found.densities, found.density_fold) == ((), "")
    path = folder / "explain" / "explanation.json"
    damaged = json.loads(path.read_text())
    damaged["density_fold"] = "other"
    path.write_text(json.dumps(damaged))
    capsys.readouterr()
    flags = ["--ledger", str(tmp_path / "runs"), "--out", str(tmp_path / "site")]
    assert results_main(["run", experiment.digest, *flags]) == 0  # a page without it, and a warning
    [warning] = capsys.readouterr().err.splitlines()
    assert "explanation.json is left out" in warning
    assert "the command that made it makes it again" in warning
