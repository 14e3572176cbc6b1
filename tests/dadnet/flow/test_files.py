import cv2
import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.config.ingest import ImageScale
from dadnet.flow.files import read_flow

FLOW = np.random.default_rng(0).normal(size=(2, 28, 24)).astype(np.float32)  # 28 high, 24 wide
STRAIN = np.abs(FLOW[:1])
IMAGE = np.random.default_rng(1).integers(0, 256, (28, 28, 3)).astype(np.uint8)  # R, G, B


def saved(path, array):
    np.save(path, array)
    return path


def write_image(path, rgb):
    cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., [2, 1, 0, *range(3, rgb.shape[2])]]))
    return path


@pytest.mark.parametrize(
    ("array", "dropped"),
    [
        (FLOW, False),
        (FLOW.transpose(1, 2, 0), False),
        (np.concatenate([FLOW, STRAIN]), True),
        (np.concatenate([FLOW, STRAIN]).transpose(1, 2, 0), True),
        (np.asfortranarray(FLOW.transpose(1, 2, 0)), False),
        (FLOW.astype(np.float64), False),
        (FLOW.astype(">f4"), False),
    ],
)
def test_an_array_is_read_in_every_layout_and_a_third_channel_is_dropped(tmp_path, array, dropped):
    read = read_flow(saved(tmp_path / "a.npy", array))
    assert read.flow.dtype == np.float32
    np.testing.assert_array_equal(read.flow, FLOW)
    assert [("third channel (strain)" in note) for note in read.notes] == [True] * dropped


def test_half_precision_is_read(tmp_path):
    read = read_flow(saved(tmp_path / "a.npy", FLOW.astype(np.float16)))
    np.testing.assert_array_equal(read.flow, FLOW.astype(np.float16).astype(np.float32))


def test_the_flow_of_an_npz_file_is_its_only_array_or_the_one_of_that_name(tmp_path):
    np.savez(tmp_path / "one.npz", anything=FLOW)
    np.savez_compressed(tmp_path / "named.npz", flow=FLOW, mask=FLOW[0])
    np.savez(tmp_path / "two.npz", first=FLOW, second=FLOW)
    for name in ("one.npz", "named.npz"):
        np.testing.assert_array_equal(read_flow(tmp_path / name).flow, FLOW)
    with pytest.raises(DadnetError, match="one named flow, got first, second"):
        read_flow(tmp_path / "two.npz")


def test_a_flo_file_is_read(tmp_path):
    cv2.writeOpticalFlow(str(tmp_path / "a.flo"), FLOW.transpose(1, 2, 0))
    np.testing.assert_array_equal(read_flow(tmp_path / "a.flo").flow, FLOW)


