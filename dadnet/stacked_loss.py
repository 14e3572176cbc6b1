"""The loss of a stack: that of each member, with its own lambda.

Axes: K members, B clips, C channels, H and W rows and columns, N points, D dimension of a point, L
directions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dadnet.errors import DadnetError
from dadnet.models import LossParts
from dadnet.models.gswd import Form, cheaper_method
from dadnet.precision import full
from dadnet.stack import StackedOutput
from dadnet.stacked_layers import share_of


def stacked_loss(
    output: StackedOutput,
    labels: Tensor,
    alignment_weight: Tensor,
    *,
    label_smoothing: float = 0.05,
    directions: Mapping[int, Tensor] | None = None,
    form: Form = "tokens",
    valid: Tensor | None = None,
) -> LossParts:
    """`dad_net_loss` of every member; `total.sum().backward()` gives each its own gradient.

    Args:
        output: Of a stack.
        labels: Class indices, shape (K, B), int64; any class where not valid.
        alignment_weight: Weight lambda of each member, shape (K,).
        label_smoothing: Share of the target spread over all classes.
        directions: Aligned stage: unit rows, (L, D) for all members or (K, L, D), each its own.
        form: See `gswd`.
        valid: Which clips there are, shape (K, B), bool; None is all of them.

    Returns:
        `LossParts` whose entries have shape (K,).

    Raises:
        DadnetError: If directions lack an aligned stage.
    """
    logits = full(output.logits)
    flat = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=label_smoothing
    ).view(labels.shape)
    every = valid if valid is not None else torch.ones_like(labels, dtype=torch.bool)
    shares = share_of(every, logits.dtype)
    cross_entropy = (flat * shares).sum(1)
    if not output.teacher_features:
        return LossParts(cross_entropy, cross_entropy, torch.zeros_like(cross_entropy), {})
    given = directions or {}
    if lacking := sorted(set(output.teacher_features) - set(given)):
        raise DadnetError(f"expected directions for every aligned stage, got none for {lacking}")
    per_stage = {
        stage: stacked_gswd(output.student_features[stage], teacher, given[stage], shares, form)
        for stage, teacher in sorted(output.teacher_features.items())
    }
    alignment = torch.stack(list(per_stage.values())).mean(0)
    total = cross_entropy + alignment_weight.to(alignment) * alignment
    return LossParts(total, cross_entropy, alignment, per_stage)


def stacked_gswd(
    student: Tensor, teacher: Tensor, directions: Tensor, shares: Tensor, form: Form
) -> Tensor:
    """`gswd` of every member.

    Args:
        student: Features, shape (K, B, C, H, W).
        teacher: Features of the same shape.
        directions: Unit rows, shape (L, D) or (K, L, D).
        shares: Weight of each clip in its member's means, shape (K, B), rows sum to 1.
        form: See `gswd`.

    Returns:
        Shape (K,).
    """
    (mean, std), (other_mean, other_std) = (
        _projected_moments(_points(features, form), directions.to(features), shares)
        for features in (full(student), full(teacher))
    )
    return ((mean - other_mean).square() + (std - other_std).square()).mean(1)


def _points(features: Tensor, form: Form) -> Tensor:
    """Points of each clip: (K, B, C, H, W) to (K, B, points, D)."""
    if form == "flat":
        return features.flatten(2)[:, :, None]
    return features.flatten(3).transpose(2, 3)


def _projected_moments(points: Tensor, directions: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation along each direction, both (K, L)."""
    per_clip, dim = points.shape[2:]
    share = (shares / per_clip)[:, :, None].expand(points.shape[:3]).flatten(1)[:, None]  # (K,1,N)
    flat = points.flatten(1, 2)
    mean = share @ flat  # (K, 1, D)
    centred = flat - mean
    if cheaper_method(flat.shape[1], dim, directions.shape[-2]) == "projected":
        variance = (share @ (centred @ directions.mT).square())[:, 0]
    else:
        covariance = (centred.mT * share) @ centred
        variance = ((directions @ covariance) * directions).sum(2)
    # Rounding can leave the moments form just below 0, and the root has no gradient at 0.
    positive = variance > 0
    return (mean @ directions.mT)[:, 0], torch.where(positive, variance, 1.0).sqrt() * positive
