"""Ray Train's trainer as our runs need it. Imports no torch: Train's controller loads this file
without need of it, and a run waits for the controller."""

from collections.abc import Callable, Mapping
from typing import Any

from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from orchestration.reporting.stopping import install_in_worker
from orchestration.workers.ray_internals import leave_out_idle_helpers, replace_workers_alone

# For the workers' memory, which every step takes and gives back: pages of 2 MiB where Linux has
# them on request, and nothing is returned to it, so that page faults become few.
_GIB = 2**30
KEEP_MEMORY = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,
        "arena_max": 1,  # other arenas, as of Ray's thread for our loop, return theirs anyway
        "mmap_threshold": _GIB,
        "trim_threshold": _GIB,
    }.items()
)


@replace_workers_alone
class IndependentBackend(Backend):  # type: ignore[misc]
    """Workers that share no process group, so a dead one is replaced alone."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Let every new worker write its state on SIGTERM: Ray makes this call in the main thread,
        and only there signal handlers can be set."""
        worker_group.execute(install_in_worker)


class IndependentConfig(BackendConfig):  # type: ignore[misc]
    """Chooses `IndependentBackend`."""

    backend_cls = IndependentBackend


def make_trainer(
    loop: Callable[[dict[str, Any]], None], config: Mapping[str, Any], **arguments: Any
) -> DataParallelTrainer:
    """Ray's trainer of independent workers, each of which runs the loop with this config."""
    trainer = DataParallelTrainer(
        loop, train_loop_config=dict(config), backend_config=IndependentConfig(), **arguments
    )
    leave_out_idle_helpers(trainer)
    return trainer
