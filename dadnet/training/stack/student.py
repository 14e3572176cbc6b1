"""The students of a stack: K networks of `dadnet.models.MicroFlowNeXt` at once.

Axes: K folds, B clips, S input size, J blocks, N positions, C, H, W channels, rows and columns, D
channels of the last stage.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dadnet.models import MicroFlowNeXt, correct_flow
from dadnet.models.blocks import ChannelAttention, GradientAwareBlock
from dadnet.models.operations import affine_points
from dadnet.models.precision import in_full
from dadnet.training.stack import layers
from dadnet.training.stack.layers import Weights
from dadnet.training.stack.norm import Real, batch_norm


def student_maps(
    single: MicroFlowNeXt,
    x: Tensor,
    weights: Weights,
    training: bool,
    keep: Tensor | None = None,
    real: Real | None = None,
) -> tuple[list[Tensor], Tensor | None]:
    """Maps of all stages.

    Flows (K, B, 2, S, S) to the maps of each stage, (B, K*C_i, H_i, W_i), and theta of the spatial
    transformers, (K, B, 2, 3). `single` is one fold's network, for its settings; `keep` the
    stochastic depth (K, J, B), None is none; `real` says which clips there are, None is all.
    Running statistics are updated while training.
    """
    with in_full(x.device):
        flow, theta = _align_flow(single, x, weights, training, real)
    keeps = single.keep_of_blocks(keep, flow)
    stages: list[Tensor] = []
    for i, (downsample, stage) in enumerate(
        zip(single.downsample_layers, single.stages, strict=True)
    ):
        before = layers.fold_maps(stages[-1], len(flow)) if stages else flow
        maps = _downsample(before, downsample, weights.below("downsample_layers", i))  # type: ignore[arg-type]
        blocks: list[GradientAwareBlock] = list(stage)  # type: ignore[call-overload]
        for j, block in enumerate(blocks):
            of_block = weights.below("stages", i, j)
            maps = layers.gradient_aware_block(maps, block, of_block, next(keeps))
        stages.append(maps)
    return stages, theta


def student_logits(single: MicroFlowNeXt, last: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """Last stage (B, K*D, H, W) to logits (K, B, classes) and pooled features (K, B, D)."""
    of_attention = weights.below("attention")
    folds = len(weights["norm.weight"])
    tokens = layers.fold_maps(last, folds).flatten(3).transpose(2, 3)  # (K, B, N, D)
    if single.head_kind == "tokens":
        tokens = layers.head_attention(tokens, single.attention, of_attention)
    pooled = layers.layer_norm(tokens.mean(2), single.norm, weights.below("norm"))
    result = pooled
    if single.head_kind == "pooled":
        result = layers.head_attention(pooled[:, :, None], single.attention, of_attention)[:, :, 0]
    return layers.linear(result, weights.below("head")), pooled


def _align_flow(
    single: MicroFlowNeXt, x: Tensor, weights: Weights, training: bool, real: Real | None
) -> tuple[Tensor, Tensor | None]:
    """The spatial transformers; x and the aligned flow are (K, B, 2, S, S)."""
    if not single.use_stn:
        return x, None
    maps = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    for i, layer in enumerate(single.localization):
        of_layer = weights.below("localization", i)
        if isinstance(layer, nn.Conv2d):
            maps = layers.convolution(maps, layer, of_layer)
        elif isinstance(layer, nn.BatchNorm2d):
            maps = batch_norm(maps, layer, of_layer, training, real)
        else:
            maps = layer(maps)
    features = layers.fold_maps(maps, len(x)).flatten(2)
    hidden = layers.linear(features, weights.below("fc_loc", 0)).relu()
    theta = layers.linear(hidden, weights.below("fc_loc", 2)).reshape(-1, 2, 3)
    flow = x.flatten(0, 1)
    grid = affine_points(theta, *flow.shape[2:])
    resampled = F.grid_sample(flow, grid, align_corners=True)
    corrected = correct_flow(resampled, theta, single.flow_correction)
    return corrected.view(x.shape), theta.view(*x.shape[:2], 2, 3)


def _downsample(maps: Tensor, step: nn.Sequential, weights: Weights) -> Tensor:
    """Maps (K, B, C, H, W) to stacked maps of the next stage, (B, K*C', H', W')."""
    points = layers.patch_convolution(maps, step[0], weights.below(0))  # type: ignore[arg-type]
    rest = step[1] if len(step) > 1 else None
    if isinstance(rest, nn.LayerNorm):
        points = layers.layer_norm(points, rest, weights.below(1))
    x = layers.stack_maps(points)
    if isinstance(rest, ChannelAttention):
        x = layers.channel_attention(x, weights.below(1))
    return x
