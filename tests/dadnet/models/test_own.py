"""A user's network as a student: its draws, its maps, its weights."""

import numpy as np
import pytest
import torch
from torch import nn

from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode, read_code
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig
from dadnet.config.model import ModelConfig
from dadnet.models import load_weights, save_weights
from dadnet.models.baselines import build_baseline
from dadnet.models.own import OwnNetwork
from dadnet.training.kinds import how_stacked, why_one_by_one
from tests.build.own import NET, STAGED

SIZE = 32


def config_of(text, function="build", **arguments):
    code = OwnCode("net.py", function, (("net.py", text),))
    return ModelConfig(model_type="baseline", input_size=SIZE, model=code, model_args=arguments)


def network_of(text, function="build", purpose="first", **arguments):
    config = config_of(text, function, **arguments)
    return OwnNetwork(config, 3, generator("init", purpose))


def flows(count=4):
    return torch.randn(count, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_the_initial_weights_follow_from_the_generator_alone():
    torch.manual_seed(1)
    one = network_of(NET, "small_net")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    other = network_of(NET, "small_net")
    assert torch.equal(torch.get_rng_state(), before)
    third = network_of(NET, "small_net", purpose="second")
    weights = [net.state_dict()["network.0.weight"] for net in (one, other, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_dropout_of_a_training_step_follows_from_its_generator():
    network = network_of(NET, "small_net", dropout=0.5).train()
    first, again, other = (
        network(flows(), generator("drop-path", step)).logits for step in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_forward_with_a_generator_gets_it():
    """A baseline of ours through the same door has its own draws, and the same numbers."""
    code = read_code("dadnet.models.baselines.ststnet:STSTNet")
    config = ModelConfig(model_type="baseline", input_size=28, model=code)
    own = OwnNetwork(config, 3, generator("init")).train()
    ours = build_baseline("ststnet", 3, 28, generator("init")).train()
    x = flows()[..., :28, :28]
    for one, other in zip(own.parameters(), ours.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(own(x, generator("a")).logits, ours(x, generator("a")).logits)
    assert torch.equal(own.eval()(x).pooled, ours.eval()(x).pooled)


def test_maps_are_taken_by_the_names_of_their_stages():
    network = network_of(STAGED, "staged")
    assert network.dims == {2: 6, 3: 12}
    assert network.training
    output = network(flows())
    assert {i: tuple(m.shape) for i, m in output.features.items()} == {
        2: (4, 6, 2, 2),
        3: (4, 12, 1, 1),
    }
    with pytest.raises(DadnetError, match="expected a map stage1 of net.py:staged, got stage2, st"):
        network.require_stages((1, 2))


def test_a_map_of_other_sides_is_refused():
    network = network_of(STAGED.replace("16, stride=16", "8, stride=8"), "staged")
    expected = (
        r"expected stage2 of shape \(B, C, 2, 2\) for an input size of 32, got \(3, 6, 4, 4\)"
    )
    with pytest.raises(DadnetError, match=expected):
        network.require_stages((2,))


def test_tied_weights_are_saved(tmp_path):
    network = network_of(NET, "small_net")
    network.again = network.network[0]
    save_weights(tmp_path / "net.safetensors", network, {})
    saved = load_weights(tmp_path / "net.safetensors").weights
    np.testing.assert_array_equal(saved["again.weight"], saved["network.0.weight"])


HEAD = "nn.Flatten(), nn.Linear(2 * 32 * 32, num_classes)"
ODD = """
from torch import nn
class First(nn.Module):
    def forward(self, x):
        return x if x.mean().item() > 99 else x + 0
"""


@pytest.mark.parametrize(
    ("returned", "before", "reason"),
    [
        (f"nn.Sequential({HEAD})", "", ""),
        (f"nn.Sequential(nn.Dropout(), {HEAD})", "", "RuntimeError: vmap: called random operation"),
        (f"nn.Sequential(First(), {HEAD})", ODD, "vmap: It looks like you're calling .item()"),
        (
            f"nn.Sequential({HEAD}, nn.Linear(3, 3).requires_grad_(False))",
            "",
            "net.py:build are frozen",
        ),
    ],
)
def test_folds_are_one_program_where_that_gives_the_same(returned, before, reason):
    build = f"def build(num_classes, input_size):\n    return {returned}"
    text = f"from torch import nn\n{before}\n{build}"
    why = why_one_by_one(config_of(text), 3, "cpu")
    assert (reason in why) if reason else why == ""
    line = how_stacked(ExperimentConfig(model=config_of(text)), 3, "cpu")
    assert f"one after the other: {'' if reason else 'on a CPU'}" in line
    assert how_stacked(ExperimentConfig(), 3, "cpu") == ""


def test_a_weight_without_gradient_keeps_folds_apart():
    text = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(2, 3), nn.Linear(2, 3)
    def forward(self, x):
        return self.used(x.mean((2, 3)))
def build(num_classes, input_size):
    return Net()
"""
    assert (
        why_one_by_one(config_of(text), 3, "cpu") == "some weights of net.py:build have no gradient"
    )


def test_a_class_is_called_like_a_function():
    text = """
from torch import nn
class Net(nn.Linear):
    def __init__(self, num_classes, input_size):
        super().__init__(2, num_classes)
    def forward(self, x):
        return super().forward(x.mean((2, 3)))
"""
    assert isinstance(network_of(text, "Net").network, nn.Linear)
