"""What a release and its documentation promise: one version, every public name, a site."""

import re
import subprocess
import sys

import pytest
import yaml

import dadnet
from tests.build.source import ROOT


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == dadnet.__version__
    [newest, *_] = re.findall(
        r"^## (\d\S*) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert newest == dadnet.__version__
    for name in ("README.md", "Dockerfile", "kuberay.yaml"):
        tags = re.findall(r"dadnet-loso:([\d.]+\d)", (ROOT / "cluster" / name).read_text())
        assert set(tags) == {dadnet.__version__}
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


def test_the_citation_has_what_its_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    for entry in (citation, *citation["references"]):
        assert all("name" in author or "family-names" in author for author in entry["authors"])


def test_the_reference_has_every_public_name():
    page = (ROOT / "docs/reference/api.md").read_text()
    named = re.findall(r"^::: [\w.]+\.(\w+)$", page, re.MULTILINE)
    assert set(dadnet.__all__) <= set(named)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=570, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    commands = (site / "reference/command_line/index.html").read_text()
    assert "dadnet loso" in commands
    assert "--macro-weights" in commands
    start = (site / "index.html").read_text()
    assert 'href="own_data/"' in start
    assert "(docs/" not in start
