"""Annotation tables: .xlsx and .xls as the datasets' authors wrote them, read as text.

The official files differ in the rows above the header, in blank columns, in the relevant sheet and
in the spelling of headers. Here such a file becomes rows of text under this package's column names.
"""

import io
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from dadnet.base.errors import DadnetError

# By the first bytes of a file: many .xls files in circulation are .xlsx files.
_ENGINES = {b"PK\x03\x04": "openpyxl", b"\xd0\xcf\x11\xe0": "xlrd"}
# SAMM has the deepest header, in row 14.
_HEADER_ROWS = 40


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
    sheets = _sheets(path)
    order = sorted(sheets, key=lambda name: plain(name) not in columns.sheets)  # stable
    nearest: tuple[int, list[str]] = (-1, [])
    for name in order:
        frame = sheets[name]
        for position in range(min(len(frame), _HEADER_ROWS)):
            cells = [text(cell) for cell in frame.iloc[position]]
            headers = [_our_name(cell, columns) for cell in cells]
            matches = len(set(columns.required) & set(headers))
            if matches == len(columns.required):
                return _rows(path, frame, position, headers)
            nearest = max(nearest, (matches, [cell for cell in cells if cell]), key=lambda n: n[0])
    known = {_our_name(cell, columns) for cell in nearest[1]}
    missing = ", ".join(name for name in columns.required if name not in known)
    seen = ", ".join(nearest[1][:12]) if nearest[0] > 0 else "none"
    raise DadnetError(f"{path}: no column for {missing}; found {seen}")


def plain(header: str) -> str:
    """A header in lower case, without blanks and underscores."""
    return re.sub(r"[\s_]+", "", header).lower()


def text(cell: object) -> str:
    """A cell as text: "" where blank, "46" for 46 and 46.0."""
    if cell is None or cell != cell:  # NaN differs from itself
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return " ".join(str(cell).split())


def integer(value: str) -> int | None:
    """The whole number in a cell such as 46, 46.0 or "046"; else None."""
    match = re.fullmatch(r"([0-9]{1,12})(?:\.0+)?", value)
    return int(match[1]) if match else None


def _our_name(cell: str, columns: Columns) -> str:
    return next((ours for ours, seen in columns.names.items() if plain(cell) in seen), "")


def _sheets(path: Path) -> dict[str, pd.DataFrame]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DadnetError(f"{path} cannot be read: {error.strerror}") from error
    engine = _ENGINES.get(data[:4])
    if engine is None:
        raise DadnetError(
            f"{path} cannot be read as .xlsx or .xls: it is neither (an empty or damaged file, or "
            "text); save it again from a spreadsheet program"
        )
    options: dict[str, Any] = {
        "sheet_name": None,  # all of them
        "header": None,
        "dtype": object,
        "keep_default_na": False,
        "engine": engine,
        # xlrd prints warnings.
        "engine_kwargs": {"logfile": io.StringIO()} if engine == "xlrd" else {},
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns of unsupported styles
            sheets: dict[str, pd.DataFrame] = pd.read_excel(io.BytesIO(data), **options)
            return sheets
    except Exception as error:  # these parsers raise nearly anything on damaged files
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DadnetError(f"{path} cannot be read as .xlsx or .xls: {first[:200]}") from error


def _rows(
    path: Path, frame: pd.DataFrame, position: int, headers: list[str]
) -> tuple[TableRow, ...]:
    if repeated := sorted({h for h in headers if h and headers.count(h) > 1}):
        raise DadnetError(f"{path}: more than one column for {', '.join(repeated)}")
    rows: list[TableRow] = []
    below: Iterable[tuple[Any, ...]] = frame.iloc[position + 1 :].itertuples(index=False, name=None)
    for line, cells in enumerate(below, start=position + 2):
        named = {h: text(cell) for h, cell in zip(headers, cells, strict=True) if h}
        if any(named.values()):
            rows.append(TableRow(f"row {line}", len(rows), named))
    if not rows:
        raise DadnetError(f"{path}: the table has no rows")
    return tuple(rows)
