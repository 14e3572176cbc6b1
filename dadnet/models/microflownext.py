"""MicroFlowNeXt, the backbone of both streams, in six sizes.

Axes: B clips, S input size, C_i channels and H_i, W_i size of stage i, D = C_4, K classes,
J blocks.
The parameter names are those of the first public DAD-Net, so that its checkpoints fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.models import blocks
from dadnet.models.blocks import FlowCorrection
from dadnet.models.operations import affine_points
from dadnet.models.precision import in_full

Head = Literal["tokens", "pooled", "linear"]

NUM_STAGES = 4
MIN_INPUT_SIZE = 32

# name: (blocks per stage, channels per stage)
MODEL_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "ultralight": ((1, 1, 1, 1), (24, 48, 64, 128)),
    "nano": ((1, 1, 1, 1), (32, 64, 128, 256)),
    "micro": ((1, 1, 1, 1), (48, 96, 192, 384)),
    "tiny": ((1, 1, 2, 1), (64, 128, 256, 512)),
    "small": ((1, 2, 3, 1), (96, 192, 384, 768)),
    "base": ((1, 1, 1, 1), (128, 256, 512, 1024)),
}


class ModelOutput(NamedTuple):
    """Output of MicroFlowNeXt for a batch of clips."""

    logits: Tensor  # (B, K)
    # The four stage maps, (B, C_i, H_i, W_i); of a user's network those it has, by stage.
    features: tuple[Tensor, ...] | Mapping[int, Tensor]
    pooled: Tensor  # (B, D), output of the final LayerNorm
    theta: Tensor | None  # (B, 2, 3) affine matrices; None without the spatial transformer


class MicroFlowNeXt(nn.Module):
    """Motion-sensitive backbone for flows; on the CPU in float32, in training mode.

    Args:
        num_classes: Number of classes K.
        model_size: A key of `MODEL_SIZES`: ultralight, nano, micro, tiny, small, base.
        input_size: Side S of the square flows, at least 32, pixels.
        flow_correction: How vectors turn with the spatial transformer, see `blocks.correct_flow`.
        head: `tokens`: attention over the positions of the clip's last stage, mean, LayerNorm,
            linear. `pooled`: mean, LayerNorm, the reference's attention at batch size one, linear.
            `linear`: mean, LayerNorm, linear.
        use_stn: False leaves the spatial transformer out.
        channel_attention: False leaves the peak-enhanced channel attention out.
        head_attention: False is the same as `head="linear"`.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0 at the first.
        generator: Source of the initial weights (a CPU generator); None takes torch's global one.

    Raises:
        DadnetError: If an argument is out of its range.

    Reference: Zhang and Ben, DAD-Net: A Distribution-Aligned Dual-Stream Framework for Cross-Domain
        Micro-Expression Recognition, 2025.
    """

    def __init__(
        self,
        num_classes: int,
        model_size: str = "micro",
        input_size: int = 224,
        flow_correction: FlowCorrection = "inverse",
        head: Head = "tokens",
        *,
        use_stn: bool = True,
        channel_attention: bool = True,
        head_attention: bool = True,
        drop_path_rate: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_arguments(
            num_classes,
            input_size,
            drop_path_rate,
            model_size=(model_size, MODEL_SIZES),
            flow_correction=(flow_correction, get_args(FlowCorrection)),
            head=(head, get_args(Head)),
        )
        head = head if head_attention else "linear"
        depths, dims = MODEL_SIZES[model_size]
        self.num_classes = num_classes
        self.model_size = model_size
        self.input_size = input_size
        self.flow_correction: FlowCorrection = flow_correction
        self.head_kind: Head = head
        self.use_stn = use_stn
        self.channel_attention = channel_attention
        self.drop_path_rate = drop_path_rate
        self.dims = dims
        last = sum(depths) - 1
        self.drop_rates = tuple(drop_path_rate * j / last for j in range(last + 1))

        if use_stn:
            self.localization = blocks.build_localization()
            self.fc_loc = nn.Sequential(
                nn.Linear(16 * (input_size // 4) ** 2, 32), nn.ReLU(inplace=True), nn.Linear(32, 6)
            )
        self.downsample_layers = blocks.build_downsample_layers(dims, channel_attention)
        self.stages = nn.ModuleList(
            nn.Sequential(*(blocks.GradientAwareBlock(dim) for _ in range(depth)))
            for depth, dim in zip(depths, dims, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        if head != "linear":
            self.attention = blocks.HeadAttention(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        blocks.initialise(self, generator)
        if use_stn:  # starts at the identity
            affine = self.fc_loc[2]
            nn.init.zeros_(affine.weight)  # type: ignore[arg-type]
            with torch.no_grad():
                affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))  # type: ignore[operator]

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, *, keep: Tensor | None = None
    ) -> ModelOutput:
        """Classify flows; a pure function of (weights, x, generator state).

        Args:
            x: Flows z-scored per channel and clip, shape (B, 2, S, S), float.
            generator: Source of the stochastic depth while training.
            keep: Stochastic depth drawn beforehand by `draw_keep`, shape (J, B), instead.

        Raises:
            DadnetError: If the shape is wrong, or training with stochastic depth lacks both a
                generator and `keep`.
        """
        if keep is None and self.training and self.drop_path_rate > 0:
            if generator is None:
                raise DadnetError(
                    f"training with drop_path_rate={self.drop_path_rate} draws at random: expected "
                    "generator=torch.Generator(...) or keep=, got neither (or build with rate 0)"
                )
            keep = self.draw_keep(x.shape[0], generator)
        features, theta = self.stage_features(x, keep=keep)
        logits, pooled = self.classify(features[-1])
        return ModelOutput(logits, features, pooled, theta)

    def draw_keep(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw stochastic depth for a batch, on the generator's device.

        It is 0 or 1 / (1 - rate) per block and clip, shape (J, B), float32.
        """
        rates = torch.tensor(self.drop_rates, device=generator.device)
        draws = torch.rand(len(rates), batch_size, generator=generator, device=generator.device)
        return (draws >= rates[:, None]) / (1 - rates[:, None])

    def stage_features(
        self, x: Tensor, *, num_stages: int = NUM_STAGES, keep: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Compute the stage maps, the head left out.

        Args:
            x: Flows, shape (B, 2, S, S).
            num_stages: How many stages to compute, 1 to 4.
            keep: See `draw_keep`.

        Returns:
            The maps of the first `num_stages` stages, each (B, C_i, H_i, W_i), and theta.

        Raises:
            DadnetError: If x has another shape.
        """
        size = self.input_size
        if x.shape[1:] != (2, size, size):
            raise DadnetError(
                f"expected flows of shape (B, 2, {size}, {size}), got {tuple(x.shape)}"
            )
        x, theta = self.align_flow(x)
        keeps = self.keep_of_blocks(keep, x)
        features: list[Tensor] = []
        stages = zip(self.downsample_layers, self.stages, strict=True)
        for downsample, stage in islice(stages, num_stages):
            x = downsample(x)
            for block in stage:  # type: ignore[attr-defined]
                x = block(x, next(keeps))
            features.append(x)
        return tuple(features), theta

    def keep_of_blocks(self, keep: Tensor | None, like: Tensor) -> Iterator[Tensor | None]:
        """Factors of each block in turn, (B,) or (K, B); None where a block keeps all at 1.

        `keep` is of `draw_keep`, (J, B), or (K, J, B) of a stack; the factors are of the dtype and
        device of `like`.
        """
        if keep is None:
            return iter([None] * len(self.drop_rates))
        pairs = zip(keep.to(like).unbind(-2), self.drop_rates, strict=True)
        return iter([factors if rate > 0 else None for factors, rate in pairs])

    def align_flow(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Resample flows (B, 2, S, S) by the spatial transformer and correct their vectors.

        The result is the aligned flow and theta (B, 2, 3); x itself and None without the
        transformer.
        """
        if not self.use_stn:
            return x, None
        with in_full(x.device):
            theta = self.fc_loc(self.localization(x).flatten(1)).view(-1, 2, 3)
            grid = affine_points(theta, self.input_size, self.input_size)
            resampled = F.grid_sample(x, grid, align_corners=True)
            return blocks.correct_flow(resampled, theta, self.flow_correction), theta

    def classify(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Last stage (B, D, H, W) to logits (B, K) and pooled feature (B, D); clips never meet."""
        tokens = last.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, D)
        if self.head_kind == "tokens":
            pooled = self.norm(self.attention(tokens).mean(1))
            return self.head(pooled), pooled
        pooled = self.norm(tokens.mean(1))
        if self.head_kind == "linear":
            return self.head(pooled), pooled
        # One token per clip: the softmax is 1, as in the reference at batch size one.
        return self.head(self.attention(pooled[:, None])[:, 0]), pooled

    def describe(self) -> dict[str, str]:
        """The architecture as text, for the metadata of weight files."""
        return {
            "model_size": self.model_size,
            "num_classes": str(self.num_classes),
            "input_size": str(self.input_size),
            "flow_correction": self.flow_correction,
            "head": self.head_kind,
            "use_stn": str(self.use_stn).lower(),
            "channel_attention": str(self.channel_attention).lower(),
        }


get_microflownext = MicroFlowNeXt  # the public name


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of parameters of a model (numbers, not tensors); buffers are not counted."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def _check_arguments(
    num_classes: int, input_size: int, drop_path_rate: float, **choices: tuple[str, Iterable[str]]
) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise DadnetError(f"{name}: expected one of {', '.join(known)}; got {value!r}")
    if num_classes < 2:
        raise DadnetError(f"expected num_classes of at least 2, got {num_classes}")
    if input_size < MIN_INPUT_SIZE:
        raise DadnetError(
            f"expected input_size of at least {MIN_INPUT_SIZE}, since the stages divide it by "
            f"4, 2, 2 and 2; got {input_size}"
        )
    if not 0 <= drop_path_rate < 1:
        raise DadnetError(f"expected drop_path_rate in [0, 1), got {drop_path_rate}")
