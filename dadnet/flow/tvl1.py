"""TV-L1 optical flow of many pairs of frames at once, in torch, on any device.

The same energy, scheme and parameters as OpenCV's `DualTVL1OpticalFlow`, which stays the reference:
dual ascent on a pyramid (Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical
Flow", 2007), with a median filter between its iterations (Sanchez, Meinhardt-Llopis, Facciolo,
"TV-L1 Optical Flow Estimation", IPOL 2013). Results differ by rounding alone, but where that
changes the iteration at which a warp stops: `tests/dadnet/flow/test_tvl1.py` measures it.

Axes: B pairs, H and W rows and columns of a level of the pyramid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from dadnet.base.errors import DadnetError

_SMALLEST = 16  # pixels: no level of the pyramid is smaller
_CUBIC = -0.75  # of the bicubic interpolation of OpenCV
_CHECK_EVERY = 5  # iterations between two looks at whether every pair has converged


@dataclass
class _State:
    """What a warp iterates, all of shape (B, 1, H, W) or (B, 2, H, W), for the pairs in `rows`."""

    flow: Tensor  # (B, 2, H, W)
    dual: Tensor  # (B, 4, H, W): of u along x and y, of v along x and y
    gradient: Tensor  # (B, 2, H, W) of the warped apex
    square: Tensor  # (B, 1, H, W): its squared length
    constant: Tensor  # (B, 1, H, W): what the linearised difference of brightness adds

    def of(self, chosen: Tensor) -> _State:
        """Some of the pairs."""
        return _State(*(getattr(self, field.name)[chosen] for field in fields(self)))


@torch.no_grad()
def tvl1(onset: Tensor, apex: Tensor, parameters: Mapping[str, float | int | bool]) -> Tensor:
    """Optical flow from onset to apex frames.

    Args:
        onset: grey frames, shape (B, H, W), uint8 or float of 0 to 255.
        apex: frames of the same shape.
        parameters: `dadnet.flow.compute.TVL1_PARAMETERS`, or others without illumination (gamma)
            and initial flow.

    Returns:
        Flows (B, 2, H, W), float32, pixels, on the device of the frames.

    Raises:
        DadnetError: if the shapes differ, or a parameter is not supported.
    """
    if onset.ndim != 3 or onset.shape != apex.shape:
        raise DadnetError(
            f"tvl1: expected frames of one shape (B, H, W), got {tuple(onset.shape)} and "
            f"{tuple(apex.shape)}"
        )
    if parameters["gamma"] or parameters["useInitialFlow"] or parameters["medianFiltering"] != 5:
        raise DadnetError("tvl1: expected gamma 0, no initial flow and a median filter of 5 pixels")
    step = float(parameters["scaleStep"])
    first, second = onset.float()[:, None], apex.float()[:, None]
    levels = [(first, second)]
    for _ in range(1, int(parameters["nscales"])):
        height, width = (round(side * step) for side in levels[-1][0].shape[-2:])
        if min(height, width) < _SMALLEST:
            break
        smaller = [_resize(frames, height, width, 1 / step) for frames in levels[-1]]
        levels.append((smaller[0], smaller[1]))
    flow = levels[-1][0].new_zeros(len(onset), 2, *levels[-1][0].shape[-2:])
    for number, (first, second) in reversed(list(enumerate(levels))):
        flow = _one_level(first, second, flow, parameters)
        if number:
            height, width = levels[number - 1][0].shape[-2:]
            flow = _resize(flow, height, width) / step
    return flow


def _one_level(
    onset: Tensor, apex: Tensor, flow: Tensor, parameters: Mapping[str, float | int | bool]
) -> Tensor:
    """The flow of one level of the pyramid, from that of the next smaller one."""
    moving = torch.cat([apex, _central(apex)], dim=1)  # brightness and its gradient
    dual = flow.new_zeros(len(flow), 4, *flow.shape[-2:])
    for _ in range(int(parameters["warps"])):
        warped = _warp(moving, flow)
        gradient = warped[:, 1:]
        state = _State(
            flow,
            dual,
            gradient,
            gradient.square().sum(1, keepdim=True),
            warped[:, :1] - (gradient * flow).sum(1, keepdim=True) - onset,
        )
        flow, dual = _solve(state, parameters)
    return flow


def _solve(state: _State, parameters: Mapping[str, float | int | bool]) -> tuple[Tensor, Tensor]:
    """Iterate flow and dual of every pair until its flow moves less than epsilon per pixel."""
    flow, dual = state.flow.clone(), state.dual.clone()
    limit = float(parameters["epsilon"]) ** 2 * flow.shape[-2] * flow.shape[-1]
    rows = torch.arange(len(flow), device=flow.device)
    active = torch.ones(len(flow), dtype=torch.bool, device=flow.device)
    for _ in range(int(parameters["outerIterations"])):
        state.flow = torch.where(active[:, None, None, None], _median(state.flow), state.flow)
        for inner in range(int(parameters["innnerIterations"])):
            moved = _iterate(state, active, parameters)
            active = active & (moved > limit)
            if inner % _CHECK_EVERY == 0 and not bool(active.all()):
                flow[rows], dual[rows] = state.flow, state.dual
                if not bool(active.any()):
                    return flow, dual
                state, rows = state.of(active), rows[active]
                active = active[active]
    flow[rows], dual[rows] = state.flow, state.dual
    return flow, dual


def _iterate(state: _State, active: Tensor, parameters: Mapping[str, float | int | bool]) -> Tensor:
    """One step of the pairs that are active; returns the squared change of each pair's flow."""
    theta = float(parameters["theta"])
    threshold = float(parameters["lambda"]) * theta
    difference = state.constant + (state.gradient * state.flow).sum(1, keepdim=True)
    bound = threshold * state.square
    factor = -difference / state.square.clamp(min=torch.finfo(torch.float32).eps)
    factor = torch.where(state.square > torch.finfo(torch.float32).eps, factor, 0.0)
    factor = torch.where(difference < -bound, threshold, factor)
    factor = torch.where(difference > bound, -threshold, factor)
    flow = state.flow + factor * state.gradient + theta * _divergence(state.dual)
    moved = (flow - state.flow).square().sum((1, 2, 3))
    slope = _forward(flow)  # (B, 4, H, W)
    length = torch.stack(
        [torch.hypot(slope[:, 0], slope[:, 1]), torch.hypot(slope[:, 2], slope[:, 3])], dim=1
    ).repeat_interleave(2, dim=1)
    rate = float(parameters["tau"]) / theta
    dual = (state.dual + rate * slope) / (1 + rate * length)
    chosen = active[:, None, None, None]
    state.flow = torch.where(chosen, flow, state.flow)
    state.dual = torch.where(chosen, dual, state.dual)
    return moved


