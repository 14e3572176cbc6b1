"""One synthetic clip: the motion of a drawn face from onset over apex to offset, frame by frame."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dadnet.base.seeding import seed_hash
from dadnet.datasets.synthetic.action_units import KNOWN_UNITS, head_field, units_field
from dadnet.datasets.synthetic.face import REFERENCE_SIZE, Face, FloatArray, draw_face
from dadnet.datasets.synthetic.face_layers import OVERSAMPLING, Layers, paint_layers
from dadnet.datasets.synthetic.face_parts import Pose, paint_parts

# The units of each emotion with their usual strength.
_EMOTION_UNITS: Mapping[str, tuple[Mapping[int, float], ...]] = {
    "disgust": ({4: 0.8, 9: 1.0}, {4: 1.0, 9: 0.8}, {4: 1.0, 15: 0.8}),
    "repression": ({4: 0.8, 15: 1.0}, {4: 1.0, 15: 0.8}),
    "happiness": ({6: 0.8, 12: 1.0}, {6: 0.6, 12: 1.0}),
    "surprise": ({1: 1.0, 2: 1.0, 5: 0.8}, {1: 0.9, 2: 1.0, 5: 0.8, 26: 0.9}),
    "others": ({14: 1.0}, {17: 1.0}, {24: 1.0}, {17: 0.8, 24: 1.0}),
}
EMOTIONS = tuple(_EMOTION_UNITS)
# Standard deviation of the sensor's noise, in grey levels.
NOISE = 1.1


@dataclass(frozen=True, kw_only=True)
class Amplitude:
    """Sizes of the motions; lengths in reference pixels.

    Attributes:
        peak: least and largest value of the largest motion at the apex.
        drift: standard deviation of the head's shift from onset to apex.
        blink: probability that the eyes are partly closed at the apex.
        strays: least and largest strength of units that are not of the emotion.
    """

    peak: tuple[float, float]
    drift: float
    blink: float
    strays: tuple[float, float]


AMPLITUDES: Mapping[str, Amplitude] = {
    "micro": Amplitude(peak=(0.5, 2.0), drift=0.7, blink=0.2, strays=(0.3, 0.9)),
    "macro": Amplitude(peak=(2.5, 8.0), drift=1.5, blink=0.2, strays=(0.2, 0.6)),
}


@dataclass(frozen=True)
class ClipPlan:
    """Subject and emotion of a clip.

    Attributes:
        subject: number of the subject.
        index: number of the clip among the subject's clips, from 0.
        emotion: one of ``EMOTIONS``.
    """

    subject: int
    index: int
    emotion: str

    @property
    def filename(self) -> str:
        """Name of the clip's folder, such as ``EP02_01f``."""
        return f"EP{2 + self.index // 6:02d}_{1 + self.index % 6:02d}f"


@dataclass(frozen=True, kw_only=True)
class Performance:
    """The events of a clip; lengths in reference pixels.

    Attributes:
        numbers: numbers of the frames, onset first, offset last.
        apex: position of the apex among them.
        units: strength of each unit of the emotion, left and right of the image.
        strays: the same of up to two units that are not of the emotion.
        peak: largest motion of the skin at the apex.
        shift: of the head from onset to apex.
        roll: of the head, radians.
        turn: of the head, as in :func:`head_field`.
        zoom: of the head, a fraction.
        blink: part of the eye that is closed at the apex.
        gaze: shift of the gaze at the apex.
        gains: brightness of each frame.
        noise_seed: seed of the sensor's noise.
    """

    numbers: tuple[int, ...]
    apex: int
    units: Mapping[int, tuple[float, float]]
    strays: Mapping[int, tuple[float, float]]
    peak: float
    shift: tuple[float, float]
    roll: float
    turn: tuple[float, float]
    zoom: float
    blink: float
    gaze: tuple[float, float]
    gains: tuple[float, ...]
    noise_seed: int

    @property
    def action_units(self) -> str:
        """The units in the spelling of an annotation: ``4+15``, ``L12`` if only one side moves."""
        return "+".join(_coded(unit, sides) for unit, sides in sorted(self.units.items()))


