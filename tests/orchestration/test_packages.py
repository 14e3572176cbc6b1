"""Files of a user's with the names of our packages: never imported for ours, and named if they are.

The packages have general names, so a folder with results in it is not rare.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dadnet.base.boundary import put_packages_first
from tests.build.source import ALIEN, ROOT, console_script


@pytest.fixture(params=["files", "packages", "folders"])
def folder(request, tmp_path: Path) -> Path:
    """A folder of a user's with our names: modules, packages, or folders without Python."""
    folder = tmp_path / "work"
    for name in ("results", "search_spaces"):
        inner = folder / name
        inner.mkdir(parents=True)
        if request.param == "packages":
            (inner / "__init__.py").write_text(ALIEN)
        elif request.param == "files":
            (folder / f"{name}.py").write_text(ALIEN)
    return folder


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with the checkout behind it on the path."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_python_m_imports_our_packages(folder):
    done = run(folder, "-m", "orchestration.run_loso", "--help")
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_the_console_script_imports_our_packages(folder):
    (folder / "orchestration.py").write_text(ALIEN)
    done = run(folder, console_script(folder), "leaderboard", "--help")
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_a_lone_copy_of_the_run_imports_our_packages(folder):
    copy = folder / "run_loso.py"
    copy.write_text((ROOT / "orchestration/run_loso.py").read_text())
    done = run(folder, copy, "--help")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before", [["/mine", str(ROOT), "/lib"], ["/mine", "/lib"]])
def test_the_folder_of_the_user_stays_as_the_last(monkeypatch, before):
    monkeypatch.setattr(sys, "path", list(before))
    put_packages_first()
    assert sys.path == [str(ROOT), "/lib", "/mine"]


@pytest.mark.parametrize("name", ["results.py", "search_spaces/__init__.py"])
def test_a_script_beside_such_a_file_is_told_its_name(tmp_path, name):
    alien = tmp_path / name
    alien.parent.mkdir(exist_ok=True)
    alien.write_text(ALIEN)
    (tmp_path / "mine.py").write_text("from orchestration.api import loso\n")
    done = run(tmp_path, "mine.py")
    assert f"DadnetError: {alien} is in the way of the package" in done.stderr
    assert "a file of the user was run" not in done.stderr
