"""Frames of videos, by number: decoded from the start, since seeking is inexact in many codecs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import VIDEO_SUFFIXES
from dadnet.flow.compute import Image


def is_video(path: str | Path) -> bool:
    """Whether a file is a video, by its ending."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def video_frames(
    path: Path, numbers: Sequence[int], start: int = 0, *, colour: bool = False
) -> Iterator[tuple[int, Image]]:
    """Some frames of a video, in order.

    Args:
        path: the video.
        numbers: of the frames, ascending.
        start: number of the first frame of the video: 0 or 1.
        colour: blue, green, red (H, W, 3) instead of grey (H, W).

    Yields:
        Number and image of each frame, uint8.

    Raises:
        DadnetError: if the video cannot be decoded or does not have a frame.
    """
    if numbers and numbers[0] < start:
        raise DadnetError(f"no frame {numbers[0]} in {path.name}; its first one is frame {start}")
    with _opened(path) as video:
        position = start
        for number in numbers:
            while position <= number:
                if not video.grab():
                    raise DadnetError(_too_short(path, number, start, position))
                position += 1
            decoded, image = video.retrieve()
            if not decoded or image is None:
                raise DadnetError(f"frame {number} of {path.name} cannot be decoded")
            if not colour:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            yield number, np.asarray(image, dtype=np.uint8)


def _too_short(path: Path, number: int, start: int, position: int) -> str:
    if position == start:
        return f"{path.name} has no frame that can be decoded"
    counted = f"no frame {number} in {path.name}; it has frames {start} to {position - 1}"
    if start == 0 and number == position:
        return f"{counted} (--video-start 1 counts from 1)"
    return counted


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise DadnetError(f"no such video: {path}")
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not video.isOpened():
            raise DadnetError(f"video cannot be opened: {path.name}")
        yield video
    finally:
        video.release()
