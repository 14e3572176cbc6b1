"""Foreign checkpoints: both public layouts become model files, and nothing in a file runs."""

import os
import pickle

import numpy as np
import pytest
import torch

from dadnet import convert
from dadnet.inference.model_file import load_model_file
from dadnet.inference.predictor import load_model
from dadnet.models import MODEL_SIZES, get_microflownext, weights_digest
from dadnet.training.teacher import Teacher
from tests.build.models import backbone, foreign, seeded, two_streams

NAMES = ["--classes", "negative,positive,surprise"]


def checkpoint(path, model, layout, wrapper="model_state_dict", **beside):
    weights = foreign(model, layout)
    torch.save({wrapper: weights, **beside} if wrapper else weights, path)
    return str(path)


@pytest.mark.parametrize(
    ("layout", "wrapper", "correction"),
    [(1, "model_state_dict", "similarity"), (1, "", "similarity"), (2, "model", "inverse")],
)
def test_both_layouts_become_model_files(tmp_path, capsys, layout, wrapper, correction):
    source = backbone(1)
    given = checkpoint(tmp_path / "w.pth", source, layout, wrapper)
    out = tmp_path / "w.safetensors"
    assert convert.main([given, str(out), *NAMES]) == 0
    output = capsys.readouterr().out
    assert "84 weights loaded, 8 of the checkpoint skipped, 0 of the model missing" in output
    assert output.count("the constant (-1, 0, 1), which is built in") == 8
    found = load_model_file(out)
    assert weights_digest(found.weights) == weights_digest(source.state_dict())
    model = found.card.model
    assert (model.flow_correction, model.head, model.input_size) == (correction, "pooled", 32)
    assert (model.micro_size, model.stn, model.channel_attention) == ("ultralight", True, True)
    assert found.card.classes == ("negative", "positive", "surprise")


def test_the_converted_network_computes_what_the_checkpoint_did(tmp_path):
    source = get_microflownext(3, "ultralight", 32, "similarity", "pooled", generator=seeded(1))
    given = checkpoint(tmp_path / "w.pth", source, 1)
    assert convert.main([given, str(tmp_path / "w.safetensors"), *NAMES]) == 0
    x = torch.randn(2, 2, 32, 32, generator=seeded(0))
    converted = load_model_file(tmp_path / "w.safetensors").network()
    assert torch.allclose(source.eval()(x).logits, converted(x).logits, atol=1e-6)


@pytest.mark.parametrize("size", MODEL_SIZES)
def test_every_size_is_recognised(tmp_path, size):
    given = checkpoint(tmp_path / "w.pth", backbone(1, size), 2)
    assert convert.main([given, str(tmp_path / "w.safetensors"), *NAMES]) == 0
    assert load_model_file(tmp_path / "w.safetensors").card.model.micro_size == size


@pytest.mark.parametrize("branch", ["student", "teacher"])
def test_one_stream_of_two_is_taken(tmp_path, capsys, branch):
    source = two_streams(1)
    given = checkpoint(tmp_path / "w.pth", source, 1)
    out = str(tmp_path / "w.safetensors")
    assert convert.main([given, out, *NAMES]) == 2
    assert "the checkpoint has two streams" in capsys.readouterr().err
    assert convert.main([given, out, *NAMES, "--branch", branch]) == 0
    output = capsys.readouterr().out
    assert f"of the {'teacher' if branch == 'student' else 'student'}" in output
    assert "skipped adapters.0" in output
    found = load_model_file(tmp_path / "w.safetensors")
    assert weights_digest(found.weights) == weights_digest(getattr(source, branch).state_dict())


def test_a_stored_but_pruned_transformer_is_left_out_where_asked(tmp_path, capsys):
    given = checkpoint(tmp_path / "w.pth", backbone(1), 2)
    assert convert.main([given, str(tmp_path / "w.safetensors"), *NAMES, "--no-stn"]) == 0
    assert "without spatial transformer" in capsys.readouterr().out
    assert not load_model_file(tmp_path / "w.safetensors").card.model.stn


def test_a_pruned_network_is_recognised_and_needs_its_input_size(tmp_path, capsys):
    source = get_microflownext(
        3, "nano", 48, "inverse", "linear", use_stn=False, channel_attention=False
    )
    given = checkpoint(tmp_path / "w.pth", source, 2)
    out = str(tmp_path / "w.safetensors")
    assert convert.main([given, out, *NAMES]) == 2
    assert "expected --input-size PIXELS" in capsys.readouterr().err
    assert convert.main([given, out, *NAMES, "--input-size", "48"]) == 0
    model = load_model_file(tmp_path / "w.safetensors").card.model
    assert (model.head, model.stn, model.channel_attention) == ("linear", False, False)


def test_entries_beside_the_weights_are_reported(tmp_path, capsys):
    given = checkpoint(tmp_path / "w.pth", backbone(1), 1, uf1=np.float64(0.5), epoch=3)
    assert convert.main([given, str(tmp_path / "w.safetensors"), *NAMES]) == 0
    output = capsys.readouterr().out
    assert "beside the weights, not taken: uf1" in output
    assert "beside the weights, not taken: epoch" in output


