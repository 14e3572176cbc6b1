"""Files and folders on a disk: written whole or not at all, listed, set aside; free memory."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from dadnet.base.errors import DadnetError, StorageError

# A disk that is full or cannot be written.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
# Nothing that is read as a whole is larger; a larger file is damaged or of another kind.
LARGEST = 2**30
LARGEST_WEIGHTS = 2**33
_READ_AT_ONCE = 2**16
_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}
# What `open` answers to a link that it must not follow, and to a socket, pipe or folder.
_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR)


class IrregularFileError(DadnetError):
    """A name is a named pipe, a folder, a device or a link, where a file must be."""


def open_regular(path: str | Path, *, follow: bool = False, append: bool = False) -> int:
    """Open a regular file and return its descriptor; the call never waits.

    Args:
        path: the file.
        follow: whether a symbolic link may lead to it; only a user's own word may name one.
        append: to write at its end; without it, to read. An absent file is made.

    Raises:
        FileNotFoundError: if there is none.
        IrregularFileError: if the name is no regular file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT if append else os.O_RDONLY
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW), 0o666)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise _irregular(path, os.lstat(path).st_mode) from None
    if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _irregular(path, mode)
    return descriptor


def stream_regular(path: str | Path, *, follow: bool = False) -> BinaryIO:
    """Return a regular file as a binary stream; the arguments and errors of `open_regular`."""
    return os.fdopen(open_regular(path, follow=follow), "rb")


def read_regular(path: str | Path, *, follow: bool = False, most: int = LARGEST) -> bytes:
    """Return the content of a regular file, which has at most so many bytes.

    A file object would make twice as many calls to the system, which counts for 100,000 records.
    A read that gives less than was asked for is taken for the end; a checksum tells otherwise.

    Raises:
        FileNotFoundError: if there is none.
        IrregularFileError: if the name is no regular file.
        DadnetError: if it is larger.
    """
    descriptor = open_regular(path, follow=follow)
    try:
        parts = [os.read(descriptor, _READ_AT_ONCE)]
        if len(parts[0]) == _READ_AT_ONCE and (size := os.fstat(descriptor).st_size) > most:
            raise DadnetError(f"expected at most {most} bytes in {path}, got {size}")
        while len(parts[-1]) == _READ_AT_ONCE:
            parts.append(os.read(descriptor, _READ_AT_ONCE))
    finally:
        os.close(descriptor)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_input(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file that a user names; a link may lead to it.

    Raises:
        OSError: if it cannot be read.
        UnicodeError: if it is in another encoding.
        DadnetError: if it is no regular file, or larger than `LARGEST`.
    """
    return read_regular(path, follow=True).decode(encoding)


def check_regular(path: Path, most: int) -> None:
    """Raise unless a user's file, or what its link leads to, is regular and not too large.

    Raises:
        OSError: if it cannot be opened.
        DadnetError: if it is something else, or has more than so many bytes.
    """
    descriptor = open_regular(path, follow=True)
    try:
        if (size := os.fstat(descriptor).st_size) > most:
            raise DadnetError(f"expected at most {most} bytes in {path}, got {size}")
    finally:
        os.close(descriptor)


def _irregular(path: str | Path, mode: int) -> IrregularFileError:
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    return IrregularFileError(f"expected a regular file at {path}, got {kind}")


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


def free_memory() -> int | None:
    """Bytes available without swapping, within the container's limit; None if unknown."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    fields = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines)}
    free = int(fields["MemAvailable"]) * 1024
    try:
        limit = (_GROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_GROUP / "memory.current").read_text(encoding="ascii"))
    except OSError:  # the container has no limit
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))


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
        if os.path.lexists(self.path):  # a broken link is a name too
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

    def read(self) -> bytes | None:
        """The content of the file; None if there is none.

        Raises:
            IrregularFileError: if it is no regular file.
        """
        try:
            return read_regular(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """Yield the path itself."""
        yield self.path

    def modified(self) -> datetime | None:
        """When the file was written; None if there is none."""
        try:
            return datetime.fromtimestamp(self.path.lstat().st_mtime, timezone.utc)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self) -> list[str]:
        """Names of all but the folders in the folder; none if there is no folder."""
        return [entry.name for entry in _entries(self.path) if not is_folder(entry)]

    def folders(self, depth: int = 1) -> list[str]:
        """Names of the folders at a depth below this one, with slashes, sorted by their parts."""
        found = [""]
        for _ in range(depth):
            found = [
                f"{name}/{entry.name}" if name else entry.name
                for name in found
                for entry in _entries(self.path / name)
                if is_folder(entry)
            ]
        return sorted(found, key=lambda name: name.split("/"))

    def set_aside(self, target: Path, content: bytes | None = None) -> bool:
        """Move the file, or whatever has its name, unless another process has changed it."""
        target.parent.mkdir(exist_ok=True)
        try:
            self.path.replace(target)
        except FileNotFoundError:  # another process was quicker
            return False
        if content is None or (moved := read_regular(target)) == content:
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
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


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
