"""Robustness from kept weights: nothing trained, the clean clips checked, nothing scored twice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dadnet.base.seeding import seed_hash
from dadnet.datasets.frames import FrameFolders
from dadnet.datasets.synthetic import __main__ as synthetic
from dadnet.flow.compute import compute_flow, decode_image, square
from dadnet.flow.corrupted_inputs import corrupted_inputs
from dadnet.flow.corruptions import KINDS, Corruption, suite
from dadnet.flow.store import load_flow_store
from dadnet.inference.predictor import load_model
from orchestration import ingest, robustness, run_loso
from orchestration.folds.rescore import find_frames
from results.ledger.corrupted import RobustnessLedger
from results.ledger.ledger import Ledger, LedgerWarning
from results.ledger.sealed import seal
from results.pages.robustness import read_robustness
from tests.build.flows import make_clips, write_store
from tests.build.runs import run_words


@pytest.fixture(scope="module")
def trained(site, tmp_path_factory):
    """A ledger with one experiment that learnt something, and its digest."""
    ledger = tmp_path_factory.mktemp("robust") / "runs"
    words = run_words(site, ledger, "--workers", "0", "--epochs", "8", "--warmup-epochs", "1")
    assert run_loso.main([*words, "--keep-weights", "best"]) == 0
    [experiment] = Ledger(ledger).experiments()
    return ledger, experiment


def words(trained, site, *more: str, flows: str = "flows") -> list[str]:
    ledger, experiment = trained
    return [
        "--ledger", str(ledger), "--experiment", experiment.digest[:6], "--flows",
        str(site / flows), "--site", str(ledger.parent / "site"), "--workers", "0", *more,
    ]  # fmt: skip


def scored_files(ledger) -> dict:
    return {path: path.stat().st_mtime_ns for path in ledger.rglob("robustness/*/*.json")}


@pytest.fixture(scope="module")
def scored(trained, site):
    assert robustness.main(words(trained, site)) == 0
    return trained


def test_all_thirty_are_scored_from_the_weights_and_start_at_one(scored, site):
    ledger, experiment = scored
    assert len(scored_files(ledger)) == 30 * 5
    found = read_robustness(ledger, experiment)
    kinds = [corruption.kind for corruption in suite()][::5]
    assert [curve.kind for curve in found.curves] == kinds
    assert found.missing == ()
    for curve in found.curves:
        first, *rest = curve.points
        assert (first.severity, first.retention) == (KINDS[curve.kind].clean, 1.0)
        assert (first.interval.low, first.interval.high) == (1.0, 1.0)
        assert [point.severity for point in rest] == list(KINDS[curve.kind].severities)
        for point in rest:
            assert point.retention == pytest.approx(point.uf1 / found.uf1)
    record, scores = Ledger(ledger).records(experiment)[0], RobustnessLedger(ledger)
    clean = np.array([row.probabilities for row in record.predictions])
    for kind in kinds:
        severe = scores.get(experiment, record, f"{kind}-{KINDS[kind].severities[-1]:g}")
        apart = np.array([row.probabilities for row in severe.predictions]) - clean
        assert np.abs(apart).max() > 1e-3, kind
    page = (ledger.parent / "site" / f"robustness-{experiment.digest}.html").read_text()
    assert all(f'id="plot-{kind}"' in page for kind in kinds)


def test_a_corrupted_fold_is_what_a_lone_clip_gives(scored, site):
    ledger, experiment = scored
    store, scores = load_flow_store(site / "flows"), RobustnessLedger(ledger)
    flows = dict(zip(store.clips["clip_id"], store.flows, strict=True))
    record = Ledger(ledger).records(experiment)[3]
    model = load_model(Ledger(ledger).weights_path(experiment, record.fold)).models[0]
    for name in ("jitter-0.2", "noise-0.4"):
        found = scores.get(experiment, record, name)
        row = found.predictions[2]
        kind, severity = name.split("-")
        flow = torch.from_numpy(flows[row.clip_id].copy())[None]
        inputs = corrupted_inputs(flow, [row.clip_id], Corruption(kind, float(severity)))
        with torch.no_grad():
            alone = model.network()(inputs).logits.double().softmax(dim=1)[0].numpy()
        np.testing.assert_allclose(row.probabilities, alone, atol=1e-6)


def test_what_is_scored_is_not_scored_again_and_the_rest_is(scored, site, monkeypatch, capsys):
    ledger, experiment = scored
    before = scored_files(ledger)
    record = Ledger(ledger).records(experiment)[1]
    scores = RobustnessLedger(ledger)
    lost = scores.path(experiment, record.fold, "blur-1.5")
    torn = scores.path(experiment, record.fold, "noise-0.1")
    content = lost.read_text()
    lost.unlink()
    torn.write_text(torn.read_text().replace('"noise"', '"blur"', 1))
    with pytest.warns(LedgerWarning, match="checksum"):
        assert robustness.main(words(scored, site)) == 0
    assert "148 of 150 corrupted folds are scored, 2 to go" in capsys.readouterr().out
    after = scored_files(ledger)
    assert {path for path in after if after[path] != before[path]} == {lost, torn}
    one, two = json.loads(content), json.loads(lost.read_text())
    assert one["predictions"] == two["predictions"]
    monkeypatch.setattr(robustness, "score_fold", None)  # a call would fail
    assert robustness.main(words(scored, site)) == 0
    page = ledger.parent / "site" / f"robustness-{experiment.digest}.html"
    assert 'src="assets/' in page.read_text()
    assert robustness.main(words(scored, site, "--standalone")) == 0
    assert 'src="assets/' not in page.read_text()


def test_an_interrupted_study_keeps_what_it_has_and_has_no_figure_of_survivors(
    trained, site, tmp_path, monkeypatch, capsys
):
    shutil.copytree(trained[0], tmp_path / "runs")
    shutil.rmtree(next((tmp_path / "runs").rglob("robustness")), ignore_errors=True)
    mine, real, calls = (tmp_path / "runs", trained[1]), robustness.score_fold, []

    def interrupted(scoring, record, corruptions):
        calls.append(record.fold)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(scoring, record, corruptions)

    monkeypatch.setattr(robustness, "score_fold", interrupted)
    assert robustness.main(words(mine, site, "--kinds", "blur,jitter")) == 3
    found = read_robustness(mine[0], mine[1], ("blur",))
    assert found.curves == ()
    assert found.missing[0] == ("blur-0.5", 3, 5)
    assert "interrupted" in capsys.readouterr().out
    monkeypatch.setattr(robustness, "score_fold", real)
    assert robustness.main(words(mine, site, "--kinds", "blur,jitter")) == 0
    assert "30 of 50 corrupted folds are scored, 20 to go" in capsys.readouterr().out


class TestRefusals:
    def refused(self, words, capsys) -> str:
        capsys.readouterr()
        assert robustness.main(words) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    def test_weights_that_do_not_give_the_record(self, trained, site, tmp_path, capsys):
        """Another fold's weights under this name: the digest; the record's probabilities: both."""
        shutil.copytree(trained[0], tmp_path / "runs")
        shutil.rmtree(next((tmp_path / "runs").rglob("robustness")), ignore_errors=True)
        ledger, mine = Ledger(tmp_path / "runs"), (tmp_path / "runs", trained[1])
        one, two = (ledger.weights_path(trained[1], f"synthetic/sub0{n}") for n in (1, 2))
        original = one.read_bytes()
        one.write_bytes(two.read_bytes())
        assert "are not those of the record of synthetic/sub01" in self.refused(
            words(mine, site), capsys
        )
        one.write_bytes(original)
        path = ledger.fold_path(trained[1], "synthetic/sub01")
        record = json.loads(path.read_text())
        record.pop("checksum")
        a, b, c = record["predictions"][0]["probabilities"]
        record["predictions"][0]["probabilities"] = [b, c, a]
        path.write_text(seal(record) + "\n")
        message = self.refused(words(mine, site), capsys)
        assert "without any corruption synthetic/sub01/clip0 is not what the record says" in message
        assert not scored_files(mine[0])

    def test_other_flows_and_folds_without_weights(self, trained, site, tmp_path, capsys):
        write_store(tmp_path / "other", make_clips(5, 6), seed=9)
        other = words(trained, tmp_path, flows="other")
        assert "expected those of the experiment" in self.refused(other, capsys)
        shutil.copytree(trained[0], tmp_path / "runs")
        next((tmp_path / "runs").rglob("weights/*sub04*")).unlink()
        mine = words((tmp_path / "runs", trained[1]), site)
        message = self.refused(mine, capsys)
        assert "1 of 5 folds have no kept weights (synthetic/sub04" in message
        assert "--keep-weights best" in message

    def test_flags(self, trained, site, capsys):
        assert "expected the digest" in self.refused(["--workers", "0"], capsys)
        assert "expected different ones of noise" in self.refused(
            words(trained, site, "--kinds", "fog"), capsys
        )


@pytest.mark.slow
def test_ray_gives_the_files_of_this_process(scored, site, tmp_path):
    ledger, experiment = scored
    shutil.copytree(ledger, tmp_path / "runs")
    shutil.rmtree(next((tmp_path / "runs").rglob("robustness")))
    args = words((tmp_path / "runs", experiment), site, "--kinds", "noise,downsample")
    args[args.index("--workers") + 1] = "2"
    assert robustness.main(args) == 0
    both = RobustnessLedger(ledger), RobustnessLedger(tmp_path / "runs")
    for record in Ledger(ledger).records(experiment):
        for name in ("noise-0.5", "downsample-0.25"):
            one, two = (scores.get(experiment, record, name) for scores in both)
            assert one.predictions == two.predictions


@pytest.mark.slow
def test_retiming_scores_the_flow_of_other_frames(tmp_path, capsys):
    """From drawn frames: the clean frames must give the store, a missed apex gives its own flow."""
    faces, flows, runs = tmp_path / "faces", tmp_path / "flows", tmp_path / "runs"
    sizes = ["--subjects", "4", "--clips", "16", "--seed", "5"]
    assert synthetic.main(["--out", str(faces), "--amplitude", "macro", *sizes]) == 0
    args = ["--dataset", "synthetic", "--root", str(faces), "--out", str(flows)]
    assert ingest.main([*args, "--size", "40", "--flow", "dis", "--workers", "0"]) == 0
    train = ["--flows", flows, "--ledger", runs, "--workers", "0", "--model-type", "baseline"]
    train += ["--input-size", "32", "--epochs", "2", "--warmup-epochs", "1", "--selection", "last"]
    assert run_loso.main([*map(str, train), "--keep-weights", "best"]) == 0
    experiment = Ledger(runs).find(None)
    score = ["--experiment", experiment.digest, "--ledger", str(runs), "--flows", str(flows)]
    score += ["--site", str(tmp_path / "site"), "--workers", "0", "--kinds", "retiming"]
    assert robustness.main(score) == 2
    assert "retiming needs --root" in capsys.readouterr().err
    assert robustness.main([*score, "--root", str(faces)]) == 0
    record, store = Ledger(runs).records(experiment)[1], load_flow_store(flows)
    found = RobustnessLedger(runs).get(experiment, record, "retiming-0.3").predictions[0]
    parameters = store.card["parameters"]
    frames = find_frames(faces, flows, "synthetic", parameters)
    row = frames.row(found.clip_id)
    draws = np.random.default_rng(seed_hash("corruption", "jitter", found.clip_id))
    wanted = [
        row[name] + late * (row["apex"] - row["onset"])
        for name, late in zip(("onset", "apex"), draws.choice((-0.3, 0.3), 2), strict=True)
    ]
    there = FrameFolders().frames(Path(row["onset_path"]).parent)
    onset, apex = (min(there, key=lambda n, at=at: (abs(n - at), n)) for at in wanted)
    assert onset < apex
    assert (onset, apex) != (row["onset"], row["apex"])
    pictures = [
        square(decode_image(FrameFolders().find(Path(row["onset_path"]).parent, n)), 40, None)
        for n in (onset, apex)
    ]
    model = load_model(Ledger(runs).weights_path(experiment, record.fold))
    alone = model.probabilities([compute_flow(*pictures, "dis")])[0]
    np.testing.assert_allclose(found.probabilities, alone, atol=1e-5)
    first = Path(frames.row(record.predictions[0].clip_id)["onset_path"])
    first.write_bytes(Path(row["onset_path"]).with_name(there[apex][0]).read_bytes())
    shutil.rmtree(RobustnessLedger(runs).folder(experiment))
    assert robustness.main([*score, "--root", str(faces)]) == 2
    assert "do not yield its flow in the store" in capsys.readouterr().err
