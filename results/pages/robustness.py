"""Robustness: how much of an experiment's UF1 is kept under corruptions of its test clips.

UF1 under a corruption is pooled over all folds; retention is its ratio to the clean UF1, which is
the ledger's own. Both sides of a ratio are resampled over the same subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.text import Text

from dadnet.base.errors import DadnetError
from dadnet.flow.corruptions import KINDS, suite
from results.leaderboard.text import printed, titled_table
from results.ledger.corrupted import RobustnessLedger
from results.ledger.records import Experiment, FoldRecord
from results.pages.plots import Plot, error_bars, lines
from results.pages.rendering import page_name, render
from results.statistics.counts import Counts, count
from results.statistics.resampling import (
    NO_INTERVAL,
    AnyFloats,
    FloatArray,
    Interval,
    figures,
    interval,
    jackknife,
    pooled_uf1,
    subject_sizes,
    subject_weights,
)
from results.statistics.summary import count_records


@dataclass(frozen=True)
class Point:
    """One corruption over all folds.

    Attributes:
        severity: of the kind; the clean one comes first on a curve.
        uf1: pooled.
        retention: uf1 over the clean UF1; interval: of it, over subjects.
    """

    severity: float
    uf1: float
    retention: float
    interval: Interval


@dataclass(frozen=True)
class Curve:
    """How the figures fall with one kind of corruption.

    Attributes:
        kind: its name.
        points: the clean one, then from mild to severe; a corruption whose folds are not all
            scored has none.
        mean: retention, mean over the severities; interval: of it, over subjects.
    """

    kind: str
    points: tuple[Point, ...]
    mean: float
    interval: Interval


@dataclass(frozen=True)
class Robustness:
    """An experiment under corruptions.

    Attributes:
        experiment: the experiment.
        uf1: clean.
        curves: in the order of the kinds asked for, those with at least one point beside the
            clean one.
        missing: (corruption, folds scored, folds planned) of what is not complete.
    """

    experiment: Experiment
    uf1: float
    curves: tuple[Curve, ...]
    missing: tuple[tuple[str, int, int], ...]


def read_robustness(
    root: str | Path, experiment: Experiment, kinds: Sequence[str] = ()
) -> Robustness:
    """Return the retention curves of what was scored.

    Args:
        root: the ledger's folder.
        experiment: of the ledger, complete.
        kinds: some of `dadnet.flow.corruptions.KINDS`; none: those of which anything was scored.

    Raises:
        DadnetError: if a fold of the experiment is missing, its clean UF1 is 0, or a kind is
            unknown.
    """
    ledger = RobustnessLedger(root)
    records = ledger.ledger.records(experiment)
    if len(records) < len(experiment.folds):
        raise DadnetError(
            f"robustness: expected a complete experiment, got {len(records)} of "
            f"{len(experiment.folds)} folds of {experiment.digest}"
        )
    base = _Base(clean_counts(experiment, records))
    scored_kinds: dict[str, list[tuple[float, Counts]]] = {}
    missing: list[tuple[str, int, int]] = []
    asked = kinds or ledger.kinds(experiment)
    for corruption in suite(asked) if asked else ():
        scored = [ledger.get(experiment, record, corruption.name) for record in records]
        kept = [fold for fold in scored if fold is not None]
        if len(kept) < len(records):
            missing.append((corruption.name, len(kept), len(records)))
            continue
        rows = (row for fold in kept for row in fold.predictions)
        counts = count(rows, experiment.classes)
        scored_kinds.setdefault(corruption.kind, []).append((corruption.severity, counts))
    curves = tuple(base.curve(kind, points) for kind, points in scored_kinds.items())
    return Robustness(experiment, base.uf1, curves, tuple(missing))


def clean_counts(experiment: Experiment, records: Sequence[FoldRecord]) -> Counts:
    """Return the clean side of the ratios.

    Raises:
        DadnetError: if its UF1 is 0, of which nothing can be kept.
    """
    clean = count_records(records, experiment.classes)
    if pooled_uf1(clean.confusions) <= 0:
        raise DadnetError(f"robustness: {experiment.digest} has a clean UF1 of 0: nothing to keep")
    return clean


class _Base:
    """The clean side of every ratio, resampled once."""

    def __init__(self, clean: Counts) -> None:
        self.uf1 = pooled_uf1(clean.confusions)
        self.weights = subject_weights(clean.subjects)
        self.resampled = figures(self.weights, clean.confusions)[0].astype(np.float64)
        self.left_out = jackknife(clean.confusions)[0]
        self.sizes = subject_sizes(clean.confusions)

    def curve(self, kind: str, scored: Sequence[tuple[float, Counts]]) -> Curve:
        """Return the curve of one kind; the resamples are those of the clean side."""
        points = [Point(KINDS[kind].clean, self.uf1, 1.0, self._interval(1.0, *self._ones()))]
        values, every, left = [], [], []
        for severity, counts in scored:
            uf1 = pooled_uf1(counts.confusions)
            with np.errstate(divide="ignore", invalid="ignore"):
                every.append(figures(self.weights, counts.confusions)[0] / self.resampled)
                left.append(jackknife(counts.confusions)[0] / self.left_out)
            values.append(uf1 / self.uf1)
            points.append(
                Point(severity, uf1, values[-1], self._interval(values[-1], every[-1], left[-1]))
            )
        mean = float(np.mean(values))
        averaged = self._interval(mean, np.mean(every, axis=0), np.mean(left, axis=0))
        return Curve(kind, tuple(points), mean, averaged)

    def _ones(self) -> tuple[FloatArray, FloatArray]:
        return np.ones_like(self.resampled), np.ones_like(self.left_out)

    def _interval(self, value: float, resampled: AnyFloats, left_out: FloatArray) -> Interval:
        """BCa of a ratio; none where a resample has a clean UF1 of 0 and so no ratio."""
        if not (np.isfinite(resampled).all() and np.isfinite(left_out).all()):
            return NO_INTERVAL
        return interval(resampled.astype(np.float64), value, left_out, self.sizes)


def render_robustness(compared: Sequence[Robustness], standalone: bool = False) -> str:
    """Return the page of one experiment's curves, or of several side by side; at least one."""
    kinds = [kind for kind in KINDS if any(c.kind == kind for r in compared for c in r.curves)]
    names = _names([robustness.experiment for robustness in compared])
    named = list(zip(names, compared, strict=True))
    figures = {}
    for kind in kinds:
        figures[kind] = _plot(kind, {n: c for n, r in named for c in r.curves if c.kind == kind})
    experiment = compared[0].experiment
    return render(
        "robustness.html.j2",
        plots=figures,
        title=" and ".join(names),
        of=experiment.dataset,
        standalone=standalone,
        named=named,
        kinds=[(kind, KINDS[kind]) for kind in kinds],
        leaderboard_page=f"{page_name(experiment.dataset)}.html",
        dataset=experiment.dataset,
    )


