"""Folds of a step that have equally many clips: on a CPU each group is one program.

A program without padding is the same arithmetic for a fold whatever the other folds are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dadnet.models import LossParts
from dadnet.training.one_fold import OneFold


def batch_order(clips: int, batch_size: int) -> tuple[int, int]:
    """A key: folds in its order have equal batch sizes side by side in most steps.

    The size of the longest batch, then the number of batches of that size.
    """
    batches = max(1, math.ceil(clips / batch_size))
    longest = math.ceil(clips / batches)
    return longest, clips - batches * (longest - 1)


def order_in_stack(fold: OneFold) -> tuple[int, int]:
    """The `batch_order` of a fold in training."""
    return batch_order(len(fold.view.fit), fold.config.optim.batch_size)


def alike(sizes: Sequence[int]) -> list[slice]:
    """The runs of folds with equally many clips; folds without any are left out."""
    starts = [k for k, size in enumerate(sizes) if k == 0 or size != sizes[k - 1]]
    ends = [*starts[1:], len(sizes)]
    return [slice(a, b) for a, b in zip(starts, ends, strict=True) if sizes[a]]


def joined(parts: Sequence[LossParts]) -> LossParts:
    """The losses of all these folds; 0 for a stage that a fold does not align."""
    if len(parts) == 1:
        return parts[0]
    stages = sorted({stage for part in parts for stage in part.per_stage})
    total = torch.cat([part.total for part in parts])
    cross_entropy = torch.cat([part.cross_entropy for part in parts])
    alignment = torch.cat([part.alignment for part in parts])
    per_stage = {
        stage: torch.cat([p.per_stage.get(stage, torch.zeros_like(p.total)) for p in parts])
        for stage in stages
    }
    return LossParts(total, cross_entropy, alignment, per_stage)
