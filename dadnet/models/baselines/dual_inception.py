"""Dual-Inception: two streams of inception modules over u and v.

Reference: Zhou et al., Dual-Inception Network for Cross-Database Micro-Expression Recognition,
2019; the modules are those of Szegedy et al., Going Deeper with Convolutions, 2015.
"""

import torch
from torch import Tensor, nn

from dadnet.models.baselines.network import BaselineNetwork, Masks


class DualInception(BaselineNetwork):
    """Two inception modules per stream (6 and 16 kernels a branch), one linear layer of 1,024.

    6,449,867 weights for 28 pixels and 3 classes; 6.45 million were counted by Zhang et al.
    (Off-TANet, 2021).
    """

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        self.streams = nn.ModuleList(
            nn.Sequential(Inception(1, 6), nn.MaxPool2d(2), Inception(24, 16), nn.MaxPool2d(2))
            for _ in range(2)
        )
        self.hidden = nn.Linear(2 * 64 * (input_size // 4) ** 2, 1024)
        self.head = nn.Linear(1024, num_classes)

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        streams = [stream(x[:, i : i + 1]).flatten(1) for i, stream in enumerate(self.streams)]
        features = self.hidden(torch.cat(streams, dim=1)).relu()
        return self.head(features), features


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 then 3x3; 1x1 then 5x5; maximum then 1x1."""

    def __init__(self, channels: int, kernels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                nn.Conv2d(channels, kernels, 1),
                _reduced(channels, kernels, 3),
                _reduced(channels, kernels, 5),
                nn.Sequential(
                    nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(channels, kernels, 1)
                ),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, 4 * kernels, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1).relu()


def _reduced(channels: int, kernels: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, kernels, 1),
        nn.ReLU(),
        nn.Conv2d(kernels, kernels, size, padding=size // 2),
    )
