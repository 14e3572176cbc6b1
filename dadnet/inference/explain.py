"""Inspection of a trained network: its spatial transformer, channel attention, gradient branches,
and the distance of its features from the teacher's.

Axes: N clips, S input size, C channels, H, W rows and columns, L directions, P points, J bins.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.models import DADNet, MicroFlowNeXt, draw_directions, gswd
from dadnet.models.blocks import GRADIENT_WEIGHT, ChannelAttention, GradientAwareBlock
from dadnet.models.operations import depthwise_convolution, gradient_magnitude

FloatArray = npt.NDArray[np.float64]
NUM_DIRECTIONS = 100
NUM_BINS = 48
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Inspection:
    """Internal values of a network for some clips.

    Attributes:
        theta: matrices of the spatial transformer, shape (N, 2, 3); None without it.
        channels: weights of each channel attention, from the first, shape (N, C) each.
        maps: absolute output of the gradient branch of each stage's last block, mean over channels,
            shape (N, H, W) each.
        shares: share of this branch in the block's depthwise output, by root mean squares,
            (N, stages).
    """

    theta: FloatArray | None
    channels: tuple[FloatArray, ...]
    maps: tuple[FloatArray, ...]
    shares: FloatArray


@torch.no_grad()
def inspect_network(network: nn.Module, inputs: Tensor) -> Inspection:
    """Record the internal values of a network as it classifies clips.

    Args:
        network: a MicroFlowNeXt; it is set to evaluation mode.
        inputs: z-scored, shape (N, 2, S, S), on the network's device.

    Raises:
        DadnetError: if the network is of another type.
    """
    if not isinstance(network, MicroFlowNeXt):
        raise DadnetError(f"explain: expected a MicroFlowNeXt, got a {type(network).__name__}")
    network.eval()
    outputs: dict[str, list[Tensor]] = {}
    hooks = []
    attentions = (module for module in network.modules() if isinstance(module, ChannelAttention))
    for number, attention in enumerate(attentions):
        record = partial(_record_output, outputs, f"channels {number}")
        hooks.append(attention.fc.register_forward_hook(record))
    for number, stage in enumerate(network.stages):
        record = partial(_record_gradient, outputs, str(number))
        hooks.append(list(stage.children())[-1].register_forward_hook(record))
    try:
        thetas = [network(batch).theta for batch in torch.split(inputs, _BATCH)]
    finally:
        for hook in hooks:
            hook.remove()
    values = {name: torch.cat(parts).double().cpu().numpy() for name, parts in outputs.items()}
    stages = range(len(network.stages))
    return Inspection(
        None if thetas[0] is None else torch.cat(thetas).double().cpu().numpy(),
        tuple(values[name] for name in sorted(values) if name.startswith("channels")),
        tuple(values[f"map {stage}"] for stage in stages),
        np.stack([values[f"share {stage}"] for stage in stages], axis=1),
    )


def _record_output(
    outputs: dict[str, list[Tensor]], name: str, _: nn.Module, inputs: Any, output: Tensor
) -> None:
    outputs.setdefault(name, []).append(output)


def _record_gradient(
    outputs: dict[str, list[Tensor]], stage: str, block: GradientAwareBlock, inputs: Any, _: Tensor
) -> None:
    plain, branch = block.dwconv, block.grad_conv
    assert plain.bias is not None
    assert branch.bias is not None
    smooth = depthwise_convolution(inputs[0], plain.weight, plain.bias)
    gradient = gradient_magnitude(inputs[0])
    edges = GRADIENT_WEIGHT * depthwise_convolution(gradient, branch.weight, branch.bias)
    sizes = [part.square().mean((1, 2, 3)).sqrt() for part in (edges, smooth)]
    outputs.setdefault(f"map {stage}", []).append(edges.abs().mean(1))
    outputs.setdefault(f"share {stage}", []).append(sizes[0] / (sizes[0] + sizes[1] + 1e-12))


def theta_numbers(theta: FloatArray) -> FloatArray:
    """Angle, zoom and shift of affine matrices.

    The sampling grid maps target to source: with a zoom above 1 it covers a larger part of the
    field.

    Args:
        theta: shape (N, 2, 3).

    Returns:
        Shape (N, 4): angle in degrees, zoom sqrt(|det A|), shift to the right and down as shares
        of the side.
    """
    a, b = theta[:, :, 0], theta[:, :, 1]
    angle = np.degrees(np.arctan2(a[:, 1] - b[:, 0], a[:, 0] + b[:, 1]))  # of the nearest rotation
    zoom = np.sqrt(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
    numbers: FloatArray = np.column_stack([angle, zoom, theta[:, :, 2] / 2])
    return numbers


@dataclass(frozen=True, eq=False)
class Density:
    """Features of both streams along one direction, before and after training.

    Attributes:
        stage: counted from 0.
        gswd: before and after, over `NUM_DIRECTIONS` directions.
        centres: of the bins, shape (J,).
        before, after: (student, teacher) densities, shape (J,) each.
    """

    stage: int
    gswd: tuple[float, float]
    centres: FloatArray
    before: tuple[FloatArray, FloatArray]
    after: tuple[FloatArray, FloatArray]


@torch.no_grad()
def projected_densities(
    before: DADNet, after: DADNet, inputs: Tensor, seed: int
) -> tuple[Density, ...]:
    """Densities of the features of every aligned stage, along the direction of largest distance.

    The networks are those before and after training, the inputs z-scored, (N, 2, S, S).
    """
    # A new adapter has no statistics yet: it uses those of the clips, as in the first step.
    first = _features(before, inputs, batch_statistics=True)
    last = _features(after, inputs, batch_statistics=False)
    densities = []
    for stage in before.alignment_stages:
        sides = (*first[stage], *last[stage])  # (P, C) each: student, teacher, student, teacher
        draws = generator("explain-directions", seed, stage)
        directions = draw_directions(NUM_DIRECTIONS, sides[0].shape[1], draws)
        distances = tuple(
            float(gswd(student, teacher, directions=directions))
            for student, teacher in (sides[:2], sides[2:])
        )
        lines = [side @ directions.T for side in sides[:2]]  # (P, L)
        apart = (lines[0].mean(0) - lines[1].mean(0)).square()
        apart += (lines[0].std(0, correction=0) - lines[1].std(0, correction=0)).square()
        along = directions[int(apart.argmax())]
        points = [(side @ along).double().numpy() for side in sides]
        low = min(float(np.quantile(p, 0.001, method="lower")) for p in points)
        high = max(float(np.quantile(p, 0.999, method="higher")) for p in points)
        edges = np.linspace(low, max(high, low + 1e-9), NUM_BINS + 1)
        heights = [np.histogram(p, bins=edges)[0] / (len(p) * np.diff(edges)) for p in points]
        densities.append(
            Density(
                stage,
                (distances[0], distances[1]),
                (edges[:-1] + edges[1:]) / 2,
                (heights[0], heights[1]),
                (heights[2], heights[3]),
            )
        )
    return tuple(densities)


def _features(
    model: DADNet, inputs: Tensor, *, batch_statistics: bool
) -> dict[int, tuple[Tensor, Tensor]]:
    """Points of student and adapted teacher of every aligned stage, shape (P, C) each."""
    model.eval()
    model.adapters.train(batch_statistics)
    batches = torch.split(inputs, _BATCH)
    students = [model(batch).student_features for batch in batches]
    teachers = [model.run_teacher(batch) for batch in batches]
    student, teacher = (
        {stage: torch.cat([maps[stage] for maps in parts]) for stage in parts[0]}
        for parts in (students, teachers)
    )
    adapted = model.adapt(teacher)
    return {s: (_points(maps), _points(adapted[s])) for s, maps in student.items()}


def _points(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
