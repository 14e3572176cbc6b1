from pathlib import Path

import cv2
import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.flow.clip import FlowOptions, read_clip_frames
from dadnet.flow.video import is_video, video_frames

CODECS = {"mp4v": "clip.mp4", "MJPG": "clip.avi"}
FRAMES = 30


def film(path: Path, codec: str) -> Path:
    """A video whose every frame shows its number as a bar of light, 8 pixels wide for each bit."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (64, 64))
    for number in range(FRAMES):
        bits = np.repeat([255 * (number >> bit & 1) for bit in range(8)], 8).astype(np.uint8)
        writer.write(np.repeat(np.tile(bits, (64, 1))[..., None], 3, axis=2))
    writer.release()
    return path


def shown(image: np.ndarray) -> int:
    """The number that a frame shows."""
    return sum(int(image[:, 8 * bit + 4].mean() > 127) << bit for bit in range(8))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("start", [0, 1])
def test_every_frame_has_its_exact_number(tmp_path, codec, start):
    path = film(tmp_path / CODECS[codec], codec)
    numbers = range(start, FRAMES + start)
    read = {n: shown(image) for n, image in video_frames(path, numbers, start)}
    assert read == {n: n - start for n in numbers}
    some = [start, start + 7, start + 29]
    assert [shown(image) for _, image in video_frames(path, some, start)] == [0, 7, 29]


def test_colour_is_blue_green_red_and_grey_is_two_dimensional(tmp_path):
    path = film(tmp_path / "clip.avi", "MJPG")
    [(_, grey)] = video_frames(path, [3])
    [(_, colour)] = video_frames(path, [3], colour=True)
    assert (grey.shape, colour.shape) == ((64, 64), (64, 64, 3))
    assert grey.dtype == colour.dtype == np.uint8


@pytest.mark.parametrize(
    ("number", "start", "message"),
    [
        (FRAMES, 0, r"no frame 30 in clip.avi; it has frames 0 to 29 \(--video-start 1 counts"),
        (FRAMES + 9, 0, r"no frame 39 in clip.avi; it has frames 0 to 29$"),
        (FRAMES + 1, 1, r"no frame 31 in clip.avi; it has frames 1 to 30$"),
        (0, 1, "no frame 0 in clip.avi; its first one is frame 1"),
    ],
)
def test_a_frame_that_the_video_lacks_is_refused_with_those_it_has(
    tmp_path, number, start, message
):
    film(tmp_path / "clip.avi", "MJPG")
    with pytest.raises(DadnetError, match=message):
        list(video_frames(tmp_path / "clip.avi", [number], start))


def test_damaged_and_missing_videos_are_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    whole = film(tmp_path / "clip.avi", "MJPG").read_bytes()
    (tmp_path / "short.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DadnetError, match=r"cannot be opened: text\.mp4"):
        list(video_frames(tmp_path / "text.mp4", [0]))
    with pytest.raises(DadnetError, match="no such video"):
        list(video_frames(tmp_path / "none.mp4", [0]))
    with pytest.raises(DadnetError, match=r"no frame 29 in short\.avi|decoded|opened"):
        list(video_frames(tmp_path / "short.avi", [29]))


def test_the_frames_of_a_clip_are_those_of_its_numbers_and_the_offset_is_checked(tmp_path):
    path = film(tmp_path / "clip.mp4", "mp4v")
    options = FlowOptions("dis", 64, None, video_start=1)
    row = {"onset_path": str(path), "apex_path": str(path), "onset": 3, "apex": 8, "offset": 30}
    onset, apex, number = read_clip_frames(row, options)
    assert (shown(onset), shown(apex), number) == (2, 7, 8)
    with pytest.raises(DadnetError, match="no frame 31"):
        read_clip_frames({**row, "offset": 31}, options)


def test_the_apex_of_a_video_can_be_searched(tmp_path):
    path = film(tmp_path / "clip.mp4", "mp4v")
    row = {"onset_path": str(path), "apex_path": "", "onset": 3, "apex": -1, "offset": 12}
    _, apex, number = read_clip_frames(row, FlowOptions("dis", 64, None, video_start=0))
    assert 3 < number <= 12
    assert shown(apex) == number


def test_a_video_is_known_by_its_ending():
    assert is_video("a/B.AVI")
    assert not is_video("a.png")
