"""Where the answers to common questions stand (docs/architecture.md), and that each stands once."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.build.source import (
    PACKAGES,
    ROOT,
    definitions,
    imported_modules,
    python_files,
    short,
    tree_of,
)

FILES = python_files(*PACKAGES)
ANSWERS = {
    "Where is GSWD?": {
        "dadnet/models/loss.py": ["gswd"],
        "dadnet/models/alignment.py": ["gaussian_sliced"],
    },
    "Where is UF1?": {"dadnet/labels/metrics.py": ["uf1", "f1"]},
    "Where is the LOSO split?": {"dadnet/folds/protocols.py": ["_loso", "Fold"]},
    "What builds the network?": {"dadnet/training/build.py": ["build_model"]},
    "Where are test labels hidden?": {"dadnet/folds/hidden_labels.py": ["hide_labels"]},
    "What decides which fold runs next?": {
        "orchestration/folds/queue.py": ["LeaseQueue", "LeaseQueue.claim"]
    },
    "Which worker is sick?": {
        "orchestration/folds/queue_state.py": ["Health", "is_of_the_process"]
    },
    "What is written after a fold?": {"orchestration/folds/record.py": ["write_fold"]},
    "Where is a leaderboard column?": {"results/leaderboard/columns.py": ["COLUMNS"]},
    "How is SAMM read?": {"dadnet/datasets/official/samm.py": ["LAYOUT"]},
    "Where is the stopping rule of a search?": {
        "orchestration/search/settings.py": ["make_pruner", "MIN_FOLDS", "P_THRESHOLD"]
    },
}
ONCE = {
    "GSWD": ("gswd", "gaussian_sliced"),
    "the loss": ("dad_net_loss", "fold_losses", "mean_loss", "clip_losses"),
    "UF1": ("uf1", "f1", "uar"),
    "the digest helper": ("digest16", "file_digest", "canonical_json"),
    "the writing of files": ("write_once", "replace_file"),
    "the network": ("build_model", "build_network"),
    "a fold's record": ("write_fold", "fold_record"),
}


@pytest.mark.parametrize("question", ANSWERS)
def test_the_answer_stands_where_the_architecture_says(question):
    document = (ROOT / "docs/architecture.md").read_text()
    [row] = [line for line in document.splitlines() if line.startswith(f"| {question} |")]
    assert re.findall(r"`([^`]+)`", row.split("|")[2]) == list(ANSWERS[question])
    for name, symbols in ANSWERS[question].items():
        assert not set(symbols) - definitions(ROOT / name)


def test_the_way_of_one_fold_names_what_is_there():
    document = (ROOT / "docs/architecture.md").read_text()
    [section] = re.findall(
        r"^## The way of one fold\n(.*?)^## ", document, re.DOTALL | re.MULTILINE
    )
    rows = [line.split("|")[2:4] for line in section.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) >= 10
    for functions, files in rows:
        there = set().union(*(definitions(ROOT / name) for name in re.findall(r"`(.+?)`", files)))
        assert not set(re.findall(r"`(.+?)`", functions)) - there


@pytest.mark.parametrize("subject", ONCE)
def test_it_is_defined_once(subject):
    for symbol in ONCE[subject]:
        assert len(places := [short(f) for f in FILES if symbol in definitions(f)]) == 1, (
            symbol,
            places,
        )


def files_with(wanted: Callable[[ast.AST], bool]) -> list[str]:
    """One entry for each node that is wanted: the file that it is in."""
    return [short(file) for file in FILES for node in ast.walk(tree_of(file)) if wanted(node)]


def test_the_formula_of_gswd_stands_once():
    """(difference of means)^2 + (difference of deviations)^2, averaged over directions."""

    def is_formula(node: ast.AST) -> bool:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.BinOp(left, ast.Add(), right), attr="mean")):
                return is_square(left) and is_square(right)
        return False

    def is_square(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "square"

    assert files_with(is_formula) == ["dadnet/models/sliced.py"]


def test_cross_entropy_is_computed_in_one_file():
    def is_cross_entropy(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr.startswith(("cross_entropy", "binary_cross_entropy"))
            and isinstance(node.value, ast.Name)
            and node.value.id in ("F", "functional")
        )

    assert set(files_with(is_cross_entropy)) == {"dadnet/labels/targets.py"}


def test_the_default_lambda_is_a_number_once():
    assert [short(f) for f in FILES for _ in _numbers_of("alignment_weight", f)] == [
        "dadnet/config/experiment.py"
    ]


def _numbers_of(name: str, file: Path) -> Iterator[ast.Constant]:
    """Numbers that are the default of a field or of an argument of that name."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name:
            found = [node.value]
        elif isinstance(node, ast.arguments):
            plain = [*node.posonlyargs, *node.args]
            late = zip(plain[len(plain) - len(node.defaults) :], node.defaults, strict=True)
            pairs = (*late, *zip(node.kwonlyargs, node.kw_defaults, strict=True))
            found = [default for argument, default in pairs if argument.arg == name]
        else:
            continue
        yield from (value for value in found if isinstance(value, ast.Constant))


