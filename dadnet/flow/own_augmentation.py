"""A user's augmentation behind the interface of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode
from dadnet.base.own_import import load_function, source_errors
from dadnet.base.seeding import generator, global_draws


class OwnDraw(NamedTuple):
    """The source of the draws of a step."""

    source: torch.Generator
    flip: Tensor  # as of `WarpParameters`: none; the teacher's maps are not cached


@dataclass(frozen=True)
class OwnAugmentation:
    """A function ``(flows, generator) -> flows`` of a user's source.

    The flows have the shape (B, 2, H, W) and are in pixels; the generator is on the CPU. Global
    generators are seeded by it too, so that draws from them can be repeated.
    """

    code: OwnCode
    only_mirrors = False

    def draw(self, batch_size: int, source: torch.Generator) -> OwnDraw:
        """Keep the source of the draws; they are made by the function itself."""
        return OwnDraw(source, torch.zeros(batch_size, dtype=torch.bool))

    def apply(self, flow: Tensor, drawn: OwnDraw) -> Tensor:
        """Run the function on flows in pixels, shape (B, 2, H, W).

        Raises:
            DadnetError: If it returns no such flows, or numbers that are not finite.
        """
        function = load_function(self.code)
        with global_draws(drawn.source.initial_seed(), flow.device):
            changed = function(flow.clone(), drawn.source)
        if not isinstance(changed, Tensor) or changed.shape != flow.shape:
            got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise DadnetError(
                f"{self.code}: expected flows of shape {tuple(flow.shape)}, got {got}"
            )
        if not changed.isfinite().all():
            raise DadnetError(f"{self.code}: expected finite flows, got NaN or infinity")
        return changed.to(flow)


def check_own_augmentation(code: OwnCode, size: int) -> None:
    """Run a user's augmentation once, so that what is wrong is known before anything is written.

    Raises:
        DadnetError: If it cannot be run, or its result cannot be used.
    """
    source = generator("own augmentation")
    flow = torch.randn(3, 2, size, size, generator=source)
    augment = OwnAugmentation(code)
    with source_errors(code):
        results = [augment.apply(flow, augment.draw(3, generator("try"))) for _ in range(2)]
    if not torch.equal(*results):
        raise DadnetError(f"{code}: expected the same flows for the same generator, got others")
