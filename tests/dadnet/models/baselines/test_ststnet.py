"""The layers of STSTNet in training, which are computed together on a CPU."""

import pytest
import torch
from torch import Tensor

from dadnet.models.baselines import ststnet
from dadnet.models.baselines.ststnet import STSTNet

# The smallest of a window counts where the scale is negative.
SCALES = {"positive": 1.0, "of both signs": -0.9}


def network(last_scale: float, size: int = 28) -> STSTNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = STSTNet(3, size).double().train()
    with torch.no_grad():
        made.norm.weight.copy_(torch.linspace(last_scale, 2, 16))
        made.norm.bias.copy_(torch.linspace(-1, 1, 16))
    return made


def clips(size: int = 28) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(5, 3, size, size, generator=draws, dtype=torch.float64).requires_grad_()


def plain(made: STSTNet, x: Tensor) -> Tensor:
    pooled: Tensor = made.largest(made.norm(made.convolution(x).relu()))
    return pooled


@pytest.mark.parametrize("at_once", [2**18, 2 * 16 * 30 * 30], ids=["all clips", "two of five"])
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_they_equal_torchs_own_with_gradients_and_running_statistics(
    monkeypatch: pytest.MonkeyPatch, scale: float, at_once: int
) -> None:
    monkeypatch.setattr(ststnet, "_AT_ONCE", at_once)
    made, other, x = network(scale), network(scale), clips()
    found, expected = made._streams(x), plain(other, x)
    torch.testing.assert_close(found, expected)
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
    inputs, others = ([x, *m.convolution.parameters(), *m.norm.parameters()] for m in (made, other))
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, weights), torch.autograd.grad(expected, others, weights)
    )
    torch.testing.assert_close(dict(made.norm.named_buffers()), dict(other.norm.named_buffers()))


def test_gradients_are_those_of_finite_differences() -> None:
    made = network(-0.9)
    x = clips()[:2, :, :4, :4].detach().requires_grad_()
    parameters = [*made.convolution.parameters(), *made.norm.parameters()]

    def pooled(*inputs: Tensor) -> Tensor:
        result: Tensor = ststnet._Streams.apply(*inputs, made.norm.eps)[0]
        return result

    assert torch.autograd.gradcheck(pooled, [x, *parameters])


def test_in_float32_they_are_as_exact_as_torchs_own() -> None:
    """Both against float64, by the largest error of each gradient."""
    exact, made, other = network(-0.9), network(-0.9).float(), network(-0.9).float()
    x = clips().detach()
    errors: dict[str, list[float]] = {}
    plain(exact, x).square().sum().backward()
    for name, one, maps in (
        ("ours", made, made._streams(x.float())),
        ("torch", other, plain(other, x.float())),
    ):
        maps.square().sum().backward()
        errors[name] = [
            float((p.grad.double() - q.grad).abs().max() / q.grad.abs().max())
            for p, q in zip(one.parameters(), exact.parameters(), strict=True)
            if p.grad is not None and q.grad is not None
        ]
    assert len(errors["ours"]) == 4
    assert max(errors["ours"]) < 2 * max(errors["torch"])
