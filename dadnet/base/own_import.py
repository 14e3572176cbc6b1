"""Run the source of a user (`dadnet.base.own_code`) from its text, with the rights of the user."""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from dadnet.base.digests import content_digest
from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode, module_paths, parse_source


class _Loader(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
    """Imports the files of one `OwnCode` as modules below a name of its own."""

    def __init__(self, code: OwnCode) -> None:
        self.code = code
        self.name = f"own_code_{content_digest(code.digest + code.file)}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of these modules, or None."""
        if fullname != self.name and not self.has(self._inner(fullname)):
            return None
        spec = ModuleSpec(
            fullname, self, origin=self._file(fullname), is_package=self.is_package(fullname)
        )
        spec.has_location = True
        return spec

    def has(self, name: str) -> bool:
        """Whether a module or a package of this name travels."""
        return any(path in self.code.texts for path in module_paths(name)) or self._folder(name)

    def is_package(self, fullname: str) -> bool:
        """Whether it is a folder."""
        inner = self._inner(fullname)
        return fullname == self.name or (
            module_paths(inner)[0] not in self.code.texts and self.has(inner)
        )

    def get_source(self, fullname: str) -> str:
        """The text of a module; none for a folder without ``__init__.py``."""
        return self.code.texts.get(self._file(fullname), "")

    def get_code(self, fullname: str) -> CodeType:
        """The text as code, in which imports of files that travel find them."""
        file = self._file(fullname)
        tree = _Renamed(self).visit(parse_source(self.get_source(fullname), file))
        return compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)

    def _inner(self, fullname: str) -> str:
        before, _, inner = fullname.partition(".")
        return inner if before == self.name else ""

    def _file(self, fullname: str) -> str:
        module, package = module_paths(self._inner(fullname))
        return module if module in self.code.texts else package

    def _folder(self, name: str) -> bool:
        folder = name.replace(".", "/") + "/"
        return bool(name) and any(path.startswith(folder) for path in self.code.texts)


class _Renamed(ast.NodeTransformer):
    """``import helper`` becomes an import of the file that travels, if there is one."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """Rename those that travel."""
        parts: list[ast.stmt] = []
        for alias in node.names:
            name, top = f"{self.loader.name}.{alias.name}", alias.name.split(".")[0]
            if not self.loader.has(alias.name):
                names = [alias]
            elif alias.asname:
                names = [ast.alias(name, alias.asname)]
            else:  # `import a.b` binds a
                names = [ast.alias(name), ast.alias(f"{self.loader.name}.{top}", top)]
            parts += [ast.copy_location(ast.Import([one]), node) for one in names]
        return parts

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        """Rename those that travel; relative imports find them anyway."""
        module = node.module or ""
        found = self.loader.has(module) or any(
            self.loader.has(f"{module}.{alias.name}") for alias in node.names
        )
        if node.level == 0 and found:
            node.module = f"{self.loader.name}.{module}"
        return node


@lru_cache(maxsize=64)
def load_function(code: OwnCode) -> Callable[..., Any]:
    """Run the source, with the rights of the user, and return its function.

    Raises:
        DadnetError: if it cannot be imported, or has no such function.
    """
    loader = _Loader(code)
    if not any(getattr(finder, "name", None) == loader.name for finder in sys.meta_path):
        sys.meta_path.insert(0, loader)
    name = code.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    with source_errors(code):
        module = importlib.import_module(f"{loader.name}.{name}")
    if not hasattr(module, code.function):
        raise DadnetError(f"{code.file} has no function {code.function}")
    function = getattr(module, code.function)
    if not callable(function):
        raise DadnetError(
            f"{code}: expected a function, got {type(function).__name__} {function!r:.40}"
        )
    return function  # type: ignore[no-any-return]


@contextmanager
def source_errors(code: OwnCode) -> Iterator[None]:
    """Turn whatever a user's source raises into one line that names file and line."""
    try:
        yield
    except (DadnetError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        text = " ".join(str(error).split())[:300]
        kind = type(error).__name__
        if isinstance(error, ModuleNotFoundError) and error.name:
            kind = "it needs a package that is not installed here"
            text = error.name.removeprefix(f"{_Loader(code).name}.")
        raise DadnetError(
            f"{_where(code, error)}: {kind}" + (f": {text}" if text else "")
        ) from error


def _where(code: OwnCode, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        f"{frame.filename} line {frame.lineno}" for frame in frames if frame.filename in code.texts
    ]
    return lines[-1] if lines else str(code)
