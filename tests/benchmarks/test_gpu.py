import json
import subprocess
import sys

import pytest
import torch

from benchmarks import gpu_checks
from benchmarks.gpu import config_of
from benchmarks.gpu_checks import check_gradients, check_resume

CPU = torch.device("cpu")


def test_the_first_gradient_of_a_stack_equals_float64():
    row = check_gradients(config_of(32, "float32"), 3, CPU, 5, capture=False)
    assert row["ok"]
    assert 0 < row["error"] < 5e-5


def test_another_draw_of_directions_fails_the_check(monkeypatch):
    def turned(*arguments, **options):
        return gpu_checks_draw(*arguments, **options).flip(0)[:-1]

    gpu_checks_draw = gpu_checks.draw_directions
    monkeypatch.setattr(gpu_checks, "draw_directions", turned)
    assert not check_gradients(config_of(32, "float32"), 1, CPU, 5, capture=False)["ok"]


def test_a_gradient_that_is_not_written_fails_the_check(monkeypatch):
    monkeypatch.setattr(gpu_checks.FoldStack, "train_epoch", lambda self: None)
    assert not check_gradients(config_of(32, "float32"), 1, CPU, 5, capture=False)["ok"]


def test_a_resumed_stack_has_the_same_bits():
    assert check_resume(config_of(32, "float32"), 2, CPU, capture=False)["error"] == 0


@pytest.mark.slow
def test_the_whole_benchmark_runs_on_a_cpu(tmp_path):
    out = tmp_path / "gpu.json"
    words = ["-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(out.read_text())["rows"]
    ways = {row["way"] for row in rows if "way" in row}
    assert ways == {"floor", "ordinary", "strong", "eager 1", "eager 2", "eager 4", "composite"}
    assert all(row["ms"] > 0 for row in rows if "ms" in row)
    [composite] = (row for row in rows if row.get("way") == "composite")
    assert composite["seconds"] > 0
    assert "6/6" in composite["note"]
    assert "ms per fold step" in done.stdout
