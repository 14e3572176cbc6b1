"""Canonical JSON and the digests of values, texts and files: 16 hexadecimal digits of SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from dadnet.base.disk import LARGEST_WEIGHTS, read_regular
from dadnet.base.errors import DadnetError


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
    try:
        return content_digest(read_regular(path, follow=True, most=LARGEST_WEIGHTS))
    except OSError as error:
        raise DadnetError(f"{path} cannot be read: {error.strerror}") from error
