"""Frames on disk: the last integer in a file's name is the number of the frame."""

import re
from pathlib import Path

from dadnet.errors import DadnetError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")


def frame_number(path: Path) -> int | None:
    """Number of the frame in an image file, or None.

    >>> frame_number(Path("sub01/EP02_01f/reg_img46.jpg"))
    46

    Args:
        path: file; its name without the ending is read.

    Returns:
        The last integer in the name; None for a hidden file, one that is no image (such as
        ``Thumbs.db`` or a ``.lnk``), and a name without a number.
    """
    if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    # ASCII only: \d would take the digits of every script, and int() could refuse some.
    numbers = re.findall(r"[0-9]+", path.stem)
    return int(numbers[-1]) if numbers else None


def list_frames(folder: Path) -> list[tuple[int, Path]]:
    """Frames of a folder as (number, file), in the order of the numbers, not of the names.

    Args:
        folder: folder of one clip or video.

    Raises:
        DadnetError: if there is no such folder.
    """
    if not folder.is_dir():
        raise DadnetError(f"no folder of frames: {folder}")
    numbered = ((frame_number(path), path) for path in folder.iterdir() if path.is_file())
    return sorted((number, path) for number, path in numbered if number is not None)


def find_frame(folder: Path, number: int) -> Path:
    """The file of one frame.

    Args:
        folder: folder of one clip or video.
        number: number of the frame as the annotation has it.

    Raises:
        DadnetError: if the folder or the frame is missing, or several files have the number.
    """
    frames = list_frames(folder)
    found = [path for n, path in frames if n == number]
    if not found:
        has = f"it has {frames[0][0]} to {frames[-1][0]}" if frames else "it has no frames"
        raise DadnetError(f"no frame {number} in {folder}; {has}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DadnetError(f"several files are frame {number} in {folder}: {names}")
    return found[0]
