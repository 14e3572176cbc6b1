"""Signs that a table has truth and prediction in each other's place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dadnet.datasets.literature import known_class_counts
from results.ledger.ledger import Ledger
from results.ledger.records import Prediction


def class_counts(
    predictions: Iterable[Prediction], classes: Sequence[str], field: str
) -> dict[str, int]:
    """Return how many clips have each class as their ``label``, or as their ``prediction``."""
    counted = Counter(getattr(row, field) for row in predictions)
    return {name: counted[name] for name in classes}


def why_exchanged(
    dataset: str, classes: Sequence[str], rows: Sequence[Prediction], ledger: Ledger
) -> str:
    """Return why labels and predictions of a table look exchanged; "" if they do not.

    Signs: the predictions have the class counts of a known set, and the labels do not; the labels
    are the most probable classes, and the predictions are not; the predictions are the truth that
    an experiment of the ledger has for these clips, and the labels are not.
    """
    truth, given = (class_counts(rows, classes, field) for field in ("label", "prediction"))
    known = [dict(one.counts) for one in known_class_counts(dataset, classes)]
    if given in known and truth not in known:
        one, other = ("/".join(str(c[name]) for name in classes) for c in (given, truth))
        return f"the predictions have the literature's class counts {one}, the labels {other}"
    if all(row.probabilities is not None for row in rows):
        tops = [(row, _top(row, classes)) for row in rows]
        if all(r.label in top for r, top in tops) and any(
            r.prediction not in top for r, top in tops
        ):
            return "every label is the most probable class, not every prediction is"
    stored = _stored_truth(dataset, classes, rows, ledger)
    pairs = [(row, stored[row.clip_id]) for row in rows] if stored else []
    if (
        pairs
        and all(row.prediction == label for row, label in pairs)
        and any(row.label != label for row, label in pairs)
    ):
        return "the predictions are the truth of these clips in the ledger, the labels are not"
    return ""


def _top(row: Prediction, classes: Sequence[str]) -> set[str]:
    highest = max(row.probabilities or (0.0,))
    pairs = zip(classes, row.probabilities or (), strict=True)
    return {name for name, value in pairs if value == highest}


def _stored_truth(
    dataset: str, classes: Sequence[str], rows: Sequence[Prediction], ledger: Ledger
) -> dict[str, Any] | None:
    """The truth of the same clips in an experiment that is not imported, if there is one."""
    clips = {row.clip_id for row in rows}
    for experiment in ledger.experiments():
        alike = experiment.dataset == dataset and experiment.classes == tuple(classes)
        imported = experiment.config.get("source") == "import"
        if alike and not imported and experiment.num_clips == len(clips):
            records = ledger.records(experiment)
            stored = {row.clip_id: row.label for record in records for row in record.predictions}
            if stored.keys() == clips:
                return stored
    return None