def _coded(unit: int, sides: tuple[float, float]) -> str:
    left, right = sides
    # The left of the image is the right of the face.
    side = "R" if right < 0.4 * left else "L" if left < 0.4 * right else ""
    return f"{side}{unit}"


def draw_performance(plan: ClipPlan, seed: int, amplitude: str) -> Performance:
    """The events of a clip, drawn from seed, amplitude (a key of ``AMPLITUDES``) and plan."""
    sizes = AMPLITUDES[amplitude]
    rng = np.random.default_rng(seed_hash("clip", seed, amplitude, plan.subject, plan.index))
    person = np.random.default_rng(seed_hash("expressiveness", seed, plan.subject))
    low, high = sizes.peak
    peak = np.exp(rng.uniform(np.log(low), np.log(high)) + 0.25 * person.normal())
    num_frames = int(rng.integers(8, 10))
    onset, step = int(rng.integers(10, 120)), int(rng.integers(5, 10))
    drift = sizes.drift
    closed = float(rng.uniform(0.2, 0.9)) if rng.random() < sizes.blink else 0.0
    looks = 1.5 * rng.normal(size=2) * np.array([1.0, 0.4]) * (rng.random() < 0.2)
    shift, turn = drift * rng.normal(size=2), 0.6 * drift * rng.normal(size=2)
    roll, zoom = drift / 110 * rng.normal(), drift / 220 * rng.normal()
    gains = 1.0 + 0.006 * rng.normal(size=num_frames)
    units = _draw_units(rng, plan.emotion)
    return Performance(
        numbers=tuple(onset + step * k for k in range(num_frames)),
        apex=int(rng.integers(num_frames // 2 - 1, num_frames // 2 + 2)),
        units=units,
        strays=_draw_strays(rng, units, sizes.strays),
        peak=float(np.clip(peak, low, high)),
        shift=(float(shift[0]), float(shift[1])),
        roll=float(roll),
        turn=(float(turn[0]), float(turn[1])),
        zoom=float(zoom),
        blink=closed,
        gaze=(float(looks[0]), float(looks[1])),
        gains=tuple(float(g) for g in gains),
        noise_seed=int(rng.integers(2**62)),
    )


def _draw_units(rng: np.random.Generator, emotion: str) -> dict[int, tuple[float, float]]:
    choices = _EMOTION_UNITS[emotion]
    usual = choices[rng.integers(len(choices))]
    one_sided = rng.random() < 0.1
    tilt = 0.7 * rng.choice((-1.0, 1.0)) if one_sided else 0.15 * np.clip(rng.normal(), -2, 2)
    units = {}
    for unit, strength in usual.items():
        size = strength * rng.uniform(0.6, 1.2)
        units[unit] = (float(size * (1.0 - tilt)), float(size * (1.0 + tilt)))
    return units


def _draw_strays(
    rng: np.random.Generator, units: Mapping[int, object], sizes: tuple[float, float]
) -> dict[int, tuple[float, float]]:
    """Up to two units of other emotions, as in real faces."""
    others = [unit for unit in KNOWN_UNITS if unit not in units]
    strays = {}
    for unit in rng.choice(others, size=int(rng.integers(0, 3)), replace=False):
        size, tilt = rng.uniform(*sizes), rng.uniform(-0.5, 0.5)
        strays[int(unit)] = (float(size * (1.0 - tilt)), float(size * (1.0 + tilt)))
    return strays


def write_subject(
    folder: Path, plans: Sequence[ClipPlan], seed: int, amplitude: str, image_size: int
) -> None:
    """Write the frames of one subject's clips as ``sub01/EP02_01f/img46.png`` below the folder."""
    subject = plans[0].subject
    face = draw_face(seed, subject)
    layers = paint_layers(face, image_size)
    style_seed = seed_hash("style", seed, subject)
    for plan in plans:
        clip_folder = folder / f"sub{plan.subject:02d}" / plan.filename
        clip_folder.mkdir(parents=True)
        play = draw_performance(plan, seed, amplitude)
        frames = render_clip(face, layers, play, image_size, style_seed)
        for number, frame in zip(play.numbers, frames, strict=True):
            # Low compression level: sensor noise hardly compresses.
            encoded = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1]
            (clip_folder / f"img{number}.png").write_bytes(encoded.tobytes())


def render_clip(
    face: Face,
    layers: Layers,
    play: Performance,
    image_size: int,
    style_seed: int = 0,
    *,
    noise: float = NOISE,
    only: Collection[int] | None = None,
) -> list[npt.NDArray[np.uint8]]:
    """The frames of a clip from face, painted layers and style of its subject.

    Args:
        face, layers: of the subject.
        play: events of the clip.
        image_size: side of a frame in pixels.
        style_seed: of the subject.
        noise: standard deviation of the sensor's noise in grey levels.
        only: positions of the frames to draw, which are as in the whole clip; None: all.

    Returns:
        One image per frame, shape (image_size, image_size, 3), blue, green, red.
    """
    acting = {**play.units, **play.strays}
    skin = units_field(face, acting, image_size, style_seed=style_seed)
    gain = play.peak / float(np.hypot(skin[..., 0], skin[..., 1]).max())
    head = head_field(face, play.shift, play.roll, play.turn, play.zoom, image_size)
    rng = np.random.default_rng(play.noise_seed)
    frames = []
    for k, brightness in enumerate(play.gains):
        grain = rng.standard_normal((image_size, image_size, 1), dtype=np.float32)
        if only is not None and k not in only:
            continue
        ramp = _ramp(k, play.apex, len(play.numbers))
        image = paint_parts(face, layers, _pose(face, play, acting, gain, ramp))
        moved = _warp(image, ramp * gain * skin + (k / play.apex) * head, image_size)
        noisy = brightness * moved + noise * grain
        frames.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return frames


def _ramp(k: int, apex: int, num_frames: int) -> float:
    """Strength of the expression: 0 at the onset, 1 at the apex, 0.15 left at the offset."""
    if k <= apex:
        return float(0.5 - 0.5 * np.cos(np.pi * k / apex))
    return float(0.575 + 0.425 * np.cos(np.pi * (k - apex) / (num_frames - 1 - apex)))


def _pose(
    face: Face,
    play: Performance,
    acting: Mapping[int, tuple[float, float]],
    gain: float,
    ramp: float,
) -> Pose:
    """State of eyes, mouth and creases; the creases saturate at macro motion."""

    def pixels(unit: int) -> float:
        return ramp * gain * sum(acting.get(unit, (0.0, 0.0))) / 2

    return Pose(
        lid=0.6 * pixels(5) - 1.5 * face.eye_open * play.blink * ramp,
        gaze=(ramp * play.gaze[0], ramp * play.gaze[1]),
        gap=0.8 * pixels(26),
        furrow=min(1.0, 0.25 * pixels(4)),
        crow=min(1.0, 0.25 * pixels(6)),
    )


def _warp(image: FloatArray, shift: FloatArray, image_size: int) -> FloatArray:
    """Frame of side ``image_size`` in which the face of the finer image is shifted."""
    # The value at p comes from p - shift; half pixels, since both grids count from their corners.
    axis = np.arange(image_size, dtype=np.float32) + 0.5
    scale = image_size / REFERENCE_SIZE
    across = OVERSAMPLING * (axis[None, :] - scale * shift[..., 0]) - 0.5
    down = OVERSAMPLING * (axis[:, None] - scale * shift[..., 1]) - 0.5
    # The blur of the lens, without which fine detail aliases.
    soft = cv2.GaussianBlur(image, (0, 0), 0.45 * OVERSAMPLING)
    moved = cv2.remap(soft, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.float32)
