"""STSTNet: three shallow streams over u, v and optical strain.

Reference: Liong et al., Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression
Recognition, 2019.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dadnet.models.baselines.network import BaselineNetwork, Masks, drop, with_strain

_AT_ONCE = 2**18  # numbers of the maps that are computed at once and stay in the cache of a CPU


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
        maps = drop(self._streams(with_strain(x)), masks[0])
        features = self.mean(maps).flatten(1)
        return self.head(features), features

    def _streams(self, x: Tensor) -> Tensor:
        """Convolution, ReLU, BatchNorm and max pooling: (B, 3, S, S) to (B, 16, side, side)."""
        norm, weight, bias = self.norm, self.convolution.weight, self.convolution.bias
        alone = isinstance(weight, nn.Parameter)  # otherwise torch.vmap runs the layers
        if not (self.training and x.is_cpu and alone):
            pooled: Tensor = self.largest(norm(self.convolution(x).relu()))
            return pooled
        result: Tensor
        result, mean, var = _Streams.apply(x, weight, bias, norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            count, momentum = len(x) * (x.shape[2] + 2) ** 2, norm.momentum or 0.0
            assert norm.num_batches_tracked is not None
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(mean, momentum)
            norm.running_var.lerp_(var * (count / (count - 1)), momentum)
        return result


class _Streams(torch.autograd.Function):
    """The pooled maps, and mean and (population) variance of the 16 channels of ReLU.

    The largest of scaled and shifted numbers is the scaled and shifted largest number (the smallest
    where the scale is negative), so only the pooled maps are normalised. The gradient of BatchNorm
    with n numbers per channel (Ioffe and Szegedy, 2015, section 3),

        dL/dx = scale / std * (dL/dy - sum(dL/dy) / n - normal * sum(dL/dy * normal) / n),

    needs two numbers per channel beside that of the pooled maps. A few clips at a time go through
    all layers.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
        sign = torch.where(scale < 0, -1.0, 1.0).to(x).view(-1, 1, 1)
        turned = bool((scale < 0).any())
        clips = max(1, _AT_ONCE // (len(scale) * (x.shape[2] + 2) ** 2))
        mean, squares, count = torch.zeros_like(scale), torch.zeros_like(scale), 0
        maps, largest, places = [], [], []
        room: Tensor | None = None  # of the only maps that are not kept
        for part in torch.split(x, clips):
            of_part = F.conv2d(part, weight, bias, padding=2)
            pooled = of_part * sign if turned else of_part
            pooled, place = F.max_pool2d(pooled, 3, 3, 1, return_indices=True)
            if room is None or room.shape != of_part.shape:
                room = torch.empty_like(of_part)
            count = _merge(mean, squares, torch.clamp_min(of_part, 0, out=room), count)
            maps.append(of_part)
            largest.append(pooled)
            places.append(place)
        var = squares / count
        root = (var + eps).rsqrt().view(-1, 1, 1)
        normal = torch.cat(largest)
        if turned:
            normal.mul_(sign)
        normal.relu_().sub_(mean.view(-1, 1, 1)).mul_(root)
        ctx.save_for_backward(x, weight, scale, mean, root, normal, *maps, *places)
        ctx.count, ctx.clips = count, clips
        ctx.mark_non_differentiable(mean, var)
        return torch.addcmul(shift.view(-1, 1, 1), normal, scale.view(-1, 1, 1)), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, mean, root, normal, *parts = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_shift, of_scale = _sums(grad), _sums(grad * normal)
        factor, wide = scale * root.flatten(), x.shape[3] + 2
        # Without the part of the pooled maps the gradient is slope * x + level in each channel.
        slope = factor * root.flatten() * of_scale / -ctx.count
        level = (factor * of_shift / -ctx.count - slope * mean).repeat(wide)
        slope, factor = slope.repeat(wide), factor.view(-1, 1, 1)
        found, half = [], len(parts) // 2
        clips = (torch.split(part, ctx.clips) for part in (x, grad))
        for of_x, of_grad, maps, place in zip(*clips, parts[:half], parts[half:], strict=True):
            of_maps = torch.ops.aten.max_pool2d_with_indices_backward(
                of_grad * factor, maps, [3, 3], [3, 3], [1, 1], [1, 1], False, place
            )
            _rows(of_maps).addcmul_(_rows(maps), slope).add_(level)
            torch.ops.aten.threshold_backward(of_maps, maps, 0, grad_input=of_maps)
            found.append(
                torch.ops.aten.convolution_backward(
                    of_maps, of_x, weight, [len(scale)], [1, 1], [2, 2], [1, 1], False, [0, 0], 1,
                    [ctx.needs_input_grad[0], True, True],
                )
            )  # fmt: skip
        of_input, of_weight, of_bias = zip(*found, strict=True)
        return (
            torch.cat(of_input) if ctx.needs_input_grad[0] else None,
            torch.stack(of_weight).sum(0),
            torch.stack(of_bias).sum(0),
            of_scale,
            of_shift,
            None,
        )


def _rows(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W), channels-last, as (B*H, W*C): a CPU is fast over few long rows."""
    return maps.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)


def _sums(maps: Tensor) -> Tensor:
    """Sums of the channels, (C,)."""
    return _rows(maps).sum(0).view(-1, maps.shape[1]).sum(0)


def _merge(mean: Tensor, squares: Tensor, maps: Tensor, count: int) -> int:
    """Add maps to the mean of so many numbers, and to the squared distances from it, (C,) each.

    Both change in place (Chan, Golub and LeVeque, 1983); the new number is returned.
    """
    more = maps.numel() // maps.shape[1]
    own = _sums(maps) / more
    centred = _rows(maps).sub_(own.repeat(maps.shape[3]))
    of_maps = centred.square_().sum(0).view(-1, maps.shape[1]).sum(0)
    apart, every = own - mean, count + more
    squares.add_(of_maps).addcmul_(apart, apart, value=count * more / every)
    mean.add_(apart, alpha=more / every)
    return every
