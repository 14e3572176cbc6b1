"""Everything that is not part of Ray's public interface, checked on Ray 2.60.0.

For each there is a reason why the public interface is not enough, and a test that fails when Ray
changes it (tests/orchestration/workers/test_ray_internals.py). Slow imports are inside functions.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from ray._common.network_utils import build_address, parse_address
from ray._private import ray_constants, services
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._private.state import state
from ray.job_config import JobConfig

import dadnet
from orchestration.workers import session

__all__ = ["build_address", "parse_address"]  # host and port, also of IPv6, written as Ray does

Backend = TypeVar("Backend", bound=type)

# Ray's switch, meant for macOS and Windows: without it a node takes the address of the
# outside network, whatever address it is given, and listens on all of them.
_ON_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# Of `ray.init`, which has no public argument for the address of a new node.
NODE_ON_LOOPBACK = {"_node_ip_address": "127.0.0.1"}
# A head answers it to any client; Ray's own client cannot ask without a token.
CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
# Time for the start of a node; Ray gives it 30 s, too few on a machine whose cores are busy.
START_S = 120
_SLOW_START = {
    "RAY_gcs_server_port_wait_time_s": f"{START_S}",
    "RAY_agent_register_timeout_ms": f"{START_S * 1000}",
}


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Processes that are started in this context, and their children, listen on loopback."""
    environment, constant = os.environ.get(_ON_NETWORK), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_ON_NETWORK] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when Ray was imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = constant
        if environment is None:
            del os.environ[_ON_NETWORK]
        else:
            os.environ[_ON_NETWORK] = environment


@contextlib.contextmanager
def slow_start() -> Iterator[None]:
    """A node that is started in this context has `START_S` seconds for it."""
    ask = services.get_node

    def get_node(address: str, node: str) -> Any:
        until = time.monotonic() + START_S
        while True:
            try:
                return ask(address, node)
            except RuntimeError:  # it has not registered yet
                if time.monotonic() >= until:
                    raise
            time.sleep(0.1)

    ours = [name for name in _SLOW_START if name not in os.environ]
    os.environ.update({name: _SLOW_START[name] for name in ours})
    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = ask
        for name in ours:
            del os.environ[name]


class OwnPackagesFirst(JobConfig):  # type: ignore[misc]
    """The workers of this job import our packages from where this process has them.

    Ray puts the driver's current folder in front of the path of its workers, where a user's own
    `results.py` would be imported in the place of our package. Its switch against that is a
    `working_dir` to upload, and then Ray adds nothing.
    """

    def _get_proto_job_config(self) -> Any:
        if not self._runtime_env_has_working_dir():
            root = Path(dadnet.__file__).parents[1]
            # The packages of an environment are on the path of its workers, behind Python's own.
            installed = root.name in ("site-packages", "dist-packages")
            self._py_driver_sys_path = [] if installed else [str(root)]
        return super()._get_proto_job_config()


def head_of(address: str) -> str:
    """host:port of the head of a cluster; ``auto``: of this machine's.

    `ray.init` finds it too, but joins at once; ours is first asked whether it wants a token. And it
    would find a Ray that another run has started for itself, which ends with that run.

    Raises:
        ConnectionError: if no cluster runs on this machine.
    """
    if address != "auto":
        return address
    heads = _heads_here()
    noted: str | None = services.find_bootstrap_address(None)  # of the last `ray start`
    if noted in heads or (noted is not None and not heads):
        return noted
    if not heads:
        raise ConnectionError("no Ray runs on this machine")
    return heads[0]


def _heads_here() -> list[str]:
    """host:port of the heads of the Rays of this machine that no run has started for itself."""
    found = []
    for process in services.psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if not services._is_raylet_process(words):
            continue
        flags = dict(word.lstrip("-").partition("=")[::2] for word in words)
        socket = flags.get("raylet_socket_name", "")
        if (head := flags.get("gcs-address")) and not session.is_of_a_run(socket):
            found.append(head)
    return found


def use_token() -> None:
    """Use this user's token, if there is one: `ray.init` does so only for the address ``auto``."""
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def free_resources() -> dict[str, dict[str, float]]:
    """Free resources of each node by its id: `ray.available_resources` has only their sum."""
    resources: dict[str, dict[str, float]] = state.available_resources_per_node()
    return resources


def autoscaling_coordinator() -> Any:
    """The actor that merges the requests of all Ray libraries to the autoscaler.

    `ray.autoscaler.sdk.request_resources` would be overwritten by it within 20 s.
    """
    from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as module

    return module.get_or_create_autoscaling_coordinator()


def replace_workers_alone(backend: Backend) -> Backend:
    """Class decorator of a Ray Train backend: a dead worker is replaced alone.

    Ray's flag is meant for fault-tolerant data parallelism; without it the whole group would be
    restarted, and every healthy fold would lose its unfinished epochs.
    """
    backend.has_replica_groups = True  # type: ignore[attr-defined]
    return backend


def leave_out_idle_helpers(trainer: Any) -> None:
    """Leave out two helpers of a Ray Train trainer, each a process that starts beside the workers.

    Our workers read no Ray Dataset, and the placement group of a driver that dies goes with its
    job; Ray's cleaner is for a controller that dies while its driver lives, whose run then ends.
    """
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import (
        PlacementGroupCleanerCallback,
    )

    idle, create = (
        (DatasetsCallback, PlacementGroupCleanerCallback),
        trainer._create_default_callbacks,
    )
    trainer._create_default_callbacks = lambda: [c for c in create() if not isinstance(c, idle)]
