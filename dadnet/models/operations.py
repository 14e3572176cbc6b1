"""Operations with gradients of our own, since those of torch are slow on a CPU.

Values and gradients are the plain mathematics, and tests compare them with it, for float32 and
float64, on every device. The operations can be differentiated once.
Axes: B clips, C channels, O channels out, H and W rows and columns. Maps are fastest channels-last.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

from dadnet.models.precision import as_products, full

GRADIENT_EPS = 1e-8  # keeps the magnitude differentiable where the map is flat
_WIDE_KERNEL = 3  # columns; oneDNN's weight gradient of wider depthwise kernels is 5 times slower
_NARROW_MAP = 4  # columns; on such maps it is not
_TINY_MAP = 9  # positions
_LINE = 64  # bytes


def aligned(x: Tensor) -> Tensor:
    """Matrices (K, N, D), each of which begins at a full cache line on a CPU; often x itself.

    Products round otherwise where a matrix begins elsewhere, which would depend on its place.
    """
    if not x.is_cpu or len(x) == 1 or x.stride(0) % (_LINE // x.element_size()) == 0:
        return x
    return _room(x.shape, x).copy_(x)


def products(first: Tensor, second: Tensor, added: Tensor | None = None) -> Tensor:
    """Batched product (K, N, M) of (K, N, D) and (K, D, M), plus what is added; see `aligned`."""
    folds, rows, columns = len(first), first.shape[1], second.shape[2]
    out = None
    if first.is_cpu and folds > 1 and rows * columns % (_LINE // first.element_size()):
        out = _room(torch.Size((folds, rows, columns)), first)
    if added is None:
        return torch.bmm(first, second, out=out)
    return torch.baddbmm(added, first, second, out=out)


def _room(shape: torch.Size, like: Tensor) -> Tensor:
    """Matrices without numbers yet, each of which begins at a full cache line."""
    size = shape[1:].numel()
    padded = size + -size % (_LINE // like.element_size())
    return like.new_empty(shape[0], padded)[:, :size].view(shape)


class _GradientMagnitude(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1))
        gx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
        gy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
        magnitude = torch.addcmul(gx * gx, gy, gy).add_(GRADIENT_EPS).sqrt_()
        ctx.save_for_backward(gx, gy, magnitude)
        return magnitude

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gx, gy, magnitude = ctx.saved_tensors
        scaled = grad / magnitude
        along_x, along_y = scaled * gx, scaled.mul_(gy)
        result = torch.zeros_like(gx)
        result[:, :, :, 1:].add_(along_x[:, :, :, :-1])
        result[:, :, :, :-1].sub_(along_x[:, :, :, 1:])
        result[:, :, 1:].add_(along_y[:, :, :-1])
        result[:, :, :-1].sub_(along_y[:, :, 1:])
        return result


def gradient_magnitude(x: Tensor) -> Tensor:
    """Magnitude of the central differences (-1, 0, 1), zeros outside the map.

    Maps (B, C, H, W), float, to sqrt(gx^2 + gy^2 + 1e-8) of the same shape.
    """
    result: Tensor = _GradientMagnitude.apply(full(x))  # type: ignore[no-untyped-call]
    return result


def affine_points(theta: Tensor, height: int, width: int) -> Tensor:
    """Points to which an affine map moves the pixels; `F.affine_grid` with align_corners.

    Computed as a sum of one term per row and one per column, without a product at every pixel.

    Matrices (B, 2, 3), of coordinates from -1 to 1, x first, to points (x, y) for `F.grid_sample`,
    shape (B, H, W, 2).
    """
    rows, columns = (
        torch.linspace(-1, 1, n, dtype=theta.dtype, device=theta.device) for n in (height, width)
    )
    along_x, along_y, shift = theta[:, None].unbind(3)  # each (B, 1, 2)
    down = along_y * rows[:, None] + shift  # (B, H, 2)
    right = along_x * columns[:, None]  # (B, W, 2)
    return down[:, :, None] + right[:, None]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, folds: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.folds = folds
        return F.conv2d(x, weight, bias, padding=_same(weight), groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        groups, (rows, columns) = len(weight), _same(weight)
        grad_x = None
        if ctx.needs_input_grad[0]:
            same = {"padding": (rows, columns), "groups": groups}
            grad_x = conv2d_input(x.shape, weight, grad, **same)  # type: ignore[no-untyped-call]
        # The kernel's gradient in pieces of three columns, each on the columns that it meets.
        width, padded = x.shape[-1], F.pad(x, (columns, columns))
        pieces = [
            conv2d_weight(  # type: ignore[no-untyped-call]
                padded[..., start : start + width + size - 1],
                torch.Size((groups, 1, weight.shape[2], size)),
                grad,
                padding=(rows, 0),
                groups=groups,
            )
            for start, size in _pieces(weight.shape[3])
        ]
        return grad_x, torch.cat(pieces, dim=3), channel_sums(grad, ctx.folds), None


def channel_sums(maps: Tensor, folds: int = 1) -> Tensor:
    """Sums of the channels of maps (B, C, H, W), shape (C,).

    On a CPU each of the folds, which have C / folds channels, is summed alone: torch sums the last
    channels of a tensor, which fill no vector register, in another order than the others.
    """
    if folds == 1 or not maps.is_cpu:
        return maps.sum((0, 2, 3))
    return torch.cat([part.sum((0, 2, 3)) for part in maps.chunk(folds, dim=1)])


def _clip_sums(maps: Tensor, folds: int) -> Tensor:
    """Sums of the channels of each of the maps (B, C, H, W), shape (B, C); see `channel_sums`."""
    if folds == 1 or not maps.is_cpu:
        return maps.sum((2, 3))
    return torch.cat([part.sum((2, 3)) for part in maps.chunk(folds, dim=1)], dim=1)


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, folds: int) -> Tensor:
        ctx.shape = maps.shape
        if folds == 1 or not maps.is_cpu:
            return maps.mean((2, 3))
        return torch.cat([part.mean((2, 3)) for part in maps.chunk(folds, dim=1)], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        each = grad / ctx.shape[2:].numel()
        return each[:, :, None, None].expand(ctx.shape), None


def channel_means(maps: Tensor, folds: int = 1) -> Tensor:
    """Means of the channels of each of the maps (B, C, H, W), shape (B, C); see `channel_sums`."""
    result: Tensor = _Means.apply(maps, folds)  # type: ignore[no-untyped-call]
    return result


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, factors: Tensor, folds: int) -> Tensor:
        ctx.save_for_backward(maps, factors)
        ctx.folds = folds
        return maps * factors[:, :, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        maps, factors = ctx.saved_tensors
        return grad * factors[:, :, None, None], _clip_sums(grad * maps, ctx.folds), None


def rescale(maps: Tensor, factors: Tensor, folds: int = 1) -> Tensor:
    """Maps (B, C, H, W) times a factor of each clip and channel, (B, C); see `channel_sums`."""
    result: Tensor = _Rescale.apply(maps, factors, folds)  # type: ignore[no-untyped-call]
    return result


class _Shift(torch.autograd.Function):
    """Add a bias to the channels of maps, which belong to this number of folds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, folds: int) -> Tensor:
        ctx.folds = folds
        return x + bias.view(-1, 1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, channel_sums(grad, ctx.folds), None


def depthwise_convolution(x: Tensor, weight: Tensor, bias: Tensor, folds: int = 1) -> Tensor:
    """One kernel per channel, zeros outside the map; maps (B, C, H, W) to the same shape.

    The kernels are (C, 1, rows, columns), both odd, and the bias (C,). The channels belong to this
    number of folds.
    """
    height, width = x.shape[2:]
    if x.is_cpu and height * width <= _TINY_MAP:
        tiny: Tensor = _Shift.apply(_tiny_depthwise(x, weight), bias, folds)  # type: ignore[no-untyped-call]
        return tiny
    if weight.shape[3] <= _WIDE_KERNEL or width <= _NARROW_MAP or not x.is_cpu:
        return F.conv2d(x, weight, bias, padding=_same(weight), groups=len(weight))
    result: Tensor = _Depthwise.apply(*as_products(x, weight, bias), folds)  # type: ignore[no-untyped-call]
    return result


def _tiny_depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """By products of positions; oneDNN's gradient takes longer than the rest of the block here."""
    height, width = x.shape[2:]
    margin = max(height, width)
    taps = F.pad(weight[:, 0], [margin] * 4)  # (C, rows + 2 margin, columns + 2 margin)
    rows, columns = (torch.arange(n, device=x.device) for n in (height, width))
    down = margin + weight.shape[2] // 2 + rows[None, :] - rows[:, None]  # (out, in)
    right = margin + weight.shape[3] // 2 + columns[None, :] - columns[:, None]
    kernel = taps[:, down[:, None, :, None], right[None, :, None, :]]  # (C, H, W, H, W)
    pairs = kernel.flatten(1, 2).flatten(2).permute(1, 2, 0)  # (H*W out, H*W in, C)
    points = x.permute(0, 2, 3, 1).flatten(1, 2)[:, None]  # (B, 1, H*W, C)
    result = (points * pairs.contiguous()).sum(2)
    return result.view(x.shape[0], height, width, -1).permute(0, 3, 1, 2)


def _same(weight: Tensor) -> tuple[int, int]:
    """Padding that keeps the size."""
    return weight.shape[2] // 2, weight.shape[3] // 2


def _pieces(columns: int) -> list[tuple[int, int]]:
    """First column and width of the pieces of a kernel."""
    starts = range(0, columns, _WIDE_KERNEL)
    return [(start, min(_WIDE_KERNEL, columns - start)) for start in starts]
