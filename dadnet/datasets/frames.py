"""Frames on disk: the last integer in a file's name is the number of the frame."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dadnet.base.errors import DadnetError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
# A folder with more folders than this holds subjects or clips, and no annotation.
MANY_FOLDERS = 24


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
    numbers = re.findall(r"[0-9]{1,18}", path.stem)
    return int(numbers[-1]) if numbers else None


class FrameFolders:
    """Listings of folders, each read once however many clips lie in it.

    A video of CAS(ME)^3 has thousands of frames and several clips; names are matched without
    regard to case, since annotation and folders differ in it (``spNO.1`` and ``spNo.1``).
    """

    def __init__(self) -> None:
        self._listings: dict[Path, tuple[list[str], dict[str, Path]]] = {}
        self._frames: dict[Path, dict[int, list[str]]] = {}
        self._named: dict[Path, dict[str, list[Path]]] = {}

    def files(self, folder: Path) -> list[Path]:
        """Files of a folder, sorted."""
        return [folder / name for name in self._listing(folder)[0]]

    def children(self, folder: Path) -> dict[str, Path]:
        """Folders in a folder by lower-case name, without hidden ones."""
        return self._listing(folder)[1]

    def below(self, folder: Path, names: Sequence[str]) -> Path | None:
        """The folder reached by these names, in any case; None if there is none."""
        for name in names:
            child = self.children(folder).get(name.lower())
            if child is None:
                return None
            folder = child
        return folder

    def named(self, root: Path, name: str) -> list[Path]:
        """Every folder of that name at most three levels below the root."""
        if root not in self._named:
            found: dict[str, list[Path]] = {}
            waiting = [(root, 1)]
            while waiting:
                folder, level = waiting.pop()
                inner = self.children(folder)
                for key, child in inner.items():
                    found.setdefault(key, []).append(child)
                if level < 3 and len(inner) <= MANY_FOLDERS:
                    waiting += [(child, level + 1) for child in inner.values()]
            self._named[root] = found
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
        found = frames.get(number, [])
        if not found:
            has = f"it has {min(frames)} to {max(frames)}" if frames else "it has no frames"
            raise DadnetError(f"no frame {number} in {folder}; {has}")
        if len(found) > 1:
            raise DadnetError(f"several files are frame {number} in {folder}: {', '.join(found)}")
        return folder / found[0]

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
