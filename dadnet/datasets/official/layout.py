"""The description of a dataset by its module, and the options of the user."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from dadnet.base.errors import DadnetError
from dadnet.config.ingest import ApexRule
from dadnet.datasets.frames import FrameFolders
from dadnet.datasets.index import FRAME_COLUMNS
from dadnet.datasets.official.corrections import Correction
from dadnet.datasets.official.tables import Columns, TableRow, integer

_BLANK = ("", "/", "-", "n/a", "nan", "null", "none")


@dataclass(frozen=True)
class Options:
    """Options of the user.

    Attributes:
        apex: rule where the apex is not annotated: ``drop`` rejects the clip,
            ``midpoint`` takes the frame in the middle of onset and offset, ``flow-peak`` leaves the
            choice to the ingest, which takes the frame with the largest motion (apex -1, no path).
        frames: folder of the frames, relative to the root; ``auto`` searches the known names.
        annotation: the annotation file; by default the only one below the root.
        replace_apex: apply the rule to an annotated apex that is out of order, too. The counts of
            the literature are without such clips.
    """

    apex: ApexRule = "drop"
    frames: str = "auto"
    annotation: Path | None = None
    replace_apex: bool = False

    def __post_init__(self) -> None:
        if self.apex not in get_args(ApexRule):
            raise DadnetError(
                f"apex: expected one of {', '.join(get_args(ApexRule))}, got {self.apex!r}"
            )


@dataclass(frozen=True)
class Clip:
    """A row, parsed by the dataset's module; frames are numbers or None (unknown).

    Attributes:
        subject: id within the dataset, such as ``sub01``.
        filename: name of clip or video.
        onset, apex, offset: numbers of the frames; onset and offset may be unknown only with
            `single_clip_folder`.
        emotion: the label in lower case; several are joined by "+".
        folders: possible paths from the folder of frames to that of the clip, likeliest first.
        action_units: text of the annotation.
        part: part of an official split, "" without one.
        single_clip_folder: the folder has no other clip: its first and last frame are onset and
            offset.
        many: the video has several clips, so the id needs the onset.
    """

    subject: str
    filename: str
    onset: int | None
    apex: int | None
    offset: int | None
    emotion: str
    folders: tuple[tuple[str, ...], ...]
    action_units: str = ""
    part: str = ""
    single_clip_folder: bool = False
    many: bool = False

    def id(self, dataset: str) -> str:
        """``dataset/subject/filename[@onset]``."""
        onset = f"@{self.onset}" if self.many and self.onset is not None else ""
        return f"{dataset}/{self.subject}/{self.filename}{onset}"


class LeftOut(DadnetError):
    """A row that the dataset's authors or the literature leave out as well; the reason."""


@dataclass(frozen=True)
class Source:
    """Location of a set on disk: its root, the folder of its frames, and cached listings."""

    root: Path
    frames: Path
    folders: FrameFolders


@dataclass(frozen=True)
class Rows:
    """The rows of a dataset's annotation.

    Attributes:
        rows: in order, corrected.
        files: the annotation files, relative to the root.
        changes: corrections, by row number.
        notes: remarks for the user.
    """

    rows: tuple[TableRow, ...]
    files: tuple[str, ...]
    changes: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Description of one dataset.

    Attributes:
        dataset: its name in this package; title: its name in papers.
        annotations: patterns of the annotation's file name, in lower case.
        columns: columns of the annotation.
        frame_folders: names of the folder of frames, likeliest first.
        clip: parses one row; raises `DadnetError` with the reason if it cannot.
        is_frames: pattern of the folders in the folder of frames, in lower case.
        corrections: corrections of known errors.
        rows: reads the rows where the annotation is not one table.
    """

    dataset: str
    title: str
    annotations: tuple[str, ...]
    columns: Columns
    frame_folders: tuple[str, ...]
    clip: Callable[[TableRow], Clip]
    is_frames: str
    corrections: tuple[Correction, ...] = ()
    rows: "Callable[[Layout, Path, Options], Rows] | None" = None


def frame(row: TableRow, column: str, *, blank: bool = False) -> int | None:
    """The frame number in a cell; None for a blank cell where that is allowed.

    Raises:
        DadnetError: if the cell has another value.
    """
    cell = row[column]
    if blank and cell.lower() in _BLANK:
        return None
    number = integer(cell)
    if number is None:
        raise DadnetError(f"{column}: expected a frame number, got {cell!r}")
    return number


def clip_of(
    row: TableRow,
    subject: str,
    filename: str,
    emotion: str,
    folders: tuple[tuple[str, ...], ...],
    *,
    blank: bool = False,
    **options: bool,
) -> Clip:
    """The clip of a row, with the frames, units and part in its cells.

    Onset and offset may be unknown with `blank`. The options are those of `Clip`.
    """
    onset, apex, offset = (frame(row, c, blank=blank or c == "apex") for c in FRAME_COLUMNS)
    label, units, part = emotion.lower(), row["action_units"], row["part"]
    return Clip(subject, filename, onset, apex, offset, label, folders, units, part, **options)


def filled(row: TableRow, *columns: str) -> tuple[str, ...]:
    """Cells that are not blank and can be the name of a file.

    Raises:
        DadnetError: if one is blank, or is a path out of its folder.
    """
    for column in columns:
        if not row[column]:
            raise DadnetError(f"{column} is blank")
        if re.search(r"[/\\\x00-\x1f\x7f]|^\.+$", row[column]):
            raise DadnetError(f"{column}: expected a plain name, got {row[column]!r}")
    return tuple(row[column] for column in columns)


def numbered(row: TableRow, column: str, shape: str) -> int:
    """The number in a cell such as ``sub01`` or ``1``.

    `shape` is the pattern of the whole cell in any case, with the number in its first group.

    Raises:
        DadnetError: if the cell has another shape.
    """
    match = re.fullmatch(shape, row[column], re.IGNORECASE)
    number = integer(match[1]) if match else integer(row[column])
    if number is None:
        raise DadnetError(f"{column}: expected a number, got {row[column]!r}")
    return number
