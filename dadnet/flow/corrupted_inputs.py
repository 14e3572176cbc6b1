"""The inputs of a network for corrupted clips; a separate file, since `results` imports no torch.

Axes: N clips, S side of the network's input in pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dadnet.flow.corruptions import KINDS, Corruption, corrupt
from dadnet.flow.normalisation import normalise


def corrupted_inputs(
    flows: Tensor,
    clip_ids: Sequence[str],
    corruption: Corruption | None,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The inputs of the network for corrupted clips.

    Args:
        flows: pixels at the input size, shape (N, 2, S, S).
        clip_ids: N ids.
        corruption: None for the clean clips.
        statistics: as in :func:`dadnet.flow.normalisation.normalise`.

    Returns:
        Z-scored, shape (N, 2, S, S), float32.
    """
    flows = flows.float()
    if corruption is None:
        return normalise(flows, statistics)

    def worsened(fields: Tensor) -> Tensor:
        pairs = zip(fields.numpy(), clip_ids, strict=True)
        return torch.from_numpy(np.stack([corrupt(f, corruption, c) for f, c in pairs]))

    if KINDS[corruption.kind].acts_on == "flow":
        return normalise(worsened(flows), statistics)
    return worsened(normalise(flows, statistics))
