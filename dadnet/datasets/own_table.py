"""A user's own table of clips: its columns, its datasets and its subjects.

The table is one row per clip, as .xlsx, .xls or text; `COLUMNS` lists the columns and the other
names under which they are found in public lists. `docs/own_data.md` is the page for users.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dadnet.base.disk import is_plain_name
from dadnet.base.errors import DadnetError, listed
from dadnet.config.ingest import ApexRule
from dadnet.datasets.frames import FrameFolders
from dadnet.datasets.index import ClipIndex, Notes, Rejected, build_index
from dadnet.datasets.official.tables import HEADER_ROWS
from dadnet.datasets.own_clips import name_clips, own_clip, plain_cell
from dadnet.datasets.sheets import Line, Sheet, read_sheets
from dadnet.datasets.subjects import plain_name, spelling_key

# Our name of a column -> other names of it, as `_plain` writes them.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "subject": ("sub", "subjectid", "subid", "subj", "participant", "participantid"),
    "label": ("emotion", "estimatedemotion", "class", "expression", "labels"),
    "dataset": ("data", "database", "db"),
    "clip_id": ("clip", "clipname", "filename", "video", "videoname", "sample"),
    "onset_path": ("onsetframepath", "onsetfile", "onsetimage", "onsetimg"),
    "apex_path": ("apexframepath", "apexfile", "apeximage", "apeximg"),
    "offset_path": ("offsetframepath", "offsetfile", "offsetimage", "offsetimg"),
    "flow_path": ("flow", "flowfile", "opticalflow"),
    "folder": ("frames", "framefolder", "clipfolder", "framesfolder"),
    "onset": ("onsetframe", "onsetf", "onsetnumber"),
    "apex": ("apexframe", "apexf", "apexnumber"),
    "offset": ("offsetframe", "offsetf", "offsetnumber"),
    "action_units": ("au", "aus"),
    "part": ("split",),
}
# Names of known datasets as they are printed, as `_plain` writes them.
_PRINTED = {
    "casme2": "casme2", "casmeii": "casme2", "samm": "samm", "smic": "smic", "smichs": "smic",
    "casme3": "casme3", "cas(me)3": "casme3", "cas(me)^3": "casme3", "4dme": "fourdme",
    "fourdme": "fourdme", "dfme": "dfme", "ck+": "ckplus", "ckplus": "ckplus",
}  # fmt: skip


@dataclass(frozen=True)
class OwnTable:
    """How to read a user's table.

    Attributes:
        path: the file.
        dataset: name of the dataset if the table has no such column (default: the file's name
            without its ending), or of the composite if it names several.
        columns: header of the table for a column of ours; the rest is found by its name.
        root: base of relative paths; default: the table's folder.
        encoding: of a text file; default: UTF-8 or UTF-16.
        apex: rule where the apex is unknown or out of order.
    """

    path: Path
    dataset: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    encoding: str | None = None
    apex: ApexRule = "drop"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.columns) - set(COLUMNS)):
            raise DadnetError(
                f"columns: expected some of {', '.join(COLUMNS)}, got {listed(unknown)}"
            )


def read_own_table(options: OwnTable) -> ClipIndex:
    """The index of a user's table.

    Returns:
        The index; a row that cannot be used is rejected, with its reason.

    Raises:
        DadnetError: if the file cannot be read, columns are missing, the name of the dataset
            contradicts the table, or one subject seems to be written in two ways.
    """
    sheet, header, headers = _found(options)
    body, notes = sheet.lines[header + 1 :], Notes()
    if not body:
        raise DadnetError(f"{options.path}: the table has no rows")
    lines = [_cells(line, headers) for line in body]
    datasets = _dataset_names(sheet, body, lines, options, notes)
    _check_subjects(options.path, datasets, lines)
    base = Path(options.root or options.path.parent).expanduser()
    rows: list[dict[str, str | int]] = []
    rejected: list[Rejected] = []
    folders = FrameFolders()
    for line, cells, dataset in zip(body, lines, datasets, strict=True):
        where = f"{dataset}: {sheet.unit} {line.number} of {options.path.name}"
        name = f"{dataset}/{cells['clip_id']}" if cells.get("clip_id") else where
        try:
            if extra := [cell for cell in line.cells[len(headers) :] if cell]:
                raise DadnetError(
                    f"expected {len(headers)} cells as in the header, got {len(extra)} more; a "
                    "cell with the separator in it needs quotation marks"
                )
            row = {**cells, "dataset": dataset}
            rows.append(own_clip(row, base, options.apex, folders, notes, where))
        except DadnetError as error:
            rejected.append(Rejected(name, " ".join(str(error).split())))
    name_clips(rows, notes)
    index = build_index(rows, rejected)
    remarks = (*_unused(sheet.lines[header].cells, headers), *notes.lines())
    return ClipIndex(index.clips, index.rejected, (options.path.name,), notes=remarks)


def _plain(header: str) -> str:
    """A header or a name in lower case, without blanks, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", header)).lower()


def _cells(line: Line, headers: Sequence[str]) -> dict[str, str]:
    cells = (*line.cells, *[""] * len(headers))  # a line of text may be short
    return {name: cell for name, cell in zip(headers, cells, strict=False) if name}


