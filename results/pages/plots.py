"""Plots as plotly figures in plain JSON; the page's script draws them in the page's colours.

Colours are named by the style's variables (``--accent``), which differ in light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from results.ledger.records import FoldRecord, Prediction
from results.pages.maps import corners

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
    return {"data": traces, "layout": _layout("epoch", title)}


def _band(curves_: Sequence[Sequence[float | None]]) -> dict[str, list[float | None]]:
    longest = max((len(curve) for curve in curves_), default=0)
    band: dict[str, list[float | None]] = {"low": [], "middle": [], "high": []}
    for epoch in range(longest):
        here = [curve[epoch] for curve in curves_ if epoch < len(curve)]
        values = [value for value in here if value is not None]
        for name, share in (("low", 0.1), ("middle", 0.5), ("high", 0.9)):
            band[name].append(_round(float(np.quantile(values, share))) if values else None)
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
    layout = _layout("chosen epoch", "folds")
    last = max(*epochs, *(record.epochs_run or 1 for record in records))
    layout["xaxis"]["range"] = [0.5, last + 0.5]  # one epoch alone has no scale of its own
    layout["yaxis"]["dtick"] = -(-max(counts) // 5)  # whole folds
    return {"data": [bars], "layout": layout}


def time_line(records: Sequence[FoldRecord], events: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return when each worker made which fold, in minutes; tries that failed are marked."""
    spans = []
    for record in records:
        started, seconds = record.host.get("started_at"), record.host.get("seconds")
        if isinstance(started, str) and isinstance(seconds, (int, float)):
            spans.append((_seconds(started), float(seconds), record))
    if not spans:
        return None
    zero = min(start for start, _, _ in spans)
    workers = sorted({str(record.host.get("worker", "")) for _, _, record in spans})
    traces: list[dict[str, Any]] = []
    for again in (False, True):
        part = [item for item in spans if (int(item[2].host.get("tries", 1) or 1) > 1) == again]
        if part:
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": "second or later try" if again else "first try",
                    "y": [plain(str(record.host.get("worker", ""))) for _, _, record in part],
                    "x": [_round(seconds / 60) for _, seconds, _ in part],
                    "base": [_round((start - zero) / 60) for start, _, _ in part],
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
                "x": [_round((_seconds(str(event["at"])) - zero) / 60) for event in lost],
                "y": [plain(str(event.get("worker", ""))) for event in lost],
                "text": [plain(str(event.get("fold", ""))) for event in lost],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"symbol": "x", "size": 10, "color": "--second"},
            }
        )
    layout = _layout("minutes", "worker")
    layout["barmode"] = "overlay"
    layout["height"] = 120 + 34 * max(2, len(workers))
    layout["yaxis"]["type"] = "category"
    return {"data": traces, "layout": layout}


def _what(record: FoldRecord) -> str:
    host = record.host
    parts = [record.fold, f"{float(host['seconds']):.0f} s"]
    for name in ("tries", "gpu_name", "gpu_utilisation", "gpu_memory_peak_gib"):
        if name in host:
            parts.append(f"{name.replace('_', ' ')} {host[name]}")
    return ", ".join(parts)


def clip_map(
    rows: Sequence[Prediction], locations: Mapping[str, tuple[float, float]], classes: Sequence[str]
) -> Plot | None:
    """Return the clips between the corners of the classes; colour and symbol show the truth."""
    if not locations:
        return None
    ends = corners(len(classes))
    outline = [*ends.tolist(), ends[0].tolist()]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [_round(x) for x, _ in outline],
            "y": [_round(y) for _, y in outline],
            "line": {"color": "--faint"},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
    for number, name in enumerate(classes):
        part = [row for row in rows if row.label == name and row.clip_id in locations]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": plain(name),
                "x": [_round(locations[row.clip_id][0]) for row in part],
                "y": [_round(locations[row.clip_id][1]) for row in part],
                "text": [plain(f"{row.clip_id}: {row.prediction}") for row in part],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": marker(number),
            }
        )
    layout = _layout("", "")
    layout["xaxis"]["visible"] = False
    layout["yaxis"].update(visible=False, scaleanchor="x")
    layout["height"] = 420
    places = ((_round(1.16 * float(x)), _round(1.12 * float(y))) for x, y in ends)
    layout["annotations"] = [
        {"x": x, "y": y, "text": plain(name), "showarrow": False}
        for name, (x, y) in zip(classes, places, strict=True)
    ]
    return {"data": traces, "layout": layout}


def swings(names: Sequence[str], values: Sequence[float], title: str) -> Plot:
    """Return one bar per subject, from the largest loss to the largest gain."""
    bars = {
        "type": "bar",
        "x": [plain(name) for name in names],
        "y": [_round(value) for value in values],
        "marker": {"color": ["--accent" if value >= 0 else "--second" for value in values]},
        "name": title,
    }
    layout = _layout("subject", title)
    layout["xaxis"].update({"type": "category", "showticklabels": len(names) <= 30})
    return {"data": [bars], "layout": layout}


def lines(
    rows: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, scale: str = "linear"
) -> Plot:
    """Return named lines; `scale` is plotly's type of the axis across."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plain(name),
            "x": [_round(x) for x, _ in points],
            "y": [_round(y) for _, y in points],
            "line": {"color": COLOURS[number % len(COLOURS)]},
            "marker": {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
        }
        for number, (name, points) in enumerate(rows.items())
    ]
    layout = _layout(across, up)
    layout["xaxis"].update(type=scale, dtick=1)
    layout["height"] += 19 * len(traces)  # the legend, one name to a line on a narrow page
    return {"data": traces, "layout": layout}


def _layout(across: str, up: str) -> dict[str, Any]:
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


def _round(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
