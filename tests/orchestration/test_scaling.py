"""Shares of GPUs; Ray is told of GPUs that this machine need not have."""

import json
import subprocess
import sys

import pytest

from dadnet.errors import DadnetError
from orchestration import group, run_loso
from orchestration.group import default_workers, scaling
from results.ledger import Ledger
from tests.orchestration.conftest import ledger_content, run_words


@pytest.mark.parametrize(
    ("share", "workers"), [(1.0, 2), (0.5, 4), (0.4, 4), (1 / 3, 6), (0.25, 8)]
)
def test_there_are_as_many_workers_as_shares_fit_on_whole_gpus(monkeypatch, share, workers):
    monkeypatch.setattr(group, "offered", lambda: {"GPU": 2.0, "CPU": 16.0})
    assert default_workers(share) == workers


def test_without_a_gpu_there_is_a_worker_per_cpu(monkeypatch):
    monkeypatch.setattr(group, "offered", lambda: {"CPU": 3.0})
    assert default_workers() == 3


def test_machines_that_an_autoscaler_may_add_count(monkeypatch):
    # gpu.yaml before its first worker: a head without GPU, and room for eight.
    most = {"CPU": 32, "GPU": 8}
    monkeypatch.setattr(group.ray, "cluster_resources", lambda: {"memory": 1e9})
    monkeypatch.setattr(group.state, "get_max_resources_from_cluster_config", lambda: most)
    assert default_workers() == 8
    assert default_workers(0.5) == 16
    # As large as it ever gets, or no autoscaler at all.
    monkeypatch.setattr(group.ray, "cluster_resources", lambda: {"GPU": 9.0})
    assert default_workers() == 9
    monkeypatch.setattr(group.state, "get_max_resources_from_cluster_config", lambda: None)
    assert default_workers() == 9


def test_a_worker_takes_its_share_of_a_gpu_or_a_cpu():
    shared, alone = scaling(4, 2.0, 0.5), scaling(2, 0.0, 1.0)
    assert (shared.num_workers, shared.use_gpu) == (4, True)
    assert shared.resources_per_worker == {"GPU": 0.5}
    assert (alone.num_workers, alone.use_gpu, alone.resources_per_worker) == (2, False, None)


def test_a_share_of_no_gpu_is_refused():
    with pytest.raises(DadnetError, match="gpus_per_worker: expected a cluster with GPUs"):
        scaling(2, 0.0, 0.5)


@pytest.mark.parametrize("share", ["0", "-1", "1.5", "nan"])
def test_a_share_out_of_range_is_bad_input(site, tmp_path, capsys, share):
    words = run_words(site, tmp_path / "runs", f"--gpus-per-worker={share}")
    assert run_loso.main(words) == 2
    assert "gpus_per_worker: expected more than 0 and at most 1" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_tf32_without_a_gpu_is_bad_input_and_writes_nothing(site, tmp_path, capsys):
    words = run_words(site, tmp_path / "runs", "--precision", "tf32", "--workers", "0")
    assert run_loso.main(words) == 2
    assert "got tf32, which needs a GPU" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_workers_share_a_gpu_that_only_ray_knows(site, tmp_path):
    words = run_words(site, tmp_path / "runs", "--gpus-per-worker", "0.5")
    script = (
        "import json, sys, ray; from orchestration import run_loso\n"
        "ray.init(address='local', num_cpus=2, num_gpus=1, log_to_driver=False)\n"
        "sys.exit(run_loso.main(json.loads(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(words)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray gave this worker a GPU but torch sees none" in done.stdout
    assert len(ledger_content(tmp_path / "runs")) == 5
    ledger = Ledger(tmp_path / "runs")
    hosts = [record.host for record in ledger.records(ledger.experiments()[0])]
    assert {host["device"] for host in hosts} == {"cpu"}
    assert len({host["worker"] for host in hosts}) == 2
