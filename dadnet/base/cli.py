"""Common parts of the commands: flags from dataclasses, one line per error, exit codes."""

import ast
import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import tyro
from rich.console import Console
from rich.text import Text
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

from dadnet.base.boundary import BAD_INPUT as BAD_INPUT
from dadnet.base.boundary import DONE as DONE
from dadnet.base.boundary import INCOMPLETE as INCOMPLETE
from dadnet.base.boundary import run_command as run_command
from dadnet.base.boundary import visible
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, location
from dadnet.base.own_code import FORM, OwnCode, read_code
from dadnet.base.remote import RemotePath

T = TypeVar("T")


class _Terminal(Console):
    """A console on which a text, such as a name from a file, cannot command the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text without its control characters; those of styles come later."""
        return super().render_str(visible(text), **options)


def console() -> Console:
    """The terminal; lines are not wrapped, so that they can be searched and copied.

    In a notebook they are plain lines of one output, not a display each.
    """
    _drop_odd_sizes()
    return _Terminal(soft_wrap=True, highlight=False, force_jupyter=False)


def _drop_odd_sizes() -> None:
    """Forget a size of the terminal that rich cannot read: it fails on "¹" and on 5,000 digits."""
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch("[0-9]{1,4}", os.environ.get(name, "80")):
            del os.environ[name]


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _tuple_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[tuple[Any, ...]] | None:
    """A list of numbers or names as one word, as in `--alignment-stages 2,3`; "" is the empty one.

    Paths stay separate words, so that a shell can complete and expand them.
    """
    if get_origin(type_info.type) is not tuple or get_args(type_info.type)[0] is Path:
        return None
    kind = get_args(type_info.type)[0]
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=",".join([kind.__name__.upper().replace("STR", "NAME")] * 2) + ",...",
        instance_from_str=lambda args: tuple(kind(part) for part in args[0].split(",") if part),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value))],
    )


@_REGISTRY.primitive_rule
def _location_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | None:
    """A path or the URI of object storage; a flag of a path refuses a URI."""
    kinds = get_args(type_info.type)
    if type_info.type is not Path and RemotePath not in kinds:
        return None
    read = location if kinds else _path
    optional = type(None) in kinds
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URI" if kinds else "PATH",
        instance_from_str=lambda args: None if optional and args[0] == "None" else read(args[0]),
        is_instance=lambda value: isinstance(value, Location) or (optional and value is None),
        str_from_instance=lambda value: [str(value)],
    )


@_REGISTRY.primitive_rule
def _source_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | None:
    """A function in a user's source, beside names that may be chosen instead."""
    kinds = get_args(type_info.type)
    if OwnCode not in kinds:
        return None
    names = [name for kind in kinds for name in get_args(kind)]
    optional = type(None) in kinds
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join([*names, "FILE.py:FUNCTION"]),
        instance_from_str=lambda args: (
            None if optional and args[0] == "None" else _name_or_source(args[0], names)
        ),
        is_instance=lambda value: value is None or value in names or isinstance(value, OwnCode),
        str_from_instance=lambda value: [str(value)],
    )


def _name_or_source(word: str, names: Sequence[str]) -> str | OwnCode:
    if word in names:
        return word
    try:
        if ":" not in word:
            raise DadnetError(f"expected {', '.join([*names, ''])}{FORM}, got {word!r}")
        return read_code(word)
    except DadnetError as error:
        raise _SourceRefusedError(word, str(error)) from error


class _SourceRefusedError(Exception):
    """A source cannot be read. It is no ValueError, which tyro would print in a narrow box."""


@_REGISTRY.primitive_rule
def _arguments_rule(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[dict[str, Any]] | None:
    """Arguments as `width=16 name=relu`; a value is a number, a list, true, false, null or text."""
    if get_origin(type_info.type) is not Mapping:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[KEY=VALUE ...]",
        instance_from_str=lambda args: dict(map(_argument, args)),
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda value: [f"{k}={json.dumps(v)}" for k, v in value.items()],
    )


def _argument(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"expected key=value, got {word!r}")
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            return name, read(text)
    return name, text


def _path(text: str) -> Path:
    if "://" in text:
        raise ValueError(f"expected a path on this machine, got {text}")
    return Path(text)


def parse(
    flags: type[T], argv: Sequence[str], *, default: T | None = None, prog: str, description: str
) -> T:
    """Parse a command line into a frozen dataclass; its fields are the flags.

    Args:
        flags: the dataclass; nested ones give flat flags, docstrings under fields their help.
        argv: the words after the command.
        default: values for the flags that are not given.
        prog: the command, as a user types it.
        description: what it does.

    Raises:
        DadnetError: if the words do not fit; one line.
        SystemExit: with 0, after `--help`.
    """
    errors = io.StringIO()
    _drop_odd_sizes()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                flags,
                args=list(argv),
                default=tyro.MISSING_NONPROP if default is None else default,
                prog=prog,
                description=description,
                registry=_REGISTRY,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except _SourceRefusedError as refused:
        word, message = refused.args
        raise DadnetError(f"{_flag_before(word, argv)}: {message}") from refused
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise DadnetError(_text_of_tyro_box(errors.getvalue())) from None


def _flag_before(word: str, argv: Sequence[str]) -> str:
    """The name of the flag that has this value."""
    words = [part for given in argv for part in given.split("=", 1)]
    return words[words.index(word) - 1].removeprefix("--")


def _text_of_tyro_box(box: str) -> str:
    """Return the error in tyro's box, between its title and its ruler, on one line.

    tyro has no public way to get the error itself (its `_errors` module is private and says so),
    so it is read back from the printed box, which is of plain ASCII where the terminal is not
    UTF-8. `tests/dadnet/base/test_cli.py` fails when the box changes; checked with tyro 1.0.
    """
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()][1:]
    if lines and not lines[0].strip("-"):  # in ASCII there is a ruler below the title
        lines = lines[1:]
    inner = takewhile(lambda line: not line or line.strip("─-"), lines)
    text = " ".join(filter(None, inner)) or " ".join(box.split())
    return re.sub(r"^Error parsing [A-Z]\w*: ", "", text)  # the name of a dataclass helps no user


def run_with_flags(
    run: Callable[[T], int],
    flags: type[T],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    description: str | None,
) -> int:
    """Parse a command line, run the command with its flags and return the exit status.

    The arguments are those of `parse` and of `run_command`.
    """
    text = description or ""
    return run_command(lambda words: run(parse(flags, words, prog=prog, description=text)), argv)
