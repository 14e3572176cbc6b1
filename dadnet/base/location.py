"""Where something lies: a path, or a URI of object storage; and writing there, whole or not at all.

A URI is written as `pyarrow.fs` reads it: ``s3://bucket/folder?endpoint_override=localhost:9000``.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from dadnet.base.errors import DadnetError
from dadnet.base.remote import RemotePath, StorageError

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
# What pyarrow knows in the query of an s3 URI, as far as it means something here.
_OPTIONS = ("anonymous", "endpoint_override", "region", "scheme")
# A disk that is full or cannot be written.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Location: TypeAlias = Path | RemotePath


def location(text: str | Path | RemotePath) -> Location:
    """A path, or the object storage that a URI names.

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


def absolute(place: Location) -> Location:
    """The same place for every process of a machine, wherever it was started."""
    return place.absolute() if isinstance(place, Path) else place


def write_over(path: Location, data: bytes) -> None:
    """Write a file that appears whole or not at all, in place of one that is there."""
    if isinstance(path, RemotePath):
        path.replace_with(data)
        return
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with no_space_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def no_space_told(path: Path) -> Iterator[None]:
    """A disk that takes no more as a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(
            f"storage: {error.strerror} for {path}; what is finished is kept, give the same "
            "command again when there is room"
        ) from None


def replace_file(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all, in the place of any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(text.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
