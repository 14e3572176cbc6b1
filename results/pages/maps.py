"""Where clips lie between the corners of their classes, and which clips were hardest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dadnet.labels.tasks import has
from results.ledger.features import Features, FloatArray
from results.ledger.records import Prediction
from results.pages.plots import Plot, figure_layout, marker, plain, rounded


def corners(num_classes: int) -> FloatArray:
    """Return the corners of the map, (K, 2): a regular polygon, the first one on top."""
    angle = math.pi / 2 + 2 * math.pi * np.arange(num_classes) / num_classes
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def map_of_features(folds: Sequence[Features]) -> dict[str, tuple[float, float]]:
    """Return the location of each clip between its fold's class means, by clip.

    The affine coordinates of the clip's feature with respect to the class means (least squares,
    they sum to 1) weigh the corners of the polygon.
    """
    locations: dict[str, tuple[float, float]] = {}
    for fold in folds:
        means = fold.class_means
        axes = (means[1:] - means[0]).T  # (D, K - 1)
        shares, *_ = np.linalg.lstsq(axes, (fold.features - means[0]).T, rcond=None)
        weights = np.concatenate([1 - shares.sum(axis=0, keepdims=True), shares]).T  # (N, K)
        for name, location in zip(fold.clip_ids, weights @ corners(len(means)), strict=True):
            locations[name] = (float(location[0]), float(location[1]))
    return locations


def map_of_probabilities(rows: Sequence[Prediction]) -> dict[str, tuple[float, float]]:
    """Return the place of each clip between the corners, weighed by its probabilities.

    A clip with several labels has no such place.
    """
    locations: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row.probabilities is not None and isinstance(row.label, str):
            x, y = np.array(row.probabilities) @ corners(len(row.probabilities))
            locations[row.clip_id] = (float(x), float(y))
    return locations


def framed(
    locations: Mapping[str, tuple[float, float]],
) -> tuple[dict[str, tuple[float, float]], float]:
    """Return the locations in a frame around the corners, and its reach from the middle.

    Few clips lie far outside the corners and would make all others a dot: what is farther away
    than 90 % of the clips, and outside the corners, is moved to the edge in its direction.
    """
    lengths = {name: math.hypot(*location) for name, location in locations.items()}
    reach = max(1.3, 1.15 * float(np.quantile(list(lengths.values()), 0.9)))
    pulled = {name: min(1.0, 0.98 * reach / max(far, 1e-9)) for name, far in lengths.items()}
    return {n: (pulled[n] * x, pulled[n] * y) for n, (x, y) in locations.items()}, reach


def clip_map(
    rows: Sequence[Prediction], locations: Mapping[str, tuple[float, float]], classes: Sequence[str]
) -> Plot | None:
    """Return the clips between the corners of the classes; colour and symbol show the truth."""
    if not locations:
        return None
    locations, reach = framed(locations)
    ends = corners(len(classes))
    outline = [*ends.tolist(), ends[0].tolist()]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [rounded(x) for x, _ in outline],
            "y": [rounded(y) for _, y in outline],
            "line": {"color": "--muted", "width": 1},
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
                "x": [rounded(locations[row.clip_id][0]) for row in part],
                "y": [rounded(locations[row.clip_id][1]) for row in part],
                "text": [plain(f"{row.clip_id}: {row.prediction}") for row in part],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": marker(number),
            }
        )
    layout = figure_layout("", "")
    edge = 1.05 * reach
    layout["margin"] = {"l": 4, "r": 4, "t": 12, "b": 4}
    layout["xaxis"].update(visible=False, range=[-edge, edge])
    layout["yaxis"].update(visible=False, range=[-edge, edge], scaleanchor="x")
    layout["meta"] = {"square": True}  # the page's script makes it as high as it is wide
    layout["annotations"] = [
        _corner(name, end, reach) for name, end in zip(classes, ends, strict=True)
    ]
    return {"data": traces, "layout": layout}


def _corner(name: str, end: Any, reach: float) -> dict[str, Any]:
    """Return a class's name at the edge, in the direction of its corner, with a line to it."""
    x, y = (float(value) for value in end)
    place = {"x": x, "y": y, "ax": rounded(0.95 * reach * x), "ay": rounded(0.97 * reach * y)}
    sides = {"left": x < -0.2, "right": x > 0.2}
    anchor = next((side for side, here in sides.items() if here), "center")
    line = {"showarrow": True, "arrowhead": 0, "arrowwidth": 1, "arrowcolor": "--muted"}
    back = {"bgcolor": "--card", "bordercolor": "--faint", "borderpad": 2}
    axes = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y", "xanchor": anchor}
    return {"text": plain(name), **place, **line, **back, **axes}


def hardest(rows: Sequence[Prediction], classes: Sequence[str], number: int) -> list[Prediction]:
    """Return the wrong clips, those that were surest to be something else first."""
    wrong = [row for row in rows if row.label != row.prediction]
    wrong.sort(key=lambda row: (probability_of_truth(row, classes) or 0.0, row.clip_id))
    return wrong[:number]


def probability_of_truth(row: Prediction, classes: Sequence[str]) -> float | None:
    """Return the probability given to a clip's class, or to its labels and no others together."""
    known = row.probabilities
    if known is None:
        return None
    if isinstance(row.label, str):
        return known[list(classes).index(row.label)]
    return math.prod(
        p if has(row.label, name) else 1 - p for name, p in zip(classes, known, strict=True)
    )
