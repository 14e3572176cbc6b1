"""The source of the user's own network on another node, which has no such file."""

import json
import subprocess
import sys

import pytest

from orchestration import run_loso
from results.ledger.ledger import Ledger
from tests.build.own import NET, own_words, write_source
from tests.build.runs import ledger_content

# The driver's node has no CPU, so that every worker is on the other one. The files are gone before
# a worker starts.
SCRIPT = """
import json, shutil, sys
import ray
from dadnet.base import cli
from orchestration import run_loso
from orchestration.folds.flags import parse_flags
from ray.cluster_utils import Cluster

words, folder = json.loads(sys.argv[1]), sys.argv[2]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
other = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)
flags = parse_flags(words)
shutil.rmtree(folder)
try:
    status = run_loso.run(flags, cli.console())
    print("other node", other.node_id[:6])
finally:
    ray.shutdown()
    cluster.shutdown()
sys.exit(status)
"""


@pytest.mark.slow
def test_it_travels_with_the_plan_its_neighbour_too(site, tmp_path):
    folder = tmp_path / "mine"
    write_source(folder, NET.replace("def small_net", "def build"), "layers.py")
    word = f"{write_source(folder, 'from layers import build as small_net')}:small_net"
    here = own_words(site, tmp_path / "here", word, "--model-args", "dropout=0.3")
    assert run_loso.main(here) == 0

    there = own_words(site, tmp_path / "there", word, "--model-args", "dropout=0.3")
    there[there.index("--workers") + 1] = "1"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([*there, "--stack", "2"]), str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not folder.exists()
    assert "one after the other: net.py:small_net, RuntimeError: vmap" in done.stdout
    assert ledger_content(tmp_path / "there") == ledger_content(tmp_path / "here")
    ledger = Ledger(tmp_path / "there")
    workers = {r.host["worker"][:6] for r in ledger.records(ledger.experiments()[0])}
    assert workers == {done.stdout.split("other node ")[1][:6]}
