"""The sliced distance of Gaussians, of K folds at once, with its gradient in closed form.

A product with a single row is written as a sum: on a CPU its rounding depends on K.

Axes: K folds, N points, D dimension of a point, L directions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dadnet.models.operations import aligned, products


class GaussianSliced(torch.autograd.Function):
    """`gaussian_sliced` with its gradient in closed form, which is half of the work.

    The weighted sum of centred points is 0, so no gradient passes through the centre but that of
    the means themselves.
    """

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        weights: Tensor | None,
        directions: Tensor,
        moments: bool,
    ) -> Tensor:
        """Points (K, N, D), weights (K, N) and directions (K, L, D) to distances (K,).

        Without weights all points count equally.
        """
        across = directions.mT  # (K, D, L)
        share = 1 / student.shape[1] if weights is None else weights[:, :, None]  # (K, N, 1)
        means, spreads, kept, centres = [], [], [], []
        for points in (student, teacher):
            means.append(_mean(points, weights))  # (K, 1, D)
            centred = aligned(points - means[-1])
            centres.append(centred)
            if moments:
                covariance = (centred * share).mT @ centred
                variance = (products(directions, covariance) * directions).sum(2)
                kept.append(centred)
            else:
                kept.append(products(centred, across))
                variance = _mean(kept[-1].square(), weights)[:, 0]
            # Rounding can leave a variance just below 0, and the root has no gradient at 0.
            spreads.append(variance.clamp(min=0).sqrt())  # (K, L)
        shift = ((means[0] - means[1]) * directions).sum(2)
        spread = spreads[0] - spreads[1]
        ctx.moments, ctx.share = moments, share if weights is None else None
        centres = [means[0] - means[1], *centres] if ctx.needs_input_grad[3] else []
        saved = directions, shift, spread, *spreads, *kept, *centres
        ctx.save_for_backward(None if weights is None else share, *saved)
        return (shift.square() + spread.square()).mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of student, teacher and directions."""
        share, directions, shift, spread, ours, theirs, *kept = ctx.saved_tensors
        share = ctx.share if share is None else share
        centres = kept[2:]
        each = (grad * (2 / directions.shape[1]))[:, None]
        lines = (shift * each)[:, :, None]  # (K, L, 1)
        of_mean = (lines * directions).sum(1, keepdim=True)  # (K, 1, D)
        of_directions = lines * centres[0] if centres else None
        found: list[Tensor | None] = []
        for needed, sign, std, points in zip(
            ctx.needs_input_grad, (1, -1), (ours, theirs), kept, strict=False
        ):
            # Twice the gradient of the variance, and 0 where there is none.
            scale = torch.where(std > 0, spread * each / std, 0.0)[:, :, None] * sign
            if centres:
                centred = centres[1 if sign > 0 else 2]
                projected = (centred @ directions.mT * share).mT @ centred  # (K, L, D)
                of_directions += scale * projected
            if not needed:
                found.append(None)
                continue
            weighted = scale * directions
            if ctx.moments:
                weighted = weighted.mT @ directions
            found.append(products(points, weighted, of_mean * sign).mul_(share))
        return (*found, None, of_directions, None)


def _mean(points: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of points (K, N, D), shape (K, 1, D)."""
    return points.mean(1, keepdim=True) if weights is None else weights[:, None] @ points
