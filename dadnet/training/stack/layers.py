"""Layers of K networks at once: the arithmetic of `dadnet.models`, with the weights of each fold.

Axes: K folds, B clips, C channels, H and W rows and columns, N points (B*H*W), I and O features
in and out. A stacked map is (B, K*C, H, W) in the channels-last memory format, which is
(B, H, W, K, C) in memory: a depthwise convolution is then one call, and the points of a fold are a
strided view (K, N, C) that a batched product takes without a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dadnet.models import blocks
from dadnet.models.loss import clip_weights
from dadnet.models.operations import depthwise_convolution, gradient_magnitude
from dadnet.models.precision import as_products, full


@dataclass(frozen=True)
class Weights:
    """Weights and buffers of all folds, under the names of a single network below a prefix.

    Attributes:
        values: name in a single network: tensor of shape (K, *shape in the single network).
        prefix: common beginning of the names.
    """

    values: Mapping[str, Tensor]
    prefix: str = ""

    def below(self, *path: str | int) -> Weights:
        """The same weights, seen from a module further down."""
        return Weights(self.values, self.prefix + "".join(f"{part}." for part in path))

    def __getitem__(self, name: str) -> Tensor:
        return self.values[self.prefix + name]

    def get(self, name: str) -> Tensor | None:
        """A weight that a module may lack, such as a bias."""
        return self.values.get(self.prefix + name)


class Real(NamedTuple):
    """Which clips of a padded batch there are; floats, computed once for all layers."""

    share: Tensor  # weight of each clip in the mean of its fold, (K, B); 0 in the padding
    clips: Tensor  # number of each fold, (K, 1)
    there: Tensor  # 1 where the fold has any, else 0, (K, 1)
    batches: Tensor  # the same as a truth value, (K,)

    @classmethod
    def of(cls, valid: Tensor, dtype: torch.dtype) -> Real:
        """Those of a mask (K, B)."""
        clips, batches = valid.sum(1, keepdim=True).to(dtype), valid.any(1)
        return cls(clip_weights(valid, dtype), clips, batches.to(dtype)[:, None], batches)

    def pick(self, folds: Tensor | None) -> Real:
        """Those of some folds, index int64; None is all."""
        return self if folds is None else Real(*(part.index_select(0, folds) for part in self))


class _Linear(torch.autograd.Function):
    """K linear layers; its weight gradient has the weight's layout, so that nothing transposes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        if bias is None:
            return torch.bmm(x, weight.mT)
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            torch.bmm(grad, weight) if needs_x else None,
            torch.bmm(grad.mT, x) if needs_weight else None,
            grad.sum(1) if needs_bias else None,
        )


def linear(x: Tensor, weights: Weights) -> Tensor:
    """One linear layer per fold; (K, N, I) to (K, N, O)."""
    return _linear(x, weights["weight"], weights.get("bias"))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    operands = as_products(x, weight) if bias is None else as_products(x, weight, bias)
    result: Tensor = _Linear.apply(*operands, *[None] * (bias is None))  # type: ignore[no-untyped-call]
    return result


def depthwise(x: Tensor, weights: Weights) -> Tensor:
    """One depthwise convolution per fold that keeps the size; (B, K*C, H, W) to the same."""
    return depthwise_convolution(x, weights["weight"].flatten(0, 1), weights["bias"].flatten())


def convolution(x: Tensor, layer: nn.Conv2d, weights: Weights) -> Tensor:
    """One convolution per fold; (B, K*I, H, W) to (B, K*O, H', W')."""
    weight, bias = weights["weight"], weights.get("bias")
    return F.conv2d(
        x,
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        layer.stride,
        layer.padding,
        groups=len(weight) * layer.groups,
    )


