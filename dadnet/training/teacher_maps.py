"""Maps of the frozen teacher for all clips, computed once where a clip has only two versions.

With the augmentations `none` and `hflip` a clip is itself or its mirror image, so all maps of the
teacher can be computed beforehand. They are cached for all folds of a process, under the digests of
teacher and flows.

Axes: N clips, B clips of a batch, C, H, W channels, rows and columns of a stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from dadnet.config.experiment import ExperimentConfig, Precision
from dadnet.flow.normalisation import normalise
from dadnet.folds.view import FoldView
from dadnet.models import DADNet
from dadnet.models.precision import half_products, matrix_units
from dadnet.training.augment import mirror_flow
from dadnet.training.teacher import Teacher

# Bytes of the maps of the stages of one fold. Each stage has half the numbers of the stage before,
# so the cache of a teacher holds at most twice this.
_AT_MOST_BYTES = 2 * 2**30
_AT_ONCE = 8  # clips in one call of the teacher


@dataclass(frozen=True)
class TeacherMaps:
    """Maps of every clip and of its mirror image.

    Attributes:
        teacher: hash of the teacher's weights.
        data: hash of the flows.
        stages: the aligned stages, rising.
        device: device of the maps.
        network: a dual network with this teacher.
        flows: shape (N, 2, S, S), pixels; they are normalised per clip here.
        precision: that of the training step.
    """

    teacher: str
    data: str
    stages: tuple[int, ...]
    device: str
    network: DADNet = field(compare=False, repr=False)
    flows: Tensor = field(compare=False, repr=False)
    precision: Precision = "float32"

    @classmethod
    def kept(
        cls,
        teacher: Teacher,
        network: DADNet,
        view: FoldView,
        device: torch.device,
        config: ExperimentConfig,
    ) -> TeacherMaps | None:
        """The maps of a fold's clips; None where they do not fit into memory."""
        maps = cls(
            teacher.digest,
            view.flows_digest,
            network.alignment_stages,
            str(device),
            network,
            view.flows,
            config.optim.precision,
        )
        return maps if maps.fit_into_memory() else None

    def fit_into_memory(self) -> bool:
        """Whether the cache may hold them; decided by their number alone."""
        one = self._run(self.flows[:1], mirrored=False)
        numbers = sum(maps.numel() for maps in one.values())
        return 2 * len(self.flows) * numbers * 4 <= _AT_MOST_BYTES

    def of(self, rows: Tensor, flip: Tensor) -> dict[int, Tensor]:
        """The maps by stage of the clips `rows` (B,), those mirrored where `flip` (B,) is true.

        They are equal to those of `DADNet.run_teacher`, (B, C, H, W), channels-last.
        """
        index = rows.to(self.flows.device) + len(self.flows) * flip.to(self.flows.device).long()
        cached = self._computed()
        return {stage: cached[stage][index].permute(0, 3, 1, 2) for stage in self.stages}

    def table(self, stage: int) -> Tensor:
        """The maps of a stage of all clips, then of all mirror images, (2 N, H, W, C)."""
        return self._computed()[stage]

    def _computed(self) -> dict[int, Tensor]:
        """The cache by stage, with these stages; folds of a stack may align different ones."""
        cached = _cache(self.teacher, self.data, self.device, self.precision)
        if lacking := set(self.stages) - set(cached):
            parts = [
                self._run(part, mirrored)
                for mirrored in (False, True)
                for part in torch.split(self.flows, _AT_ONCE)
            ]
            for stage in lacking:
                cached[stage] = torch.cat([part[stage].permute(0, 2, 3, 1) for part in parts])
        return cached

    def _run(self, flows: Tensor, mirrored: bool) -> Mapping[int, Tensor]:
        flip = torch.full((len(flows),), mirrored)
        clips = normalise(mirror_flow(flows.float(), flip))
        clips = clips.contiguous(memory_format=torch.channels_last)
        with matrix_units(self.precision), half_products(self.precision, clips.device):
            return self.network.run_teacher(clips)


@lru_cache(maxsize=2)
def _cache(teacher: str, data: str, device: str, precision: Precision) -> dict[int, Tensor]:
    """Stage: maps of all clips, then of all mirror images, shape (2 N, H, W, C); filled later."""
    return {}
