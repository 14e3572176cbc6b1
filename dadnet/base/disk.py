"""Files and folders on a disk: written whole or not at all, listed, set aside."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from dadnet.base.errors import StorageError

# A disk that is full or cannot be written.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Names that `replacing` and `DiskPath.write_once` give to files that are being written.
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.\w+")
_DAY = 86_400  # seconds


def is_plain_name(text: str) -> bool:
    """Whether a text can name a folder anywhere: one name, visible, and not a way out of one."""
    return bool(text) and text.isprintable() and not re.search(r"^[.\s]|[/\\,]|\s$", text)


@contextmanager
def replacing(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a temporary name beside a file; what is written there takes the place of the file.

    The file appears whole or not at all: the temporary file is synchronised with the disk and
    then renamed. If the block raises, the temporary file is removed and the old file stays.

    Args:
        path: the file.
        suffix: end of the temporary name, for writers that look at it.

    Raises:
        StorageError: if the disk is full or read-only.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{suffix}")
    with _full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> None:
    """Remove what killed writers have left below a folder: temporary files older than a day."""
    for path in folder.rglob(".*"):
        with suppress(OSError):  # another process may remove it too
            stale = _TEMPORARY.fullmatch(path.name) and time.time() - path.lstat().st_mtime > _DAY
            if stale and not path.is_dir():
                path.unlink()


@dataclass(frozen=True)
class DiskPath:
    """A file or folder on a disk, as `dadnet.base.location.Stored` describes it."""

    path: Path

    def write_once(self, data: bytes, mode: int = 0o666) -> bool:
        """Write the file if there is none; False if there is one, which stays as it is.

        Raises:
            OSError: if the folder cannot be written or its file system has no hard links.
        """
        if self.path.exists():
            return False
        temporary = self.path.with_name(f".{secrets.token_hex(8)}.tmp")
        with _full_disk_named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.touch(mode, exist_ok=False)
                temporary.write_bytes(data)
                _sync(temporary)
                os.link(temporary, self.path)  # unlike a rename, this refuses an existing name
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            _sync(self.path.parent)
        return True

    def overwrite(self, data: bytes) -> None:
        """Write the file in the place of any other."""
        with replacing(self.path) as temporary:
            temporary.write_bytes(data)

    def read_each(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the content of these files of the folder; None for one that is not there."""
        for name in names:
            data = None
            with suppress(FileNotFoundError):
                data = (self.path / name).read_bytes()
            yield data

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """Yield the path itself."""
        yield self.path

    def modified(self) -> datetime | None:
        """When the file was written; None if there is none."""
        try:
            return datetime.fromtimestamp(self.path.stat().st_mtime, timezone.utc)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Names of the files directly in the folder; none if there is no folder."""
        return [entry.name for entry in _entries(self.path) if not entry.is_dir()]

    def folders(self, depth: int = 1) -> list[str]:
        """Names of the folders at a depth below this one, with slashes, sorted by their parts."""
        found = [""]
        for _ in range(depth):
            found = [
                f"{name}/{entry.name}" if name else entry.name
                for name in found
                for entry in _entries(self.path / name)
                if entry.is_dir()
            ]
        return sorted(found, key=lambda name: name.split("/"))

    def set_aside(self, target: Path, content: bytes | None = None) -> bool:
        """Move the file to another name, unless another process has changed it."""
        target.parent.mkdir(exist_ok=True)
        try:
            self.path.replace(target)
        except FileNotFoundError:  # another process was quicker
            return False
        if content is None or (moved := target.read_bytes()) == content:
            return True
        # Another process had put a new file there in between: put that one back.
        self.write_once(moved)
        target.write_bytes(content)
        return False

    def remove_tree(self) -> None:
        """Remove the folder with all that is in it; no error if there is none."""
        shutil.rmtree(self.path, ignore_errors=True)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(
            f"storage: {error.strerror} for {path}; what is finished is kept, give the same "
            "command again when there is room"
        ) from None