def patches(maps: Tensor, size: int) -> Tensor:
    """Cut maps into adjacent squares: the patches of a convolution whose stride is its kernel size.

    Maps (K, B, C, H, W) to (K, B, H // size, W // size, C * size * size), in the order of a
    convolution's weight; incomplete squares at the end are left out.
    """
    folds, clips, channels, height, width = maps.shape
    rows, columns = height // size, width // size
    cut = maps[..., : rows * size, : columns * size]
    squares = cut.reshape(folds, clips, channels, rows, size, columns, size)
    return squares.permute(0, 1, 3, 5, 2, 4, 6).flatten(4)


def patch_convolution(maps: Tensor, layer: nn.Conv2d, weights: Weights) -> Tensor:
    """One convolution without overlap per fold, as a batched product.

    Maps (K, B, I, H, W) to (K, B, H', W', O); `layer` is a single network's, for its settings.
    """
    squares = patches(maps, layer.kernel_size[0])
    flat = weights["weight"].flatten(2)
    points = _linear(squares.flatten(1, 3), flat, weights.get("bias"))
    return points.view(*squares.shape[:4], -1)


def fold_maps(x: Tensor, folds: int) -> Tensor:
    """Stacked maps (B, K*C, H, W) as a view (K, B, C, H, W)."""
    return x.view(x.shape[0], folds, -1, *x.shape[2:]).transpose(0, 1)


def stack_maps(points: Tensor) -> Tensor:
    """Features (K, B, H, W, C) as stacked maps (B, K*C, H, W), channels-last."""
    return points.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)


def layer_norm(x: Tensor, layer: nn.LayerNorm, weights: Weights) -> Tensor:
    """One LayerNorm per fold; (K, ..., C) to the same shape."""
    normalised = F.layer_norm(x, layer.normalized_shape, eps=layer.eps)
    result: Tensor = _Affine.apply(normalised, weights["weight"], weights["bias"])  # type: ignore[no-untyped-call]
    return result


class _Affine(torch.autograd.Function):
    """Scale and shift the channels of every fold, (K, C), of (K, ..., C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        shape = (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
        ctx.save_for_backward(x, scale.view(shape))
        return torch.addcmul(shift.view(shape), x, scale.view(shape))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        others = tuple(range(1, x.ndim - 1))
        return grad * scale, (grad * x).sum(others), grad.sum(others)


def batch_norm(
    x: Tensor, layer: nn.BatchNorm2d, weights: Weights, training: bool, real: Real | None
) -> Tensor:
    """One BatchNorm per fold, each on its own clips; running statistics are updated in place.

    Maps (B, K*C, H, W) to the same shape. `layer` is a single network's, for its settings; `real`
    says which clips there are, None is all; what is computed for others has no meaning.
    """
    x = full(x)
    if training:
        weights["num_batches_tracked"].add_(1 if real is None else real.batches)
        if real is not None:
            return _masked_batch_norm(x, layer, weights, real)
    return F.batch_norm(
        x,
        weights["running_mean"].view(-1),
        weights["running_var"].view(-1),
        weights["weight"].flatten(),
        weights["bias"].flatten(),
        training,
        layer.momentum or 0.0,
        layer.eps,
    )


class _MaskedNorm(torch.autograd.Function):
    """BatchNorm over weighted clips; its gradient in closed form needs a third of the passes.

    Maps (B, K*C, H, W) channels-last, scale and shift (K, C), weight of each clip (K, B) to the
    normalised maps and the (weighted, population) mean and variance, (K, C).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, share: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        points, of_clip = _points(x, len(scale)), share.t()[:, :, None]  # (B, H*W, K, C)
        mean = (of_clip * points.mean(1)).sum(0)
        centred = points - mean
        var = (of_clip * centred.square().mean(1)).sum(0)
        root = (var + eps).rsqrt()
        normal = centred.mul_(root)
        ctx.save_for_backward(normal, scale * root, of_clip)
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        return _as_maps(torch.addcmul(shift, normal, scale), x), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        normal, factor, of_clip = ctx.saved_tensors
        points = _points(grad, len(factor))
        of_shift, of_scale = points.sum((0, 1)), (points * normal).sum((0, 1))
        common = torch.addcmul(of_shift, normal, of_scale)
        each = (of_clip / -points.shape[1])[:, None]
        result = torch.addcmul(points, common, each).mul_(factor)
        return _as_maps(result, grad), of_scale, of_shift, None, None


