"""The machinery without the training: many folds on many workers, and what a group costs.

`python -m benchmarks.scale --json benchmarks/results/scale.json`. First 10,000 folds that sleep and
write real records, over 64 workers that are threads of two processes: the queue's actor, the
workers' loop, the driver's loop with its event log and the ledger are those of a run. Then the
ledger of them is read. Last a real worker group of two, 12 folds of two seconds: seconds of its
start, and core-seconds per fold that are not in a fold.
"""

import argparse
import io
import os
import resource
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from benchmarks.common import report
from benchmarks.dry import EPOCHS, dry_plan, make_dry_folds
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from orchestration.folds.queue import Claim, LeaseQueue
from orchestration.reporting.events import EventLog
from orchestration.reporting.progress import Progress
from orchestration.workers.connection import connect
from orchestration.workers.group import POLL_S, run_group
from orchestration.workers.handle import QueueHandle
from orchestration.workers.worker import Plans, RemoteQueue, serve
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger

PROCESSES = 2
GROUP_FOLDS, GROUP_SECONDS, GROUP_WORKERS = 12, 2.0, 2


class TimedQueue(RemoteQueue):
    """Keeps how long each claim waited for its answer, in seconds."""

    def __init__(self, actor: Any, worker: str, rank: int) -> None:
        super().__init__(actor, worker, rank)
        self.waits: list[float] = []

    def claim(self, plan: str | None) -> Claim | None:
        """Take a fold of a plan, or of any."""
        started = time.perf_counter()
        claim = super().claim(plan)
        self.waits.append(time.perf_counter() - started)
        return claim


class MeasuredQueue(LeaseQueue):
    """Reports what it took."""

    async def cpu_s(self) -> float:
        """Processor seconds of the queue's process."""
        return time.process_time()


