"""Predictions of other programs: a file of clips becomes an experiment with a fold per subject."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.datasets.literature import difference_from_literature
from dadnet.datasets.subjects import COMPOSITES, plain_name, two_spellings
from dadnet.labels.label_sets import label_sets_of
from results.exchange.exchanged import class_counts, why_exchanged
from results.exchange.logs import FORMATS, PREFIX, REQUIRED, Foreign, read_foreign
from results.ledger.ledger import Ledger
from results.ledger.records import PROTOCOLS, Experiment, FoldRecord, PlannedFold, Prediction
from results.ledger.sealed import check_choice, check_names, check_text

THREE_CLASSES = ("negative", "positive", "surprise")
_NUMBER = re.compile(r"([0-9]+)(?:\.0*)?")


@dataclass(frozen=True)
class ForeignTable:
    """What a file says, and what the caller adds.

    Attributes:
        path: a table with the columns subject, clip, label, prediction, optional dataset and
            prob_<class>; or a log, see `results.exchange.logs`.
        method: the row's name; dataset: the leaderboard's dataset.
        protocol: one of `PROTOCOLS`; class_set: None = by the classes.
        selection: what chose the epoch, as far as it is known.
        classes: names in order; None = negative, positive, surprise for these names, otherwise
            the sorted names of the table. Numbers in the file count in this order from 0.
        format: one of `FORMATS`.
        labels: what the words or numbers of the file mean; empty: they are the classes.
    """

    path: Path
    method: str
    dataset: str
    protocol: str
    class_set: str | None = None
    selection: str = "unknown"
    classes: tuple[str, ...] | None = None
    format: str = "auto"
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("method", self.method)
        check_text("dataset", self.dataset)
        check_choice("protocol", self.protocol, PROTOCOLS)
        check_choice("format", self.format, FORMATS)
        if any(self.class_set == labels.name for labels in label_sets_of(self.dataset)):
            raise DadnetError(
                f"class set {self.class_set}: clips have several labels there, a table gives one "
                "class of each; expected such as 3class"
            )


@dataclass(frozen=True)
class Imported:
    """An imported experiment, and what was said of the file."""

    experiment: Experiment
    notes: tuple[str, ...]


def import_table(table: ForeignTable, ledger: Ledger) -> Experiment:
    """Put a foreign table into the ledger; see :func:`import_file`."""
    return import_file(table, ledger).experiment


def import_file(table: ForeignTable, ledger: Ledger) -> Imported:
    """Put a file of predictions into the ledger; given again, it changes nothing.

    Everything is checked before anything is written.

    Raises:
        DadnetError: naming the line of the first row that is not usable, or why truth and
            prediction look exchanged.
    """
    composite = (
        table.dataset in COMPOSITES
        or "+" in table.dataset
        or table.protocol in ("cde", "cross-dataset")
    )
    foreign = read_foreign(table.path, table.format, table.dataset, composite)
    if table.labels:
        foreign = foreign.translated(table.labels, table.path)
    table, notes = _with_selection(table, foreign), list(foreign.notes)
    classes = _classes(table, foreign)
    rows = _with_names(table, foreign, classes, notes)
    _check_columns(table.path, rows[0], classes)
    predictions = [
        _prediction(table, where, row, classes)
        for where, row in zip(foreign.where, rows, strict=True)
    ]
    _check_unique(foreign, predictions)
    if why := why_exchanged(table.dataset, classes, predictions, ledger):
        raise DadnetError(f"label and prediction look exchanged in {table.path}: {why}")
    by_subject: dict[str, list[Prediction]] = {}
    for prediction in sorted(predictions, key=lambda item: item.clip_id):
        by_subject.setdefault(prediction.subject, []).append(prediction)
    experiment = _experiment(table, classes, by_subject)
    audit = "; ".join(["imported: the training was not seen", *notes])
    records = [_record(experiment, subject, by_subject[subject], audit) for subject in by_subject]
    ledger.check(experiment)
    ledger.open(experiment)
    for record in records:
        ledger.put(experiment, record)
    told = difference_from_literature(table.dataset, class_counts(predictions, classes, "label"))
    return Imported(experiment, (*notes, told) if told else tuple(notes))


def _with_selection(table: ForeignTable, foreign: Foreign) -> ForeignTable:
    if not foreign.best_epoch or table.selection == "oracle":
        return table
    if table.selection != "unknown":
        raise DadnetError(
            f"selection: {table.path} has lists `Best Predicted`, of the best epoch on the test "
            f"subject; expected oracle, got {table.selection}"
        )
    return replace(table, selection="oracle")


def _classes(table: ForeignTable, foreign: Foreign) -> tuple[str, ...]:
    if table.classes is not None:
        if table.class_set == "3class" and table.classes != THREE_CLASSES:
            raise DadnetError(
                f"class set 3class is {', '.join(THREE_CLASSES)}, got: {', '.join(table.classes)}"
            )
        return check_names("classes", table.classes, least=2)
    rows = foreign.rows
    names = {row[column] for row in rows for column in ("label", "prediction") if column in row}
    names |= {name.removeprefix(PREFIX) for name in rows[0] if name.startswith(PREFIX)}
    if table.class_set == "3class" or {name.lower() for name in names} <= set(THREE_CLASSES):
        return THREE_CLASSES
    numbers = sorted(name for name in names if name.lstrip("-").isdigit())
    if numbers and foreign.format != "csv" and set(numbers) == names <= {"0", "1", "2"}:
        return THREE_CLASSES
    if numbers:  # 0 means negative in one program and happiness in the next
        raise DadnetError(
            f"expected class names, got: numbers {', '.join(numbers)} in {table.path}; --classes "
            "NAME,NAME,... says what they mean, from 0"
        )
    return check_names("classes", tuple(sorted(names)), least=2)


def _with_names(
    table: ForeignTable, foreign: Foreign, classes: Sequence[str], notes: list[str]
) -> list[dict[str, str]]:
    """The rows with class names: numbers count from 0, and the case of letters does not matter."""
    columns = [name for name in ("label", "prediction") if name in foreign.rows[0]]
    headers = [name for name in foreign.rows[0] if name.startswith(PREFIX)]
    written = {row[column] for row in foreign.rows for column in columns}
    written |= {name.removeprefix(PREFIX) for name in headers}
    names = {cell: name for name in classes for cell in written if cell.lower() == name.lower()}
    names |= {name: name for name in classes}
    unknown = sorted(written - set(names))
    numbers = [cell for cell in unknown if _NUMBER.fullmatch(cell)]
    if numbers and (others := [cell for cell in unknown if cell not in numbers]):
        raise DadnetError(
            f"expected all classes as names or all as numbers from 0, got: {others[0]!r} and "
            f"{numbers[0]!r} in {table.path}"
        )
    if unknown and numbers:
        names |= _numbers(table, unknown, classes)
        meaning = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
        notes.append(f"numbers of classes read as {meaning}")
    rows = []
    for row in foreign.rows:
        named = {
            PREFIX + names.get(key.removeprefix(PREFIX), key.removeprefix(PREFIX))
            if key in headers
            else key: names.get(cell, cell) if key in columns else cell
            for key, cell in row.items()
        }
        rows.append(named)
    if "prediction" not in columns:
        notes.append("no column prediction: the most probable class is the prediction")
    return rows


def _numbers(table: ForeignTable, cells: Iterable[str], classes: Sequence[str]) -> dict[str, str]:
    """The class of each number."""
    values = {cell: int(cell.split(".")[0]) for cell in cells}
    last = len(classes) - 1
    if max(values.values()) > last:
        one_based = min(values.values()) == 1 and max(values.values()) == last + 1
        raise DadnetError(
            f"expected numbers from 0 to {last} for the classes {', '.join(classes)}, got: "
            f"{', '.join(sorted(values, key=lambda c: values[c]))} in {table.path}"
            + ("; they seem to count from 1" if one_based else "")
        )
    return {cell: classes[value] for cell, value in values.items()}


def _check_columns(path: Path, row: Mapping[str, str], classes: Sequence[str]) -> None:
    columns = {name for name in row if name not in (*REQUIRED, "dataset")}
    expected = {f"{PREFIX}{name}" for name in classes}
    if columns and columns != expected:
        raise DadnetError(
            f"expected no further columns or exactly {', '.join(sorted(expected))}, "
            f"got: {', '.join(sorted(columns))} in {path}"
        )


def _prediction(
    table: ForeignTable, where: str, row: Mapping[str, str], classes: Sequence[str]
) -> Prediction:
    for column in ("label", "prediction"):
        if column in row and row[column] not in classes:
            raise DadnetError(
                f"expected {column} as one of {', '.join(classes)}, got: {row[column]!r} in {where}"
            )
    subject = f"{row.get('dataset', table.dataset)}/{plain_name(row['subject'])}"
    try:
        probabilities = [float(row[f"{PREFIX}{name}"]) for name in classes if PREFIX + name in row]
        _check_scale(probabilities)
        likely = classes[probabilities.index(max(probabilities))] if probabilities else ""
        return Prediction(
            clip_id=f"{subject}/{plain_name(row['clip'])}",
            subject=subject,
            part="",
            label=row["label"],
            prediction=row.get("prediction", likely),
            probabilities=tuple(probabilities) or None,
        )
    except ValueError as error:
        raise DadnetError(f"{where}: {error}") from error


def _check_scale(values: Sequence[float]) -> None:
    """Name the two usual figures that are no probabilities."""
    total = sum(values)
    if values and min(values) >= 0 and 99 <= total <= 101:
        raise DadnetError("expected probabilities that sum to 1, got: percentages; divide by 100")
    if values and (min(values) < 0 or max(values) > 1) and total == total:
        raise DadnetError(
            f"expected probabilities in [0, 1] that sum to 1, got: {', '.join(map(str, values))}, "
            "such as logits"
        )


def _check_unique(foreign: Foreign, predictions: Sequence[Prediction]) -> None:
    seen: set[str] = set()
    for where, prediction in zip(foreign.where, predictions, strict=True):
        if prediction.clip_id in seen:
            raise DadnetError(
                f"expected each clip once, got: {prediction.clip_id} again in {where}"
            )
        seen.add(prediction.clip_id)
    if pair := two_spellings(prediction.subject for prediction in predictions):
        raise DadnetError(
            f"expected one way of writing each subject, got: {pair[0]!r} and {pair[1]!r}, which "
            "would be tested as two"
        )


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


def _record(
    experiment: Experiment, subject: str, rows: Sequence[Prediction], audit: str
) -> FoldRecord:
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
        audit=audit,
        host={},
    )
