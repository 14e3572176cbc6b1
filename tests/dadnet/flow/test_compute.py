import cv2
import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.flow.compute import (
    FLOW_METHODS,
    TVL1_PARAMETERS,
    check_flow,
    check_plausible,
    compute_flow,
    decode_image,
    flow_peak,
    resize_flow,
    square,
    to_half,
)


def texture(size: int = 96) -> np.ndarray:
    noise = np.random.default_rng(3).uniform(0, 255, (size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize("method", list(FLOW_METHODS))
def test_flow_finds_a_shift_to_the_right_and_down(method):
    onset = texture()
    shift = np.float32([[1, 0, 1.5], [0, 1, 0.75]])
    apex = cv2.warpAffine(onset, shift, onset.shape, borderMode=cv2.BORDER_REFLECT)
    u, v = compute_flow(onset, apex, method)[:, 20:-20, 20:-20]
    assert np.median(u) == pytest.approx(1.5, abs=0.15)
    assert np.median(v) == pytest.approx(0.75, abs=0.15)


def test_equal_frames_are_refused_since_they_carry_no_expression():
    with pytest.raises(DadnetError, match="frames are equal"):
        compute_flow(texture(), texture())


def test_frames_of_unequal_size_are_refused():
    with pytest.raises(DadnetError, match="differ in size"):
        compute_flow(texture(96), texture(64))


def test_an_unknown_method_is_refused():
    with pytest.raises(DadnetError, match="expected one of tvl1, dis, farneback"):
        compute_flow(texture(), texture(), "raft")


def test_channels_last_flow_is_transposed():
    for height in (3, 4):
        flow = np.random.default_rng(0).normal(size=(height, 5, 2))
        np.testing.assert_allclose(check_flow(flow), flow.transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (np.ones((3, 4, 5)), "expected shape"),
        (np.full((2, 4, 4), np.nan), "not finite"),
        (np.zeros((2, 4, 4)), "zero everywhere"),
    ],
)
def test_an_unusable_flow_is_refused(flow, message):
    with pytest.raises(DadnetError, match=message):
        check_flow(flow)


@pytest.mark.parametrize("size", [28, 112])
def test_vectors_are_rescaled_with_the_field(size):
    y, x = np.mgrid[0:56, 0:56] / 55
    flow = np.stack([2 + x, 1 - y]).astype(np.float32)
    resized = resize_flow(flow, size)
    assert resized.shape == (2, size, size)
    np.testing.assert_allclose(resized.mean((1, 2)), flow.mean((1, 2)) * size / 56, rtol=1e-3)


def test_a_field_that_is_not_square_is_rescaled_by_its_own_sides():
    flow = np.ones((2, 20, 40), np.float32)
    flow[:, :, 20:] = 3  # the right half moves three times as far
    resized = resize_flow(flow, 10)
    np.testing.assert_allclose(resized[0, :, :4], 10 / 40, rtol=1e-5)
    np.testing.assert_allclose(resized[1, :, :4], 10 / 20, rtol=1e-5)
    np.testing.assert_allclose(resized[:, :, 6:] / resized[:, :, :4], 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "how"), [(10, cv2.INTER_AREA), (30, cv2.INTER_AREA), (50, cv2.INTER_LINEAR)]
)
def test_a_smaller_field_is_a_mean_over_areas_and_a_larger_one_is_linear(size, how):
    flow = np.random.default_rng(0).normal(size=(2, 20, 40))
    resized = resize_flow(flow, size)
    assert resized.dtype == np.float32
    for part, given, side in zip(resized, flow, (40, 20), strict=True):
        expected = cv2.resize(given.astype(np.float32), (size, size), interpolation=how)
        np.testing.assert_allclose(part, expected * size / side, rtol=1e-5, atol=1e-5)


def test_half_precision_holds_what_it_can():
    flow = np.array([[[65504.0, -1.0]]] * 2)
    assert to_half(flow).dtype == np.float16
    assert to_half(flow).max() == 65504
    with pytest.raises(DadnetError, match="values above 65504"):
        to_half(1.0001 * flow)


def test_no_vector_is_longer_than_the_diagonal_of_its_field():
    flow = np.zeros((2, 3, 4), np.float32)
    flow[:, 1, 1] = (3, -4)
    assert check_plausible(flow) is flow
    flow[0, 1, 1] = 3.1
    with pytest.raises(DadnetError, match="up to 5 pixels in a field of 4 x 3"):
        check_plausible(flow)


