"""Baselines: their size, their inputs, their features."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch

from dadnet import export
from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.config.baselines import BASELINES, FITTED_BASELINES, ModelType
from dadnet.config.experiment import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    experiment_digest,
)
from dadnet.config.presets import get_preset
from dadnet.inference.model_file import ModelCard, TrainedModel, load_model_file
from dadnet.models import count_parameters
from dadnet.models.baselines import FittedBaseline, build_baseline
from dadnet.models.baselines.handcrafted import (
    LBP_SIZE,
    MDMO_SIZE,
    lbp_features,
    local_binary_patterns,
    mdmo_features,
)
from dadnet.models.baselines.network import optical_strain, with_strain
from dadnet.training.teacher import Teacher

SIZE = 32
NETWORKS = [name for name in BASELINES if name not in FITTED_BASELINES]


def build(name, classes=3, size=SIZE):
    return build_baseline(name, classes, size, generator("baseline", name))


def flows(count=3, size=SIZE, seed=0):
    return torch.randn(count, 2, size, size, generator=torch.Generator().manual_seed(seed))


def test_the_table_has_every_model_type_but_our_own_two():
    assert list(BASELINES) == [n for n in get_args(ModelType) if n not in ("dad_net", "baseline")]


@pytest.mark.parametrize("name", BASELINES)
def test_every_row_of_the_table_names_a_function_that_builds_a_network(name):
    assert isinstance(build(name), FittedBaseline) == BASELINES[name].fitted


@pytest.mark.parametrize(
    ("name", "classes", "size", "weights"),
    [
        ("ststnet", 3, 28, 1_683),
        ("off-apexnet", 3, 28, 2_664_475),
        ("rcn-a", 3, 60, 55_747),
        ("dual-inception", 3, 28, 6_449_867),
        ("resnet20", 10, 32, 269_722),
        ("htnet-like", 3, 32, 2_451_139),
    ],
)
def test_the_number_of_weights(name, classes, size, weights):
    assert count_parameters(build(name, classes, size)) == weights


@pytest.mark.parametrize(
    ("weights", "millions"), [(2_664_475, 2.66), (6_449_867, 6.45), (269_722, 0.27)]
)
def test_published_numbers_of_weights_are_met_to_their_digits(weights, millions):
    """Off-TANet's table (OFF-ApexNet, Dual-Inception), He et al.'s table 6 (ResNet-20)."""
    assert round(weights / 1e6, 2) == millions


def test_ststnet_differs_from_the_papers_1670_by_its_biases_counted_twice():
    network = build("ststnet", size=28)
    norm = count_parameters(network.norm)
    biases = network.convolution.bias.numel() + network.head.bias.numel()
    of_the_table = count_parameters(network) - norm
    assert (of_the_table, norm, biases) == (1651, 32, 19)
    assert of_the_table + biases == 1670


@pytest.mark.parametrize("name", BASELINES)
def test_a_clips_logits_do_not_depend_on_the_others(name):
    network = build(name).eval()
    x = flows(4)
    one_by_one = torch.cat([network(clip[None]).logits for clip in x])
    torch.testing.assert_close(network(x).logits, one_by_one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_draws_from_the_generator_and_reaches_every_weight(name):
    network = build(name).train()
    torch.manual_seed(0)
    one = network(flows(), generator("d", 1)).logits
    torch.manual_seed(1)
    again = network(flows(), generator("d", 1)).logits
    torch.testing.assert_close(one, again)
    one.square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    if network.dropped:
        assert not torch.equal(one, network(flows(), generator("d", 2)).logits)
        with pytest.raises(DadnetError, match="expected a generator"):
            network(flows())


@pytest.mark.parametrize("name", BASELINES)
def test_initial_weights_follow_from_the_seed_and_leave_the_global_generator_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, other = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", BASELINES)
def test_kept_weights_predict_as_the_network_and_are_no_teacher(name, tmp_path, capsys):
    network = build(name).eval()
    card = ModelCard(
        kind="fold",
        model=ModelConfig(model_type=name, input_size=SIZE),
        classes=("a", "b", "c"),
        subjects=("d/s1",),
    )
    path = tmp_path / "w.safetensors"
    TrainedModel(network.state_dict(), card).save(path)
    loaded = load_model_file(path).network()
    torch.testing.assert_close(loaded(flows()).logits, network(flows()).logits)
    with pytest.raises(DadnetError, match=f"holds a {name}; expected a MicroFlowNeXt"):
        Teacher.load(path)
    assert export.main(["--weights", str(path), "--out", str(tmp_path / "m.onnx")]) == 2
    assert f"holds a {name}; expected a MicroFlowNeXt" in capsys.readouterr().err


def test_a_size_that_does_not_fit_is_refused_by_name():
    assert ModelConfig(model_type="ststnet", input_size=28).input_size == 28
    with pytest.raises(DadnetError, match="input_size: expected at least 28, at most 4096, got 27"):
        ModelConfig(model_type="rcn-a", input_size=27)
    with pytest.raises(DadnetError, match="multiple of 8 for htnet-like, got 60"):
        ModelConfig(model_type="htnet-like", input_size=60)
    with pytest.raises(DadnetError, match="STSTNet expects 28 or more; got 9"):
        build("ststnet", size=9)


def test_what_a_rival_does_not_use_is_not_in_its_digest():
    def digest(name, **parts):
        made = ExperimentConfig(model=ModelConfig(model_type=name, **parts.pop("model", {})))
        return experiment_digest(dataclasses.replace(made, **parts), "d", None)

    other = {"model": {"micro_size": "nano", "stn": False}, "loss": LossConfig(num_projections=3)}
    assert digest("ststnet") == digest("ststnet", **other)
    assert digest("ststnet") != digest("ststnet", optim=OptimConfig(lr=1.0))
    assert digest("majority") == digest("majority", optim=OptimConfig(lr=1.0, precision="bf16"))
    assert digest("majority") != digest("majority", model={"input_size": 64})
    assert len({digest(name) for name in BASELINES}) == len(BASELINES)


@pytest.mark.parametrize("name", BASELINES)
def test_every_rival_has_a_recipe_and_a_row(name):
    config = get_preset(name, DataConfig(dataset="casme2", selection="last"))
    assert config.model.model_type == name
    assert config.method() == BASELINES[name].title
    assert not config.aligned
    assert ExperimentConfig.from_json(config.to_json()) == config


# What they read.


def field(u, v):
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    return torch.stack([u(x, y), v(x, y)])[None]


@pytest.mark.parametrize(
    ("u", "v", "strain"),
    [
        (lambda x, y: 0 * x + 3, lambda x, y: 0 * x - 1, 0.0),  # a shift
        (lambda x, y: -0.2 * y, lambda x, y: 0.2 * x, 0.0),  # a small turn
        (lambda x, y: 0.3 * x, lambda x, y: 0 * x, 0.3),  # a stretch
        (lambda x, y: 0.4 * y, lambda x, y: 0 * x, 0.4 / 2**0.5),  # a shear
    ],
)
def test_optical_strain_sees_deformation_alone(u, v, strain):
    found = optical_strain(field(u, v))
    torch.testing.assert_close(found, torch.full((1, 9, 9), strain), atol=2e-6, rtol=1e-5)


def test_the_third_channel_is_a_z_score_even_of_a_flat_flow():
    channels = with_strain(flows(2))
    assert channels.shape == (2, 3, SIZE, SIZE)
    torch.testing.assert_close(channels[:, 2].mean((1, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    assert torch.isfinite(with_strain(torch.zeros(1, 2, SIZE, SIZE))).all()


def test_mdmo_is_the_mean_of_the_fullest_direction_of_an_area():
    flow = torch.zeros(1, 2, 12, 12)
    flow[:, 0] = 1.0  # to the right, 0 degrees: of 4 vectors of the first area 3
    flow[0, :, 0, 0] = torch.tensor([-9.0, 9.0])
    flow[0, 1, 1, 1] = 0.3
    found = mdmo_features(flow)
    assert found.shape == (1, MDMO_SIZE)
    u, v = found[0].view(2, 36)
    assert (float(u[0]), float(v[0])) == pytest.approx((1.0, 0.1))
    torch.testing.assert_close(u[1:], torch.ones(35))


def test_patterns_are_those_counted_pixel_by_pixel():
    maps = flows(1, 8)
    found = local_binary_patterns(maps)[0, 0].numpy()
    image = maps[0, 0].numpy()
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    for row in range(1, 7):
        for column in range(1, 7):
            bits = [image[row + a, column + b] >= image[row, column] for a, b in ring]
            assert found[row - 1, column - 1] == sum(2**i for i, bit in enumerate(bits) if bit)


def test_histograms_hold_shares_of_59_labels():
    found = lbp_features(flows(2)).view(2, 3, 25, 59)
    assert found[0].numel() == LBP_SIZE
    torch.testing.assert_close(found.sum(3), torch.ones(2, 3, 25))
    flat = lbp_features(torch.zeros(1, 2, SIZE, SIZE)).view(3, 25, 59)
    np.testing.assert_allclose(flat[:, :, 57], 1.0)  # all ones: the last uniform pattern
