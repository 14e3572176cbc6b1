"""The explanation on the run page: plots of its numbers, and the maps as small pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dadnet.labels.tasks import has
from results.ledger.explanation import THETA, Explanation
from results.ledger.records import Prediction
from results.pages.flow_picture import png
from results.pages.plots import Plot, error_bars, lines, marker

_SIDE = 96


@dataclass(frozen=True)
class Shown:
    """What the template places.

    Attributes:
        plots: by name, with their captions.
        theta: name, mean, standard deviation, least and greatest of each number.
        maps: stage, share of the branch in per cent, and class -> picture in base64.
        gswd: stage, distance before and after.
        fold: of the densities.
    """

    plots: Mapping[str, Plot]
    captions: Mapping[str, str]
    theta: Sequence[tuple[str, float, float, float, float]]
    maps: Sequence[tuple[int, float, Mapping[str, str]]]
    gswd: Sequence[tuple[int, float, float]]
    fold: str


def show(explanation: Explanation, rows: Sequence[Prediction], classes: Sequence[str]) -> Shown:
    """Return the plots and pictures of an explanation.

    Args:
        explanation: of the experiment.
        rows: its predictions, for the classes of the clips.
        classes: in their order.
    """
    plots: dict[str, Plot] = {}
    captions: dict[str, str] = {}
    if explanation.theta:
        for name, pair in (("turn", (0, 1)), ("shift", (2, 3))):
            plots[f"theta-{name}"] = _theta(explanation.theta, rows, classes, pair)
            captions[f"theta-{name}"] = (
                f"Spatial transformer, one mark per test clip by its own fold's network: "
                f"{THETA[pair[0]]} and {THETA[pair[1]]}; colour and symbol show the truth"
            )
    if explanation.channels:
        plots["channels"] = _channels(explanation.channels)
        captions["channels"] = (
            "Channel attention: weights in falling order, median over folds; bars hold the middle "
            "80 % of the folds"
        )
    for part in explanation.densities:
        for when in ("before", "after"):
            name = f"density-{part['stage']}-{when}"
            plots[name] = _density(part, when)
            captions[name] = (
                f"Stage {part['stage']}, {when} training: features of student and teacher along "
                "the direction that was most apart before"
            )
    return Shown(
        plots,
        captions,
        _theta_rows(explanation.theta),
        [(p["stage"], 100 * p["share"], _pictures(p["maps"])) for p in explanation.gradients],
        [(p["stage"], p["gswd"][0], p["gswd"][1]) for p in explanation.densities],
        explanation.density_fold,
    )


def _theta(
    theta: Mapping[str, Sequence[float]],
    rows: Sequence[Prediction],
    classes: Sequence[str],
    pair: tuple[int, int],
) -> Plot:
    points = {
        name: [
            (theta[r.clip_id][pair[0]], theta[r.clip_id][pair[1]])
            for r in rows
            if has(r.label, name) and r.clip_id in theta
        ]
        for name in classes
    }
    plot = lines(points, THETA[pair[0]], THETA[pair[1]])
    for number, trace in enumerate(plot["data"]):
        trace.update(mode="markers", marker=marker(number))
    return plot


def _theta_rows(
    theta: Mapping[str, Sequence[float]],
) -> list[tuple[str, float, float, float, float]]:
    table = np.array([theta[name] for name in sorted(theta)], dtype=np.float64)
    return [
        (name, float(c.mean()), float(c.std()), float(c.min()), float(c.max()))
        for name, c in zip(THETA, table.T, strict=False)
    ]


def _channels(channels: Sequence[Mapping[str, Any]]) -> Plot:
    curves = {
        f"after stage {number}": [
            (100 * rank / max(1, len(part["middle"]) - 1), value)
            for rank, value in enumerate(part["middle"])
        ]
        for number, part in enumerate(channels)
    }
    plot = lines(curves, "rank of the channel, %", "weight")
    for trace, part in zip(plot["data"], channels, strict=True):
        middle = np.array(part["middle"])
        above = np.round(np.array(part["high"]) - middle, 5).tolist()
        below = np.round(middle - np.array(part["low"]), 5).tolist()
        trace.update(mode="lines", error_y=error_bars(above, below, 0))
    ends = [value for part in channels for name in ("low", "high") for value in part[name]]
    low, high = min(ends), max(ends)
    room = max(0.05 * (high - low), 0.5 * (0.1 - (high - low)))  # at least a tenth is shown
    plot["layout"]["yaxis"]["range"] = [max(0.0, low - room), min(1.0, high + room)]
    return plot


def _density(part: Mapping[str, Any], when: str) -> Plot:
    pairs = zip(("student", "teacher"), part[when], strict=True)
    curves = {name: list(zip(part["centres"], density, strict=True)) for name, density in pairs}
    plot = lines(curves, "projected feature", "density")
    for trace, dash in zip(plot["data"], ("solid", "dash"), strict=True):
        trace["mode"] = "lines"
        trace["line"]["dash"] = dash
    return plot


def _pictures(maps: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, str]:
    """Maps as pictures of one scale: white is nothing, dark blue the strongest place of any."""
    arrays = {name: np.array(rows, dtype=np.float64) for name, rows in maps.items()}
    strongest = max(float(array.max()) for array in arrays.values()) or 1.0
    pictures = {}
    for name, array in arrays.items():
        rows, columns = (np.arange(_SIDE) * size // _SIDE for size in array.shape)
        strength = np.clip(array[rows][:, columns] / strongest, 0, 1)[..., None]
        picture = np.rint(255 * (1 - strength * (1 - np.array([0.03, 0.19, 0.42]))))
        pictures[name] = base64.b64encode(png(picture.astype(np.uint8))).decode()
    return pictures
