"""Canonical JSON with a checksum, and the base class of everything that is stored in this form."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar

import msgspec

from dadnet.base.digests import canonical_json, checksum
from dadnet.base.errors import DadnetError
from results.ledger.files import OtherVersionError

SCHEMA = 1

Text = Annotated[str, msgspec.Meta(min_length=1)]
FreeText = Annotated[str, msgspec.Meta(description="control characters are allowed")]
Names1 = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Curves = Mapping[str, tuple[float | None, ...]]
JsonObject = Mapping[str, Any]

_R = TypeVar("_R", bound="Record")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen object whose fields are checked in the constructor and when it is read from JSON.

    The types of the fields say what is allowed; lists become tuples and whole numbers become
    floats where the type says so. In addition, texts are printable, since control characters
    would reach terminals and file names; the texts of a tuple are different and not empty; and a
    `JsonObject` is copied as JSON would give it back. `record_kind` names the record in messages.
    """

    record_kind: ClassVar[str] = "record"

    def __post_init__(self) -> None:
        try:
            typed = msgspec.convert(self, unchecked(type(self)), from_attributes=True)
        except msgspec.ValidationError as error:
            raise _refusal(self.record_kind, error) from error
        for name, kind in _types(type(self)).items():
            value = getattr(typed, name)
            if kind == JsonObject:
                value = check_mapping(value)
            elif kind != FreeText:
                _check_texts(name, value)
            msgspec.structs.force_setattr(self, name, value)

    def __hash__(self) -> int:
        """Return the hash of all fields but the mappings."""
        values = msgspec.structs.astuple(self)
        return hash(tuple(value for value in values if not isinstance(value, dict)))

    def replace(self: _R, **changes: Any) -> _R:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object; tuples become lists."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made


class Sealed(Record, frozen=True):
    """A record that is a file of its own."""

    def to_json(self) -> str:
        """Return the canonical JSON text, with schema and checksum."""
        return seal({**self.to_dict(), "schema": SCHEMA})

    @classmethod
    def from_json(cls: type[_R], text: str | bytes) -> _R:
        """Return the record of `to_json`'s text.

        Raises:
            DadnetError: if the text is damaged, or a key is missing, unknown or of a wrong type.
        """
        payload = unseal(text, cls.record_kind)
        del payload["schema"]
        try:
            return msgspec.convert(payload, cls)
        except msgspec.ValidationError as error:
            raise _refusal(cls.record_kind, error) from error


@lru_cache
def unchecked(record: type[Record], **types: Any) -> Any:
    """Return a class with a record's fields of which only the types are checked.

    Args:
        record: the class.
        types: other types of some of the fields, and further fields.
    """
    fields = list({**_types(record), **types}.items())
    name = f"Unchecked{record.__name__}"
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False)


@lru_cache
def _types(record: type[Record]) -> dict[str, Any]:
    return {item.name: item.type for item in msgspec.structs.fields(record)}


def _check_texts(name: str, value: object) -> None:
    if isinstance(value, str):
        check_text(name, value, empty=True)
    elif isinstance(value, tuple) and value and isinstance(value[0], str):
        check_names(name, value)


def _refusal(kind: str, error: msgspec.ValidationError) -> DadnetError:
    """Return msgspec's error as one line: the name of the field and what was expected."""
    if isinstance(error.__cause__, DadnetError):  # of a record in this one
        return error.__cause__
    message, _, path = str(error).partition(" - at ")
    name = path.strip("`").removeprefix("$").removeprefix(".") or f"a {kind}"
    if message.startswith("Expected "):
        return DadnetError(f"expected {name} as {message.removeprefix('Expected ')}")
    return DadnetError(f"{name}: {message[0].lower()}{message[1:]}")


def seal(payload: Mapping[str, Any]) -> str:
    """Return a payload as canonical JSON with its SHA-256 added under ``checksum``."""
    return canonical_json({**payload, "checksum": checksum(canonical_json(payload))})


def unseal(text: str | bytes, kind: str) -> dict[str, Any]:
    """Return the payload of a sealed text.

    Args:
        text: what `seal` returned, with or without a final newline.
        kind: what the text is, for the error ("record", "experiment").

    Raises:
        OtherVersionError: if it is whole and of another schema.
        DadnetError: if it is not JSON, not in canonical form, or its checksum does not match. The
            canonical form is demanded so that no changed byte passes: ``1e-05`` and ``1E-05`` are
            equal numbers.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DadnetError(f"expected a {kind} in JSON, got: {error}") from error
    if not isinstance(value, dict):
        raise DadnetError(f"expected a {kind} as a JSON object, got: {type(value).__name__}")
    stated = value.pop("checksum", None)
    sealed = seal(value)
    whole = stated == json.loads(sealed)["checksum"]
    if type(schema := value.get("schema")) is not int or schema != SCHEMA:
        expected = f"{kind}: expected schema {SCHEMA}"
        # The seal is that of every schema: a text that it does not fit is damaged.
        if type(schema) is int and whole:
            raise OtherVersionError(f"{expected}, got: {schema} (written by {_writer(value)})")
        raise DadnetError(f"{expected}, got: {schema!r}")
    if not whole:
        raise DadnetError(f"the checksum of the {kind} does not match its content")
    if text.removesuffix("\n") != sealed:
        raise DadnetError(f"the {kind} is not in canonical form")
    return value


def _writer(payload: Mapping[str, Any]) -> str:
    """Name the version that wrote a sealed text, as far as the text says it."""
    host = payload.get("host")
    versions = host.get("versions") if isinstance(host, dict) else None
    version = versions.get("dadnet-loso") if isinstance(versions, dict) else None
    known = version if isinstance(version, str) and version.isprintable() else "another version"
    return f"{known}, schema {payload['schema']}"


def check_text(name: str, value: str, *, empty: bool = False) -> str:
    """Return a printable text, or raise `DadnetError`; it may be empty only if `empty` says so."""
    if not value.isprintable() or not (value or empty):
        raise DadnetError(f"expected {name} as printable text, got: {value!r}")
    return value


def check_choice(name: str, value: str, choices: Collection[str]) -> str:
    """Return one of the choices, or raise `DadnetError` that lists them."""
    if value not in choices:
        raise DadnetError(f"expected {name} as one of {', '.join(choices)}, got: {value!r}")
    return value


def check_names(name: str, value: Iterable[str], *, least: int = 0) -> tuple[str, ...]:
    """Return a tuple of different printable names.

    Raises:
        DadnetError: if there are too few, or a name is repeated, empty or not printable.
    """
    names = tuple(check_text(f"each of {name}", item) for item in value)
    if len(set(names)) != len(names) or len(names) < least:
        raise DadnetError(f"expected {name} as {least} or more different names, got: {names}")
    return names


def check_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of a mapping as JSON would give it back (tuples become lists).

    Raises:
        DadnetError: if JSON cannot hold it.
    """
    copy: dict[str, Any] = json.loads(canonical_json(dict(value)))
    return copy


def finite(curves: Curves) -> dict[str, list[float | None]]:
    """Return curves with None (JSON's null) for NaN and the infinities.

    Raises:
        DadnetError: if they are no mapping of names to numbers.
    """
    try:
        return {
            check_text("the name of a curve", name): [
                float(v) if v is not None and math.isfinite(v) else None for v in values
            ]
            for name, values in curves.items()
        }
    except (AttributeError, TypeError) as error:
        raise DadnetError(f"expected curves as lists of numbers by name, got: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
