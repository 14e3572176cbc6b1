"""Milliseconds per fold and step against the number of folds that train as one program.

`python -m benchmarks.stack --json benchmarks/results/stack.json`. Beside the lone step of the
engine, on one CPU thread. `masked` is the largest stack with every second batch one clip short.
"""

from typing import Any

import torch

from benchmarks.common import arguments, as_row, measure, report
from benchmarks.fold_step import teacher
from dadnet.config import ExperimentConfig, LossConfig, ModelConfig, OptimConfig, Size
from dadnet.member import FoldView, Member
from dadnet.member_stack import MemberStack

CLIPS = 64


def members(config: ExperimentConfig, number: int) -> list[Member]:
    """Folds in training on noise; their arithmetic is that of real ones."""
    size = config.model.input_size
    draws = torch.Generator().manual_seed(0)
    flows = torch.randn(CLIPS, 2, size, size, generator=draws).half()
    labels, rows = torch.arange(CLIPS) % 3, torch.arange(CLIPS)
    frozen = teacher(size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = []
    for k in range(number):
        view = FoldView(
            f"f{k}", flows.to(device), labels.to(device), rows, rows[:0], 3, f"bench-{size}"
        )
        made.append(Member(config, view, frozen, device))
    return made


def one_model(student: Size, input_size: int, batch: int, repeats: int) -> dict[str, Any]:
    """The row of one student, input size and batch size."""
    config = ExperimentConfig(
        model=ModelConfig(micro_size=student, macro_size="ultralight", input_size=input_size),
        loss=LossConfig(alignment_stages=(2, 3)),
        optim=OptimConfig(batch_size=batch, augmentation="hflip"),
    )
    rows = torch.arange(batch)
    [lone] = members(config, 1)
    lone.model.train()
    ways = {"lone": lambda: lone.training_step(rows)}
    sizes = {"lone": 1}
    for number in (2, 4, 8):
        stack = MemberStack(members(config, number))
        stack.stack.train()
        every = list(range(number))
        ways[f"k{number}"] = lambda stack=stack, every=every: stack.training_step(
            every, [rows] * len(every)
        )
        sizes[f"k{number}"] = number
    short = [rows if k % 2 else rows[:-1] for k in range(8)]
    ways["k8_masked"] = lambda stack=stack, every=every: stack.training_step(every, short)
    sizes["k8_masked"] = 8
    timings = measure(ways, repeats)
    row: dict[str, Any] = {"student": student, "input_size": input_size, "batch": batch}
    for name, timing in timings.items():
        row |= as_row({name: timing}, per=sizes[name])
    for name in list(ways)[1:]:
        row[f"{name}_ratio"] = row["lone_ms"] / row[f"{name}_ms"]
    return row


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__, repeats=9)
    torch.set_num_threads(1)
    cases: list[tuple[Size, int, int]] = [
        ("ultralight", 32, 8),
        ("micro", 32, 8),
        ("ultralight", 56, 8),
        ("micro", 56, 8),
        ("ultralight", 56, 16),
        ("micro", 112, 8),
    ]
    report("stack", [one_model(*case, given.repeats) for case in cases], given.json)


if __name__ == "__main__":
    main()
