"""Capacity for workers: what a worker takes, what the cluster has, and requests to an autoscaler.

Ray Train reports a group's size to the autoscaler through an actor that merges the requests of all
groups; a request that does not go through it is overwritten within 20 s. So a request for more
workers than the present groups have goes the same way.
"""

import math
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ray
import yaml  # type: ignore[import-untyped]
from ray.train import ScalingConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, is_remote
from orchestration.workers.connection import BOOTSTRAP, connect, named_address
from orchestration.workers.ray_internals import autoscaling_coordinator, free_resources

# A request that is not repeated expires, in case the driver dies.
REQUEST_S = 90.0
CANCEL_S = 5.0
# A search may have thousands of waiting folds; no cluster needs a larger request.
MOST_REQUESTED = 256
# A group that has just ended may still hold the capacity of the next one.
LEAVING_S = 3.0
_ROUNDING = 1e-6


@dataclass(frozen=True)
class WorkerResources:
    """What one worker takes of a machine.

    Attributes:
        gpus: share of a GPU, more than 0 and at most 1; 0: none.
        cpus: CPUs of a worker without a GPU.
    """

    gpus: float
    cpus: float = 1.0

    @property
    def by_name(self) -> dict[str, float]:
        """As Ray names them."""
        return {"GPU": self.gpus} if self.gpus else {"CPU": self.cpus}

    def scaling(self, workers: int) -> ScalingConfig:
        """Ray Train's configuration of a group of so many workers."""
        return ScalingConfig(
            num_workers=workers, use_gpu=self.gpus > 0, resources_per_worker=self.by_name
        )

    def fit_in(self, total: Mapping[str, float], free: Mapping[str, float]) -> int:
        """How many more workers fit on a machine, from all its resources and the free ones."""
        if not self.gpus:
            return math.floor(free.get("CPU", 0) / self.cpus + _ROUNDING)
        # A share lies on one GPU: what is left of each may not be added up.
        all_gpus = total.get("GPU", 0)
        taken = math.ceil((all_gpus - free.get("GPU", 0)) / self.gpus - _ROUNDING)
        return max(0, int(all_gpus) * _on_one_gpu(self.gpus) - taken)


def worker_resources(
    gpus: float, gpus_per_worker: float | None = None, cpus: float = 1.0
) -> WorkerResources:
    """What a worker takes of this cluster.

    Args:
        gpus: GPUs of the cluster, as far as they are known.
        gpus_per_worker: share of a GPU; None: one where the cluster has some, else a CPU.
        cpus: CPUs of a worker without a GPU; less than 1 leaves some for the trials of a search.

    Raises:
        DadnetError: if a share of a GPU is requested on a Ray of this machine, which has none.
    """
    if gpus > 0:
        return WorkerResources(1.0 if gpus_per_worker is None else gpus_per_worker)
    if gpus_per_worker is not None:
        if named_address() is not None:  # machines with GPUs may be added later
            return WorkerResources(gpus_per_worker)
        raise DadnetError(
            f"gpus_per_worker: expected a cluster with GPUs for a share of {gpus_per_worker}, "
            "which has none"
        )
    return WorkerResources(0.0, cpus)


def _on_one_gpu(share: float) -> int:
    return math.floor(1 / share + _ROUNDING)  # of 1 / 3, three


def offered() -> dict[str, float]:
    """What the cluster has, or may grow to where an autoscaler adds nodes as they are needed."""
    here: dict[str, float] = ray.cluster_resources()
    most = may_grow_to(Path.home() / BOOTSTRAP) if named_address() is not None else {}
    return {name: max(here.get(name, 0), most.get(name, 0)) for name in {*here, *most}}


