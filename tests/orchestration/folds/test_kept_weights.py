"""Kept weights: beside the record, whole, and giving the very probabilities of the record."""

import json
import shutil
import warnings
from itertools import product

import numpy as np
import pytest

from dadnet import predict
from dadnet.flow.store import load_flow_store
from dadnet.inference.model_file import load_model_file
from dadnet.inference.predictor import load_model
from dadnet.training.teacher import Teacher
from orchestration import ingest, run_loso
from results.ledger.ledger import Ledger
from tests.build.flows import write_frames
from tests.build.runs import ledger_content, run_words


def run(site, ledger, *more: str) -> int:
    words = run_words(site, ledger, "--workers", "0", "--epochs", "3")
    return run_loso.main([*words, "--warmup-epochs", "1", *more])


def experiment_folder(ledger):
    found = Ledger(ledger)
    [experiment] = found.experiments()
    return found, experiment, found.folder(experiment)


@pytest.fixture(scope="module")
def kept(site, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("kept") / "runs"
    assert run(site, ledger, "--keep-weights", "best") == 0
    return ledger


@pytest.fixture(scope="module")
def fitted(site, tmp_path_factory):
    """Normalised by the statistics of the fit clips, without a teacher."""
    ledger = tmp_path_factory.mktemp("fitted") / "runs"
    words = run_words(site, ledger, "--workers", "0", "--epochs", "2", "--warmup-epochs", "1")
    cut = words.index("--macro-weights")
    more = ["--model-type", "baseline", "--normalisation", "fit", "--keep-weights", "best"]
    assert run_loso.main([*words[:cut], *words[cut + 2 :], *more]) == 0
    return ledger


@pytest.mark.parametrize("made", ["kept", "fitted"])
def test_kept_weights_give_the_probabilities_of_the_record(made, site, request):
    ledger, experiment, _ = experiment_folder(request.getfixturevalue(made))
    store = load_flow_store(site / "flows")
    flows = dict(zip(store.clips["clip_id"], store.flows, strict=True))
    records = ledger.records(experiment)
    assert len(records) == 5
    for record in records:
        path = ledger.weights_path(experiment, record.fold)
        model = load_model(path)
        assert record.host["weights_digest"] == load_model_file(path).card.weights_digest
        for row in record.predictions:
            predicted = model.predict(flows[row.clip_id])
            assert predicted.label == row.prediction
            np.testing.assert_allclose(
                list(predicted.probabilities.values()), row.probabilities, atol=1e-6
            )


def test_the_card_names_what_a_prediction_depends_on(kept, fitted, site):
    ledger, experiment, _ = experiment_folder(kept)
    card = load_model_file(ledger.weights_path(experiment, "synthetic/sub02")).card
    assert card.classes == ("negative", "positive", "surprise")
    assert (card.model.input_size, card.normalisation) == (32, "clip")
    assert card.made_from == experiment.digest
    assert card.data_digest == load_flow_store(site / "flows").digest
    assert card.origin["fold"] == "synthetic/sub02"
    assert card.origin["teacher_digest"] == Teacher.load(site / "teacher.safetensors").digest
    assert "synthetic/sub02" not in card.subjects
    assert len(card.subjects) == 4
    ledger, experiment, _ = experiment_folder(fitted)
    card = load_model_file(ledger.weights_path(experiment, "synthetic/sub02")).card
    (mean_u, _), (std_u, std_v) = card.statistics
    assert abs(mean_u) < 1
    assert min(std_u, std_v) > 0


def test_keeping_weights_changes_no_record_and_no_digest(kept, site, tmp_path):
    assert run(site, tmp_path / "runs") == 0
    assert ledger_content(tmp_path / "runs") == ledger_content(kept)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_finished_folds_without_weights_are_reported_and_not_made_again(
    kept, site, tmp_path, capsys
):
    ledger = tmp_path / "runs"
    assert run(site, ledger) == 0
    before = {p: p.stat().st_mtime_ns for p in ledger.rglob("folds/*.json")}
    capsys.readouterr()
    assert run(site, ledger, "--keep-weights", "best") == 0
    assert "warning: 5 finished folds were made without" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in ledger.rglob("folds/*.json")} == before


def test_a_fold_that_is_made_again_keeps_equal_weights(kept, site, tmp_path):
    shutil.copytree(kept, tmp_path / "runs")
    ledger, experiment, _ = experiment_folder(tmp_path / "runs")
    path = ledger.weights_path(experiment, "synthetic/sub03")
    before = load_model_file(path).card
    ledger.fold_path(experiment, "synthetic/sub03").unlink()
    path.write_bytes(b"torn")
    assert run(site, tmp_path / "runs", "--keep-weights", "best") == 0
    assert load_model_file(path).card == before  # the hash of the weights too
    assert ledger_content(tmp_path / "runs") == ledger_content(kept)


