"""The forest plot of a board: a line per row, its estimate and interval on one scale."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from results.leaderboard.rows import MOST_ROWS, Group


@dataclass(frozen=True)
class ForestRow:
    """One line.

    Attributes:
        name, status: of the row; low, value, high: its estimate and interval.
        x: the three in per cent of the width.
    """

    name: str
    status: str
    low: float
    value: float
    high: float
    x: tuple[float, float, float]


@dataclass(frozen=True)
class Forest:
    """The plot.

    Attributes:
        rows: in the order of the board.
        ticks: place in per cent of the width, and text; best: place of the best ranked row.
        data: rows as JSON (name, low, value, high), for plots in files.
    """

    rows: Sequence[ForestRow]
    ticks: Sequence[tuple[float, str]]
    best: float | None
    data: str


def make_forest(group: Group) -> Forest | None:
    """Return the plot of a group; None with fewer than two rows that have an interval."""
    found = []
    for row in group.rows[:MOST_ROWS]:
        if row.summary is None:
            continue
        value, interval = row.summary.uf1.value, row.summary.uf1.interval
        if value is not None and interval.low is not None and interval.high is not None:
            found.append((row, interval.low, value, interval.high))
    if len(found) < 2:
        return None
    first = math.floor(10 * min(low for _, low, _, _ in found) + 1e-9)
    last = max(first + 2, math.ceil(10 * max(high for *_, high in found) - 1e-9))
    step = 1 if last - first <= 5 else 2

    def place(value: float) -> float:
        return round(4 + 92 * (10 * value - first) / (last - first), 2)

    rows = [
        ForestRow(row.name, row.status, low, value, high, (place(low), place(value), place(high)))
        for row, low, value, high in found
    ]
    ranked = [item.x[1] for item in rows if item.status == "ranked"]
    ticks = [(place(n / 10), f"{n / 10:.1f}") for n in range(first, last + 1, step)]
    data = [(item.name, *(round(x, 4) for x in (item.low, item.value, item.high))) for item in rows]
    return Forest(rows, ticks, ranked[0] if ranked else None, json.dumps(data))
