"""Two workers with one thread each against one worker with two: steps per second of a machine.

`python -m benchmarks.threads --json benchmarks/results/threads.json`. Micro student, ultralight
teacher, batch 8, on as many cores as the machine has. `workers` is the rate of one process per
core, each training one fold on one thread; `threads` that of one process with all cores. The two
ways take turns.
"""

import os
import time
from statistics import median
from typing import Any

import torch

from benchmarks.common import arguments, report
from benchmarks.fold_step import config, fold, teacher
from dadnet.training.stack_size import first_step
from orchestration.folds.cost import busy_neighbours

TIMED_S = 3.0


def rate(input_size: int, threads: int, others: int) -> float:
    """Steps per second of one process while others train beside it."""
    device = torch.device("cpu")
    view, frozen = fold(input_size, device), teacher(input_size)
    made = config(input_size, "hflip")
    with busy_neighbours(made, [view], frozen, others):
        torch.set_num_threads(threads)
        step = first_step(made, [view], frozen, device)
        step()
        number, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < TIMED_S:
            step()
            number += 1
    return number / seconds


def one_size(input_size: int, repeats: int) -> dict[str, Any]:
    """The row of one input size."""
    cores = os.cpu_count() or 1
    workers, threads = [], []
    for _ in range(repeats):
        workers.append(cores * rate(input_size, 1, cores - 1))
        threads.append(rate(input_size, cores, 0))
    return {
        "input_size": input_size,
        "cores": cores,
        "workers_steps_per_s": median(workers),
        "threads_steps_per_s": median(threads),
        "ratio": median(workers) / median(threads),
    }


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__, repeats=5)
    rows = [one_size(size, given.repeats) for size in (32, 56, 112, 224)]
    report("threads", rows, given.json)


if __name__ == "__main__":
    main()
