"""Figures of a worker group for Prometheus, by `ray.util.metrics` and the node's metrics port.

Labels are the run, the rank of a worker and the state of a fold: never a subject or a process, so
that a year of runs stays a few thousand series. Prometheus sees the names with `ray_` before them.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from orchestration.reporting.progress import fraction_done, remaining

STATES = ("waiting", "running", "done", "failed")
_BY_RANK = {
    "epoch": ("dadnet_epoch", "Epoch of the fold that a worker trains"),
    "val_uf1": ("dadnet_val_uf1", "Last val UF1 of the fold that a worker trains"),
    "gpu_memory_bytes": ("dadnet_gpu_memory_bytes", "Most GPU memory a worker's tensors took"),
}


class GroupMetrics:
    """The series of one run, whose folds have so many epochs at most."""

    def __init__(self, run: str, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._epochs, self._clock = {"run": run}, epochs, clock
        self._started = clock()
        self._folds = Gauge("dadnet_folds", "Folds by state", ("run", "state"))
        self._eta = Gauge("dadnet_eta_seconds", "Seconds until all folds are done", ("run",))
        self._clips = Counter("dadnet_clips_total", "Clips trained on, over all epochs", ("run",))
        self._failures = Counter("dadnet_fold_failures_total", "Tries that failed", ("run",))
        self._rank = {
            key: Gauge(name, help_text, ("run", "rank"))
            for key, (name, help_text) in _BY_RANK.items()
        }
        self._seen = {"clips": 0.0, "failures": 0.0}

    def update(self, snapshot: Mapping[str, Any]) -> None:
        """Export the queue's state."""
        for state in STATES:
            self._folds.set(snapshot["counts"][state], {**self._run, "state": state})
        eta = remaining(self._clock() - self._started, fraction_done(snapshot, self._epochs))
        if math.isfinite(eta):
            self._eta.set(eta, self._run)
        for key, counter in (("clips", self._clips), ("failures", self._failures)):
            if (more := snapshot[key] - self._seen[key]) > 0:  # a counter refuses 0
                counter.inc(more, self._run)
                self._seen[key] = snapshot[key]
        for row in snapshot["running"]:
            for key, gauge in self._rank.items():
                if key in row["info"] and math.isfinite(row["info"][key]):
                    gauge.set(row["info"][key], {**self._run, "rank": str(row["rank"])})
