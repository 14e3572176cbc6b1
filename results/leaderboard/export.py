"""The leaderboard as CSV, JSON, Markdown and LaTeX: equal leaderboards give equal bytes."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import numpy as np

from results.leaderboard.columns import columns_for, rounded, uf1_name
from results.leaderboard.published import Reported
from results.leaderboard.rows import Group, Leaderboard, Row, SeedRows
from results.ledger.files import csv_text

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{EN DASH}": "--",
    "\N{NO-BREAK SPACE}": "~",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#])")


def to_csv(leaderboard: Leaderboard) -> str:
    """Return one line per row, with every column of the registry; empty where unknown."""
    columns = columns_for(leaderboard.rows)
    values = ([column.value(row) for column in columns] for row in leaderboard.rows)
    return csv_text([[column.key for column in columns], *values])


def to_json(leaderboard: Leaderboard) -> str:
    """Return the groups, one row to a line: columns, class F1, confusion matrix, subjects."""
    return f'{{"groups":[\n{",".join(map(_group, leaderboard.groups))}],"schema":2}}\n'


def to_markdown(leaderboard: Leaderboard) -> str:
    """Return one table per group, with names escaped."""
    return "\n".join(_markdown_group(group) for group in leaderboard.groups)


def _group(group: Group) -> str:
    rows = ",\n".join(_dumps(_row(row)) for row in group.rows)
    head = {
        "dataset": group.dataset,
        "protocol": group.protocol,
        "class_set": group.class_set,
        "part": group.subset or None,
        "classes": list(group.classes),
        "detectable_gap": group.gap and rounded(group.gap[0]),
        "seeds": [_seeds(item) for item in group.seeds],
        "reported": [_reported(item) for item in group.reported],
    }
    return f'{_dumps(head)[:-1]},"rows":[\n{rows}]}}\n'


def _dumps(value: object) -> str:
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def _row(row: Row) -> dict[str, Any]:
    # subject: [right, clips] (of several labels: decisions), with null for what is not known
    if row.complete:
        pairs = np.stack([row.counts.num_right, row.counts.num_decisions], axis=1)
        subjects = dict(zip(row.counts.subjects, pairs.tolist(), strict=True))
    else:
        subjects = {tally.subject: [tally.right, tally.total] for tally in row.tallies}
    columns = {column.key: column.value(row) for column in columns_for([row])}
    details: dict[str, Any] = {"confusion": None, "class_f1": None}
    if row.summary is not None:
        class_f1 = map(rounded, row.summary.class_f1)
        details = {
            "confusion": np.array(row.summary.confusion).tolist(),
            "class_f1": dict(zip(row.experiment.classes, class_f1, strict=True)),
        }
    return {**columns, **details, "subjects": subjects}


def _seeds(item: SeedRows) -> dict[str, Any]:
    figures = item.figures
    ends = (figures.interval.low, figures.interval.high)
    return {
        "method": item.method,
        "selection": item.selection,
        "seeds": list(item.seeds),
        "uf1": [round(value, 6) for value in figures.values],
        "mean": round(figures.mean, 6),
        "deviation": round(figures.deviation, 6),
        "interval": [rounded(end) for end in ends],
    }


def _reported(item: Reported) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(item.published),
        "ours": rounded(item.ours),
        "gap": rounded(item.gap),
        "experiment": item.digest,
        "reasons": list(item.reasons),
    }


def _markdown_group(group: Group) -> str:
    shown = [column for column in columns_for(group.rows) if column.shown]
    heading = f"## {_escaped(group.title)}\n"
    titles = [_escaped(column.heading(group.multi_label)) for column in shown]
    rules = ["---:" if column.numeric else "---" for column in shown]
    body = [[_markdown_cell(column.text(row), row) for column in shown] for row in group.rows]
    return "\n".join(
        [heading, *(f"| {' | '.join(cells)} |" for cells in (titles, rules, *body)), ""]
    )


def _markdown_cell(text: str, row: Row) -> str:
    return f"~~{_escaped(text)}~~" if row.status == "test-peeking" else _escaped(text)


def to_latex(leaderboard: Leaderboard) -> str:
    """Return one booktabs table per group; test-peeking rows are struck out with `\\sout`."""
    head = "% needs the packages booktabs and ulem (option normalem)\n"
    return head + "\n".join(_latex_group(group) for group in leaderboard.groups)


def _latex_group(group: Group) -> str:
    shown = [column for column in columns_for(group.rows) if column.shown]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(group.title)}. {uf1_name(group.multi_label)} pooled over all "
        r"subjects, 95\,\% BCa intervals over subjects.}",
        rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in shown)}}}",
        r"\toprule",
        " & ".join(_latex(column.heading(group.multi_label)) for column in shown) + r" \\",
        r"\midrule",
    ]
    for row in group.rows:
        cells = [_latex(column.text(row)) for column in shown]
        if row.status == "test-peeking":
            cells = [rf"\sout{{{cell}}}" for cell in cells]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text).replace("&", "&amp;")
