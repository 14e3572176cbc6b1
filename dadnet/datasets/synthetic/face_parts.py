"""The parts of a drawn face that open and close: eyes, mouth, and the creases of expressions."""

from dataclasses import dataclass

import numpy as np

from dadnet.datasets.synthetic.face import REFERENCE_SIZE, Face, FloatArray
from dadnet.datasets.synthetic.face_layers import OVERSAMPLING, Layers, blend, bump, smoothstep

_SCLERA = (205.0, 210.0, 214.0)
_LASH = (22.0, 22.0, 30.0)


@dataclass(frozen=True)
class Pose:
    """State of the parts; lengths in reference pixels.

    Attributes:
        lid: rise of the upper lids (negative: lowered, as in a blink).
        gaze: shift of the irises to the right and down.
        gap: height of the opening between the lips.
        furrow: depth of the creases between the brows, 0 to 1.
        crow: depth of the creases beside the eyes, 0 to 1.
    """

    lid: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    gap: float = 0.0
    furrow: float = 0.0
    crow: float = 0.0


def paint_parts(face: Face, layers: Layers, pose: Pose) -> FloatArray:
    """The whole neutral face with its parts in a pose, painted on layers of side S.

    Returns:
        Image of shape (S, S, 3), blue, green, red, 0 to 255.
    """
    image: FloatArray = layers.image.copy()
    for sign in (-1.0, 1.0):
        _paint_eye(image, face, layers, pose, sign)
    _paint_mouth(image, face, layers, pose)
    if pose.furrow > 0 or pose.crow > 0:
        _paint_creases(image, face, layers, pose)
    return image


def _window(
    layers: Layers, at: tuple[float, float], reach: tuple[float, float]
) -> tuple[slice, slice]:
    """Rows and columns of the pixels around a position."""
    scale = layers.x.shape[0] / REFERENCE_SIZE
    low = [max(0, int((a - r) * scale)) for a, r in zip(at, reach, strict=True)]
    high = [int((a + r) * scale) + OVERSAMPLING for a, r in zip(at, reach, strict=True)]
    return slice(low[1], high[1]), slice(low[0], high[0])


def _paint_eye(image: FloatArray, face: Face, layers: Layers, pose: Pose, sign: float) -> None:
    at = (face.midline + sign * face.eye_x, face.eye_y)
    part = _window(layers, at, (face.eye_half_width + 6, 16.0))
    x, y, shade = layers.x[part] - at[0], layers.y[part] - at[1], layers.shade[part]
    canvas = image[part]
    t = np.clip(sign * x / face.eye_half_width, -1.25, 1.25)  # 1: the outer corner
    almond = np.maximum(1.0 - np.abs(t) ** 2.2, 0.0)
    tilt = -0.9 * t
    lower = tilt + 0.52 * face.eye_open * almond
    upper = np.minimum(tilt - (face.eye_open + pose.lid) * almond**0.8, lower)
    opening = smoothstep(y - upper, -0.45, 0.45) * smoothstep(lower - y, -0.45, 0.45)
    opening *= smoothstep(1.0 - np.abs(t), -0.03, 0.06)
    ball = 0.62 + 0.38 * shade - 0.30 * np.exp(-np.maximum(y - upper, 0.0) / 1.8)
    ball -= 0.16 * np.abs(t) ** 3
    blend(canvas, np.asarray(_SCLERA, dtype=np.float32) * ball[..., None], opening)
    _paint_iris(canvas, face, (x - pose.gaze[0], y + 0.6 - pose.gaze[1]), opening)
    inner = bump(x, y, (-sign * (face.eye_half_width - 1.3), 0.7), (1.5, 1.1))
    blend(canvas, (110.0, 120.0, 176.0), 0.7 * inner * opening)
    lashes = np.exp(-(((y - upper + 0.3) / 0.95) ** 2)) * smoothstep(1.06 - np.abs(t), 0.0, 0.12)
    blend(canvas, _LASH, np.asarray(0.86 * lashes, dtype=np.float32))
    rim = np.exp(-(((y - lower - 0.4) / 0.7) ** 2)) * smoothstep(1.0 - np.abs(t), 0.0, 0.2)
    canvas *= 1.0 - 0.28 * np.asarray(rim, dtype=np.float32)[..., None]
    height = face.eye_open + 0.5 * pose.lid + 3.4
    crease = tilt - height * np.maximum(1.0 - t**2 / 1.3, 0.0) ** 0.7
    fold = np.exp(-(((y - crease) / 0.9) ** 2)) * smoothstep(1.05 - np.abs(t), 0.0, 0.3)
    canvas *= 1.0 - 0.26 * np.asarray(fold, dtype=np.float32)[..., None]
    pouch = np.exp(-(((y - lower - 6.5) / 1.4) ** 2)) * smoothstep(0.9 - np.abs(t), 0.0, 0.5)
    canvas *= 1.0 - 0.07 * np.asarray(pouch, dtype=np.float32)[..., None]


