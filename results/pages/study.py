"""The plots of a study, from the ledger's record of it, in the style of the other pages."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from results.ledger.studies import StudyRecord, TrialRow
from results.pages.flow_picture import LEVELS, levels_picture
from results.pages.plots import Plot, figure_layout, log_ticks, plain, rounded, whole_ticks
from results.statistics.importances import (
    FEWEST,
    common_parameters,
    complete_trials,
    is_log,
    is_number,
    parameter_importances,
    varied_parameters,
)

_HOVER = "%{text}<extra></extra>"


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title, text: above its plots; text: how to read them.
        plots: name -> caption and plot.
    """

    title: str
    text: str
    plots: Mapping[str, tuple[str, Plot]]


def sections(record: StudyRecord) -> list[Section]:
    """Return the parts of a study's page; those that its trials give."""
    makers: tuple[Callable[[StudyRecord], Section | None], ...] = (
        _history, _front, _importances, _slices, _parallel, _contour, _reports
    )  # fmt: skip
    return [part for make in makers if (part := make(record)) is not None]


def _history(record: StudyRecord) -> Section | None:
    rows = [row for row in record.trials if row.val_uf1 is not None]
    done = complete_trials(record)
    if not done:
        return None
    best, so_far = -math.inf, []
    for row in done:
        best = max(best, _uf1(row))
        so_far.append((row.number, best))
    line = {
        "type": "scatter", "mode": "lines", "name": "best so far", "hoverinfo": "skip",
        "x": [x for x, _ in so_far], "y": [rounded(y) for _, y in so_far],
        "line": {"color": "--accent", "shape": "hv"},
    }  # fmt: skip
    stopped = [row for row in rows if row.state == "PRUNED"]
    traces = [line, _points(done, [row.number for row in done], "complete", "--accent", "circle")]
    if stopped:
        name = "stopped early, on the folds it saw"
        traces.append(_points(stopped, [row.number for row in stopped], name, "--second", "x"))
    layout = figure_layout("trial", "val UF1")
    whole_ticks(layout["xaxis"], 0, record.trials[-1].number)
    caption = "Pooled UF1 on the validation subjects of each trial, in the order of the proposals"
    return Section("History", "", {"history": (caption, {"data": traces, "layout": layout})})


def _front(record: StudyRecord) -> Section | None:
    rows = complete_trials(record)
    if len(record.objectives) < 2 or not rows:
        return None
    cost = [(row.values or ())[1] for row in rows]
    kept = [
        n for n, row in enumerate(rows)
        if not any(_beats(other, row) for other in rows)
    ]  # fmt: skip
    kept.sort(key=lambda n: cost[n])
    traces = [_points(rows, cost, "trials", "--muted", "circle")]
    best = _points([rows[n] for n in kept], [cost[n] for n in kept], "front", "--accent", "star")
    best.update(mode="lines+markers", line={"color": "--accent", "shape": "hv"})
    layout = figure_layout(record.objectives[1].replace("_", " "), "val UF1")
    text = "No trial has a higher UF1 for the same or a lower cost than those on the front."
    plot = {"data": [*traces, best], "layout": layout}
    return Section("Pareto front", text, {"front": (f"UF1 and {record.objectives[1]}", plot)})


def _beats(one: TrialRow, other: TrialRow) -> bool:
    (high, low), (uf1, cost) = (one.values or ())[:2], (other.values or ())[:2]
    return high >= uf1 and low <= cost and (high, low) != (uf1, cost)


def _importances(record: StudyRecord) -> Section | None:
    shares = parameter_importances(record)
    if not shares:
        return None
    names = list(shares)[::-1]
    bars = {
        "type": "bar", "orientation": "h", "y": [plain(name) for name in names],
        "x": [rounded(100 * shares[name]) for name in names], "marker": {"color": "--accent"},
        "hovertemplate": "%{x:.1f} %<extra></extra>", "name": "importance",
    }  # fmt: skip
    layout = figure_layout("share, %", "")
    layout["height"] = max(280, 110 + 30 * len(names))
    layout["yaxis"]["type"] = "category"
    layout["xaxis"]["range"] = [0, 100]
    text = (
        "How much each parameter tells good trials from the others (PED-ANOVA, Watanabe et al. "
        "2023). With few trials these shares are rough."
    )
    plot = {"data": [bars], "layout": layout}
    return Section("Importances", text, {"importances": ("Share of each parameter", plot)})


