"""Per-clip predictions of an experiment in the forms that challenges ask for."""

from __future__ import annotations

from collections.abc import Sequence

from dadnet.base.errors import DadnetError
from dadnet.labels.tasks import text_of
from results.ledger.files import csv_text
from results.ledger.records import Experiment, FoldRecord

# The numbers of the Micro-Expressions Grand Challenge 2019.
_MEGC_CLASSES = ("negative", "positive", "surprise")


def megc_log(experiment: Experiment, records: Sequence[FoldRecord]) -> str:
    """Return the log of the Micro-Expressions Grand Challenge 2019.

    For every fold a line ``dataset subject``, then for every clip ``name truth prediction``, with
    the numbers 0 negative, 1 positive, 2 surprise.

    Args:
        experiment: with these three classes, one subject per fold.
        records: all of its folds.

    Raises:
        DadnetError: if the classes or the folds are others, or a name has a blank.
    """
    if experiment.multi_label or set(experiment.classes) != set(_MEGC_CLASSES):
        raise DadnetError(
            f"megc-log: expected the classes {', '.join(_MEGC_CLASSES)}, one of each clip, "
            f"got {', '.join(experiment.classes)}"
        )
    lines: list[str] = []
    for record in records:
        if len(record.test_subjects) != 1:
            raise DadnetError(
                f"megc-log: expected one subject per fold, got {len(record.test_subjects)} in "
                f"{record.fold}; the protocols loso and cde have that"
            )
        dataset, _, subject = record.test_subjects[0].partition("/")
        lines.append(f"{dataset} {subject}")
        for row in sorted(record.predictions, key=lambda p: p.clip_id):
            name = row.clip_id.removeprefix(f"{row.subject}/")
            if len(name.split()) != 1 or len(subject.split()) != 1:
                raise DadnetError(f"megc-log: expected names without blanks, got {row.clip_id!r}")
            truth, predicted = map(_MEGC_CLASSES.index, (str(row.label), str(row.prediction)))
            lines.append(f"{name} {truth} {predicted}")
    return "\n".join(lines) + "\n"


def prediction_csv(
    experiment: Experiment, records: Sequence[FoldRecord], part: str | None = None
) -> str:
    """Return the predictions as CSV: clip, part, prediction and the probability of each class.

    Several labels are joined by "+".

    Args:
        experiment: the experiment.
        records: all of its folds.
        part: only this part of an official split, such as ``testA`` for a leaderboard of DFME.

    Raises:
        DadnetError: if there is no such part.
    """
    rows = sorted((p for r in records for p in r.predictions), key=lambda p: p.clip_id)
    parts = sorted({p.part for p in rows})
    if part is not None and part not in parts:
        raise DadnetError(f"part: expected one of {', '.join(parts) or 'none'}, got {part!r}")
    with_probabilities = all(p.probabilities is not None for p in rows)
    names = [f"prob_{name}" for name in experiment.classes] if with_probabilities else []
    lines: list[list[str]] = [["clip", "subject", "part", "prediction", *names]]
    for row in rows:
        if part in (None, row.part):
            numbers = [f"{p:.6f}" for p in row.probabilities or ()] if with_probabilities else []
            clip = row.clip_id.removeprefix(f"{row.subject}/")
            subject = row.subject.partition("/")[2]
            lines.append([clip, subject, row.part, text_of(row.prediction), *numbers])
    return csv_text(lines)
