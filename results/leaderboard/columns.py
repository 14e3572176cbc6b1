"""The registry of columns: every table and export is made from this one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from dadnet.base.errors import DadnetError
from results.leaderboard.cells import (
    UNKNOWN,
    Column,
    Value,
    count_text,
    date_of,
    duration_text,
    p_text,
    ranks_text,
    rounded,
    score_text,
    selection_text,
    uar_name,
    uf1_name,
)
from results.leaderboard.rows import Row
from results.statistics.summary import Score, Summary


def _plain(key: str, title: str, value: Callable[[Row], Value], **rest: Any) -> Column:
    """Return the column of what people read as it is; `rest` are fields of `Column`."""

    def text(row: Row) -> str:
        shown = value(row)
        return UNKNOWN if shown is None else str(shown)

    return Column(key, title, value, text, **rest)


def _offered(
    key: str,
    title: str,
    value: Callable[[Row], Value],
    text: Callable[[Row], str] | None = None,
    help: str = "",
) -> Column:
    """Return a column that a page can show; with a text of its own it is a number."""
    plain = _plain(key, title, value, shown=False, offered=True, help=help)
    return plain if text is None else replace(plain, text=text, numeric=True)


def _score(
    key: str, title: str, score: Callable[[Summary], Score], help: str, of_labels: str = ""
) -> tuple[Column, ...]:
    """Return the column of a figure, and those of its ends and method for the exports."""

    def of(row: Row) -> Score | None:
        return score(row.summary) if row.summary else None

    def part(read: Callable[[Score], float | None]) -> Callable[[Row], Value]:
        return lambda row: rounded(read(known)) if (known := of(row)) else None

    def method(row: Row) -> Value:
        return known.interval.method if (known := of(row)) else None

    def text(row: Row) -> str:
        return score_text(of(row))

    value = part(lambda s: s.value)
    return (
        Column(key, title, value, text, True, True, help, of_labels, best="high"),
        _plain(f"{key}_low", f"{title} low", part(lambda s: s.interval.low), shown=False),
        _plain(f"{key}_high", f"{title} high", part(lambda s: s.interval.high), shown=False),
        _plain(f"{key}_interval_method", f"{title} interval", method, shown=False),
    )


def _figure(
    key: str,
    title: str,
    figure: Callable[[Summary], float | None],
    help: str,
    best: Literal["", "high", "low"] = "",
) -> Column:
    """Return the column of a figure without an interval, for the exports."""

    def value(row: Row) -> Value:
        return rounded(figure(row.summary)) if row.summary else None

    def text(row: Row) -> str:
        shown = value(row)
        return UNKNOWN if shown is None else f"{shown:.3f}"

    return Column(key, title, value, text, numeric=True, shown=False, help=help, best=best)


def _end_of_ranks(end: int) -> Callable[[Row], Value]:
    return lambda row: None if row.ranks is None else row.ranks[end]


COLUMNS: tuple[Column, ...] = (
    _plain("dataset", "Dataset", lambda row: row.experiment.dataset, shown=False),
    _plain("protocol", "Protocol", lambda row: row.experiment.protocol, shown=False),
    _plain("class_set", "Class set", lambda row: row.experiment.class_set, shown=False),
    _plain("part", "Part", lambda row: row.subset or None, shown=False),
    _plain("rank", "Rank", lambda row: row.rank, numeric=True, help="By UF1, complete rows only"),
    Column(
        "ranks",
        "Ranks",
        _end_of_ranks(0),
        ranks_text,
        numeric=True,
        help="95 % interval over resampled subjects; holds the rank",
    ),
    _plain("ranks_high", "Ranks high", _end_of_ranks(1), shown=False),
    _plain(
        "tie",
        "Tie",
        lambda row: row.tie,
        help="Rows with a letter are not told apart from the best row of that letter",
    ),
    # People read the name, which differs for all rows; programs get the name as well.
    Column("method", "Method", lambda row: row.experiment.method, lambda row: row.name),
    _plain("status", "Status", lambda row: row.status, shown=False),
    *_score(
        "uf1",
        uf1_name(False),
        lambda s: s.uf1,
        "Mean F1 over classes or labels, counts pooled",
        uf1_name(True),
    ),
    Column(
        "p_best",
        "p",
        lambda row: rounded(row.p_best),
        p_text,
        numeric=True,
        help="Against the best row: whole subjects swapped, corrected by Holm",
    ),
    *_score(
        "uar",
        uar_name(False),
        lambda summary: summary.uar,
        "Mean recall over classes or labels, counts pooled",
        uar_name(True),
    ),
    *_score("accuracy", "Accuracy", lambda summary: summary.accuracy, "Share of right clips"),
    _figure(
        "mcc", "MCC", lambda summary: summary.mcc, "Matthews correlation, counts pooled", "high"
    ),
    _figure(
        "log_loss",
        "Log-loss",
        lambda summary: summary.log_loss,
        "Mean of -ln p(truth), nats",
        "low",
    ),
    _figure(
        "ece", "ECE", lambda summary: summary.ece, "Expected calibration error, 15 bins", "low"
    ),
    _figure(
        "uf1_subject_mean_present",
        "Mean of subjects' UF1, classes present",
        lambda s: s.fold_uf1[0],
        "Not comparable with UF1",
    ),
    _figure(
        "uf1_subject_mean_all",
        "Mean of subjects' UF1, all classes",
        lambda s: s.fold_uf1[1],
        "Not comparable with UF1",
    ),
    Column(
        "peeking_gain",
        "Peeking gain",
        lambda row: rounded(row.gain),
        lambda row: UNKNOWN if row.gain is None else f"{row.gain:+.3f}",
        numeric=True,
        shown=False,
        help="UF1 above the same experiment with an honest selection",
    ),
    _plain("honest_twin", "Honest twin", lambda row: row.twin, shown=False),
    Column(
        "folds_done",
        "Folds",
        lambda row: row.num_done,
        lambda row: f"{row.num_done}/{row.num_planned}",
        numeric=True,
        help="Finished of planned",
    ),
    _plain("folds_planned", "Folds planned", lambda row: row.num_planned, shown=False),
    Column(
        "selection",
        "Selection",
        lambda row: row.experiment.selection,
        selection_text,
        help="What chose the epoch and the settings",
    ),
    _plain("num_clips", "Clips", lambda row: row.num_clips, numeric=True),
    _plain("num_subjects", "Subjects", lambda row: row.num_subjects, numeric=True),
    _plain("seed", "Seed", lambda row: row.experiment.seed, numeric=True),
    _plain(
        "experiment",
        "Experiment",
        lambda row: row.experiment.digest,
        help="Digest of everything that changes a number",
    ),
    _plain(
        "data", "Data", lambda r: r.experiment.data_digest, shown=False, help="Digest of the data"
    ),
    _plain("teacher", "Teacher", lambda row: row.experiment.teacher_digest, shown=False),
    _plain(
        "studies",
        "Searches",
        lambda row: " ".join(study.digest for study in row.studies) or None,
        shown=False,
    ),
    _plain("name", "Name", lambda row: row.name, shown=False),
    _offered("preset", "Preset", lambda row: row.preset, help="Recipe, and what was changed in it"),
    _offered(
        "parameters",
        "Parameters",
        lambda row: row.made.parameters,
        lambda row: count_text(row.made.parameters),
        help="Trainable numbers of the network",
    ),
    _offered(
        "flops",
        "FLOPs",
        lambda row: row.made.flops,
        lambda row: count_text(row.made.flops),
        help="Operations of convolutions and products for one clip, without the teacher; a "
        "multiplication and an addition are two",
    ),
    _offered(
        "training_seconds",
        "Training time",
        lambda row: row.made.seconds,
        lambda row: duration_text(row.made.seconds),
        help="Sum over the folds, of a stack each fold's share",
    ),
    _offered("date", "Date", date_of, help="Day on which the last fold was begun"),
    _plain(
        "note",
        "Note",
        lambda row: row.note,
        optional=True,
        help="Why the row is not ranked with the others, and what else to know of it",
    ),
)


def columns_for(rows: Iterable[Row]) -> tuple[Column, ...]:
    """Return the columns of a table with these rows."""
    members = list(rows)
    return tuple(
        column
        for column in COLUMNS
        if not column.optional or any(column.value(row) is not None for row in members)
    )


def shown_columns(
    rows: Iterable[Row], chosen: Sequence[Column] | None = None
) -> tuple[Column, ...]:
    """Return the columns of a table that people read: those chosen, or those that are shown."""
    if chosen is not None:
        return tuple(chosen)
    return tuple(column for column in columns_for(rows) if column.shown)


def first_columns(chosen: Sequence[Column] | None = None) -> frozenset[str]:
    """Return the keys of the columns that a page shows at first."""
    usual = [column for column in COLUMNS if column.shown and not column.optional]
    return frozenset(column.key for column in (usual if chosen is None else chosen))


def board_columns(chosen: Sequence[Column] | None = None) -> tuple[Column, ...]:
    """Return the columns of a page: the chosen ones, and those that a reader can show instead."""
    usual = [c for c in COLUMNS if (c.shown or c.offered) and not c.optional]
    first = list(chosen or ())
    return (*first, *(column for column in usual if column not in first))


def columns_of(keys: Sequence[str]) -> tuple[Column, ...] | None:
    """Return the columns of these keys, in their order; None of none.

    Raises:
        DadnetError: if there is no such column, or one is named twice.
    """
    by_key = {column.key: column for column in COLUMNS}
    if unknown := [key for key in keys if key not in by_key]:
        usual = ", ".join(column.key for column in COLUMNS if column.shown or column.offered)
        raise DadnetError(f"columns: expected some of {usual}, got: {unknown[0][:30]!r}")
    if len(set(keys)) < len(keys):
        raise DadnetError(f"columns: expected each once, got: {','.join(keys)[:80]}")
    return tuple(by_key[key] for key in keys) or None
