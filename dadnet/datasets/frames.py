"""Frames on disk: the last integer in a file name is the frame number."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dadnet.base.errors import DadnetError, listed

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4")
# The subfolders of a folder with more than these are subjects or clips, without annotations.
MANY_FOLDERS = 24


def frame_number(path: Path) -> int | None:
    """The frame number of an image file, or None.

    >>> frame_number(Path("sub01/EP02_01f/reg_img46.jpg"))
    46

    Returns:
        The last integer in the name without its ending; None for a hidden file, a file that is not
        an image (such as ``Thumbs.db``), and a name without a number.
    """
    if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    # ASCII only: \d matches the digits of every script, some of which int() rejects.
    numbers = re.findall(r"[0-9]{1,18}", path.stem)
    return int(numbers[-1]) if numbers else None


def series(path: Path) -> tuple[Path, str]:
    """What the frames of one video have in common: the folder, and the name around the number."""
    name = path.stem.lower()
    match = re.search(r"[0-9]{1,18}(?=[^0-9]*$)", name)
    return path.parent, f"{name[: match.start()]}#{name[match.end() :]}" if match else name


class FrameFolders:
    """Listings of folders, each read once.

    A video of CAS(ME)^3 has thousands of frames and several clips. Names are matched without case,
    since annotation and folders differ in it (``spNO.1`` and ``spNo.1``).
    """

    def __init__(self) -> None:
        self._listings: dict[Path, tuple[list[str], dict[str, Path]]] = {}
        self._frames: dict[Path, dict[int, list[str]]] = {}
        self._named: dict[Path, dict[str, list[Path]]] = {}

    def files(self, folder: Path) -> list[Path]:
        """Files of a folder, sorted."""
        return [folder / name for name in self._listing(folder)[0]]

    def children(self, folder: Path) -> dict[str, Path]:
        """Subfolders by lower-case name, without hidden ones."""
        return self._listing(folder)[1]

    def below(self, folder: Path, names: Sequence[str]) -> Path | None:
        """The folder at this path of names, in any case; None if there is none."""
        for name in names:
            child = self.children(folder).get(name.lower())
            if child is None:
                return None
            folder = child
        return folder

    def named(self, root: Path, name: str) -> list[Path]:
        """All folders of this name, at most three levels below the root."""
        if root not in self._named:
            by_name: dict[str, list[Path]] = {}
            waiting = [(root, 1)]
            while waiting:
                folder, level = waiting.pop()
                inner = self.children(folder)
                for key, child in inner.items():
                    by_name.setdefault(key, []).append(child)
                if level < 3 and len(inner) <= MANY_FOLDERS:
                    waiting += [(child, level + 1) for child in inner.values()]
            self._named[root] = by_name
        return sorted(self._named[root].get(name.lower(), []))

    def frames(self, folder: Path) -> Mapping[int, Sequence[str]]:
        """Names of the frames of a folder by number."""
        if folder not in self._frames:
            numbered: dict[int, list[str]] = {}
            for name in self._listing(folder)[0]:
                if (number := frame_number(Path(name))) is not None:
                    numbered.setdefault(number, []).append(name)
            self._frames[folder] = numbered
        return self._frames[folder]

    def find(self, folder: Path, number: int) -> Path:
        """The file of one frame.

        Raises:
            DadnetError: if the frame is missing, or several files have the number.
        """
        frames = self.frames(folder)
        names = frames.get(number, [])
        if not names:
            has = f"it has {min(frames)} to {max(frames)}" if frames else "it has no frames"
            raise DadnetError(f"no frame {number} in {folder}; {has}")
        if len(names) > 1:
            raise DadnetError(f"several files are frame {number} in {folder}: {listed(names, 3)}")
        return folder / names[0]

    def series(self, path: Path) -> dict[int, Path]:
        """The frames of the video that a frame belongs to, by number, in order.

        Other videos may have their frames in the same folder, under other names.

        Raises:
            DadnetError: if two of these files have one number.
        """
        found: dict[int, Path] = {}
        for number, names in sorted(self.frames(path.parent).items()):
            same = [n for n in names if series(path.parent / n) == series(path)]
            if len(same) > 1:
                raise DadnetError(
                    f"several files are frame {number} in {path.parent}: {listed(same, 3)}"
                )
            if same:
                found[number] = path.parent / same[0]
        return found

    def _listing(self, folder: Path) -> tuple[list[str], dict[str, Path]]:
        if folder not in self._listings:
            files: list[str] = []
            inner: dict[str, Path] = {}
            try:
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda e: e.name):
                        if not entry.is_dir():
                            files.append(entry.name)
                        elif not entry.name.startswith("."):
                            inner.setdefault(entry.name.lower(), folder / entry.name)
            except OSError as error:
                raise DadnetError(f"{folder} cannot be listed: {error.strerror}") from error
            self._listings[folder] = files, inner
        return self._listings[folder]
