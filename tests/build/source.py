"""The checkout as text and syntax trees, for the tests of its structure."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("dadnet", "orchestration", "results", "search_spaces")


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders of the checkout."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts and "node_modules" not in path.parts
    )


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def short(path: Path) -> str:
    """The path from the root of the checkout, with slashes."""
    return path.relative_to(ROOT).as_posix()


def definitions(path: Path) -> set[str]:
    """Names of functions, classes and constants at the top level; methods as `Class.method`."""
    names = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (child for child in node.body if isinstance(child, ast.FunctionDef))
            names |= {f"{node.name}.{child.name}" for child in inner}
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def imported_modules(path: Path) -> set[str]:
    """Dotted names of all imports; of `from a import b` both `a` and `a.b`."""
    modules = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            modules |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return modules


# A file of a user's with the name of one of our packages: it must not be imported.
ALIEN = "raise SystemExit('a file of the user was run')\n"


def console_script(folder: Path) -> Path:
    """The console script as pip writes it, outside of the user's folder."""
    script = folder.parent / "bin" / "dadnet"
    script.parent.mkdir()
    script.write_text("from orchestration.main import script\nscript()\n")
    return script
