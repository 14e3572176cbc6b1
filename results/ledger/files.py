"""Files of the ledger: names, reading, and setting damaged files aside."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote

from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, stored

# Where the searches are, beside the datasets.
STUDIES = ".studies"
_LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names need some of it
_READ_AT_ONCE = 2**16
_FORMULA = ("=", "+", "-", "@")

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
        slug = f"{slug[:100]}~{content_digest(name, 64)}"
    return slug


def bytes_of(path: Location) -> bytes | None:
    """Return the content of a file, or None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def named(place: object) -> Iterator[None]:
    """Put the name of a file before the message of a `DadnetError`."""
    try:
        yield
    except DadnetError as error:
        raise DadnetError(f"{place}: {error}") from error


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
    target = folder / "quarantine" / f"{content_digest(damaged, 12)}-{path.name}"
    if stored(path).set_aside(target, damaged):
        warnings.warn(
            f"damaged {path} was moved to {target.parent}: {reason}", LedgerWarning, stacklevel=4
        )


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV; a text that a spreadsheet program would run gets an apostrophe.

    Names come from tables and bundles of others. ``=``, ``+``, ``-`` and ``@`` at the beginning
    of a cell make it a formula there.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(f"'{c}" if isinstance(c, str) and c[:1] in _FORMULA else c for c in row)
    return text.getvalue()
