"""K networks of one architecture as one program, for training many folds at once.

Members do not meet: every output and gradient of a member is that of the lone network up to the
order of summation. The teacher is frozen and shared, so it runs once on all clips. Members may
align different stages, or none: see `stack_members` and `stack_alignment`.

Batches of unequal size are padded to the longest, and `valid` says which clips there are: clips of
a member meet only in batch statistics, the sliced distance and the mean of the loss, and all three
weigh a padding by exactly 0. A step so stays one program of fixed shapes, where grouping members by
batch size would cut it in two. `members` runs some members only (others have finished).

Axes: K members, K_i of them that align stage i, B clips, S input size, J blocks, C, H, W channels,
rows and columns, L directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.models import DADNet, MicroFlowNeXt
from dadnet.models.dad_net import FeatureAdapter
from dadnet.models.loss import StackedOutput
from dadnet.training.stack import layers
from dadnet.training.stack.aligned import Chosen, adapt, pick, pick_maps, run_teacher
from dadnet.training.stack.layers import Weights
from dadnet.training.stack.layout import (
    TEACHER,
    MemberLayout,
    adapter_stage,
    check_alike,
    stack_tensors,
)
from dadnet.training.stack.student import student_logits, student_maps


class StackedDADNet:
    """K members of one architecture; build it with :meth:`of`.

    Attributes:
        parameters: name in the stack: the members' trainable weights, (K, *shape of the lone one).
        buffers: the same for BatchNorm's running statistics.
        layouts: what each member has of these, and which stages it aligns.
        lone: a member, whose architecture all share; its own weights are not used.
        training: the mode, as of a lone network.
    """

    def __init__(
        self,
        lone: DADNet | MicroFlowNeXt,
        layouts: Sequence[MemberLayout],
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        adapters: Mapping[int, FeatureAdapter],
    ) -> None:
        self.lone = lone
        self.layouts = list(layouts)
        self.parameters = parameters
        self.buffers = buffers
        self.training = lone.training
        self._adapters = adapters  # adapted stage: some member's, for its settings
        self._device = next(iter(parameters.values())).device
        self._all = Chosen.of(self.layouts, None, self._device)

    @classmethod
    def of(cls, members: Sequence[DADNet | MicroFlowNeXt]) -> StackedDADNet:
        """Copy members into a stack.

        Args:
            members: Networks of one architecture, device and dtype; of `DADNet` all with the same
                teacher. Which stages are aligned, and whether lambda is 0, may differ. The first
                one's modules are kept (its teacher, and its settings), so leave it where it is.

        Raises:
            DadnetError: If there is none, or they differ in more than their weights and alignment.
        """
        check_alike(members)
        layouts = [MemberLayout.of(member) for member in members]
        weights = stack_tensors([dict(member.named_parameters()) for member in members], layouts)
        for weight in weights.values():
            weight.requires_grad_()
        buffers = stack_tensors([dict(member.named_buffers()) for member in members], layouts)
        adapters: dict[int, FeatureAdapter] = {}
        for member in members:
            if isinstance(member, DADNet):
                adapters.update(zip(member.adapted_stages, member.adapters, strict=True))  # type: ignore[arg-type]
        return cls(members[0], layouts, weights, buffers, adapters)

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    @property
    def student(self) -> MicroFlowNeXt:
        """The lone student, for its settings."""
        return self.lone.student if isinstance(self.lone, DADNet) else self.lone

    def train(self, mode: bool = True) -> StackedDADNet:
        """Set the mode; the teacher stays in evaluation mode."""
        self.training = mode
        return self

    def eval(self) -> StackedDADNet:
        """Set evaluation mode."""
        return self.train(False)

    def member_state(self, k: int) -> dict[str, Tensor]:
        """Copies of a member's weights and buffers, as the lone state dict without the teacher."""
        tensors = {**self.parameters, **self.buffers}
        names = self.layouts[k].names
        return {own: tensors[name].detach()[k].clone() for own, name in names.items()}

    @torch.no_grad()
    def load_member_state(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Fill a member in place; the inverse of :meth:`member_state`.

        Args:
            k: Which member.
            state: A lone state dict; a teacher's weights in it are not read.

        Raises:
            DadnetError: If names differ from the member's; it is then as it was.
        """
        tensors = {**self.parameters, **self.buffers}
        names = self.layouts[k].names
        given = {name for name in state if not name.startswith(TEACHER)}
        if odd := sorted(given ^ set(names)):
            raise DadnetError(f"expected the {len(names)} names of the member, except {odd[:4]}")
        for own, name in names.items():
            tensors[name][k].copy_(state[own])

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def draw_keep(self, sizes: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
        """Draw every member's stochastic depth as it would draw it alone.

        Args:
            sizes: Batch size of each member.
            generators: Its random source.

        Returns:
            Shape (K, J, B), float32, B the largest size; 0 in the padding.
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
        members: Tensor | None = None,
        teacher_maps: Mapping[int, Tensor] | None = None,
    ) -> StackedOutput:
        """Classify flows, each member its own.

        Args:
            x: Flows z-scored per channel and clip, shape (K, B, 2, S, S); padding may hold any
                finite numbers.
            keep: Stochastic depth, shape (K, J, B), see `draw_keep`.
            valid: Which clips there are, shape (K, B), bool, at least one per member; None is all.
                Of use in training mode only, where clips meet in batch statistics.
            members: Indices of the members that x is for, int64, distinct, shape (K of x,); None is
                all. Gradients of the others are 0 and their buffers stay.
            teacher_maps: What `run_teacher(x, members)` gave, where it was run beforehand.

        Returns:
            `StackedOutput`.

        Raises:
            DadnetError: If the shape is wrong, training with stochastic depth lacks `keep`, or
                `teacher_maps` lack an aligned stage.
        """
        self._check(x, keep, members)
        weights = self._weights(members)
        maps, theta = student_maps(self.student, x, weights, self.training, keep, valid)
        logits, pooled = student_logits(self.student, maps[-1], weights)
        self._keep_buffers(weights.values, members)
        chosen = self._chosen(members)
        if teacher_maps is None:
            teacher_maps = run_teacher(self.lone, x, chosen)
        students = {s: layers.member_maps(maps[s], len(x)) for s in chosen.stages}
        aligned, adapted = self._features(students, chosen, valid, teacher_maps)
        places = {stage: who.places for stage, who in chosen.stages.items()}
        return StackedOutput(logits, aligned, adapted, pooled, theta, places)

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the students alone, each its own; evaluation mode.

        Args:
            x: Flows z-scored per channel and clip, shape (K, B, 2, S, S).

        Returns:
            Shape (K, B, classes).
        """
        self._check(x, None, None)
        weights = self._weights(None)
        maps, _ = student_maps(self.student, x, weights, self.training)
        return student_logits(self.student, maps[-1], weights)[0]

    def run_teacher(self, x: Tensor, members: Tensor | None = None) -> dict[int, Tensor]:
        """The shared teacher's maps of (K, B, 2, S, S) flows; see `DADNet.run_teacher`.

        Args:
            x: Flows, shape (K, B, 2, S, S).
            members: As in the call of the stack.

        Returns:
            Aligned stage: (K_i, B, C_i of the teacher, H_i, W_i), the members that align it in
            rising places; empty where none does.
        """
        return run_teacher(self.lone, x, self._chosen(members))

    def _chosen(self, members: Tensor | None) -> Chosen:
        """Who aligns which stage among these members."""
        return self._all if members is None else Chosen.of(self.layouts, members, self._device)

    def _check(self, x: Tensor, keep: Tensor | None, members: Tensor | None) -> None:
        count = len(self) if members is None else len(members)
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

    def _weights(self, members: Tensor | None) -> Weights:
        """The students', of these members."""
        values = {**self.parameters, **self.buffers}
        names = [name for name in values if adapter_stage(name) is None]
        prefix = "student." if isinstance(self.lone, DADNet) else ""
        return Weights({name: pick(values[name], members) for name in names}, prefix)

    def _adapter_weights(self, stage: int, members: Tensor | None) -> Weights:
        """A stage's adapters', of these members."""
        values = {**self.parameters, **self.buffers}
        names = [name for name in values if adapter_stage(name) == stage]
        return Weights({name: pick(values[name], members) for name in names}, f"adapters.{stage}.")

    @torch.no_grad()
    def _keep_buffers(self, updated: Mapping[str, Tensor], members: Tensor | None) -> None:
        """Bring the buffers of the chosen members back, which were updated as copies."""
        if members is None or not self.training:
            return
        for name in self.buffers.keys() & updated.keys():
            self.buffers[name].index_copy_(0, members, updated[name])

    def _features(
        self,
        maps: Mapping[int, Tensor],
        chosen: Chosen,
        valid: Tensor | None,
        teacher_maps: Mapping[int, Tensor],
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """The aligned stages' maps of students and teacher, each (K_i, B, C, H, W)."""
        if lacking := sorted(set(chosen.stages) - set(teacher_maps)):
            raise DadnetError(f"expected the teacher's maps of every stage, got none of {lacking}")
        students, teachers = {}, {}
        for stage, who in chosen.stages.items():
            students[stage] = pick_maps(maps[stage], who.places)
            teachers[stage] = teacher_maps[stage]
            if (adapter := self._adapters.get(stage)) is not None:
                weights = self._adapter_weights(stage, who.members)
                there = None if valid is None else pick(valid, who.places)
                teachers[stage] = adapt(teachers[stage], adapter, weights, self.training, there)
                self._keep_buffers(weights.values, who.members)
        return students, teachers
