"""The parts of a drawn face that move with the skin: relief with light from one side, skin, hair.

Lengths are in reference pixels, see ``face``.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dadnet.datasets.synthetic.face import REFERENCE_SIZE, Colour, Face, FloatArray

OVERSAMPLING = 2  # resolution of the neutral face relative to the frames


@dataclass(frozen=True)
class Layers:
    """Images painted once per subject, on a grid of side S = 2 x the side of the frames.

    Attributes:
        x: reference x of each pixel, shape (S, S).
        y: reference y, shape (S, S).
        image: the face without eyes and mouth, shape (S, S, 3), 0 to 255.
        shade: light reflected by the skin, shape (S, S); about 1.
    """

    x: FloatArray
    y: FloatArray
    image: FloatArray
    shade: FloatArray


def smoothstep(value: FloatArray, low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def bump(
    x: FloatArray, y: FloatArray, at: tuple[float, float], sigma: tuple[float, float]
) -> FloatArray:
    """Gaussian of height 1 at a position."""
    across, along = (x - at[0]) / sigma[0], (y - at[1]) / sigma[1]
    return np.asarray(np.exp(-(across**2 + along**2) / 2.0), dtype=np.float32)


def blend(image: FloatArray, colour: Colour | FloatArray, alpha: FloatArray) -> None:
    """Paint a colour over an image in place, by an alpha of shape (H, W) from 0 to 1."""
    image += alpha[..., None] * (np.asarray(colour, dtype=np.float32) - image)


def paint_layers(face: Face, image_size: int) -> Layers:
    """Paint the parts of a face that move with the skin, for frames of this side in pixels."""
    side = OVERSAMPLING * image_size
    axis = ((np.arange(side) + 0.5) * REFERENCE_SIZE / side - 0.5).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    rng = np.random.default_rng(face.texture_seed)
    image = _background(face, x, y, rng)
    shade = _shade(face, _relief(face, x, y))
    skin = _skin(face, x, y, rng) * shade[..., None]
    _paint_neck(image, skin, face, x, y)
    blend(image, skin, smoothstep(_inside(face, x, y), -0.015, 0.015))
    _paint_nostrils(image, face, x, y)
    _paint_hair(image, face, x, y, rng)
    for sign in (-1.0, 1.0):
        _paint_brow(image, face, sign, rng)
    return Layers(x, y, image, shade)


def _inside(face: Face, x: FloatArray, y: FloatArray) -> FloatArray:
    """About 1 in the middle of the face, 0 at its outline, negative outside."""
    below = np.maximum(y - face.centre_y, 0.0) / face.half_height
    width = face.half_width * (1.0 - 0.34 * below**face.jaw)
    across = np.abs(x - face.midline) / width
    along = np.abs(y - face.centre_y) / face.half_height
    return np.asarray(1.0 - (across**2.2 + along**2.4), dtype=np.float32)


def _relief(face: Face, x: FloatArray, y: FloatArray) -> FloatArray:
    """Height of the face towards the camera, in reference pixels."""
    mid = face.midline
    z = 52.0 * np.sqrt(np.maximum(_inside(face, x, y), 0.0) + 0.02)

    def add(height: float, dx: float, at_y: float, sx: float, sy: float) -> None:
        nonlocal z
        for sign in (-1.0, 1.0) if dx else (1.0,):
            z = z + height * bump(x, y, (mid + sign * dx, at_y), (sx, sy))

    bridge, tip = face.eye_y, face.nose_y - 3
    for t in np.linspace(0.0, 1.0, 6):  # the ridge of the nose grows towards the tip
        add(1.6 + 2.2 * t, 0.0, bridge + t * (tip - bridge), 3.6 + 2.2 * t, 6.0)
    add(7.0, 0.0, tip, 6.5, 5.5)
    add(4.2, face.nose_half_width * 0.72, face.nose_y + 1, 3.6, 3.8)
    add(-3.5, 0.0, face.nose_y + 7, 11.0, 2.4)
    add(-5.5, face.eye_x - 3, face.eye_y - 2, 15.0, 7.5)  # sockets
    add(3.4, face.eye_x, face.eye_y, 9.0, 6.0)
    add(3.0, face.eye_x - 4, face.brow_y - 1, 17.0, 5.0)
    add(-1.6, face.eye_x - 3, face.eye_y + 13, 11.0, 3.0)
    add(4.5, 37.0, face.nose_y - 5, 15.0, 12.0)  # cheekbones
    add(-1.4, 0.0, face.nose_y + 16, 2.6, 6.0)  # philtrum
    add(2.6, face.mouth_half_width * 0.35, face.mouth_y - 3, 9.0, 2.6)
    add(3.6, 0.0, face.mouth_y + 5, 14.0, 3.4)
    add(-3.2, 0.0, face.mouth_y + 14, 15.0, 4.0)
    add(-1.8, face.mouth_half_width + 2.5, face.mouth_y + 1, 4.0, 5.0)
    add(4.6, 0.0, face.chin_y - 16, 13.0, 9.0)
    for t in np.linspace(0.0, 1.0, 5):  # the folds from nose to mouth
        fold = face.nose_half_width + 5 + t * (face.mouth_half_width - face.nose_half_width)
        add(-0.7, fold, face.nose_y + 2 + t * (face.mouth_y - face.nose_y - 6), 2.4, 5.0)
    return np.asarray(z, dtype=np.float32)


def _shade(face: Face, relief: FloatArray) -> FloatArray:
    """Lambertian reflection and a little gloss (Blinn) of a height map."""
    step = REFERENCE_SIZE / relief.shape[0]
    slope_y, slope_x = np.gradient(relief, step)
    norm = np.sqrt(slope_x**2 + slope_y**2 + 1.0)
    lx, ly, lz = face.light
    diffuse = np.maximum((-slope_x * lx - slope_y * ly + lz) / norm, 0.0)
    half = np.array([lx, ly, lz + 1.0])
    half /= np.linalg.norm(half)
    gloss = np.maximum((-slope_x * half[0] - slope_y * half[1] + half[2]) / norm, 0.0) ** 24
    return np.asarray(0.42 + 0.60 * diffuse + 0.09 * gloss, dtype=np.float32)


def _noise(rng: np.random.Generator, side: int, sigma: float) -> FloatArray:
    """Smooth noise of mean 0 and deviation 1; sigma in reference pixels."""
    scale = side / REFERENCE_SIZE
    coarse = max(1, int(sigma * scale / 3))  # blurring a small image and enlarging it is faster
    small = rng.standard_normal((-(-side // coarse),) * 2, dtype=np.float32)
    small = cv2.GaussianBlur(small, (0, 0), sigma * scale / coarse)
    noise = np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC))
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)


def _skin(face: Face, x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Colour of the skin without light; optical flow needs its pores, blotches and marks."""
    side = x.shape[0]
    pores = 0.030 * _noise(rng, side, 0.8) + 0.026 * _noise(rng, side, 1.8)
    blotches = 0.022 * _noise(rng, side, 4.5) + 0.016 * _noise(rng, side, 12.0)
    albedo = (1.0 + pores + blotches)[..., None] * np.asarray(face.skin, dtype=np.float32)
    flush = np.zeros_like(x)
    for sign in (-1.0, 1.0):
        flush += bump(x, y, (face.midline + sign * 38, face.nose_y), (14.0, 12.0))
    flush += 0.8 * bump(x, y, (face.midline, face.nose_y - 2), (8.0, 7.0))
    albedo *= 1.0 - flush[..., None] * np.array([0.07, 0.06, 0.0], dtype=np.float32)
    for _ in range(int(rng.integers(6, 22))):  # moles and freckles
        at = (float(rng.uniform(45, 180)), float(rng.uniform(55, 200)))
        spot = bump(x, y, at, (float(rng.uniform(0.5, 1.1)),) * 2)
        albedo *= 1.0 - float(rng.uniform(0.10, 0.35)) * spot[..., None]
    if face.stubble > 0:
        beard = smoothstep(y, face.mouth_y - 18, face.mouth_y - 6)
        beard *= 1.0 + 0.35 * _noise(rng, side, 0.6)
        albedo *= 1.0 - face.stubble * np.clip(beard, 0.0, 1.6)[..., None]
    return np.asarray(albedo, dtype=np.float32)


