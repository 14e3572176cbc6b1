"""DFME (Zhao et al. 2023) in the parts of the official challenge: train, testA, testB.

Layout: ``full_release_annotation/training_full_with_AU.xlsx`` and
``train_data/train_data/sub0003_01/00000.png``; the labels of the test parts are published after the
contest, as further tables. A clip's folder is searched by its name anywhere below the root.
"""

import re
from dataclasses import replace
from pathlib import Path

from dadnet.base.errors import DadnetError, listed
from dadnet.datasets.official.finding import find_files, relative, searched_names
from dadnet.datasets.official.layout import Clip, Layout, LeftOut, Options, Rows, clip_of, filled
from dadnet.datasets.official.read import ANYWHERE
from dadnet.datasets.official.tables import Columns, TableRow, read_table

_PARTS = (
    ("train", r"train.*\.xlsx?"),
    ("testA", r"test[^a-z]*(?:data|set|part)?[^a-z]*a(?:[^a-z].*)?\.xlsx?"),
    ("testB", r"test[^a-z]*(?:data|set|part)?[^a-z]*b(?:[^a-z].*)?\.xlsx?"),
)


def _rows(layout: Layout, root: Path, options: Options) -> Rows:
    """The rows of all parts, with the part in the column ``part``."""
    rows: list[TableRow] = []
    files: list[str] = []
    notes: list[str] = []
    for part, pattern in _PARTS:
        paths = find_files(root, (pattern,))
        if part == "train" and options.annotation is not None:
            paths = [options.annotation]
        if len(paths) > 1:
            names = listed(relative(p, root) for p in paths)
            raise DadnetError(f"several annotations of {part} under {root}: {names}")
        if not paths:
            notes.append(f"no table of the part {part}")
            continue
        files.append(relative(paths[0], root))
        for row in read_table(paths[0], layout.columns):
            location = f"{row.location} of {paths[0].name}"
            row = row.with_cells({"part": part})
            rows.append(replace(row, location=location, number=len(rows)))
    if not files:
        raise DadnetError(f"no DFME annotation under {root}; {searched_names(layout, root)}")
    return Rows(tuple(rows), tuple(files), notes=tuple(notes))


def _clip(row: TableRow) -> Clip:
    [filename] = filled(row, "filename")
    match = re.fullmatch(r"(sub[0-9]+)_.+", filename, re.IGNORECASE)
    subject = (row["subject"] or (match[1] if match else "")).lower()
    if match is None or subject != match[1].lower():
        raise DadnetError(
            f"filename: expected sub0003_01 of its subject, got {filename!r} of {subject or '?'!r}"
        )
    if not row["emotion"]:
        raise LeftOut(f"no emotion: the labels of {row['part']} are given out after the contest")
    folders = ((ANYWHERE, filename),)
    return clip_of(
        row, subject, filename, row["emotion"], folders, blank=True, single_clip_folder=True
    )


LAYOUT = Layout(
    dataset="dfme",
    title="DFME",
    annotations=tuple(pattern for _, pattern in _PARTS),
    columns=Columns(
        {
            "filename": ("filename", "name", "videoname"),
            "subject": ("subject",),
            "onset": ("onsetframe", "onset"),
            "apex": ("apexframe", "apex"),
            "offset": ("offsetframe", "offset"),
            "action_units": ("au", "aus", "actionunits"),
            "emotion": ("emotion", "label"),
        },
        required=("filename",),
    ),
    frame_folders=(),
    clip=_clip,
    is_frames=r".*",
    rows=_rows,
)
