"""Predictions of other programs: one CSV of clips becomes an experiment with a fold per subject."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.labels.label_sets import label_sets_of
from results.ledger.ledger import Ledger
from results.ledger.records import PROTOCOLS, Experiment, FoldRecord, PlannedFold, Prediction
from results.ledger.sealed import check_choice, check_names, check_text

REQUIRED = ("subject", "clip", "label", "prediction")
PREFIX = "prob_"
THREE_CLASSES = ("negative", "positive", "surprise")


@dataclass(frozen=True)
class ForeignTable:
    """What a CSV says, and what the caller adds.

    Attributes:
        path: columns subject, clip, label, prediction; optional dataset and prob_<class>.
        method: the row's name; dataset: the leaderboard's dataset.
        protocol: one of `PROTOCOLS`; class_set: None = by the classes.
        selection: what chose the epoch, as far as it is known.
        classes: names in order; None = negative, positive, surprise for these names, otherwise
            the sorted names of the table.
    """

    path: Path
    method: str
    dataset: str
    protocol: str
    class_set: str | None = None
    selection: str = "unknown"
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_text("method", self.method)
        check_text("dataset", self.dataset)
        check_choice("protocol", self.protocol, PROTOCOLS)
        if any(self.class_set == labels.name for labels in label_sets_of(self.dataset)):
            raise DadnetError(
                f"class set {self.class_set}: clips have several labels there, a table gives one "
                "class of each; expected such as 3class"
            )


def import_table(table: ForeignTable, ledger: Ledger) -> Experiment:
    """Put a foreign table into the ledger; given again, it changes nothing.

    Everything is checked before anything is written.

    Raises:
        DadnetError: naming the line of the first row that is not usable.
    """
    rows = _rows(table.path)
    classes = _classes(table, rows)
    _check_columns(table.path, rows[0], classes)
    predictions = [
        _prediction(table, number, row, classes) for number, row in enumerate(rows, start=2)
    ]
    _check_unique(table.path, predictions)
    by_subject: dict[str, list[Prediction]] = {}
    for prediction in sorted(predictions, key=lambda item: item.clip_id):
        by_subject.setdefault(prediction.subject, []).append(prediction)
    experiment = _experiment(table, classes, by_subject)
    records = [_record(experiment, subject, by_subject[subject]) for subject in by_subject]
    ledger.open(experiment)
    for record in records:
        ledger.put(experiment, record)
    return experiment


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True) if line]
    except FileNotFoundError as error:
        raise DadnetError(f"expected a CSV file, got: no file at {path}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DadnetError(f"expected a CSV file in UTF-8, got: {path}: {error}") from error
    if len(lines) < 2:
        raise DadnetError(f"expected a header and at least one clip, got: {path} without rows")
    header, *body = [[cell.strip() for cell in line] for line in lines]
    missing = [name for name in REQUIRED if name not in header]
    if missing or len(set(header)) != len(header):
        raise DadnetError(
            f"expected columns {', '.join(REQUIRED)} once each, got: {', '.join(header)} in {path}"
        )
    for number, cells in enumerate(body, start=2):
        if len(cells) != len(header) or not all(cells):
            raise DadnetError(
                f"expected {len(header)} filled cells, got: {cells} in row {number} of {path}"
            )
    return [dict(zip(header, cells, strict=True)) for cells in body]


def _classes(table: ForeignTable, rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    if table.classes is not None:
        if table.class_set == "3class" and table.classes != THREE_CLASSES:
            raise DadnetError(
                f"class set 3class is {', '.join(THREE_CLASSES)}, got: {', '.join(table.classes)}"
            )
        return check_names("classes", table.classes, least=2)
    names = {row[column] for row in rows for column in ("label", "prediction")}
    names |= {name.removeprefix(PREFIX) for name in rows[0] if name.startswith(PREFIX)}
    if table.class_set == "3class" or names <= set(THREE_CLASSES):
        return THREE_CLASSES
    numbers = sorted(name for name in names if name.lstrip("-").isdigit())
    if numbers:  # 0 means negative in one program and happiness in the next
        raise DadnetError(
            f"expected class names, got: numbers {', '.join(numbers)} in {table.path}"
        )
    return check_names("classes", tuple(sorted(names)), least=2)


def _check_columns(path: Path, row: Mapping[str, str], classes: Sequence[str]) -> None:
    columns = {name for name in row if name not in (*REQUIRED, "dataset")}
    expected = {f"{PREFIX}{name}" for name in classes}
    if columns and columns != expected:
        raise DadnetError(
            f"expected no further columns or exactly {', '.join(sorted(expected))}, "
            f"got: {', '.join(sorted(columns))} in {path}"
        )


def _prediction(
    table: ForeignTable, number: int, row: Mapping[str, str], classes: Sequence[str]
) -> Prediction:
    for column in ("label", "prediction"):
        if row[column] not in classes:
            raise DadnetError(
                f"expected {column} as one of {', '.join(classes)}, "
                f"got: {row[column]!r} in row {number} of {table.path}"
            )
    subject = f"{row.get('dataset', table.dataset)}/{row['subject']}"
    try:
        probabilities = [float(row[f"{PREFIX}{name}"]) for name in classes if PREFIX + name in row]
        return Prediction(
            clip_id=f"{subject}/{row['clip']}",
            subject=subject,
            part="",
            label=row["label"],
            prediction=row["prediction"],
            probabilities=tuple(probabilities) or None,
        )
    except ValueError as error:
        raise DadnetError(f"row {number} of {table.path}: {error}") from error


def _check_unique(path: Path, predictions: Sequence[Prediction]) -> None:
    seen: set[str] = set()
    for number, prediction in enumerate(predictions, start=2):
        if prediction.clip_id in seen:
            raise DadnetError(
                f"expected each clip once, got: {prediction.clip_id} again "
                f"in row {number} of {path}"
            )
        seen.add(prediction.clip_id)


def _experiment(
    table: ForeignTable, classes: tuple[str, ...], by_subject: Mapping[str, list[Prediction]]
) -> Experiment:
    class_set = table.class_set or (
        "3class" if classes == THREE_CLASSES else f"own-{len(classes)}class"
    )
    rows = [row for rows in by_subject.values() for row in rows]
    shared: dict[str, Any] = {
        "method": table.method,
        "dataset": table.dataset,
        "protocol": table.protocol,
        "class_set": class_set,
        "classes": list(classes),
        "selection": table.selection,
    }
    predictions = digest16([row.to_dict() for row in rows])
    config = {"source": "import", **shared, "predictions": predictions}
    return Experiment(
        **shared,
        digest=digest16(config),
        seed=None,
        # Flows are not known here: the labels of the clips stand for the data.
        data_digest=digest16([[row.clip_id, row.label] for row in rows]),
        teacher_digest=None,
        config=config,
        folds=tuple(
            PlannedFold(subject, (subject,), len(rows)) for subject, rows in by_subject.items()
        ),
    )


def _record(experiment: Experiment, subject: str, rows: Sequence[Prediction]) -> FoldRecord:
    return FoldRecord(
        experiment=experiment.digest,
        fold=subject,
        fit_subjects=(),
        val_subjects=(),
        test_subjects=(subject,),
        selection=experiment.selection,
        chosen_epoch=None,
        epochs_run=None,
        curves={},
        predictions=tuple(rows),
        teacher_digest=None,
        audit="imported: the training was not seen",
        host={},
    )
