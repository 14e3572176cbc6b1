"""What is built and installed is complete: a wheel in an environment of its own, and a small demo.

The dependencies are those of the environment of the tests, named by a `.pth` file. Such a file is
not read for further `.pth` files, so the editable checkout of that environment stays out of sight.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.build.source import PACKAGES, ROOT

pytestmark = pytest.mark.slow

NOT_PACKED = re.compile(r"__pycache__|/\.|/ruff\.toml$")  # caches, settings of a tool
# No import would miss these.
DATA = ("results/published.csv", "results/templates/base.html.j2", "dadnet/py.typed")


def run(*words: object, cwd: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS")}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, because a build leaves folders in its tree and packs what is in them."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    flags = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out)
    run(sys.executable, "-m", "pip", "wheel", *flags, copy)
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """The folder of programs of a new environment with the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    # Only now: pip would take what is named here for what it has to replace.
    [site] = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not NOT_PACKED.search(name := path.relative_to(ROOT).as_posix())
    }
    assert held == there
    assert held >= set(DATA)


def test_help_comes_from_what_is_installed(environment, tmp_path):
    found = run(
        environment / "python",
        "-c",
        "import dadnet, orchestration, results, search_spaces as s;"
        "print(*(p.__file__ for p in (dadnet, orchestration, results, s)), sep='\\n')",
        cwd=tmp_path,
    )
    inside = environment.parent.resolve()
    assert all(Path(line).resolve().is_relative_to(inside) for line in found.splitlines())
    assert "ingest" in run(environment / "dadnet", "--help", cwd=tmp_path)
    assert "--subjects" in run(environment / "dadnet", "demo", "--help", cwd=tmp_path)


def test_the_readme_leads_from_the_clone_to_a_board(tmp_path):
    """Its commands as they stand, in a shell with an empty HOME and no tools of developers.

    `pip install .` builds a wheel, and the demo runs from it. The repository is this checkout's.
    Packages of others are not installed again, which takes minutes: pip finds them through a `.pth`
    file. The demo is small.
    """
    home, tools = tmp_path / "home", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    (tools / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    _link_packages_of_others(tmp_path / "others")
    (home / "others.pth").write_text(f"{tmp_path / 'others'}\n")
    text = (ROOT / "README.md").read_text().split("\n## Installation\n")[1]
    commands = text.split("```sh\n")[1].split("```")[0].replace("REPOSITORY", str(ROOT))
    made = ". .venv/bin/activate\n"
    assert made in commands
    site = ".venv/lib/python3*/site-packages"  # some versions put an old setuptools there
    prepared = f"{made}rm -rf {site}/setuptools*; cp ~/others.pth {site}\n"
    commands = commands.replace(made, prepared)
    small = f"{commands.rstrip()} --subjects 4 --clips 24 --epochs 2\n"
    passed = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "LC_", "LANG"))}
    done = subprocess.run(
        ["sh", "-eux", "-c", small], cwd=home, capture_output=True, text=True,
        env={**passed, "HOME": str(home), "PATH": f"{tools}:/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Rank" in done.stdout
    assert "DAD-Net" in done.stdout
    site = home / "dadnet-loso/demo/site"
    assert (site / "index.html").is_file()
    assert "MicroFlowNeXt (ultralight)" in (site / "synthetic.html").read_text()


def _link_packages_of_others(folder: Path) -> None:
    """A folder like the packages of the tests' environment, without ours."""
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"__editable__|dadnet|.*\.pth$", path.name):
            (folder / path.name).symlink_to(path)