def _paint_iris(
    canvas: FloatArray, face: Face, at: tuple[FloatArray, FloatArray], opening: FloatArray
) -> None:
    x, y = at
    distance = np.sqrt(x**2 + y**2)
    radius = 0.43 * face.eye_half_width
    iris = np.asarray(face.hair, dtype=np.float32) * 0.9 + np.array([14.0, 26.0, 44.0], np.float32)
    spokes = 1.0 + 0.18 * np.sin(17.0 * np.arctan2(y, x)) * (distance / radius)
    colour = iris * np.asarray(spokes, dtype=np.float32)[..., None]
    blend(canvas, colour, smoothstep(-distance, -radius - 0.4, 0.4 - radius) * opening)
    blend(canvas, (10.0, 10.0, 12.0), 0.92 * smoothstep(-distance, -2.7, -2.1) * opening)
    glint = bump(x, y, (1.8 * np.sign(face.light[0]), -2.0), (0.8, 0.8))
    blend(canvas, (245.0, 245.0, 245.0), 0.85 * glint * opening)


def _paint_mouth(image: FloatArray, face: Face, layers: Layers, pose: Pose) -> None:
    at = (face.midline, face.mouth_y)
    part = _window(layers, at, (face.mouth_half_width + 8, 20.0 + pose.gap))
    x, y, shade = layers.x[part] - at[0], layers.y[part] - at[1], layers.shade[part]
    canvas = image[part]
    t = np.clip(np.abs(x) / face.mouth_half_width, 0.0, 1.2)
    body = np.maximum(1.0 - t**2.4, 0.0)
    line = 0.9 * np.exp(-((t / 0.22) ** 2)) - 0.6 * body + 0.9 * t**2
    top = line - 0.3 * pose.gap * body
    low = line + 0.7 * pose.gap * body
    bow = 1.0 - 0.28 * np.exp(-((t / 0.13) ** 2)) + 0.10 * np.exp(-(((t - 0.25) / 0.16) ** 2))
    above = top - face.lips[0] * body**0.75 * bow
    below = low + face.lips[1] * body**0.62
    corner = smoothstep(1.0 - t, -0.02, 0.08)
    skin = np.asarray(face.skin, dtype=np.float32)
    lip = skin * np.array([0.70, 0.66, 0.86], dtype=np.float32)
    ribs = 1.0 + 0.05 * np.sin(x * 2.6 + 0.8 * np.sin(x)) * body
    for first, last, tone in ((above, top, 0.86), (low, below, 1.02)):
        alpha = smoothstep(y - first, -0.6, 0.9) * smoothstep(last - y, -0.9, 0.6) * corner
        colour = lip * (tone * shade * ribs)[..., None]
        blend(canvas, np.asarray(colour, dtype=np.float32), 0.88 * alpha)
    if pose.gap > 0:
        hole = smoothstep(y - top, -0.4, 0.4) * smoothstep(low - y, -0.4, 0.4) * corner
        blend(canvas, (24.0, 22.0, 46.0), hole)
        teeth = hole * smoothstep(top + 0.45 * pose.gap - y, -0.4, 0.4)
        teeth *= smoothstep(0.6 - t, 0.0, 0.2)
        blend(canvas, (150.0, 160.0, 166.0), np.asarray(0.6 * teeth, dtype=np.float32))
    seam = np.exp(-(((y - line) / 0.85) ** 2)) * smoothstep(1.04 - t, 0.0, 0.10)
    blend(canvas, (34.0, 32.0, 62.0), np.asarray(0.72 * seam, dtype=np.float32))
    under = np.exp(-(((y - below - 1.6) / 1.5) ** 2)) * body
    canvas *= 1.0 - 0.14 * np.asarray(under, dtype=np.float32)[..., None]


def _paint_creases(image: FloatArray, face: Face, layers: Layers, pose: Pose) -> None:
    at = (face.midline, face.eye_y - 6)
    part = _window(layers, at, (64.0, 22.0))
    x, y = layers.x[part] - face.midline, layers.y[part]
    depth = np.zeros_like(x)
    for sign in (-1.0, 1.0):
        depth += pose.furrow * bump(x, y, (sign * 4.5, face.brow_y + 3), (1.0, 6.0))
        for k in (-1.0, 0.0, 1.0):
            across = y - face.eye_y - 2.5 * k - 0.25 * k * (sign * x - face.eye_x - 17)
            along = sign * x - face.eye_x - face.eye_half_width - 8
            depth += pose.crow * np.exp(-((across / 0.8) ** 2) - (along / 4.0) ** 2)
    image[part] *= 1.0 - 0.16 * depth[..., None]
