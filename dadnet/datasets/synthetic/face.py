"""Geometry and look of a drawn face, per subject.

Lengths are in reference pixels: those of an image of 224 x 224. x points right, y down.
``face_layers`` paints skin, hair and background, ``face_parts`` eyes and mouth.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dadnet.base.seeding import seed_hash

FloatArray = npt.NDArray[np.float32]
Colour = tuple[float, float, float]  # blue, green, red, 0 to 255

REFERENCE_SIZE = 224

# Light to dark skin, black to brown hair.
_SKINS: tuple[Colour, ...] = (
    (168, 190, 226), (150, 176, 216), (134, 164, 208), (118, 150, 198), (98, 130, 180),
    (76, 104, 152),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = ((20, 20, 24), (26, 30, 38), (32, 42, 60), (34, 48, 72))


@dataclass(frozen=True)
class Face:
    """Geometry and look of one subject; lengths in reference pixels.

    Attributes:
        half_width: of the face at the cheekbones.
        half_height: from the middle of the face to the chin.
        jaw: how square the jaw is (2: an ellipse).
        eye_x: distance of the eyes from the midline.
        eye_half_width: half the length of an eye.
        eye_open: height of the open eye above its middle.
        lips: heights of upper and lower lip.
        light: direction towards the light, a unit vector (z points to the camera).
        texture_seed: seed of skin, hair and background.
    """

    half_width: float
    half_height: float
    jaw: float
    hairline_y: float
    eye_x: float
    eye_y: float
    eye_half_width: float
    eye_open: float
    brow_y: float
    brow_half_length: float
    brow_thickness: float
    brow_arch: float
    nose_y: float
    nose_half_width: float
    mouth_y: float
    mouth_half_width: float
    lips: tuple[float, float]
    skin: Colour
    hair: Colour
    background: Colour
    light: tuple[float, float, float]
    stubble: float
    texture_seed: int

    midline = REFERENCE_SIZE / 2  # x of the line between the eyes
    centre_y = 114.0  # y of the middle of the face

    @property
    def chin_y(self) -> float:
        """y of the chin."""
        return self.centre_y + self.half_height


def draw_face(seed: int, subject: int) -> Face:
    """The face of a subject, with eyes, nose and mouth at the usual positions of a cropped face."""
    rng = np.random.default_rng(seed_hash("face", seed, subject))

    def near(mean: float, spread: float) -> float:
        return float(mean + spread * np.clip(rng.normal(), -2.0, 2.0))

    eye_y = near(94, 1.5)
    light = np.array([near(0, 0.45), near(-0.55, 0.15), 1.0])
    light /= np.linalg.norm(light)
    skin = np.array(_SKINS[rng.integers(len(_SKINS))]) * near(1.0, 0.03)
    grey = near(150, 25)
    return Face(
        half_width=near(75, 2.5),
        half_height=near(95, 2.0),
        jaw=near(2.35, 0.15),
        hairline_y=near(40, 4),
        eye_x=near(31, 1.2),
        eye_y=eye_y,
        eye_half_width=near(14.0, 0.8),
        eye_open=near(5.2, 0.7),
        brow_y=eye_y - near(17.5, 1.2),
        brow_half_length=near(18, 1.2),
        brow_thickness=near(2.6, 0.6),
        brow_arch=near(3.5, 1.2),
        nose_y=near(131, 2.0),
        nose_half_width=near(12, 1.2),
        mouth_y=near(161, 2.0),
        mouth_half_width=near(25, 1.8),
        lips=(near(4.0, 0.7), near(6.0, 0.9)),
        skin=(float(skin[0]), float(skin[1]), float(skin[2])),
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        background=(grey * near(1.0, 0.04), grey, grey * near(1.0, 0.04)),
        light=(float(light[0]), float(light[1]), float(light[2])),
        stubble=float(max(0.0, near(0.0, 0.12))),
        texture_seed=seed_hash("texture", seed, subject),
    )
