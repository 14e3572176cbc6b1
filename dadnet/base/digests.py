"""Canonical JSON, the digests of values, texts and files, and checksums stored with a content.

A digest is 16 hexadecimal digits of SHA-256; a checksum is all 64.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dadnet.base.disk import stream_regular
from dadnet.base.errors import DadnetError

_READ_AT_ONCE = 2**20
_CHECKED = b"dadnet sha256 "
_HEAD = len(_CHECKED) + 64 + 1  # with the checksum and the end of its line


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN, UTF-8 kept as it is.

    Raises:
        DadnetError: if the value holds NaN, infinity or something that JSON cannot hold.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
        )
        text.encode()  # half of a surrogate pair is a string in Python and nowhere else
    except (TypeError, ValueError, RecursionError) as error:
        raise DadnetError(f"expected plain finite JSON values, got: {error}") from error
    return text


def content_digest(content: str | bytes, digits: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 of bytes, or of a text as UTF-8."""
    return parts_digest([content.encode() if isinstance(content, str) else content], digits)


def parts_digest(parts: Iterable[bytes], digits: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 of all parts, one after another."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:digits]


def digest16(value: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of a value's canonical JSON."""
    return content_digest(canonical_json(value))


def file_digest(path: Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of a file.

    Raises:
        DadnetError: if it cannot be read.
    """
    return file_checksum(path)[:16]


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, which may be larger than the memory.

    Raises:
        DadnetError: if it cannot be read.
    """
    try:
        with stream_regular(path, follow=True) as file:
            return parts_digest(iter(partial(file.read, _READ_AT_ONCE), b""), 64)
    except OSError as error:
        raise DadnetError(f"{path} cannot be read: {error.strerror}") from error


def checksum(content: str | bytes) -> str:
    """Return the whole SHA-256 of bytes, or of a text as UTF-8: 64 hexadecimal digits."""
    return content_digest(content, 64)


def with_checksum(content: bytes) -> bytes:
    """Return a content after a first line with its checksum; `checked_content` reads it."""
    return _CHECKED + checksum(content).encode() + b"\n" + content


def checked_content(data: bytes) -> bytes:
    """Return the content of `with_checksum`; a bit that has changed anywhere is found.

    Raises:
        DadnetError: if there is no checksum, or the content does not have it.
    """
    head, content = data[:_HEAD], data[_HEAD:]
    if not head.startswith(_CHECKED):
        raise DadnetError("it has no checksum")
    if with_checksum(content)[:_HEAD] != head:
        raise DadnetError("its checksum does not match its content")
    return content


@cache
def code_digest() -> str:
    """Return the digest of the code that computes: this package's sources and torch's version.

    It is equal on machines with other ends of lines, and is computed once in a process.
    """
    torch = ""
    with suppress(PackageNotFoundError):
        torch = version("torch")
    return source_digest(Path(__file__).parents[1], torch)


def source_digest(package: Path, more: str) -> str:
    """Return the digest of the names and contents of a package's sources, and of a text."""
    sources = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    texts = {
        name: content_digest(path.read_bytes().replace(b"\r\n", b"\n"))
        for name, path in sources.items()
    }
    return digest16([texts, more])
