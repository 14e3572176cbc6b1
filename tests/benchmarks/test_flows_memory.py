import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_workers_of_a_node_map_one_copy_of_the_flows(tmp_path):
    found = tmp_path / "found.json"
    words = ["--clips", "2000", "--size", "224", "--workers", "4", "--json", str(found)]
    command = [sys.executable, "-m", "benchmarks.flows_memory", *words]
    subprocess.run(command, check=True, timeout=300)
    [row] = json.loads(found.read_text())["rows"]
    assert row["one_copy_bytes"] == 2000 * 2 * 224 * 224 * 2
    assert 0.9 < row["shared_bytes"] / row["one_copy_bytes"] < 1.1
    # Batches and the like; with a copy of its own a worker would have all of it.
    assert row["workers_private_bytes"] / 4 < row["one_copy_bytes"] / 4
