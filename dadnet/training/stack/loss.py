"""The loss of a stack: that of each member, with its own lambda, stages and label smoothing.

Axes: K members, K_i of them that align stage i, B clips, D dimension of a point, L directions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.labels.targets import clip_losses
from dadnet.models import LossParts
from dadnet.models.alignment import OBJECTIVES, Form, alignment_distance
from dadnet.models.precision import full
from dadnet.training.stack.aligned import pick
from dadnet.training.stack.layers import share_of
from dadnet.training.stack.network import StackedOutput


def stacked_loss(
    output: StackedOutput,
    labels: Tensor,
    alignment_weight: Tensor,
    *,
    label_smoothing: float | Tensor = 0.05,
    directions: Mapping[int, Tensor] | None = None,
    form: Form = "tokens",
    alignment: str = "gswd",
    valid: Tensor | None = None,
) -> LossParts:
    """`dad_net_loss` of every member; `total.sum().backward()` gives each its own gradient.

    Args:
        output: Of a stack.
        labels: Class indices, shape (K, B), int64, or those of several labels, with one more axis
            (see `dadnet.labels.targets`); any where not valid.
        alignment_weight: Weight lambda of each member, shape (K,).
        label_smoothing: Share of the target spread over all classes, or both values of a label;
            of each member, shape (K,), or of all.
        directions: Aligned stage: unit rows, (L, D) for all members or (K_i, L, D), each its own.
        form: See `gswd`.
        alignment: What is aligned, a key of `OBJECTIVES`, of all members.
        valid: Which clips there are, shape (K, B), bool; None is all of them.

    Returns:
        `LossParts` whose entries have shape (K,): the alignment is the mean over the member's own
        stages, and 0 where it aligns none.

    Raises:
        DadnetError: If directions lack an aligned stage.
    """
    logits = full(output.logits)
    every = valid if valid is not None else logits.new_ones(logits.shape[:2]).bool()
    shares = share_of(every, logits.dtype)
    cross_entropy = (clip_losses(logits, labels, label_smoothing) * shares).sum(1)
    if not output.teacher_features:
        return LossParts(cross_entropy, cross_entropy, torch.zeros_like(cross_entropy), {})
    given = directions or {}
    lacking = sorted(set(output.teacher_features) - set(given))
    if OBJECTIVES[alignment].projected and lacking:
        raise DadnetError(f"expected directions for every aligned stage, got none for {lacking}")
    per_stage: dict[int, Tensor] = {}
    count = torch.zeros_like(cross_entropy)  # of each member's stages
    for stage, teacher in sorted(output.teacher_features.items()):
        places = output.places[stage]
        found = alignment_distance(
            alignment,
            output.student_features[stage],
            teacher,
            pick(shares, places),
            directions=given.get(stage),
            form=form,
        )
        per_stage[stage] = _put(found, places, len(labels))
        count += _put(torch.ones_like(found), places, len(labels))
    mean = torch.stack(list(per_stage.values())).sum(0) / count.clamp(min=1)
    total = cross_entropy + alignment_weight.to(mean) * mean
    return LossParts(total, cross_entropy, mean, per_stage)


def _put(values: Tensor, places: Tensor | None, members: int) -> Tensor:
    """Values of some members, (K_i,), among those of all, (K,); 0 for the others."""
    return values if places is None else values.new_zeros(members).index_copy(0, places, values)
