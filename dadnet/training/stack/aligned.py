"""Who of a stack aligns which stage, and the teacher and adapters run for those members alone.

A member that does not align a stage takes no part in it at all, as its lone fold does not: its
adapter is not run, its running statistics stay, and nothing of it can reach the others.

Axes: K members of a call, K_i of them that align stage i, B clips, S input size, C_i, H_i, W_i
shape of stage i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dadnet.models import DADNet, MicroFlowNeXt
from dadnet.models.dad_net import FeatureAdapter
from dadnet.training.stack import layers
from dadnet.training.stack.layers import Weights
from dadnet.training.stack.layout import MemberLayout

_CACHED_PIXELS = 32 * 32 * 32  # of all clips in one call of the teacher


class Aligning(NamedTuple):
    """The members of a call that align one stage: indices, int64, shape (K_i,); None is all."""

    members: Tensor | None  # in the stack
    places: Tensor | None  # in the call
    among: Tensor | None  # among the members of the call that align any stage


@dataclass(frozen=True)
class Chosen:
    """Who aligns in a call.

    Attributes:
        anywhere: places in the call of the members that align any stage; None is all.
        stages: aligned stage, rising: who aligns it.
    """

    anywhere: Tensor | None
    stages: Mapping[int, Aligning]

    @classmethod
    def of(
        cls, layouts: Sequence[MemberLayout], members: Tensor | None, device: torch.device
    ) -> Chosen:
        """Who aligns among the members of a call, all where it is None."""
        if all(layout.stages == layouts[0].stages for layout in layouts):
            # Without a look at the indices, for which a GPU would have to be waited for.
            return cls(None, {stage: Aligning(members, None, None) for stage in layouts[0].stages})
        chosen = list(range(len(layouts))) if members is None else members.tolist()
        stages = [layouts[k].stages for k in chosen]
        anywhere = [place for place, mine in enumerate(stages) if mine]

        def index(numbers: list[int], every: int) -> Tensor | None:
            return None if numbers == [*range(every)] else torch.tensor(numbers, device=device)

        found = {}
        for stage in sorted({stage for mine in stages for stage in mine}):
            places = [place for place in anywhere if stage in stages[place]]
            found[stage] = Aligning(
                index([chosen[place] for place in places], len(layouts)),
                index(places, len(chosen)),
                index([anywhere.index(place) for place in places], len(anywhere)),
            )
        return cls(index(anywhere, len(chosen)), found)


def pick(values: Tensor, index: Tensor | None) -> Tensor:
    """The rows of these indices; None is all."""
    return values if index is None else values.index_select(0, index)


def pick_maps(maps: Tensor, index: Tensor | None) -> Tensor:
    """Some members' maps, (K, B, C, H, W) to (K_i, B, C, H, W), channels innermost in memory."""
    return maps if index is None else pick(maps.movedim(2, 4), index).movedim(4, 2)


@torch.no_grad()
def run_teacher(lone: DADNet | MicroFlowNeXt, x: Tensor, chosen: Chosen) -> dict[int, Tensor]:
    """The shared teacher's maps of flows (K, B, 2, S, S), for those members that align.

    Returns:
        Aligned stage: (K_i, B, C_i of the teacher, H_i, W_i); empty where nobody aligns.
    """
    if not isinstance(lone, DADNet) or not chosen.stages:
        return {}
    flows = pick(x, chosen.anywhere)
    clips = flows.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    # A CPU is fastest while the maps at full size stay in its cache; a GPU takes all at once.
    at_once = max(x.shape[1], _CACHED_PIXELS // x.shape[-1] ** 2) if x.is_cpu else len(clips)
    depth = max(chosen.stages) + 1
    parts = [
        lone.teacher.stage_features(p, num_stages=depth)[0] for p in torch.split(clips, at_once)
    ]
    found = {}
    for stage, who in chosen.stages.items():
        maps = torch.cat([part[stage] for part in parts])
        found[stage] = pick_maps(maps.view(*flows.shape[:2], *maps.shape[1:]), who.among)
    return found


def adapt(
    maps: Tensor, adapter: FeatureAdapter, weights: Weights, training: bool, valid: Tensor | None
) -> Tensor:
    """`FeatureAdapter` of every member that aligns a stage; running statistics are updated.

    Args:
        maps: The teacher's, shape (K_i, B, C_i of the teacher, H_i, W_i).
        adapter: A lone model's adapter.
        weights: Its weights of these members.
        training: Whether BatchNorm takes the batch's statistics.
        valid: Which clips there are, shape (K_i, B), bool; None is all of them.

    Returns:
        Shape (K_i, B, C_i of the student, H_i, W_i).
    """
    points = layers.patch_convolution(maps, adapter.conv, weights.below("conv"))
    stacked = layers.stack_maps(points)
    adapted = layers.batch_norm(stacked, adapter.norm, weights.below("norm"), training, valid)
    return layers.member_maps(adapted, len(maps))
