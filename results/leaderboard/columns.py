"""The registry of columns: every table and export is made from this one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from results.leaderboard.rows import Row
from results.statistics.summary import Score, Summary

Value = str | int | float | None
UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: its name in CSV and JSON; unique.
        title: its heading.
        value: row -> what CSV and JSON hold; None where there is nothing.
        text: row -> what people read.
        numeric: aligned and sorted as a number.
        shown: part of the tables that people read; the others are in CSV and JSON only.
        help: one line for the heading's title.
        of_labels: its heading where clips have several labels, if it is another one there.
        optional: left out where no row has a value.
    """

    key: str
    title: str
    value: Callable[[Row], Value]
    text: Callable[[Row], str]
    numeric: bool = False
    shown: bool = True
    help: str = ""
    of_labels: str = ""
    optional: bool = False

    def heading(self, multi_label: bool) -> str:
        """Return the heading in a table of one class, or of several labels, for each clip."""
        return self.of_labels if multi_label and self.of_labels else self.title


def uf1_name(multi_label: bool) -> str:
    """Return what the figure that ranks is called."""
    return "Macro F1" if multi_label else "UF1"


def uar_name(multi_label: bool) -> str:
    """Return what the mean recall is called."""
    return "Macro recall" if multi_label else "UAR"


def score_text(score: Score | None) -> str:
    """Return a figure with its interval, such as ``0.721 [0.660, 0.780]``."""
    if score is None or score.value is None:
        return UNKNOWN
    if score.interval.low is None or score.interval.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.interval.low:.3f}, {score.interval.high:.3f}]"


def selection_text(row: Row) -> str:
    """Return the selection word, with a warning where it looked at the test subjects."""
    searched = ", searched, not nested" if row.not_nested else ""
    if not row.peeking:
        return f"{row.experiment.selection}{searched}"
    gain = "" if row.gain is None else f" gain {row.gain:+.2f}"
    return f"{row.experiment.selection} (test-peeking{gain}){searched}"


def rounded(value: float | None) -> float | None:
    """Return a figure as the exports hold it."""
    return None if value is None else round(value, 6)


def _plain(key: str, title: str, value: Callable[[Row], Value], **rest: Any) -> Column:
    """Return the column of what people read as it is; `rest` are fields of `Column`."""

    def text(row: Row) -> str:
        shown = value(row)
        return UNKNOWN if shown is None else str(shown)

    return Column(key, title, value, text, **rest)


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

    value = part(lambda s: s.value)
    return (
        Column(key, title, value, lambda row: score_text(of(row)), True, True, help, of_labels),
        _plain(f"{key}_low", f"{title} low", part(lambda s: s.interval.low), shown=False),
        _plain(f"{key}_high", f"{title} high", part(lambda s: s.interval.high), shown=False),
        _plain(f"{key}_interval_method", f"{title} interval", method, shown=False),
    )


def _figure(key: str, title: str, figure: Callable[[Summary], float | None], help: str) -> Column:
    """Return the column of a figure without an interval, for the exports."""

    def value(row: Row) -> Value:
        return rounded(figure(row.summary)) if row.summary else None

    def text(row: Row) -> str:
        shown = value(row)
        return UNKNOWN if shown is None else f"{shown:.3f}"

    return Column(key, title, value, text, True, False, help)


def _text_of_p(row: Row) -> str:
    if row.p_best is None:
        return UNKNOWN
    return f"{row.p_best:.3f}" if row.p_best >= 0.001 else "< 0.001"


def _text_of_ranks(row: Row) -> str:
    return UNKNOWN if row.ranks is None else f"{row.ranks[0]}\N{EN DASH}{row.ranks[1]}"


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
        _text_of_ranks,
        numeric=True,
        help="95 % interval of the rank over resampled subjects; it holds the rank",
    ),
    _plain("ranks_high", "Ranks high", _end_of_ranks(1), shown=False),
    _plain(
        "tie",
        "Tie",
        lambda row: row.tie,
        help="The test finds no difference between rows with the same letter",
    ),
    _plain("method", "Method", lambda row: row.experiment.method),
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
        _text_of_p,
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
    _figure("mcc", "MCC", lambda summary: summary.mcc, "Matthews correlation, counts pooled"),
    _figure("log_loss", "Log-loss", lambda summary: summary.log_loss, "Mean of -ln p(truth), nats"),
    _figure("ece", "ECE", lambda summary: summary.ece, "Expected calibration error, 15 bins"),
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
