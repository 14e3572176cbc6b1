"""Tables as plain text for terminals and logs, among them the leaderboard."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from results.leaderboard.cells import Column
from results.leaderboard.columns import COLUMNS
from results.leaderboard.rows import MOST_ROWS, Group, Leaderboard, Row

# Columns of a terminal's table, the most important first: the last ones are left out first.
_BY_IMPORTANCE = (
    "method", "uf1", "rank", "folds_done", "uar", "selection", "experiment", "tie", "p_best",
    "accuracy", "seed", "ranks", "preset", "num_clips", "num_subjects", "training_seconds",
    "parameters", "flops", "date",
)  # fmt: skip
# So many of them are worth more than a selection on one line.
_NEEDED = 11
# A narrower column of names would break most of them into many lines.
_ROOM = 32
_LONGEST = 1000
# The heading is as wide; so many digits of a digest name an experiment.
_DIGITS = 10
# It measures text. A console of the terminal would have 80 characters wherever TERM is "dumb".
_RULER = Console(file=io.StringIO(), width=_LONGEST, force_terminal=False)


def terminal_width() -> int:
    """Return the width of the terminal in characters, at least 80; 120 where there is none."""
    return min(_LONGEST, max(80, shutil.get_terminal_size((120, 24)).columns))


def text_table(
    leaderboard: Leaderboard,
    width: int = 120,
    most: int = MOST_ROWS,
    chosen: Sequence[Column] | None = None,
) -> str:
    """Return the leaderboard as plain text, one table per group.

    Names are wrapped between words, and no other cell is; columns that find no room are left out,
    the least important first, and a line below names them.

    Args:
        leaderboard: what to show.
        width: in characters.
        most: rows of a group; a line says how many more there are.
        chosen: the columns, the most important first.
    """
    lines: list[RenderableType] = []
    for group in leaderboard.groups:
        lines += [*([""] if lines else []), *_group(group, width, most, chosen)]
    return printed(lines, width)


def titled_table(title: str) -> Table:
    """Return an empty table in the style of all tables here."""
    # Text, not str: a name such as "[red]" is a name and no markup.
    return Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def printed(lines: Sequence[RenderableType], width: int) -> str:
    """Return tables and lines as plain text of a width in characters."""
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, force_terminal=False)
    for line in lines:
        console.print(line)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _group(
    group: Group, width: int, most: int, chosen: Sequence[Column] | None
) -> list[RenderableType]:
    by_key = {column.key: column for column in COLUMNS}
    ordered = [by_key[key] for key in _BY_IMPORTANCE] if chosen is None else list(chosen)
    rows, left = group.rows[:most], list[Column]()
    whole = chosen is not None
    cells = {column.key: _Cells(column, group, rows, whole, width // 2) for column in ordered}
    while len(ordered) > 2 and _table(group, ordered, cells)[1] > width:
        wide = [cells[c.key] for c in ordered if cells[c.key].width > cells[c.key].least]
        # What is left out first is worth less than lines that are not wrapped.
        if wide and (whole or ordered[-1].key in _BY_IMPORTANCE[:_NEEDED]):
            wide[-1].width = wide[-1].least
        else:
            left.append(ordered.pop())
    shown = ordered if whole else [c for c in COLUMNS if c in ordered]
    if "method" in cells and any(column.key == "selection" for column in left):
        # Which rows saw the test subjects is always said.
        names = [f"{row.name} (test-peeking)" if row.peeking else row.name for row in rows]
        cells["method"].texts = [Text(name) for name in names]
    _share(cells, shown, width - _table(group, shown, cells)[1])
    lines: list[RenderableType] = [_table(group, shown, cells)[0]]
    if left:
        titles = ", ".join(column.heading(group.multi_label) for column in reversed(left))
        more = "" if whole else f"; --columns method,uf1,{left[-1].key} shows what it names"
        lines.append(Text(f"left out at {width} characters: {titles}{more}"))
    # Text, not str: a name such as "[red]" is a name and no markup.
    lines += [Text(f"{row.name}: {row.note}") for row in rows if row.note]
    if len(group.rows) > most:
        lines.append(f"and {len(group.rows) - most} more rows, in CSV and JSON")
    if group.reported:
        lines.append(f"{len(group.reported)} published figures, not ranked, are on the page")
    return lines


class _Cells:
    """The cells of a column, and how wide it has to be.

    Args:
        column: the column; group, rows: of the table.
        whole: whether digests and intervals are given in full.
        longest: a longer word is broken, since it would leave no room for figures.
    """

    def __init__(
        self, column: Column, group: Group, rows: Sequence[Row], whole: bool, longest: int
    ) -> None:
        self.heading = Text(column.heading(group.multi_label))
        self.texts = [Text(column.text(row) if whole else _cell(column, row)) for row in rows]
        texts = (self.heading, *self.texts)
        sizes = [Measurement.get(_RULER, _RULER.options, text) for text in texts]
        self.width = self.natural = self.least = max(size.maximum for size in sizes)
        self.wraps = column.key in ("method", "selection", "preset")
        if self.wraps:
            self.least = min(longest, max(size.minimum for size in sizes))
        if column.key == "method":
            self.width = self.least = max(self.least, min(self.natural, _ROOM))


def _share(cells: dict[str, _Cells], shown: Sequence[Column], spare: int) -> None:
    """Give the room that is left to the columns whose cells are wrapped, the first one first."""
    for column in shown:
        one = cells[column.key]
        more = max(min(one.natural - one.width, spare), min(spare, 0) if one.wraps else 0)
        one.width += more
        spare -= more


def _table(group: Group, columns: Sequence[Column], cells: dict[str, _Cells]) -> tuple[Table, int]:
    """Return the table, and the least width that it needs."""
    table = titled_table(group.title)
    for column in columns:
        one = cells[column.key]
        table.add_column(
            one.heading,
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=not one.wraps,
            width=one.width,
        )
    for line in zip(*(cells[column.key].texts for column in columns), strict=True):
        table.add_row(*line)
    return table, Measurement.get(_RULER, _RULER.options, table).minimum


def _cell(column: Column, row: Row) -> str:
    """Return a cell that was not asked for by name: only UF1 has room for its interval."""
    value = column.value(row)
    if column.key in ("uar", "accuracy") and isinstance(value, float):
        return f"{value:.3f}"
    return column.text(row)[:_DIGITS] if column.key == "experiment" else column.text(row)
