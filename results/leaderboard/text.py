"""Tables as plain text for terminals and logs, among them the leaderboard."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from results.leaderboard.columns import COLUMNS, Column
from results.leaderboard.rows import MOST_ROWS, Group, Leaderboard, Row

# The others are left to the pages: with them no line fits a terminal.
_LEFT_OUT = ("data", "ranks", "num_subjects", "note")


def text_table(leaderboard: Leaderboard, width: int = 120, most: int = MOST_ROWS) -> str:
    """Return the leaderboard as plain text, one table per group.

    Args:
        leaderboard: what to show.
        width: in characters; longer cells are wrapped.
        most: rows of a group; a line says how many more there are.
    """
    lines: list[RenderableType] = []
    for group in leaderboard.groups:
        lines.append(_table(group, most))
        # Text, not str: a name such as "[red]" is a name and no markup.
        noted = [row for row in group.rows[:most] if row.note]
        lines += [Text(f"{row.experiment.method}: {row.note}") for row in noted]
        if len(group.rows) > most:
            lines.append(f"and {len(group.rows) - most} more rows, in CSV and JSON")
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


def _table(group: Group, most: int) -> Table:
    shown = [column for column in COLUMNS if column.shown and column.key not in _LEFT_OUT]
    table = titled_table(group.title)
    for column in shown:
        table.add_column(
            Text(column.heading(group.multi_label)),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=column.key not in ("method", "selection"),
        )
    for row in group.rows[:most]:
        table.add_row(*(Text(_cell(column, row)) for column in shown))
    return table


def _cell(column: Column, row: Row) -> str:
    """Return the cell of a terminal's table, where only UF1 has room for its interval."""
    value = column.value(row)
    short = column.key in ("uar", "accuracy") and isinstance(value, float)
    return f"{value:.3f}" if short else column.text(row)
