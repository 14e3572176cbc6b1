"""Files of tables as people have them: .xlsx, .xls, and text with any separator, as rows of text.

A file is read by its content, not by the ending of its name. Text is UTF-8 or UTF-16 (a byte order
mark, or zero bytes, says so); another encoding is named in the error and never guessed, since a
wrong guess changes names without a trace.
"""

import codecs
import csv
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xlrd
from openpyxl import load_workbook
from openpyxl.utils import column_index_from_string, range_boundaries

from dadnet.base.disk import read_regular
from dadnet.base.errors import DadnetError, first_line

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
# The name of the stream of a workbook with a password, in UTF-16.
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
# A file inside the archive -> what the archive is.
_ARCHIVES = {
    "content.xml": "an OpenDocument table (.ods)",
    "xl/workbook.bin": "a binary workbook (.xlsb)",
    "Index/Document.iwa": "a table of Numbers",
}
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# A workbook of 100,000 clips has about 30 MB and 2 million cells.
_LARGEST, _MOST_CELLS = 2**27, 10**7
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\b[^>]*>")
_RANGE = re.compile(rb"""\bref=["']([A-Z]{1,3}[0-9]{1,7}(?::[A-Z]{1,3}[0-9]{1,7})?)["']""")
_ROW = re.compile(rb"""<(?:\w+:)?row\b[^>]*?\br=["']([0-9]{1,12})["']""")
_CELL = re.compile(rb"""<(?:\w+:)?c\b[^>]*?\br=["']([A-Z]{1,3})[0-9]""")
_SAVE = "save it again as .xlsx or as CSV in UTF-8"


@dataclass(frozen=True)
class Line:
    """A line that is not blank.

    Attributes:
        number: of the row or line in the file, from 1.
        cells: text, "" where blank; a cell that is merged downwards has its text in every row.
    """

    number: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """One sheet of a workbook, or a text file split at one separator.

    Attributes:
        name: of the sheet or the separator.
        unit: what a line is called: ``row`` or ``line``.
        lines: those that are not blank.
        error: why the rest of the text cannot be split, or "".
    """

    name: str
    unit: str
    lines: tuple[Line, ...]
    error: str = ""


def read_sheets(path: Path, encoding: str | None = None) -> tuple[Sheet, ...]:
    """The sheets of a workbook; of a text file, one reading per separator.

    Args:
        path: the file.
        encoding: of a text file; default: UTF-8 or UTF-16.

    Raises:
        DadnetError: if the file cannot be read, or is of another kind; the message names it.
    """
    try:
        data = read_regular(path, follow=True)
    except OSError as error:
        raise DadnetError(f"{path} cannot be read: {error.strerror}") from error
    if not data.strip(b"\0 \t\r\n"):
        raise DadnetError(f"{path} cannot be read as .xlsx or .xls or as text: it is empty")
    if data.startswith((_ZIP, _OLE)):
        kind = _kind_of_archive(data) if data.startswith(_ZIP) else _kind_of_ole(data)
        if kind:
            raise DadnetError(f"{path} is {kind}; expected .xlsx, .xls or CSV: {_SAVE}")
        return _workbook(path, data)
    decoded = _decoded(path, data, encoding)
    if re.match(r"\s*<(?:!doctype|html|table|\?xml)", decoded, re.IGNORECASE):
        raise DadnetError(f"{path} is a web page or XML; expected .xlsx, .xls or CSV: {_SAVE}")
    return tuple(_split(decoded, delimiter) for delimiter in _DELIMITERS)


def text(cell: object) -> str:
    """A cell as text: "" where blank, "46" for 46 and 46.0; blanks of all kinds become one."""
    if cell is None or cell != cell:  # NaN differs from itself
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return " ".join(str(cell).replace("\ufeff", "").split())


def _kind_of_archive(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError):
        return ""  # damaged: the reader of workbooks says so
    kinds = [kind for name, kind in _ARCHIVES.items() if name in names]
    return kinds[0] if kinds else "" if "xl/workbook.xml" in names else "an archive, not a table"


def _kind_of_ole(data: bytes) -> str:
    return "protected by a password" if _ENCRYPTED in data else ""


