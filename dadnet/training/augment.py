"""Augmentation of flows on the device: the vectors turn with the field.

Axes: B clips, H and W rows and columns. x points right, y DOWN, as u and v do, so a positive angle
takes the x axis towards the y axis: clockwise as one sees the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode
from dadnet.config.experiment import Policy
from dadnet.flow.own_augmentation import OwnAugmentation
from dadnet.models.precision import wide


class WarpParameters(NamedTuple):
    """The transformation of each clip of a batch."""

    angle: Tensor  # degrees, clockwise, shape (B,), float64
    scale: Tensor  # zoom about the centre, shape (B,), float64
    flip: Tensor  # mirrored left to right (before the turn), shape (B,), bool


@dataclass(frozen=True, kw_only=True)
class OpticalFlowAugmentation:
    """Random flips, rotations and zooms of raw flows, one draw per clip.

    Call it with flows in pixels, before they are z-scored: `augment(flow, generator)`. The names of
    the public project (`horizontal_flip_prob`, `rotation_range`, `scale_range`) are taken too; as
    there, rotation and zoom are then left out by a coin each.

    Attributes:
        hflip: Probability of a mirror image.
        rotation: Largest angle to either side, degrees; the angle is uniform.
        scale: Smallest and largest zoom; the zoom is uniform.
        probability: Probability that a clip is changed at all.
        each_by_coin: Rotation and zoom are each left out with probability 0.5.

    Raises:
        DadnetError: If an argument is out of its range.
    """

    hflip: float = 0.5
    rotation: float = 10.0
    scale: tuple[float, float] = (0.9, 1.1)
    probability: float = 1.0
    each_by_coin: bool = False
    horizontal_flip_prob: InitVar[float | None] = None
    rotation_range: InitVar[float | None] = None
    scale_range: InitVar[tuple[float, float] | None] = None

    def __post_init__(
        self,
        horizontal_flip_prob: float | None,
        rotation_range: float | None,
        scale_range: tuple[float, float] | None,
    ) -> None:
        public = {"hflip": horizontal_flip_prob, "rotation": rotation_range, "scale": scale_range}
        if given := {name: value for name, value in public.items() if value is not None}:
            for name, value in {**given, "each_by_coin": True}.items():
                object.__setattr__(self, name, value)
        for name in ("hflip", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise DadnetError(f"expected {name} from 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.rotation <= 180:
            raise DadnetError(f"expected rotation from 0 to 180 degrees, got {self.rotation}")
        low, high = self.scale
        if not 0 < low <= high:
            raise DadnetError(f"expected scale=(low, high) with 0 < low <= high, got {self.scale}")

    def __call__(self, flow: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Augment a batch, or one clip.

        Args:
            flow: Flows in pixels, shape (B, 2, H, W) or (2, H, W).
            generator: Source of the draws (a CPU generator gives the same on every device); None:
                torch's own.

        Returns:
            Flows of the same shape; clips that were drawn unchanged are bit for bit the input.
        """
        if flow.ndim == 3:
            return self(flow[None], generator)[0]
        return self.apply(flow, self.draw(len(flow), generator or torch.default_generator))

    @property
    def only_mirrors(self) -> bool:
        """Whether a clip can only become itself or its mirror image."""
        return self.rotation == 0 and self.scale == (1.0, 1.0)

    def apply(self, flow: Tensor, parameters: WarpParameters) -> Tensor:
        """Apply parameters of `draw` to flows in pixels, shape (B, 2, H, W)."""
        if self.only_mirrors:
            return mirror_flow(flow, parameters.flip)  # no need to resample
        return warp_flow(flow, *parameters)

    def draw(self, batch_size: int, generator: torch.Generator) -> WarpParameters:
        """Draw the parameters of a batch, on the generator's device.

        Six numbers are drawn per clip whatever the policy, so two policies with one seed differ in
        nothing but what they do.
        """
        numbers = torch.rand(
            batch_size, 6, generator=generator, dtype=torch.float64, device=generator.device
        )
        return self.of_draws(numbers)

    def of_draws(self, numbers: Tensor) -> WarpParameters:
        """The parameters by six uniform numbers of each clip, (..., 6) to (...) each."""
        draws = numbers.unbind(dim=-1)
        changed = draws[0] < self.probability
        turned, zoomed = changed, changed
        if self.each_by_coin:
            turned, zoomed = changed & (draws[4] < 0.5), changed & (draws[5] < 0.5)
        low, high = self.scale
        return WarpParameters(
            angle=torch.where(turned, self.rotation * (2 * draws[2] - 1), 0.0),
            scale=torch.where(zoomed, low + (high - low) * draws[3], 1.0),
            flip=changed & (draws[1] < self.hflip),
        )


