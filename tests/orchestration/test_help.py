"""`--help` and wrong words end a command before the imports of its work, which take seconds."""

import os
import re
import subprocess
import sys

import pytest

from orchestration import main as console
from orchestration.folds.flags import LOSO, MOST_USED
from orchestration.search.flags import TUNE
from results.__main__ import COMMANDS
from tests.build.source import ROOT

SLOW = ("torch", "ray", "optuna", "pandas", "sklearn", "cv2", "scipy")
# Runs a module as `python -m` does, and says at its end which of the slow packages are there.
PROGRAM = f"""
import atexit, runpy, sys
atexit.register(lambda: print("loaded:", *{{*{SLOW}}} & set(sys.modules)))
sys.argv[:1] = ["-m"]
import dadnet
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
MODULES = [
    *(f"orchestration.{name}" for name in (
        "run_loso", "tune", "ingest", "teacher", "ablate", "robustness", "explain", "reproduce",
        "reporting.watch", "demo",
    )),
    *(f"dadnet.{name}" for name in ("doctor", "predict", "export", "convert")),
]  # fmt: skip


def run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, module, *words],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("verb", console._VERBS)
def test_the_help_of_a_verb_loads_no_slow_package(verb):
    done = run("orchestration.main", verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout
    assert done.stdout.endswith("loaded:\n")


@pytest.mark.parametrize("module", MODULES)
def test_the_help_of_a_module_loads_no_slow_package(module):
    done = run(module, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout
    assert done.stdout.endswith("loaded:\n")


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_the_help_of_results_loads_no_slow_package(words):
    done = run("results", *words)
    assert done.returncode == 0
    assert done.stdout.endswith("loaded:\n")


def test_the_versions_load_no_slow_package():
    done = run("orchestration.main", "--version")
    line, loaded = done.stdout.splitlines()
    assert re.fullmatch(r"dadnet \d\S*, Python 3\.\d+\.\S+, torch \d\S*, ray \d\S*", line)
    assert loaded == "loaded:"


@pytest.mark.parametrize("module", MODULES)
def test_wrong_words_load_no_slow_package(module):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--nonsense"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {*SLOW}


@pytest.mark.parametrize(("command", "first"), [(LOSO, MOST_USED), (TUNE, ("space", "num_trials"))])
def test_the_help_begins_with_the_flags_that_people_use(command, first, capsys):
    with pytest.raises(SystemExit):
        command.parse(["--help"])
    shown = re.findall(r"^[^\w\n]*--([a-z][a-z-]*)", capsys.readouterr().out, re.MULTILINE)
    assert len(MOST_USED) == 10
    assert [name.replace("-", "_") for name in shown[: len(first)]] == [*first]
    assert len(shown) == len({*shown})
