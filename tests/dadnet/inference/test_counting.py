import torch

from dadnet.config.experiment import DataConfig
from dadnet.config.model import ModelConfig
from dadnet.config.presets import get_preset
from dadnet.inference.counting import size_of
from dadnet.inference.model_file import build_network


class Small(torch.nn.Module):
    """A convolution of 4 channels by 3 x 3 on 8 x 8 positions, and a layer of 3 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, padding=1)
        self.linear = torch.nn.Linear(4, 3)
        self.frozen = torch.nn.Parameter(torch.zeros(100), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(x).mean(dim=(2, 3)))


def test_sizes_by_hand():
    found = size_of(Small(), ModelConfig(model_type="baseline", input_size=32))
    assert found["parameters"] == (2 * 4 * 9 + 4) + (4 * 3 + 3)
    # a multiplication and an addition are two
    assert found["flops"] == 2 * (32 * 32 * 4 * 2 * 9) + 2 * (4 * 3)


def test_counting_leaves_mode_and_random_numbers_as_they_are():
    config = get_preset("ststnet", DataConfig()).model
    network = build_network(config, 3, torch.Generator().manual_seed(0)).train()
    before = torch.random.get_rng_state()
    found = size_of(network, config)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert network.training
    assert found["parameters"] == sum(p.numel() for p in network.parameters())
    assert found["flops"] > 0


def test_a_fitted_model_has_no_size():
    config = get_preset("majority", DataConfig()).model
    assert size_of(torch.nn.Identity(), config) == {}
