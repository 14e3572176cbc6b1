"""Corruptions of flows, to measure the robustness of a trained network.

Six kinds with five severities each, and `retiming` from frames. A kind acts on the flow in pixels,
like a worse camera, aligner or annotator, or on the z-scored input if the z-score would undo it.
Draws are seeded by kind and clip and shared by the severities of a kind, so that a clip's curve
shows one corruption that grows.

The severities of noise, blur, intensity and downsample are those of the public DAD-Net v2
(LanEinstein/DAD-Net, dadnet/data/perturbations.py), whose noise is relative to a clip's deviation,
as noise on a z-scored input is. The other kinds and their severities are ours.

Axes: S side of the network's input in pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from dadnet.base.errors import DadnetError, listed, meant
from dadnet.base.seeding import seed_hash
from dadnet.flow.compute import Flow
from dadnet.flow.faces import TEMPLATE, similarity

# Raised when a kind changes, so that old and new scores are not mixed.
VERSION = 1


@dataclass(frozen=True)
class CorruptionKind:
    """A kind of corruption with its severities.

    Attributes:
        severities: from mild to severe.
        clean: the severity without any effect.
        worst: exclusive limit of the severities.
        unit: unit of the severity.
        acts_on: the flow in pixels at the input size, the z-scored input, or the frames of the
            flow (`dadnet.inference.retiming`).
        meaning: one sentence of description.
        apply: (field (2, S, S), severity, draws) to (2, S, S); None where frames are needed.
    """

    severities: tuple[float, ...]
    clean: float
    worst: float
    unit: str
    acts_on: Literal["flow", "input", "frames"]
    meaning: str
    apply: Callable[[Flow, float, np.random.Generator], Flow] | None = None


@dataclass(frozen=True)
class Corruption:
    """One kind at one severity."""

    kind: str
    severity: float

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise DadnetError(f"corruption: expected some of {', '.join(KINDS)}, got {self.kind!r}")
        low, high = sorted((kind.clean, kind.worst))
        if not low <= self.severity <= high or self.severity == kind.worst:
            raise DadnetError(
                f"corruption: expected a severity of {self.kind} from {kind.clean:g} to below "
                f"{kind.worst:g} ({kind.unit}), got {self.severity:g}"
            )

    @property
    def name(self) -> str:
        """Such as ``noise-0.3``."""
        return f"{self.kind}-{self.severity:g}"


def suite(kinds: Sequence[str] = ()) -> tuple[Corruption, ...]:
    """The standard corruptions: every severity of the kinds.

    Args:
        kinds: default: all that need no frames.

    Raises:
        DadnetError: if a kind is unknown or named twice.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or len(set(kinds)) != len(kinds):
        raise DadnetError(
            f"corruptions: expected different ones of {', '.join(KINDS)}, got {listed(kinds)}"
            f"{meant(unknown[0], KINDS) if unknown else ''}"
        )
    chosen = kinds or [kind for kind, about in KINDS.items() if about.acts_on != "frames"]
    return tuple(Corruption(k, severity) for k in chosen for severity in KINDS[k].severities)


def corrupt(field: Flow, corruption: Corruption, clip_id: str) -> Flow:
    """Corrupt one clip.

    Args:
        field: flow or input, as `acts_on` of the kind says, shape (2, S, S).
        corruption: kind and severity; at the clean severity the field itself is returned.
        clip_id: seeds the draws, with the kind.

    Returns:
        Shape (2, S, S), float32.
    """
    kind = KINDS[corruption.kind]
    if corruption.severity == kind.clean:
        return field
    assert kind.apply is not None, "the kind acts on frames"
    draws = np.random.default_rng(seed_hash("corruption", corruption.kind, clip_id))
    return np.asarray(kind.apply(field, corruption.severity, draws), dtype=np.float32)


def _noise(field: Flow, severity: float, draws: np.random.Generator) -> Flow:
    grain = draws.standard_normal(field.shape, dtype=np.float32)
    noisy: Flow = field + np.float32(severity) * grain
    return noisy


def _blur(field: Flow, severity: float, draws: np.random.Generator) -> Flow:
    return _by_channel(lambda part: cv2.GaussianBlur(part, (0, 0), severity), field)


def _intensity(field: Flow, severity: float, draws: np.random.Generator) -> Flow:
    weaker: Flow = field * np.float32(severity)
    return weaker


def _downsample(field: Flow, severity: float, draws: np.random.Generator) -> Flow:
    # The vectors shrink with the field and grow with it again.
    side = field.shape[-1]
    small = max(1, round(severity * side))

    def change(part: Flow) -> object:
        part = cv2.resize(part, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR)

    return _by_channel(change, field)


