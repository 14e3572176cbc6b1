"""Milliseconds per training step: the ordinary loop and a strong plain one against the engine.

`python -m benchmarks.fold_step --json benchmarks/results/fold_step.json`. Micro student, ultralight
teacher, batch 8, one thread (`--device cuda`: one GPU). Each time has its floor beside it: the
step's floating-point operations divided by the matrix rate measured in the same run. The rates of
the step are reported too. `--compile` adds the network with torch.compile, on a GPU as CUDA graphs.
"""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common import arguments, as_row, measure, report
from benchmarks.counting import work_of
from benchmarks.devices import Ceilings, ceilings, choose, peak_bytes
from benchmarks.ordinary import OrdinaryFold, StrongFold
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig, LossConfig, ModelConfig, OptimConfig
from dadnet.folds.view import FoldView
from dadnet.models.precision import matrix_units
from dadnet.training.build import build_model
from dadnet.training.one_fold import OneFold
from dadnet.training.teacher import Teacher

CLIPS = 64


def teacher(input_size: int) -> Teacher:
    """An untrained teacher; its arithmetic is that of a trained one."""
    model = ModelConfig(model_type="baseline", micro_size="ultralight", input_size=input_size)
    network = build_model(ExperimentConfig(model=model), 3, None, generator("bench-teacher"))
    names = ("negative", "positive", "surprise")
    return Teacher(network.state_dict(), model, names, ("bench/none",), "bench", "bench", {})


def fold(input_size: int, device: torch.device) -> FoldView:
    """A fold of noise; all clips are for training."""
    draws = torch.Generator().manual_seed(0)
    flows = torch.randn(CLIPS, 2, input_size, input_size, generator=draws).half()
    rows = torch.arange(CLIPS)
    name = f"bench-{input_size}"
    return FoldView("f0", flows.to(device), (rows % 3).to(device), rows, rows[:0], 3, name)


def config(input_size: int, augmentation: str) -> ExperimentConfig:
    """The measured experiment."""
    return ExperimentConfig(
        model=ModelConfig(micro_size="micro", macro_size="ultralight", input_size=input_size),
        loss=LossConfig(alignment_stages=(2, 3)),
        optim=OptimConfig(batch_size=8, augmentation=augmentation),  # type: ignore[arg-type]
    )


def one_size(
    input_size: int,
    augmentation: str,
    repeats: int,
    device: torch.device,
    ceiling: Ceilings,
    compiled: bool = False,
) -> dict[str, Any]:
    """The row of one input size."""
    made, frozen = config(input_size, augmentation), teacher(input_size)
    view = fold(input_size, device)
    ordinary = OrdinaryFold(made, view.flows.cpu(), view.labels.cpu(), frozen, device)
    ordinary.model.train()
    strong = StrongFold(made, view.flows.cpu(), view.labels.cpu(), frozen, device)
    strong.model.train()
    batches, strong_batches = ordinary.batches(), strong.batches()
    ours = OneFold(made, view, frozen, device)
    ours.model.train()
    picked = torch.arange(8)
    ways: dict[str, Callable[[], object]] = {
        "ordinary": lambda: ordinary.step(*next(batches)),
        "strong": lambda: strong.step(*next(strong_batches)),
        "engine": lambda: ours.training_step(picked),
    }

    if compiled:
        other = OneFold(made, view, frozen, device)
        other.model.train()
        # CUDA graphs on a GPU: one launch instead of hundreds.
        other.model.compile(mode="reduce-overhead" if device.type == "cuda" else None)
        ways["compiled"] = lambda: other.training_step(picked)

    ways["engine"]()  # kept teacher's maps and the optimiser's state are made in the first step
    work = work_of(ways["engine"])
    timings = measure(ways, repeats)
    row = {"input_size": input_size, "augmentation": augmentation, **as_row(timings)}
    for name, way in ways.items():
        seconds = timings[name].median_s
        if name not in ("ordinary", "strong"):
            row[f"{name}_ratio"] = timings["ordinary"].median_s / seconds
            row[f"{name}_ratio_to_strong"] = timings["strong"].median_s / seconds
            row |= ceiling.beside(name, seconds, work)
        if (peak := peak_bytes(way, device)) is not None:
            row[f"{name}_step_mib"] = peak / 2**20
    return row | ceiling.floors(work)


def profile(input_size: int, device: torch.device, steps: int = 20) -> None:
    """Print where the time of the engine's step goes, by kernel."""
    made, view = config(input_size, "hflip"), fold(input_size, device)
    ours = OneFold(made, view, teacher(input_size), device)
    ours.model.train()
    picked = torch.arange(8)
    ours.training_step(picked)
    with torch.profiler.profile() as found:
        for _ in range(steps):
            ours.training_step(picked)
    kernels = [event for event in found.key_averages() if event.self_cpu_time_total]
    whole = sum(event.self_cpu_time_total for event in kernels)
    kernels.sort(key=lambda event: -event.self_cpu_time_total)
    print(f"{input_size} pixels: {whole / steps / 1000:.1f} ms in kernels per step, of which")
    for event in kernels[:10]:
        share, calls = event.self_cpu_time_total / whole, event.count / steps
        print(f"  {share:5.1%}  {calls:5.0f} calls  {event.key}")
    print(f"  {sum(event.count for event in kernels) / steps:.0f} calls in all")


def main() -> None:
    """Measure and report."""
    switches = {
        "compile": "measure the compiled network too, which takes minutes to make",
        "profile": "only print where the time of the engine's step goes",
    }
    given = arguments(__doc__, 15, switches)
    device = choose(given.device)
    torch.set_num_threads(1)
    if given.profile:
        for size in (56, 224):
            profile(size, device)
        return
    ceiling = ceilings(device)
    sizes = [(32, "hflip"), (56, "hflip"), (112, "hflip"), (224, "none"), (224, "reference-v1")]
    with matrix_units("float32"):  # torch's own default has a GPU's convolutions in TF32
        rows = [
            one_size(size, policy, given.repeats, device, ceiling, given.compile)
            for size, policy in sizes
        ]
    report("fold_step", [{"device": device.type, **ceiling.row()}, *rows], given.json)


if __name__ == "__main__":
    main()