POLICIES: Mapping[str, OpticalFlowAugmentation] = {
    "none": OpticalFlowAugmentation(hflip=0.0, rotation=0.0, scale=(1.0, 1.0)),
    "hflip": OpticalFlowAugmentation(hflip=0.5, rotation=0.0, scale=(1.0, 1.0)),
    # The first public recipe; its code turns and zooms by a coin flip each.
    "reference-v1": OpticalFlowAugmentation(
        hflip=0.5, rotation=10.0, scale=(0.9, 1.1), each_by_coin=True
    ),
    "standard": OpticalFlowAugmentation(
        hflip=0.0, rotation=5.0, scale=(0.95, 1.05), probability=0.5, each_by_coin=True
    ),
}


class Augmentation(Protocol):
    """What a fold in training needs: parameters are drawn first, then applied."""

    @property
    def only_mirrors(self) -> bool:
        """Whether a clip can only become itself or its mirror image."""

    def draw(self, batch_size: int, generator: torch.Generator) -> Any:
        """Parameters of a batch."""

    def apply(self, flow: Tensor, parameters: Any) -> Tensor:
        """Apply them to flows in pixels, shape (B, 2, H, W)."""


def augmentation_of(policy: Policy | OwnCode) -> Augmentation:
    """The augmentation of a policy, or of a user's source."""
    return OwnAugmentation(policy) if isinstance(policy, OwnCode) else POLICIES[policy]


def warp_flow(flow: Tensor, angle: Tensor, scale: Tensor, flip: Tensor) -> Tensor:
    """Mirror, then turn and zoom flows about the centre, vectors included.

    A point at p from the centre goes to M p and its vector v becomes M v, with
    M = scale * R(angle) * diag(-1 if flip else 1, 1). Bilinear; outside the field the flow is 0.
    Differentiable in flow, angle and scale.

    Args:
        flow: Flows in pixels, shape (B, 2, H, W), float.
        angle: Degrees, clockwise as seen, shape (B,).
        scale: Zoom, more than 0, shape (B,).
        flip: Whether to mirror left to right, shape (B,), bool.

    Returns:
        Shape (B, 2, H, W); where the angle is 0 and the scale 1, exactly the (mirrored) input.

    Raises:
        DadnetError: If the shapes do not fit.
    """
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise DadnetError(f"expected flows of shape (B, 2, H, W), got {tuple(flow.shape)}")
    for name, value in (("angle", angle), ("scale", scale), ("flip", flip)):
        if value.shape != flow.shape[:1]:
            raise DadnetError(f"expected {name} of shape ({len(flow)},), got {tuple(value.shape)}")
    angle, scale = (p.to(device=flow.device, dtype=flow.dtype) for p in (angle, scale))
    mirrored = mirror_flow(flow, flip)
    turn = wide(angle).deg2rad()
    cos, sin = turn.cos().to(angle), turn.sin().to(angle)
    forward = _matrix(cos, -sin, sin, cos) * scale[:, None, None]
    resampled = _resample(mirrored, _matrix(cos, sin, -sin, cos) / scale[:, None, None])
    turned = torch.bmm(forward, resampled.flatten(2)).view_as(resampled)
    unchanged = (angle == 0) & (scale == 1)
    return torch.where(unchanged[:, None, None, None], mirrored, turned)


def mirror_flow(flow: Tensor, flip: Tensor) -> Tensor:
    """Mirror those of the flows (B, 2, H, W) where `flip` (B,) is true; u changes its sign."""
    chosen = flip.to(flow.device)[:, None, None, None]
    return torch.where(chosen, flow.flip(-1) * _constant((-1.0, 1.0), flow).view(2, 1, 1), flow)


def _constant(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    return _resident(numbers, like.dtype, like.device)


@lru_cache(maxsize=64)  # a step must not wait for a copy to the device
def _resident(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype, device=device)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Matrices [[a, b], [c, d]], shape (B, 2, 2)."""
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)


def _resample(flow: Tensor, backward: Tensor) -> Tensor:
    """Sample at `backward` times each target position, positions in pixels from the centre."""
    height, width = flow.shape[-2:]
    # affine_grid counts from -1 to 1 between the centres of the outermost pixels.
    half = _constant(((width - 1) / 2, (height - 1) / 2), flow)
    normalised = backward * half[None, None, :] / half[None, :, None]
    theta = F.pad(normalised, (0, 1))  # no translation
    grid = F.affine_grid(theta, list(flow.shape), align_corners=True)
    return F.grid_sample(flow, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
