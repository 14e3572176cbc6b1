"""Ray Train's trainer as our runs need it: how workers keep memory, and no idle helpers."""

from typing import Any

from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

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


class IndependentTrainer(DataParallelTrainer):  # type: ignore[misc]
    """A trainer without two of Ray's helpers, each a process that starts beside the workers.

    Our workers read no Ray Dataset, and the placement group of a driver that dies goes with its
    job; Ray's cleaner is for a controller that dies while its driver lives, whose run then ends.
    """

    def _create_default_callbacks(self) -> list[Any]:
        needless = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [c for c in super()._create_default_callbacks() if not isinstance(c, needless)]
