"""DAD-Net: a trainable student beside a frozen teacher.

Stages are numbered 0 to 3, as in the reference: 2, 3 are the last two.
Axes: B clips, S input size, C_i, H_i, W_i shape of stage i, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import LossConfig
from dadnet.config.model import ModelConfig
from dadnet.models.blocks import FlowCorrection
from dadnet.models.microflownext import NUM_STAGES, Head, MicroFlowNeXt, ModelOutput
from dadnet.models.own import OwnNetwork
from dadnet.models.precision import full
from dadnet.models.public_checkpoints import infer_architecture, load_reference_state
from dadnet.models.weights import load_weights, stated_input_size

Stages = Iterable[int] | Mapping[int, bool]


class DADNetOutput(NamedTuple):
    """Output of DADNet for a batch of clips."""

    logits: Tensor  # (B, K)
    student_features: dict[int, Tensor]  # aligned stage: map of the student, (B, C_i, H_i, W_i)
    teacher_features: dict[int, Tensor]  # the same stages and shapes, adapted; empty if not run
    pooled: Tensor  # (B, D)
    theta: Tensor | None  # (B, 2, 3) of the student


class FeatureAdapter(nn.Module):
    """Maps teacher features to the student's width: 1x1 convolution without bias, BatchNorm."""

    def __init__(self, teacher_dim: int, student_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(teacher_dim, student_dim, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(student_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt (B, C_teacher, H, W) to (B, C_student, H, W)."""
        adapted: Tensor = self.norm(full(self.conv(x)))
        return adapted


class DADNet(nn.Module):
    """Student, frozen teacher, and the adapters between them.

    The teacher reads the same input, never trains and is always in evaluation mode, whatever
    `train()` is called with. It is run only where its features are used.

    Args:
        student: The trainable network.
        teacher: The network to freeze; its classes may be others than the student's.
        alignment_stages: Stages (0 to 3) whose features are aligned; may be empty. A mapping has
            a truth value for each stage.
        alignment_weight: Weight of the alignment in the loss; at 0 the teacher is not run.
        num_projections: Directions of the sliced distance.
        generator: Source of the adapters' initial weights; None takes torch's global one.

    Raises:
        DadnetError: If the stages, the weight or the input sizes are not usable.
    """

    def __init__(
        self,
        student: MicroFlowNeXt | OwnNetwork,
        teacher: MicroFlowNeXt,
        alignment_stages: Stages = LossConfig.alignment_stages,
        alignment_weight: float = LossConfig.alignment_weight,
        num_projections: int = LossConfig.num_projections,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if student.input_size != teacher.input_size:
            raise DadnetError(
                f"expected a teacher of the student's input size {student.input_size}, "
                f"got {teacher.input_size}"
            )
        self.alignment_stages = _check_alignment(alignment_stages, alignment_weight)
        self.alignment_weight = alignment_weight
        self.num_projections = num_projections
        self.student = student
        self.teacher = teacher.requires_grad_(False).eval()
        if isinstance(student, OwnNetwork):
            student.require_stages(self.alignment_stages)
        # In the reference's order: one adapter per aligned stage of unequal width, rising.
        self.adapted_stages = tuple(
            s for s in self.alignment_stages if student.dims[s] != teacher.dims[s]
        )
        self.adapters = nn.ModuleList(
            FeatureAdapter(teacher.dims[s], student.dims[s]) for s in self.adapted_stages
        )
        for adapter in self.adapters:
            nn.init.trunc_normal_(adapter.conv.weight, std=0.02, generator=generator)  # type: ignore[arg-type, union-attr]

    @property
    def aligned(self) -> bool:
        """Whether the teacher is run: a weight above 0 and at least one stage."""
        return self.alignment_weight > 0 and bool(self.alignment_stages)

    def train(self, mode: bool = True) -> DADNet:
        """Set the mode of student and adapters; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        *,
        keep: Tensor | None = None,
        teacher_maps: Mapping[int, Tensor] | None = None,
    ) -> DADNetOutput:
        """Classify flows and return the features to align.

        Args:
            x: Flows z-scored per channel and clip, shape (B, 2, S, S).
            generator: Source of the student's stochastic depth while training.
            keep: Stochastic depth drawn beforehand, see `MicroFlowNeXt.draw_keep`.
            teacher_maps: Result of `run_teacher(x)`, where it was run beforehand.

        Raises:
            DadnetError: As `MicroFlowNeXt.forward`.
        """
        output: ModelOutput = self.student(x, generator, keep=keep)
        if not self.aligned:
            return DADNetOutput(output.logits, {}, {}, output.pooled, output.theta)
        maps = self.run_teacher(x) if teacher_maps is None else teacher_maps
        student_features = {s: output.features[s] for s in self.alignment_stages}
        return DADNetOutput(
            output.logits, student_features, self.adapt(maps), output.pooled, output.theta
        )

    @torch.no_grad()
    def run_teacher(self, x: Tensor) -> dict[int, Tensor]:
        """The teacher's own maps of the aligned stages, without gradient and before the adapters.

        Flows (B, 2, S, S) to stage: map (B, C_i of the teacher, H_i, W_i); none where it is unused.
        """
        if not self.aligned:
            return {}
        features, _ = self.teacher.stage_features(x, num_stages=max(self.alignment_stages) + 1)
        return {stage: features[stage] for stage in self.alignment_stages}

    def adapt(self, teacher_maps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Adapt the teacher's maps to the student's widths, where they differ."""
        adapters = dict(zip(self.adapted_stages, self.adapters, strict=True))
        return {
            stage: adapters[stage](feature) if stage in adapters else feature
            for stage, feature in teacher_maps.items()
        }

    def describe(self) -> dict[str, str]:
        """The architecture as text, for the metadata of weight files."""
        return {
            **{f"student_{key}": value for key, value in self.student.describe().items()},
            **{f"teacher_{key}": value for key, value in self.teacher.describe().items()},
            "alignment_stages": ",".join(map(str, self.alignment_stages)),
        }


def get_dad_net(
    num_classes: int,
    micro_model_size: str = "micro",
    macro_model_size: str = "ultralight",
    alignment_stages: Stages = LossConfig.alignment_stages,
    macro_weights_path: str | Path | None = None,
    alignment_weight: float = LossConfig.alignment_weight,
    num_projections: int = LossConfig.num_projections,
    input_size: int | None = None,
    flow_correction: FlowCorrection = "inverse",
    head: Head = "tokens",
    *,
    use_stn: bool = True,
    channel_attention: bool = True,
    head_attention: bool = True,
    drop_path_rate: float = 0.0,
    macro_flow_correction: FlowCorrection | None = None,
    allow_random_teacher: bool = False,
    generator: torch.Generator | None = None,
) -> DADNet:
    """Build a DAD-Net around a trained teacher.

    Args:
        num_classes: Number of classes K of the student.
        micro_model_size: Size of the student, a key of `MODEL_SIZES`.
        macro_model_size: Size of the teacher.
        alignment_stages: Stages (0 to 3) that are aligned, as (2, 3) or {2: True, 3: True}; 2, 3
            are the last two.
        macro_weights_path: Teacher weights, a .safetensors file. What the teacher has (spatial
            transformer, attentions, number of classes) is read from the weights.
        alignment_weight: Weight lambda of the alignment in the loss.
        num_projections: Directions L of the sliced distance.
        input_size: Side S of the flows, pixels, equal for both streams; None takes the teacher's,
            or 224 where its file does not say it.
        flow_correction: Of the student, see `MicroFlowNeXt`; so are head, use_stn,
            channel_attention, head_attention and drop_path_rate.
        macro_flow_correction: The teacher's; None takes that of its file (`save_weights` writes
            it), or the student's where the file has none.
        allow_random_teacher: Accept macro_weights_path=None and freeze a random teacher.
        generator: Source of the initial weights (a CPU generator); None takes torch's global one.

    Returns:
        The model on the CPU, in training mode (its teacher in evaluation mode).

    Raises:
        DadnetError: If an argument is out of range, or teacher weights are absent or do not fit.
    """
    of_teacher = None if macro_weights_path is None else stated_input_size(Path(macro_weights_path))
    if input_size is None:
        input_size = of_teacher or ModelConfig.input_size
    elif of_teacher not in (None, input_size):
        raise DadnetError(
            f"input_size: expected {of_teacher}, the side of the flows that the teacher in "
            f"{macro_weights_path} reads (or none, which takes it), got {input_size}"
        )
    student = MicroFlowNeXt(
        num_classes,
        micro_model_size,
        input_size,
        flow_correction,
        head,
        use_stn=use_stn,
        channel_attention=channel_attention,
        head_attention=head_attention,
        drop_path_rate=drop_path_rate,
        generator=generator,
    )
    if macro_weights_path is not None:
        weights, metadata = load_weights(Path(macro_weights_path))
        of_file: Any = metadata.get("flow_correction", flow_correction)
        teacher = MicroFlowNeXt(
            model_size=macro_model_size,
            input_size=input_size,
            flow_correction=macro_flow_correction or of_file,
            **infer_architecture(weights)._asdict(),
        )
        load_reference_state(teacher, weights)
    elif allow_random_teacher:
        correction = macro_flow_correction or flow_correction
        teacher = MicroFlowNeXt(
            num_classes, macro_model_size, input_size, correction, generator=generator
        )
    else:
        raise DadnetError(
            "expected macro_weights_path=FILE.safetensors with trained teacher weights, got None "
            "(allow_random_teacher=True freezes a random teacher)"
        )
    return DADNet(
        student, teacher, alignment_stages, alignment_weight, num_projections, generator=generator
    )


def _check_alignment(stages: Stages, weight: float) -> tuple[int, ...]:
    if isinstance(stages, Mapping):  # as the public implementation takes them
        chosen = tuple(stage for stage, aligned in stages.items() if aligned)
    else:
        chosen = tuple(stages)
    if len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(NUM_STAGES)):
        raise DadnetError(f"expected distinct alignment stages of 0, 1, 2, 3; got {chosen}")
    if not weight >= 0:
        raise DadnetError(f"expected alignment_weight of at least 0, got {weight}")
    return tuple(sorted(chosen))
