"""The loss of a head: cross-entropy of one class, or binary cross-entropy of each label.

The type of the labels decides, as in torch's cross-entropy: int64 class numbers (...), or float
(..., K) of 0 and 1, with the mean over the K labels. A hidden label is `hidden_label`, with which
every loss is an error or NaN.

Axes: K classes or labels; leading axes are clips, in a stack folds and clips.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dadnet.labels.tasks import Task


def multi_label(labels: Tensor) -> bool:
    """Whether these are targets of several labels."""
    return labels.is_floating_point()


def hidden_label(labels: Tensor) -> float:
    """The value in place of a hidden label: -1, which the cross-entropy refuses, or NaN."""
    return math.nan if multi_label(labels) else -1


def mean_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean loss of clips, a scalar.

    Args:
        logits: Shape (B, K).
        labels: Class numbers, shape (B,), or 0 and 1 of every label, shape (B, K), float.
        smoothing: Share of the target spread over all classes, or over a label's two values.
    """
    if multi_label(labels):
        return _binary(logits, labels, smoothing).mean()
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def clip_losses(logits: Tensor, labels: Tensor, smoothing: float | Tensor) -> Tensor:
    """Loss of each clip of each fold, shape (M, B).

    Args:
        logits: Shape (M, B, K).
        labels: As in `mean_loss`, with the folds in front.
        smoothing: One value, or one per fold, shape (M,).
    """
    share = torch.as_tensor(smoothing, dtype=logits.dtype, device=logits.device).reshape(-1, 1)
    if multi_label(labels):
        # In float64 the rounding of a fold does not depend on its place in a stack; see `wide`.
        return _binary(logits.double(), labels, share[..., None]).mean(2).to(logits)
    # torch's function takes one smoothing for all clips.
    log_probabilities = logits.log_softmax(2)
    likelihood = F.nll_loss(log_probabilities.flatten(0, 1), labels.flatten(), reduction="none")
    return (1 - share) * likelihood.view(labels.shape) - share * log_probabilities.mean(2)


def to_probabilities(logits: Tensor, task: Task) -> Tensor:
    """Logits (..., K) to probabilities: over the classes, or of each label separately."""
    return logits.sigmoid() if task.multi_label else logits.softmax(dim=-1)


def _binary(logits: Tensor, labels: Tensor, smoothing: float | Tensor) -> Tensor:
    targets = labels.to(logits) * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
