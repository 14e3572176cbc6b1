"""The flags of a command by name: as keyword arguments of Python, and in the groups of the help."""

import ast
import dataclasses
import difflib
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, make_dataclass, replace
from functools import partial
from itertools import pairwise
from numbers import Real
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import tyro

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
    names = {**dict(flag_defaults(flags)), **own}
    parameters = [inspect.Parameter(name, kind, default=value) for name, value in names.items()]
    return inspect.Signature(parameters, return_annotation=returns)


def flag_defaults(flags: type) -> Iterator[tuple[str, Any]]:
    """Name and default of every flag, those of nested dataclasses too; None without one."""
    hints = get_type_hints(flags)
    for field in fields(flags):
        if is_dataclass(hints[field.name]):
            yield from flag_defaults(hints[field.name])
        elif field.default is not MISSING:
            yield field.name, field.default
        else:
            yield field.name, None


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"{name}: expected one of the command's flags, got an unknown one; nearest: {nearest[0]}"


def in_groups(flags: Any, first: Sequence[str]) -> Any:
    """Flags for the help alone: some of them first, then the others by the part they belong to.

    Args:
        flags: an instance of the dataclass, whose values are the defaults that the help shows.
        first: names of the flags in the first group.
    """
    leaves = list(_leaves(flags, "other"))
    groups: dict[str, list[tuple[str, Any, Any]]] = {"most used": []}
    by_name = {leaf[0]: leaf for _, leaf in leaves}
    groups["most used"] = [by_name[name] for name in first if name in by_name]
    for group, leaf in leaves:
        if leaf[0] not in first:
            groups.setdefault(group, []).append(leaf)
    parts = {
        title: make_dataclass(title.replace(" ", "_"), members, frozen=True, kw_only=True)
        for title, members in groups.items()
    }
    top = [(p.__name__, p, dataclasses.field(default_factory=p)) for p in parts.values()]
    return make_dataclass("Flags", top, frozen=True, kw_only=True)()


def _leaves(flags: Any, group: str) -> Iterator[tuple[str, tuple[str, Any, Any]]]:
    """Each flag, with its group: its name, its type with its help, and its default."""
    hints, docs = get_type_hints(type(flags), include_extras=True), _docs(type(flags))
    for member in fields(flags):
        value = getattr(flags, member.name)
        if is_dataclass(value) and member.name in _PARTS:
            yield from _leaves(value, _PARTS[member.name])
        else:
            about = tyro.conf.arg(help=docs.get(member.name, ""))
            hint = cast(Any, Annotated)[hints[member.name], about]
            # A mapping cannot be a default.
            kept = dataclasses.field(default=value)
            if isinstance(value, Mapping):
                kept = dataclasses.field(default_factory=partial(dict, value))
            yield group, (member.name, hint, kept)


# Parts of an experiment, and what the help calls them.
_PARTS = {
    "experiment": "other", "data": "data and folds", "model": "model", "loss": "loss",
    "optim": "training",
}  # fmt: skip


def _docs(kind: type) -> dict[str, str]:
    """The text under each field of a dataclass and of its bases."""
    docs: dict[str, str] = {}
    for base in reversed([base for base in kind.__mro__ if is_dataclass(base)]):
        [body] = [c.body for c in ast.parse(textwrap.dedent(inspect.getsource(base))).body
                  if isinstance(c, ast.ClassDef)]  # fmt: skip
        for node, after in pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
                name, text = ast.unparse(node.target), ast.literal_eval(after.value)
                docs[name] = " ".join(text.split())
    return docs
