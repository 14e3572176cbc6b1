"""The leaderboard as CSV, JSON, Markdown and LaTeX: equal leaderboards give equal bytes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from results.leaderboard.cells import Column, Value, rounded, uf1_name
from results.leaderboard.columns import columns_for, shown_columns
from results.leaderboard.published import Reported
from results.leaderboard.rows import Group, Leaderboard, Row, SeedRows
from results.ledger.files import csv_text

Chosen: TypeAlias = Sequence[Column] | None
# Characters of \footnotesize in a line of one column, and of both, of a two-column page.
_ONE_COLUMN, _TWO_COLUMNS = 62, 130
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


def to_csv(leaderboard: Leaderboard, chosen: Chosen = None) -> str:
    """Return one line per row, with the chosen columns, or all of them; empty where unknown."""
    columns = columns_for(leaderboard.rows) if chosen is None else chosen
    values = ([column.value(row) for column in columns] for row in leaderboard.rows)
    return csv_text([[column.key for column in columns], *values])


def to_json(leaderboard: Leaderboard, chosen: Chosen = None) -> str:
    """Return the groups, one row to a line: all columns, class F1, confusion matrix, subjects."""
    return f'{{"groups":[\n{",".join(map(_group, leaderboard.groups))}],"schema":2}}\n'


def to_markdown(leaderboard: Leaderboard, chosen: Chosen = None) -> str:
    """Return one table per group, with names escaped."""
    return "\n".join(_markdown_group(group, chosen) for group in leaderboard.groups)


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
        "name": item.name,
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


def _markdown_group(group: Group, chosen: Chosen) -> str:
    shown = shown_columns(group.rows, chosen)
    heading = f"## {_escaped(group.title)}\n"
    titles = [_escaped(column.heading(group.multi_label)) for column in shown]
    rules = ["---:" if column.numeric else "---" for column in shown]
    body = [[_markdown_cell(column.text(row), row) for column in shown] for row in group.rows]
    return "\n".join(
        [heading, *(f"| {' | '.join(cells)} |" for cells in (titles, rules, *body)), ""]
    )


def _markdown_cell(text: str, row: Row) -> str:
    return f"~~{_escaped(text)}~~" if row.status == "test-peeking" else _escaped(text)


def to_latex(leaderboard: Leaderboard, chosen: Chosen = None) -> str:
    """Return one booktabs table per group, which fits a page of two columns.

    The best figures of the ranked rows are bold; test-peeking rows are struck out with `\\sout`.
    """
    head = "% needs the packages booktabs, graphicx and ulem (option normalem)\n"
    used: Counter[str] = Counter()
    tables = []
    for group in leaderboard.groups:
        parts = (group.dataset, group.protocol, group.class_set, group.subset)
        label = re.sub("[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower()).strip("-")
        used[label] += 1
        once = label if used[label] == 1 else f"{label}-{used[label]}"
        tables.append(_latex_group(group, once, chosen))
    return head + "\n".join(tables)


def _latex_group(group: Group, label: str, chosen: Chosen) -> str:
    shown = shown_columns(group.rows, chosen)
    best = {column.key: _best(column, group) for column in shown}
    titles = [_latex(column.heading(group.multi_label)) for column in shown]
    body = [[_latex_cell(column, row, best[column.key]) for column in shown] for row in group.rows]
    texts = [[column.text(row) for column in shown] for row in group.rows]
    width = sum(
        2 + max(map(len, cells)) for cells in zip(titles, *texts, strict=True)
    )  # in characters
    kind = "table" if width <= _ONE_COLUMN else "table*"
    lines = [
        rf"\begin{{{kind}}}",
        r"\centering",
        r"\footnotesize",
        rf"\caption{{{_latex(group.title)}. {uf1_name(group.multi_label)} pooled over all "
        r"subjects, 95\,\% intervals over subjects, BCa unless it says percentile. Rows with a "
        r"letter (Tie) are not told apart from the best row of that letter. Best of the ranked "
        r"rows in bold.}",
        rf"\label{{tab:{label}}}",
        *([r"\resizebox{\textwidth}{!}{%"] if width > _TWO_COLUMNS else []),
        rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in shown)}}}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in body),
        r"\bottomrule",
        r"\end{tabular}" + ("}" if width > _TWO_COLUMNS else ""),
        rf"\end{{{kind}}}",
        "",
    ]
    return "\n".join(lines)


def _best(column: Column, group: Group) -> Value:
    """Return the best value of the ranked rows, where one end is better and rows differ."""
    values = [column.value(row) for row in group.rows if row.status == "ranked"]
    numbers = [value for value in values if isinstance(value, int | float)]
    if not column.best or len(set(numbers)) < 2:
        return None
    return max(numbers) if column.best == "high" else min(numbers)


def _latex_cell(column: Column, row: Row, best: Value) -> str:
    text = _latex(column.text(row))
    if row.status == "test-peeking":
        return rf"\sout{{{text}}}"
    if best is not None and row.status == "ranked" and column.value(row) == best:
        return rf"\textbf{{{text}}}"
    return text


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text).replace("&", "&amp;")
