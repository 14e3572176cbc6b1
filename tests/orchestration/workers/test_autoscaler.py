"""Ray's own autoscaler, whose machines are raylets here: it gets the requests of a run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.disturbed import free_port
from tests.build.runs import LAST_S, ledger_content, run_words, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BOOTSTRAP = "ray_bootstrap_config.yaml"


def config(address: str) -> dict:
    """As `ray up` leaves it on its head; a head without a CPU, and up to two machines of one."""
    return {
        "cluster_name": "test",
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 100,
        "provider": {
            "type": "fake_multinode", "gcs_address": address, "launch_multiple": True,
            "disable_node_updaters": True, "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "machine": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        "file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False,
        "auth": {}, "rsync_exclude": [], "rsync_filter": [], "initialization_commands": [],
        "setup_commands": [], "head_setup_commands": [], "worker_setup_commands": [],
        "head_start_ray_commands": [], "worker_start_ray_commands": [],
    }  # fmt: skip


def processes_below(folder: Path) -> list[int]:
    """Ray's processes whose command names this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in entry.joinpath("cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@contextmanager
def head(home: Path, log: Path) -> Iterator[dict[str, str]]:
    """A head with an autoscaler; the environment of a driver there."""
    folder, port = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp")), free_port()
    address = f"127.0.0.1:{port}"
    (home / BOOTSTRAP).write_text(json.dumps(config(address)))
    env = {
        **os.environ, "HOME": str(home), "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled",
        "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONPATH": str(Path(__file__).parents[3]),
    }  # fmt: skip
    words = (
        f"start --head --block --port={port} --node-ip-address=127.0.0.1 --num-cpus=0 "
        f"--dashboard-port={free_port()} --dashboard-agent-listen-port=0 "
        f"--object-store-memory=100000000 --temp-dir={folder} "
        f"--autoscaling-config={home / BOOTSTRAP}"
    )
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *words.split()],
            env=env, stdout=stream, stderr=stream,
        )  # fmt: skip
        try:
            wait_until(lambda: "Ray runtime started" in log.read_text(), LAST_S, log)
            yield {**env, "RAY_ADDRESS": address}
        finally:
            process.kill()
            process.wait()
            for pid in processes_below(folder):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def requests(env: dict[str, str]) -> str:
    """What the autoscaler is asked to hold ready."""
    words = ["status", "--address", env["RAY_ADDRESS"]]
    output = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *words],
        env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return output.partition("From request_resources:")[2].partition("Pending Demands:")[0]


def test_machines_come_for_folds_that_wait_and_the_request_is_cancelled(site, tmp_path):
    home, log, ledger = tmp_path / "home", tmp_path / "log", tmp_path / "runs"
    home.mkdir()
    with head(home, log) as env:
        done = subprocess.run(
            [sys.executable, "-m", "orchestration.run_loso", *run_words(site, ledger)],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert "waiting for a node with 1 CPU free" in output
        assert "the cluster has grown" in output
        assert ", 2 in all" in output
        assert len(ledger_content(ledger)) == 5
        # Well before it would be forgotten by itself.
        wait_until(lambda: "(none)" in requests(env), 60, log)
