"""The loss of DAD-Net, of one fold and of a stack: cross-entropy and weighted alignment.

Axes: K folds, K_i of them that align stage i, B clips, C channels, H and W rows and columns, L
directions, D their dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import LossConfig
from dadnet.labels.targets import clip_losses, mean_loss
from dadnet.models.alignment import OBJECTIVES, alignment_distance
from dadnet.models.gswd import Form, draw_directions
from dadnet.models.precision import full

if TYPE_CHECKING:
    from dadnet.models.dad_net import DADNetOutput


class LossParts(NamedTuple):
    """The loss and its terms; scalars, or (K,) of K folds."""

    total: Tensor
    cross_entropy: Tensor
    alignment: Tensor  # mean over the aligned stages, not yet weighted; 0 where there are none
    per_stage: dict[int, Tensor]  # distance of each aligned stage


class StackedOutput(NamedTuple):
    """Output of K networks, each for its own batch of clips."""

    logits: Tensor  # (K, B, classes)
    student_features: dict[int, Tensor]  # aligned stage: maps, (K_i, B, C_i, H_i, W_i)
    teacher_features: dict[int, Tensor]  # the same stages and shapes, adapted; empty if not run
    pooled: Tensor  # (K, B, D)
    theta: Tensor | None  # (K, B, 2, 3)
    slots: dict[int, Tensor | None]  # aligned stage: which of the K align it, (K_i,); None is all


def dad_net_loss(
    output: DADNetOutput,
    labels: Tensor,
    *,
    alignment_weight: float = LossConfig.alignment_weight,
    num_projections: int = LossConfig.num_projections,
    label_smoothing: float = LossConfig.label_smoothing,
    directions: Mapping[int, Tensor] | None = None,
    generator: torch.Generator | None = None,
    form: Form = "tokens",
    alignment: str = "gswd",
) -> LossParts:
    """Cross-entropy + alignment_weight * mean over the aligned stages of the alignment.

    Args:
        output: Of `DADNet.forward`.
        labels: Class indices, shape (B,), int64, or those of several labels; see `targets`.
        alignment_weight: Weight lambda.
        num_projections: Directions L, where they are drawn here.
        label_smoothing: Share of the target spread over all classes.
        directions: Aligned stage: unit rows (L, D); None draws them, stage by stage, rising.
        generator: Source of that draw, see `draw_directions`.
        form: See `gswd`.
        alignment: What is aligned, a key of `OBJECTIVES`; most need no directions.

    Returns:
        `LossParts`; the alignment is 0 where the output has no teacher features.

    Raises:
        DadnetError: If directions lack an aligned stage or have a wrong shape.
    """
    if not output.teacher_features:
        return classification_loss(output.logits, labels, label_smoothing)
    if directions is None and OBJECTIVES[alignment].projected:
        directions = _draw_all(output.student_features, num_projections, form, generator)
    students, teachers = (
        {stage: maps[None] for stage, maps in features.items()}
        for features in (output.student_features, output.teacher_features)
    )
    slots = dict.fromkeys(teachers)
    single = StackedOutput(
        output.logits[None], students, teachers, output.pooled[None], None, slots
    )
    cross_entropy = mean_loss(full(output.logits), labels, label_smoothing)[None]
    loss = _with_alignment(
        cross_entropy, single, alignment_weight, directions or {}, form, alignment, None
    )
    total, cross_entropy, mean = (part.squeeze(0) for part in loss[:3])
    return LossParts(
        total, cross_entropy, mean, {s: value.squeeze(0) for s, value in loss.per_stage.items()}
    )


def fold_losses(
    output: StackedOutput,
    labels: Tensor,
    alignment_weight: Tensor,
    *,
    label_smoothing: float | Tensor = LossConfig.label_smoothing,
    directions: Mapping[int, Tensor] | None = None,
    form: Form = "tokens",
    alignment: str = "gswd",
    valid: Tensor | None = None,
) -> LossParts:
    """`dad_net_loss` of every fold; `total.sum().backward()` gives each fold its gradient.

    Args:
        output: Of a stack.
        labels: As of `dad_net_loss` with one more axis in front, shape (K, B); any where not valid.
        alignment_weight: Weight lambda of each fold, shape (K,).
        label_smoothing: Of each fold, shape (K,), or of all.
        directions: Aligned stage: unit rows, (L, D) for all folds, or (K_i, L, D) of each.
        form: See `gswd`.
        alignment: What is aligned, a key of `OBJECTIVES`, of all folds.
        valid: Which clips there are, shape (K, B), bool; None is all of them.

    Returns:
        `LossParts` of shape (K,): the alignment is the mean over the stages that the fold aligns,
        and 0 where it aligns none.

    Raises:
        DadnetError: If directions lack an aligned stage.
    """
    logits = full(output.logits)
    every = valid if valid is not None else logits.new_ones(logits.shape[:2]).bool()
    weights = clip_weights(every, logits.dtype)
    cross_entropy = (clip_losses(logits, labels, label_smoothing) * weights).sum(1)
    if not output.teacher_features:
        return LossParts(cross_entropy, cross_entropy, torch.zeros_like(cross_entropy), {})
    return _with_alignment(
        cross_entropy, output, alignment_weight, directions or {}, form, alignment, weights
    )


def clip_weights(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Weight of each clip in the mean of its fold: 1 / count where valid, else 0; shape (K, B)."""
    mask = valid.to(dtype)
    return mask / mask.sum(1, keepdim=True)