def _check_size(data: bytes) -> None:
    """Refuse a workbook that would fill the memory: by what it declares, before it is unpacked.

    A merged range is as large as its corners say, however small the file is.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _LARGEST:
            raise DadnetError(f"expected a table of at most {_LARGEST} bytes when unpacked")
        for entry in entries:
            if entry.filename.startswith("xl/worksheets/"):
                _check_cells(archive.read(entry))


def _check_cells(sheet: bytes) -> None:
    ranges = [_RANGE.search(tag) for tag in _MERGED.findall(sheet)]
    if b"\0" in sheet or None in ranges:
        raise DadnetError("expected merged cells such as A1:B2 in UTF-8")
    corners = [range_boundaries(found[1].decode()) for found in ranges if found]
    merged = sum((c - a + 1) * (d - b + 1) for a, b, c, d in corners if a and b and c and d)
    rows = max(map(int, _ROW.findall(sheet)), default=0)
    columns = max((column_index_from_string(c.decode()) for c in _CELL.findall(sheet)), default=0)
    if max(merged, rows * columns) > _MOST_CELLS:
        raise DadnetError(f"expected a table of at most {_MOST_CELLS} cells")


def _workbook(path: Path, data: bytes) -> tuple[Sheet, ...]:
    read = _xlsx if data.startswith(_ZIP) else _xls
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns of unsupported styles
            if read is _xlsx:
                _check_size(data)
            return tuple(read(data))
    except Exception as error:  # these parsers raise nearly anything on damaged files
        raise DadnetError(f"{path} cannot be read as .xlsx or .xls: {first_line(error)}") from error


def _xlsx(data: bytes) -> Iterable[Sheet]:
    book = load_workbook(io.BytesIO(data), data_only=True)
    formulas = load_workbook(io.BytesIO(data)) if _has_formulas(data) else None
    for sheet in book.worksheets:
        if sheet.max_row * sheet.max_column > _MOST_CELLS:
            raise DadnetError(f"expected a table of at most {_MOST_CELLS} cells")
        rows = [[text(value) for value in row] for row in sheet.iter_rows(values_only=True)]
        if formulas is not None:
            # A program that saved formulas without their values: the formula itself is shown.
            written = formulas[sheet.title].iter_rows(values_only=True)
            for cells, others in zip(rows, written, strict=True):
                for column, other in enumerate(others):
                    if not cells[column] and isinstance(other, str) and other.startswith("="):
                        cells[column] = text(other)
        merged = [(r.min_row - 1, r.max_row, r.min_col - 1) for r in sheet.merged_cells.ranges]
        yield Sheet(sheet.title, "row", _lines(rows, merged))


def _has_formulas(data: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheets = [n for n in archive.namelist() if n.startswith("xl/worksheets/")]
        return any(re.search(rb"<f[ />]", archive.read(name)) for name in sheets)


def _xls(data: bytes) -> Iterable[Sheet]:
    log = io.StringIO()  # xlrd prints warnings
    try:
        book = xlrd.open_workbook(file_contents=data, logfile=log, formatting_info=True)
    except Exception:  # a defect of the styles; without them merged cells are not known
        book = xlrd.open_workbook(file_contents=data, logfile=log)
    for sheet in book.sheets():
        rows = [
            [_xls_text(cell, book.datemode) for cell in sheet.row(number)]
            for number in range(sheet.nrows)
        ]
        merged = [(top, bottom, left) for top, bottom, left, _ in sheet.merged_cells]
        yield Sheet(sheet.name, "row", _lines(rows, merged))


def _xls_text(cell: Any, datemode: int) -> str:
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return str(bool(cell.value))
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(cell.value, "#ERROR!"))
    if cell.ctype == xlrd.XL_CELL_DATE:
        return text(xlrd.xldate_as_datetime(cell.value, datemode))
    return text(cell.value)


def _lines(
    rows: Sequence[list[str]], merged: Sequence[tuple[int, int, int]] = ()
) -> tuple[Line, ...]:
    """The lines that are not blank; cells merged from `top` to before `bottom` are filled."""
    filled = [k for k, cells in enumerate(rows) if any(cells)]
    for top, bottom, left in merged:
        for k in range(top + 1, min(bottom, len(rows))):
            rows[k][left] = rows[top][left]
    return tuple(Line(k + 1, tuple(rows[k])) for k in filled)


def _decoded(path: Path, data: bytes, encoding: str | None) -> str:
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    used = encoding or marked or _utf16(data) or "utf-8"
    if used == "utf-8" and b"\0" in data:
        raise DadnetError(f"{path} cannot be read as .xlsx or .xls or as text: it has zero bytes")
    try:
        codecs.lookup(used)
        decoded = data.decode(used)
    except LookupError as error:
        raise DadnetError(f"encoding: expected such as utf-8 or gbk, got {used!r}") from error
    except (UnicodeError, ValueError) as error:
        if encoding is not None:
            raise DadnetError(f"{path} cannot be read as {encoding}; {_looks(data)}") from error
        raise DadnetError(
            f"{path} is not in UTF-8; {_looks(data)}: save it as CSV in UTF-8, or name its "
            "encoding, as in --encoding gbk"
        ) from error
    return decoded.removeprefix("\ufeff")


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a byte order mark: every second byte of ASCII is zero."""
    head = data[: 2 * min(200, len(data) // 2)]
    for name, zeros, others in (("utf-16-le", head[1::2], head[::2]),
                                ("utf-16-be", head[::2], head[1::2])):  # fmt: skip
        if len(head) >= 4 and zeros.count(0) > len(zeros) / 2 and 0 not in others:
            return name
    return None


def _looks(data: bytes) -> str:
    """What the bytes look like. It is for the message only."""
    if not re.search(rb"[\x80-\xff]{2}", data):
        return "it looks like Windows-1252 or Latin-1"
    for codec in ("gb2312", "gbk"):
        try:
            data.decode(codec)
        except ValueError:
            continue
        return "it looks like GBK"
    return "its encoding is not known"


def _split(decoded: str, delimiter: str) -> Sheet:
    reader = csv.reader(io.StringIO(decoded, newline=""), delimiter=delimiter, strict=True)
    lines: list[Line] = []
    error, start = "", 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append(Line(start, tuple(_cell(cell) for cell in cells)))
            start = reader.line_num + 1
    except csv.Error as problem:
        error = f"line {start}: {problem}"
    return Sheet(_DELIMITERS[delimiter], "line", tuple(lines), error)


def _cell(cell: str) -> str:
    # A line break inside a cell may be a lost quotation mark, which swallows rows: it stays.
    return "\n".join(text(part) for part in cell.strip().splitlines())
