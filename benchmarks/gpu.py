"""The engine on a GPU: right first, then how fast, in one run of under eight minutes.

`python -m benchmarks.gpu --json benchmarks/results/gpu.json`. Micro student, ultralight teacher,
batch 8, augmentation hflip. In this order:

- gradients of the first step at K = 1, 8 and 64 against float64 on the CPU, resume bit for bit;
- milliseconds per fold and step: the ordinary loop with a DataLoader, the strongest plain loop
  (clips on the device, batched augmentation, fused AdamW), a single fold and stacks of 8 to 256,
  eager and as one CUDA graph; beside the floors, which are the step's arithmetic at the measured
  matrix rate and its weights' bytes at the measured copy rate;
- the composite of 68 folds by `run_loso`, from the command to the last record;
- the table, last.

`--device cpu --tiny` runs the same lines with small sizes in a minute.
"""

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.common import machine, measure, write
from benchmarks.counting import work_of
from benchmarks.devices import Ceilings, ceilings, choose, peak_bytes
from benchmarks.fold_step import teacher
from benchmarks.gpu_checks import check_gradients, check_resume, folds_of, numbered, random_view
from benchmarks.ordinary import OrdinaryFold, StrongFold
from dadnet.base.errors import DadnetError
from dadnet.config.experiment import (
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    Precision,
)
from dadnet.models.precision import matrix_units
from dadnet.training.fold_stack import FoldStack
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.graph import Capture
from dadnet.training.stack_size import is_out_of_memory

BATCH = 8
GRAPHS = (False, True)


@dataclass(frozen=True)
class Plan:
    """What is measured; `tiny` is for machines without a GPU."""

    sizes: tuple[int, ...] = (32, 56, 112, 224)
    stacks: tuple[int, ...] = (8, 16, 64, 256)
    precisions: tuple[Precision, ...] = ("float32", "tf32", "bf16")
    checked: tuple[int, ...] = (1, 8, 64)
    clips: int = 160
    repeats: int = 5
    composite: tuple[tuple[int, int, int], ...] = ((32, 68, 100), (224, 68, 100))


TINY = Plan((32,), (2, 4), ("float32", "bf16"), (1, 4), 40, 3, ((32, 6, 2),))


def config_of(size: int, precision: Precision) -> ExperimentConfig:
    """The measured experiment; without warm-up, so that the first step changes weights."""
    return ExperimentConfig(
        model=ModelConfig(micro_size="micro", macro_size="ultralight", input_size=size),
        loss=LossConfig(alignment_stages=(2, 3)),
        optim=OptimConfig(
            batch_size=BATCH, augmentation="hflip", warmup_epochs=0, precision=precision
        ),
    )


def ways_of(
    config: ExperimentConfig, plan: Plan, device: torch.device
) -> Iterator[tuple[str, int, Callable[[], Callable[[], object]]]]:
    """Name, folds, and a function that makes one epoch of the way."""
    size = config.model.input_size
    view = random_view(config, plan.clips, 0, device)
    fit = len(view.fit)
    cpu = (view.flows[:fit].cpu(), view.labels[:fit].cpu())
    if config.optim.precision == "float32":
        yield "ordinary", 1, lambda: OrdinaryFold(config, *cpu, teacher(size), device).epoch
        yield "strong", 1, lambda: StrongFold(config, *cpu, teacher(size), device).epoch
    for graph in GRAPHS if device.type == "cuda" else (False,):
        for k in (1, *plan.stacks) if graph or device.type == "cpu" else (1, plan.stacks[0]):
            folds = partial(folds_of, config, view, numbered(k), device)
            yield f"{'captured' if graph else 'eager'} {k}", k, partial(_epoch, folds, graph)


def _epoch(folds: Callable[[], list[OneFold]], graph: bool) -> Callable[[], object]:
    """One epoch of a stack; a step that is not captured where it should be is an error."""

    def refuse(why: str) -> None:
        raise DadnetError(why)

    return FoldStack(folds(), Capture(refuse, forced=True) if graph else None).train_epoch


