"""Keyword arguments of Python as the words of a command line, so that both are checked alike."""

import difflib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from numbers import Real
from typing import Any, TypeVar, get_type_hints

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location

T = TypeVar("T")


def flag_types(flags: type) -> dict[str, Any]:
    """Name and type of every flag, those of nested dataclasses too, in the order of the help."""
    found: dict[str, Any] = {}
    hints = get_type_hints(flags)
    for field in fields(flags):
        hint = hints[field.name]
        nested = isinstance(hint, type) and is_dataclass(hint)
        found.update(flag_types(hint) if nested else {field.name: hint})
    return found


def words_of(flags: type, given: Mapping[str, Any]) -> tuple[list[str], dict[str, bool]]:
    """Keyword arguments as words of the command line; switches stay values.

    None stands for a flag that is not given. A command line can only turn a switch away from its
    default, which a preset may change; `with_switches` sets them afterwards.

    Raises:
        DadnetError: if there is no such flag, or a switch is not True or False.
    """
    types = flag_types(flags)
    words: list[str] = []
    switches: dict[str, bool] = {}
    for name, value in given.items():
        if name not in types:
            raise DadnetError(_unknown(name, list(types)))
        if value is None:
            continue
        if types[name] is bool:
            if not isinstance(value, bool):
                raise DadnetError(f"{name}: expected True or False, got {value!r}")
            switches[name] = value
            continue
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            words += [flag, *(f"{key}={json.dumps(item)}" for key, item in value.items())]
        elif isinstance(value, list | tuple):
            words.append(f"{flag}={','.join(map(str, value))}")
        elif isinstance(value, bool) or not isinstance(value, str | Real | Location):
            raise DadnetError(f"{name}: expected text or a number, got {value!r:.80}")
        else:
            words.append(f"{flag}={value}")
    return words, switches


def with_switches(flags: T, switches: Mapping[str, bool]) -> T:
    """The flags with some switches set, those of nested dataclasses too."""
    changes: dict[str, Any] = {}
    for field in fields(flags):  # type: ignore[arg-type]
        value = getattr(flags, field.name)
        if field.name in switches:
            changes[field.name] = switches[field.name]
        elif is_dataclass(value) and not isinstance(value, type):
            changes[field.name] = with_switches(value, switches)
    return replace(flags, **changes)  # type: ignore[type-var]


def signature(flags: type, own: Mapping[str, Any], returns: Any) -> inspect.Signature:
    """A signature with every flag as a keyword, for completion in a notebook.

    Args:
        flags: the dataclass of the flags.
        own: further keywords and their defaults.
        returns: what is returned.
    """
    kind = inspect.Parameter.KEYWORD_ONLY
    names = {**dict(_defaults(flags)), **own}
    parameters = [inspect.Parameter(name, kind, default=value) for name, value in names.items()]
    return inspect.Signature(parameters, return_annotation=returns)


def _defaults(flags: type) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(flags)
    for field in fields(flags):
        if is_dataclass(hints[field.name]):
            yield from _defaults(hints[field.name])
        elif field.default is not MISSING:
            yield field.name, field.default
        else:
            yield field.name, None


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"{name}: expected one of the command's flags, got an unknown one; nearest: {nearest[0]}"
