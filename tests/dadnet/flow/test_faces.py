"""Alignment by five points: on drawn faces moved by a known similarity, and bad input."""

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.flow.faces import (
    POINT_COLUMNS,
    TEMPLATE,
    face_matrix,
    load_landmarker,
    mesh_points,
    read_points,
    similarity,
    warp,
)


def rigid(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    a = scale * np.exp(1j * np.radians(degrees))
    return np.array([[a.real, -a.imag, shift[0]], [a.imag, a.real, shift[1]]])


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("case", [(1.0, 0.0, (0, 0)), (2.5, 20.0, (40, -7)), (0.3, -35.0, (5, 9))])
def test_a_known_similarity_is_found(case):
    matrix = rigid(*case)
    points = TEMPLATE * 200
    np.testing.assert_allclose(similarity(points, moved(points, matrix)), matrix, atol=1e-9)


def test_it_is_the_least_squares_solution():
    rng = np.random.default_rng(0)
    points = TEMPLATE * 100
    target = moved(points, rigid(1.3, 10, (3, 4))) + rng.normal(0, 2, points.shape)
    best = similarity(points, target)

    def error(matrix: np.ndarray) -> float:
        return float(((moved(points, matrix) - target) ** 2).sum())

    for _ in range(200):
        a, b, x, y = np.array([best[0, 0], best[1, 0], *best[:, 2]]) + rng.normal(0, 0.05, 4)
        assert error(np.array([[a, -b, x], [b, a, y]])) >= error(best)


def test_faces_of_any_place_size_and_tilt_become_one_picture():
    size = 96
    y, x = np.mgrid[0:size, 0:size] / size
    face = np.zeros((size, size))
    for (px, py), strength in zip(TEMPLATE, (200, 150, 250, 100, 220), strict=True):
        face += strength * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 0.002)
    face = face.clip(0, 255).astype(np.uint8)
    for case in ((3.0, 12.0, (90, 20)), (2.0, -20.0, (30, 160)), (1.2, 0.0, (10, 10))):
        matrix = rigid(*case)
        frame = cv2.warpAffine(face, matrix, (480, 480))
        points = moved(TEMPLATE * size, matrix)
        again = warp(np.asarray(frame, dtype=np.uint8), face_matrix(points, size), size)
        assert np.abs(again.astype(float) - face).mean() < 3


def test_the_forehead_and_the_chin_are_inside():
    # In units of the distance of the eyes: hairline 1.2 above them, chin 1.65 below.
    eyes = TEMPLATE[:2].mean(axis=0)
    distance = TEMPLATE[1, 0] - TEMPLATE[0, 0]
    assert eyes[1] - 1.2 * distance >= 0
    assert eyes[1] + 1.65 * distance <= 1


@pytest.mark.parametrize("scale", [0.1, 1e6])
def test_a_face_of_no_size_is_refused(scale):
    with pytest.raises(DadnetError, match="must be scaled by"):
        face_matrix(TEMPLATE * scale, 64)


@pytest.mark.parametrize("wrong", ["swapped", "upside down", "one place", "not finite"])
def test_points_of_no_upright_face_are_refused(wrong):
    points = TEMPLATE * 100
    if wrong == "swapped":
        points = points[[1, 0, 2, 4, 3]]
    elif wrong == "upside down":
        points = points * [1, -1]
    elif wrong == "one place":
        points = np.zeros((5, 2))
    else:
        points = points.copy()
        points[2, 0] = np.nan
    with pytest.raises(DadnetError, match="landmarks: expected"):
        face_matrix(points, 64)


class TestPoints:
    def write(self, path: Path, *lines: str) -> Path:
        header = ",".join(("clip_id", *POINT_COLUMNS))
        path.write_text("\n".join((header, *lines)) + "\n")
        return path

    def test_given_points_are_read(self, tmp_path):
        path = self.write(tmp_path / "p.csv", "a/b/c,1,2,3,4,5,6,7,8,9,10")
        np.testing.assert_array_equal(read_points(path)["a/b/c"], np.arange(1, 11).reshape(5, 2))

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            (["a,1,2,3"], "expected ten numbers in line 2"),
            (["a,1,2,3,4,5,6,7,8,9,x"], "expected ten numbers in line 2"),
            (["a,1,2,3,4,5,6,7,8,9,0"] * 2, "a is given twice, line 3"),
        ],
    )
    def test_bad_lines_are_named(self, tmp_path, lines, message):
        with pytest.raises(DadnetError, match=message):
            read_points(self.write(tmp_path / "p.csv", *lines))

    def test_files_that_are_none_are_one_line(self, tmp_path):
        with pytest.raises(DadnetError, match="cannot be read"):
            read_points(tmp_path / "none.csv")
        (tmp_path / "p.csv").write_text("clip_id,left_eye_x\n")
        with pytest.raises(DadnetError, match="lacks the columns left_eye_y"):
            read_points(tmp_path / "p.csv")
        (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00clip")
        with pytest.raises(DadnetError, match="no CSV in UTF-8"):
            read_points(tmp_path / "p.csv")


class TestModel:
    def test_the_five_points_of_the_mesh_are_in_pixels(self):
        mesh = [SimpleNamespace(x=0.0, y=0.0) for _ in range(478)]
        for index, (x, y) in {33: (0.2, 0.4), 133: (0.4, 0.4), 362: (0.6, 0.4), 263: (0.8, 0.4),
                              1: (0.5, 0.6), 61: (0.4, 0.8), 291: (0.6, 0.8)}.items():  # fmt: skip
            mesh[index] = SimpleNamespace(x=x, y=y)
        expected = [[60, 40], [140, 40], [100, 60], [80, 80], [120, 80]]
        np.testing.assert_allclose(mesh_points(mesh, 100, 200), expected)

    def test_a_missing_model_is_never_fetched(self, tmp_path):
        with pytest.raises(DadnetError, match=r"no such file: .*nothing is fetched here"):
            load_landmarker(tmp_path / "face_landmarker.task")

    def test_a_missing_extra_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "mediapipe", None)
        (tmp_path / "m.task").write_bytes(b"x")
        with pytest.raises(DadnetError, match=r"dadnet-loso\[align\].*--landmarks FILE.csv"):
            load_landmarker(tmp_path / "m.task")

    def test_a_file_that_is_no_model_is_one_line(self, tmp_path):
        pytest.importorskip("mediapipe")  # the extra
        (tmp_path / "m.task").write_bytes(b"not a model")
        with pytest.raises(DadnetError, match="is no Face Landmarker"):
            load_landmarker(tmp_path / "m.task")
