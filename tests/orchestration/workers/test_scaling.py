"""Shares of GPUs; Ray is given GPUs that this machine need not have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dadnet.base.errors import DadnetError
from orchestration import run_loso
from orchestration.workers import capacity
from orchestration.workers.capacity import (
    WorkerResources,
    default_workers,
    further_workers,
    may_grow_to,
    worker_resources,
)
from results.ledger.ledger import Ledger
from tests.build.runs import ledger_content, run_words


@pytest.mark.parametrize(
    ("share", "workers"), [(1.0, 2), (0.5, 4), (0.4, 4), (1 / 3, 6), (0.25, 8)]
)
def test_there_are_as_many_workers_as_shares_fit_on_whole_gpus(monkeypatch, share, workers):
    monkeypatch.setattr(capacity, "offered", lambda: {"GPU": 2.0, "CPU": 16.0})
    assert default_workers(share) == workers


def test_without_a_gpu_there_is_a_worker_per_cpu(monkeypatch):
    monkeypatch.setattr(capacity, "offered", lambda: {"CPU": 3.0})
    assert default_workers() == 3


def test_machines_that_an_autoscaler_may_add_count(monkeypatch):
    # gpu.yaml before its first worker: a head without CPU or GPU, and at most eight workers.
    monkeypatch.setattr(capacity.ray, "cluster_resources", lambda: {"memory": 1e9})
    monkeypatch.setattr(capacity, "named_address", lambda: "auto")
    monkeypatch.setattr(capacity, "may_grow_to", lambda _: {"CPU": 32, "GPU": 8})
    assert default_workers() == 8
    assert default_workers(0.5) == 16
    # As large as it ever gets, or no autoscaler at all.
    monkeypatch.setattr(capacity.ray, "cluster_resources", lambda: {"GPU": 9.0})
    assert default_workers() == 9
    monkeypatch.setattr(capacity, "named_address", lambda: None)
    assert default_workers() == 9


def test_the_file_of_ray_up_limits_the_cluster(tmp_path):
    assert may_grow_to(Path("cluster/gpu.yaml")) == {"CPU": 32, "GPU": 8}
    assert may_grow_to(tmp_path / "none") == {}


def test_a_worker_takes_its_share_of_a_gpu_or_a_cpu():
    shared, alone = worker_resources(2.0, 0.5).scaling(4), worker_resources(0.0).scaling(2)
    assert (shared.num_workers, shared.use_gpu) == (4, True)
    assert shared.resources_per_worker == {"GPU": 0.5}
    assert (alone.num_workers, alone.use_gpu, alone.resources_per_worker) == (2, False, {"CPU": 1})


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_of_no_gpu_is_refused(monkeypatch, share):
    monkeypatch.setattr(capacity, "named_address", lambda: None)
    with pytest.raises(DadnetError, match="gpus_per_worker: expected a cluster with GPUs"):
        worker_resources(0.0, share)


def test_a_share_that_is_requested_waits_for_the_gpus_of_a_cluster(monkeypatch):
    monkeypatch.setattr(capacity, "named_address", lambda: "head:6379")
    assert worker_resources(0.0, 1.0) == WorkerResources(1.0)
    assert worker_resources(0.0) == WorkerResources(0.0)


@pytest.mark.parametrize(
    ("share", "total", "free", "workers"),
    [
        (WorkerResources(0, 1.0), {"CPU": 2}, {"CPU": 2.0}, 2),
        (WorkerResources(0, 0.9), {"CPU": 2}, {"CPU": 2.0}, 2),
        (WorkerResources(0, 0.9), {"CPU": 2}, {"CPU": 1.07}, 1),
        (WorkerResources(0, 1.0), {"GPU": 1}, {}, 0),
        (WorkerResources(1.0), {"CPU": 4, "GPU": 2}, {"CPU": 4, "GPU": 1}, 1),
        (WorkerResources(1.0), {"CPU": 4}, {"CPU": 4}, 0),
        (WorkerResources(1 / 3), {"GPU": 2}, {"GPU": 2}, 6),
        (WorkerResources(0.4), {"GPU": 2}, {"GPU": 1.6}, 3),
        (WorkerResources(0.4), {"GPU": 2}, {"GPU": 0.4}, 0),  # 0.2 of each: too little
    ],
)
def test_capacity_is_counted_in_whole_workers(share, total, free, workers):
    assert share.fit_in(total, free) == workers


@pytest.mark.parametrize(
    ("at_most", "size", "begun", "waiting", "free", "added"),
    [
        (8, 2, 2, 5, 3, 3),
        (8, 2, 2, 1, 3, 1),  # one fold needs no three workers
        (3, 2, 2, 5, 3, 1),  # --workers 3
        (8, 2, 0, 6, 2, 0),  # the free capacity is that of the two that are starting
        (8, 2, 1, 1, 3, 0),  # the waiting fold is for the worker that is starting
        (8, 2, 2, 0, 3, 0),
        (2, 2, 2, 5, 1, 0),  # one of two was lost: Ray itself starts it on a new node
    ],
)
def test_workers_are_added_for_folds_that_wait_where_there_is_capacity(
    at_most, size, begun, waiting, free, added
):
    assert further_workers(at_most, size, begun, waiting, free) == added


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
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray gave this worker a GPU but torch sees none" in done.stdout
    assert len(ledger_content(tmp_path / "runs")) == 5
    ledger = Ledger(tmp_path / "runs")
    hosts = [record.host for record in ledger.records(ledger.experiments()[0])]
    assert {host["device"] for host in hosts} == {"cpu"}
    assert len({host["worker"] for host in hosts}) == 2