def _central(image: Tensor) -> Tensor:
    """Central differences (B, 2, H, W) of (B, 1, H, W); at the borders half a one-sided one."""
    across, down = F.pad(image, (1, 1, 0, 0), mode="replicate"), image
    down = F.pad(down, (0, 0, 1, 1), mode="replicate")
    return torch.cat(
        [(across[..., 2:] - across[..., :-2]) / 2, (down[..., 2:, :] - down[..., :-2, :]) / 2],
        dim=1,
    )


def _forward(flow: Tensor) -> Tensor:
    """Forward differences of u and v along x and y, (B, 4, H, W); 0 at the last column and row."""
    across = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    down = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    return torch.stack([across, down], dim=2).flatten(1, 2)


def _divergence(dual: Tensor) -> Tensor:
    """Backward divergence of the duals of u and v, (B, 2, H, W)."""
    across, down = dual[:, 0::2], dual[:, 1::2]
    return across - F.pad(across[..., :-1], (1, 0)) + down - F.pad(down[..., :-1, :], (0, 0, 1, 0))


def _median(flow: Tensor) -> Tensor:
    """Median of 5 x 5 pixels; the border is repeated."""
    padded = F.pad(flow, (2, 2, 2, 2), mode="replicate")
    windows = padded.unfold(2, 5, 1).unfold(3, 5, 1).flatten(4)
    return windows.median(dim=-1).values


def _resize(images: Tensor, height: int, width: int, scale: float | None = None) -> Tensor:
    """Bilinear resize; `scale`: source pixels per target pixel, if not that of the sides."""
    rows = _weights(images.shape[-2], height, scale, images)
    columns = _weights(images.shape[-1], width, scale, images)
    return rows @ images @ columns.T


def _weights(source: int, target: int, scale: float | None, like: Tensor) -> Tensor:
    """Matrix (target, source) of a linear interpolation between the centres of pixels."""
    at = (torch.arange(target, dtype=torch.float64) + 0.5) * (scale or source / target) - 0.5
    at = at.clamp(0, source - 1)
    below = at.floor().long().clamp(max=max(source - 2, 0))
    share = at - below
    matrix = torch.zeros(target, source, dtype=torch.float64)
    rows = torch.arange(target)
    matrix[rows, below] += 1 - share
    matrix[rows, (below + 1).clamp(max=source - 1)] += share
    return matrix.to(like)


def _warp(images: Tensor, flow: Tensor) -> Tensor:
    """Images (B, C, H, W) at the positions that the flow leads to: bicubic, 0 outside."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    left, top = x.floor(), y.floor()
    across, down = _cubic(x - left), _cubic(y - top)
    left, top = left.long() - 1, top.long() - 1
    flat = images.flatten(2)
    result = torch.zeros_like(images)
    for i in range(4):
        for j in range(4):
            column, row = left + j, top + i
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
            values = flat.gather(2, index[:, None].expand(-1, images.shape[1], -1))
            weight = down[i] * across[j] * inside
            result += weight[:, None] * values.view_as(images)
    return result


def _cubic(share: Tensor) -> tuple[Tensor, ...]:
    """Weights of the four neighbours of a position between the second and the third."""
    a = _CUBIC
    near, far = share + 1, 1 - share
    first = ((a * near - 5 * a) * near + 8 * a) * near - 4 * a
    second = ((a + 2) * share - (a + 3)) * share * share + 1
    third = ((a + 2) * far - (a + 3)) * far * far + 1
    return first, second, third, 1 - first - second - third