def _with_alignment(
    cross_entropy: Tensor,
    output: StackedOutput,
    alignment_weight: float | Tensor,
    directions: Mapping[int, Tensor],
    form: Form,
    alignment: str,
    weights: Tensor | None,
) -> LossParts:
    """Add the alignment to the cross-entropy (K,); weights as in `alignment_distance`."""
    lacking = sorted(set(output.teacher_features) - set(directions))
    if OBJECTIVES[alignment].projected and lacking:
        raise DadnetError(
            f"expected directions for every aligned stage, got stages {sorted(directions)}, "
            f"without {lacking}"
        )
    per_stage: dict[int, Tensor] = {}
    count = torch.zeros_like(cross_entropy)  # of the stages of each fold
    for stage, teacher in sorted(output.teacher_features.items()):
        slots = output.slots[stage]
        distance = alignment_distance(
            alignment,
            output.student_features[stage],
            teacher,
            weights if weights is None or slots is None else weights.index_select(0, slots),
            directions=directions.get(stage),
            form=form,
        )
        per_stage[stage] = _put(distance, slots, len(count))
        count += _put(torch.ones_like(distance), slots, len(count))
    mean = torch.stack(list(per_stage.values())).sum(0) / count.clamp(min=1)
    if isinstance(alignment_weight, Tensor):
        alignment_weight = alignment_weight.to(mean)
    return LossParts(cross_entropy + alignment_weight * mean, cross_entropy, mean, per_stage)


def _put(values: Tensor, slots: Tensor | None, folds: int) -> Tensor:
    """Values of some folds, (K_i,), among those of all, (K,); 0 for the others."""
    return values if slots is None else values.new_zeros(folds).index_copy(0, slots, values)


def classification_loss(
    logits: Tensor, labels: Tensor, label_smoothing: float = LossConfig.label_smoothing
) -> LossParts:
    """The loss of a single stream: (binary) cross-entropy alone.

    Args:
        logits: Shape (B, K).
        labels: Class indices, shape (B,), int64, or those of several labels; see `targets`.
        label_smoothing: Share of the target spread over all classes.

    Returns:
        `LossParts` without alignment.
    """
    cross_entropy = mean_loss(full(logits), labels, label_smoothing)
    return LossParts(cross_entropy, cross_entropy, cross_entropy.new_zeros(()), {})


def _draw_all(
    features: Mapping[int, Tensor],
    num_projections: int,
    form: Form,
    generator: torch.Generator | None,
) -> dict[int, Tensor]:
    drawn = {}
    for stage, feature in sorted(features.items()):
        dim = feature.shape[1] if form == "tokens" else feature[0].numel()
        drawn[stage] = draw_directions(
            num_projections, dim, generator, device=feature.device, dtype=feature.dtype
        )
    return drawn
