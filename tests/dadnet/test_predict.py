"""Predicting: every kind of input, the card's classes and sizes, and one line for bad input."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

import dadnet
from dadnet import predict
from dadnet.flow.compute import compute_flow, resize_flow
from dadnet.flow.store import load_flow_store
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.inference.model_file import ModelCard, load_model_file
from dadnet.inference.predictor import load_model, prepare
from dadnet.inference.score import score
from dadnet.labels.tasks import SINGLE_LABEL
from tests.build.flows import make_clips, write_frames, write_store
from tests.build.models import NAMES, make_model

FLOW = {"method": "tvl1", "size": 64, "crop": None, "normalisation": "none"}


def card(**facts) -> ModelCard:
    model = make_model().card.model
    return ModelCard(**{"kind": "fold", "model": model, "classes": NAMES, "flow": FLOW, **facts})


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model" / "w.safetensors"
    make_model(card=card()).save(path)
    return path


def random_flow(seed: int, size: int = 64) -> np.ndarray:
    draws = np.random.default_rng(seed).normal(size=(2, size, size))
    return cv2.GaussianBlur(draws.transpose(1, 2, 0), (0, 0), 3).transpose(2, 0, 1) * 10


def json_of(capsys, *words) -> dict:
    assert predict.main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


class TestInputs:
    def test_a_flow_in_either_layout(self, weights, tmp_path, capsys):
        flow = random_flow(1)
        np.save(tmp_path / "a.npy", flow)
        np.save(tmp_path / "b.npy", flow.transpose(1, 2, 0))
        found = json_of(
            capsys, "--weights", weights, "--input", tmp_path / "a.npy", tmp_path / "b.npy"
        )
        assert found["classes"] == list(NAMES)
        one, other = found["clips"]
        assert one["clip"] == str(tmp_path / "a.npy")
        assert one["probabilities"] == other["probabilities"]
        assert one["prediction"] == max(one["probabilities"], key=one["probabilities"].get)
        assert one["confidence"] == one["probabilities"][one["prediction"]]
        assert sum(one["probabilities"].values()) == pytest.approx(1)

    def test_two_frames_become_flow_as_the_card_says(self, weights, tmp_path, capsys):
        onset, apex = write_frames(tmp_path / "clip")
        found = json_of(capsys, "--weights", weights, "--input", onset, apex)
        small = [
            cv2.resize(cv2.imread(str(p), 0), (64, 64), interpolation=cv2.INTER_AREA)
            for p in (onset, apex)
        ]
        expected = load_model(weights).predict(compute_flow(*small, "tvl1"))
        assert found["clips"][0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert found["warnings"] == []

    def test_a_folder_of_flows_and_frames_and_what_is_left_out_is_reported(
        self, weights, tmp_path, capsys
    ):
        folder = tmp_path / "clips"
        write_frames(folder / "s1" / "clip1")
        write_frames(folder / "s1" / "clip2", seed=1, suffix=".JPG")
        np.save(folder / "s1" / "flow.npy", random_flow(2))
        (folder / "notes.txt").write_text("x")
        (folder / ".hidden").write_text("x")
        assert predict.main(["--weights", str(weights), "--input", str(folder)]) == 0
        shown = capsys.readouterr()
        names = [line.split(": ")[0] for line in shown.out.splitlines()]
        assert names == ["s1/flow.npy", "s1/clip1", "s1/clip2"]
        assert "no clips were left out: 1 .txt" in shown.err

    def test_a_folder_with_one_pair_is_one_clip(self, weights, tmp_path, capsys):
        write_frames(tmp_path / "mine")
        found = json_of(capsys, "--weights", weights, "--input", tmp_path / "mine")
        assert [c["clip"] for c in found["clips"]] == ["mine"]

    def test_a_flow_store_gives_what_training_would_score(self, weights, tmp_path, capsys):
        flows = write_store(tmp_path / "flows", make_clips(3, 6), size=64)
        found = json_of(capsys, "--weights", weights, "--input", flows)
        dataset = MicroExpressionDataset.from_store(load_flow_store(flows), "3class", 32)
        expected = score(load_model_file(weights).network(), dataset.flows, task=SINGLE_LABEL)
        assert [c["clip"] for c in found["clips"]] == list(dataset.clips["clip_id"])
        given = [list(c["probabilities"].values()) for c in found["clips"]]
        np.testing.assert_allclose(given, expected, atol=1e-6)

    def test_frames_without_known_parameters_have_a_warning(self, tmp_path, capsys):
        make_model().save(tmp_path / "w.safetensors")
        onset, apex = write_frames(tmp_path / "clip")
        found = json_of(capsys, "--weights", tmp_path / "w.safetensors", "--input", onset, apex)
        assert "have no parameters of their flows" in found["warnings"][0]


class TestPredictor:
    def test_a_batch_equals_single_clips(self, weights):
        model = load_model(weights)
        flows = [random_flow(seed, size) for seed, size in enumerate([64] * 70 + [40, 100])]
        alone = [model.predict(flow) for flow in flows]
        for one, other in zip(alone, model.predict_many(flows), strict=True):
            assert one.label == other.label
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)

    def test_an_ensemble_is_the_mean_of_the_probabilities(self, tmp_path):
        for seed, size in ((0, 32), (1, 48)):
            make_model(seed, input_size=size).save(tmp_path / f"{seed}.safetensors")
        files = sorted(tmp_path.glob("*.safetensors"))
        flows = [random_flow(3), random_flow(4)]
        both = load_model(files).probabilities(flows)
        alone = [load_model(f).probabilities(flows) for f in files]
        np.testing.assert_allclose(both, np.mean(alone, axis=0))
        np.testing.assert_allclose(both, load_model(tmp_path).probabilities(flows))

    def test_the_flow_takes_the_way_of_the_training(self):
        flow = random_flow(5, 100)
        stored = resize_flow(flow.astype(np.float32), 64).astype(np.float16)
        expected = resize_flow(stored, 32).astype(np.float16)
        np.testing.assert_array_equal(prepare(flow, 64, 32), expected)

    def test_statistics_of_the_fit_clips_are_used(self, tmp_path):
        flow = random_flow(6)
        figures = []
        for mean in (0.0, 0.5):
            fitted = card(normalisation="fit", statistics=((mean, 0.0), (1.0, 1.0)))
            make_model(card=fitted).save(tmp_path / "w.safetensors")
            figures.append(load_model(tmp_path / "w.safetensors").predict(flow).confidence)
        assert figures[0] != figures[1]

    def test_the_public_name(self, weights):
        assert dadnet.load_model(weights).predict(random_flow(1)).label in NAMES


def test_probabilities_are_printed_where_asked(weights, tmp_path, capsys):
    np.save(tmp_path / "a.npy", random_flow(1))
    assert (
        predict.main(["--weights", str(weights), "--input", str(tmp_path / "a.npy"), "--probs"])
        == 0
    )
    assert "negative 0." in capsys.readouterr().out


def test_the_card_is_shown_if_requested(weights, capsys):
    assert predict.main(["--weights", str(weights), "--card"]) == 0
    [shown] = json.loads(capsys.readouterr().out)
    assert shown["classes"] == list(NAMES)
    assert shown["model"]["input_size"] == 32


def test_an_oracle_has_a_warning(tmp_path, capsys):
    make_model(card=card(origin={"selection": "oracle"})).save(tmp_path / "w.safetensors")
    np.save(tmp_path / "a.npy", random_flow(1))
    words = ["--weights", tmp_path / "w.safetensors", "--input", tmp_path / "a.npy"]
    assert "chosen on the test subjects" in json_of(capsys, *words)["warnings"][0]


class TestBadInput:
    """Exit status 2 and one line, whatever comes."""

    def refused(self, capsys, *words) -> str:
        assert predict.main([*map(str, words)]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        return shown.err

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (np.zeros((2, 64, 64)), "zero everywhere"),
            (np.full((2, 64, 64), np.nan), "not finite"),
            (np.full((2, 64, 64), 1e6), "expected pixels of this field"),
            (np.ones((4, 64, 64)), "expected shape (2, H, W) or (H, W, 2), got (4, 64, 64)"),
            (np.ones((2, 64)), "got (2, 64)"),
            (np.array([["a", "b"]]), "array of numbers"),
            (np.array([object()], dtype=object), "cannot be read"),
            (np.ones((2, 0, 64)), ""),
            (b"", "cannot be read"),
            (b"\x93NUMPY\x01\x00v\x00{'descr'", "cannot be read"),
            (b"not numpy at all", "cannot be read"),
        ],
    )
    def test_a_flow_that_is_none(self, weights, tmp_path, capsys, content, message):
        path = tmp_path / "a.npy"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
        error = self.refused(capsys, "--weights", weights, "--input", path)
        assert message in error

    def test_one_bad_file_of_many_is_named_and_nothing_is_printed(self, weights, tmp_path, capsys):
        for seed in range(3):
            np.save(tmp_path / f"{seed}.npy", random_flow(seed))
        (tmp_path / "1.npy").write_bytes(b"torn")
        assert "1.npy" in self.refused(capsys, "--weights", weights, "--input", tmp_path)

    def test_frames_that_are_none(self, weights, tmp_path, capsys):
        onset, apex = write_frames(tmp_path / "clip")
        common = ["--weights", weights, "--input"]
        assert "expected .npy files, an onset" in self.refused(capsys, *common, onset)
        assert "frames are equal" in self.refused(capsys, *common, onset, onset)
        apex.write_bytes(apex.read_bytes()[:60])
        assert "apex.png" in self.refused(capsys, *common, onset, apex)
        apex.unlink()
        assert "expected onset and apex in" in self.refused(capsys, *common, onset.parent)
        onset.unlink()
        assert "got 0 other files" in self.refused(capsys, *common, onset.parent)

    def test_frames_where_training_aligned_faces(self, tmp_path, capsys):
        make_model(card=card(flow={**FLOW, "align": "landmarks"})).save(tmp_path / "w.safetensors")
        frames = write_frames(tmp_path / "clip")
        error = self.refused(capsys, "--weights", tmp_path / "w.safetensors", "--input", *frames)
        assert "align=landmarks" in error

    def test_a_damaged_store(self, weights, tmp_path, capsys):
        flows = write_store(tmp_path / "flows", make_clips(3, 6))
        (flows / "flows-00000.parquet").write_bytes(b"torn")
        assert "cannot be read" in self.refused(capsys, "--weights", weights, "--input", flows)

    def test_weights_of_other_classes(self, weights, tmp_path, capsys):
        make_model(classes=("a", "b", "c")).save(tmp_path / "other.safetensors")
        np.save(tmp_path / "a.npy", random_flow(1))
        words = ["--weights", weights, tmp_path / "other.safetensors"]
        error = self.refused(capsys, *words, "--input", tmp_path / "a.npy")
        assert "expected models of the same classes" in error

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--input", "a.npy"], "--weights"),
            (["--weights", "W"], "--input"),
            (["--weights", "W", "--input", "nowhere.npy"], "there is no nowhere.npy"),
            (["--weights", "nowhere.safetensors", "--input", "a.npy"], "nowhere.safetensors"),
            (["--weights", "model.pth", "--input", "a.npy"], "dadnet convert"),
            (["--weights", "W", "--input", "a.npy", "--device", "abacus"], "device: abacus"),
            (["--weights", "W", "--input", "W"], "expected .npy files"),
            (["--weights", "W", "--input", "a.npy", "--colour"], "--colour"),
        ],
    )
    def test_wrong_words(self, weights, tmp_path, capsys, monkeypatch, words, message):
        monkeypatch.chdir(tmp_path)
        np.save("a.npy", random_flow(1))
        shutil.copy(weights, "W.safetensors")
        given = [w.replace("W", "W.safetensors") if w == "W" else w for w in words]
        assert message in self.refused(capsys, *given)


def test_the_command_runs_alone(weights, tmp_path):
    np.save(tmp_path / "a.npy", random_flow(1))
    done = subprocess.run(
        [sys.executable, "-m", "dadnet.predict", "--weights", str(weights), "--input", "a.npy"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a.npy: ")
    assert done.stderr == ""
