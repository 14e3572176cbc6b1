"""Functions of a notebook as source that stands alone, in a real IPython without a terminal."""

import subprocess
import sys
import textwrap

import pytest

from dadnet.base.notebook_code import collect, function_word
from tests.build.source import ROOT

RUNNER = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
sys.modules["__main__"] = shell.user_module
for cell in open(sys.argv[1]).read().split("# %%"):
    result = shell.run_cell(cell)
    if result.error_in_exec or result.error_before_exec:
        sys.exit(f"failed: {result.error_in_exec or result.error_before_exec}")
"""
SHOW = """
# %%
from dadnet.base.errors import DadnetError
from dadnet.base.notebook_code import collect
try:
    text = collect(make)
    names = {"__name__": "elsewhere"}
    exec(text, names)
    print(text, "=>", names["make"](3))
except DadnetError as error:
    print("refused:", error)
"""


def collected(tmp_path, cells: str) -> str:
    """What `collect(make)` prints after these cells."""
    file = tmp_path / "cells.py"
    file.write_text(textwrap.dedent(cells) + SHOW)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(file)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_helpers_classes_constants_and_imports_come_with_it(tmp_path):
    said = collected(
        tmp_path,
        """
        import math as m
        from collections import OrderedDict
        from torch import randn
        WIDTH = 8
        unused = object()
        # %%
        class Base:
            size = WIDTH
        # %%
        class Net(Base):
            def __init__(self, count):
                self.parts = OrderedDict(a=count)

            def total(self):
                return helper(self.size) + self.parts["a"]

        def helper(value):
            return m.floor(value) + len(randn(2))
        # %%
        def make(num_classes):
            return Net(num_classes).total()
        """,
    )
    assert said.rstrip().endswith("=> 13")
    for line in ("import math as m", "WIDTH = 8", "class Base:", "from torch import randn"):
        assert line in said
    assert "unused" not in said


def test_a_local_variable_is_not_taken_for_a_global_one(tmp_path):
    said = collected(
        tmp_path,
        """
        x = object()
        # %%
        def make(num_classes):
            x = num_classes
            return [x for x in range(x)]
        """,
    )
    assert said.rstrip().endswith("=> [0, 1, 2]")


def test_the_newest_definition_counts(tmp_path):
    said = collected(
        tmp_path,
        """
        class Net:
            value = 1
        def make(num_classes): return Net.value
        # %%
        class Net:
            value = 2
        """,
    )
    assert said.rstrip().endswith("=> 2")


def test_decorators_and_recursion_are_kept(tmp_path):
    said = collected(
        tmp_path,
        """
        from functools import lru_cache
        # %%
        def double(function):
            def wrapped(*args): return 2 * function(*args)
            return wrapped
        # %%
        @lru_cache
        def count(n): return 1 if n == 0 else 1 + count(n - 1)
        # %%
        def make(num_classes):
            return other(num_classes)
        def other(n): return count(n) if n else make(n)
        """,
    )
    assert said.rstrip().endswith("=> 4")
    assert "@lru_cache" in said


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ("table = object()\ndef make(n): return table", "its table is no function, class"),
        ("def outer():\n    k = 1\n    def make(n): return k\n    return make\nmake = outer()", ""),
        (
            "def outer():\n    k = 1\n    def make(n): return k\n    return make\n"
            "def make(n): return 2\nmake = outer()",
            "make uses variables of another function",
        ),
        ("make = lambda n: n", ""),
        ("def make(n): return n\nold = make\ndef make(n): return old(n)", "names something else"),
        ("import own_file\ndef make(n): return own_file.x", "imports own_file, which is not an"),
        ("from own_file import f\ndef make(n): return f()", "imports own_file, which is not an"),
    ],
)
def test_what_cannot_stand_alone_is_told_to_go_into_a_file(tmp_path, cells, why):
    (tmp_path / "own_file.py").write_text("x = 1\ndef f(): pass\n")
    said = collected(tmp_path, f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{cells}")
    assert said.startswith("refused: ")
    assert why in said
    assert "put it into a file and give FILE.py:function" in said
    assert said.count("\n") == 1


def test_the_same_cells_give_the_same_text(tmp_path):
    cells = "B, A = 1, 2\ndef make(n): return helper(n) + A + B\ndef helper(n): return n"
    assert collected(tmp_path, cells) == collected(tmp_path, cells)


def test_a_function_of_a_script_is_collected_too(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from dadnet.base.notebook_code import collect\nWIDTH = 5\n"
        "class Settings:\n    width = WIDTH\n"
        "def make(n): return Settings.width\nprint(collect(make))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names: dict = {}
    exec(done.stdout, names)
    assert names["make"](1) == 5
    assert "print" not in done.stdout


def test_a_function_of_a_file_is_named_by_the_file(tmp_path, monkeypatch):
    (tmp_path / "my_net.py").write_text("def net(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_net

    assert function_word(my_net.net, tmp_path / "new") == f"{tmp_path / 'my_net.py'}:net"
    assert function_word(collect, tmp_path / "new") == "dadnet.base.notebook_code:collect"
    file = function_word(collect, tmp_path / "new", as_file=True)
    assert file == f"{ROOT / 'dadnet/base/notebook_code.py'}:collect"
    assert not (tmp_path / "new").exists()
