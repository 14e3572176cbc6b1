"""The page and the table of robustness: retention curves of one experiment, or of several."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dadnet.flow.corruptions import KINDS
from results.pages.plots import Plot, lines
from results.pages.rendering import page_name, render
from results.pages.robustness import Curve, Robustness
from results.statistics.resampling import Interval


def render_robustness(found: Sequence[Robustness]) -> str:
    """Return the page of one experiment's curves, or of several side by side.

    Args:
        found: at least one.
    """
    kinds = [kind for kind in KINDS if any(c.kind == kind for r in found for c in r.curves)]
    names = _names(found)
    figures = {}
    for kind in kinds:
        curves = {
            name: curve
            for name, robustness in zip(names, found, strict=True)
            for curve in robustness.curves
            if curve.kind == kind
        }
        figures[kind] = _plot(kind, curves)
    experiment = found[0].experiment
    return render(
        "robustness.html.j2",
        plots=figures,
        named=list(zip(names, found, strict=True)),
        kinds=[(kind, KINDS[kind]) for kind in kinds],
        board_page=f"{page_name(experiment.dataset)}.html",
        dataset=experiment.dataset,
        interval_text=interval_text,
    )


def _names(found: Sequence[Robustness]) -> list[str]:
    methods = [robustness.experiment.method for robustness in found]
    return [
        f"{r.experiment.method} {r.experiment.digest}"
        if methods.count(r.experiment.method) > 1
        else r.experiment.method
        for r in found
    ]


def _plot(kind: str, curves: dict[str, Curve]) -> Plot:
    points = {
        name: [(point.severity, point.retention) for point in curve.points]
        for name, curve in curves.items()
    }
    plot = lines(points, f"{kind}: {KINDS[kind].unit}", "share of the clean UF1")
    plot["layout"]["xaxis"]["type"] = "linear"
    if KINDS[kind].worst < KINDS[kind].clean:
        plot["layout"]["xaxis"]["autorange"] = "reversed"
    plot["layout"]["yaxis"]["rangemode"] = "tozero"
    for trace, curve in zip(plot["data"], curves.values(), strict=True):
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [_beyond(point.interval.high, point.retention) for point in curve.points],
            "arrayminus": [_beyond(point.interval.low, point.retention) for point in curve.points],
            "thickness": 1,
            "width": 3,
        }
    return plot


def _beyond(end: float | None, value: float) -> float:
    return 0.0 if end is None else float(f"{abs(end - value):.5g}")


def interval_text(interval: Interval) -> str:
    """Return an interval as text; empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{interval.low:.3f} to {interval.high:.3f}"


def robustness_table(robustness: Robustness, width: int = 120) -> str:
    """Return the curves as plain text: retention by severity, and their mean with its interval."""
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, force_terminal=False)
    title = (
        f"{robustness.experiment.method}, {robustness.experiment.digest}: "
        f"clean UF1 {robustness.uf1:.3f}; share of it under corruptions"
    )
    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column(Text("corruption"))
    table.add_column(Text("severity: share of the clean UF1"))
    table.add_column(Text("mean"), justify="right")
    table.add_column(Text("95 % interval, subjects"))
    for curve in robustness.curves:
        points = "  ".join(f"{p.severity:g}: {p.retention:.3f}" for p in curve.points[1:])
        ends = interval_text(curve.interval) or "none"
        table.add_row(*map(Text, (curve.kind, points, f"{curve.mean:.3f}", ends)))
    console.print(table)
    for name, done, planned in robustness.missing:
        console.print(Text(f"incomplete: {name} has {done} of {planned} folds"))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
