"""A column, and what its cells say: figures with intervals, counts, durations, selections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from results.leaderboard.rows import Row
from results.statistics.summary import Score

UNKNOWN = "\N{EN DASH}"
Value = str | int | float | None


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
        offered: not shown at first, but a page can show it.
        best: which end is the better one, where one is.
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
    offered: bool = False
    best: Literal["", "high", "low"] = ""

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
    """Return a figure with its interval, such as ``0.721 [0.660, 0.780]``.

    Where the interval is not BCa it says ``percentile``, and where there is none why.
    """
    if score is None or score.value is None:
        return UNKNOWN
    ends, why = score.interval, score.interval.why
    if ends.low is None or ends.high is None:
        return f"{score.value:.3f}" + (f" ({why})" if why else "")
    method = "" if ends.method == "BCa" else f" {ends.method}"
    return f"{score.value:.3f} [{ends.low:.3f}, {ends.high:.3f}]{method}"


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


def count_text(number: int | None) -> str:
    """Return a large number with three digits, such as ``1.23 M``."""
    if number is None:
        return UNKNOWN
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + f"\N{NO-BREAK SPACE}{unit}"
    return str(number)


def duration_text(seconds: float | None) -> str:
    """Return a duration in its two largest units, such as ``1 h 5 min``."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((n for n, (number, _) in enumerate(parts) if number), 3)
    two = [(n, unit) for n, unit in parts[first : first + 2] if n or first == 3]
    return "\N{NO-BREAK SPACE}".join(f"{n}\N{NO-BREAK SPACE}{unit}" for n, unit in two)


def p_text(row: Row) -> str:
    """Return the corrected p against the best row."""
    if row.p_best is None:
        return UNKNOWN
    return f"{row.p_best:.3f}" if row.p_best >= 0.001 else "< 0.001"


def ranks_text(row: Row) -> str:
    """Return the interval of the rank, such as ``1-3`` with an en dash."""
    return UNKNOWN if row.ranks is None else f"{row.ranks[0]}\N{EN DASH}{row.ranks[1]}"


def date_of(row: Row) -> str | None:
    """Return the day on which the last fold was begun."""
    return None if row.made.last is None else row.made.last[:10]
