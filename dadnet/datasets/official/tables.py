"""Annotation tables (.xlsx, .xls, CSV) as the datasets' authors wrote them, read as text.

The official files differ in the rows above the header, in blank columns, in the relevant sheet and
in the spelling of headers. Here such a file becomes rows of text under this package's column names.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dadnet.base.errors import DadnetError, listed
from dadnet.datasets.sheets import Sheet, read_sheets

# SAMM has the deepest header, in row 14.
HEADER_ROWS = 40


@dataclass(frozen=True)
class TableRow:
    """One row of an annotation.

    Attributes:
        location: for messages: ``row 15`` (as Excel counts) or a file's name.
        number: index among the rows of data, from 0, as in lists of corrections.
        cells: text by column, "" where the cell is blank or the file has no such column.
    """

    location: str
    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def with_cells(self, cells: Mapping[str, object]) -> "TableRow":
        """A copy of this row with changed cells."""
        changed = {name: str(value) for name, value in cells.items()}
        return TableRow(self.location, self.number, {**self.cells, **changed})


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        names: this package's name of a column -> its known headers, without blanks, lower case.
        required: names of the columns that must exist; they also identify the header's row.
        sheets: names of the preferred sheets, without blanks, lower case.
    """

    names: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    sheets: tuple[str, ...] = field(default=())


# The columns of CASME II and SAMM.
FRAME_COLUMNS = Columns(
    {
        "subject": ("subject",), "filename": ("filename",), "onset": ("onsetframe",),
        "apex": ("apexframe",), "offset": ("offsetframe",), "action_units": ("actionunits",),
        "emotion": ("estimatedemotion",),
    },
    required=("subject", "filename", "onset", "apex", "offset", "emotion"),
)  # fmt: skip


def read_table(path: Path, columns: Columns) -> tuple[TableRow, ...]:
    """The rows of an annotation, as text under this package's column names.

    These are the rows below the first row with the required headers, of the first sheet with such
    a row; preferred sheets are searched first.

    Raises:
        DadnetError: if the file cannot be read, or a required column is missing or doubled.
    """
    # The sort is stable.
    sheets = sorted(read_sheets(path), key=lambda sheet: plain(sheet.name) not in columns.sheets)
    nearest: tuple[int, list[str]] = (-1, [])
    for sheet in sheets:
        for position, line in enumerate(sheet.lines):
            if line.number > HEADER_ROWS:
                break
            headers = [_our_name(cell, columns) for cell in line.cells]
            matches = len(set(columns.required) & set(headers))
            if matches == len(columns.required):
                return _rows(path, sheet, position, headers)
            cells = [cell for cell in line.cells if cell]
            nearest = max(nearest, (matches, cells), key=lambda n: n[0])
    known = {_our_name(cell, columns) for cell in nearest[1]}
    missing = ", ".join(name for name in columns.required if name not in known)
    seen = listed(nearest[1]) if nearest[0] > 0 else "none"
    raise DadnetError(f"{path}: no column for {missing}; found {seen}")


def plain(header: str) -> str:
    """A header in lower case, without blanks and underscores."""
    return re.sub(r"[\s_]+", "", header).lower()


def integer(value: str) -> int | None:
    """The whole number in a cell such as 46, 46.0, "046" or "46,0"; else None."""
    match = re.fullmatch(r"([0-9]{1,12})(?:[.,]0+)?", unicodedata.normalize("NFKC", value))
    return int(match[1]) if match else None


def _our_name(cell: str, columns: Columns) -> str:
    return next((ours for ours, seen in columns.names.items() if plain(cell) in seen), "")


def _rows(path: Path, sheet: Sheet, position: int, headers: list[str]) -> tuple[TableRow, ...]:
    if sheet.error:
        raise DadnetError(f"{path}: not a table in CSV: {sheet.error}")
    if repeated := sorted({h for h in headers if h and headers.count(h) > 1}):
        raise DadnetError(f"{path}: more than one column for {listed(repeated)}")
    rows: list[TableRow] = []
    for line in sheet.lines[position + 1 :]:
        cells = (*line.cells, *[""] * len(headers))  # a line of text may be short
        named = {h: " ".join(cell.split()) for h, cell in zip(headers, cells, strict=False) if h}
        if any(named.values()):
            rows.append(TableRow(f"{sheet.unit} {line.number}", len(rows), named))
    if not rows:
        raise DadnetError(f"{path}: the table has no rows")
    return tuple(rows)
