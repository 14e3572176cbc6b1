import cv2
import numpy as np

from dadnet.flow.picture import TILE, colour_wheel, sheet, sheet_row, wheel


def hue(u: float, v: float) -> int:
    flow = np.full((2, 4, 4), 0.0, dtype=np.float32)
    flow[0], flow[1] = u, v
    picture = colour_wheel(flow, 1.0)
    return int(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[0, 0, 0]) * 2


def test_the_hue_is_the_direction_and_turns_clockwise():
    assert [hue(*v) for v in ((1, 0), (0, 1), (-1, 0), (0, -1))] == [0, 90, 180, 270]


def test_no_motion_is_white_and_longer_is_stronger():
    still = colour_wheel(np.zeros((2, 4, 4), dtype=np.float32), 1.0)
    assert (still == 255).all()
    flow = np.zeros((2, 1, 3), dtype=np.float32)
    flow[0] = [0.2, 0.6, 5.0]
    blue = colour_wheel(flow, 1.0)[0, :, 0]
    assert blue[0] > blue[1] > blue[2] == 0


def test_the_wheel_shows_each_direction_at_its_place():
    key = wheel(101)
    assert (key[50, 50] == 255).all()
    assert key[50, 98].tolist() == colour_wheel(np.array([[[0.96]], [[0.0]]]), 1.0)[0, 0].tolist()
    assert (key[0, 0] == 255).all()


def test_a_sheet_has_a_row_per_clip_with_four_tiles():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (200, 200), dtype=np.uint8)
    flow = rng.normal(size=(2, 200, 200)).astype(np.float32)
    row = sheet_row("casme2/sub01/EP02_01f", "disgust", flow, grey, grey)
    given = sheet_row("x\n\u4e2d", "no frames", flow)
    assert row.shape == given.shape
    assert row.shape[1] > 4 * TILE
    picture = sheet([row, given])
    assert picture.shape[0] > 2 * row.shape[0]
    np.testing.assert_array_equal(picture[-given.shape[0] :], given)