def _unused(header: Sequence[str], names: Sequence[str]) -> list[str]:
    """A remark on columns that are not used, but could be."""
    could = {word: name for name, words in COLUMNS.items() for word in words}
    return [
        f"the column {cell} is not used; --columns {could[_plain(cell)]}={cell} would use it"
        for cell, name in zip(header, names, strict=True)
        if not name and could.get(_plain(cell), "subject") not in names
    ]


def _found(options: OwnTable) -> tuple[Sheet, int, list[str]]:
    """The sheet, the position of its header, and our name of each column."""
    sheets = read_sheets(options.path, options.encoding)
    found: list[tuple[Sheet, int, list[str]]] = []
    nearest: tuple[int, Sequence[str]] = (0, ())
    for sheet in sheets:
        for position, line in enumerate(sheet.lines):
            if line.number > HEADER_ROWS:
                break
            headers = _our_names(line.cells, options)
            if _enough(headers):
                found.append((sheet, position, headers))
                break
            if (known := sum(map(bool, headers))) > nearest[0]:
                nearest = known, line.cells
    if not found:
        raise DadnetError(_missing(options, nearest[1] or _first_line(sheets)))
    if len(found) > 1 and found[0][0].unit == "row":
        titles = listed(sheet.name for sheet, _, _ in found)
        raise DadnetError(
            f"{options.path}: expected one sheet with clips, got {titles}; keep one of them, with "
            "a column dataset if they are several datasets"
        )
    sheet, position, headers = found[0]
    if sheet.error:
        raise DadnetError(f"{options.path}: not a table in CSV: {sheet.error}")
    if repeated := sorted({h for h in headers if h and headers.count(h) > 1}):
        raise DadnetError(
            f"{options.path}: a column is given twice: {listed(repeated)}; --columns "
            f"{repeated[0]}=HEADER names the right one"
        )
    return sheet, position, headers


def _first_line(sheets: Sequence[Sheet]) -> Sequence[str]:
    lines: list[Sequence[str]] = [sheet.lines[0].cells for sheet in sheets if sheet.lines]
    return max(lines, key=len, default=())


def _missing(options: OwnTable, cells: Sequence[str]) -> str:
    seen = [" ".join(cell.split()) for cell in cells if cell]
    wanted = [h for h in options.columns.values() if _plain(h) not in set(map(_plain, seen))]
    if wanted:
        return (
            f"{options.path}: --columns names {listed(wanted)}, which the table lacks; "
            f"found {listed(seen)}"
        )
    return (
        f"{options.path}: expected the columns subject, label and either flow_path or onset_path "
        f"and apex_path; found {listed(seen) or 'none'}; --columns subject=HEADER,... "
        "names them"
    )


def _our_names(cells: Sequence[str], options: OwnTable) -> list[str]:
    """Our name of each column, "" for one that is not used.

    Other names count only in a table that does not have ours, so that further columns of a table
    with our names stay without meaning.
    """
    given = {_plain(header): name for name, header in options.columns.items()}
    own = {_plain(name): name for name in COLUMNS if name not in options.columns}
    plain = [_plain(cell) for cell in cells]
    names = [given.get(cell) or own.get(cell, "") for cell in plain]
    if _enough(names):
        return names
    other = {word: name for name, words in COLUMNS.items() for word in words if name not in names}
    return [name or other.get(cell, "") for name, cell in zip(names, plain, strict=True)]


def _enough(names: Sequence[str]) -> bool:
    there = set(names)
    start = "onset_path" in there or {"folder", "onset"} <= there
    frames = start and there & {"apex_path", "apex", "offset_path", "offset"}
    return {"subject", "label"} <= there and bool("flow_path" in there or frames)


def _dataset_names(
    sheet: Sheet,
    body: Sequence[Line],
    lines: Sequence[Mapping[str, str]],
    options: OwnTable,
    notes: Notes,
) -> list[str]:
    path, given = options.path, options.dataset
    if "dataset" not in lines[0]:
        return [given or path.stem.lower()] * len(lines)
    names: list[str] = []
    for line, cells in zip(body, lines, strict=True):
        written = cells["dataset"]
        where = f"{sheet.unit} {line.number}"
        if not written:
            raise DadnetError(f"{path}: the column dataset is blank in {where}")
        if not is_plain_name(plain_cell("dataset", written)):
            raise DadnetError(f"{path}: dataset: expected a plain name, got {written!r} in {where}")
        name = _PRINTED.get(_plain(written), written)
        if name != written:
            notes.add(f"the dataset {written} is read as {name}")
        names.append(name)
    several = sorted(set(names))
    if given is not None and several != [given] and (len(several) == 1 or given in several):
        others = listed(name for name in several if name != given)
        raise DadnetError(
            f"{path}: dataset is {given} but the file names {others}"
            + ("; expected another name for them together" if given in several else "")
        )
    return names


def _check_subjects(
    path: Path, datasets: Sequence[str], lines: Sequence[Mapping[str, str]]
) -> None:
    """Refuse one person under two names: their clips would stand on both sides of a fold."""
    written: dict[tuple[str, str], str] = {}
    for dataset, cells in zip(datasets, lines, strict=True):
        subject = plain_name(cells["subject"].removeprefix(f"{dataset}/"))
        if not subject:
            continue
        key = re.sub(r"\.0+$", "", spelling_key(subject))
        key = re.sub(r"0*([0-9]+)", r"\1", key)
        first = written.setdefault((dataset, key), subject)
        if first != subject:
            raise DadnetError(
                f"{path}: subject: {first!r} and {subject!r} of {dataset} may be one person; "
                "expected one way of writing each subject"
            )
