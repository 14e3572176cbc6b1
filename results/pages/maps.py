"""Where clips lie between the corners of their classes, and which clips were hardest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dadnet.labels.tasks import has
from results.ledger.features import Features, FloatArray
from results.ledger.records import Prediction


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
