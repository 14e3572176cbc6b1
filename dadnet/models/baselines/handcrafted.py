"""Hand-crafted features of one flow field, for a linear machine.

Axes: B clips, S input size, D features.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dadnet.models.baselines.network import with_strain

_MDMO_GRID, _DIRECTIONS = 6, 8
_LBP_GRID, _LBP_LABELS = 5, 59  # 58 uniform patterns, and one label for all others
MDMO_SIZE = 2 * _MDMO_GRID**2
LBP_SIZE = 3 * _LBP_GRID**2 * _LBP_LABELS


def mdmo_features(flow: Tensor) -> Tensor:
    """Main directional mean optical flow of 36 areas: like MDMO, not MDMO.

    In each area the vectors are sorted into 8 directions, and those of the most frequent direction
    are averaged. MDMO's 36 areas lie around landmarks, which a flow store does not have; these are
    a 6 by 6 grid. MDMO averages over the frames of the clip; a store has the flow from onset to
    apex. MDMO's means are polar; these are (u, v), which suit a linear machine.

    Args:
        flow: Shape (B, 2, S, S).

    Returns:
        Shape (B, 72).

    Reference: Liu et al., A Main Directional Mean Optical Flow Feature for Spontaneous
        Micro-Expression Recognition, 2016.
    """
    areas = _areas(flow, _MDMO_GRID)  # (B, 2, areas, N)
    angle = torch.atan2(areas[:, 1], areas[:, 0]) / (2 * torch.pi)  # (-0.5, 0.5]
    sector = (angle * _DIRECTIONS + _DIRECTIONS).floor().long() % _DIRECTIONS
    one_hot = F.one_hot(sector, _DIRECTIONS).to(flow)  # (B, areas, N, 8)
    counts = one_hot.sum(2)  # (B, areas, 8)
    chosen = one_hot.gather(
        3, counts.argmax(2)[:, :, None, None].expand(-1, -1, one_hot.shape[2], 1)
    ).squeeze(3)  # (B, areas, N)
    mean = (areas * chosen[:, None]).sum(3) / chosen.sum(2)[:, None]
    return mean.flatten(1)


def lbp_features(flow: Tensor) -> Tensor:
    """Histograms of uniform local binary patterns of u, v and strain in 25 areas.

    Like LBP-TOP, not LBP-TOP: that one takes the planes XY, XT and YT of the frames, and a flow
    store has no frames, so its three channels replace them. Neighbours are the 8 pixels
    around, without interpolation.

    Args:
        flow: Shape (B, 2, S, S).

    Returns:
        Shape (B, 4425): for each channel and area the shares of 58 uniform patterns, and of all
        others together.

    Reference: Zhao and Pietikainen, Dynamic Texture Recognition Using Local Binary Patterns with
        an Application to Facial Expressions, 2007; for micro-expressions Pfister et al., 2011.
    """
    codes = local_binary_patterns(with_strain(flow))  # (B, 3, S - 2, S - 2)
    labels = _uniform_labels().to(flow.device)[codes]
    areas = _areas(labels, _LBP_GRID)  # (B, 3, areas, N)
    counts = flow.new_zeros(*areas.shape[:3], _LBP_LABELS)
    counts.scatter_add_(3, areas, torch.ones_like(areas, dtype=flow.dtype))
    return (counts / areas.shape[3]).flatten(1)


def local_binary_patterns(maps: Tensor) -> Tensor:
    """The comparison of each pixel with the 8 pixels around it, as a number of 8 bits.

    Args:
        maps: Shape (B, C, S, S).

    Returns:
        Shape (B, C, S - 2, S - 2), int64. A bit is 1 where the pixel around is at least as large;
        bit 0 is the one above left, the others follow clockwise.
    """
    side = maps.shape[-1] - 2
    centre = maps[:, :, 1:-1, 1:-1]
    codes = torch.zeros_like(centre, dtype=torch.int64)
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    for bit, (row, column) in enumerate(ring):
        around = maps[:, :, row : row + side, column : column + side]
        codes |= (around >= centre).long() << bit
    return codes


def _uniform_labels() -> Tensor:
    """Label of each of the 256 patterns: the uniform ones in order, all others the last.

    A uniform one has at most two changes between 0 and 1 around the ring (Ojala et al., 2002).
    """
    turned = [(code >> 1) | ((code & 1) << 7) for code in range(256)]
    uniform = [code for code in range(256) if (code ^ turned[code]).bit_count() <= 2]
    labels = torch.full((256,), len(uniform))
    labels[uniform] = torch.arange(len(uniform))
    return labels


def _areas(maps: Tensor, grid: int) -> Tensor:
    """Cut maps (B, C, S, S) into grid x grid squares of equal size: (B, C, grid^2, N).

    Rows and columns that are left over at the far edges are not used.
    """
    side = maps.shape[-1] // grid
    cut = maps[..., : grid * side, : grid * side]
    squares = cut.reshape(*maps.shape[:2], grid, side, grid, side).transpose(3, 4)
    return squares.reshape(*maps.shape[:2], grid * grid, side * side)