def test_tvl1_has_the_parameters_of_its_card():
    # Pinned: another figure is another flow, under the same name.
    assert TVL1_PARAMETERS == {
        "tau": 0.25, "lambda": 0.15, "theta": 0.3, "nscales": 5, "warps": 5, "epsilon": 0.01,
        "innnerIterations": 30, "outerIterations": 10, "scaleStep": 0.8, "gamma": 0.0,
        "medianFiltering": 5, "useInitialFlow": False,
    }  # fmt: skip
    method = cv2.optflow.DualTVL1OpticalFlow_create(*TVL1_PARAMETERS.values())
    used = {
        "tau": method.getTau(),
        "lambda": method.getLambda(),
        "theta": method.getTheta(),
        "nscales": method.getScalesNumber(),
        "warps": method.getWarpingsNumber(),
        "epsilon": method.getEpsilon(),
        "innnerIterations": method.getInnerIterations(),
        "outerIterations": method.getOuterIterations(),
        "scaleStep": method.getScaleStep(),
        "gamma": method.getGamma(),
        "medianFiltering": method.getMedianFiltering(),
        "useInitialFlow": method.getUseInitialFlow(),
    }
    assert used == pytest.approx(TVL1_PARAMETERS)


def test_a_flow_of_the_right_size_is_unchanged():
    flow = np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(resize_flow(flow, 32), flow)
    assert resize_flow(flow.astype(np.float16), 32).dtype == np.float32


def test_a_frame_is_cropped_then_resized(tmp_path):
    image = np.zeros((60, 80), np.uint8)
    image[10:30, 20:40] = 200
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert (square(decode_image(tmp_path / "a.png"), 20, (20, 10, 20, 20)) == 200).all()
    whole = square(decode_image(tmp_path / "a.png"), 30, (20, 10, 60, 50))
    expected = cv2.resize(image[10:, 20:], (30, 30), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(whole, expected)


def test_a_frame_is_decoded_in_grey_or_as_blue_green_red(tmp_path):
    image = np.zeros((8, 9, 3), np.uint8)
    image[..., 0], image[..., 2] = 10, 200
    cv2.imwrite(str(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", colour=True), image)
    grey = decode_image(tmp_path / "a.png")
    np.testing.assert_allclose(grey, 0.114 * 10 + 0.299 * 200, atol=1)


def test_frames_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(DadnetError, match="decoded"):
        square(decode_image(tmp_path / "bad.png"), 32, None)
    with pytest.raises(DadnetError, match="decoded"):
        square(decode_image(tmp_path / "empty.png"), 32, None)
    with pytest.raises(DadnetError, match="cannot be read"):
        square(decode_image(tmp_path / "none.png"), 32, None)
    with pytest.raises(DadnetError, match="outside a frame of 8 x 8"):
        square(decode_image(tmp_path / "a.png"), 32, (4, 4, 8, 8))


class TestPeak:
    def frames(self, amounts) -> list:
        """A texture of which the middle moves by so many pixels, while all of it drifts."""
        noise = np.random.default_rng(0).uniform(0, 255, (96, 96)).astype(np.float32)
        smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
        y, x = np.mgrid[0:96, 0:96].astype(np.float32)
        bump = np.exp(-((x - 48) ** 2 + (y - 48) ** 2) / 300)
        made = []
        for k, amount in enumerate(amounts):
            drift = 0.3 * k
            made.append(cv2.remap(smooth, x - amount * bump - drift, y, cv2.INTER_LINEAR,
                                  borderMode=cv2.BORDER_REFLECT).astype(np.uint8))  # fmt: skip
        return made

    def test_the_frame_that_moved_most_is_found_in_spite_of_the_head(self):
        onset, *later = self.frames([0, 0.5, 1.5, 3.0, 1.0, 0.2])
        looked_at = []

        def once():
            for number, image in enumerate(later, start=11):
                looked_at.append(number)
                yield number, image

        number, image = flow_peak(onset, once(), 10)
        assert number == 13
        np.testing.assert_array_equal(image, later[2])
        assert looked_at == [11, 12, 13, 14, 15]

    def test_without_motion_there_is_no_peak(self):
        [still] = self.frames([0])
        with pytest.raises(DadnetError, match="no frame after the onset differs"):
            flow_peak(still, [(1, still), (2, still)])
        with pytest.raises(DadnetError, match="no frame after the onset differs"):
            flow_peak(still, [])
