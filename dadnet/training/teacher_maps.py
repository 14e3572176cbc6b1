"""The frozen teacher's maps of all clips, computed once where they can only be of two kinds.

With the augmentations `none` and `hflip` a clip is itself or its mirror image, so what the teacher
says of it is known beforehand. It is kept for all folds of a process, by hashes of what it is of.

Axes: N clips, B clips of a batch, C, H, W channels, rows and columns of a stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from dadnet.config.experiment import Precision
from dadnet.flow.normalisation import normalise
from dadnet.models import DADNet
from dadnet.models.precision import half_products, matrix_units
from dadnet.training.augment import mirror_flow

# Of the maps of one member's stages; a stage's are half those of the stage before, so all that is
# kept of a teacher is at most twice this.
_AT_MOST_BYTES = 2 * 2**30
_AT_ONCE = 8  # clips in one call of the teacher


@dataclass(frozen=True)
class TeacherMaps:
    """Maps of every clip and of its mirror image.

    Attributes:
        teacher: hash of the teacher's weights.
        data: hash of the flows.
        stages: the aligned stages, rising.
        device: where the maps are.
        network: the dual network that holds the teacher; of equal teachers any will do.
        flows: shape (N, 2, S, S), pixels, normalised by each clip's own statistics.
        precision: as the training step multiplies.
    """

    teacher: str
    data: str
    stages: tuple[int, ...]
    device: str
    network: DADNet = field(compare=False, repr=False)
    flows: Tensor = field(compare=False, repr=False)
    precision: Precision = "float32"

    def fit_into_memory(self) -> bool:
        """Whether they are few enough to be kept; decided by their number alone."""
        one = self._run(self.flows[:1], mirrored=False)
        numbers = sum(found.numel() for found in one.values())
        return 2 * len(self.flows) * numbers * 4 <= _AT_MOST_BYTES

    def of(self, rows: Tensor, flip: Tensor) -> dict[int, Tensor]:
        """The teacher's maps of a batch, as `DADNet.run_teacher` gives them.

        Args:
            rows: which clips, shape (B,), int64.
            flip: which of them mirrored, shape (B,), bool.

        Returns:
            Stage: shape (B, C, H, W), channels-last.
        """
        places = rows.to(self.flows.device) + len(self.flows) * flip.to(self.flows.device).long()
        kept = self._computed()
        return {stage: kept[stage][places].permute(0, 3, 1, 2) for stage in self.stages}

    def _computed(self) -> dict[int, Tensor]:
        """What is kept by stage, with these stages; members of a stack may align different ones."""
        kept = _kept(self.teacher, self.data, self.device, self.precision)
        if lacking := set(self.stages) - set(kept):
            parts = [
                self._run(part, mirrored)
                for mirrored in (False, True)
                for part in torch.split(self.flows, _AT_ONCE)
            ]
            for stage in lacking:
                kept[stage] = torch.cat([part[stage].permute(0, 2, 3, 1) for part in parts])
        return kept

    def _run(self, flows: Tensor, mirrored: bool) -> Mapping[int, Tensor]:
        flip = torch.full((len(flows),), mirrored)
        clips = normalise(mirror_flow(flows.float(), flip))
        clips = clips.contiguous(memory_format=torch.channels_last)
        with matrix_units(self.precision), half_products(self.precision, clips.device):
            return self.network.run_teacher(clips)


@lru_cache(maxsize=2)
def _kept(teacher: str, data: str, device: str, precision: Precision) -> dict[int, Tensor]:
    """Stage: maps of all clips, then of all mirror images, shape (2 N, H, W, C); filled later."""
    return {}
