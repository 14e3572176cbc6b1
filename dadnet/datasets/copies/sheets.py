"""Writes .xlsx and .xls files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from openpyxl import Workbook

from dadnet.base.errors import DadnetError

Cell = str | int | float | None
Sheet = Sequence[Sequence[Cell]]


def write_table(path: Path, sheets: Mapping[str, Sheet]) -> None:
    """Write sheets by name, as .xlsx or .xls by the ending of the path.

    Raises:
        DadnetError: if .xls needs xlwt (of the extra ``dev``) and it is not installed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".xls":
        _write_xls(path, sheets)
        return
    book = Workbook()
    assert book.active is not None  # a new workbook has one
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for cells in rows:
            sheet.append(list(cells))
    book.save(path)


def _write_xls(path: Path, sheets: Mapping[str, Sheet]) -> None:
    try:
        import xlwt  # only the copies write .xls
    except ImportError as error:
        raise DadnetError(f"{path.name}: writing .xls needs xlwt: pip install xlwt") from error
    book = xlwt.Workbook()
    for name, rows in sheets.items():
        sheet = book.add_sheet(name)
        for y, cells in enumerate(rows):
            for x, cell in enumerate(cells):
                if cell is not None:
                    sheet.write(y, x, cell)
    book.save(str(path))
