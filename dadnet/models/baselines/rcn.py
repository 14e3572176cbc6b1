"""RCN-A: a recurrent convolution and an attention without additional weights.

Reference: Xia et al., Revealing the Invisible with Model and Data Shrinking for Composite-Database
Micro-Expression Recognition, 2020.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from dadnet.models.baselines.network import BaselineNetwork, Masks, drop, with_strain

_WIDTH, _SIDE = 64, 7
_TINY = 1e-6


class RCNA(BaselineNetwork):
    """One convolution, one recurrent layer run twice, and class activation maps as attention.

    55,747 weights for 3 classes at any input size. The attention weighs the pooled maps by the
    activation of the classifier's weights on them before the recurrent layer, mean over classes.
    """

    dropout = 0.5

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        self.first = nn.Sequential(nn.Conv2d(3, _WIDTH, 5), nn.BatchNorm2d(_WIDTH), nn.ReLU())
        self.forward_path = nn.Sequential(
            nn.Conv2d(_WIDTH, _WIDTH, 1), nn.BatchNorm2d(_WIDTH), nn.ReLU()
        )
        self.recurrent = nn.Sequential(
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.BatchNorm2d(_WIDTH), nn.ReLU()
        )
        self.head = nn.Linear(_WIDTH * _SIDE**2, num_classes)
        side = (input_size - 4) // 2
        self.dropped = ((_WIDTH, side, side), (_WIDTH, side // 2, side // 2))

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        maps = drop(F.max_pool2d(self.first(with_strain(x)), 2), masks[0])
        attention = self._attention(F.adaptive_avg_pool2d(maps, _SIDE))
        state = self.forward_path(maps)
        for _ in range(2):
            state = self.recurrent(maps + state)
        last = drop(F.max_pool2d(state, 2), masks[1])
        features = (F.adaptive_avg_pool2d(last, _SIDE) * attention).flatten(1)
        return self.head(features), features

    def _attention(self, maps: Tensor) -> Tensor:
        """Class activation maps from 0 to 1, mean over classes: (B, C, P, P) to (B, 1, P, P)."""
        weights = self.head.weight.view(-1, *maps.shape[1:])  # (K, C, P, P)
        seen = (weights[None] * maps[:, None]).mean(2)  # (B, K, P, P)
        seen = seen - seen.amin((2, 3), keepdim=True)
        return (seen / (seen.amax((2, 3), keepdim=True) + _TINY)).mean(1, keepdim=True)
