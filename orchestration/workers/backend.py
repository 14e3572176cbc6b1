"""How Ray Train starts our workers. Imports no torch: Train's controller has no need of it, and a
run waits for the controller."""

from dataclasses import dataclass
from typing import Any

from ray.train.backend import Backend, BackendConfig

from orchestration.folds.stopping import install_in_worker


class IndependentBackend(Backend):  # type: ignore[misc]
    """Workers that share no process group, so a dead one is replaced alone.

    Ray 2.60 knows this by a flag that is meant for fault-tolerant data parallelism; without it the
    whole group would be restarted and every healthy fold would lose its unfinished epochs.
    """

    has_replica_groups = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Let every new worker keep its state on SIGTERM: of Ray's calls, this one is in the main
        thread, where alone signals can be taken over."""
        worker_group.execute(install_in_worker)


@dataclass
class IndependentConfig(BackendConfig):  # type: ignore[misc]
    """Chooses `IndependentBackend`."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend."""
        return IndependentBackend
