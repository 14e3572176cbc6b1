"""One row of a user's own table: cells, files and frames, checked as those of official tables."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unicodedata import normalize

from dadnet.base.errors import DadnetError
from dadnet.config.ingest import ApexRule
from dadnet.datasets.apex import SEARCHED, choose_apex
from dadnet.datasets.frames import VIDEO_SUFFIXES, FrameFolders, frame_number, series
from dadnet.datasets.index import Notes
from dadnet.labels.own_labels import plain_word

Row = dict[str, str | int]
_BLANK = ("", "/", "-", "n/a", "na", "nan", "null", "none", "-1")
_BROKEN = re.compile(r"#(?:N/A|REF!|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|ERROR!)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}.*")


def plain_cell(column: str, cell: str) -> str:
    """A cell that can be a name.

    Raises:
        DadnetError: if it is damaged: a formula without its value, an error of the spreadsheet, a
            date in place of a name, or text that lost its encoding.
    """
    if cell.startswith("="):
        raise DadnetError(
            f"{column}: the formula {cell} has no stored value; open the table in a spreadsheet "
            "program and save it"
        )
    if _BROKEN.fullmatch(cell):
        raise DadnetError(f"{column}: the cell shows the error {cell}")
    if _DATE.fullmatch(cell):
        raise DadnetError(
            f"{column}: got the date {cell[:10]}, which a spreadsheet program may have made of a "
            "name; expected text"
        )
    if "\ufffd" in cell:
        raise DadnetError(f"{column}: {cell!r} was damaged by a wrong encoding")
    if re.search(r"[\x00-\x1f\x7f]", cell):
        raise DadnetError(
            f"{column}: got a line break or a control character in {cell[:60]!r}; a quotation "
            "mark may be missing"
        )
    return cell


@dataclass(frozen=True)
class _Numbers:
    """Numbers of onset, apex and offset from one source; None where unknown."""

    onset: float | None = None
    apex: float | None = None
    offset: float | None = None

    @property
    def apex_fits(self) -> bool:
        """Whether nothing known contradicts onset < apex <= offset."""
        if self.apex is None:
            return True
        after = self.onset is None or self.onset < self.apex
        return after and (self.offset is None or self.apex <= self.offset)

    @property
    def out_of_order(self) -> str:
        """What is wrong with the apex, for a message."""
        onset, apex, offset = (
            "?" if n is None or n != n else f"{n:g}" for n in (self.onset, self.apex, self.offset)
        )
        until = "" if self.offset is None else f" and up to the offset {offset}"
        return f"the apex {apex} is not after the onset {onset}{until}"

    def check_ends(self) -> None:
        """Raise if the offset is not after the onset."""
        if self.onset is not None and self.offset is not None and self.offset <= self.onset:
            raise DadnetError(f"the offset {self.offset:g} is not after the onset {self.onset:g}")


def own_clip(
    cells: Mapping[str, str],
    base: Path,
    rule: ApexRule,
    folders: FrameFolders,
    notes: Notes,
    where: str,
) -> Row:
    """The row of the index; ``clip_id`` may be "".

    Args:
        cells: text by column, `dataset` among them.
        base: folder at which relative paths start.
        rule: what to do if the apex is unknown or out of order.
        folders: listings of folders.
        notes: gets remarks.
        where: location of the row, for a remark.

    Raises:
        DadnetError: if the row cannot be used.
    """
    for column in ("subject", "label"):
        if not cells[column]:
            raise DadnetError(f"{column} is blank")
    for column in ("subject", "label", "clip_id", "part", "action_units"):
        plain_cell(column, cells.get(column, ""))
    table = _Numbers(*(_number(cells, c, c == "apex") for c in ("onset", "apex", "offset")))
    flow = cells.get("flow_path", "")
    row = _of_flow(cells, base, table) if flow else None
    row = row or _of_frames(cells, base, table, rule, folders, notes, where)
    prefix = f"{cells['dataset']}/"
    subject = prefix + cells["subject"].removeprefix(prefix)
    clip_id = cells.get("clip_id", "")
    return {
        **row,
        "clip_id": f"{subject}/" + clip_id.removeprefix(f"{subject}/") if clip_id else "",
        "dataset": cells["dataset"],
        "subject": subject,
        "emotion": plain_word(cells["label"]),
        "action_units": cells.get("action_units", ""),
        "part": cells.get("part", ""),
    }


def _number(cells: Mapping[str, str], column: str, optional: bool) -> float | None:
    """The number in a cell; with `optional`, a cell without one counts as out of order (NaN)."""
    cell = normalize("NFKC", cells.get(column, ""))
    if cell.lower() in _BLANK:
        return None
    if re.fullmatch(r"[0-9]{1,12}(?:[.,][0-9]{1,12})?", cell):
        return float(cell.replace(",", "."))
    if optional:
        return float("nan")
    raise DadnetError(f"{column}: expected a frame number, got {cell!r}")


def _of_flow(cells: Mapping[str, str], base: Path, table: _Numbers) -> Row:
    table.check_ends()
    if not table.apex_fits:
        raise DadnetError(f"{table.out_of_order}; a flow from a file cannot be made again")
    path = _existing(base, cells["flow_path"], "flow_path")
    numbers = (_whole(table.onset), _whole(table.apex), _whole(table.offset))
    return _row(path.stem, numbers, flow_path=str(path))


def _of_frames(
    cells: Mapping[str, str],
    base: Path,
    table: _Numbers,
    rule: ApexRule,
    folders: FrameFolders,
    notes: Notes,
    where: str,
) -> Row:
    onset_path = _frame_file(cells, "onset", base, table.onset, folders)
    if onset_path is None:
        raise DadnetError("onset_path is blank")
    apex_path = _frame_file(cells, "apex", base, table.apex, folders)
    offset_path = _frame_file(cells, "offset", base, None, folders)
    if onset_path.suffix.lower() in VIDEO_SUFFIXES:
        if {apex_path, offset_path} - {onset_path, None}:
            raise DadnetError(f"expected all frames in one video, got {onset_path} and another")
        return _of_video(onset_path, table, rule, notes, where)
    first = frame_number(onset_path)
    in_video = [
        frame_number(path) if path and series(path) == series(onset_path) else None
        for path in (apex_path, offset_path)
    ]
    # The offset of the table holds for the files if the onset of the table does.
    same = table.onset is None or table.onset == first
    offset = in_video[1] if in_video[1] is not None or not same else table.offset
    files = _Numbers(first, in_video[0], offset)
    for numbers in (table, files):
        numbers.check_ends()
    wrong = "onset and apex are the same frame" if apex_path == onset_path else ""
    wrong = wrong or next((n.out_of_order for n in (table, files) if not n.apex_fits), "")
    if apex_path is not None and not wrong:
        return _row_of_files(onset_path, apex_path, files, table)
    end = _whole(offset)
    if first is None or end == -1 or not same:
        raise DadnetError(
            f"{wrong or 'apex_path is blank'}; --apex finds another frame only where the numbers "
            "of onset and offset are known, and are those of the files"
        )
    found, apex = folders.series(onset_path), _whole(table.apex)
    annotated = None if apex == -1 else apex
    number = choose_apex(annotated, first, end, found, rule, notes, where, wrong)
    if number != SEARCHED and number not in found:
        raise DadnetError(f"no frame {number} beside {onset_path}")
    return _row(
        onset_path.parent.name,
        (first, number, end),
        onset_path=str(onset_path),
        apex_path="" if number == SEARCHED else str(found[number]),
    )


def _of_video(video: Path, table: _Numbers, rule: ApexRule, notes: Notes, where: str) -> Row:
    """The row of frames of a video, by their numbers."""
    onset, apex, offset = (_whole(n) for n in (table.onset, table.apex, table.offset))
    if onset == -1:
        raise DadnetError(f"onset: expected the number of a frame of {video.name}, got none")
    table.check_ends()
    wrong = "" if table.apex_fits else table.out_of_order
    end = None if offset == -1 else offset
    later = range(onset + 1, offset + 1)
    annotated = None if apex == -1 else apex
    apex = choose_apex(annotated, onset, end, later, rule, notes, where, wrong)
    path = "" if apex == SEARCHED else str(video)
    return _row(video.stem, (onset, apex, offset), onset_path=str(video), apex_path=path)


def _row_of_files(onset_path: Path, apex_path: Path, files: _Numbers, table: _Numbers) -> Row:
    onset, apex, offset = frame_number(onset_path), frame_number(apex_path), files.offset
    if onset is None or apex is None or not onset < apex:
        # The names do not number the frames of one video; the table may.
        whole = _whole(table.onset), _whole(table.apex)
        onset, apex = whole if -1 not in whole else (-1, -1)
        offset = table.offset
    late = offset is not None and offset < apex
    return _row(
        onset_path.parent.name,
        (onset, apex, -1 if late else _whole(offset)),
        onset_path=str(onset_path),
        apex_path=str(apex_path),
    )


def _row(name: str, numbers: tuple[int, int, int], **paths: str) -> Row:
    onset, apex, offset = numbers
    row: Row = {"filename": name, "onset": onset, "apex": apex, "offset": offset}
    return {**row, "onset_path": "", "apex_path": "", "flow_path": "", **paths}


def _whole(number: float | None) -> int:
    return -1 if number is None or number != number or number % 1 else int(number)


def _frame_file(
    cells: Mapping[str, str], which: str, base: Path, number: float | None, folders: FrameFolders
) -> Path | None:
    """The file of a frame, by its path or by folder and number; None if neither is given."""
    if path := cells.get(f"{which}_path", ""):
        return None if path in _BLANK else _existing(base, path, f"{which}_path")
    if _whole(number) == -1:
        return None
    if folder := cells.get("folder", ""):
        if Path(folder).suffix.lower() in VIDEO_SUFFIXES:
            return _existing(base, folder, "folder")
        return folders.find(_existing(base, folder, "folder", folder=True), _whole(number))
    return None


def _existing(base: Path, cell: str, column: str, *, folder: bool = False) -> Path:
    """The file or folder of a cell; "~" is the home folder, backslashes may separate folders."""
    if not cell:
        raise DadnetError(f"{column} is blank")
    plain_cell(column, cell)
    name = cell.strip("\"'")  # Windows copies a path with quotation marks
    variants = dict.fromkeys(
        form(text)
        for text in (name, name.replace("\\", "/"))
        # Other systems store accents in another of the two forms of Unicode.
        for form in (str, partial(normalize, "NFC"), partial(normalize, "NFD"))
    )
    first: Path | None = None
    for variant in variants:
        try:
            path = (base / Path(variant).expanduser()).resolve()
            if path.is_dir() if folder else path.is_file():
                return path
        except (OSError, ValueError, RuntimeError) as error:  # a name too long, no home folder
            reason = getattr(error, "strerror", None) or str(error)
            raise DadnetError(f"{column}: no such file: {cell[:200]}: {reason}") from error
        first = first or path
    what = "folder" if folder else "file"
    raise DadnetError(f"{column}: no such {what}: {first}")


def name_clips(rows: list[Row], notes: Notes) -> None:
    """Add the missing clip ids: the file name; where an id repeats, with the onset.

    Rows of one id with different onsets are events of one video, and are clips of their own.
    """
    for row in rows:
        row["clip_id"] = row["clip_id"] or f"{row['subject']}/{row['filename']}"
    counts = Counter(row["clip_id"] for row in rows)
    for row in rows:
        if counts[row["clip_id"]] > 1 and row["onset"] != -1:
            name = str(row["clip_id"])
            row["clip_id"] = f"{name}@{row['onset']}"
            notes.add("one of several events of a video: its id has the onset")
