"""The task of a class set: one class per clip, or several labels, each decided by itself.

The two differ in decisions, counts and log-loss, which are here. The loss in training is in
`dadnet.labels.targets`, the counts of results in `dadnet.labels.metrics.totals`.

``N`` clips, ``K`` classes or labels. A text names the labels of a clip in class order, joined by
"+"; it is `NO_LABEL` for a clip without labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dadnet.labels import metrics
from dadnet.labels.metrics import FloatArray, IntArray

NO_LABEL = "none"
Numbers = npt.NDArray[Any]
Names = str | tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """Decisions, counts and losses of one class per clip, or of several labels.

    Attributes:
        multi_label: labels are (N, K) of 0 and 1, instead of (N,) class numbers.
    """

    multi_label: bool

    def decide(self, probabilities: FloatArray) -> Numbers:
        """Decisions by probabilities (N, K), in the shape of labels."""
        decided: Numbers
        decided = probabilities >= 0.5 if self.multi_label else probabilities.argmax(axis=1)
        return decided.astype(np.int64)

    def counts(self, labels: Numbers, decided: Numbers, num_classes: int) -> IntArray:
        """Rows = truth: (K, K) over the classes, or (K, 2, 2) over absent and present of each."""
        count = metrics.label_counts if self.multi_label else metrics.confusion
        return count(labels, decided, num_classes)

    def log_loss(self, probabilities: FloatArray, labels: Numbers) -> float:
        """Mean of -ln p(truth) in nats, over clips or over the labels of clips."""
        mean_loss = metrics.label_log_loss if self.multi_label else metrics.log_loss
        return mean_loss(probabilities, labels)

    def named(self, decision: Numbers, classes: Sequence[str]) -> Names:
        """The class of one clip, or its labels."""
        if not self.multi_label:
            return classes[int(decision)]
        return tuple(name for name, has in zip(classes, decision, strict=True) if has)


SINGLE_LABEL, MULTI_LABEL = Task(multi_label=False), Task(multi_label=True)


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
    """The classes or labels of no clip, and those of every clip: they cannot be learnt."""
    sets = [set(names_in(text)) for text in texts]
    counts = {name: sum(name in names for names in sets) for name in classes}
    nowhere = [name for name in classes if counts[name] == 0]
    return nowhere, [name for name in classes if counts[name] == len(sets) > 0]