def _background(face: Face, x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    side = x.shape[0]
    light = 1.0 + 0.0008 * (x - face.midline) * face.light[0] - 0.0006 * (y - 112)
    light = light + 0.012 * _noise(rng, side, 10.0) + 0.008 * _noise(rng, side, 1.2)
    return np.asarray(light[..., None] * np.asarray(face.background), dtype=np.float32)


def _paint_neck(
    image: FloatArray, skin: FloatArray, face: Face, x: FloatArray, y: FloatArray
) -> None:
    neck = smoothstep(-np.abs(x - face.midline), -46.0, -43.0) * smoothstep(y, 165, 168)
    blend(image, skin * np.float32(0.62), neck)
    collar = smoothstep(y - 0.012 * (np.abs(x - face.midline) - 75) ** 2, 207, 210)
    blend(image, np.asarray(face.background) * np.float32(0.35), collar)
    for sign in (-1.0, 1.0):
        dx = (x - face.midline - sign * (face.half_width + 1)) / 7.0
        ear = smoothstep(-(dx**2) - ((y - face.eye_y - 14) / 19.0) ** 2, -1.1, -0.85)
        blend(image, skin * np.float32(0.86), ear)


def _paint_nostrils(image: FloatArray, face: Face, x: FloatArray, y: FloatArray) -> None:
    for sign in (-1.0, 1.0):
        at = (face.midline + sign * face.nose_half_width * 0.46, face.nose_y + 3.6)
        blend(image, (28.0, 32.0, 52.0), 0.72 * bump(x, y, at, (2.5, 1.3)))


def _paint_hair(
    image: FloatArray, face: Face, x: FloatArray, y: FloatArray, rng: np.random.Generator
) -> None:
    """A cap of hair whose hairline is ragged, with strands along it."""
    side = x.shape[0]
    strands = rng.standard_normal((max(1, side // 24), side), dtype=np.float32)
    strands = cv2.resize(strands, (side, side), interpolation=cv2.INTER_CUBIC)
    strands = cv2.GaussianBlur(strands, (0, 0), 0.8)
    across = (x - face.midline) / face.half_width
    line = face.hairline_y + 26.0 * np.abs(across) ** 3.2 + 1.6 * strands
    head = ((x - face.midline) / (face.half_width + 8)) ** 2 + ((y - 108) / 108.0) ** 2
    cap = smoothstep(line - y, -1.5, 2.5) * smoothstep(-head, -1.04, -0.98)
    outside = smoothstep(-_inside(face, x, y), -0.02, 0.02)
    sides = outside * smoothstep(-y, -face.eye_y, 8 - face.eye_y)
    cap = np.maximum(cap, sides * smoothstep(-head, -1.04, -0.98))
    lit = bump(x, y, (face.midline + 30 * face.light[0], 22), (40, 9))
    shine = 1.0 + 0.30 * strands + 0.5 * lit
    colour = np.asarray(face.hair, dtype=np.float32) * np.maximum(shine, 0.3)[..., None]
    blend(image, colour.astype(np.float32), np.asarray(cap, dtype=np.float32))
    shadow = smoothstep(y - line, 0.0, 2.0) * smoothstep(line - y, -9.0, 0.0)
    image *= 1.0 - 0.22 * np.asarray(shadow * smoothstep(-head, -1.0, -0.94))[..., None]


def _paint_brow(image: FloatArray, face: Face, sign: float, rng: np.random.Generator) -> None:
    """Hairs along an arch, on an alpha mask that is blended once."""
    scale = image.shape[0] / REFERENCE_SIZE
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    for _ in range(230):
        t = rng.uniform(-1.0, 1.0)  # -1: towards the nose
        thick = face.brow_thickness * (1.0 - 0.55 * max(t, -0.2))
        x = face.midline + sign * (face.eye_x - 2 + t * face.brow_half_length)
        y = face.brow_y - face.brow_arch * (1.0 - (t - 0.25) ** 2) + 1.5
        y += float(np.clip(rng.normal(), -1.8, 1.8)) * thick * 0.55
        lean = (1.1 + 2.2 * (t + 1.0), -3.2 + 2.0 * (t + 1.0))
        ends = [(x, y), (x + sign * lean[0], y + lean[1])]
        points = [tuple(round((v + 0.5) * scale * 16) for v in end) for end in ends]
        cv2.line(mask, points[0], points[1], int(rng.integers(110, 230)), 1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), 0.5 * scale)
    body = cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), 1.4 * scale)
    blend(image, face.hair, np.clip(0.75 * soft + 0.45 * body, 0.0, 0.92).astype(np.float32))
