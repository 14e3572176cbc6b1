"""The source of a function that was defined in a notebook, with all that it needs.

A function of a file is named by the file. One of a notebook, or of the script that runs, is
collected: its own text, the functions and classes of the notebook that it uses, the imports, and
constants. The text then stands alone, so that it can travel to other machines and into the ledger.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import site
import symtable
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OUR_PACKAGES


def function_word(function: Callable[..., Any], folder: Path, *, as_file: bool = False) -> str:
    """How a command names a function: ``FILE.py:function`` or ``package.module:function``.

    Args:
        function: of a file, or of a notebook or the running script.
        folder: is made for the file with the collected source.
        as_file: name a module of a package by its file too.

    Raises:
        DadnetError: if it cannot be made to stand alone.
    """
    name = getattr(function, "__name__", "")
    if not name.isidentifier() or getattr(function, "__qualname__", "") != name:
        raise _put_into_a_file(f"{name or function!r:.60} is not a function of its own")
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if function.__module__ != "__main__" and file is not None:
        in_package = "." in function.__module__ and not as_file
        return f"{function.__module__ if in_package else file}:{name}"
    path = folder / "notebook.py"
    folder.mkdir(parents=True)
    path.write_text(collect(function), encoding="utf-8")
    return f"{path}:{name}"


def collect(function: Callable[..., Any]) -> str:
    """The source of a function of ``__main__`` and of all that it uses; it stands alone.

    Raises:
        DadnetError: if something that it uses has no source.
    """
    collector = _Collector(vars(sys.modules[function.__module__]))
    collector.add(function.__name__, function)
    text = collector.text()
    try:
        exec(compile(text, "<notebook>", "exec"), {"__name__": "notebook"})
    except Exception as error:  # of the user's code
        raise _put_into_a_file(
            f"{function.__name__} does not stand alone ({type(error).__name__}: {error})"
        ) from error
    return text


class _Collector:
    """Imports, constants and definitions, each before its first user."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.lines: dict[str, str] = {}  # by the name that they define
        self._seen: set[str] = set()

    def text(self) -> str:
        """Everything collected: first what stands on one line, then the definitions."""
        short = [line for line in self.lines.values() if "\n" not in line]
        long = [line for line in self.lines.values() if "\n" in line]
        return "\n".join([*short, *(f"\n\n{text}" for text in long)]) + "\n"

    def add(self, name: str, value: Any) -> None:
        """Collect what a name stands for, and all that this needs."""
        if name in self._seen:
            return
        self._seen.add(name)
        if isinstance(value, ModuleType):
            _check_installed(value.__name__)
            plain = value.__name__ == name
            self.lines[name] = f"import {value.__name__}" + ("" if plain else f" as {name}")
        elif getattr(value, "__module__", None) == "__main__" and hasattr(value, "__name__"):
            self._define(name, value)
        elif _is_importable(value):
            _check_installed(value.__module__)
            self.lines[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
        elif statement := _import_statement(name):
            self.lines[name] = statement
        elif _is_constant(value):
            self.lines[name] = f"{name} = {value!r}"
        else:
            kind = type(value).__name__
            raise _put_into_a_file(f"its {name} is no function, class, import or constant ({kind})")

    def _define(self, name: str, value: Any) -> None:
        own = value.__name__
        if getattr(inspect.unwrap(value), "__closure__", None):
            raise _put_into_a_file(f"{own} uses variables of another function")
        if self.names.get(own, value) is not value:
            raise _put_into_a_file(f"{own} names something else by now")
        text = _definition(value)
        for used in _free_names(text):
            if used in self.names and used != own:  # others are built in, or fail in the check
                self.add(used, self.names[used])
        self.lines[own] = text
        if name != own:
            self.lines[name] = f"{name} = {own}\n"


def _check_installed(name: str) -> None:
    """Refuse a file of the user's own: it would not travel, and its changes would not be seen."""
    top = name.split(".")[0]
    module = sys.modules[top]
    if top in sys.stdlib_module_names or top in OUR_PACKAGES:
        return
    paths = [module.__file__] if module.__file__ else list(module.__path__)
    roots = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *_site_packages()]
    if not all(any(Path(path).is_relative_to(root) for root in roots) for path in paths):
        raise _put_into_a_file(f"it imports {name}, which is not an installed package")


def _site_packages() -> list[str]:
    return [*site.getsitepackages(), site.getusersitepackages()]


def _is_importable(value: Any) -> bool:
    """Whether an import by its own name finds the same object."""
    name = getattr(value, "__qualname__", "")
    try:
        module = import_module(value.__module__)
        return module.__name__ != "__main__" and getattr(module, name) is value
    except (ImportError, AttributeError, TypeError, ValueError):
        return False


def _is_constant(value: Any) -> bool:
    """Whether its text gives it back: numbers, text, None, and lists, tuples, dicts of them."""
    try:
        return not isinstance(value, set) and bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _definition(value: Any) -> str:
    """Text of a function or class, with its decorators."""
    for tree, source in _trees(value):
        for node in reversed(tree.body):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == value.__name__:
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                return "\n".join(source.splitlines()[first - 1 : node.end_lineno]) + "\n"
    raise _put_into_a_file(f"the source of {value.__name__} is not known")


def _import_statement(name: str) -> str | None:
    """The import of a notebook or script that binds a name, such as a builtin of torch."""
    for tree, _ in _trees(None):
        for node in reversed(tree.body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    if name == (alias.asname or alias.name):
                        if isinstance(node, ast.ImportFrom):
                            _check_installed(str(node.module))
                        node.names = [alias]
                        return ast.unparse(node)
    return None


def _trees(value: Any) -> Iterator[tuple[ast.Module, str]]:
    """Syntax trees that may have the definition, with their texts."""
    for source in _sources(value):
        try:
            yield ast.parse(source), source
        except SyntaxError:  # a cell with magics
            continue


def _sources(value: Any) -> Iterator[str]:
    """Texts that may define it: the file or cell of its code, the script, cells, newest first."""
    for member in vars(value).values() if isinstance(value, type) else [value]:
        function = inspect.unwrap(getattr(member, "__func__", member))
        if isinstance(function, FunctionType):
            yield "".join(linecache.getlines(function.__code__.co_filename))
    if script := getattr(sys.modules["__main__"], "__file__", None):
        yield "".join(linecache.getlines(script))
    for entry in reversed(list(linecache.cache.values())):
        if len(entry) == 4 and entry[1] is None:  # no time of change: not of a file
            yield "".join(entry[2])


def _free_names(text: str) -> list[str]:
    """Names that a definition takes from its module, sorted."""
    names, tables = set(), [symtable.symtable(text, "<notebook>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        outermost = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (outermost or symbol.is_global()):
                names.add(symbol.get_name())
    return sorted(names)


def _put_into_a_file(why: str) -> DadnetError:
    return DadnetError(f"{why}; put it into a file and give FILE.py:function")
