"""The students of a stack: K networks of `dadnet.models.MicroFlowNeXt` at once.

Axes: K members, B clips, S input size, J blocks, N positions, C, H, W channels, rows and columns, D
channels of the last stage.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dadnet.models import MicroFlowNeXt, correct_flow
from dadnet.models.blocks import ChannelAttention, GradientAwareBlock
from dadnet.models.operations import affine_points
from dadnet.models.precision import in_full
from dadnet.training.stack import layers
from dadnet.training.stack.layers import Weights


def student_maps(
    lone: MicroFlowNeXt,
    x: Tensor,
    weights: Weights,
    training: bool,
    keep: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[list[Tensor], Tensor | None]:
    """Maps of all stages.

    Args:
        lone: A member, for its settings.
        x: Flows, shape (K, B, 2, S, S).
        weights: The members'; running statistics are updated while training.
        training: Whether BatchNorm takes the batch's statistics.
        keep: Stochastic depth, shape (K, J, B); None is none.
        valid: Which clips there are, shape (K, B), bool; None is all of them.

    Returns:
        For each stage (B, K*C_i, H_i, W_i); and the spatial transformers' theta, (K, B, 2, 3).
    """
    with in_full(x.device):
        flow, theta = _align_flow(lone, x, weights, training, valid)
    keeps = _keep_of_blocks(lone, keep, flow)
    found: list[Tensor] = []
    for i, (downsample, stage) in enumerate(zip(lone.downsample_layers, lone.stages, strict=True)):
        before = layers.member_maps(found[-1], len(flow)) if found else flow
        maps = _downsample(before, downsample, weights.below("downsample_layers", i))  # type: ignore[arg-type]
        blocks: list[GradientAwareBlock] = list(stage)  # type: ignore[call-overload]
        for j, block in enumerate(blocks):
            place = weights.below("stages", i, j)
            maps = layers.gradient_aware_block(maps, block, place, next(keeps))
        found.append(maps)
    return found, theta


def student_logits(lone: MicroFlowNeXt, last: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """Last stage (B, K*D, H, W) to logits (K, B, classes) and pooled features (K, B, D)."""
    place = weights.below("attention")
    members = len(weights["norm.weight"])
    tokens = layers.member_maps(last, members).flatten(3).transpose(2, 3)  # (K, B, N, D)
    if lone.head_kind == "tokens":
        tokens = layers.head_attention(tokens, lone.attention, place)
    pooled = layers.layer_norm(tokens.mean(2), lone.norm, weights.below("norm"))
    result = pooled
    if lone.head_kind == "pooled":
        result = layers.head_attention(pooled[:, :, None], lone.attention, place)[:, :, 0]
    return layers.linear(result, weights.below("head")), pooled


def _align_flow(
    lone: MicroFlowNeXt, x: Tensor, weights: Weights, training: bool, valid: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The spatial transformers; x and the aligned flow are (K, B, 2, S, S)."""
    if not lone.use_stn:
        return x, None
    maps = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    for i, layer in enumerate(lone.localization):
        place = weights.below("localization", i)
        if isinstance(layer, nn.Conv2d):
            maps = layers.convolution(maps, layer, place)
        elif isinstance(layer, nn.BatchNorm2d):
            maps = layers.batch_norm(maps, layer, place, training, valid)
        else:
            maps = layer(maps)
    found = layers.member_maps(maps, len(x)).flatten(2)
    hidden = layers.linear(found, weights.below("fc_loc", 0)).relu()
    theta = layers.linear(hidden, weights.below("fc_loc", 2)).view(-1, 2, 3)
    flow = x.flatten(0, 1)
    grid = affine_points(theta, *flow.shape[2:])
    resampled = F.grid_sample(flow, grid, align_corners=True)
    corrected = correct_flow(resampled, theta, lone.flow_correction)
    return corrected.view(x.shape), theta.view(*x.shape[:2], 2, 3)


def _downsample(maps: Tensor, lone: nn.Sequential, weights: Weights) -> Tensor:
    """Maps (K, B, C, H, W) to stacked maps of the next stage, (B, K*C', H', W')."""
    points = layers.patch_convolution(maps, lone[0], weights.below(0))  # type: ignore[arg-type]
    rest = lone[1] if len(lone) > 1 else None
    if isinstance(rest, nn.LayerNorm):
        points = layers.layer_norm(points, rest, weights.below(1))
    x = layers.stack_maps(points)
    if isinstance(rest, ChannelAttention):
        x = layers.channel_attention(x, weights.below(1))
    return x


def _keep_of_blocks(lone: MicroFlowNeXt, keep: Tensor | None, x: Tensor) -> Iterator[Tensor | None]:
    rates = lone.drop_rates
    if keep is None:
        return iter([None] * len(rates))
    factors = keep.to(device=x.device, dtype=x.dtype).unbind(1)
    return iter([f if rate > 0 else None for f, rate in zip(factors, rates, strict=True)])
