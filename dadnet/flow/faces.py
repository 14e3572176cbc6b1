"""Alignment of faces to one position and size by five points, with the forehead.

One similarity (shift, turn, scale) per clip, from the onset frame, moves all its frames: the
expression and the head's motion within the clip do not change. Points are in pixels: the eyes,
the tip of the nose and the corners of the mouth; of two, the one on the left of the image first.
"""

import csv
import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dadnet.base.disk import read_input
from dadnet.base.errors import DadnetError, first_line, listed

Points = npt.NDArray[np.float64]  # (5, 2), x to the right, y down
Matrix = npt.NDArray[np.float64]  # (2, 3)
Image = npt.NDArray[np.uint8]
Landmarker = Callable[[Image], Points]

# Target positions as shares of the side. With the eyes a third of the side apart and above the
# middle, the square contains the chin and also brows and forehead, which matter for units 1, 2, 4.
TEMPLATE: Points = np.array(
    [[0.33, 0.42], [0.67, 0.42], [0.50, 0.64], [0.375, 0.795], [0.625, 0.795]]
)
POINT_COLUMNS = tuple(
    f"{name}_{axis}"
    for name in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    for axis in "xy"
)
# Corners of the eyes, tip of the nose and corners of the mouth among the 478 points of MediaPipe's
# face mesh; an eye is the middle of its corners.
_MESH: tuple[tuple[int, ...], ...] = ((33, 133), (362, 263), (1,), (61,), (291,))


def similarity(points: Points, target: Points) -> Matrix:
    """The least-squares similarity from points (N, 2) to a target (N, 2).

    Returns:
        Shape (2, 3): rotation with scale, and shift.

    Raises:
        DadnetError: if the points are not finite or all equal.

    Reference: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 1991, in the plane and without reflection.
    """
    # As complex numbers a similarity is z -> a z + b.
    source = points[:, 0] + 1j * points[:, 1]
    goal = target[:, 0] + 1j * target[:, 1]
    centred = source - source.mean()
    spread = float((abs(centred) ** 2).sum())
    if not np.isfinite(points).all() or spread < 1e-9:
        raise DadnetError("landmarks: expected five different finite points")
    a = complex((centred.conj() * (goal - goal.mean())).sum() / spread)
    b = complex(goal.mean() - a * source.mean())
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def face_matrix(points: Points, size: int) -> Matrix:
    """The similarity from a frame with five points to the aligned square; in pixels.

    Raises:
        DadnetError: if the points cannot be those of an upright face.
    """
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    if points[0, 0] >= points[1, 0] or mouth[1] <= eyes[1]:
        raise DadnetError("landmarks: expected the left eye left of the right, above the mouth")
    matrix = similarity(points, TEMPLATE * size)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not 0.02 <= scale <= 50:
        raise DadnetError(f"landmarks: a face that must be scaled by {scale:.3g} is none")
    return matrix


def warp(image: Image, matrix: Matrix, size: int) -> Image:
    """Warp a grey frame (H, W) by the matrix of :func:`face_matrix` to the square (size, size).

    Outside of the frame its border is repeated.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:  # blur first, since fine detail aliases
        sigma = 0.5 * np.sqrt(1 / scale**2 - 1)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1)), dtype=np.uint8)
    moved = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, dtype=np.uint8)


def read_points(path: Path) -> Mapping[str, Points]:
    """Points of the onset frames by clip id, from a CSV of ``clip_id`` and ``POINT_COLUMNS``.

    Raises:
        DadnetError: if the file cannot be read, or a line does not fit; it names the line.
    """
    try:
        text = io.StringIO(read_input(path, "utf-8-sig"), newline="")
        reader = csv.DictReader(text, strict=True)
        rows = list(reader)
        header = reader.fieldnames or []
    except OSError as error:
        raise DadnetError(f"landmarks: {path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DadnetError(f"landmarks: {path} is no CSV in UTF-8: {error}") from error
    if missing := [c for c in ("clip_id", *POINT_COLUMNS) if c not in header]:
        raise DadnetError(f"landmarks: {path} lacks the columns {listed(missing)}")
    points: dict[str, Points] = {}
    for line, row in enumerate(rows, start=2):
        if row["clip_id"] in points:
            raise DadnetError(f"landmarks: {row['clip_id']} is given twice, line {line} of {path}")
        try:
            numbers = [float(row[name]) for name in POINT_COLUMNS]
        except (TypeError, ValueError) as error:
            where = f"line {line} of {path}"
            raise DadnetError(f"landmarks: expected ten numbers in {where}") from error
        points[row["clip_id"]] = np.array(numbers).reshape(5, 2)
    return points


@lru_cache(maxsize=1)
def load_landmarker(model: Path) -> Landmarker:
    """MediaPipe's Face Landmarker with a model file; once per process.

    Args:
        model: MediaPipe's ``face_landmarker.task``; it is never downloaded by this package.

    Returns:
        A function from an image (H, W, 3), blue, green, red, to its five points; it raises
        `DadnetError` if there is no face.

    Raises:
        DadnetError: if the extra is not installed or the file is no such model.
    """
    if not model.is_file():
        raise DadnetError(
            f"landmark_model: no such file: {model}; MediaPipe's documentation says where "
            "face_landmarker.task is (nothing is fetched here)"
        )
    try:
        import mediapipe as mp  # an extra: large
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise DadnetError(
            "align landmarks with a model needs MediaPipe: pip install 'dadnet-loso[align]'; or "
            "give points by --landmarks FILE.csv"
        ) from error
    try:
        base = BaseOptions(model_asset_path=str(model))
        options = vision.FaceLandmarkerOptions(base_options=base, num_faces=1)
        detector = vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError, OSError) as error:
        reason = f"landmark_model: {model} is no Face Landmarker: {first_line(error)}"
        raise DadnetError(reason) from error

    def landmarks(image: Image) -> Points:
        colours = np.ascontiguousarray(image[..., ::-1])
        result = detector.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=colours))
        if not result.face_landmarks:
            raise DadnetError("no face was found in the onset frame")
        return mesh_points(result.face_landmarks[0], *image.shape[:2])

    return landmarks


def mesh_points(mesh: Any, height: int, width: int) -> Points:
    """The five points of MediaPipe's face mesh: 478 points, `x` and `y` as shares of the sides."""
    points = [np.mean([[mesh[i].x, mesh[i].y] for i in group], axis=0) for group in _MESH]
    return np.asarray(np.array(points) * np.array([width, height]), dtype=np.float64)
