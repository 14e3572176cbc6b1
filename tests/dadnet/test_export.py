"""Exported programs compute what the network does, for every head and spatial transformer."""

import dataclasses
import json
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dadnet import export
from dadnet.base.errors import DadnetError
from dadnet.export import check_program
from dadnet.inference.model_file import CARD, ModelCard, TrainedModel, load_model_file
from dadnet.inference.predictor import load_model
from tests.build.models import make_model

HEADS = ("tokens", "pooled", "linear")
TRANSFORMERS = ("inverse", "similarity", "none")
# The others run in CI.
FAST = {("tokens", "inverse", True), ("pooled", "similarity", True)}


def variants():
    for head, transformer in product(HEADS, TRANSFORMERS):
        key = head, transformer, head != "linear"
        marks = () if key in FAST else pytest.mark.slow
        yield pytest.param(key, marks=marks, id="-".join(map(str, key)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Model file and ONNX file of a variant, each made once."""

    @cache
    def make(head: str, transformer: str, attention: bool) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("exported")
        path = saved(
            folder,
            head=head,
            stn=transformer != "none",
            flow_correction="inverse" if transformer == "none" else transformer,
            channel_attention=attention,
        )
        assert export.main(["--weights", str(path), "--out", str(folder / "m.onnx")]) == 0
        return path, folder / "m.onnx"

    return make


def saved(tmp_path, **model):
    path = tmp_path / "w.safetensors"
    make_model(**model).save(path)
    return path


@pytest.mark.parametrize("variant", [*variants()])
def test_onnx_logits_equal_torch(exported, variant):
    path, out = exported(*variant)
    session = onnxruntime.InferenceSession(out)
    network = load_model_file(path).network()
    flows = np.random.default_rng(7).normal(size=(7, 2, 32, 32)).astype(np.float32)
    for number in (1, 4, 7):
        logits, probabilities = session.run(None, {"flow": flows[:number]})
        x = torch.from_numpy(flows[:number])
        std, mean = torch.std_mean(x, dim=(2, 3), keepdim=True, correction=0)
        with torch.no_grad():
            found = network((x - mean) / (std + 1e-6))
        np.testing.assert_allclose(logits, found.logits.numpy(), atol=1e-4)
        if found.theta is not None:
            assert (found.theta - torch.eye(2, 3)).abs().max() > 0.01
        np.testing.assert_allclose(probabilities, found.logits.softmax(1).numpy(), atol=1e-4)


def test_the_card_travels_with_the_onnx_file_and_no_path_does(exported):
    path, out = exported("tokens", "inverse", True)
    model = onnx.load(out)
    onnx.checker.check_model(model)
    beside = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(beside["classes"]) == ["negative", "positive", "surprise"]
    assert ModelCard.from_json(beside[CARD]) == load_model_file(path).card
    assert b".py" not in out.read_bytes()
    assert sorted(p.name for p in out.parent.iterdir()) == ["m.onnx", "w.safetensors"]


@pytest.mark.slow
def test_statistics_of_the_fit_clips_are_inside(tmp_path):
    statistics = ((0.3, -0.2), (1.5, 0.7))
    model = make_model(head="linear", stn=False)
    card = dataclasses.replace(model.card, normalisation="fit", statistics=statistics)
    path, out = tmp_path / "w.safetensors", tmp_path / "m.onnx"
    TrainedModel(model.weights, card).save(path)
    assert export.main(["--weights", str(path), "--out", str(out)]) == 0
    flow = np.random.default_rng(1).normal(size=(3, 2, 32, 32)).astype(np.float16)
    session = onnxruntime.InferenceSession(out)
    _, probabilities = session.run(None, {"flow": flow.astype(np.float32)})
    expected = load_model(path).probabilities(list(flow))
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


@pytest.mark.slow
def test_the_largest_model_at_full_size_exports(tmp_path):
    path = saved(tmp_path, micro_size="base", input_size=224)
    assert export.main(["--weights", str(path), "--out", str(tmp_path / "m.onnx")]) == 0


def test_the_exported_program_of_torch_takes_any_batch_and_holds_the_card(tmp_path):
    path, out = saved(tmp_path), tmp_path / "m.pt2"
    words = ["--weights", str(path), "--out", str(out), "--format", "torch-export"]
    assert export.main(words) == 0
    beside = {"card.json": ""}
    program = torch.export.load(out, extra_files=beside).module()
    assert ModelCard.from_json(beside["card.json"]) == load_model_file(path).card
    flows = np.random.default_rng(7).normal(size=(6, 2, 32, 32)).astype(np.float16)
    expected = load_model(path).probabilities(list(flows))
    for number in (1, 6):
        _, probabilities = program(torch.from_numpy(flows[:number]).float())
        np.testing.assert_allclose(probabilities.detach(), expected[:number], atol=1e-5)


def test_a_program_that_computes_something_else_is_refused():
    model = make_model()
    with pytest.raises(DadnetError, match="differ from torch by"):
        check_program(lambda flow: np.zeros((len(flow), 3), np.float32), model)
    with pytest.raises(DadnetError, match="differ from torch by nan"):
        check_program(lambda flow: np.full((len(flow), 3), np.nan, np.float32), model)


def test_a_refused_export_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    path, out = saved(tmp_path), tmp_path / "m.pt2"
    words = ["--weights", str(path), "--out", str(out), "--format", "torch-export"]
    assert export.main(words) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("m.pt", [], "ends in .onnx"),
        ("m.onnx", ["--format", "torch-export"], "ends in .pt2"),
        ("m.onnx", ["--format", "coreml"], "format: expected one of onnx"),
        ("there.onnx", [], "exists already"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(tmp_path, capsys, out, more, message):
    (tmp_path / "there.onnx").touch()
    words = ["--weights", str(saved(tmp_path)), "--out", str(tmp_path / out), *more]
    assert export.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_a_missing_package_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    words = ["--weights", str(saved(tmp_path)), "--out", str(tmp_path / "m.onnx")]
    assert export.main(words) == 2
    assert "pip install dadnet-loso[export]" in capsys.readouterr().err