def time_size(
    size: int, precision: Precision, plan: Plan, device: torch.device
) -> Iterator[dict[str, Any]]:
    """A row for each way at one size and precision; too little memory is no failure."""
    config = config_of(size, precision)
    steps = -(-(plan.clips - plan.clips // 5) // BATCH)
    for name, folds, make in ways_of(config, plan, device):
        row: dict[str, Any] = {"way": name, "input_size": size, "precision": precision}
        try:
            with matrix_units(precision):
                epoch = make()
                epoch()
                timing = measure({name: epoch}, plan.repeats)[name]
                peak = peak_bytes(epoch, device)
        except (RuntimeError, DadnetError) as error:
            memory = is_out_of_memory(error) or "out of memory" in str(error)
            note = "out of memory" if memory else str(error)[:500]
            yield row | {"ms": None, "ok": memory, "note": note}
            continue
        finally:
            epoch = None  # its memory goes before the next way is made
            if device.type == "cuda":
                torch.cuda.empty_cache()
        per = folds * steps / 1000
        row |= {"ms": timing.median_s / per, "low": timing.low_s / per, "high": timing.high_s / per}
        yield row | {"peak_mib": None if peak is None else peak / 2**20}


def floors(size: int, device: torch.device, ceiling: Ceilings) -> dict[str, Any]:
    """The floors of one fold's step: arithmetic, and the fewest bytes."""
    config = config_of(size, "float32")
    view = random_view(config, 2 * BATCH, 0, device)
    view = replace(view, fit=torch.arange(BATCH), val=torch.arange(0))
    [fold] = folds_of(config, view, ["f0"], device)
    fold.train_epoch()
    flop = work_of(fold.train_epoch).flop
    weights = sum(p.nbytes for p in fold.model.parameters() if p.requires_grad)
    # AdamW reads weight, gradient and two moments, and writes all but the gradient.
    return {
        "way": "floor",
        "input_size": size,
        "precision": "float32",
        "ms": flop / ceiling.flops * 1000,
        "bytes_ms": 7 * weights / ceiling.nbytes * 1000,
        "gflop": flop / 1e9,
    }


def composites(plan: Plan, until: float) -> Iterator[dict[str, Any]]:
    """`run_loso` over the composite, each in a process of its own, while there is time."""
    for size, subjects, epochs in plan.composite:
        left = until - time.monotonic()
        words = f"--sizes {size} --subjects {subjects} --epochs {epochs}"
        row: dict[str, Any] = {"way": "composite", "input_size": size, "epochs": epochs}
        started = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.composite", *words.split()],
                timeout=max(left, 1),
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            yield row | {"note": f"stopped after {left:.0f} s"}
            return
        if done.returncode:
            yield row | {"ok": False, "note": (done.stdout + done.stderr)[-2000:]}
            continue
        yield row | {"seconds": time.monotonic() - started, "note": done.stdout[-400:]}


def show(rows: list[dict[str, Any]]) -> None:
    """The table: a row per way and precision, a column per size; in float32 ratios to `strong`."""
    sizes = sorted({row["input_size"] for row in rows if "ms" in row})
    table = Table("way", "precision", *(f"{size} px" for size in sizes), title="ms per fold step")
    times = {(r["way"], r["precision"], r["input_size"]): r["ms"] for r in rows if "ms" in r}
    for way, precision in dict.fromkeys((w, p) for w, p, _ in times):
        cells = []
        for size in sizes:
            ms, plain = times.get((way, precision, size)), times.get(("strong", precision, size))
            ratio = f" ({plain / ms:.1f}x)" if ms and plain else ""
            cells.append("-" if ms is None else f"{ms:.4f}{ratio}")
        table.add_row(way, precision, *cells)
    Console(width=120).print(table)


def main() -> int:
    """Check, measure, and report; the status is 3 where a check or a way fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a CPU")
    parser.add_argument("--minutes", type=float, default=8.0, help="limit of the whole run")
    parser.add_argument("--only", choices=("checks", "steps", "composite"), help="one part alone")
    for name, kind in (("sizes", int), ("stacks", int), ("precisions", str)):
        parser.add_argument(f"--{name}", type=kind, nargs="+", help="instead of the usual ones")
    given = parser.parse_args()
    device, plan = choose(given.device), TINY if given.tiny else Plan()
    chosen = {n: tuple(v) for n in ("sizes", "stacks", "precisions") if (v := getattr(given, n))}
    plan = replace(plan, **chosen)
    torch.set_num_threads(1)
    until, rows = time.monotonic() + 60 * given.minutes, list[dict[str, Any]]()

    def keep(found: Iterator[dict[str, Any]], until: float) -> None:
        for row in found:
            print(row, flush=True)
            rows.append(row)
            if given.json:  # whatever happens later, this much is kept
                write("gpu", rows, given.json)
            if time.monotonic() > until:
                print("out of time", flush=True)
                return

    ceiling = ceilings(device)
    print(machine(), ceiling.row(), flush=True)
    rows.append({"device": device.type, **ceiling.row()})
    if given.only in (None, "checks"):
        keep(checks(plan, device), until)
    if given.only in (None, "steps"):
        grid = itertools.product(plan.precisions, plan.sizes)
        keep((floors(size, device, ceiling) for size in plan.sizes), until)
        keep((row for p, s in grid for row in time_size(s, p, plan, device)), until)
    if given.only in (None, "composite"):
        keep(composites(plan, until), until)
    show(rows)
    return 3 if any(not row.get("ok", True) for row in rows) else 0


def checks(plan: Plan, device: torch.device) -> Iterator[dict[str, Any]]:
    """All checks of the plan."""
    graphs = GRAPHS if device.type == "cuda" else (False,)
    small = plan.sizes[0]
    for precision, k, graph in itertools.product(plan.precisions, plan.checked, graphs):
        yield check_gradients(config_of(small, precision), k, device, k, graph)
    for size, graph in itertools.product(plan.sizes[1:], graphs):
        yield check_gradients(config_of(size, "float32"), plan.checked[0], device, size, graph)
    for graph in graphs:
        yield check_resume(config_of(small, "float32"), plan.checked[1], device, graph)


if __name__ == "__main__":
    sys.exit(main())
