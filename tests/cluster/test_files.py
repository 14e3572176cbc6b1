"""The files of `cluster/` against Ray's own schema and commands, and KubeRay's field names."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
CLUSTERS = ("gpu.yaml", "onprem.yaml")
KUBERAY = json.loads(Path(__file__).with_name("kuberay_fields.json").read_text())


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_takes_the_file_and_would_refuse_a_wrong_one(name):
    validate_config(prepare_config(load(name)))
    with pytest.raises(Exception, match="worker_count"):
        validate_config(prepare_config({**load(name), "worker_count": 8}))


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_repository_goes_along_and_is_installed_by_constraints(name):
    config = load(name)
    assert config["file_mounts"]["~/dadnet"] == "."
    assert config["setup_commands"] == ["bash ~/dadnet/cluster/install.sh"]
    script = (CLUSTER / "install.sh").read_text()
    installs = [line for line in script.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all('-c "$project/constraints.txt"' in line for line in installs)


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_starts_with_a_token_from_a_file_and_a_dashboard_on_loopback(name):
    config = load(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_the_cloud_has_no_way_in_and_eight_single_gpu_spot_workers():
    config = load("gpu.yaml")
    assert config["provider"]["use_internal_ips"] is True
    assert config["auth"]["ssh_proxy_use_node_id"] is True
    for kind in config["available_node_types"].values():
        # Without a group Ray makes one that lets the world in on port 22.
        assert kind["node_config"]["SecurityGroupIds"]
        assert "KeyName" not in kind["node_config"]
    worker = config["available_node_types"]["gpu"]
    assert (worker["min_workers"], worker["max_workers"], config["max_workers"]) == (0, 8, 8)
    assert worker["resources"]["GPU"] == 1
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert config["idle_timeout_minutes"] > 0


def unknown_fields(value: Any, kind: str, path: str) -> list[str]:
    """Paths of the fields that KubeRay's types do not have; a kind in brackets is a list's."""
    if kind.startswith("["):
        return [
            u for i, v in enumerate(value) for u in unknown_fields(v, kind[1:-1], f"{path}[{i}]")
        ]
    if kind not in KUBERAY["types"]:
        assert kind in ("any", "string", "integer", "number", "boolean", "map"), kind
        python = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
        python["map"] = dict
        return [] if isinstance(value, python.get(kind, object)) else [f"{path} is no {kind}"]
    fields = KUBERAY["types"][kind]
    found = [f"{path}.{name}" for name in value if name not in fields]
    for name in value.keys() & fields.keys():
        found += unknown_fields(value[name], fields[name], f"{path}.{name}")
    return found


def test_every_field_of_the_rayjob_is_one_of_kuberays():
    job = load("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert unknown_fields(job["spec"], "RayJobSpec", "spec") == []
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 8
    wrong = "spec.rayClusterSpec.workerGroupSpecs[0].maxReplica"
    assert unknown_fields(job["spec"], "RayJobSpec", "spec") == [wrong]


def test_the_rayjob_has_gpu_workers_a_token_shared_storage_and_no_ingress():
    cluster = load("kuberay.yaml")["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert cluster["headGroupSpec"]["enableIngress"] is False
    [workers] = cluster["workerGroupSpecs"]
    [container] = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {m["mountPath"] for m in container["volumeMounts"]} == {"/shared", "/dev/shm"}
    [pinned] = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert cluster["rayVersion"] == pinned


@pytest.mark.parametrize("name", ["slurm.sbatch", "install.sh"])
def test_the_scripts_are_whole(name):
    subprocess.run(["bash", "-n", str(CLUSTER / name)], check=True)


def test_the_batch_script_uses_flags_that_ray_has():
    script = (CLUSTER / "slurm.sbatch").read_text().replace("\\\n", " ")
    [command] = [line for line in script.splitlines() if " ray symmetric-run " in line]
    ours, entrypoint = command.split(" ray symmetric-run ")[1].split(" -- ")
    assert entrypoint.startswith('env RAY_ADDRESS="$address" python -m orchestration.run_loso')
    known = set()
    for verb in ("symmetric-run", "start"):
        shown = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", verb, "--help"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        known |= set(re.findall(r"--[a-z][a-z-]+", shown))
    flags = set(re.findall(r"--[a-z][a-z-]+", ours))
    assert {"--address", "--min-nodes", "--num-gpus"} <= flags
    assert flags <= known


def test_no_secret_is_in_any_file_and_the_readme_has_a_section_for_each():
    for path in CLUSTER.rglob("*"):
        if path.is_file() and path.suffix in (".yaml", ".sbatch", ".sh", ".md", ""):
            text = path.read_text()
            assert not re.search(r"AKIA[0-9A-Z]{16}|RAY_AUTH_TOKEN=|SECRET_ACCESS_KEY=\w", text)
            assert not re.search(r"\b[0-9a-f]{64}\b", text)
    readme = (CLUSTER / "README.md").read_text()
    for name in ("onprem.yaml", "slurm.sbatch", "gpu.yaml", "kuberay.yaml"):
        assert re.search(rf"^## .*\(`{re.escape(name)}`\)$", readme, re.M), name
