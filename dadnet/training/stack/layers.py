"""Layers of K networks at once: the arithmetic of `dadnet.models`, with the weights of each fold.

Axes: K folds, B clips, C channels, H and W rows and columns, N points (B*H*W), I and O features
in and out. A stacked map is (B, K*C, H, W) in the channels-last memory format, which is
(B, H, W, K, C) in memory: a depthwise convolution is then one call, and the points of a fold are a
strided view (K, N, C) that a batched product takes without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dadnet.models import blocks
from dadnet.models.operations import (
    aligned,
    channel_means,
    depthwise_convolution,
    gradient_magnitude,
    products,
    rescale,
)
from dadnet.models.precision import as_products


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


class _Linear(torch.autograd.Function):
    """K linear layers; its weight gradient has the weight's layout, so that nothing transposes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = aligned(x)
        ctx.save_for_backward(x, weight)
        if bias is None:
            return products(x, weight.mT)
        return products(x, weight.mT, bias[:, None])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad = aligned(grad)
        return (
            products(grad, weight) if needs_x else None,
            products(grad.mT, x) if needs_weight else None,
            fold_sums(grad) if needs_bias else None,
        )


def fold_sums(x: Tensor) -> Tensor:
    """Sums of the channels of every fold, (K, ..., C) to (K, C).

    On a CPU each fold is summed alone where torch would sum all channels as one row; see
    `channel_sums`.
    """
    others = tuple(range(1, x.ndim - 1))
    if not x.is_cpu or x.is_contiguous() or len(x) == 1:
        return x.sum(others)
    return torch.stack([of_fold.sum(tuple(i - 1 for i in others)) for of_fold in x])


_AT_ONCE = 32  # numbers; a multiple of what a CPU's functions compute together