def flo(width=24, height=28, magic=b"PIEH", flow=FLOW) -> bytes:
    values = flow.transpose(1, 2, 0).astype("<f4")
    return magic + np.array([width, height], "<i4").tobytes() + values.tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (flo()[:-4], "the file is cut off"),
        (flo() + b"1234", "the file is too long"),
        (flo(magic=b"HEIP"), "got a big-endian one"),
        (b"", "begins with PIEH"),
        (flo(width=-3), "-3 x 28 pixels is damaged"),
        (flo(flow=np.where(FLOW > 1, 1e10, FLOW)), "marked as unknown"),
    ],
)
def test_a_bad_flo_file_is_named(tmp_path, data, message):
    (tmp_path / "a.flo").write_bytes(data)
    with pytest.raises(DadnetError, match=message) as refused:
        read_flow(tmp_path / "a.flo")
    assert "a.flo" in str(refused.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGE, "uint8 values are the grey values of a flow image"),
        (IMAGE[..., :2].transpose(2, 0, 1), "uint8 values are the grey values"),
        (IMAGE.view(np.int8), "int8 values are the grey values"),
        (IMAGE.astype(np.float32), "all values are whole numbers from 0 to 255"),
        (IMAGE.astype(np.int64), "all values are whole numbers from 0 to 255"),
        (np.array([{}], dtype=object), "expected an array of numbers, got Python objects"),
        (FLOW.astype(np.complex64), "got dtype complex64"),
        (FLOW > 0, "got dtype bool"),
        (np.full((2, 28, 28), np.nan), "not finite"),
        (np.full((2, 28, 28), np.inf), "not finite"),
        (np.zeros((2, 28, 28)), "zero everywhere"),
        (FLOW[:1], r"got \(1, 28, 24\)"),
        (FLOW[0], r"got \(28, 24\)"),
        (FLOW[None], r"got \(1, 2, 28, 24\)"),
        (FLOW[:, :7, :7], "8 pixels or more"),
        (np.zeros((2, 0, 28)), "8 pixels or more"),
    ],
)
def test_an_array_that_is_no_flow_in_pixels_is_refused_without_advice_to_load_pickles(
    tmp_path, array, message
):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DadnetError, match=message) as refused:
        read_flow(tmp_path / "a.npy")
    assert "allow_pickle" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_another_file_with_the_ending_npy_is_refused_without_advice_to_load_pickles(
    tmp_path, content
):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DadnetError, match=r"a\.npy: ") as refused:
        read_flow(tmp_path / "a.npy")
    assert "pickle" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_an_image_has_u_and_v_in_red_and_green(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", IMAGE)
    read = read_flow(tmp_path / f"a{suffix}", ImageScale())
    expected = (IMAGE[..., :2].transpose(2, 0, 1).astype(np.float64) - 127.5) / 128
    np.testing.assert_array_equal(read.flow, expected)
    np.testing.assert_array_equal(read.flow.astype(np.float16), expected)  # exact in the store
    assert "(value - 127.5) x 0.0078125 pixels; blue (strain) was dropped" in read.notes[0]


def test_the_scale_of_images_is_the_users(tmp_path):
    write_image(tmp_path / "a.png", IMAGE)
    read = read_flow(tmp_path / "a.png", ImageScale(zero=128, step=0.125))
    np.testing.assert_array_equal(read.flow[0], (IMAGE[..., 0].astype(np.float32) - 128) / 8)


@pytest.mark.parametrize("bad", [{"zero": -1.0}, {"step": 0.0}, {"step": float("nan")}])
def test_a_scale_without_sense_is_refused(bad):
    with pytest.raises(DadnetError, match="image_"):
        ImageScale(**bad)


def test_an_opaque_image_is_read_and_a_transparent_one_refused(tmp_path):
    alpha = np.full((28, 28, 1), 255, np.uint8)
    write_image(tmp_path / "a.png", np.concatenate([IMAGE, alpha], axis=2))
    assert read_flow(tmp_path / "a.png", ImageScale()).flow.shape == (2, 28, 28)
    alpha[3, 3] = 0
    write_image(tmp_path / "b.png", np.concatenate([IMAGE, alpha], axis=2))
    with pytest.raises(DadnetError, match="a transparent image"):
        read_flow(tmp_path / "b.png", ImageScale())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE[..., 0], "one grey channel"),
        (np.repeat(IMAGE[..., :1], 3, axis=2), "a grey image"),
        (IMAGE.astype(np.uint16) * 257, "KITTI.s flow PNG has 16"),
        (np.zeros((28, 28, 3), np.uint8) + np.array([9, 5, 5], np.uint8), "no motion"),
    ],
)
def test_an_image_that_is_no_flow_image_is_refused(tmp_path, image, message):
    cv2.imwrite(str(tmp_path / "a.png"), image)
    with pytest.raises(DadnetError, match=message):
        read_flow(tmp_path / "a.png", ImageScale())


def test_an_image_without_a_scale_is_refused(tmp_path):
    write_image(tmp_path / "a.png", IMAGE)
    with pytest.raises(DadnetError, match="expected a flow in pixels"):
        read_flow(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"torn")
    with pytest.raises(DadnetError, match="cannot be decoded"):
        read_flow(tmp_path / "b.png", ImageScale())
    with pytest.raises(DadnetError, match="cannot be read: No such file"):
        read_flow(tmp_path / "none.png", ImageScale())


def test_jpeg_is_read_and_said(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), cv2.GaussianBlur(IMAGE, (0, 0), 3))
    read = read_flow(tmp_path / "a.jpg", ImageScale())
    assert any("JPEG" in note for note in read.notes)
