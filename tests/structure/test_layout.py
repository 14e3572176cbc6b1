"""Folders and files: what is installed, how much a folder and a file may hold, who imports whom."""

import re
import sys
from pathlib import Path

import pytest

from tests.build.source import PACKAGES, ROOT, imported_modules, python_files, short

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CACHE = re.compile(r"__pycache__|/\.\w+_cache")
MOST_ENTRIES, MOST_COMMANDS, MOST_LINES = 14, 17, 320


def counted(folder: Path) -> list[str]:
    """Entries of a folder but for caches and the marker of typed packages."""
    names = (path.name for path in folder.iterdir())
    return sorted(n for n in names if n not in ("__pycache__", "py.typed") and n[0] != ".")


FOLDERS = [
    path
    for package in ("dadnet", "orchestration", "results")
    for path in (ROOT / package, *sorted((ROOT / package).rglob("*")))
    if path.is_dir() and not CACHE.search(path.as_posix())
]


def test_every_package_is_installed():
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {short(path.parent).replace("/", ".") for path in python_files(*PACKAGES)}
    assert sorted(written) == sorted(there)


def test_every_folder_with_code_is_a_package():
    without = {short(path.parent) for path in python_files(*PACKAGES)} - {
        short(path.parent) for path in python_files(*PACKAGES) if path.name == "__init__.py"
    }
    assert not without


@pytest.mark.parametrize("folder", FOLDERS, ids=short)
def test_a_folder_can_be_seen_at_once(folder):
    entries = counted(folder)
    most = MOST_COMMANDS if folder == ROOT / "orchestration" else MOST_ENTRIES
    assert len(entries) <= most, f"{short(folder)}: {', '.join(entries)}"


def test_no_file_is_too_long():
    lengths = {
        short(path): len(path.read_text().splitlines())
        for path in python_files(*PACKAGES, "tests", "benchmarks", ".ci")
    }
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


def test_folders_of_tests_mirror_those_of_the_packages():
    tested = {
        path.relative_to(ROOT / "tests")
        for package in PACKAGES
        for path in (ROOT / "tests" / package).rglob("*")
        if path.is_dir() and path.name != "__pycache__"
    }
    assert tested
    assert not {short(ROOT / path) for path in tested if not (ROOT / path).is_dir()}


def test_no_test_module_is_imported():
    wrong = {
        short(path): sorted(modules)
        for path in python_files("tests", "benchmarks", *PACKAGES)
        if (modules := {name for name in imported_modules(path) if _is_of_a_test(name)})
    }
    assert not wrong


def _is_of_a_test(module: str) -> bool:
    """Whether a dotted name is that of a test module or a conftest, or of something in one."""
    root, *rest = module.split(".")
    ours = root in ("tests", "conftest", "") or root.startswith("test_")
    return ours and any(part == "conftest" or part.startswith("test_") for part in (root, *rest))


def test_the_architecture_shows_the_lines_of_the_contracts():
    document = (ROOT / "docs/architecture.md").read_text()
    picture = (ROOT / "docs/architecture.svg").read_text()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    lines = {c["containers"][0]: c["layers"] for c in settings["contracts"] if "containers" in c}
    assert set(lines) == {"dadnet", "orchestration", "results"}
    for package, layers in lines.items():
        [drawn] = re.findall(rf"^{package} +(\w+ < .*)", document, re.MULTILINE)
        levels = [set(level.split(", ")) for level in drawn.split(" < ") if "command" not in level]
        named = set().union(*levels)
        held = [set(layer.split(" | ")) for layer in reversed(layers)]
        assert levels == [level for level in held if level & named]
        folders = {path.name for path in FOLDERS if path.parent == ROOT / package}
        assert not {name for name in folders - {"templates"} if f">{name}<" not in picture}
