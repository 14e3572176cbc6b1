"""A small residual network over u, v and optical strain.

Reference: He et al., Deep Residual Learning for Image Recognition, 2016: ResNet-20 of its section
4.2, made for images of 32 pixels.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from dadnet.models.baselines.network import BaselineNetwork, Masks, with_strain

_WIDTHS, _BLOCKS = (16, 32, 64), 3


class ResNet20(BaselineNetwork):
    """Three stages of three residual blocks; shortcuts without weights.

    0.27 million weights, as in the paper's table 6.
    """

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        self.first = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(_WIDTHS[0])
        before = (_WIDTHS[0], *_WIDTHS)
        self.blocks = nn.Sequential(
            *(
                Block(before[i] if j == 0 else width, width)
                for i, width in enumerate(_WIDTHS)
                for j in range(_BLOCKS)
            )
        )
        self.head = nn.Linear(_WIDTHS[-1], num_classes)

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        maps = self.blocks(self.norm(self.first(with_strain(x))).relu())
        features = maps.mean((2, 3))
        return self.head(features), features


class Block(nn.Module):
    """Two 3x3 convolutions; where the width doubles, the side halves and zeros are added."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stride, self.added = width // channels, width - channels
        self.first = nn.Conv2d(channels, width, 3, self.stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the next ones."""
        y = self.second_norm(self.second(self.first_norm(self.first(x)).relu()))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        result: Tensor = (y + F.pad(shortcut, (0, 0, 0, 0, 0, self.added))).relu()
        return result
