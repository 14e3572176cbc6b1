"""The board as CSV, JSON and Markdown: the same board always gives the same bytes."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from results.columns import COLUMNS
from results.rows import Board, Group, Row

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#])")


def to_csv(board: Board) -> str:
    """Return one line per row, with every column of the registry; empty where unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.key for column in COLUMNS)
    for row in (row for group in board.groups for row in group.rows):
        values = (column.value(row) for column in COLUMNS)
        writer.writerow("" if value is None else value for value in values)
    return text.getvalue()


def to_json(board: Board) -> str:
    """Return the groups with all columns, class F1, confusion matrix and subjects of each row."""
    groups = [_group(group) for group in board.groups]
    value = {"schema": 1, "groups": groups}
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(board: Board) -> str:
    """Return one table per group, with names escaped."""
    return "\n".join(_markdown_group(group) for group in board.groups)


def _group(group: Group) -> dict[str, Any]:
    return {
        "dataset": group.dataset,
        "protocol": group.protocol,
        "class_set": group.class_set,
        "part": group.part or None,
        "classes": list(group.classes),
        "rows": [_row(row) for row in group.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    subjects = [
        {"subject": tally.subject, "right": tally.right, "total": tally.total}
        for tally in row.tallies
    ]
    columns = {column.key: column.value(row) for column in COLUMNS}
    details: dict[str, Any] = {"confusion": None, "class_f1": None}
    if row.summary is not None:
        rounded = [None if f1 is None else round(f1, 6) for f1 in row.summary.class_f1]
        details = {
            "confusion": [list(counts) for counts in row.summary.confusion],
            "class_f1": dict(zip(row.experiment.classes, rounded, strict=True)),
        }
    return {**columns, **details, "subjects": subjects}


def _markdown_group(group: Group) -> str:
    shown = [column for column in COLUMNS if column.shown]
    heading = f"## {_escaped(group.title)}\n"
    titles = [_escaped(column.title) for column in shown]
    rules = ["---:" if column.numeric else "---" for column in shown]
    body = [[_escaped(column.text(row)) for column in shown] for row in group.rows]
    return "\n".join(
        [heading, *(f"| {' | '.join(cells)} |" for cells in (titles, rules, *body)), ""]
    )


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text).replace("&", "&amp;")
