"""Action units (Ekman's facial action coding) as smooth displacement fields on a drawn face.

A unit is a sum of Gaussian windows, each with a position on the face and a direction. Both sides of
the face move as mirror images, with separate strengths.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dadnet.base.seeding import seed_hash
from dadnet.datasets.synthetic.face import REFERENCE_SIZE, Face, FloatArray


@dataclass(frozen=True)
class _Pull:
    """One window of a unit on one side; lengths in reference pixels."""

    at: tuple[float, float]  # distance from the midline, and y
    sigma: tuple[float, float]  # of the window, across and along
    move: tuple[float, float]  # shift at its middle, outwards (away from the midline) and down


def _pulls(face: Face) -> dict[int, tuple[_Pull, ...]]:
    """Windows of each unit on this face."""
    eye, brow, mouth, corner = face.eye_x, face.brow_y, face.mouth_y, face.mouth_half_width
    return {
        1: (_Pull((eye - 15, brow - 2), (12, 11), (0.1, -1.0)),),
        2: (_Pull((eye + 12, brow - 1), (13, 11), (0.1, -1.0)),),
        4: (
            _Pull((eye - 16, brow + 1), (13, 10), (-0.55, 0.85)),
            _Pull((eye + 6, brow), (12, 9), (-0.15, 0.45)),
        ),
        5: (_Pull((eye, face.eye_y - 7), (12, 4), (0.0, -0.7)),),
        6: (
            _Pull((eye + 7, face.eye_y + 24), (16, 11), (0.25, -0.85)),
            _Pull((eye + 20, face.eye_y + 2), (9, 9), (-0.3, 0.1)),
        ),
        9: (
            _Pull((7, face.nose_y - 14), (8, 12), (0.05, -0.9)),
            _Pull((13, face.nose_y + 2), (8, 8), (0.2, -0.8)),
        ),
        12: (
            _Pull((corner, mouth), (12, 10), (0.75, -0.8)),
            _Pull((corner + 10, mouth - 16), (13, 12), (0.35, -0.5)),
        ),
        14: (_Pull((corner + 2, mouth + 1), (9, 9), (0.9, 0.1)),),
        15: (_Pull((corner, mouth + 4), (12, 10), (0.1, 1.0)),),
        17: (_Pull((6, face.chin_y - 16), (13, 11), (0.0, -0.9)),),
        24: (
            _Pull((8, mouth - 6), (13, 5), (0.0, 0.6)),
            _Pull((8, mouth + 8), (13, 5), (0.0, -0.6)),
        ),
        26: (_Pull((11, mouth + 24), (19, 15), (0.0, 0.9)),),
    }


KNOWN_UNITS = (1, 2, 4, 5, 6, 9, 12, 14, 15, 17, 24, 26)


def units_field(
    face: Face, units: Mapping[int, tuple[float, float]], image_size: int, *, style_seed: int = 0
) -> FloatArray:
    """Displacement of the skin when several units act at once.

    Args:
        face: geometry; the units act at its brows, eyes and mouth.
        units: strength of each unit on the left and the right of the image.
        image_size: side of the field in pixels.
        style_seed: individual style: directions turn by up to about 15 degrees and windows widen
            or narrow by up to about 15 %.

    Returns:
        Shape (image_size, image_size, 2): shift to the right and down, reference pixels.
    """
    field = np.zeros((image_size, image_size, 2), dtype=np.float32)
    axis = (np.arange(image_size) + 0.5) * REFERENCE_SIZE / image_size - 0.5
    pulls = _pulls(face)
    for unit, strengths in units.items():
        style = np.random.default_rng(seed_hash("style", style_seed, unit))
        turn = np.radians(7.5) * np.clip(style.normal(), -2, 2)
        width = np.exp(0.07 * np.clip(style.normal(), -2, 2))
        for pull in pulls[unit]:
            for sign, strength in zip((-1.0, 1.0), strengths, strict=True):
                out = np.cos(turn) * pull.move[0] - np.sin(turn) * pull.move[1]
                down = np.sin(turn) * pull.move[0] + np.cos(turn) * pull.move[1]
                across = (axis - face.midline - sign * pull.at[0]) / (width * pull.sigma[0])
                along = (axis - pull.at[1]) / (width * pull.sigma[1])
                window = np.outer(np.exp(-(along**2) / 2), np.exp(-(across**2) / 2))
                field += strength * window[..., None] * np.array([sign * out, down])
    return field


def head_field(
    face: Face,
    shift: tuple[float, float],
    roll: float,
    turn: tuple[float, float],
    zoom: float,
    image_size: int,
) -> FloatArray:
    """Displacement when the head moves a little in front of a still background.

    Args:
        face: geometry.
        shift: to the right and down, reference pixels.
        roll: in the image plane, radians.
        turn: to the right and down out of the plane: shift of the middle of the face, which is
            nearer to the camera, against its rim; reference pixels.
        zoom: towards the camera: growth as a fraction.
        image_size: side of the field in pixels.

    Returns:
        Shape (image_size, image_size, 2): shift to the right and down, reference pixels.
    """
    axis = ((np.arange(image_size) + 0.5) * REFERENCE_SIZE / image_size - 0.5).astype(np.float32)
    x, y = np.meshgrid(axis - face.midline, axis - face.centre_y)
    depth = np.exp(-((x / 46) ** 2 + (y / 60) ** 2) / 2)
    # Hair and neck follow; the corners of the image stand still.
    head = 1.0 / (1.0 + np.exp((np.hypot(x / 92, y / 112) - 1.0) * 12.0))
    right = shift[0] - roll * y + zoom * x + turn[0] * depth
    down = shift[1] + roll * x + zoom * y + turn[1] * depth
    return np.asarray(np.stack([right, down], axis=-1) * head[..., None], dtype=np.float32)
