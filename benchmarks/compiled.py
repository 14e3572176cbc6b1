"""Whether torch.compile pays on a CPU: steps of a compiled network, and what compiling costs.

`python -m benchmarks.compiled --json benchmarks/results/compiled.json`. One thread. Each case is
measured in a process of its own, first with an empty cache of torch's compiler and then again with
the kept one. A compiled network is one fold: what the compiler makes of a stack would depend on the
stack's size, and so would the numbers of a fold. Beside it are a lone fold and a stack of 8 of the
engine. `run` is the time of 24 folds of 30 epochs of 18 steps on one core, compiling included.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.common import arguments, as_row, measure, report
from benchmarks.fold_step import config, fold, teacher
from dadnet.config.experiment import DataConfig, ExperimentConfig
from dadnet.config.presets import get_preset
from dadnet.models.baselines.ststnet import STSTNet
from dadnet.training.fold_stack import FoldStack
from dadnet.training.loop import keep_freed_memory
from dadnet.training.one_fold import OneFold

CPU = torch.device("cpu")
STEPS = 24 * 30 * 18
FOLDS = 8  # of the stack
CASES = {"student 32": 32, "student 56": 56, "student 224": 224, "ststnet 28": 28}


def one_case(name: str, repeats: int) -> dict[str, Any]:
    """The row of one case, in this process."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as a run does
    size = CASES[name]
    if name.startswith("ststnet"):
        made: ExperimentConfig = get_preset("ststnet", DataConfig())
        view, frozen, batch = fold(size, CPU), None, made.optim.batch_size
        every = torch.arange(batch) % len(view.fit)
    else:
        made, view, frozen, batch = config(size, "hflip"), fold(size, CPU), teacher(size), 8
        every = torch.arange(batch)

    def folds(number: int) -> list[OneFold]:
        views = [replace(view, name=f"f{k}") for k in range(number)]
        return [OneFold(made, of_fold, frozen, CPU) for of_fold in views]

    ways: dict[str, Callable[[], object]] = {}
    [other] = folds(1)
    network = other.model.train()
    if isinstance(network, STSTNet):  # with torch's own layers, which the compiler knows
        network._streams = lambda x: network.largest(network.norm(network.convolution(x).relu()))  # type: ignore[method-assign]
        [lone] = folds(1)
        lone.model.train()
        ways["lone"] = lambda: lone.training_step(every)
    else:
        for way, number in (("lone", 1), ("stack", FOLDS)):
            ways[way] = _step(folds(number), every)
    network.compile()
    started = time.perf_counter()
    for rows in (every, every[:-1]):  # batches of a fold have two sizes
        other.training_step(rows)
    seconds = time.perf_counter() - started
    ways["compiled"] = lambda: other.training_step(every)
    timings = measure(ways, repeats)
    row: dict[str, Any] = {"compiling_s": seconds}
    for way, timing in timings.items():
        row |= as_row({way: timing}, per=FOLDS if way == "stack" else 1)
        row[f"{way}_run_s"] = STEPS * row[f"{way}_ms"] / 1000
    row["compiled_run_s"] += seconds
    return row


def _step(members: list[OneFold], rows: torch.Tensor) -> Callable[[], object]:
    stack = FoldStack(members)
    stack.stack.train()
    chosen = list(range(len(members)))
    return lambda: stack.training_step(chosen, [rows] * len(members))


def in_process(name: str, repeats: int, cache: str) -> dict[str, Any]:
    """The row of one case, in a process of its own."""
    code = f"from benchmarks import compiled; compiled.print_case({name!r}, {repeats})"
    env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def print_case(name: str, repeats: int) -> None:
    """Print the row of one case as JSON."""
    print(json.dumps(one_case(name, repeats)))


def main() -> None:
    """Measure and report."""
    given, rows = arguments(__doc__, 9), []
    for name in CASES:
        with TemporaryDirectory() as cache:
            for kept in (False, True):
                row = in_process(name, given.repeats, cache)
                rows.append({"case": name, "cache": "kept" if kept else "empty", **row})
    report("compiled", rows, given.json)


if __name__ == "__main__":
    main()
