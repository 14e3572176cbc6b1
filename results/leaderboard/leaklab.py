"""The leak laboratory: what choosing on the test subjects is worth, to a coin and to our rows.

A coin draws its predictions from the class prior. Per subject the best of K draws is kept, as a
training does that keeps the epoch with the most right test clips. Real epochs resemble each other,
so this is an upper bound of the effect.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dadnet.base.digests import digest16
from dadnet.base.disk import read_input
from dadnet.base.errors import DadnetError
from results.leaderboard.rows import Group, Row
from results.statistics.resampling import marginal_figures, marginals, pooled_uf1
from results.statistics.summary import fold_averaged

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """Clips of each class of each subject.

    Attributes:
        name: of the dataset.
        classes: (K,); subjects: (S,), sorted.
        clips: (S, K).
    """

    name: str
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    clips: IntArray


@dataclass(frozen=True)
class Luck:
    """What a coin gets when the best of `draws` is kept per subject: means of the simulations.

    Attributes:
        uf1: pooled; low, high: middle 95 % of the simulations.
        fold_uf1: mean of the subjects' own UF1, over the classes present.
    """

    draws: int
    uf1: float
    low: float
    high: float
    fold_uf1: float


def labels_of_rows(group: Group) -> Labels:
    """Return the labels that a group's first complete row was scored on.

    Raises:
        DadnetError: if no row is complete, or clips have several labels.
    """
    if group.multi_label:
        raise DadnetError(
            f"leaklab: expected one class of each clip, {group.title} has several labels"
        )
    complete = [row for row in group.rows if row.complete]
    if not complete:
        raise DadnetError(f"expected a complete experiment on {group.title}, got: none")
    counts = complete[0].counts
    return Labels(group.title, group.classes, counts.subjects, counts.confusions.sum(axis=2))


def labels_of_table(path: Path) -> Labels:
    """Return the labels of a CSV with the columns subject and label, and dataset if there is one.

    Raises:
        DadnetError: if the file is missing, lacks a column or holds no clip.
    """
    try:
        text = io.StringIO(read_input(path, "utf-8-sig"), newline="")
        rows = list(csv.DictReader(text, strict=True))
    except (FileNotFoundError, UnicodeDecodeError, csv.Error) as error:
        raise DadnetError(f"expected a CSV of clips, got: {path}: {error}") from error
    columns = list(rows[0]) if rows else []
    if not {"subject", "label"} <= set(columns):
        raise DadnetError(f"expected columns subject and label in {path}, got: {columns}")
    if ragged := next(
        (k for k, row in enumerate(rows, 2) if {None, ""} & {*row, *row.values()}), 0
    ):
        raise DadnetError(f"expected as many filled cells as columns in row {ragged} of {path}")
    names = [f"{row.get('dataset') or path.stem}/{row['subject']}" for row in rows]
    classes = tuple(sorted({row["label"] for row in rows}))
    subjects = tuple(sorted(set(names)))
    clips = np.zeros((len(subjects), len(classes)), dtype=np.int64)
    for name, row in zip(names, rows, strict=True):
        clips[subjects.index(name), classes.index(row["label"])] += 1
    return Labels(path.stem, classes, subjects, clips)


def luck(labels: Labels, draws: int, repeats: int) -> Luck:
    """Simulate the coin.

    Args:
        labels: of the dataset.
        draws: K, from which the best is kept per subject; 1 is an honest coin.
        repeats: simulations.

    Raises:
        DadnetError: if either number is not positive.
    """
    if draws < 1 or repeats < 1:
        raise DadnetError(f"expected draws and repeats from 1, got: {draws} and {repeats}")
    seed = int(digest16(["luck", labels.name, list(labels.subjects), draws, repeats]), 16)
    draw = np.random.default_rng(seed)
    size = len(labels.classes)
    prior = labels.clips.sum(axis=0) / labels.clips.sum()
    kept = np.zeros((repeats, len(labels.subjects), size, size), dtype=np.int64)
    for number, clips in enumerate(labels.clips):
        kept[:, number] = _best(clips, prior, draws, repeats, draw)
    pooled = marginals(kept.sum(axis=1))  # (repeats, 3K)
    uf1 = marginal_figures(pooled.T.astype(np.float64))[0]
    folds = [fold_averaged(stack)[0] for stack in kept[:50]]
    low, high = np.quantile(uf1, [0.025, 0.975])
    return Luck(draws, float(uf1.mean()), float(low), float(high), float(np.mean(folds)))


def _best(
    clips: IntArray,
    prior: npt.NDArray[np.float64],
    draws: int,
    repeats: int,
    draw: np.random.Generator,
) -> IntArray:
    """Return the confusions with the most right clips of `draws` ones, (repeats, K, K)."""
    size = len(clips)
    best = np.zeros((repeats, size, size), dtype=np.int64)
    most = np.full(repeats, -1)
    left = draws
    while left:  # in parts, so that 800 draws of many simulations fit the memory
        number = min(left, max(1, 200_000 // (repeats * size)))
        left -= number
        tried = np.stack(
            [draw.multinomial(int(n), prior, (repeats, number)) for n in clips], axis=2
        )  # (repeats, number, K, K)
        right = np.trace(tried, axis1=2, axis2=3)
        chosen = right.argmax(axis=1)
        hits = np.take_along_axis(right, chosen[:, None], axis=1)[:, 0]
        better = hits > most
        best[better] = tried[np.flatnonzero(better), chosen[better]]
        most = np.maximum(most, hits)
    return best


def constants(labels: Labels) -> list[tuple[str, float, float, float]]:
    """Return what always naming one class gives: class, pooled UF1, and both fold averages."""
    figures = []
    for number, name in enumerate(labels.classes):
        stack = np.zeros((*labels.clips.shape, len(labels.classes)), dtype=np.int64)
        stack[:, :, number] = labels.clips
        figures.append((name, pooled_uf1(stack), *fold_averaged(stack)))
    return figures


def perfect(labels: Labels) -> tuple[float, float, float]:
    """Return what a perfect classifier gets: pooled UF1, and both fold averages."""
    size = len(labels.classes)
    stack = labels.clips[:, :, None] * np.eye(size, dtype=np.int64)
    present, every = fold_averaged(stack)
    return pooled_uf1(stack), present, every


def own_gains(rows: Sequence[Row]) -> list[Row]:
    """Return the test-peeking rows that have an honest twin, by their gain."""
    gained = [row for row in rows if row.gain is not None]
    return sorted(gained, key=lambda row: (-(row.gain or 0.0), row.experiment.digest))
