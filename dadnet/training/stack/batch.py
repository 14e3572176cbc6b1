"""The clips of a step of a stack: gathered, augmented and normalised together.

Axes: N clips of a dataset, K folds, B clips of the longest batch, S input size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dadnet.flow.normalisation import normalise
from dadnet.training.augment import WarpParameters, mirror_flow, warp_flow
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.aligned import index_of, pick
from dadnet.training.stack.inputs import StepInputs, policy_of


@dataclass(frozen=True)
class Batcher:
    """Makes the clips of steps, and of the validation, for all folds of a stack at once.

    Attributes:
        flows: flows of each fold, (N, 2, S, S), pixels; mostly one tensor for all.
        own: mean and standard deviation of the folds that do not normalise by the clip itself,
            each (K, 2); None where no fold has any.
        by_clip: which folds normalise by the clip, (K,), bool; None: all or none of them.
        mirrors: whether clips are at most mirrored, None: not even that.
    """

    flows: Sequence[Tensor]
    own: tuple[Tensor, Tensor] | None
    by_clip: Tensor | None
    mirrors: bool | None

    @classmethod
    def of(cls, folds: Sequence[OneFold]) -> Batcher:
        """That of these folds."""
        found = [fold.statistics for fold in folds]
        known = [statistics for statistics in found if statistics is not None]
        own, by_clip = None, None
        if known:
            blank = tuple(torch.ones_like(part) for part in known[0])
            filled = [blank if statistics is None else statistics for statistics in found]
            mean, std = (torch.stack(part) for part in zip(*filled, strict=True))
            own = mean, std
        if 0 < len(known) < len(folds):
            by_clip = torch.tensor([s is None for s in found]).to(folds[0].device)
        policies = [policy_of(fold) for fold in folds]
        mirrors = all(policy.only_mirrors for policy in policies)
        still = mirrors and all(policy.hflip == 0 for policy in policies)
        return cls([fold.view.flows for fold in folds], own, by_clip, None if still else mirrors)

    def clips(
        self, rows: Tensor, warp: WarpParameters | None = None, folds: Sequence[int] | None = None
    ) -> Tensor:
        """Normalised clips (K, B, 2, S, S) of rows (K, B), augmented where `warp` says how.

        Rows and warp are of these folds of the stack; None is all.
        """
        chosen = range(len(self.flows)) if folds is None else folds
        flows = self._gathered(rows, [self.flows[k] for k in chosen]).float()
        if warp is not None and self.mirrors is not None:
            angle, scale, flip = (part.flatten() for part in warp)
            if self.mirrors:
                flows = mirror_flow(flows, flip)
            else:
                flows = warp_flow(flows, angle, scale, flip)
        return self._normalised(flows, rows, chosen).view(*rows.shape, *flows.shape[1:])

    @staticmethod
    def _gathered(rows: Tensor, flows: Sequence[Tensor]) -> Tensor:
        if all(other is flows[0] for other in flows):
            return flows[0].index_select(0, rows.flatten())
        return torch.cat([of.index_select(0, r) for of, r in zip(flows, rows, strict=True)])

    def _normalised(self, flows: Tensor, rows: Tensor, folds: Sequence[int]) -> Tensor:
        if self.own is None:
            return normalise(flows)
        index = None
        if len(folds) < len(self.flows):
            index = index_of(tuple(folds), rows.device)
        mean, std = (pick(s, index).repeat_interleave(rows.shape[1], dim=0) for s in self.own)
        by_fold = normalise(flows, (mean, std))
        if self.by_clip is None:
            return by_fold
        by_clip = pick(self.by_clip, index).repeat_interleave(rows.shape[1])
        return torch.where(by_clip[:, None, None, None], normalise(flows), by_fold)


@dataclass(frozen=True)
class CachedMaps:
    """The kept maps of the teacher, for a stack whose folds that align all have them.

    Attributes:
        folds: the folds of the stack, with their caches.
        stages: aligned stage: the folds that align it.
    """

    folds: Sequence[OneFold]
    stages: Mapping[int, Sequence[int]]

    @classmethod
    def of(cls, folds: Sequence[OneFold]) -> CachedMaps | None:
        """Those of these folds; None if any that aligns has none, or no fold aligns."""
        aligning = [fold for fold in folds if fold.config.aligned]
        if not aligning or any(fold.teacher_maps is None for fold in aligning):
            return None
        stages: dict[int, list[int]] = {}
        for k, fold in enumerate(folds):
            if fold.teacher_maps is not None:
                for stage in fold.teacher_maps.stages:
                    stages.setdefault(stage, []).append(k)
        return cls(folds, dict(sorted(stages.items())))

    def __call__(self, inputs: StepInputs, folds: Sequence[int] | None) -> dict[int, Tensor]:
        """Aligned stage: maps (K_i, B, C, H, W) of the folds of these inputs that align it."""
        chosen = list(range(len(self.folds)) if folds is None else folds)
        found = {}
        for stage, aligning in self.stages.items():
            slots = [slot for slot, k in enumerate(chosen) if k in set(aligning)]
            if slots:
                found[stage] = self._of_stage(stage, inputs, slots, chosen)
        return found

    def _of_stage(
        self, stage: int, inputs: StepInputs, slots: Sequence[int], chosen: Sequence[int]
    ) -> Tensor:
        rows, flip = inputs.rows, inputs.warp.flip
        if len(slots) < len(chosen):
            index = index_of(tuple(slots), rows.device)
            rows, flip = rows.index_select(0, index), flip.index_select(0, index)
        kept = [self.folds[chosen[slot]].teacher_maps for slot in slots]
        tables = [maps.table(stage) for maps in kept if maps is not None]
        clips = len(tables[0]) // 2
        index = rows + clips * flip
        if all(table is tables[0] for table in tables):
            maps = tables[0].index_select(0, index.flatten())
        else:
            maps = torch.cat([t.index_select(0, i) for t, i in zip(tables, index, strict=True)])
        return maps.view(*rows.shape, *maps.shape[1:]).permute(0, 1, 4, 2, 3)
