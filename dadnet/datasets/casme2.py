"""CASME II (Yan et al. 2014): the official annotation and its frames become an index.

The synthetic sets have the same layout and are read here as well.
"""

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import ParseError

import pandas as pd

from dadnet.datasets.frames import find_frame
from dadnet.datasets.index import ClipIndex, Rejected, build_index
from dadnet.errors import DadnetError

ANNOTATION_NAMES = (
    "CASME2-coding-20140508.xlsx",
    "CASME2-coding-20190701.xlsx",
    "CASME2-coding-updated.xlsx",
    "CASME2_label_Ver_2.xlsx",
)
# Folders of subject folders, the first that exists is taken: the frames as recorded, the
# authors' crop, then the names under which copies are seen.
FRAME_FOLDERS = (
    "CASME2_RAW_selected",
    "Cropped",
    "CASME2-RAW",
    "CASME2_RAW",
    "CASME2_Cropped",
)
# Header of the annotation without blanks, in lower case -> our name.
_COLUMNS = {
    "subject": "subject",
    "filename": "filename",
    "onsetframe": "onset",
    "apexframe": "apex",
    "offsetframe": "offset",
    "actionunits": "action_units",
    "estimatedemotion": "emotion",
}
# What openpyxl raises on damaged files, found by turning over bytes of the archive and its parts.
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, ParseError, OSError, ValueError, KeyError, TypeError,
    AttributeError, RuntimeError, EOFError,
)  # fmt: skip
_SUBJECT_FOLDER = re.compile(r"s(?:ub)?0*([0-9]+)", re.IGNORECASE)

ApexRule = Literal["drop", "midpoint"]
Record = Mapping[Any, Any]


def read(
    root: Path,
    *,
    dataset: str = "casme2",
    apex: ApexRule = "drop",
    frames: str = "auto",
    annotation: Path | None = None,
) -> ClipIndex:
    """Index of CASME II, or of another set in its layout.

    Args:
        root: folder with the annotation (.xlsx) and ``CASME2_RAW_selected/subNN/EPxx/imgN.jpg``
            or ``Cropped/subNN/EPxx/reg_imgN.jpg`` (png, jpeg and bmp are read as well); both may
            lie one folder deeper.
        dataset: name that the clips get.
        apex: what to do where the apex is unknown ("/"): ``drop`` rejects the clip, ``midpoint``
            takes the middle of onset and offset.
        frames: folder of the subject folders, relative to ``root``; ``auto`` takes the first of
            ``FRAME_FOLDERS`` that exists, or ``root`` itself if it holds subject folders.
        annotation: the annotation file; by default the only one under ``root``.

    Returns:
        The clips in the order of the annotation. Rejected with a reason: duplicate rows, numbers
        that are not frames, an apex that is not after the onset and up to the offset, missing
        frames, blank emotions.

    Raises:
        DadnetError: if annotation or frames are not found, are ambiguous or cannot be read.
    """
    root = Path(root)
    if apex not in ("drop", "midpoint"):
        raise DadnetError(f"apex: expected drop or midpoint, got {apex!r}")
    if not root.is_dir():
        raise DadnetError(f"{dataset}: no such folder: {root}")
    table = _read_annotation(annotation or _find_annotation(root))
    subjects = _subject_folders(_find_frames(root, frames))
    records = table.to_dict("records")
    counts = Counter(_clip_id(record, dataset) for record in records)
    rows: list[dict[str, str | int]] = []
    rejected: list[Rejected] = []
    for record in records:
        clip_id = _clip_id(record, dataset)
        try:
            row = _row(record, dataset, apex, subjects)
            if counts[clip_id] > 1:  # which of them is right cannot be known
                raise DadnetError(f"duplicate clip: {counts[clip_id]} rows of the annotation")
            rows.append(row)
        except DadnetError as error:
            rejected.append(Rejected(clip_id, str(error)))
    return build_index(rows, rejected)


def _find_annotation(root: Path) -> Path:
    known = {name.lower() for name in ANNOTATION_NAMES}
    found = sorted(p for p in _near(root, "*.[xX][lL][sS][xX]") if p.name.lower() in known)
    if not found:
        others = sorted(p.name for p in _near(root, "*.[xX][lL][sS]*"))
        seen = f"; there is {', '.join(others[:5])}" if others else ""
        raise DadnetError(
            f"no CASME II annotation under {root}; looked for {', '.join(ANNOTATION_NAMES)}{seen}"
        )
    if len(found) > 1:
        names = ", ".join(str(p.relative_to(root)) for p in found)
        raise DadnetError(f"several annotations under {root}: {names}; keep the one to be used")
    return found[0]


def _near(root: Path, pattern: str) -> list[Path]:
    """Files in the root or one folder deeper; ``~$`` files are Excel's locks."""
    files = [*root.glob(pattern), *root.glob(f"*/{pattern}")]
    return [p for p in files if p.is_file() and not p.name.startswith(("~$", "."))]


