"""STSTNet: three shallow streams over u, v and optical strain.

Reference: Liong et al., Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression
Recognition, 2019.
"""

from torch import Tensor, nn

from dadnet.models.baselines.network import BaselineNetwork, Masks, drop, with_strain


class STSTNet(BaselineNetwork):
    """Convolutions of 3, 5 and 8 kernels side by side, one linear layer behind them.

    Every stream reads all three channels, so the three convolutions are one of 16 kernels. This is
    the network of the authors' own Python code, with BatchNorm and dropout: 1,683 weights for 28
    pixels and 3 classes. The layers of the paper's table alone have 1,651; the paper's figure is
    1,670, which is 19 more: as many as there are biases, as if they were counted twice.
    """

    dropout = 0.5

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        self.convolution = nn.Conv2d(3, 3 + 5 + 8, kernel_size=3, padding=2)
        self.norm = nn.BatchNorm2d(16)
        self.largest = nn.MaxPool2d(3, stride=3, padding=1)
        self.mean = nn.AvgPool2d(2)
        side = (input_size + 2 - 1) // 3 + 1  # of the pooled maps
        self.dropped = ((16, side, side),)
        self.head = nn.Linear(16 * (side // 2) ** 2, num_classes)

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        maps = self.largest(self.norm(self.convolution(with_strain(x)).relu()))
        features = self.mean(drop(maps, masks[0])).flatten(1)
        return self.head(features), features
