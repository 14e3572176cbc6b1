"""What stands in examples/ runs as a reader runs it."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from dadnet.flow.store import load_flow_store
from orchestration import teacher
from results.ledger.ledger import Ledger
from tests.build.flows import make_clips, write_store
from tests.build.source import ROOT

EXAMPLES = ROOT / "examples"


def test_one_fold_by_hand_scores_the_test_subject_alone(tmp_path):
    flows = write_store(tmp_path / "flows", make_clips(5, 6))
    macro = write_store(tmp_path / "macro", make_clips(4, 6, "synthetic-macro"), seed=1)
    words = ["--flows", str(macro), "--out", str(tmp_path / "teacher.safetensors")]
    assert teacher.main([*words, "--input-size", "32", "--epochs", "4"]) == 0
    done = subprocess.run(
        [sys.executable, EXAMPLES / "one_fold.py", flows, tmp_path / "teacher.safetensors",
         "5", "32", "8"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("test synthetic/sub01: ")
    assert any(line.startswith("epoch 1: loss") for line in lines)
    clips = load_flow_store(flows).clips
    tested = clips.loc[clips["subject"] == "synthetic/sub01", "clip_id"]
    assert [line.split(":")[0] for line in lines[-6:]] == list(tested)


def test_one_fold_is_short_enough_to_be_read():
    assert len((EXAMPLES / "one_fold.py").read_text().splitlines()) < 60


@pytest.mark.slow
def test_the_quickstart_runs_from_top_to_bottom(tmp_path, monkeypatch):
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # none are committed
    sizes = notebook.cells[1]
    sizes.source, found = re.subn(r"= .*", "= 4, 24, 4, 2", sizes.source)
    assert found == 1
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": tmp_path}}).execute()

    text = json.dumps(notebook)
    assert "the same command again" not in text
    methods = {experiment.method for experiment in Ledger(tmp_path / "runs").experiments()}
    assert "small_net" in methods
    assert any(method.startswith("small_net(width=") for method in methods)
    by_source = {"".join(cell.source).split("(")[0]: cell for cell in notebook.cells}
    [compared] = by_source["mine.compare"].outputs
    assert compared.data["text/plain"].startswith("UF1 of small_net minus ")
    shown = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    tables = [out.data["text/html"] for out in shown if "text/html" in out.get("data", {})]
    assert any("<th>UF1</th>" in table for table in tables)
    assert (tmp_path / "small_net.html").read_text().startswith("<!DOCTYPE html>")
