"""CK+ (Lucey et al. 2010): posed macro-expressions, for the teacher.

Layout: ``cohn-kanade-images/S005/001/S005_001_00000011.png`` and
``Emotion/S005/001/S005_001_00000011_emotion.txt``, which holds one number. A sequence goes from
neutral to the peak: its first frame is the onset, its last the apex. Some sequences have no label
file and so no label, as the readme says.
"""

import re
from pathlib import Path

from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import FrameFolders
from dadnet.datasets.official.finding import find_source, relative
from dadnet.datasets.official.layout import Clip, Layout, LeftOut, Options, Rows, clip_of
from dadnet.datasets.official.tables import Columns, TableRow

EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_LABEL_FOLDERS = ("emotion", "emotion_labels")
_FACS_FOLDERS = ("facs", "facs_labels")


def _rows(layout: Layout, root: Path, options: Options) -> Rows:
    """One row per image sequence."""
    source = find_source(layout, root, options)
    folders = source.folders
    labels = _side_folder(folders, root, _LABEL_FOLDERS)
    if labels is None:
        raise DadnetError(f"no CK+ labels under {root}; looked for the folder Emotion")
    facs = _side_folder(folders, root, _FACS_FOLDERS)
    rows: list[TableRow] = []
    for subject in folders.children(source.frames).values():
        if not re.fullmatch(r"s[0-9]{3}", subject.name.lower()):
            continue
        for sequence in folders.children(subject).values():
            numbers = sorted(folders.frames(sequence))
            cells = {"subject": subject.name.upper(), "filename": sequence.name}
            if numbers:
                first, last = str(numbers[0]), str(numbers[-1])
                cells |= {"onset": first, "apex": last, "offset": last}
            cells["emotion"] = _label(folders, labels, cells, "_emotion.txt")
            cells["action_units"] = _units(folders, facs, cells) if facs is not None else ""
            rows.append(TableRow(relative(sequence, root), len(rows), cells))
    if not rows:
        raise DadnetError(f"no sequences of CK+ in {source.frames}; expected S005/001")
    return Rows(tuple(rows), (relative(labels, root),))


def _side_folder(folders: FrameFolders, root: Path, names: tuple[str, ...]) -> Path | None:
    top = folders.children(root)
    for children in (top, *(folders.children(child) for child in top.values())):
        for name in names:
            if name in children:
                return folders.below(children[name], (name,)) or children[name]
    return None


def _label(folders: FrameFolders, labels: Path, cells: dict[str, str], ending: str) -> str:
    """Text of the sequence's label file; "" without a file; "!" and the reason if unreadable."""
    folder = folders.below(labels, (cells["subject"], cells["filename"]))
    files = folders.files(folder) if folder is not None else []
    files = [p for p in files if p.name.lower().endswith(ending) and not p.name.startswith(".")]
    if not files:
        return ""
    if len(files) > 1:
        return f"! {len(files)} files of labels"
    try:
        return files[0].read_text(encoding="ascii", errors="replace").strip() or "! an empty file"
    except OSError as error:
        return f"! {files[0].name} cannot be read: {error.strerror}"


def _units(folders: FrameFolders, facs: Path, cells: dict[str, str]) -> str:
    """The action units of a FACS file, which has a unit and its intensity on each line."""
    lines = _label(folders, facs, cells, "_facs.txt").splitlines()
    numbers = [word for line in lines for word in line.split()[:1]]
    try:
        return "+".join(str(int(float(number))) for number in numbers)
    except (ValueError, OverflowError):
        return ""


def _clip(row: TableRow) -> Clip:
    label = row["emotion"]
    if not label:
        raise LeftOut(f"{row['subject']}/{row['filename']}: no emotion file, so no label")
    if not row["onset"]:
        raise DadnetError(f"{row['subject']}/{row['filename']}: no frames")
    match = re.fullmatch(r"([0-7])(?:\.0*(?:e\+?0+)?)?", label)
    if match is None:
        raise DadnetError(f"emotion: expected a number from 0 to 7, got {label.lstrip('! ')!r}")
    if match[1] == "0":
        raise LeftOut("neutral: no expression")
    subject, filename = row["subject"], row["filename"]
    return clip_of(row, subject, filename, EMOTIONS[int(match[1])], ((subject, filename),))


LAYOUT = Layout(
    dataset="ckplus",
    title="CK+",
    annotations=(),
    columns=Columns({}, required=()),
    frame_folders=("cohn-kanade-images", "extended-cohn-kanade-images"),
    clip=_clip,
    is_frames=r"s[0-9]{3}",
    rows=_rows,
)
