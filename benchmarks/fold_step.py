"""Milliseconds per training step: the ordinary loop against the engine.

`python -m benchmarks.fold_step --json benchmarks/results/fold_step.json`. Micro student, ultralight
teacher, batch 8, one thread. Beside each time stands the floor: the step's floating-point
operations over the matrix rate measured in the same run.
"""

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import arguments, as_row, measure, report
from benchmarks.ordinary import OrdinaryFold
from dadnet.config import ExperimentConfig, LossConfig, ModelConfig, OptimConfig
from dadnet.member import FoldView, Member
from dadnet.seeding import generator
from dadnet.teacher import Teacher, build_model

CLIPS = 64


def teacher(input_size: int) -> Teacher:
    """An untrained teacher: its arithmetic is that of a trained one."""
    model = ModelConfig(model_type="baseline", micro_size="ultralight", input_size=input_size)
    network = build_model(ExperimentConfig(model=model), 3, None, generator("bench-teacher"))
    names = ("negative", "positive", "surprise")
    return Teacher(network.state_dict(), model, names, (), "bench", "bench", {})


def config(input_size: int, augmentation: str) -> ExperimentConfig:
    """The measured experiment."""
    return ExperimentConfig(
        model=ModelConfig(micro_size="micro", macro_size="ultralight", input_size=input_size),
        loss=LossConfig(alignment_stages=(2, 3)),
        optim=OptimConfig(batch_size=8, augmentation=augmentation),  # type: ignore[arg-type]
    )


def matrix_rate() -> float:
    """Measured FLOP/s of a float32 matrix product that fits no cache."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    torch.mm(a, b)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(a, b)
        rates.append(2 * 2048**3 / (time.perf_counter() - started))
    return sorted(rates)[2]


def one_size(input_size: int, augmentation: str, repeats: int, rate: float) -> dict[str, Any]:
    """The row of one input size."""
    made, frozen = config(input_size, augmentation), teacher(input_size)
    draws = torch.Generator().manual_seed(0)
    flows = torch.randn(CLIPS, 2, input_size, input_size, generator=draws).half()
    labels = torch.arange(CLIPS) % 3
    ordinary = OrdinaryFold(made, flows, labels, frozen)
    batches = ordinary.batches()
    rows = torch.arange(CLIPS)
    view = FoldView("bench", flows, labels, rows, rows[:0], 3, f"bench-{input_size}")
    member = Member(made, view, frozen, torch.device("cpu"))
    member.model.train()
    picked = rows[:8]

    with FlopCounterMode(display=False) as counter:
        member.training_step(picked)
    timings = measure(
        {
            "ordinary": lambda: ordinary.step(*next(batches)),
            "engine": lambda: member.training_step(picked),
        },
        repeats,
    )
    row = {"input_size": input_size, "augmentation": augmentation, **as_row(timings)}
    row["ratio"] = timings["ordinary"].median_s / timings["engine"].median_s
    row["floor_ms"] = counter.get_total_flops() / rate * 1000
    return row


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__, repeats=15)
    torch.set_num_threads(1)
    rate = matrix_rate()
    sizes = [(32, "hflip"), (56, "hflip"), (112, "hflip"), (224, "none"), (224, "reference-v1")]
    rows = [one_size(size, policy, given.repeats, rate) for size, policy in sizes]
    report("fold_step", [{"matrix_gflops": rate / 1e9}, *rows], given.json)


if __name__ == "__main__":
    main()
