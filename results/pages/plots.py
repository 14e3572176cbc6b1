"""Plots as plotly figures in plain JSON; the page's script draws them in the page's colours.

Colours are named by the style's variables (``--accent``), which differ in light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from results.ledger.records import FoldRecord

Plot = dict[str, Any]
COLOURS = ("--accent", "--second", "--third", "--fourth", "--fifth", "--sixth", "--seventh")
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star")


def plain(text: str) -> str:
    """Return a name as plotly shows it: its labels know a few tags, and a name has none."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def marker(number: int) -> dict[str, Any]:
    """Return the mark of one of several classes."""
    colour, symbol = COLOURS[number % len(COLOURS)], SYMBOLS[number % len(SYMBOLS)]
    return {"color": colour, "symbol": symbol, "size": 7, "opacity": 0.75}


def error_bars(above: list[float], below: list[float], width: int) -> dict[str, Any]:
    """Return bars of these lengths above and below the points of a trace."""
    ends = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {**ends, "thickness": 1, "width": width}


def curves(records: Sequence[FoldRecord], names: Sequence[str], title: str) -> Plot | None:
    """Return the median over folds of some curves by epoch, with the middle 80 % as a band."""
    traces: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        band = _band([record.curves[name] for record in records if name in record.curves])
        if not band["middle"]:
            continue
        colour = COLOURS[number % len(COLOURS)]
        epochs = list(range(1, len(band["middle"]) + 1))
        shared = {"x": epochs, "type": "scatter", "hoverinfo": "skip", "showlegend": False}
        line = {"width": 0}
        traces.append({**shared, "y": band["low"], "mode": "lines", "line": line})
        fill = {"fill": "tonexty", "fillcolor": colour}
        traces.append({**shared, "y": band["high"], "mode": "lines", "line": line, **fill})
        dash = ("solid", "dash", "dot", "dashdot")[number % 4]
        traces.append(
            {
                "x": epochs,
                "y": band["middle"],
                "type": "scatter",
                "mode": "lines",
                "name": plain(name.replace("_", " ")),
                "line": {"color": colour, "width": 2, "dash": dash},
            }
        )
    if not traces:
        return None
    layout = figure_layout("epoch", title)
    whole_ticks(layout["xaxis"], 1, max(len(trace["x"]) for trace in traces))
    return {"data": traces, "layout": layout}


def _band(curves_: Sequence[Sequence[float | None]]) -> dict[str, list[float | None]]:
    longest = max((len(curve) for curve in curves_), default=0)
    band: dict[str, list[float | None]] = {"low": [], "middle": [], "high": []}
    for epoch in range(longest):
        here = [curve[epoch] for curve in curves_ if epoch < len(curve)]
        values = [value for value in here if value is not None]
        for name, share in (("low", 0.1), ("middle", 0.5), ("high", 0.9)):
            band[name].append(rounded(float(np.quantile(values, share))) if values else None)
    return band if any(value is not None for value in band["middle"]) else {"middle": []}


def chosen_epochs(records: Sequence[FoldRecord]) -> Plot | None:
    """Return how many folds chose each epoch."""
    chosen = [record.chosen_epoch for record in records if record.chosen_epoch]
    if not chosen:
        return None
    epochs = sorted(set(chosen))
    counts = [chosen.count(epoch) for epoch in epochs]
    colour = {"color": "--accent"}
    bars = {"type": "bar", "x": epochs, "y": counts, "marker": colour, "name": "folds"}
    layout = figure_layout("chosen epoch", "folds")
    whole_ticks(layout["xaxis"], 1, max(*epochs, *(record.epochs_run or 1 for record in records)))
    whole_ticks(layout["yaxis"], 0, max(counts), below=0)
    return {"data": [bars], "layout": layout}


