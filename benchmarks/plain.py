"""The network as a careful user would write it from the paper, for the ordinary loop.

The same weights and the same mathematics as `dadnet.models` (a test compares them), without the
reordered operations and custom gradients that make the engine fast.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from dadnet.models import MicroFlowNeXt
from dadnet.models.blocks import GRADIENT_WEIGHT, GradientAwareBlock, correct_flow
from dadnet.models.operations import GRADIENT_EPS


class PlainBlock(GradientAwareBlock):
    """The gradient-aware block in plain torch."""

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Apply the block, see `GradientAwareBlock.forward`."""
        y = self.dwconv(x) + GRADIENT_WEIGHT * self.grad_conv(plain_gradient_magnitude(x))
        y = self.pwconv(self.norm(y.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        if keep is not None:
            y = y * keep.view(-1, 1, 1, 1)
        return x + y


class PlainNetwork(MicroFlowNeXt):
    """The backbone with torch's own sampling grid."""

    def align_flow(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Apply the spatial transformer, see `MicroFlowNeXt.align_flow`."""
        theta = self.fc_loc(self.localization(x).flatten(1)).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=True)
        resampled = F.grid_sample(x, grid, align_corners=True)
        return correct_flow(resampled, theta, self.flow_correction), theta


def plain_gradient_magnitude(x: Tensor) -> Tensor:
    """Magnitude of the central differences, by torch's own gradients."""
    padded = F.pad(x, (1, 1, 1, 1))
    gx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    gy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return (gx.square() + gy.square() + GRADIENT_EPS).sqrt()


def make_plain(model: nn.Module) -> nn.Module:
    """Turn a network of this package into the plain one, in place."""
    for module in list(model.modules()):
        if isinstance(module, GradientAwareBlock):
            module.__class__ = PlainBlock
        if isinstance(module, MicroFlowNeXt) and module.use_stn:
            module.__class__ = PlainNetwork
            # The paper's order: ReLU before the pooling.
            first, norm, pool, relu, second, other_norm, *_ = module.localization
            module.localization = nn.Sequential(
                first, norm, relu, pool, second, other_norm, relu, pool
            )
    return model
