"""Which folds of a stack align which stage, and the teacher and adapters of those folds alone.

A fold that does not align a stage takes no part in it, as in a training of its own: its adapter is
not run, its running statistics stay, and it cannot influence the other folds.

Axes: K folds of a call, K_i of them that align stage i, B clips, S input size, C_i, H_i, W_i shape
of stage i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dadnet.models import DADNet, MicroFlowNeXt
from dadnet.models.dad_net import FeatureAdapter
from dadnet.training.stack import layers
from dadnet.training.stack.layers import Weights
from dadnet.training.stack.layout import FoldLayout
from dadnet.training.stack.norm import Real, batch_norm


class Aligning(NamedTuple):
    """The folds of a call that align one stage: indices, int64, shape (K_i,); None is all."""

    folds: Tensor | None  # in the stack
    slots: Tensor | None  # in the call
    among: Tensor | None  # among the folds of the call that align any stage


@dataclass(frozen=True)
class AligningFolds:
    """Which folds of a call align what.

    Attributes:
        anywhere: slots in the call of the folds that align any stage; None is all.
        stages: aligned stage, rising: the folds that align it.
    """

    anywhere: Tensor | None
    stages: Mapping[int, Aligning]

    @classmethod
    def of(
        cls, layouts: Sequence[FoldLayout], folds: Tensor | None, device: torch.device
    ) -> AligningFolds:
        """Those among the folds of a call, all of the stack where it is None."""
        if all(layout.stages == layouts[0].stages for layout in layouts):
            # The indices are not read, since a GPU would have to finish its work first.
            return cls(None, {stage: Aligning(folds, None, None) for stage in layouts[0].stages})
        chosen = list(range(len(layouts))) if folds is None else folds.tolist()
        stages = [layouts[k].stages for k in chosen]
        anywhere = [slot for slot, aligned in enumerate(stages) if aligned]

        def index(numbers: list[int], every: int) -> Tensor | None:
            return None if numbers == [*range(every)] else index_of(tuple(numbers), device)

        by_stage = {}
        for stage in sorted({stage for aligned in stages for stage in aligned}):
            slots = [slot for slot in anywhere if stage in stages[slot]]
            by_stage[stage] = Aligning(
                index([chosen[slot] for slot in slots], len(layouts)),
                index(slots, len(chosen)),
                index([anywhere.index(slot) for slot in slots], len(anywhere)),
            )
        return cls(index(anywhere, len(chosen)), by_stage)


@lru_cache(maxsize=1024)  # a step must not wait for a copy to the device
def index_of(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """These numbers as an index on the device, made once."""
    return torch.tensor(numbers, dtype=torch.int64).to(device)


def pick(values: Tensor, index: Tensor | None) -> Tensor:
    """The rows of these indices; None is all."""
    return values if index is None else values.index_select(0, index)


def pick_maps(maps: Tensor, index: Tensor | None) -> Tensor:
    """Maps of some folds, (K, B, C, H, W) to (K_i, B, C, H, W), channels innermost in memory."""
    return maps if index is None else pick(maps.movedim(2, 4), index).movedim(4, 2)


@torch.no_grad()
def run_teacher(
    single: DADNet | MicroFlowNeXt, x: Tensor, aligning: AligningFolds
) -> dict[int, Tensor]:
    """The maps of the shared teacher for flows (K, B, 2, S, S), for the folds that align.

    Returns:
        Aligned stage: (K_i, B, C_i of the teacher, H_i, W_i); empty where no fold aligns.
    """
    if not isinstance(single, DADNet) or not aligning.stages:
        return {}
    flows = pick(x, aligning.anywhere)
    clips = flows.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    # On a CPU fold by fold: maps stay in its cache, and do not depend on the other folds.
    at_once = x.shape[1] if x.is_cpu else len(clips)
    depth = max(aligning.stages) + 1
    parts = [
        single.teacher.stage_features(p, num_stages=depth)[0] for p in torch.split(clips, at_once)
    ]
    by_stage = {}
    for stage, aligned in aligning.stages.items():
        maps = torch.cat([part[stage] for part in parts])
        by_stage[stage] = pick_maps(maps.view(*flows.shape[:2], *maps.shape[1:]), aligned.among)
    return by_stage


def adapt(
    maps: Tensor, adapter: FeatureAdapter, weights: Weights, training: bool, real: Real | None
) -> Tensor:
    """`FeatureAdapter` of every fold that aligns a stage; running statistics are updated.

    Maps (K_i, B, C_i of the teacher, H_i, W_i) to the C_i of the student. `adapter` is that of a
    single model, for its settings; `real` says which clips there are, None is all.
    """
    points = layers.patch_convolution(maps, adapter.conv, weights.below("conv"))
    stacked = layers.stack_maps(points)
    adapted = batch_norm(stacked, adapter.norm, weights.below("norm"), training, real)
    return layers.fold_maps(adapted, len(maps))
