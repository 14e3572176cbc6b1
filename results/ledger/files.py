"""Files of the ledger: names, writing once, and setting aside; in a folder or on object storage."""

from __future__ import annotations

import hashlib
import os
import secrets
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, no_space_told
from dadnet.base.remote import RemotePath

# Where the searches are, beside the datasets.
STUDIES = ".studies"


_LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names need some of it

_READ_AT_ONCE = 2**16

T = TypeVar("T")


class LedgerWarning(UserWarning):
    """Something in the ledger is damaged and was moved aside."""


@lru_cache(maxsize=10_000)
def file_name(name: str) -> str:
    """Return a safe file name for any name; different names give different file names.

    >>> file_name("casme2/sub01")
    'casme2%2Fsub01'
    >>> file_name("..")
    '%2E.'
    """
    slug = quote(name, safe="")
    if slug.startswith("."):  # neither a hidden file nor a way up
        slug = f"%2E{slug[1:]}"
    if len(slug) > _LONGEST_NAME:
        slug = f"{slug[:100]}~{hashlib.sha256(name.encode()).hexdigest()}"
    return slug


def write_once(path: Location, text: str) -> bool:
    """Write a file that appears whole or not at all, and never replaces another.

    Returns:
        False if the path already existed.

    Raises:
        OSError: if the folder cannot be written or its file system has no hard links.
    """
    if isinstance(path, RemotePath):
        return path.create(text.encode())
    if path.exists():
        return False
    with no_space_told(path):
        return _link_once(path, text)


def _link_once(path: Path, text: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, this refuses an existing name
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bytes_of(path: Location) -> bytes | None:
    """Return the content of a file, or None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_quickly(path: str) -> bytes:
    """Return the content of a file: three calls to the system where a file object makes six.

    A read that gives less than was asked for is taken for the end; a checksum tells otherwise.

    Raises:
        FileNotFoundError: if there is none.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = [os.read(descriptor, _READ_AT_ONCE)]
        while len(parts[-1]) == _READ_AT_ONCE:
            parts.append(os.read(descriptor, _READ_AT_ONCE))
    finally:
        os.close(descriptor)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_whole(
    path: Location, folder: Location, read: Callable[[bytes], T], data: bytes | None = None
) -> T | None:
    """Return what a file holds; None if there is none, or if it is damaged and was moved aside.

    Args:
        path: the file.
        folder: a damaged file goes to ``quarantine/`` below it.
        read: returns the content's meaning; its `DadnetError` means damage.
        data: the content, if it was read already.
    """
    data = bytes_of(path) if data is None else data
    if data is None:
        return None
    try:
        return read(data)
    except DadnetError as error:
        quarantine(path, folder, data, str(error))
        return None


def quarantine(path: Location, folder: Location, damaged: bytes, reason: str) -> None:
    """Move a damaged file to ``quarantine/`` below a folder, with a `LedgerWarning`."""
    target = folder / "quarantine" / f"{hashlib.sha256(damaged).hexdigest()[:12]}-{path.name}"
    if isinstance(path, RemotePath) or isinstance(target, RemotePath):
        assert isinstance(path, RemotePath)
        assert isinstance(target, RemotePath)
        target.replace_with(damaged)
        # Between this look and the removal another may mend it: then that fold is made again.
        if bytes_of(path) == damaged:
            path.unlink()
            _warn_of(path, target.parent, reason)
        return
    target.parent.mkdir(exist_ok=True)
    try:
        path.rename(target)
    except FileNotFoundError:  # another process was quicker, and has warned
        return
    moved = target.read_bytes()
    if moved != damaged:  # another process had put a new record there in between: give it back
        write_once(path, moved.decode())
        target.write_bytes(damaged)
        return
    _warn_of(path, target.parent, reason)


def _warn_of(path: Location, folder: Location, reason: str) -> None:
    warnings.warn(f"damaged {path} was moved to {folder}: {reason}", LedgerWarning, stacklevel=5)