def _names(experiments: Sequence[Experiment]) -> list[str]:
    """Return what experiments are called beside each other; equal names get their digests."""
    methods = [experiment.method for experiment in experiments]
    return [
        f"{e.method} {e.digest}" if methods.count(e.method) > 1 else e.method for e in experiments
    ]


def _plot(kind: str, curves: dict[str, Curve]) -> Plot:
    points = {
        name: [(point.severity, point.retention) for point in curve.points]
        for name, curve in curves.items()
    }
    plot = lines(points, KINDS[kind].unit, "share of the clean UF1")
    if KINDS[kind].worst < KINDS[kind].clean:
        plot["layout"]["xaxis"]["autorange"] = "reversed"
    plot["layout"]["yaxis"]["rangemode"] = "tozero"
    for trace, curve in zip(plot["data"], curves.values(), strict=True):
        above = [_beyond(point.interval.high, point.retention) for point in curve.points]
        below = [_beyond(point.interval.low, point.retention) for point in curve.points]
        trace["error_y"] = error_bars(above, below, 3)
    return plot


def _beyond(end: float | None, value: float) -> float:
    return 0.0 if end is None else float(f"{abs(end - value):.5g}")


def robustness_table(robustness: Robustness, width: int = 120) -> str:
    """Return the curves as plain text: retention by severity, and their mean with its interval."""
    title = (
        f"{robustness.experiment.method}, {robustness.experiment.digest}: "
        f"clean UF1 {robustness.uf1:.3f}; share of it under corruptions"
    )
    table = titled_table(title)
    table.add_column(Text("corruption"))
    table.add_column(Text("severity: share of the clean UF1"))
    table.add_column(Text("mean"), justify="right")
    table.add_column(Text("95 % interval, subjects"))
    for curve in robustness.curves:
        points = "  ".join(f"{p.severity:g}: {p.retention:.3f}" for p in curve.points[1:])
        ends = curve.interval.text() or "none"
        table.add_row(*map(Text, (curve.kind, points, f"{curve.mean:.3f}", ends)))
    notes = [
        Text(f"incomplete: {name} has {done} of {planned} folds")
        for name, done, planned in robustness.missing
    ]
    return printed([table, *notes], width)