class TestPredictingWithALedger:
    def words(self, kept, site, *more: str) -> list[str]:
        _, _, folder = experiment_folder(kept)
        return ["--weights", str(folder), "--input", str(site / "flows"), *more]

    def test_all_folds_are_an_ensemble_and_seen_subjects_are_reported(self, kept, site, capsys):
        assert predict.main(self.words(kept, site, "--json")) == 0
        captured = capsys.readouterr()
        document = json.loads(captured.out)
        assert len(document["models"]) == 5
        assert len(document["clips"]) == 30
        store = load_flow_store(site / "flows")
        _, _, folder = experiment_folder(kept)
        alone = [
            load_model(p).probabilities(store.flows[:1]) for p in folder.rglob("*.safetensors")
        ]
        np.testing.assert_allclose(
            list(document["clips"][0]["probabilities"].values()), np.mean(alone, axis=0)[0]
        )
        assert "30 of 30 clips are of subjects that these weights were trained" in captured.err

    def test_a_test_subject_of_one_fold_is_not_called_seen(self, kept, site, capsys):
        ledger, experiment, _ = experiment_folder(kept)
        path = ledger.weights_path(experiment, "synthetic/sub01")
        assert predict.main(["--weights", str(path), "--input", str(site / "flows"), "--json"]) == 0
        [warning] = json.loads(capsys.readouterr().out)["warnings"]
        assert warning.startswith("24 of 30 clips")

    def test_a_fold_without_weights_is_reported(self, kept, site, tmp_path, capsys):
        _, _, folder = experiment_folder(kept)
        (tmp_path / "weights").mkdir()
        for path in sorted((folder / "weights").iterdir())[:2]:
            (tmp_path / "weights" / path.name).write_bytes(path.read_bytes())
        words = ["--weights", str(tmp_path), "--input", str(site / "flows")]
        assert predict.main(words) == 0
        assert "2 of 5 folds of experiment" in capsys.readouterr().err

    def test_an_experiment_without_kept_weights_is_one_line(self, site, tmp_path, capsys):
        assert run(site, tmp_path / "runs") == 0
        capsys.readouterr()
        _, _, folder = experiment_folder(tmp_path / "runs")
        assert predict.main(["--weights", str(folder), "--input", str(site / "flows")]) == 2
        assert "--keep-weights best" in capsys.readouterr().err


def test_frames_give_what_their_clip_in_the_store_gives(tmp_path, capsys):
    """From frames by ingest and run_loso to predict: the same pixels, the same figures."""
    rows, labels = (
        ["subject,label,onset_path,apex_path,clip_id"],
        ("negative", "positive", "surprise"),
    )
    for s, c in product(range(4), range(3)):
        onset, apex = write_frames(tmp_path / f"s{s}" / f"c{c}", seed=10 * s + c)
        rows.append(f"s{s},{labels[c]},{onset},{apex},c{c}")
    (tmp_path / "own.csv").write_text("\n".join(rows))
    flows, ledger = tmp_path / "flows", tmp_path / "runs"
    words = ["--index", tmp_path / "own.csv", "--dataset", "own", "--out", flows, "--size", "72"]
    words += ["--crop", "4,4,72,70", "--flow", "dis", "--workers", "0"]
    assert ingest.main([*map(str, words)]) == 0
    words = ["--dataset", "own", "--flows", flows, "--ledger", ledger, "--workers", "0"]
    words += ["--model-type", "baseline", "--selection", "last", "--input-size", "40"]
    words += ["--epochs", "2", "--warmup-epochs", "1", "--keep-weights", "best"]
    assert run_loso.main([*map(str, words)]) == 0
    _, _, folder = experiment_folder(ledger)

    def figures(*given) -> dict:
        capsys.readouterr()
        assert predict.main([*map(str, ["--weights", folder, "--json", "--input", *given])]) == 0
        clips = json.loads(capsys.readouterr().out)["clips"]
        return {clip["clip"]: clip["probabilities"] for clip in clips}

    store = figures(flows)
    assert len(store) == 12
    clip = tmp_path / "s2" / "c1"
    [frames] = figures(clip / "onset.png", clip / "apex.png").values()
    assert frames == pytest.approx(store["own/s2/c1"], abs=1e-6)
    assert frames != pytest.approx(store["own/s2/c0"], abs=1e-6)
    assert figures(tmp_path / "s2")["c1"] == pytest.approx(store["own/s2/c1"], abs=1e-6)


def test_a_kept_fold_can_teach_and_the_audit_knows_its_subjects(kept, site, tmp_path, capsys):
    ledger, experiment, _ = experiment_folder(kept)
    words = run_words(site, tmp_path / "runs", "--dry-run")
    path = ledger.weights_path(experiment, "synthetic/sub01")
    words[words.index("--macro-weights") + 1] = str(path)
    words += ["--macro-size", "ultralight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_loso.main(words) == 2
    assert "the teacher was trained on 4 of the test subjects" in capsys.readouterr().err
