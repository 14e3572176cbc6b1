"""Runs the fast tests of a module against changes of it, each in a forked process.

The parent imports the packages of others once; a child imports ours, the changed module among them,
from a loader that has the changed source. No file is written, so what a test starts as a process of
its own sees the module as it is.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import CodeType

from benchmarks.mutant_changes import Mutant

OURS = ("dadnet", "results", "orchestration", "search_spaces", "tests", "benchmarks", "conftest")
# A loop without an end: this many times the seconds of the unchanged module, and at least 20 s.
_PATIENCE = 5
KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a changed source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, path: str, source: str) -> None:
        self._name, self._loader = name, _Changed(name, path, source)

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._loader.path, loader=self._loader)


def warm(names: Sequence[str]) -> None:
    """Import packages of others, so that a child need not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            try:
                importlib.import_module(name)
            except Exception:  # part of a package that another module loads in its own way
                continue


def baseline(root: Path, tests: Sequence[str]) -> tuple[float, list[str]]:
    """Run the tests of an unchanged module.

    Returns:
        Seconds, and the modules of others that were loaded.

    Raises:
        SystemExit: if a test fails.
    """
    reader, writer = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reader)
        status = _pytest(tests, os.devnull)
        names = [n for n in sys.modules if n.partition(".")[0] not in (*OURS, "__main__")]
        with os.fdopen(writer, "w") as out:
            json.dump([status, names], out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as got:
        answer = got.read()
    os.waitpid(child, 0)
    status, names = json.loads(answer) if answer else (-1, [])
    if status:
        raise SystemExit(f"pytest {' '.join(tests)}: expected these tests to pass, got {status}")
    return time.monotonic() - started, names


def outcome(root: Path, mutant: Mutant, tests: Sequence[str], seconds: float) -> str:
    """Whether a test fails under a change; `seconds` are those of the unchanged module."""
    child = os.fork()
    if not child:
        os.setsid()
        name = mutant.module.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        sys.meta_path.insert(0, _Finder(name, str(root / mutant.module), mutant.source))
        os._exit(_pytest(tests, os.devnull))
    end = time.monotonic() + max(20, _PATIENCE * seconds)
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMED_OUT


def _pytest(tests: Sequence[str], output: str) -> int:
    """Exit status of pytest over the fast tests in these files, up to the first failure."""
    import pytest

    sink = os.open(output, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    options = ["-x", "-m", "not slow", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    # Plugins are loaded before pytest can rewrite their assertions.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    try:
        return int(pytest.main([*options, *tests]))
    except BaseException:
        return 1
