"""The names that users of the public DAD-Net know, called as they know them."""

import subprocess
import sys

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


def test_data_and_augmentation_are_made_as_the_public_readme_shows(tmp_path):
    noise = np.random.default_rng(0)
    for name in ("positive/ME_s01_1", "negative/ME_s01_2", "Surprise/ME_s_02_1"):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / f"{name}.npy", noise.normal(size=(2, 40, 40)).astype(np.float32))
    file_paths = sorted(tmp_path.rglob("*.npy"), key=lambda path: path.parent.name.lower())
    transform = dadnet.OpticalFlowAugmentation(
        horizontal_flip_prob=1.0, rotation_range=0.0, scale_range=(1.0, 1.0)
    )
    dataset = dadnet.MicroExpressionDataset(file_paths, transform=transform)
    plain = dadnet.MicroExpressionDataset(file_paths)
    assert len(dataset) == 3
    assert list(dataset.clips["subject"]) == ["files/s01", "files/s01", "files/s_02"]
    flow, label = dataset[2]
    assert flow.shape == (2, 224, 224)
    assert dataset.classes[label] == "surprise"
    assert flow.mean().abs() < 1e-3  # normalised after the transform
    torch.testing.assert_close(flow[0], -plain[2][0][0].flip(-1), atol=1e-3, rtol=0)
    torch.testing.assert_close(flow[1], plain[2][0][1].flip(-1), atol=1e-3, rtol=0)
    small = dadnet.MicroExpressionDataset(file_paths, class_set="4class", input_size=32)
    assert small[0][0].shape == (2, 32, 32)
    assert len(small.classes) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unheard/a_b_1.npy", "unknown emotion 'unheard'"),
        ("unheard/zeros.npy", "zeros.npy: flow is zero everywhere"),
        ("positive/gone.npy", "gone.npy cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_and_no_clip_of_zeros(tmp_path, name, message):
    (tmp_path / "unheard").mkdir()
    np.save(tmp_path / "unheard/a_b_1.npy", np.ones((2, 40, 40)))
    np.save(tmp_path / "unheard/zeros.npy", np.zeros((2, 40, 40)))
    with pytest.raises(DadnetError, match=message):
        dadnet.MicroExpressionDataset([tmp_path / name])


def test_the_names_are_completed_and_importing_them_is_cheap():
    assert set(dadnet.__all__) <= set(dir(dadnet))
    code = "import sys, dadnet; dir(dadnet); print({'torch', 'numpy', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_name_exists():
    for name in dadnet.__all__:
        assert callable(getattr(dadnet, name))
    with pytest.raises(AttributeError, match="it has"):
        _ = dadnet.get_everything