def test_a_teacher_needs_the_set_it_was_trained_on(tmp_path):
    given = checkpoint(tmp_path / "w.pth", backbone(1), 1)
    assert convert.main([given, str(tmp_path / "a.safetensors"), *NAMES]) == 0
    with pytest.raises(ValueError, match="does not say which subjects it has seen"):
        Teacher.load(tmp_path / "a.safetensors")
    words = [given, str(tmp_path / "b.safetensors"), *NAMES, "--dataset", "ckplus"]
    assert convert.main(words) == 0
    assert Teacher.load(tmp_path / "b.safetensors").subjects == ("ckplus/*",)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, call, argument):
        self.call, self.argument = call, argument

    def __reduce__(self):
        return self.call, (self.argument,)


class TestMaliciousFiles:
    """Real pickles that would make a file `pwned`; opened carelessly, they do."""

    @pytest.fixture(params=["system", "eval", "exec"])
    def payload(self, request, tmp_path):
        target = tmp_path / "pwned"
        code = f"open({str(target)!r}, 'w').close()"
        call, argument = {
            "system": (os.system, f"touch {target}"), "eval": (eval, code), "exec": (exec, code),
        }[request.param]  # fmt: skip
        return Malicious(call, argument), target

    @pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "beside"])
    def test_none_of_them_runs(self, payload, form, tmp_path, capsys):
        bomb, target = payload
        path = tmp_path / "w.pth"
        if form == "pickle":
            path.write_bytes(pickle.dumps({"state_dict": bomb}))
        elif form == "beside":
            checkpoint(path, backbone(1), 1, metrics=bomb)
        else:
            torch.save({"x": bomb}, path, _use_new_zipfile_serialization=form == "zip")
        assert convert.main([str(path), str(tmp_path / "w.safetensors"), *NAMES]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert "refused, and nothing in it was run" in error
        assert not target.exists()
        assert not list(tmp_path.glob("*.safetensors"))

    def test_the_payload_is_a_real_one(self, payload):
        bomb, target = payload
        pickle.loads(pickle.dumps(bomb))
        assert target.exists()


def without(weights, *names):
    return {k: v for k, v in weights.items() if k not in names}


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (b"", [], "no checkpoint of torch"),
        (b"hello world\n", [], "no checkpoint of torch"),
        (b"PK\x03\x04" + b"\0" * 100, [], "no checkpoint of torch"),
        (torch.zeros(3), [], "expected a state dict"),
        ({"epoch": 3}, [], "got epoch"),
        ({"conv.weight": torch.zeros(3)}, [], "expected weights of a MicroFlowNeXt"),
        (without(foreign(backbone(1), 1), "norm.bias"), [], "1 are missing: norm.bias"),
        (foreign(backbone(1), 1), ["--classes", "a,b"], "expected 3 names"),
        (foreign(backbone(1), 1), ["--classes", "a,b,a"], "different class names"),
        (foreign(backbone(1), 1), ["--input-size", "56"], "for sizes from 32 to 35"),
        (foreign(backbone(1), 1), ["--branch", "teacher"], "has no streams"),
        ({**foreign(backbone(1), 1), "head.bias": torch.full((3,), torch.nan)}, [], "not finite"),
        (without(foreign(backbone(1, "tiny"), 2), "stages.2.1.dwconv.weight"), [], "missing"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line_and_exit_status_2(tmp_path, capsys, content, words, message):
    path = tmp_path / "w.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert convert.main([str(path), str(tmp_path / "w.safetensors"), *NAMES, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_damaged_checkpoint_is_one_line_wherever_it_is_cut(tmp_path, capsys):
    given = checkpoint(tmp_path / "w.pth", backbone(1), 1)
    whole = (tmp_path / "w.pth").read_bytes()
    for share in (0.01, 0.3, 0.7, 0.99):
        (tmp_path / "w.pth").write_bytes(whole[: int(len(whole) * share)])
        assert convert.main([given, str(tmp_path / "w.safetensors"), *NAMES]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_an_existing_file_is_not_replaced(tmp_path, capsys):
    given = checkpoint(tmp_path / "w.pth", backbone(1), 1)
    (tmp_path / "w.safetensors").write_text("mine")
    assert convert.main([given, str(tmp_path / "w.safetensors"), *NAMES]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "w.safetensors").read_text() == "mine"


def test_a_converted_model_predicts(tmp_path):
    given = checkpoint(tmp_path / "w.pth", backbone(1), 2)
    assert convert.main([given, str(tmp_path / "w.safetensors"), *NAMES]) == 0
    flow = np.random.default_rng(0).normal(size=(40, 50, 2))
    prediction = load_model(tmp_path / "w.safetensors").predict(flow)
    assert prediction.label in ("negative", "positive", "surprise")
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
