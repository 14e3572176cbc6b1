"""What a class set asks of a network: one class of each clip, or each of several labels by itself.

This is where the two differ in numbers: in what is decided, counted and lost. The loss in training
is in `dadnet.labels.targets`, the counts of results in `dadnet.labels.metrics.totals`.

``N`` clips, ``K`` classes or labels. A text names the labels of a clip in class order, joined by
"+", and is `NO_LABEL` where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dadnet.labels.metrics import (
    FloatArray,
    IntArray,
    confusion,
    label_counts,
    label_log_loss,
    log_loss,
)

NO_LABEL = "none"
Numbers = npt.NDArray[Any]
Names = str | tuple[str, ...]


class Task(Protocol):
    """The one or the other.

    `multi_label` says which; labels are (N,) class numbers or (N, K) of 0 and 1.
    """

    multi_label: bool

    def decide(self, probabilities: FloatArray) -> Numbers:
        """What clips are taken for, by their probabilities (N, K); shaped as labels are."""

    def counts(self, labels: Numbers, decided: Numbers, num_classes: int) -> IntArray:
        """Rows = truth: (K, K) over the classes, or (K, 2, 2) over absent and present of each."""

    def log_loss(self, probabilities: FloatArray, labels: Numbers) -> float:
        """Mean of -ln p(truth) in nats, over clips or over the labels of clips."""

    def named(self, decision: Numbers, classes: Sequence[str]) -> Names:
        """The class of one clip, or the labels that it has."""


class _SingleLabel:
    multi_label = False

    def decide(self, probabilities: FloatArray) -> Numbers:
        decided: Numbers = probabilities.argmax(axis=1)
        return decided

    def counts(self, labels: Numbers, decided: Numbers, num_classes: int) -> IntArray:
        return confusion(labels, decided, num_classes)

    def log_loss(self, probabilities: FloatArray, labels: Numbers) -> float:
        return log_loss(probabilities, labels)

    def named(self, decision: Numbers, classes: Sequence[str]) -> Names:
        return classes[int(decision)]


class _MultiLabel:
    multi_label = True

    def decide(self, probabilities: FloatArray) -> Numbers:
        return (probabilities >= 0.5).astype(np.int64)

    def counts(self, labels: Numbers, decided: Numbers, num_classes: int) -> IntArray:
        return label_counts(labels, decided, num_classes)

    def log_loss(self, probabilities: FloatArray, labels: Numbers) -> float:
        return label_log_loss(probabilities, labels)

    def named(self, decision: Numbers, classes: Sequence[str]) -> Names:
        return tuple(name for name, has in zip(classes, decision, strict=True) if has)


SINGLE_LABEL: Task = _SingleLabel()
MULTI_LABEL: Task = _MultiLabel()


def task_of(multi_label: bool) -> Task:
    """The task of a class set."""
    return MULTI_LABEL if multi_label else SINGLE_LABEL


def text_of(names: Names) -> str:
    """The class or the labels of a clip as text."""
    return names if isinstance(names, str) else "+".join(names) or NO_LABEL


def has(names: Names, name: str) -> bool:
    """Whether a clip has this class, or this label among others."""
    return names == name if isinstance(names, str) else name in names


def names_in(text: str) -> tuple[str, ...]:
    """The labels that a text names; a class is one label."""
    return () if text == NO_LABEL else tuple(text.split("+"))


def lacking(texts: Iterable[str], classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Classes or labels that cannot be learnt from clips: those of no clip, and those of every one.

    Args:
        texts: of the clips.
        classes: all of the class set.
    """
    sets = [set(names_in(text)) for text in texts]
    found = {name: sum(name in own for own in sets) for name in classes}
    nowhere = [name for name in classes if found[name] == 0]
    return nowhere, [name for name in classes if found[name] == len(sets) > 0]