def _points(x: Tensor, folds: int) -> Tensor:
    """Stacked maps (B, K*C, H, W) as points (B, H*W, K, C)."""
    points = x.permute(0, 2, 3, 1).flatten(1, 2)
    return points.view(*points.shape[:2], folds, -1)


def _as_maps(points: Tensor, like: Tensor) -> Tensor:
    """Points (B, H*W, K, C) as stacked maps (B, K*C, H, W), channels-last."""
    return points.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)


def _masked_batch_norm(x: Tensor, layer: nn.BatchNorm2d, weights: Weights, real: Real) -> Tensor:
    """Statistics over the real clips."""
    y, mean, var = _MaskedNorm.apply(x, weights["weight"], weights["bias"], real.share, layer.eps)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        count = real.clips * x[0, 0].numel()  # (K, 1)
        # A fold without a clip keeps its statistics.
        momentum = real.there * (layer.momentum or 0.0)
        weights["running_mean"].lerp_(mean, momentum)
        weights["running_var"].lerp_(var * (count / (count - 1)), momentum)
    result: Tensor = y
    return result


def gradient_aware_block(
    x: Tensor, block: blocks.GradientAwareBlock, weights: Weights, keep: Tensor | None
) -> Tensor:
    """`GradientAwareBlock` of every fold; (B, K*C, H, W) to the same shape.

    `block` is that of a single network, for its settings; `keep` is the factor of the residual
    branch, (K, B), None is 1.
    """
    folds = len(weights["norm.weight"])
    y = depthwise(x, weights.below("dwconv"))
    edges = depthwise(gradient_magnitude(x), weights.below("grad_conv"))
    y = fold_maps(torch.add(y, edges, alpha=blocks.GRADIENT_WEIGHT), folds)
    points = layer_norm(y.permute(0, 1, 3, 4, 2), block.norm, weights.below("norm"))
    hidden = F.gelu(linear(points.flatten(1, 3), weights.below("pwconv", 0)))
    branch = linear(hidden, weights.below("pwconv", 2)).view(points.shape)
    if keep is not None:
        branch = branch * keep[:, :, None, None, None]
    return x + stack_maps(branch)


def channel_attention(x: Tensor, weights: Weights) -> Tensor:
    """`ChannelAttention` of every fold; (B, K*C, H, W) to the same shape."""
    folds = len(weights["fc.0.weight"])
    parts = (x.mean((2, 3)), x.amax((2, 3)))
    summary = torch.cat([part.view(len(part), folds, -1) for part in parts], dim=2)  # (B, K, 2C)
    hidden = linear(summary.transpose(0, 1), weights.below("fc", 0)).relu()
    factors = linear(hidden, weights.below("fc", 2)).sigmoid()  # (K, B, C)
    return x * factors.transpose(0, 1).flatten(1)[:, :, None, None]


def head_attention(tokens: Tensor, attention: blocks.HeadAttention, weights: Weights) -> Tensor:
    """`HeadAttention` of every fold; tokens (K, B, N, D) to the same shape."""
    values = layer_norm(tokens, attention.norm, weights.below("norm"))
    flat = values.flatten(1, 2)
    projected = linear(flat, weights.below("projection")).view(values.shape)
    scores = projected @ projected.transpose(2, 3) * projected.shape[-1] ** -0.5
    enhanced = linear(flat, weights.below("micro_enhance")).view(values.shape)
    return torch.add(scores.softmax(dim=-1) @ values, enhanced, alpha=blocks.ENHANCEMENT_WEIGHT)