def may_grow_to(bootstrap: Path) -> dict[str, float]:
    """Resources of all machines that an autoscaler may start.

    Ray's state has a field for them that nothing in Ray 2.60 fills, so they are read from the file
    that `ray up` leaves in the home of its head, where a driver runs; it need not be there.
    """
    if not bootstrap.is_file():
        return {}
    config = yaml.safe_load(bootstrap.read_text(encoding="utf-8"))
    most_of: Counter[str] = Counter()
    for name, kind in (config.get("available_node_types") or {}).items():
        if name == config.get("head_node_type"):
            continue
        most = min(kind.get("max_workers", 0), config.get("max_workers", math.inf))
        for resource, amount in (kind.get("resources") or {}).items():
            most_of[resource] += amount * most
    return dict(most_of)


def default_workers(gpus_per_worker: float | None = None) -> int:
    """As many workers with this share of a GPU (None: 1) as the GPUs hold; else one per CPU."""
    resources = offered()
    on_gpus = int(resources.get("GPU", 0)) * _on_one_gpu(gpus_per_worker or 1.0)
    return on_gpus or int(resources.get("CPU", 1))


def cluster_has_gpus() -> bool:
    """Whether Ray knows of a GPU; joins or starts the cluster."""
    connect(1)
    return bool(offered().get("GPU", 0))


def free_capacity(worker: WorkerResources) -> int:
    """How many more workers fit on the nodes of the cluster as it is now."""
    free = free_resources()
    return sum(
        worker.fit_in(node["Resources"], free.get(node["NodeID"], {}))
        for node in ray.nodes()
        if node["Alive"]
    )


def capacity_to_begin(worker: WorkerResources, at_most: int) -> int:
    """Workers that fit now; a group that is just ending gets a moment to release its capacity."""
    until = time.monotonic() + LEAVING_S
    full = sum(
        worker.fit_in(node["Resources"], node["Resources"]) for node in ray.nodes() if node["Alive"]
    )
    while (free := free_capacity(worker)) < min(full, at_most) and time.monotonic() < until:
        time.sleep(0.2)
    return free


def further_workers(at_most: int, size: int, begun: int, waiting: int, free: int) -> int:
    """How many workers to add now.

    Args:
        at_most: workers in all.
        size: workers asked for; a lost worker still counts, because it gets the next free node.
        begun: those of them that have claimed a fold; each of the others will take a waiting fold,
            and capacity that may still be free.
        waiting: folds that no worker has.
        free: workers that the free capacity is enough for.
    """
    coming = size - begun
    return max(0, min(at_most - size, waiting - coming, free - coming))


class CapacityRequest:
    """A request to the autoscaler for more workers than a run has."""

    def __init__(self, worker: WorkerResources) -> None:
        self._worker = worker
        self._name = f"dadnet-{secrets.token_hex(4)}"
        self._requested = 0

    def send(self, workers: int) -> None:
        """Request so many, or none any more; to be repeated within `REQUEST_S`."""
        if named_address() is None:  # a Ray that was started here never grows
            return
        if workers > 0:
            autoscaling_coordinator().request_resources.remote(
                requester_id=self._name,
                resources=[self._worker.by_name] * min(workers, MOST_REQUESTED),
                expire_after_s=REQUEST_S,
            )
        elif self._requested:
            cancelled = autoscaling_coordinator().cancel_request.remote(self._name)
            with suppress(ray.exceptions.GetTimeoutError):  # waited for: the driver may end now
                ray.get(cancelled, timeout=CANCEL_S)
        self._requested = workers


def check_shared(folder: Location) -> None:
    """Refuse a ledger that is a folder of this machine alone: records made elsewhere would be lost.

    Raises:
        DadnetError: naming a node that does not see it.
    """
    if is_remote(folder):
        return  # object storage, which all nodes reach
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    there = ray.remote(num_cpus=0)(os.path.isdir)
    for node in others:
        on_it = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        if not ray.get(there.options(scheduling_strategy=on_it).remote(str(folder))):
            raise DadnetError(
                f"ledger: node {node['NodeManagerAddress']} does not see {folder}; expected a "
                "path on storage that all nodes share"
            )
