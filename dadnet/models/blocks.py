"""The parts of MicroFlowNeXt: normalisation, gradient-aware block, attentions, flow correction.

Axes: B clips, C channels, D features, N positions (H*W), H and W rows and columns.
Maps are (B, C, H, W) in logical order; the steps over channels permute to (B, H, W, C), which is a
free view in the channels-last memory format.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from dadnet.models.operations import depthwise_convolution, gradient_magnitude

FlowCorrection = Literal["inverse", "similarity"]

GRADIENT_WEIGHT = 0.1  # of the gradient branch in a block
ENHANCEMENT_WEIGHT = 0.1  # of the linear enhancement in the head attention
LINEAR_EPS = 1e-6  # added to the diagonal before inverting
DETERMINANT_EPS = 1e-8


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a (B, C, H, W) map."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position over its channels; (B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GradientAwareBlock(nn.Module):
    """Residual block whose depthwise branch also sees the gradient magnitude of its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=5, padding=2, groups=dim)
        self.grad_conv = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Apply the block.

        Args:
            x: Maps, shape (B, C, H, W).
            keep: Factor of the residual branch per clip (stochastic depth: 0 or 1 / (1 - rate)),
                shape (B,); None keeps all at 1.

        Returns:
            Maps, shape (B, C, H, W).
        """
        y = depthwise_convolution(x, self.dwconv.weight, _bias(self.dwconv))
        edges = gradient_magnitude(x)
        edges = depthwise_convolution(edges, self.grad_conv.weight, _bias(self.grad_conv))
        y = torch.add(y, edges, alpha=GRADIENT_WEIGHT)
        y = self.pwconv(self.norm(y.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        if keep is not None:
            y = y * keep.view(-1, 1, 1, 1)
        return torch.add(x, y)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


class ChannelAttention(nn.Module):
    """Peak-enhanced channel attention: weights from the average and the maximum of each channel."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc = nn.Sequential(
            nn.Linear(2 * channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Rescale the channels of (B, C, H, W) maps by weights in (0, 1)."""
        summary = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)  # (B, 2C)
        weights: Tensor = self.fc(summary)  # (B, C)
        return x * weights[:, :, None, None]


class HeadAttention(nn.Module):
    """Self-attention among the tokens of ONE clip, one projection for queries and keys.

    The values are the normalised tokens themselves; a linear enhancement is added at 0.1. The
    reference applies it across the clips of a batch; here the batch axis is never mixed.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.projection = nn.Linear(dim, dim)
        self.micro_enhance = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend within each clip; tokens (B, N, D) to (B, N, D)."""
        values = self.norm(tokens)
        projected = self.projection(values)
        scores = projected @ projected.transpose(1, 2) * projected.shape[-1] ** -0.5  # (B, N, N)
        enhanced: Tensor = ENHANCEMENT_WEIGHT * self.micro_enhance(values)
        return torch.matmul(scores.softmax(dim=-1), values) + enhanced


def build_localization() -> nn.Sequential:
    """Localisation layers of the spatial transformer: (B, 2, S, S) to (B, 16, S // 4, S // 4)."""
    # ReLU after the pooling: the same function and gradient, on a quarter of the positions.
    return nn.Sequential(
        nn.Conv2d(2, 16, kernel_size=5, padding=2),
        nn.BatchNorm2d(16),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 16, kernel_size=3, padding=1),
        nn.BatchNorm2d(16),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
    )


def build_downsample_layers(dims: tuple[int, ...], channel_attention: bool) -> nn.ModuleList:
    """Stem (divides by 4), then the steps between stages (by 2), with channel attention or not."""
    stem = nn.Sequential(nn.Conv2d(2, dims[0], kernel_size=4, stride=4), ChannelNorm(dims[0], 1e-6))
    layers = [stem]
    for before, after in pairwise(dims):
        parts: list[nn.Module] = [nn.Conv2d(before, after, kernel_size=2, stride=2)]
        if channel_attention:
            parts.append(ChannelAttention(after))
        layers.append(nn.Sequential(*parts))
    return nn.ModuleList(layers)


def correct_flow(flow: Tensor, theta: Tensor, method: FlowCorrection = "inverse") -> Tensor:
    """Turn the vectors of a flow that was resampled with the affine matrices theta.

    `inverse`: (A + 1e-6 I)^-1 v, since the sampling grid maps target to source.
    `similarity`: A v / sqrt(|det A| + 1e-8), the first public version of DAD-Net.

    Args:
        flow: Resampled flow, shape (B, 2, H, W), pixels.
        theta: Affine matrices [A | t], shape (B, 2, 3).
        method: One of the two above; the model checks it.

    Returns:
        Corrected flow, shape (B, 2, H, W).
    """
    linear = theta[:, :, :2]
    if method == "inverse":
        matrix = _inverse(linear)
    else:
        determinant = linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]
        matrix = linear / (determinant.abs() + DETERMINANT_EPS).sqrt()[:, None, None]
    return torch.bmm(matrix, flow.flatten(2)).view_as(flow)


def _inverse(linear: Tensor) -> Tensor:
    """Inverse of (B, 2, 2) matrices plus 1e-6 I; in closed form: solvers wait for a GPU."""
    a, b, c, d = linear.flatten(1).unbind(1)
    a, d = a + LINEAR_EPS, d + LINEAR_EPS
    adjugate = torch.stack([d, -b, -c, a], dim=1).view_as(linear)
    return adjugate / (a * d - b * c)[:, None, None]


def initialise(model: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the weights of all convolutions and linear layers as ConvNeXt does; biases are 0.

    The reference's Kaiming fan-out starts with logits of standard deviation 10 (here 0.3), and none
    of our trials with it learnt a toy task.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
