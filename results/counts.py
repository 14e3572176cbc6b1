"""What the statistics need of an experiment: counts per subject, small enough to be kept.

``S`` subjects, ``K`` classes. Log-losses and confidences are kept as whole numbers of `UNIT`, so
that sums over subjects are exact and do not depend on the order of addition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dadnet.errors import DadnetError

UNIT = 2.0**-20
NUM_BINS = 15
# The floor of a probability in the log-loss, as in `dadnet.metrics.log_loss`.
_FLOOR = float(np.finfo(np.float32).eps)

IntArray = npt.NDArray[np.int64]


class ScoredClip(Protocol):
    """What is read of a prediction (see `results.records.Prediction`)."""

    @property
    def clip_id(self) -> str: ...  # noqa: D102
    @property
    def subject(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def prediction(self) -> str: ...  # noqa: D102
    @property
    def probabilities(self) -> Sequence[float] | None: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of one experiment by test subject.

    Attributes:
        subjects: (S,) names, sorted.
        confusions: (S, K, K), rows = truth.
        nats: (S,) summed log-loss in `UNIT`, or None if a clip has no probabilities.
        bins: (`NUM_BINS`, 3) of all clips by confidence in the prediction: clips, right ones,
            summed confidence in `UNIT`; or None as above.
    """

    subjects: tuple[str, ...]
    confusions: IntArray
    nats: IntArray | None
    bins: IntArray | None

    @property
    def pooled(self) -> IntArray:
        """The (K, K) counts over all subjects."""
        pooled: IntArray = self.confusions.sum(axis=0)
        return pooled

    def same_clips(self, other: Counts) -> bool:
        """Whether both scored equally many clips of each class of each subject."""
        return self.subjects == other.subjects and np.array_equal(
            self.confusions.sum(axis=2), other.confusions.sum(axis=2)
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "subjects": list(self.subjects),
            "confusions": self.confusions.tolist(),
            "nats": None if self.nats is None else self.nats.tolist(),
            "bins": None if self.bins is None else self.bins.tolist(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Counts:
        """Return the counts of `to_json`'s object, which a checksum must have guarded."""
        arrays = {
            name: None if value[name] is None else np.array(value[name], dtype=np.int64)
            for name in ("nats", "bins")
        }
        confusions = np.array(value["confusions"], dtype=np.int64)
        return cls(tuple(value["subjects"]), confusions, arrays["nats"], arrays["bins"])


def count(rows: Iterable[ScoredClip], classes: Sequence[str]) -> Counts:
    """Return the counts of scored clips.

    Args:
        rows: the clips of all folds.
        classes: (K,) class names in the class set's order.

    Raises:
        DadnetError: if a clip was scored in two folds.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    size = len(classes)
    cells: dict[str, list[int]] = {}
    nats: dict[str, int] = {}
    bins = [[0, 0, 0] for _ in range(NUM_BINS)]
    seen: set[str] = set()
    sure = True
    for row in rows:
        if row.clip_id in seen:
            raise DadnetError(f"clip {row.clip_id} was scored in two folds, expected one")
        seen.add(row.clip_id)
        truth, given = numbers[row.label], numbers[row.prediction]
        cell = cells.get(row.subject)
        if cell is None:
            cell = cells[row.subject] = [0] * (size * size)
            nats[row.subject] = 0
        cell[truth * size + given] += 1
        if row.probabilities is None:
            sure = False
        elif sure:
            loss = -math.log(max(row.probabilities[truth], _FLOOR))
            nats[row.subject] += round(loss / UNIT)
            confidence = row.probabilities[given]
            place = bins[min(NUM_BINS - 1, int(confidence * NUM_BINS))]
            place[0] += 1
            place[1] += truth == given
            place[2] += round(confidence / UNIT)
    subjects = tuple(sorted(cells))
    stack = np.array([cells[name] for name in subjects], dtype=np.int64)
    return Counts(
        subjects,
        stack.reshape(len(subjects), size, size),
        np.array([nats[name] for name in subjects], dtype=np.int64) if sure and subjects else None,
        np.array(bins, dtype=np.int64) if sure and subjects else None,
    )