def each_fold(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function such as the sigmoid of every number of the folds' tensors, (K, ...).

    On a CPU each fold is computed alone where the last of its numbers do not fill the vector
    registers: they go through another code, which rounds otherwise.
    """
    if not x.is_cpu or len(x) == 1 or x[0].numel() % _AT_ONCE == 0:
        return function(x)
    return torch.stack([function(of_fold) for of_fold in x])


def linear(x: Tensor, weights: Weights) -> Tensor:
    """One linear layer per fold; (K, N, I) to (K, N, O)."""
    return _linear(x, weights["weight"], weights.get("bias"))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    operands = as_products(x, weight) if bias is None else as_products(x, weight, bias)
    result: Tensor = _Linear.apply(*operands, *[None] * (bias is None))  # type: ignore[no-untyped-call]
    return result


def depthwise(x: Tensor, weights: Weights) -> Tensor:
    """One depthwise convolution per fold that keeps the size; (B, K*C, H, W) to the same."""
    weight, bias = weights["weight"].flatten(0, 1), weights["bias"].flatten()
    return depthwise_convolution(x, weight, bias, len(weights["bias"]))


def convolution(x: Tensor, layer: nn.Conv2d, weights: Weights) -> Tensor:
    """One convolution of stride 1 per fold; (B, K*I, H, W) to (B, K*O, H', W')."""
    padding = int(layer.padding[0])
    result: Tensor = _Convolution.apply(x, weights["weight"], weights["bias"], padding)  # type: ignore[no-untyped-call]
    return result


class _Convolution(torch.autograd.Function):
    """K convolutions of stride 1.

    On a CPU torch's gradients are another program for one fold than for several. There that of the
    maps is the convolution with the turned kernels, and those of the weights are made one by one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        flat = weight.flatten(0, 1)
        return F.conv2d(x, flat, bias.flatten(), padding=padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        folds, needed = len(weight), ctx.needs_input_grad[0]

        def gradients(grad: Tensor, x: Tensor, weight: Tensor, of_x: bool) -> tuple[Tensor, ...]:
            found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
                grad, x, weight.flatten(0, 1), [grad.shape[1]], [1, 1], [ctx.padding] * 2,
                [1, 1], False, [0, 0], len(weight), [of_x, True, True],
            )  # fmt: skip
            return found

        if not x.is_cpu:
            grad_x, of_weight, of_bias = gradients(grad, x, weight, needed)
            return grad_x, of_weight.view_as(weight), of_bias.view(folds, -1), None
        result: Tensor | None = None
        if needed:
            turned = weight.flip(3, 4).transpose(1, 2).flatten(0, 1)
            margin = weight.shape[-1] - 1 - ctx.padding
            result = F.conv2d(grad, turned, padding=margin, groups=folds)
        each = zip(grad.chunk(folds, 1), x.chunk(folds, 1), weight.split(1), strict=True)
        found = [gradients(*of_fold, False) for of_fold in each]
        of_weight, of_bias = (torch.cat([part[i] for part in found]) for i in (1, 2))
        return result, of_weight.view_as(weight), of_bias.view(folds, -1), None


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
    return points.reshape(*squares.shape[:4], -1)


def fold_maps(x: Tensor, folds: int) -> Tensor:
    """Stacked maps (B, K*C, H, W) as a view (K, B, C, H, W)."""
    result: Tensor = _FoldMaps.apply(x, folds)  # type: ignore[no-untyped-call]
    return result


class _FoldMaps(torch.autograd.Function):
    """`fold_maps`; torch's own gradient is not channels-last, which slows everything before it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, folds: int) -> Tensor:
        return x.view(x.shape[0], folds, -1, *x.shape[2:]).transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return stack_maps(grad.permute(0, 1, 3, 4, 2)), None


def stack_maps(points: Tensor) -> Tensor:
    """Features (K, B, H, W, C) as stacked maps (B, K*C, H, W), channels-last."""
    return points.permute(1, 2, 3, 0, 4).contiguous().flatten(3).permute(0, 3, 1, 2)


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
        return grad * scale, fold_sums(grad * x), fold_sums(grad)


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
    hidden = each_fold(F.gelu, linear(points.flatten(1, 3), weights.below("pwconv", 0)))
    branch = linear(hidden, weights.below("pwconv", 2)).reshape(points.shape)
    if keep is not None:
        branch = branch * keep[:, :, None, None, None]
    return x + stack_maps(branch)


def channel_attention(x: Tensor, weights: Weights) -> Tensor:
    """`ChannelAttention` of every fold; (B, K*C, H, W) to the same shape."""
    folds = len(weights["fc.0.weight"])
    parts = (channel_means(x, folds), x.amax((2, 3)))
    summary = torch.cat([part.view(len(part), folds, -1) for part in parts], dim=2)  # (B, K, 2C)
    hidden = linear(summary.transpose(0, 1), weights.below("fc", 0)).relu()
    factors = each_fold(torch.sigmoid, linear(hidden, weights.below("fc", 2)))  # (K, B, C)
    return rescale(x, factors.transpose(0, 1).flatten(1), folds)


def head_attention(tokens: Tensor, attention: blocks.HeadAttention, weights: Weights) -> Tensor:
    """`HeadAttention` of every fold; tokens (K, B, N, D) to the same shape."""
    values = layer_norm(tokens, attention.norm, weights.below("norm"))
    flat = values.flatten(1, 2)
    projected = linear(flat, weights.below("projection")).reshape(values.shape)
    enhanced = linear(flat, weights.below("micro_enhance")).reshape(values.shape)
    # On a CPU fold by fold, so that the products' matrices begin as those of a single fold.
    pairs = [(projected, values)]
    if tokens.is_cpu and tokens.shape[2] > 1:
        pairs = [*zip(projected[:, None], values[:, None], strict=True)]
    attended = [_attended(*pair) for pair in pairs]
    together = attended[0] if len(attended) == 1 else torch.cat(attended)
    return torch.add(together, enhanced, alpha=blocks.ENHANCEMENT_WEIGHT)


def _attended(projected: Tensor, values: Tensor) -> Tensor:
    scores = projected @ projected.transpose(2, 3) * projected.shape[-1] ** -0.5
    result: Tensor = scores.softmax(dim=-1) @ values
    return result
