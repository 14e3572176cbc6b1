"""What the statistics need of an experiment: counts per subject, small enough to be kept.

``S`` subjects, ``K`` classes or labels. Log-losses and confidences are kept as whole numbers of
`UNIT`, so that sums over subjects are exact and do not depend on the order of addition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError
from dadnet.labels.tasks import Names
from results.ledger.records import Prediction
from results.ledger.val_side import IntArray

UNIT = 2.0**-20
NUM_BINS = 15
# The floor of a probability in the log-loss, as in `dadnet.labels.metrics.log_loss`.
_FLOOR = float(np.finfo(np.float32).eps)

FloatArray = npt.NDArray[np.float64]
# Clip id -> class name, or names of labels.
Truth = Mapping[str, Names]


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of one experiment by test subject.

    Attributes:
        subjects: (S,) names, sorted.
        confusions: (S, K, K), rows = truth; of several labels (S, K, 2, 2), absent before present.
        nats: (S,) summed log-loss of clips, or of their labels, in `UNIT`, or None if a clip has no
            probabilities.
        bins: (`NUM_BINS`, 3) of all clips, or of their labels, by confidence in the prediction:
            how many, right ones, summed confidence in `UNIT`; or None as above.
    """

    subjects: tuple[str, ...]
    confusions: IntArray
    nats: IntArray | None
    bins: IntArray | None

    @property
    def pooled(self) -> IntArray:
        """The counts over all subjects, (K, K) or (K, 2, 2)."""
        pooled: IntArray = self.confusions.sum(axis=0)
        return pooled

    @property
    def multi_label(self) -> bool:
        """Whether a clip may have several labels, each decided by itself."""
        return self.confusions.ndim == 4

    @property
    def num_clips(self) -> IntArray:
        """Clips of each subject, (S,)."""
        return self.num_decisions // (self.confusions.shape[1] if self.multi_label else 1)

    @property
    def num_decisions(self) -> IntArray:
        """Decisions about each subject, (S,): one for a clip, or one for each of its labels."""
        decisions: IntArray = self.confusions.sum(axis=tuple(range(1, self.confusions.ndim)))
        return decisions

    @property
    def num_right(self) -> IntArray:
        """How many decisions about each subject are right, (S,)."""
        cells = np.diagonal(self.confusions, axis1=-2, axis2=-1)
        right: IntArray = cells.sum(axis=tuple(range(1, cells.ndim)))
        return right

    def same_clips(self, other: Counts) -> bool:
        """Whether both scored equally many clips of each class of each subject."""
        return self.subjects == other.subjects and np.array_equal(
            self.confusions.sum(axis=-1), other.confusions.sum(axis=-1)
        )


def count(rows: Iterable[Prediction], classes: Sequence[str]) -> Counts:
    """Return the counts of scored clips.

    Args:
        rows: the clips of all folds.
        classes: (K,) class names in the class set's order.

    Raises:
        DadnetError: if a clip was scored in two folds.
    """
    clips = list(rows)
    size = len(classes)
    if len({row.clip_id for row in clips}) != len(clips):
        twice = next(name for name, n in Counter(row.clip_id for row in clips).items() if n > 1)
        raise DadnetError(f"clip {twice} was scored in two folds, expected one")
    subjects = tuple(sorted({row.subject for row in clips}))
    number_of = {name: number for number, name in enumerate(subjects)}
    where = np.array([number_of[row.subject] for row in clips], dtype=np.int64)  # (N,)
    if clips and not isinstance(clips[0].label, str):
        return _count_labels(clips, classes, subjects, where)
    numbers: dict[Any, int] = {name: number for number, name in enumerate(classes)}
    truth = np.array([numbers[row.label] for row in clips], dtype=np.int64)
    predicted = np.array([numbers[row.prediction] for row in clips], dtype=np.int64)
    cells = (where * size + truth) * size + predicted
    confusions = np.bincount(cells, minlength=len(subjects) * size * size)
    nats = bins = None
    if clips and all(row.probabilities is not None for row in clips):
        table = np.array([row.probabilities for row in clips], dtype=np.float64)  # (N, K)
        each = np.arange(len(clips))
        nats = _summed(where, -np.log(np.maximum(table[each, truth], _FLOOR)), len(subjects))
        bins = _bins(table[each, predicted], truth == predicted)
    return Counts(
        subjects, confusions.reshape(len(subjects), size, size).astype(np.int64), nats, bins
    )


def _count_labels(
    rows: Sequence[Prediction], classes: Sequence[str], subjects: tuple[str, ...], where: IntArray
) -> Counts:
    """Return the counts of clips with several labels; `where` numbers their subjects."""
    size = len(classes)
    truth, predicted = (
        np.array([[name in names for name in classes] for names in table], dtype=np.int64)
        for table in ([row.label for row in rows], [row.prediction for row in rows])
    )  # (N, K)
    cells = ((where[:, None] * size + np.arange(size)) * 2 + truth) * 2 + predicted
    confusions = np.bincount(cells.ravel(), minlength=len(subjects) * size * 4)
    nats = bins = None
    if all(row.probabilities is not None for row in rows):
        table = np.array([row.probabilities for row in rows], dtype=np.float64)  # (N, K)
        of_truth, of_prediction = (
            np.where(chosen, table, 1 - table) for chosen in (truth, predicted)
        )
        losses = -np.log(np.maximum(of_truth, _FLOOR))
        nats = _summed(np.repeat(where, size), losses.ravel(), len(subjects))
        bins = _bins(of_prediction.ravel(), (truth == predicted).ravel())
    return Counts(
        subjects, confusions.reshape(len(subjects), size, 2, 2).astype(np.int64), nats, bins
    )


def _bins(confidence: FloatArray, right: npt.NDArray[np.bool_]) -> IntArray:
    bin_of = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    clips = np.bincount(bin_of, minlength=NUM_BINS)
    hits = np.bincount(bin_of, weights=right, minlength=NUM_BINS).astype(np.int64)
    return np.stack([clips, hits, _summed(bin_of, confidence, NUM_BINS)], axis=1).astype(np.int64)


def _summed(index: IntArray, values: FloatArray, number: int) -> IntArray:
    """Return the sums of `values` in `UNIT` by index; whole numbers below 2^53 add exactly."""
    steps = np.rint(values / UNIT)
    return np.bincount(index, weights=steps, minlength=number).astype(np.int64)


def subset_of(protocol: str, clip: Prediction) -> str:
    """Return the subset that a clip is reported under beside all test clips, or "".

    Composites are reported by the dataset of the subject, official splits by their test parts.
    """
    if protocol in ("cde", "cross-dataset"):
        dataset, slash, _ = clip.subject.partition("/")
        return dataset if slash else ""
    return clip.part if protocol == "official" else ""


def by_subset(
    protocol: str, rows: Sequence[Prediction], subjects: Sequence[str]
) -> dict[str, list[Prediction]]:
    """Return the clips of each subset, sorted by name; nothing where there are not several.

    The folds are pooled first: the models behind a subset's figures were trained on all subsets.

    Args:
        protocol: of the experiment.
        rows: all its scored clips.
        subjects: of the clips, each once.
    """
    if protocol not in ("cde", "cross-dataset", "official"):
        return {}
    if protocol != "official" and len({name.partition("/")[0] for name in subjects}) < 2:
        return {}
    subsets: dict[str, list[Prediction]] = {}
    for row in rows:
        subsets.setdefault(subset_of(protocol, row), []).append(row)
    return {name: subsets[name] for name in sorted(subsets)} if len(subsets) > 1 else {}
