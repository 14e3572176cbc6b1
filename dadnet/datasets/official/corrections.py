"""Corrections of rows that are known to be wrong in the official annotations, each with its source.

A correction belongs to one row of one release of a table; the number of rows identifies the
release. It is applied only to a row that is wrong without it and right with it, and is reported.
Nothing else in a table is changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dadnet.datasets.official.tables import TableRow, integer

MEB = "github.com/tvaranka/meb, meb/datasets/datasets.py"


@dataclass(frozen=True)
class Correction:
    """One correction.

    Attributes:
        row: index of the row in the table, from 0, as the source counts.
        table_rows: number of rows of the table.
        cells: the correct frame numbers, by column.
        source: origin of the correction.
    """

    row: int
    table_rows: int
    cells: Mapping[str, int]
    source: str


def missing_apexes(
    rows: Sequence[int], apexes: Sequence[int], table_rows: int, source: str
) -> tuple[Correction, ...]:
    """Corrections that fill in an apex, one per row."""
    pairs = zip(rows, apexes, strict=True)
    return tuple(Correction(row, table_rows, {"apex": apex}, source) for row, apex in pairs)


def correct(
    rows: Sequence[TableRow], corrections: Sequence[Correction]
) -> tuple[tuple[TableRow, ...], dict[int, str], tuple[str, ...]]:
    """Apply the corrections that match to the rows of one table; several may concern one row.

    Returns:
        The rows, with the old text of a changed cell under ``first_`` and its name; the changes by
        row number; notes about the corrections that were not applied, with the reason.
    """
    mended = list(rows)
    changes: dict[int, str] = {}
    other_release = not_needed = unmatched = 0
    for number in sorted({c.row for c in corrections}):
        of_row = [c for c in corrections if c.row == number]
        if any(c.table_rows != len(rows) for c in of_row):
            other_release += len(of_row)
            continue
        before, cells = rows[number], {k: v for c in of_row for k, v in c.cells.items()}
        was = {f"first_{name}": before[name] for name in cells}
        after = before.with_cells({**was, **cells})
        if _in_order(before):
            not_needed += len(of_row)
            continue
        if not _in_order(after):
            unmatched += len(of_row)
            continue
        mended[number] = after
        text = ", ".join(f"{k} {before[k] or 'blank'} -> {v}" for k, v in cells.items())
        changes[number] = f"{before.location}: {text} (source: {of_row[0].source})"
    made_for = ", ".join(map(str, sorted({c.table_rows for c in corrections})))
    of = f"of {len(corrections)} known corrections"
    notes = [
        f"{other_release} {of} do not match and were not applied; they are for a table of "
        f"{made_for} rows, this one has {len(rows)}"
    ] * bool(other_release)
    notes += [
        f"{unmatched} {of} do not match and were not applied: they do not repair their row, which "
        "differs from that of the known release"
    ] * bool(unmatched)
    notes += [f"{not_needed} {of} are not needed: these rows are right"] * bool(not_needed)
    return tuple(mended), changes, tuple(notes)


def _in_order(row: TableRow) -> bool:
    onset, apex, offset = (integer(row[name]) for name in ("onset", "apex", "offset"))
    if onset is None or apex is None or offset is None:
        return False
    return onset < apex <= offset
