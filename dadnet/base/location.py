"""Locations: a path, or a URI of object storage; reading and writing at either.

A URI is written as `pyarrow.fs` reads it: ``s3://bucket/folder?endpoint_override=localhost:9000``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from dadnet.base.disk import DiskPath
from dadnet.base.errors import DadnetError
from dadnet.base.remote import RemotePath

if TYPE_CHECKING:
    from typing_extensions import TypeIs

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
# The options of pyarrow's s3 URIs that have a meaning here.
_OPTIONS = ("anonymous", "endpoint_override", "region", "scheme")
Location: TypeAlias = Path | RemotePath


def location(text: str | Path | RemotePath) -> Location:
    """Return a path, or the object storage that a URI names.

    Raises:
        DadnetError: if the URI is of no known kind, or has credentials in it.
    """
    if not isinstance(text, str) or "://" not in text:
        return text if isinstance(text, RemotePath) else Path(text)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme not in SCHEMES:
        raise DadnetError(
            f"storage: expected a path or a URI with {', '.join(('file', *SCHEMES))}, "
            f"got {parts.scheme}://"
        )
    user = parts.username if parts.scheme.startswith("abfs") else None  # there, the container
    if parts.password is not None or (parts.username is not None and user is None):
        raise DadnetError(
            f"storage: expected {parts.scheme}://bucket/... without credentials, which come from "
            "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...); they would end up "
            "in logs"
        )
    query = parse_qsl(parts.query)
    allowed = _OPTIONS if parts.scheme == "s3" else ()
    if unknown := [name for name, _ in query if name not in allowed]:
        raise DadnetError(
            f"storage: expected {', '.join(allowed) or 'nothing'} after ? in a "
            f"{parts.scheme} URI, got {', '.join(unknown)}"
        )
    if not parts.netloc:
        raise DadnetError(f"storage: expected {parts.scheme}://bucket/..., got no bucket")
    key = "/".join(part for part in unquote(parts.path).split("/") if part)
    if ".." in key.split("/"):
        raise DadnetError(f"storage: expected a URI without .., got {parts.path}")
    return RemotePath(f"{parts.scheme}://{parts.netloc}", key, urlencode(query, safe=":/"))


def absolute(path: Location) -> Location:
    """Return the same location for every process of a machine, wherever it was started."""
    return path if is_remote(path) else path.absolute()


def is_remote(path: Location) -> TypeIs[RemotePath]:
    """Whether a location is on object storage: no database, no lock, nothing to append to."""
    return isinstance(path, RemotePath)


def on_disk(path: Location) -> Path:
    """Return a location as a path on this machine.

    Raises:
        DadnetError: if it is on object storage.
    """
    if is_remote(path):
        raise DadnetError(f"storage: expected a path on this machine, got {path}")
    return path


class Stored(Protocol):
    """A file or folder, on a disk (`DiskPath`) or on object storage (`RemotePath`).

    What `pathlib.Path` and `RemotePath` share (joining names, `exists`, `read_bytes`, `unlink`,
    ...) is used directly; here is what the two kinds of storage do in different ways.
    """

    def write_once(self, data: bytes) -> bool:
        """Write the file if there is none; False if there is one, which stays as it is."""

    def overwrite(self, data: bytes) -> None:
        """Write the file in the place of any other."""

    def read(self) -> bytes | None:
        """The content of the file; None if there is none.

        Raises:
            IrregularFileError: if it is a link, a named pipe or anything else but a file.
        """

    def local_copy(self) -> AbstractContextManager[Path]:
        """Yield a path of this machine with the content, for readers that need one."""

    def modified(self) -> datetime | None:
        """When the file was written, by the storage's clock; None if there is none."""

    def names(self) -> list[str]:
        """Names of the files directly in the folder; none if there is no folder."""

    def folders(self, depth: int = 1) -> list[str]:
        """Names of the folders at a depth below this one, with slashes, sorted by their parts."""

    def set_aside(self, target: Any, content: bytes | None = None) -> bool:
        """Move the file to another location of the same storage.

        Args:
            target: the new location.
            content: what was found in the file. If another process has written something else
                there since, that stays, and the content found goes to the target.

        Returns:
            False if another process was quicker.
        """

    def remove_tree(self) -> None:
        """Remove the folder with all that is in it; no error if there is none."""


def stored(path: Location) -> Stored:
    """Return what can be done at a location."""
    return path if is_remote(path) else DiskPath(path)


def write_once(path: Location, data: str | bytes) -> bool:
    """Write a file that appears whole or not at all, and never replaces another.

    Returns:
        False if the path already existed.

    Raises:
        StorageError: if the storage is full or cannot be reached.
        OSError: if the folder cannot be written or its file system has no hard links.
    """
    return stored(path).write_once(data if isinstance(data, bytes) else data.encode())


def replace_file(path: Location, data: str | bytes) -> None:
    """Write a file that appears whole or not at all, in the place of any other.

    Raises:
        StorageError: if the storage is full or cannot be reached.
        OSError: if the folder cannot be written.
    """
    stored(path).overwrite(data if isinstance(data, bytes) else data.encode())