def _slices(record: StudyRecord) -> Section | None:
    plots = {}
    for number, name in enumerate(varied_parameters(record)):
        rows = [row for row in complete_trials(record) if name in row.params]
        values = [row.params[name] for row in rows]
        layout = figure_layout(name, "val UF1")
        shown = _axis(layout["xaxis"], record, name, values)
        best = [n for n, row in enumerate(rows) if row.number == record.winner]
        traces = [_points(rows, shown, "trials", "--accent", "circle")]
        if best:
            star = _points([rows[best[0]]], [shown[best[0]]], "winner", "--second", "star")
            star["marker"]["size"] = 13
            traces.append(star)
        layout["showlegend"] = False
        plots[f"slice-{number}"] = (f"Val UF1 by {name}", {"data": traces, "layout": layout})
    text = "One mark per complete trial; the star is the winner. The other parameters vary too."
    return Section("Slices", text, plots) if plots else None


def _parallel(record: StudyRecord) -> Section | None:
    names = common_parameters(record, varied_parameters(record))
    rows = [row for row in complete_trials(record) if all(name in row.params for name in names)]
    if not names or len(rows) < FEWEST:
        return None
    scales = [_Scale([row.params[name] for row in rows], is_log(record, name)) for name in names]
    scales.append(_Scale([_uf1(row) for row in rows], False))
    limit = float(np.quantile([_uf1(row) for row in rows], 0.8))
    traces = []
    for good in (False, True):
        for row in (row for row in rows if (_uf1(row) >= limit) == good):
            values = [*(row.params[name] for name in names), _uf1(row)]
            look: dict[str, Any] = {"color": "--accent", "width": 2.5}
            look = look if good else {"color": "--faint", "width": 1.5}
            heights = [rounded(s.height(v)) for s, v in zip(scales, values, strict=True)]
            mark = {"color": look["color"], "size": 6}
            traces.append(
                {
                    "type": "scatter", "mode": "lines+markers", "x": list(range(len(values))),
                    "y": heights, "line": look, "marker": mark, "hovertemplate": _HOVER,
                    "text": [_told(row)] * len(values), "showlegend": False,
                }
            )  # fmt: skip
    layout = figure_layout("", "")
    titles = [*(plain(name) for name in names), "val UF1"]
    last = len(titles) - 1
    # On a phone the names are turned: room for the last one, which plotly would leave out.
    layout["xaxis"].update(
        tickvals=list(range(last + 1)), ticktext=titles, ticklabeloverflow="allow"
    )
    layout["xaxis"]["range"] = [-0.4, last + 0.7]
    layout["yaxis"].update(visible=False, range=[-0.12, 1.12])
    layout["annotations"] = [
        {"x": x, "y": y, "text": plain(text), "showarrow": False, "yanchor": side}
        for x, scale in enumerate(scales)
        for y, text, side in ((1.02, scale.ends[1], "bottom"), (-0.02, scale.ends[0], "top"))
    ]
    layout["height"] = 380
    text = (
        "One line per complete trial; the best fifth is coloured. The ends of each axis are above "
        "and below it."
    )
    plot = {"data": traces, "layout": layout}
    return Section("Parallel coordinates", text, {"parallel": ("Settings and val UF1", plot)})


def _contour(record: StudyRecord) -> Section | None:
    numbers = [name for name in varied_parameters(record) if is_number(record, name)]
    order = list(parameter_importances(record))
    numbers.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    pair = ["alignment_weight", "num_projections"]
    if not set(pair) <= set(numbers):
        pair = numbers[:2]
    rows = [row for row in complete_trials(record) if all(name in row.params for name in pair)]
    if len(pair) < 2 or len(rows) < FEWEST + 1:
        return None
    layout = figure_layout(*pair)
    places = []
    for axis, name in zip(("xaxis", "yaxis"), pair, strict=True):
        values = [float(row.params[name]) for row in rows]
        _axis(layout[axis], record, name, values)
        if layout[axis].get("type") == "log":
            values = [math.log10(value) for value in values]
        low, high = min(values), max(values)
        room = 0.06 * (high - low)
        layout[axis].update(range=[rounded(low - room), rounded(high + room)], showgrid=False)
        places.append([(v - low + room) / (high - low + 2 * room) for v in values])
    picture = levels_picture(np.array(places), np.array([_uf1(row) for row in rows]))
    layout["images"] = [
        {
            "source": f"data:image/png;base64,{base64.b64encode(picture).decode()}",
            "xref": "paper", "yref": "paper", "x": 0, "y": 1, "sizex": 1, "sizey": 1,
            "sizing": "stretch", "layer": "below", "opacity": 0.55,
        }
    ]  # fmt: skip
    layout["height"] = 420
    across = [row.params[pair[0]] for row in rows]
    points = _points(rows, across, "trials", "--ink", "circle")
    points["y"] = [row.params[pair[1]] for row in rows]
    title = (
        "Weight and projections of the alignment" if "alignment_weight" in pair and
        "num_projections" in pair else f"Contour of {pair[0]} and {pair[1]}"
    )  # fmt: skip
    text = (
        f"Val UF1 between the trials, in {LEVELS} levels: the darker, the higher. It is "
        "interpolated (weights fall with the squared distance), so only the marks are measured."
    )
    plot = {"data": [points], "layout": layout}
    return Section(title, text, {"contour": (f"Val UF1 by {pair[0]} and {pair[1]}", plot)})


