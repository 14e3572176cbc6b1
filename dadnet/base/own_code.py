"""Source code of a user, such as a network, as text: found and read, never run.

The text is a part of the experiment: it goes to every worker and into the ledger. With a file go
the files of its folder that it imports, with a module of a package those of its package.
`dadnet.base.own_import` runs it.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from dadnet.base.digests import digest16
from dadnet.base.disk import read_input
from dadnet.base.errors import DadnetError

FORM = "FILE.py:function or package.module:function"
OUR_PACKAGES = ("dadnet", "orchestration", "results", "search_spaces")  # on every worker
_PATH = re.compile(r"(\w+/)*[\w\- ]+\.py")
_MOST_FILES, _MOST_BYTES = 100, 2**20


@dataclass(frozen=True)
class OwnCode:
    """A function in source code that travels as text.

    Attributes:
        file: path of the file that has the function, such as ``net.py`` or ``package/net.py``.
        function: its name.
        files: every file that travels: path and text, sorted.

    Raises:
        DadnetError: if a path leaves the folder, or the file is not among the files.
    """

    file: str
    function: str
    files: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        paths = [path for path, _ in self.files]
        if bad := [path for path in paths if not _PATH.fullmatch(path)]:
            raise DadnetError(f"source: expected paths such as package/net.py, got {bad[0]!r}")
        if self.file not in paths or len(set(paths)) < len(paths):
            raise DadnetError(f"source: expected {self.file} once among {', '.join(paths)}")
        if not self.function.isidentifier():
            raise DadnetError(f"source: expected the name of a function, got {self.function!r}")

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Text of each file by its path."""
        return dict(self.files)

    @cached_property
    def digest(self) -> str:
        """Hash of function and texts; the name of the file that has the function is left out."""
        texts = {("" if path == self.file else path): text for path, text in self.files}
        return digest16({"function": self.function, "files": texts})

    def __str__(self) -> str:
        return f"{self.file}:{self.function}"

    @classmethod
    def from_json(cls, data: Any) -> OwnCode:
        """Build from the JSON of the fields.

        Raises:
            DadnetError: if it is something else.
        """
        try:
            files = tuple((str(path), str(text)) for path, text in data["files"])
            return cls(str(data["file"]), str(data["function"]), files)
        except (TypeError, KeyError, ValueError) as error:
            if isinstance(error, DadnetError):
                raise
            raise DadnetError(f"source: damaged ({type(error).__name__}: {error})") from error


def read_code(word: str) -> OwnCode:
    """Read the source of a function from this machine; nothing is run.

    Args:
        word: ``FILE.py:function`` or ``package.module:function``.

    Raises:
        DadnetError: if there is no such file, or it is no Python.
    """
    place, colon, function = word.rpartition(":")
    if not colon or not function.isidentifier() or not place:
        raise DadnetError(f"expected {FORM}, got {word!r}")
    if place.endswith(".py"):
        path = Path(place).expanduser()
        root, file, package = path.parent, path.name, None
    else:
        root, file = _find_module(place)
        package = place.split(".")[0]
        if package in OUR_PACKAGES:  # only this file: all nodes have the others
            root, file, package = root / Path(file).parent, Path(file).name, None
    return OwnCode(file, function, tuple(sorted(_collect(root, file, package).items())))


def _find_module(name: str) -> tuple[Path, str]:
    """Folder of the top-level package, and the path of the module in it."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise DadnetError(f"expected {FORM}, got a module {name!r}")
    folders = [str(Path.cwd()), *sys.path]
    top = importlib.util.find_spec(parts[0]) if parts[0] not in sys.modules else None
    if top is not None and top.submodule_search_locations:
        folders += [str(Path(found).parent) for found in top.submodule_search_locations]
    for folder in folders:
        for path in ("/".join(parts) + ".py", "/".join([*parts, "__init__.py"])):
            if Path(folder, path).is_file():
                return Path(folder), path
    raise DadnetError(f"no module {name} here; expected {FORM}")


def _collect(root: Path, first: str, package: str | None) -> dict[str, str]:
    texts: dict[str, str] = {}
    waiting = [first]
    while waiting:
        if (file := waiting.pop()) in texts:
            continue
        texts[file] = text = _read(root / file)
        if len(texts) > _MOST_FILES or sum(map(len, texts.values())) > _MOST_BYTES:
            raise DadnetError(
                f"{root / first}: it imports more than {_MOST_FILES} files or {_MOST_BYTES} bytes "
                "from its folder, which all would travel; expected a small folder of its own"
            )
        for name in _imported(parse_source(text, str(root / file)), file):
            top = name.split(".")[0]
            if (
                top in OUR_PACKAGES
                or top in sys.stdlib_module_names
                or (package and top != package)
            ):
                continue
            waiting += [path for path in module_paths(name) if (root / path).is_file()]
        if package is not None:  # importing a module runs its packages first
            parents = PurePosixPath(file).parents
            inits = [str(parent / "__init__.py") for parent in list(parents)[:-1]]
            waiting += [path for path in inits if (root / path).is_file()]
    return texts


def _read(path: Path) -> str:
    try:
        return read_input(path)
    except UnicodeDecodeError as error:
        raise DadnetError(f"{path}: expected UTF-8 text, got something else") from error
    except OSError as error:
        raise DadnetError(f"{path}: {error.strerror or 'cannot be read'}") from error


def parse_source(text: str, path: str) -> ast.Module:
    """The syntax tree of a text.

    Raises:
        DadnetError: if it is no Python.
    """
    try:
        return ast.parse(text, path)
    except SyntaxError as error:
        raise DadnetError(f"{path} line {error.lineno}: {error.msg}") from error
    except ValueError as error:  # a NUL byte
        raise DadnetError(f"{path}: {error}") from error


def _imported(tree: ast.Module, file: str) -> Iterator[str]:
    """Names of modules that a file may import; those of ``from x import y`` with and without y."""
    here = PurePosixPath(file).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            before = here[: len(here) - node.level + 1] if node.level else ()
            module = ".".join([*before, *([node.module] if node.module else [])])
            for alias in node.names:
                yield from _with_parents(f"{module}.{alias.name}".lstrip("."))


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def module_paths(name: str) -> tuple[str, str]:
    """The two paths that a module of this name may have."""
    path = name.replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"
