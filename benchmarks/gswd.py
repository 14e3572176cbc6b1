"""Milliseconds of the Gaussian sliced distance, forward and backward, against POT's.

`python -m benchmarks.gswd --json benchmarks/results/gswd.json`. Features of the aligned stages of a
micro student at 224 and 56, batch 8, one thread. POT (`pip install dadnet-loso[bench]`) sorts the
projected points and so measures the exact sliced distance of the samples; ours compares the first
two moments, in two forms. The report also has the value of each on two Gaussian samples, where both
estimate the same number, and the closed form of that number.
"""

import math
from typing import Any

import ot
import torch
from torch import Tensor

from benchmarks.common import arguments, as_row, measure, report
from dadnet.models.loss import draw_directions, gswd

PROJECTIONS = 100


def one_shape(channels: int, side: int, repeats: int) -> dict[str, Any]:
    """The row of one stage's features."""
    draws = torch.Generator().manual_seed(0)
    student = torch.randn(8, channels, side, side, generator=draws).requires_grad_()
    teacher = torch.randn(8, channels, side, side, generator=draws)
    directions = draw_directions(PROJECTIONS, channels, generator=draws)

    def ours(method: str) -> None:
        gswd(student, teacher, directions=directions, method=method).backward()  # type: ignore[arg-type]

    def pot() -> None:
        points, others = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in (student, teacher))
        distance = ot.sliced_wasserstein_distance(points, others, projections=directions.T)
        distance.square().backward()

    ways = {
        "pot": pot,
        "moments": lambda: ours("moments"),
        "projected": lambda: ours("projected"),
        "auto": lambda: ours("auto"),
    }
    row: dict[str, Any] = {"channels": channels, "points": 8 * side * side}
    row |= as_row(measure(ways, repeats))
    row["auto_ratio"] = row["pot_ms"] / row["auto_ms"]
    return row


def values(points: int, dim: int) -> dict[str, Any]:
    """Both distances of two Gaussian samples, and the limit of both for many points."""
    draws = torch.Generator().manual_seed(1)
    spread, shift = torch.linspace(0.5, 2, dim), torch.full((dim,), 0.3)
    one = torch.randn(points, dim, generator=draws)
    other = torch.randn(points, dim, generator=draws) * spread + shift
    directions = draw_directions(PROJECTIONS, dim, generator=draws)
    pot: Tensor = ot.sliced_wasserstein_distance(one, other, projections=directions.T) ** 2
    scale = (directions.square() @ spread.square()).sqrt()  # sd of the second along each direction
    limit = ((directions @ shift).square() + (scale - 1).square()).mean()
    return {
        "points": points,
        "dim": dim,
        "gswd": float(gswd(one, other, directions=directions)),
        "pot_squared": float(pot),
        "closed_form": float(limit),
        "standard_error": float(1 / math.sqrt(points)),
    }


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__, repeats=25)
    torch.set_num_threads(1)
    shapes = [(192, 14), (384, 7), (192, 3), (384, 1)]
    rows = [one_shape(*shape, given.repeats) for shape in shapes]
    report("gswd", [*rows, values(20_000, 64)], given.json)


if __name__ == "__main__":
    main()
