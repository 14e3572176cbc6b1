"""BatchNorm of K folds at once, on all clips of a batch or on those that are no padding.

Axes: K folds, B clips, C channels, H and W rows and columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dadnet.models.loss import clip_weights
from dadnet.models.precision import full
from dadnet.training.stack.layers import Weights


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