def whole_ticks(axis: dict[str, Any], low: int, high: int, below: float = 0.5) -> None:
    """Give an axis of whole numbers, from `low` to `high`, at least three ticks, at whole numbers.

    Args:
        axis: of a layout; it is changed.
        low: the least number shown; high: the greatest.
        below: room before the least one.
    """
    high = max(high, low + 2)  # one or two numbers alone are no scale
    axis["range"] = [low - below, high + 0.5]
    axis["dtick"] = step = -(-(high - low) // 8)
    axis["tick0"] = low if step == 1 else 0


def worker_numbers(records: Sequence[FoldRecord]) -> dict[str, str]:
    """Return a number for each worker, by its first start: its own name has that of a machine."""
    begun = [
        (str(record.host.get("started_at", "")), str(record.host["worker"]))
        for record in records
        if record.host.get("worker")
    ]
    names = dict.fromkeys(name for _, name in sorted(begun))
    return {name: f"worker {number}" for number, name in enumerate(names, start=1)}


def time_line(records: Sequence[FoldRecord], events: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return when each worker made which fold; tries that failed are marked."""
    spans = []
    for record in records:
        started, seconds = record.host.get("started_at"), record.host.get("seconds")
        if isinstance(started, str) and isinstance(seconds, (int, float)):
            spans.append((_seconds(started), float(seconds), record))
    if not spans:
        return None
    zero = min(start for start, _, _ in spans)
    unit, divisor = _unit(max(start + seconds for start, seconds, _ in spans) - zero)
    workers = worker_numbers(records)

    def of_worker(item: Mapping[str, Any]) -> str:
        return workers.get(str(item.get("worker", "")), "another worker")

    traces: list[dict[str, Any]] = []
    for again in (False, True):
        part = [item for item in spans if (int(item[2].host.get("tries", 1) or 1) > 1) == again]
        if part:
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": "second or later try" if again else "first try",
                    "y": [of_worker(record.host) for _, _, record in part],
                    "x": [rounded(seconds / divisor) for _, seconds, _ in part],
                    "base": [rounded((start - zero) / divisor) for start, _, _ in part],
                    "text": [plain(_what(record)) for _, _, record in part],
                    "textposition": "none",
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {
                        "color": "--second" if again else "--accent",
                        "line": {"color": "--card", "width": 1},
                    },
                }
            )
    lost = [event for event in events if event["event"] in ("returned", "failed")]
    if lost:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "try that failed",
                "x": [rounded((_seconds(str(event["at"])) - zero) / divisor) for event in lost],
                "y": [of_worker(event) for event in lost],
                "text": [plain(str(event.get("fold", ""))) for event in lost],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"symbol": "x", "size": 10, "color": "--second"},
            }
        )
    layout = figure_layout(unit, "")
    layout["barmode"] = "overlay"
    layout["height"] = 130 + 34 * max(2, len(workers))
    layout["yaxis"].update(type="category", autorange="reversed")  # the first worker on top
    return {"data": traces, "layout": layout}


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit of a stretch of time, and its length in seconds."""
    if seconds < 180:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)


def _what(record: FoldRecord) -> str:
    host = record.host
    parts = [record.fold, f"{float(host['seconds']):.0f} s"]
    for name in ("tries", "gpu_name", "gpu_utilisation", "gpu_memory_peak_gib"):
        if name in host:
            parts.append(f"{name.replace('_', ' ')} {host[name]}")
    return ", ".join(parts)


def swings(names: Sequence[str], values: Sequence[float], title: str) -> Plot:
    """Return one bar per subject, from the largest loss to the largest gain."""
    shown = short_names(names)
    bars = {
        "type": "bar",
        "x": [plain(name) for name in shown],
        "y": [rounded(value) for value in values],
        "marker": {"color": ["--accent" if value >= 0 else "--second" for value in values]},
        "name": title,
    }
    layout = figure_layout("subject", title)
    layout["xaxis"].update({"type": "category"})
    return {"data": [bars], "layout": layout}


def short_names(names: Sequence[str]) -> list[str]:
    """Return subjects without their dataset, if it is one dataset and they stay different."""
    short = [name.split("/", 1)[-1] for name in names]
    one = len({name.split("/", 1)[0] for name in names if "/" in name}) == 1
    return short if one and len(set(short)) == len(set(names)) else list(names)


def lines(
    rows: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, scale: str = "linear"
) -> Plot:
    """Return named lines; `scale` is plotly's type of the axis across."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plain(name),
            "x": [rounded(x) for x, _ in points],
            "y": [rounded(y) for _, y in points],
            "line": {"color": COLOURS[number % len(COLOURS)]},
            "marker": {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
        }
        for number, (name, points) in enumerate(rows.items())
    ]
    layout = figure_layout(across, up)
    layout["xaxis"].update(type=scale, nticks=6)  # on a phone plotly would choose two or three
    if scale == "log":
        log_ticks(layout["xaxis"], [x for points in rows.values() for x, _ in points])
    layout["height"] += 19 * len(traces)  # the legend, one name to a line on a narrow page
    return {"data": traces, "layout": layout}


def log_ticks(axis: dict[str, Any], values: Sequence[float]) -> None:
    """Give a logarithmic axis at least three ticks, at 1, 2 and 5 of each decade or fewer."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.05 * (high - low), 0.03)
    axis["type"], axis["range"] = "log", [rounded(low - room), rounded(high + room)]
    for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10)), tuple(range(10, 100))):
        decades = range(math.floor(low - room), math.ceil(high + room))
        every = [
            step * 10.0**decade / (10 if len(steps) > 9 else 1)
            for decade in decades
            for step in steps
        ]
        ticks = [tick for tick in every if low - room <= math.log10(tick) <= high + room]
        if len(ticks) >= 3:
            axis["tickvals"], axis["ticktext"] = ticks, [f"{tick:g}" for tick in ticks]
            return


def figure_layout(across: str, up: str) -> dict[str, Any]:
    """Return the layout of a figure with these titles of its axes."""
    return {
        "height": 300,
        "margin": {"l": 56, "r": 12, "t": 12, "b": 46},
        "xaxis": {"title": {"text": plain(across)}, "automargin": True},
        "yaxis": {"title": {"text": plain(up)}, "automargin": True},
        # It grows upwards, and the margin with it, however many lines it needs.
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "hovermode": "closest",
    }


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def rounded(value: float) -> float | None:
    """Return a number to five digits; None where it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