def test_digests_are_cut_in_one_file():
    def is_cut(node: ast.AST) -> bool:
        match node:
            case ast.Subscript(value=ast.Call(func=ast.Attribute(attr="hexdigest"))):
                return True
        return False

    assert set(files_with(is_cut)) == {"dadnet/base/digests.py"}


def test_only_the_storage_gives_files_their_names():
    """It alone flushes a file to the disk and moves it to its final name."""

    def is_atomic(node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return ast.unparse(node) in ("os.fsync", "os.link", "os.replace", "os.rename")
        match node:  # Path.replace; str.replace has two arguments, those of dates have names
            case ast.Call(func=ast.Attribute(attr="replace"), args=[_], keywords=[]):
                return True
        return False

    found = files_with(is_atomic)
    assert "dadnet/base/disk.py" in found
    assert not {name for name in found if not name.startswith("dadnet/base/")}


def test_only_the_storage_asks_whether_a_location_is_remote():
    def asks(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in ("isinstance", "issubclass")
            and "RemotePath" in ast.unparse(node)
        )

    assert not {name for name in files_with(asks) if not name.startswith("dadnet/base/")}


def test_the_queue_is_not_called_by_strings():
    """mypy sees a call only if the name of the method is written out."""
    folders = ("orchestration/folds/", "orchestration/workers/", "orchestration/search/")

    def is_by_string(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "getattr"
            and not isinstance(node.args[1], ast.Constant)
            and not ast.unparse(node.args[1]).endswith(".__name__")  # of a method that is typed
            and ast.unparse(node.args[0]).startswith("self.")
        )

    assert not [name for name in files_with(is_by_string) if name.startswith(folders)]


def test_private_interfaces_of_a_library_are_used_in_one_file():
    """When the library changes, there is one file to look at."""
    users: dict[str, set[str]] = {}
    for file in FILES:
        for library in _private_uses(file):
            users.setdefault(library, set()).add(short(file))
    assert users
    assert not {library: files for library, files in users.items() if len(files) > 1}


def _private_uses(file: Path) -> set[str]:
    """Libraries of which a file imports or names something that starts with one underscore."""
    documented = {"os._exit"}
    private = re.compile(r"\b_[a-z]")
    modules = {
        name for name in imported_modules(file) if not name.startswith((*PACKAGES, "__", "."))
    }
    roots = {name.split(".")[0] for name in modules}
    used = {name.split(".")[0] for name in modules if private.search(name)}
    for node in ast.walk(tree_of(file)):
        if not isinstance(node, ast.Attribute) or ast.unparse(node) in documented:
            continue
        if re.match(r"_[a-z]", node.attr):
            root = ast.unparse(node.value).split(".")[0]
            used |= {root} & roots
    return used
