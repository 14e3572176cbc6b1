"""Common parts of the commands: flags from dataclasses, one line per error, exit codes."""

import ast
import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, get_args, get_origin

import tyro
from rich.console import Console
from rich.text import Text
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

from dadnet.base.boundary import BAD_INPUT as BAD_INPUT
from dadnet.base.boundary import DONE as DONE
from dadnet.base.boundary import INCOMPLETE as INCOMPLETE
from dadnet.base.boundary import guard_process, open_streams, visible
from dadnet.base.boundary import run_command as run_command
from dadnet.base.errors import DadnetError, meant, unknown
from dadnet.base.keywords import flag_defaults, flag_types, in_groups
from dadnet.base.location import Location, location
from dadnet.base.own_code import FORM, OwnCode, read_code
from dadnet.base.remote import RemotePath

T = TypeVar("T")
Switch: TypeAlias = tyro.conf.FlagCreatePairsOff[bool]  # a flag that is off by default


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
                config=_config_of(flags),
            )
    except _SourceRefusedError as refused:
        word, message = refused.args
        raise DadnetError(f"{_flag_before(word, argv)}: {message}") from refused
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise DadnetError(_improved(_text_of_tyro_box(errors.getvalue()), flags)) from None


@dataclass(frozen=True)
class Command(Generic[T]):
    """A command line, which is parsed before the imports of the command's work.

    Attributes:
        prog, flags: the command, as a user types it, and the dataclass of its flags.
        defaults: values for the flags that are not given, by those that are, such as a preset's.
        prepare: changes the words first.
        first: names of the flags that the help shows first.
        gone: flags that there were, and what to do instead.
        begin: the flags before those of the preset are known, which must refuse no given one.
    """

    prog: str
    flags: type[T]
    defaults: Callable[[T], T] | None = None
    prepare: Callable[[Sequence[str]], Sequence[str]] = list
    first: tuple[str, ...] = ()
    gone: Mapping[str, str] = field(default_factory=dict)
    begin: Callable[[], T] | None = None

    def parse(self, argv: Sequence[str], description: str | None = "") -> T:
        """Parse the words after the command.

        With a preset it is parsed twice: for the flags of the preset, then with its values.

        Raises:
            DadnetError: if the words do not fit; one line.
            SystemExit: with 0, after `--help`.
        """
        words, text = self.prepare(argv), description or ""
        for name in (word.partition("=")[0].removeprefix("--") for word in words):
            if name in self.gone:
                raise DadnetError(f"{name}: there is no such flag any more; {self.gone[name]}")
        asks_help = bool({"--help", "-h"} & set(words))
        if self.defaults is None:
            return parse(self.flags, words, prog=self.prog, description=text)
        given = (self.begin or self.flags)()
        if not asks_help:
            given = parse(self.flags, words, default=given, prog=self.prog, description=text)
        preset = self.defaults(given)
        if asks_help and self.first:
            shown = in_groups(preset, self.first)
            parse(type(shown), words, default=shown, prog=self.prog, description=text)
        return parse(self.flags, words, default=preset, prog=self.prog, description=text)

    def run(
        self, work: Callable[[T], int], argv: Sequence[str] | None, description: str | None
    ) -> int:
        """Run the command and return its exit status; `run_command` says what happens then."""
        return run_command(lambda words: work(self.parse(words, description)), argv)

    def parse_first(self, description: str | None) -> None:
        """For the process of a command: `--help` and wrong words end it before its imports."""
        guard_process()
        open_streams()
        self.parse(sys.argv[1:], description)


def _config_of(flags: type) -> tuple[Any, ...]:
    """Where a switch is on by default, every one can be turned both ways: `--stn`, `--no-stn`.

    A preset may change such a default. A `Switch` keeps its one name there.
    """
    if any(default is True for _, default in flag_defaults(flags)):
        return (tyro.conf.OmitArgPrefixes,)
    return (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def _flag_before(word: str, argv: Sequence[str]) -> str:
    """The name of the flag that has this value."""
    words = [part for given in argv for part in given.split("=", 1)]
    return words[words.index(word) - 1].removeprefix("--")


def _improved(text: str, flags: type) -> str:
    """tyro's text in the form of our own messages, with the nearest flag or value."""
    if choice := _CHOICE.fullmatch(text):
        got, flag, known = choice[1], choice[2], re.findall("'([^']*)'", choice[3])
        return str(unknown(flag, got, known))
    if value := _VALUE.match(text):
        for pattern, expected in _VALUES.items():
            if wrong := re.match(pattern, value[2]):
                return f"{value[1]}: expected {wrong.expand(expected)}"
        return f"{value[1]}: {value[2]}"
    given = re.match(r"Unrecognized options: (--[^\s=,]+)", text)
    names = [f"--{name.replace('_', '-')}" for name in flag_types(flags)]
    return text + (meant(given[1], names) if given else "")


_VALUE = re.compile(r"Error parsing --([^:\s]*): (.*)")
# What Python and tyro say of a value, and what we say.
_VALUES = {
    r"invalid literal for int\(\) with base 10: (.*)": r"a whole number, got \1",
    r"could not convert string to float: (.*)": r"a number, got \1",
    r"no type matching (\S+) could be instantiated from \[(.*?)\]\.": r"\1, got \2",
}
_CHOICE = re.compile(r"invalid choice '(.*)' for argument '--([^']*)'\. Expected one of \((.*)\)\.")


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
    return re.sub(r"^Error parsing [A-Za-z][\w.]*: ", "", text)  # the names of our classes