def _jitter(field: Flow, severity: float, draws: np.random.Generator) -> Flow:
    """Onset and apex, each early or late by `severity` of the time between them.

    Model: the expression is a raised cosine from the onset (time 0) over the apex (1) to the offset
    (2); the head drifts linearly; the drift is the affine part of the flow.
    """
    onset, apex = timing_errors(severity, draws)
    drift = affine_part(field)
    expressed = _raised(1 + apex) - _raised(onset)
    jittered: Flow = np.float32(expressed) * (field - drift) + np.float32(1 + apex - onset) * drift
    return jittered


def timing_errors(severity: float, draws: np.random.Generator) -> tuple[float, float]:
    """Timing errors of onset and apex in times from onset to apex; above 0: late."""
    onset, apex = draws.choice((-severity, severity), 2)
    return float(onset), float(apex)


def _raised(time: float) -> float:
    return float(1 - np.cos(np.pi * np.clip(time, 0, 2))) / 2


def affine_part(field: Flow) -> Flow:
    """The least-squares affine field of a flow (2, S, S): shift, turn, zoom and shear."""
    side = field.shape[-1]
    line = np.linspace(-1, 1, side, dtype=np.float64)
    y, x = np.meshgrid(line, line, indexing="ij")
    part = np.zeros(field.shape, dtype=np.float64)
    for basis in (np.ones_like(x), x, y):  # orthogonal on a square grid about its middle
        share = (field * basis).sum(axis=(1, 2)) / max(float((basis**2).sum()), 1e-12)
        part += share[:, None, None] * basis
    return part.astype(np.float32)


def _misalignment(field: Flow, severity: float, draws: np.random.Generator) -> Flow:
    """The aligner's five landmarks with errors of `severity` of the side (standard deviation).

    The resulting wrong similarity moves the field and turns its vectors.
    """
    side = field.shape[-1]
    wrong = TEMPLATE + severity * draws.standard_normal(TEMPLATE.shape)
    matrix = similarity(wrong * (side - 1), TEMPLATE * (side - 1))
    moved = _by_channel(
        lambda part: cv2.warpAffine(
            part, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        field,
    )
    turned: Flow = np.einsum("ij,jhw->ihw", matrix[:, :2].astype(np.float32), moved)
    return turned


def _by_channel(change: Callable[[Flow], object], field: Flow) -> Flow:
    return np.stack([np.asarray(change(np.ascontiguousarray(part))) for part in field])


KINDS: Mapping[str, CorruptionKind] = {
    "noise": CorruptionKind(
        (0.1, 0.2, 0.3, 0.4, 0.5), 0.0, 10.0, "standard deviations of the input", "input",
        "Gaussian noise on the z-scored input, pixel by pixel.", _noise,
    ),
    "blur": CorruptionKind(
        (0.5, 1.0, 1.5, 2.0, 2.5), 0.0, 100.0, "pixels of the input (sigma)", "flow",
        "The flow blurred by a Gaussian.", _blur,
    ),
    "intensity": CorruptionKind(
        (0.8, 0.6, 0.4, 0.2, 0.1), 1.0, 0.0, "share of the input's strength", "input",
        "The z-scored input weakened. A weaker flow alone would be undone by the z-score.",
        _intensity,
    ),
    "downsample": CorruptionKind(
        (0.75, 0.5, 0.375, 0.25, 0.125), 1.0, 0.0, "share of the side", "flow",
        "The flow brought to a smaller side and back.", _downsample,
    ),
    "jitter": CorruptionKind(
        (0.05, 0.1, 0.2, 0.3, 0.4), 0.0, 0.5, "share of the time from onset to apex", "flow",
        "Onset and apex missed, early or late. Computed on the stored flow, not from frames: the "
        "expression by a raised cosine, the head's drift (the affine part of the flow) evenly.",
        _jitter,
    ),
    "misalignment": CorruptionKind(
        (0.01, 0.02, 0.03, 0.04, 0.05), 0.0, 0.2, "share of the side (landmarks' error)", "flow",
        "The aligner's five landmarks missed; the field moves and its vectors turn with it.",
        _misalignment,
    ),
    "retiming": CorruptionKind(
        (0.05, 0.1, 0.2, 0.3, 0.4), 0.0, 0.5, "share of the time from onset to apex", "frames",
        "Onset and apex missed as in jitter, and the flow computed anew from those frames.",
    ),
}  # fmt: skip
