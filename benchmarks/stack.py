"""Milliseconds per fold and step against the number of folds that train as one program.

`python -m benchmarks.stack --json benchmarks/results/stack.json`. The step of a single fold
is measured beside it, on one CPU thread or one GPU (`--device cuda`). `masked` is the largest stack
with one clip missing in every second batch. Rates are those of the fastest full stack.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.common import arguments, as_row, measure, report
from benchmarks.counting import work_of
from benchmarks.devices import Ceilings, ceilings, choose, peak_bytes
from benchmarks.fold_step import fold, teacher
from dadnet.config.experiment import ExperimentConfig, LossConfig, ModelConfig, OptimConfig
from dadnet.config.model import Size
from dadnet.training.fold_stack import FoldStack
from dadnet.training.one_fold import OneFold

# A GPU is bound by kernel launches until a stack is large.
SIZES = {"cpu": (2, 4, 8), "cuda": (2, 4, 8, 16, 32, 64)}


def folds(config: ExperimentConfig, number: int, device: torch.device) -> list[OneFold]:
    """Folds in training on noise; their arithmetic is that of real ones."""
    size = config.model.input_size
    view, frozen = fold(size, device), teacher(size)
    return [OneFold(config, replace(view, name=f"f{k}"), frozen, device) for k in range(number)]


def one_model(
    student: Size,
    input_size: int,
    batch: int,
    repeats: int,
    device: torch.device,
    ceiling: Ceilings,
) -> dict[str, Any]:
    """The row of one student, input size and batch size."""
    config = ExperimentConfig(
        model=ModelConfig(micro_size=student, macro_size="ultralight", input_size=input_size),
        loss=LossConfig(alignment_stages=(2, 3)),
        optim=OptimConfig(batch_size=batch, augmentation="hflip"),
    )
    rows = torch.arange(batch)
    [lone] = folds(config, 1, device)
    lone.model.train()
    ways: dict[str, Callable[[], object]] = {"lone": lambda: lone.training_step(rows)}
    sizes = {"lone": 1}
    for number in SIZES[device.type]:
        stack = FoldStack(folds(config, number, device))
        stack.stack.train()
        step = partial(stack.training_step, list(range(number)))
        ways[f"k{number}"] = partial(step, [rows] * number)
        sizes[f"k{number}"] = number
    masked = f"k{number}_masked"
    ways[masked] = partial(step, [rows if k % 2 else rows[:-1] for k in range(number)])
    sizes[masked] = number
    ways["lone"]()
    work = work_of(ways["lone"])
    timings = measure(ways, repeats)
    row: dict[str, Any] = {"student": student, "input_size": input_size, "batch": batch}
    for name, timing in timings.items():
        row |= as_row({name: timing}, per=sizes[name])
        if (peak := peak_bytes(ways[name], device)) is not None:
            row[f"{name}_step_mib_per_member"] = peak / 2**20 / sizes[name]
    for name in list(ways)[1:]:
        row[f"{name}_ratio"] = row["lone_ms"] / row[f"{name}_ms"]
    best = min((name for name in ways if name != masked), key=lambda name: row[f"{name}_ms"])
    row |= {"best": best, **ceiling.beside("best", row[f"{best}_ms"] / 1000, work)}
    return row | ceiling.floors(work)


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__, repeats=9)
    device = choose(given.device)
    torch.set_num_threads(1)
    ceiling = ceilings(device)
    cases: list[tuple[Size, int, int]] = [
        ("ultralight", 32, 8),
        ("micro", 32, 8),
        ("ultralight", 56, 8),
        ("micro", 56, 8),
        ("ultralight", 56, 16),
        ("micro", 112, 8),
    ]
    if device.type == "cuda":  # on a CPU a stack is slower there, and takes minutes
        cases.append(("micro", 224, 8))
    rows = [one_model(*case, given.repeats, device, ceiling) for case in cases]
    report("stack", [{"device": device.type, **ceiling.row()}, *rows], given.json)


if __name__ == "__main__":
    main()