@ray.remote(num_cpus=0)
class ManyWorkers:
    """Threads that each do what a worker's process does."""

    def run(self, actor: Any, options: WorkOptions, ranks: list[int]) -> dict[str, Any]:
        """Make folds until the queue is empty; returns waits and memory."""
        queues = [TimedQueue(actor, f"{os.getpid()}-{rank}", rank) for rank in ranks]
        plans = Plans(queues[0].handle)
        plans.of("")  # fetched once, before the threads
        threads = [
            threading.Thread(target=serve, args=(queue, plans, options, make_dry_folds))
            for queue in queues
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        waits = [wait for queue in queues for wait in queue.waits]
        return {"waits": waits, "cpu_s": time.process_time()}


def peak_mib() -> float:
    """The most memory that this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def drive(folds: int, workers: int, seconds: float, root: Path) -> dict[str, Any]:
    """Let the workers make the folds, and follow them as a run's driver does."""
    plan, options = dry_plan(folds, seconds), WorkOptions(root)
    names = tuple(fold.name for fold in plan.folds)
    Ledger(root).open(plan.experiment)
    before_mib, before_cpu_s = peak_mib(), time.process_time()
    actor = ray.remote(MeasuredQueue).options(num_cpus=0, max_concurrency=1000)
    queue = QueueHandle(actor.remote(names, title="scale"))
    queue.ask(LeaseQueue.add_base, "", [ray.put(plan)])
    queue.send(LeaseQueue.export_metrics, EPOCHS)
    events = Ledger(root).events_path(plan.experiment)
    polls: list[float] = []
    with Progress(events, EPOCHS, "scale", Console(file=io.StringIO())) as progress:
        started = time.perf_counter()
        calls = [
            ManyWorkers.remote().run.remote(
                queue.actor, options, list(range(k, workers, PROCESSES))
            )
            for k in range(PROCESSES)
        ]
        seen, over = 0, False
        while not over:
            asked = time.perf_counter()
            snapshot = queue.ask(LeaseQueue.snapshot, seen)
            polls.append(time.perf_counter() - asked)
            seen += len(snapshot["events"])
            progress.show(snapshot)
            over = snapshot["over"]
            time.sleep(0 if over else POLL_S)
        wall_s = time.perf_counter() - started
        cpu_s = time.process_time() - before_cpu_s
        answers = ray.get(calls)
        waits = sorted(wait for answer in answers for wait in answer["waits"])
    slept_s = folds * seconds / workers
    return {
        "part": "drive",
        "folds": folds,
        "workers": workers,
        "fold_s": seconds,
        "wall_s": wall_s,
        "records_per_s": folds / wall_s,
        "overhead_per_fold_ms": (wall_s - slept_s) / folds * 1000,
        "driver_cpu_per_fold_ms": cpu_s / folds * 1000,
        "board_cpu_per_fold_ms": queue.ask(MeasuredQueue.cpu_s) / folds * 1000,
        "workers_cpu_per_fold_ms": sum(a["cpu_s"] for a in answers) / folds * 1000,
        "claim_median_ms": statistics.median(waits) * 1000,
        "claim_p99_ms": waits[int(0.99 * len(waits))] * 1000,
        "snapshot_median_ms": statistics.median(polls) * 1000,
        "driver_peak_mib": peak_mib(),
        "driver_peak_before_mib": before_mib,
        "event_log_mib": events.stat().st_size / 2**20,
        **read_back(plan, root),
    }


def read_back(plan: Plan, root: Path) -> dict[str, Any]:
    """Seconds that reading the ledger takes, the first time and again."""
    ledger, found = Ledger(root), {}
    records = list(root.rglob("folds/*.json"))
    found["records"] = len(records)
    found["record_kib"] = sum(path.stat().st_size for path in records) / len(records) / 1024
    for name, work in {
        "missing_s": lambda: ledger.missing(plan.experiment),
        "leaderboard_s": lambda: leaderboard(ledger),
        "leaderboard_again_s": lambda: leaderboard(ledger),
        "watch_s": lambda: EventLog(ledger.events_path(plan.experiment)).look(),
    }.items():
        started = time.perf_counter()
        work()
        found[name] = time.perf_counter() - started
    found["driver_peak_after_reading_mib"] = peak_mib()
    return found


def group(root: Path) -> dict[str, Any]:
    """A real worker group: what it takes besides the folds. Ray runs already."""
    plan = dry_plan(GROUP_FOLDS, GROUP_SECONDS)
    Ledger(root).open(plan.experiment)
    names = tuple(fold.name for fold in plan.folds)
    first: list[float] = []

    def on_snapshot(snapshot: dict[str, Any]) -> None:
        if snapshot["running"] and not first:
            first.append(time.perf_counter())

    started = time.perf_counter()
    run_group(
        plan,
        names,
        WorkOptions(root),
        on_snapshot,
        lambda: False,
        GROUP_WORKERS,
        make=make_dry_folds,
    )
    wall_s = time.perf_counter() - started
    assert not Ledger(root).missing(plan.experiment)
    inside = GROUP_FOLDS * GROUP_SECONDS
    return {
        "part": "group",
        "folds": GROUP_FOLDS,
        "workers": GROUP_WORKERS,
        "fold_s": GROUP_SECONDS,
        "wall_s": wall_s,
        "until_first_fold_s": first[0] - started,
        "fixed_s": wall_s - inside / GROUP_WORKERS,
        "overhead_per_fold_core_s": (wall_s * GROUP_WORKERS - inside) / GROUP_FOLDS,
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--folds", type=int, default=10_000, help="folds to drive")
    parser.add_argument("--workers", type=int, default=64, help="workers to simulate")
    parser.add_argument("--seconds", type=float, default=0.1, help="that a fold sleeps")
    given = parser.parse_args()
    started = time.perf_counter()
    connect(GROUP_WORKERS)
    connect_s = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as name:
        row = drive(given.folds, given.workers, given.seconds, Path(name) / "drive")
        rows = [row, {**group(Path(name) / "group"), "ray_start_s": connect_s}]
    for each in rows:
        each["load"] = os.getloadavg()[1]  # above the number of cores others were at work too
    report("scale", rows, given.json)


if __name__ == "__main__":
    main()
