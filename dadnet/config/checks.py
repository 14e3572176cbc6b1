"""Checks of the fields of a configuration."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

from dadnet.base.errors import DadnetError


def require(config: Any, name: str, valid: bool, expected: str) -> None:
    """Raise unless the value of a field is valid; the message says what was expected."""
    if not valid:
        raise DadnetError(f"{name}: expected {expected}, got {getattr(config, name)!r}")


def check_choices(config: Any) -> None:
    """Raise if a field annotated with ``Literal`` holds a value outside it."""
    for name, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is Literal:
            choices = get_args(hint)
            expected = f"one of {', '.join(map(str, choices))}"
            require(config, name, getattr(config, name) in choices, expected)
