"""The names that users of the public DAD-Net know, called as they know them."""

import numpy as np
import pytest
import torch

import dadnet
from dadnet import convert
from dadnet.base.errors import DadnetError
from tests.build.models import backbone, foreign, make_model


@pytest.fixture
def teacher(tmp_path):
    """The public way to a teacher: a checkpoint (.pth), converted once."""
    torch.save({"model_state_dict": foreign(backbone(1), 1)}, tmp_path / "macro.pth")
    out = tmp_path / "macro.safetensors"
    words = [str(tmp_path / "macro.pth"), str(out), "--classes", "negative,positive,surprise"]
    assert convert.main([*words, "--dataset", "ckplus"]) == 0
    return out


def test_a_dad_net_is_built_with_the_public_arguments(teacher):
    model = dadnet.get_dad_net(
        num_classes=3,
        micro_model_size="micro",
        macro_model_size="ultralight",
        alignment_stages={0: False, 1: False, 2: True, 3: True},
        macro_weights_path=teacher,
        alignment_weight=0.5,
        input_size=32,
    )
    assert model.alignment_stages == (2, 3)
    output = model.eval()(torch.randn(2, 2, 32, 32))
    assert output.logits.shape == (2, 3)
    assert set(output.student_features) == {2, 3}


def test_a_mapping_of_stages_that_is_wrong_is_refused(teacher):
    with pytest.raises(DadnetError, match="distinct alignment stages of 0, 1, 2, 3"):
        dadnet.get_dad_net(3, alignment_stages={4: True}, macro_weights_path=teacher, input_size=32)


def test_a_checkpoint_as_it_was_published_is_sent_to_convert(tmp_path):
    with pytest.raises(DadnetError, match="`dadnet convert` makes one"):
        dadnet.get_dad_net(3, macro_weights_path=tmp_path / "macro.pth", input_size=32)


def test_the_backbone_has_the_public_default_size():
    model = dadnet.get_microflownext(num_classes=3)
    assert model.model_size == "micro"
    assert model.eval()(torch.randn(1, 2, 224, 224)).logits.shape == (1, 3)


def test_a_trained_model_is_loaded_and_asked(tmp_path):
    make_model().save(tmp_path / "w.safetensors")
    model = dadnet.load_model(tmp_path / "w.safetensors")
    flow = np.random.default_rng(0).normal(size=(64, 64, 2))
    prediction = model.predict(flow)
    assert prediction.label in model.classes
    assert prediction.confidence == max(prediction.probabilities.values())


def test_every_public_name_exists():
    for name in dadnet._MODULES:
        assert callable(getattr(dadnet, name))
    with pytest.raises(AttributeError, match="it has"):
        _ = dadnet.get_everything
