"""Checks of the fields of a configuration."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dadnet.base.errors import DadnetError

LARGEST_SIDE = 4096  # pixels of a flow
MOST = 10**6  # epochs, clips of a step, ...: far above every use
_SEED = 2**63  # numbers below are the same in every library


def require(config: Any, name: str, valid: bool, expected: str) -> None:
    """Raise unless the value of a field is valid; the message says what was expected."""
    if not valid:
        shown = repr(getattr(config, name))
        shown = shown if len(shown) <= 200 else f"{shown[:200]} ..."
        raise DadnetError(f"{name}: expected {expected}, got {shown}")


def require_count(config: Any, name: str, least: int) -> None:
    """Raise unless a field is a number from `least` to `MOST`."""
    require(config, name, getattr(config, name) >= least, f"{least} or more")
    require(config, name, getattr(config, name) <= MOST, f"at most {MOST}")


def is_whole(value: object) -> bool:
    """Whether a value is an integer that every library can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _SEED


def _is_finite(value: object) -> bool:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_PLAIN: dict[object, tuple[str, Callable[[object], bool]]] = {
    int: ("a whole number below 2**63", is_whole),
    float: ("a finite number", _is_finite),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("text", lambda value: isinstance(value, str)),
}


def check_fields(config: Any) -> None:
    """Raise if a plain field is of another type, or one with choices has another value."""
    for name, hint in get_type_hints(type(config)).items():
        if hint in _PLAIN:
            expected, fits = _PLAIN[hint]
            require(config, name, fits(getattr(config, name)), expected)
        if get_origin(hint) is Literal:
            choices = get_args(hint)
            expected = f"one of {', '.join(map(str, choices))}"
            require(config, name, getattr(config, name) in choices, expected)
