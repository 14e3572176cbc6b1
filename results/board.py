"""The leaderboard: one group per dataset, protocol and class set, one row per experiment.

Composites and official splits have a further group for each of their parts. Only complete
experiments are ranked, and only against the same dataset, protocol and classes.
Rows whose selection looked at the test subjects (`oracle`) are shown and never ranked.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dadnet.errors import DadnetError
from results.columns import COLUMNS, Column
from results.ledger import Ledger
from results.records import Experiment, FoldRecord, Prediction
from results.rows import Board, Group, Row, Tally
from results.stats import prediction_confusions, subject_confusions, summarise
from results.studies import StudyLedger, StudyRecord


def leaderboard(ledger: Ledger | str | Path, dataset: str | None = None) -> Board:
    """Return the board of a ledger: the same ledger always gives the same board.

    Args:
        ledger: the ledger or its folder.
        dataset: only this dataset, if given.

    Raises:
        DadnetError: if there is no experiment, or none on the dataset.
    """
    ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    experiments = ledger.experiments()
    if not experiments:
        raise DadnetError(f"expected a ledger with experiments, got: nothing in {ledger.root}")
    chosen = [e for e in experiments if dataset is None or e.dataset == dataset]
    if not chosen:
        available = ", ".join(sorted({e.dataset for e in experiments}))
        raise DadnetError(f"no experiment on dataset {dataset!r}; available: {available}")
    studies = StudyLedger(ledger.root).studies()
    groups: dict[tuple[str, str, str, tuple[str, ...], str], list[Row]] = {}
    for experiment in chosen:
        for row in _rows(ledger, experiment, studies):
            key = (
                experiment.dataset,
                experiment.protocol,
                experiment.class_set,
                experiment.classes,
                row.part,
            )
            groups.setdefault(key, []).append(row)
    return Board(tuple(Group(*key, rows=_ranked(groups[key])) for key in sorted(groups)))


def text_table(board: Board, width: int = 120) -> str:
    """Return the board as plain text, one table per group, for terminals and logs.

    Args:
        board: what to show.
        width: in characters; longer cells are wrapped.
    """
    # The data digest is left to the pages: with it no line fits a terminal.
    shown = [column for column in COLUMNS if column.shown and column.key != "data"]
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, force_terminal=False)
    for group in board.groups:
        # Text, not str: a name such as "[red]" is a name and no markup.
        table = Table(
            title=Text(group.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for column in shown:
            table.add_column(
                Text(column.title),
                justify="right" if column.numeric else "left",
                overflow="fold",
                no_wrap=column.key not in ("method", "selection"),
            )
        for row in group.rows:
            table.add_row(*(Text(_cell(column, row)) for column in shown))
        console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _cell(column: Column, row: Row) -> str:
    """Return the cell of a terminal's table, where only UF1 has room for its interval."""
    value = column.value(row)
    short = column.key in ("uar", "accuracy") and isinstance(value, float)
    return f"{value:.3f}" if short else column.text(row)


def part_of(protocol: str, prediction: Prediction) -> str:
    """Return the part that a prediction is reported under beside all test clips, or "".

    Composites are reported by the dataset of the subject, official splits by their test parts.
    """
    if protocol in ("cde", "cross-dataset"):
        dataset, slash, _ = prediction.subject.partition("/")
        return dataset if slash else ""
    return prediction.part if protocol == "official" else ""


def _rows(ledger: Ledger, experiment: Experiment, studies: tuple[StudyRecord, ...]) -> list[Row]:
    """Return the experiment's row and, once it is complete, one per part of the same predictions.

    The folds are pooled first, so a part's figures are of models that were trained on all parts.
    """
    records = ledger.records(experiment)
    whole = _row(experiment, records, studies)
    parts: dict[str, list[Prediction]] = {}
    for prediction in (p for record in records for p in record.predictions):
        parts.setdefault(part_of(experiment.protocol, prediction), []).append(prediction)
    if not whole.complete or len(parts) < 2:
        return [whole]
    rows = [whole]
    for part in sorted(parts):
        confusions = prediction_confusions(parts[part], experiment.classes)
        tallies = tuple(
            Tally(subject, int(counts.trace()), int(counts.sum()))
            for subject, counts in confusions.items()
        )
        summary = summarise(confusions, experiment.digest)
        rows.append(replace(whole, summary=summary, tallies=tallies, part=part))
    return rows


def _row(
    experiment: Experiment, records: Sequence[FoldRecord], studies: tuple[StudyRecord, ...]
) -> Row:
    confusions = subject_confusions(records, experiment.classes)
    # A subject of an unfinished fold has no counts yet; alone in its fold, its total is known.
    tallies = {
        subject: Tally(subject, None, fold.num_test_clips if len(fold.test_subjects) == 1 else None)
        for fold in experiment.folds
        for subject in fold.test_subjects
    }
    for subject, counts in confusions.items():
        tallies[subject] = Tally(subject, int(counts.trace()), int(counts.sum()))
    complete = len(records) == len(experiment.folds)
    return Row(
        experiment=experiment,
        num_done=len(records),
        num_planned=len(experiment.folds),
        summary=summarise(confusions, experiment.digest) if complete else None,
        tallies=tuple(tallies[subject] for subject in sorted(tallies)),
        studies=tuple(study for study in studies if experiment.digest in study.scored),
    )


def _ranked(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return ranked rows by UF1, then test-peeking ones, then incomplete ones.

    Rows with equal UF1 share a rank.
    """
    placed: list[Row] = []
    for row in sorted(rows, key=_order):
        rank = None
        if row.status == "ranked":
            rank = len(placed) + 1
            if placed and _uf1(placed[-1]) == _uf1(row):
                rank = placed[-1].rank
        placed.append(replace(row, rank=rank))
    return tuple(placed)


def _order(row: Row) -> tuple[int, float, float, str, int, str]:
    place = ("ranked", "test-peeking", "incomplete").index(row.status)
    experiment = row.experiment
    seed = -1 if experiment.seed is None else experiment.seed
    uar = row.summary.uar.value if row.summary else None
    return (place, -_uf1(row), -(uar or 0.0), experiment.method, seed, experiment.digest)


def _uf1(row: Row) -> float:
    # Rounded as exported: a difference that nobody can see is a tie.
    return round((row.summary.uf1.value if row.summary else None) or 0.0, 6)
