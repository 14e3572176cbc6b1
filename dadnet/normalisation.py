"""The z-score of flows. On its own, so that a prediction need not load what reads datasets."""

import torch
from torch import Tensor

_EPSILON = 1e-6


def normalise(flow: Tensor, statistics: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Z-score per channel.

    Args:
        flow: shape (B, 2, H, W), pixels.
        statistics: mean and standard deviation, each of shape (2,), or None to take every clip's
            own over its H*W positions.

    Returns:
        Shape (B, 2, H, W).
    """
    if statistics is None:
        std, mean = torch.std_mean(flow, dim=(2, 3), keepdim=True, correction=0)
    else:
        mean, std = (s.view(1, 2, 1, 1) for s in statistics)
    return (flow - mean) / (std + _EPSILON)
