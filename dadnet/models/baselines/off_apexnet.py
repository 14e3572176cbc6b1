"""OFF-ApexNet: two streams over u and v.

Reference: Gan et al., OFF-ApexNet on Micro-expression Recognition System, Signal Processing: Image
Communication, 2019.
"""

import torch
from torch import Tensor, nn

from dadnet.models.baselines.network import BaselineNetwork, Masks


class OffApexNet(BaselineNetwork):
    """Two 5x5 convolutions per stream (6 and 16 kernels), two linear layers of 1,024.

    2,664,475 weights for 28 pixels and 3 classes; 2.66 million were counted by Zhang et al.
    (Off-TANet, 2021). Its 1,024 by 1,024 layers have no dropout in the paper, and none here.
    """

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1, 6, kernel_size=5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, kernel_size=5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for _ in range(2)
        )
        self.hidden = nn.Sequential(
            nn.Linear(2 * 16 * (input_size // 4) ** 2, 1024),
            nn.ReLU(),
            nn.Linear(1024, 1024),
            nn.ReLU(),
        )
        self.head = nn.Linear(1024, num_classes)

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        streams = [stream(x[:, i : i + 1]).flatten(1) for i, stream in enumerate(self.streams)]
        features = self.hidden(torch.cat(streams, dim=1))
        return self.head(features), features
