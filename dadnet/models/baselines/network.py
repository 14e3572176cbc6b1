"""The common base of the networks of the literature.

They read flows as the students do, z-scored per channel, and compute the inputs of their papers.
Dropout masks are drawn outside, by a generator of the fold, so that they are the same in a stack.

Axes: B clips, S input size, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.models.microflownext import ModelOutput

_TINY = 1e-6
Masks = Sequence[Tensor | None]


class BaselineNetwork(nn.Module):
    """A network of the literature.

    A subclass builds its layers, names the shapes it drops, and implements `classify`.

    Args:
        num_classes: Number of classes K.
        input_size: Side S of the flows, pixels.
    """

    dropout = 0.0  # share that is dropped
    smallest = 28  # pixels; the literature's usual input
    multiple = 1  # the input size must be a multiple of this

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__()
        if input_size < self.smallest or input_size % self.multiple:
            raise DadnetError(
                f"input_size: {type(self).__name__} expects {self.smallest} or more"
                + (f", a multiple of {self.multiple}" if self.multiple > 1 else "")
                + f"; got {input_size}"
            )
        self.num_classes, self.input_size = num_classes, input_size
        self.dropped: tuple[tuple[int, ...], ...] = ()  # shapes of one clip, in order of use

    def forward(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        *,
        keep: Sequence[Tensor] | None = None,
    ) -> ModelOutput:
        """Classify flows.

        Args:
            x: Flows z-scored per channel, shape (B, 2, S, S).
            generator: Source of the dropout masks while training.
            keep: Masks drawn beforehand, see `draw_keep`.

        Returns:
            `ModelOutput` with the feature in front of the classifier and no stage maps.

        Raises:
            DadnetError: If the shape is wrong, or training with dropout has neither source.
        """
        size = self.input_size
        if x.shape[1:] != (2, size, size):
            raise DadnetError(
                f"expected flows of shape (B, 2, {size}, {size}), got {tuple(x.shape)}"
            )
        masks: Masks = [None] * len(self.dropped)
        if self.training and self.dropped:
            if keep is None:
                if generator is None:
                    raise DadnetError("training with dropout draws: expected a generator or keep=")
                keep = self.draw_keep(len(x), generator)
            masks = [mask.to(x) for mask in keep]
        logits, pooled = self.classify(x, masks)
        return ModelOutput(logits, (), pooled, None)

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """Logits (B, K) and the feature in front of the classifier, (B, D).

        Args:
            x: Flows, shape (B, 2, S, S).
            masks: One for each of `dropped`: factors (B, *shape), or None in evaluation.
        """
        raise NotImplementedError

    def draw_keep(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the dropout masks of a batch, on the generator's device.

        For each of `dropped`, (B, *shape): 0, or 1 / (1 - share) where kept.
        """
        draws = [torch.rand(batch_size, *shape, generator=generator) for shape in self.dropped]
        return tuple(numbers.ge_(self.dropout).div_(1 - self.dropout) for numbers in draws)

    def describe(self) -> dict[str, str]:
        """The architecture as text, for the metadata of weight files."""
        return {
            "network": type(self).__name__,
            "num_classes": str(self.num_classes),
            "input_size": str(self.input_size),
        }


def drop(x: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a dropout mask; None is none."""
    return x if mask is None else x * mask


def optical_strain(flow: Tensor) -> Tensor:
    """Magnitude of the infinitesimal strain of a flow field, by central differences.

    Args:
        flow: Shape (B, 2, S, S): u right, v down.

    Returns:
        sqrt(e_xx^2 + e_yy^2 + 2 e_xy^2), e_xy = (du/dy + dv/dx) / 2; shape (B, S, S).

    Reference: Shreve et al., Macro- and micro-expression spotting in long videos using
        spatio-temporal strain, 2011.
    """
    down, right = torch.gradient(flow, dim=(2, 3))  # each (B, 2, S, S)
    shear = (down[:, 0] + right[:, 1]) / 2
    squares = right[:, 0].square() + down[:, 1].square() + 2 * shear.square()
    return (squares + _TINY**2).sqrt()


def with_strain(flow: Tensor) -> Tensor:
    """The three channels u, v and optical strain, (B, 2, S, S) to (B, 3, S, S).

    The strain is computed from the input of the network, which is z-scored per channel, and is then
    z-scored per clip. The papers compute it from the flow in pixels.
    """
    strain = optical_strain(flow)
    centred = strain - strain.mean((1, 2), keepdim=True)
    spread = centred.square().mean((1, 2), keepdim=True).sqrt()
    return torch.cat([flow, (centred / (spread + _TINY))[:, None]], dim=1)
