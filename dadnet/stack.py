"""K networks of one architecture as one program, for training many folds at once.

Members do not meet: every output and gradient of a member is that of the lone network up to the
order of summation. The teacher is frozen and shared, so it runs once on all clips.

Batches of unequal size are padded to the longest, and `valid` says which clips there are: clips of
a member meet only in batch statistics, the sliced distance and the mean of the loss, and all three
weigh a padding by exactly 0. A step so stays one program of fixed shapes, where grouping members by
batch size would cut it in two. `members` runs some members only (others have finished).

Axes: K members, B clips, S input size, J blocks, C, H, W channels, rows and columns, L directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dadnet import stacked_layers as layers
from dadnet.errors import DadnetError
from dadnet.models import DADNet, MicroFlowNeXt, correct_flow
from dadnet.models.blocks import ChannelAttention, GradientAwareBlock
from dadnet.models.operations import affine_points
from dadnet.precision import in_full
from dadnet.stacked_layers import Weights

_TEACHER = "teacher."
_CACHED_PIXELS = 32 * 32 * 32  # of all clips in one call of the teacher


class StackedOutput(NamedTuple):
    """What a stack gives for a batch of clips per member."""

    logits: Tensor  # (K, B, classes)
    student_features: dict[int, Tensor]  # aligned stage: maps, (K, B, C_i, H_i, W_i)
    teacher_features: dict[int, Tensor]  # the same stages and shapes, adapted; empty if not run
    pooled: Tensor  # (K, B, D)
    theta: Tensor | None  # (K, B, 2, 3)


class StackedDADNet:
    """K members of one architecture; build it with :meth:`of`.

    Attributes:
        parameters: name in the lone model: the members' trainable weights, (K, *shape).
        buffers: the same for BatchNorm's running statistics.
        lone: a member, whose architecture all share; its own weights are not used.
        training: the mode, as of a lone network.
    """

    def __init__(
        self,
        lone: DADNet | MicroFlowNeXt,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
    ) -> None:
        self.lone = lone
        self.parameters = parameters
        self.buffers = buffers
        self.training = lone.training

    @classmethod
    def of(cls, members: Sequence[DADNet | MicroFlowNeXt]) -> StackedDADNet:
        """Copy members into a stack.

        Args:
            members: Networks of one architecture, device and dtype; of `DADNet` all with the same
                teacher, and either all or none aligned. The first one's modules are kept (its
                teacher, and its settings), so leave it where it is.

        Raises:
            DadnetError: If there is none, or they differ in more than their weights.
        """
        if not members:
            raise DadnetError("expected at least one member of a stack, got none")
        first = _architecture(members[0])
        for k, member in enumerate(members[1:], 1):
            if (found := _architecture(member)) != first:
                raise DadnetError(f"expected members alike, got {found} at {k} beside {first}")
            _check_teacher(members[0], member, k)
        states = [dict(member.named_parameters()) for member in members]
        names = [name for name in states[0] if not name.startswith(_TEACHER)]
        parameters = {n: _stacked([state[n] for state in states]).requires_grad_() for n in names}
        held = [dict(member.named_buffers()) for member in members]
        buffers = {
            n: _stacked([state[n] for state in held]) for n in held[0] if not n.startswith(_TEACHER)
        }
        return cls(members[0], parameters, buffers)

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
        return {name: value.detach()[k].clone() for name, value in tensors.items()}

    @torch.no_grad()
    def load_member_state(self, k: int, state: Mapping[str, Tensor]) -> None:
        """Fill a member in place; the inverse of :meth:`member_state`.

        Args:
            k: Which member.
            state: A lone state dict; a teacher's weights in it are not read.

        Raises:
            DadnetError: If names differ from the stack's; it is then as it was.
        """
        tensors = {**self.parameters, **self.buffers}
        given = {name for name in state if not name.startswith(_TEACHER)}
        if odd := sorted(given ^ set(tensors)):
            raise DadnetError(f"expected the {len(tensors)} names of the members, except {odd[:4]}")
        for name, value in tensors.items():
            value[k].copy_(state[name])

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
            teacher_maps: What `run_teacher(x)` gave, where it was run beforehand.

        Returns:
            `StackedOutput`.

        Raises:
            DadnetError: If the shape is wrong, or training with stochastic depth lacks `keep`.
        """
        self._check(x, keep, members)
        weights = self._weights(members)
        student = weights.below("student") if isinstance(self.lone, DADNet) else weights
        with in_full(x.device):
            flow, theta = self._align_flow(x, student, valid)
        maps = self._stages(flow, student, keep)
        logits, pooled = self._classify(maps[-1], student)
        aligned, adapted = self._features(x, maps, weights, valid, teacher_maps)
        self._keep_buffers(weights, members)
        return StackedOutput(logits, aligned, adapted, pooled, theta)

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the students alone, each its own; evaluation mode.

        Args:
            x: Flows z-scored per channel and clip, shape (K, B, 2, S, S).

        Returns:
            Shape (K, B, classes).
        """
        self._check(x, None, None)
        weights = self._weights(None)
        student = weights.below("student") if isinstance(self.lone, DADNet) else weights
        flow, _ = self._align_flow(x, student, None)
        return self._classify(self._stages(flow, student, None)[-1], student)[0]

    def run_teacher(self, x: Tensor) -> dict[int, Tensor]:
        """The shared teacher's maps of (K, B, 2, S, S) flows; see `DADNet.run_teacher`.

        Returns:
            Aligned stage: (K, B, C_i of the teacher, H_i, W_i); empty where there is no teacher.
        """
        if not isinstance(self.lone, DADNet):
            return {}
        clips = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        # A CPU is fastest while the maps at full size stay in its cache; a GPU takes all at once.
        at_once = max(x.shape[1], _CACHED_PIXELS // x.shape[-1] ** 2) if x.is_cpu else len(clips)
        parts = [self.lone.run_teacher(part) for part in torch.split(clips, at_once)]
        found = {stage: torch.cat([part[stage] for part in parts]) for stage in parts[0]}
        return {s: value.view(*x.shape[:2], *value.shape[1:]) for s, value in found.items()}

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
        values = {**self.parameters, **self.buffers}
        if members is None:
            return Weights(values)
        return Weights({name: value.index_select(0, members) for name, value in values.items()})

    @torch.no_grad()
    def _keep_buffers(self, weights: Weights, members: Tensor | None) -> None:
        """Bring the buffers of the chosen members back, which were updated as copies."""
        if members is None or not self.training:
            return
        for name, buffer in self.buffers.items():
            buffer.index_copy_(0, members, weights[name])

    def _align_flow(
        self, x: Tensor, weights: Weights, valid: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The spatial transformers; x and the aligned flow are (K, B, 2, S, S)."""
        if not self.student.use_stn:
            return x, None
        maps = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        for i, layer in enumerate(self.student.localization):
            place = weights.below("localization", i)
            if isinstance(layer, nn.Conv2d):
                maps = layers.convolution(maps, layer, place)
            elif isinstance(layer, nn.BatchNorm2d):
                maps = layers.batch_norm(maps, layer, place, self.training, valid)
            else:
                maps = layer(maps)
        found = layers.member_maps(maps, len(x)).flatten(2)
        hidden = layers.linear(found, weights.below("fc_loc", 0)).relu()
        theta = layers.linear(hidden, weights.below("fc_loc", 2)).view(-1, 2, 3)
        flow = x.flatten(0, 1)
        grid = affine_points(theta, *flow.shape[2:])
        resampled = F.grid_sample(flow, grid, align_corners=True)
        corrected = correct_flow(resampled, theta, self.student.flow_correction)
        return corrected.view(x.shape), theta.view(*x.shape[:2], 2, 3)

    def _stages(self, flow: Tensor, weights: Weights, keep: Tensor | None) -> list[Tensor]:
        """Stage maps, each (B, K*C_i, H_i, W_i)."""
        keeps = self._keep_of_blocks(keep, flow)
        found: list[Tensor] = []
        for i, (downsample, stage) in enumerate(
            zip(self.student.downsample_layers, self.student.stages, strict=True)
        ):
            before = layers.member_maps(found[-1], len(flow)) if found else flow
            x = self._downsample(before, downsample, weights.below("downsample_layers", i))  # type: ignore[arg-type]
            blocks: list[GradientAwareBlock] = list(stage)  # type: ignore[call-overload]
            for j, block in enumerate(blocks):
                place = weights.below("stages", i, j)
                x = layers.gradient_aware_block(x, block, place, next(keeps))
            found.append(x)
        return found

    def _downsample(self, maps: Tensor, lone: nn.Sequential, weights: Weights) -> Tensor:
        """Maps (K, B, C, H, W) to stacked maps of the next stage, (B, K*C', H', W')."""
        points = layers.patch_convolution(maps, lone[0], weights.below(0))  # type: ignore[arg-type]
        rest = lone[1] if len(lone) > 1 else None
        if isinstance(rest, nn.LayerNorm):
            points = layers.layer_norm(points, rest, weights.below(1))
        x = layers.stack_maps(points)
        if isinstance(rest, ChannelAttention):
            x = layers.channel_attention(x, weights.below(1))
        return x

    def _keep_of_blocks(self, keep: Tensor | None, x: Tensor) -> Iterator[Tensor | None]:
        rates = self.student.drop_rates
        if keep is None:
            return iter([None] * len(rates))
        factors = keep.to(device=x.device, dtype=x.dtype).unbind(1)
        return iter([f if rate > 0 else None for f, rate in zip(factors, rates, strict=True)])

    def _classify(self, last: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Last stage (B, K*D, H, W) to logits (K, B, classes) and pooled features (K, B, D)."""
        student, place = self.student, weights.below("attention")
        members = len(weights["norm.weight"])
        tokens = layers.member_maps(last, members).flatten(3).transpose(2, 3)  # (K, B, N, D)
        if student.head_kind == "tokens":
            tokens = layers.head_attention(tokens, student.attention, place)
        pooled = layers.layer_norm(tokens.mean(2), student.norm, weights.below("norm"))
        result = pooled
        if student.head_kind == "pooled":
            result = layers.head_attention(pooled[:, :, None], student.attention, place)[:, :, 0]
        return layers.linear(result, weights.below("head")), pooled

    def _features(
        self,
        x: Tensor,
        maps: Sequence[Tensor],
        weights: Weights,
        valid: Tensor | None,
        teacher_maps: Mapping[int, Tensor] | None,
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """The aligned stages' maps of students and teacher, each (K, B, C, H, W)."""
        if not isinstance(self.lone, DADNet) or not self.lone.aligned:
            return {}, {}
        found = dict(self.run_teacher(x) if teacher_maps is None else teacher_maps)
        students = {s: layers.member_maps(maps[s], len(x)) for s in sorted(found)}
        unequal = [s for s in sorted(found) if students[s].shape != found[s].shape]
        for i, (stage, adapter) in enumerate(zip(unequal, self.lone.adapters, strict=True)):
            place = weights.below("adapters", i)
            points = layers.patch_convolution(found[stage], adapter.conv, place.below("conv"))  # type: ignore[arg-type]
            stacked = layers.stack_maps(points)
            norm: nn.BatchNorm2d = adapter.norm  # type: ignore[assignment]
            adapted = layers.batch_norm(stacked, norm, place.below("norm"), self.training, valid)
            found[stage] = layers.member_maps(adapted, len(x))
        return students, found


def _architecture(model: DADNet | MicroFlowNeXt) -> dict[str, str]:
    """Everything that members must have in common, but their teacher's weights."""
    dual = isinstance(model, DADNet)
    student = model.student if isinstance(model, DADNet) else model
    weight = student.head.weight
    return {
        "kind": type(model).__name__,
        **model.describe(),
        "drop_path": str(student.drop_path_rate),
        "aligned": str(dual and model.aligned),
        "mode": "training" if model.training else "evaluation",
        "weights": f"{weight.dtype} on {weight.device}",
    }


def _check_teacher(first: nn.Module, member: nn.Module, k: int) -> None:
    if not isinstance(first, DADNet) or not isinstance(member, DADNet):
        return
    ours, theirs = first.teacher.state_dict(), member.teacher.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[n], theirs[n]) for n in ours):
        raise DadnetError(f"expected one teacher for all members, member {k} has another")


@torch.no_grad()
def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach().contiguous() for tensor in tensors])