def _reports(record: StudyRecord) -> Section | None:
    rows = [row for row in record.trials if row.reports]
    if not rows:
        return None
    traces = []
    for state, colour in (("COMPLETE", "--accent"), ("FAIL", "--muted"), ("PRUNED", "--second")):
        name = {"COMPLETE": "complete", "FAIL": "failed", "PRUNED": "stopped early"}[state]
        symbol = "x" if state == "PRUNED" else "circle"
        for number, row in enumerate(r for r in rows if r.state == state):
            traces.append(
                {
                    "type": "scatter", "mode": "lines+markers", "name": name, "legendgroup": state,
                    "showlegend": number == 0, "x": [step for step, _ in row.reports],
                    "y": [rounded(value) for _, value in row.reports], "opacity": 0.75,
                    "line": {"color": colour, "width": 1.5}, "hovertemplate": _HOVER,
                    "marker": {"color": colour, "size": 6, "symbol": symbol},
                    "text": [_told(row)] * len(row.reports),
                }
            )  # fmt: skip
    # Older studies were judged by log-loss, with a minus; UF1 is never negative.
    old = any(value < 0 for row in rows for _, value in row.reports)
    layout = figure_layout("report", "minus val log-loss" if old else "val UF1")
    whole_ticks(layout["xaxis"], 1, max(step for row in rows for step, _ in row.reports))
    text = (
        "After each fold (with asha, after each epoch) a trial reports its "
        f"{'log-loss, with a minus' if old else 'UF1'}, of that fold's validation subjects. All "
        "trials take the folds in one order, so the reports at one step are of the same fold. The "
        "rule stops a trial that is clearly worse than the others there. No test clip is in it."
    )
    caption = "Reports of each trial, by step"
    plot = {"data": traces, "layout": layout}
    return Section("What the pruning rule saw", text, {"reports": (caption, plot)})


class _Scale:
    """Values of one parameter as heights from 0 to 1."""

    def __init__(self, values: Sequence[Any], logarithmic: bool) -> None:
        self._words: list[str] = []
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            self._log = logarithmic and min(values) > 0
            self._low, self._high = self._number(min(values)), self._number(max(values))
            self.ends = f"{min(values):.3g}", f"{max(values):.3g}"
        else:
            self._words = sorted({str(value) for value in values})
            self.ends = self._words[0], self._words[-1]

    def _number(self, value: float) -> float:
        return math.log10(value) if self._log else float(value)

    def height(self, value: Any) -> float:
        """Return the height of a value."""
        if self._words:
            return self._words.index(str(value)) / max(1, len(self._words) - 1)
        return (self._number(value) - self._low) / ((self._high - self._low) or 1.0)


def _axis(axis: dict[str, Any], record: StudyRecord, name: str, values: Sequence[Any]) -> list[Any]:
    """Set an axis for a parameter; return the values as it shows them."""
    if not is_number(record, name):
        axis["type"] = "category"
        return [plain(str(value)) for value in values]
    if is_log(record, name) and min(values) > 0:
        log_ticks(axis, [float(value) for value in values])
    return list(values)


def _points(
    rows: Sequence[TrialRow], across: Sequence[Any], name: str, colour: str, symbol: str
) -> dict[str, Any]:
    """Return a mark per trial, at its UF1."""
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": list(across),
        "y": [rounded(_uf1(row)) for row in rows], "text": [_told(row) for row in rows],
        "hovertemplate": _HOVER, "marker": {"color": colour, "symbol": symbol, "size": 8},
    }  # fmt: skip


def _told(row: TrialRow) -> str:
    """Return what is said of a trial where a reader points at it."""
    settings = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in sorted(row.params.items())]  # fmt: skip
    uf1 = "" if row.val_uf1 is None else f"val UF1 {row.val_uf1:.4f}"
    parts = [f"trial {row.number}", uf1, *settings]
    return "<br>".join(plain(part) for part in parts if part)


def _uf1(row: TrialRow) -> float:
    return float(row.values[0] if row.values else row.val_uf1 or 0.0)
