"""The inspected values are those of the network: theta, weights and branches."""

import copy

import numpy as np
import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.inference.explain import inspect_network, projected_densities, theta_numbers
from dadnet.models import DADNet, get_microflownext
from dadnet.models.blocks import ChannelAttention


@pytest.fixture
def network():
    draws = torch.Generator().manual_seed(1)
    found = get_microflownext(3, "ultralight", 32, drop_path_rate=0.0, generator=draws).eval()
    with torch.no_grad():
        found.fc_loc[2].weight.normal_(0, 0.05, generator=draws)
        for block in found.modules():
            if isinstance(block, torch.nn.Conv2d):
                block.weight.normal_(0, 0.2, generator=draws)
    return found


@pytest.fixture
def inputs():
    return torch.randn(5, 2, 32, 32, generator=torch.Generator().manual_seed(2))


def test_an_inspection_has_the_values_of_the_network_and_does_not_change_it(network, inputs):
    with torch.no_grad():
        before = network(inputs)
    seen = inspect_network(network, inputs)
    np.testing.assert_allclose(seen.theta, before.theta.numpy(), atol=1e-6)
    assert [m.shape for m in seen.maps] == [(5, 8, 8), (5, 4, 4), (5, 2, 2), (5, 1, 1)]
    assert [c.shape for c in seen.channels] == [(5, 48), (5, 64), (5, 128)]
    # The output of the last attention is its input times the inspected weights.
    attention = [m for m in network.modules() if isinstance(m, ChannelAttention)][-1]
    kept = []
    hook = attention.register_forward_hook(lambda _, given, out: kept.append((given[0], out)))
    with torch.no_grad():
        after = network(inputs)
    hook.remove()
    given, out = kept[0]
    weights = torch.from_numpy(seen.channels[-1]).float()
    torch.testing.assert_close(given * weights[:, :, None, None], out)
    assert torch.equal(after.logits, before.logits)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_branch_that_does_nothing_has_no_map_and_no_share(network, inputs):
    with torch.no_grad():
        block = network.stages[1][-1]
        block.grad_conv.weight.zero_()
        block.grad_conv.bias.zero_()
    seen = inspect_network(network, inputs)
    assert (seen.maps[1] == 0).all()
    assert (seen.shares[:, 1] == 0).all()
    assert (seen.shares[:, [0, 2]] > 0).all()
    assert (seen.shares < 1).all()


def test_the_numbers_of_a_known_matrix():
    turn, zoom = np.radians(30), 1.5
    a = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    theta = np.concatenate([a, [[0.2], [-0.4]]], axis=1)[None]
    np.testing.assert_allclose(theta_numbers(theta), [[30, 1.5, 0.1, -0.2]])


def test_another_network_is_refused(inputs):
    with pytest.raises(DadnetError, match="expected a MicroFlowNeXt, got a Linear"):
        inspect_network(torch.nn.Linear(2, 2), inputs)


def test_densities_of_equal_streams_are_equal_and_integrate_to_one(network, inputs):
    twin = DADNet(network, copy.deepcopy(network), (1, 3))
    other = copy.deepcopy(twin)
    with torch.no_grad():
        other.student.downsample_layers[0][0].weight.mul_(-1)
    first, second = projected_densities(other, twin, inputs, seed=3)
    assert (first.stage, second.stage) == (1, 3)
    for density in (first, second):
        assert density.gswd[0] > 1e-6
        assert density.gswd[1] == pytest.approx(0, abs=1e-9)
        np.testing.assert_array_equal(*density.after)
        assert not np.array_equal(*density.before)
        width = density.centres[1] - density.centres[0]
        for side in (*density.before, *density.after):
            assert 0.99 < side.sum() * width <= 1 + 1e-9
    again = projected_densities(other, twin, inputs, seed=3)
    np.testing.assert_array_equal(again[0].before[0], first.before[0])