def _read_annotation(path: Path) -> pd.DataFrame:
    """The annotation's rows with our column names, as they are in the cells."""
    try:
        table = pd.read_excel(path, dtype=object, engine="openpyxl", keep_default_na=False)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DadnetError(f"{path} cannot be read as .xlsx: {reason}") from error
    headers = [_COLUMNS.get(_plain(str(c)), "") for c in table.columns]
    if missing := sorted(set(_COLUMNS.values()) - set(headers)):
        found = ", ".join(str(c) for c in table.columns if not str(c).startswith("Unnamed"))
        raise DadnetError(f"{path}: no column for {', '.join(missing)}; found {found or 'none'}")
    if repeated := sorted({h for h in headers if h and headers.count(h) > 1}):
        raise DadnetError(f"{path}: more than one column for {', '.join(repeated)}")
    # The official file has two blank columns between the named ones.
    table = table.loc[:, [bool(h) for h in headers]]
    table.columns = [h for h in headers if h]
    filled = table.map(lambda cell: _text(cell) != "").any(axis=1)
    if not filled.any():
        raise DadnetError(f"{path}: the table has no rows")
    rows: pd.DataFrame = table.loc[filled]
    return rows


def _plain(header: str) -> str:
    """A header without blanks, in lower case, and without the ".1" pandas gives a repeated one."""
    return re.sub(r"[\s_]|\.[0-9]+$", "", header).lower()


def _find_frames(root: Path, frames: str) -> Path:
    if frames != "auto":
        if not (root / frames).is_dir():
            raise DadnetError(f"no folder of frames: {root / frames}")
        return _unnested(root / frames)
    for name in FRAME_FOLDERS:
        for folder in (root / name, *sorted(root.glob(f"*/{name}"))):
            if folder.is_dir():
                return _unnested(folder)
    if _subject_folders(root):
        return root
    raise DadnetError(
        f"no folder of frames under {root}; looked for {', '.join(FRAME_FOLDERS)} and subNN"
    )


def _unnested(folder: Path) -> Path:
    """The folder, or the one of its name inside: archives are often unpacked into a folder."""
    inner = folder / folder.name
    return inner if inner.is_dir() and not _subject_folders(folder) else folder


def _subject_folders(folder: Path) -> dict[int, Path]:
    matches = ((_SUBJECT_FOLDER.fullmatch(p.name), p) for p in sorted(folder.iterdir()))
    return {int(match[1]): path for match, path in matches if match and path.is_dir()}


def _text(cell: object) -> str:
    return "" if cell is None or cell != cell else str(cell).strip()  # NaN differs from itself


def _integer(text: str) -> int | None:
    """Cells hold 46, 46.0 or "46"."""
    match = re.fullmatch(r"([0-9]+)(?:\.0+)?", text)
    return int(match[1]) if match else None


def _subject_number(record: Record) -> int | None:
    """The subject is an integer in the official file, "sub01" in some copies."""
    text = _text(record["subject"])
    match = _SUBJECT_FOLDER.fullmatch(text)
    return int(match[1]) if match else _integer(text)


def _clip_id(record: Record, dataset: str) -> str:
    number = _subject_number(record)
    subject = "?" if number is None else f"sub{number:02d}"
    return f"{dataset}/{subject}/{_text(record['filename']) or '?'}"


def _row(
    record: Record, dataset: str, rule: ApexRule, subjects: Mapping[int, Path]
) -> dict[str, str | int]:
    number = _subject_number(record)
    filename = _text(record["filename"])
    emotion = _text(record["emotion"]).lower()
    if number is None:
        raise DadnetError(f"subject: expected a number, got {_text(record['subject'])!r}")
    if not filename or not emotion:
        raise DadnetError(f"{'emotion' if filename else 'filename'} is blank")
    onset, apex, offset = _frame_numbers(record, rule)
    if number not in subjects:
        raise DadnetError(f"no folder of frames of subject {number}")
    folder = subjects[number] / filename
    return {
        "clip_id": _clip_id(record, dataset),
        "dataset": dataset,
        "subject": f"{dataset}/sub{number:02d}",
        "filename": filename,
        "onset": onset,
        "apex": apex,
        "offset": offset,
        "emotion": emotion,
        "action_units": _text(record["action_units"]),
        "part": "",
        "onset_path": str(find_frame(folder, onset)),
        "apex_path": str(find_frame(folder, apex)),
        "flow_path": "",
    }


def _frame_numbers(record: Record, rule: ApexRule) -> tuple[int, int, int]:
    """Onset, apex and offset in their order."""
    onset, offset = _frame(record, "onset"), _frame(record, "offset")
    if _text(record["apex"]) not in ("", "/"):
        apex = _frame(record, "apex")
    elif rule == "midpoint":
        apex = (onset + offset) // 2
    else:
        raise DadnetError("the apex is unknown; apex='midpoint' would take the middle")
    if not onset < apex <= offset:
        raise DadnetError(
            f"the apex {apex} is not after the onset {onset} and up to the offset {offset}"
        )
    return onset, apex, offset


def _frame(record: Record, name: str) -> int:
    text = _text(record[name])
    if (number := _integer(text)) is None:
        raise DadnetError(f"{name}: expected a frame number, got {text!r}")
    return number
