"""Files of the ledger: names, reading, and setting damaged files aside.

Readers change nothing: what they cannot use they report with a `LedgerWarning`. Who writes a file
moves what is damaged out of its way first, to ``quarantine/``. A file of another version stays.
"""

from __future__ import annotations

import csv
import io
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote

from dadnet.base.boundary import one_line
from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError, StorageError
from dadnet.base.location import Location, stored, write_once

# Where the searches are, beside the datasets.
STUDIES = ".studies"
_LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names need some of it
_TRIES = 100
_FORMULA = ("=", "+", "-", "@")

T = TypeVar("T")


class LedgerWarning(UserWarning):
    """Something in the ledger cannot be used, or was moved aside."""


class OtherVersionError(DadnetError):
    """A whole file that another version of this program has written."""


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


def lines_of(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    """Return each warning once, as a line, and how many are of the ledger if there are several."""
    lines = {one_line(str(one.message)): issubclass(one.category, LedgerWarning) for one in caught}
    number = sum(lines.values())
    return [*lines, *([f"{number} files of the ledger are left out"] if number > 1 else [])]


def bytes_of(path: Location) -> bytes | None:
    """Return the content of a file, or None if there is none.

    Raises:
        IrregularFileError: if it is a link, a named pipe or anything else but a file.
    """
    return stored(path).read()


@contextmanager
def named(place: object) -> Iterator[None]:
    """Put the name of a file before the message of a `DadnetError`."""
    try:
        yield
    except DadnetError as error:
        raise DadnetError(f"{place}: {error}") from error


class _DamagedError(DadnetError):
    """A file whose content cannot be used, or a name that is no file."""

    def __init__(self, reason: str, content: bytes | None) -> None:
        super().__init__(reason)
        self.content = content


def _read(path: Location, read: Callable[[bytes], T], data: bytes | None) -> T | None:
    try:
        data = bytes_of(path) if data is None else data
        return None if data is None else read(data)
    except StorageError:
        raise
    except OtherVersionError as error:
        raise OtherVersionError(f"{path}: {error}") from error
    except DadnetError as error:
        raise _DamagedError(str(error), data) from error


def read_whole(path: Location, read: Callable[[bytes], T], data: bytes | None = None) -> T | None:
    """Return what a file holds; None if there is none, or none that can be used.

    The second case gives a `LedgerWarning`; the file stays as it is.

    Args:
        path: the file.
        read: returns the content's meaning; its `DadnetError` means damage.
        data: the content, if it was read already.

    Raises:
        StorageError: if an object storage cannot be reached.
    """
    try:
        return _read(path, read, data)
    except StorageError:
        raise
    except OtherVersionError as error:
        reason = f"left out: {error}"
    except DadnetError as error:
        reason = f"damaged {path} is left out: {error}; the command that made it makes it again"
    except OSError as error:
        reason = f"{path} is left out: it cannot be read ({error.strerror})"
    warnings.warn(reason, LedgerWarning, stacklevel=3)
    return None


def check_whole(path: Location, read: Callable[[bytes], T], data: bytes | None = None) -> T | None:
    """Return what `read_whole` returns, without a warning of damage.

    Raises:
        OtherVersionError: if another version has written the file.
        OSError: if it cannot be read.
    """
    try:
        return _read(path, read, data)
    except _DamagedError:
        return None


def set_damage_aside(
    path: Location, folder: Location, read: Callable[[bytes], T], data: bytes | None = None
) -> T | None:
    """Return what `check_whole` returns; a damaged file goes to ``quarantine/`` below the folder.

    So does whatever is no regular file; each gives a `LedgerWarning`. The errors are those of
    `check_whole`.
    """
    try:
        return _read(path, read, data)
    except _DamagedError as error:
        quarantine(path, folder, error.content, str(error))
        return None


def write_whole(
    path: Location, folder: Location, text: str, read: Callable[[bytes], T]
) -> T | None:
    """Write a file if there is none that can be used; return the one that is there, else None.

    The arguments and errors are those of `set_damage_aside`, which makes room for the file.
    """
    for _ in range(_TRIES):
        if write_once(path, text):
            return None
        if (there := set_damage_aside(path, folder, read)) is not None:
            return there
    raise StorageError(f"storage: {path} can be neither written nor read")


def quarantine(path: Location, folder: Location, damaged: bytes | None, reason: str) -> None:
    """Move a damaged file to ``quarantine/`` below a folder, with a `LedgerWarning`.

    `damaged` is its content; None if it is no file.
    """
    # What is no file has no content that could name it.
    name = secrets.token_hex(6) if damaged is None else content_digest(damaged, 12)
    target = folder / "quarantine" / f"{name}-{path.name}"
    if stored(path).set_aside(target, damaged):
        warnings.warn(
            f"damaged {path} was moved to {target.parent}: {reason}", LedgerWarning, stacklevel=5
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
