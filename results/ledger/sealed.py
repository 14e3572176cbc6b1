"""Canonical JSON with a checksum, and the checks that every stored field goes through."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from dadnet.base.digests import canonical_json
from dadnet.base.errors import DadnetError

SCHEMA = 1
_DIGEST = re.compile(r"[0-9a-f]{16}")


def seal(payload: Mapping[str, Any]) -> str:
    """Return a payload as canonical JSON with its SHA-256 added under ``checksum``."""
    checksum = hashlib.sha256(canonical_json(payload).encode()).hexdigest()
    return canonical_json({**payload, "checksum": checksum})


def unseal(text: str | bytes, kind: str) -> dict[str, Any]:
    """Return the payload of a sealed text.

    Args:
        text: what `seal` returned, with or without a final newline.
        kind: what the text is, for the error ("record", "experiment").

    Raises:
        DadnetError: if it is not JSON, not in canonical form, of another schema, or its checksum
            does not match. The canonical form is demanded so that no changed byte passes: ``1e-05``
            and ``1E-05`` are equal numbers.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DadnetError(f"expected a {kind} in JSON, got: {error}") from error
    if not isinstance(value, dict):
        raise DadnetError(f"expected a {kind} as a JSON object, got: {type(value).__name__}")
    if value.get("schema") != SCHEMA:
        raise DadnetError(f"expected a {kind} of schema {SCHEMA}, got: {value.get('schema')!r}")
    checksum = value.pop("checksum", None)
    sealed = seal(value)
    if checksum != json.loads(sealed)["checksum"]:
        raise DadnetError(f"the checksum of the {kind} does not match its content")
    if text.removesuffix("\n") != sealed:
        raise DadnetError(f"the {kind} is not in canonical form")
    return value


def check_keys(kind: str, value: object, expected: Collection[str]) -> dict[str, Any]:
    """Return a JSON object whose keys are exactly the expected ones.

    Raises:
        DadnetError: if it is no object, or a key is missing or unknown.
    """
    if not isinstance(value, dict):
        raise DadnetError(f"expected a {kind} as a JSON object, got: {type(value).__name__}")
    missing = sorted(set(expected) - value.keys())
    unknown = sorted(value.keys() - set(expected))
    if missing or unknown:
        raise DadnetError(f"a {kind} has missing keys {missing} and unknown keys {unknown}")
    return value


def check_text(name: str, value: object, *, empty: bool = False) -> str:
    """Return a printable string; control characters would reach terminals and file names.

    Raises:
        DadnetError: if it is no string, holds control characters, or is empty where it may not be.
    """
    if not isinstance(value, str) or not value.isprintable() or not (value or empty):
        raise DadnetError(f"expected {name} as printable text, got: {value!r}")
    return value


def check_digest(name: str, value: object) -> str:
    """Return a digest of 16 hex digits, or raise `DadnetError`."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise DadnetError(f"expected {name} as 16 hex digits, got: {value!r}")
    return value


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return one of the choices, or raise `DadnetError` that lists them."""
    if not isinstance(value, str) or value not in choices:
        raise DadnetError(f"expected {name} as one of {', '.join(choices)}, got: {value!r}")
    return value


def check_count(name: str, value: object, *, least: int = 0) -> int:
    """Return a whole number of at least `least` (bool is none), or raise `DadnetError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DadnetError(f"expected {name} as a whole number >= {least}, got: {value!r}")
    return value


def check_list(name: str, value: object) -> tuple[Any, ...]:
    """Return a list or tuple as a tuple, or raise `DadnetError`: a string is no list of letters."""
    if not isinstance(value, (list, tuple)):
        raise DadnetError(f"expected {name} as a list, got: {type(value).__name__}")
    return tuple(value)


def check_names(name: str, value: object, *, least: int = 0) -> tuple[str, ...]:
    """Return a tuple of different printable names.

    Raises:
        DadnetError: if it is no list, is too short, or a name is repeated or not printable.
    """
    names = tuple(check_text(f"each of {name}", item) for item in check_list(name, value))
    if len(set(names)) != len(names) or len(names) < least:
        raise DadnetError(f"expected {name} as {least} or more different names, got: {names}")
    return names


def check_mapping(name: str, value: object) -> dict[str, Any]:
    """Return a deep copy of a mapping as JSON would give it back (tuples become lists).

    Raises:
        DadnetError: if it is no mapping or JSON cannot hold it.
    """
    if not isinstance(value, Mapping):
        raise DadnetError(f"expected {name} as a mapping, got: {type(value).__name__}")
    copy: dict[str, Any] = json.loads(canonical_json(dict(value)))
    return copy


def check_numbers(name: str, value: object) -> tuple[float, ...]:
    """Return a list of numbers as floats, or raise `DadnetError`."""
    items = check_list(name, value)
    if any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in items):
        raise DadnetError(f"expected {name} as numbers, got: {items}")
    return tuple(float(item) for item in items)


def finite_or_none(name: str, value: object) -> tuple[float | None, ...]:
    """Return a list of numbers and None, with None (JSON's null) for NaN and the infinities."""
    items = [math.nan if item is None else item for item in check_list(name, value)]
    return tuple(number if math.isfinite(number) else None for number in check_numbers(name, items))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
