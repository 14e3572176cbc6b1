"""K networks of one architecture as one program, for training many folds at once.

Folds do not mix: every output and gradient of a fold equals that of its single network up to the
order of summation. The teacher is frozen and shared, so it runs once on all clips. Folds may align
different stages, or none; see `layout` and `aligned`.

Batches of unequal size are padded to the longest, and `valid` marks the real clips. Clips of a fold
meet only in batch statistics, in the alignment and in the mean of the loss, and all three give
padding a weight of exactly 0. A step is therefore one program of fixed shapes; grouping folds by
batch size would cut it in two. `folds` runs some folds only (others have finished).

Axes: K folds, K_i of them that align stage i, B clips, S input size, J blocks, C, H, W channels,
rows and columns, L directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.models import DADNet, MicroFlowNeXt
from dadnet.models.dad_net import FeatureAdapter
from dadnet.models.loss import StackedOutput
from dadnet.training.stack import layers
from dadnet.training.stack.aligned import AligningFolds, adapt, pick, pick_maps, run_teacher
from dadnet.training.stack.flat_adamw import flattened
from dadnet.training.stack.inputs import Left
from dadnet.training.stack.layers import Weights
from dadnet.training.stack.layout import FoldLayout, adapter_stage, check_alike, stack_tensors
from dadnet.training.stack.norm import Real
from dadnet.training.stack.student import student_logits, student_maps

if TYPE_CHECKING:
    from typing_extensions import Self


class Stack:
    """Weights of K networks of one architecture.

    Attributes:
        parameters: name in the stack: trainable weights of the folds, (K, *shape of a single one),
            which are copies.
        buffers: the same for the running statistics of BatchNorm.
        layouts: which stages each fold aligns, and its names in the stack.
        flat: after `lie_flat`, the weights in one tensor; see `flat_adamw`.
        training: the mode, as of a single network.
    """

    def __init__(self, models: Sequence[nn.Module], layouts: Sequence[FoldLayout]) -> None:
        self.layouts = list(layouts)
        self.parameters = stack_tensors([dict(m.named_parameters()) for m in models], layouts)
        self.buffers = stack_tensors([dict(m.named_buffers()) for m in models], layouts)
        self.flat: Tensor | None = None
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        self.training = models[0].training

    def __len__(self) -> int:
        return len(self.layouts)

    def lie_flat(self) -> None:
        """Put all weights into one tensor, of which `parameters` are then views."""
        self.flat, self.parameters = flattened(self.parameters)
        for parameter in self.parameters.values():
            parameter.requires_grad_()

    def part(self, folds: slice) -> Self:
        """Adjacent folds as a stack of their own; its weights and buffers are views of these."""
        part = copy(self)
        part.layouts = self.layouts[folds]
        part.parameters = {
            n: p.detach()[folds].requires_grad_() for n, p in self.parameters.items()
        }
        part.buffers = {name: buffer[folds] for name, buffer in self.buffers.items()}
        return part

    def tensors(self) -> dict[str, Tensor]:
        """All weights and buffers, by their names in the stack."""
        return {**self.parameters, **self.buffers}

    def fold_state(self, k: int, tensors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Copies of the weights and buffers of fold k, under the names of its single network.

        `tensors` are others than those of now, under the names of the stack.
        """
        tensors = self.tensors() if tensors is None else tensors
        names = self.layouts[k].names
        return {single: tensors[name].detach()[k].clone() for single, name in names.items()}

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all folds; a teacher stays in evaluation mode."""
        self.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None


class StackedDADNet(Stack):
    """K students of one architecture, each with its adapters, and their common teacher.

    Args:
        models: Networks of one architecture, device and dtype; of `DADNet` all with the same
            teacher. Which stages are aligned, and whether lambda is 0, may differ. The modules of
            the first one stay in use (its teacher, and its settings).

    Attributes:
        single: the first network, for the common architecture; its own weights are not used.

    Raises:
        DadnetError: If there is no network, or they differ in more than weights and alignment.
    """

    def __init__(self, models: Sequence[DADNet | MicroFlowNeXt]) -> None:
        check_alike(models)
        super().__init__(models, [FoldLayout.of(model) for model in models])
        self.single = models[0]
        self._adapters: dict[int, FeatureAdapter] = {}  # adapted stage: one adapter, for settings
        for model in models:
            if isinstance(model, DADNet):
                self._adapters.update(zip(model.adapted_stages, model.adapters, strict=True))  # type: ignore[arg-type]
        self._device = next(iter(self.parameters.values())).device
        self._all = AligningFolds.of(self.layouts, None, self._device)

    def part(self, folds: slice) -> Self:
        """Adjacent folds as a stack of their own; its weights and buffers are views of these."""
        part = super().part(folds)
        part._all = AligningFolds.of(part.layouts, None, self._device)
        return part

    @property
    def student(self) -> MicroFlowNeXt:
        """The student of a single fold, for its settings."""
        student = self.single.student if isinstance(self.single, DADNet) else self.single
        assert isinstance(student, MicroFlowNeXt)
        return student

    @property
    def left(self) -> Left:
        """The stochastic depth."""
        return Left(rates=self.student.drop_rates)

    @property
    def shapes(self) -> dict[int, tuple[int, int, int]]:
        """Stage: channels, rows and columns of its maps."""
        side = self.student.input_size // 4
        return {i: (dim, side >> i, side >> i) for i, dim in enumerate(self.student.dims)}

    def draw_keep(self, sizes: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
        """Draw the stochastic depth of every fold, with the numbers of a single training.

        The shape is (K, J, B), B the largest batch size; 0 in the padding.
        """
        longest = max(sizes)
        drawn = (
            F.pad(self.student.draw_keep(size, source), (0, longest - size))
            for size, source in zip(sizes, generators, strict=True)
        )
        return torch.stack(list(drawn))

    def __call__(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        *,
        valid: Tensor | None = None,
        folds: Tensor | None = None,
        teacher_maps: Mapping[int, Tensor] | None = None,
    ) -> StackedOutput:
        """Classify flows, each fold with its own network.

        Args:
            x: Flows z-scored per channel and clip, shape (K, B, 2, S, S); padding may hold any
                finite numbers.
            keep: Stochastic depth, shape (K, J, B), see `draw_keep`.
            valid: Which clips there are, shape (K, B), bool, at least one per fold; None is all.
                Of use in training mode only, where clips meet in batch statistics.
            folds: Indices of the folds of x, int64, distinct, shape (K of x,); None is all. The
                gradients of the other folds are 0 and their buffers stay.
            teacher_maps: Result of `aligned.run_teacher`, where it was run beforehand.

        Raises:
            DadnetError: If the shape is wrong, training with stochastic depth lacks `keep`, or
                `teacher_maps` lack an aligned stage.
        """
        self._check(x, keep, folds)
        weights = self._weights(folds)
        real = None if valid is None else Real.of(valid, x.dtype)
        maps, theta = student_maps(self.student, x, weights, self.training, keep, real)
        logits, pooled = student_logits(self.student, maps[-1], weights)
        self._keep_buffers(weights.values, folds)
        aligning = self._all
        if folds is not None:
            aligning = AligningFolds.of(self.layouts, folds, self._device)
        if teacher_maps is None:
            teacher_maps = run_teacher(self.single, x, aligning)
        students = {s: layers.fold_maps(maps[s], len(x)) for s in aligning.stages}
        aligned, adapted = self._features(students, aligning, real, teacher_maps)
        slots = {stage: which.slots for stage, which in aligning.stages.items()}
        return StackedOutput(logits, aligned, adapted, pooled, theta, slots)

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the students, without the teacher; evaluation mode.

        Flows (K, B, 2, S, S), z-scored per channel and clip, to (K, B, classes).
        """
        self._check(x, None, None)
        weights = self._weights(None)
        maps, _ = student_maps(self.student, x, weights, self.training)
        return student_logits(self.student, maps[-1], weights)[0]

    def _check(self, x: Tensor, keep: Tensor | None, folds: Tensor | None) -> None:
        count = len(self) if folds is None else len(folds)
        size, student = self.student.input_size, self.student
        if x.ndim != 5 or x.shape[0] != count or x.shape[2:] != (2, size, size):
            raise DadnetError(
                f"expected flows of shape ({count}, B, 2, {size}, {size}), got {tuple(x.shape)}"
            )
        if keep is None and self.training and student.drop_path_rate > 0:
            raise DadnetError(
                f"training with drop_path_rate={student.drop_path_rate} draws at random: expected "
                "keep=stack.draw_keep(...), got None"
            )

    def _weights(self, folds: Tensor | None, stage: int | None = None) -> Weights:
        """Of the adapters of a stage, or (None) of the students; of these folds."""
        values = {**self.parameters, **self.buffers}
        names = [name for name in values if adapter_stage(name) == stage]
        prefix = "student." if isinstance(self.single, DADNet) else ""
        if stage is not None:
            prefix = f"adapters.{stage}."
        return Weights({name: pick(values[name], folds) for name in names}, prefix)

    @torch.no_grad()
    def _keep_buffers(self, updated: Mapping[str, Tensor], folds: Tensor | None) -> None:
        """Write the buffers of the chosen folds back, which were updated as copies."""
        if folds is None or not self.training:
            return
        for name in self.buffers.keys() & updated.keys():
            self.buffers[name].index_copy_(0, folds, updated[name])

    def _features(
        self,
        maps: Mapping[int, Tensor],
        aligning: AligningFolds,
        real: Real | None,
        teacher_maps: Mapping[int, Tensor],
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Maps of the aligned stages of students and teacher, each (K_i, B, C, H, W)."""
        if lacking := sorted(set(aligning.stages) - set(teacher_maps)):
            raise DadnetError(
                f"expected teacher maps of every aligned stage, got none of {lacking}"
            )
        students, teachers = {}, {}
        for stage, which in aligning.stages.items():
            students[stage] = pick_maps(maps[stage], which.slots)
            teachers[stage] = teacher_maps[stage]
            if (adapter := self._adapters.get(stage)) is not None:
                weights = self._weights(which.folds, stage)
                own = None if real is None else real.pick(which.slots)
                teachers[stage] = adapt(teachers[stage], adapter, weights, self.training, own)
                self._keep_buffers(weights.values, which.folds)
        return students, teachers
