"""SMIC-HS (Li et al. 2013), high-speed camera.

Two layouts: cropped clips ``SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01/reg_image46.bmp``, and
whole videos ``SMIC-HS-E/s03/s03_ne_03/image000123.jpg`` with ``SMIC-HS-E_annotation.xlsx``
(``_2019`` adds the apex). Subjects are ``s1`` in the first layout and ``s01`` in the second. There
is no official apex. Cropped clips have no table: their class is a part of their official name.
"""

import re
from pathlib import Path

from dadnet.base.errors import DadnetError
from dadnet.datasets.official.finding import find_files, find_source, relative
from dadnet.datasets.official.layout import Clip, Layout, Options, Rows, clip_of, filled
from dadnet.datasets.official.read import table_rows
from dadnet.datasets.official.tables import Columns, TableRow

_CODES = {"ne": "negative", "po": "positive", "sur": "surprise"}
_WORDS = {word: word for word in _CODES.values()}
_NAME = re.compile(r"s([0-9]+)_(ne|po|sur)_([0-9]+)", re.IGNORECASE)


def _rows(layout: Layout, root: Path, options: Options) -> Rows:
    """The table's rows or, without a table, the cropped clips."""
    if options.annotation is not None or find_files(root, layout.annotations):
        return table_rows(layout, root, options)
    source = find_source(layout, root, options)
    rows: list[TableRow] = []
    for subject in source.folders.children(source.frames).values():
        micro = source.folders.below(subject, ("micro",))
        for emotion in source.folders.children(micro).values() if micro is not None else ():
            for clip in source.folders.children(emotion).values():
                cells = {"subject": subject.name, "filename": clip.name, "emotion": emotion.name}
                cells["no_table"] = "yes"
                rows.append(TableRow(relative(clip, root), len(rows), cells))
    if not rows:
        raise DadnetError(
            f"no SMIC annotation under {root}, and no cropped clips sN/micro/EMOTION/sN_ne_01"
        )
    return Rows(tuple(rows), (), notes=("no table: classes by the official names of the clips",))


def _clip(row: TableRow) -> Clip:
    filename, emotion = filled(row, "filename", "emotion")
    match = _NAME.fullmatch(filename)
    if match is None:
        raise DadnetError(f"filename: expected s1_ne_01, got {filename!r}")
    number, code, rest = int(match[1]), match[2].lower(), match[3]
    word = _CODES[code]
    label = {**_CODES, **_WORDS}.get(emotion.lower())
    if label is not None and label != word:
        raise DadnetError(f"emotion says {label}, the clip's name says {word}")
    names = dict.fromkeys((filename, f"s{number}_{code}_{rest}", f"s{number:02d}_{code}_{rest}"))
    subjects = (f"s{number}", f"s{number:02d}")
    folders = (
        *((subject, "micro", word, name) for subject in subjects for name in names),
        *((subject, name) for subject in subjects for name in names),
    )
    official, blank = f"s{number:02d}_{code}_{rest}", bool(row["no_table"])
    return clip_of(
        row, subjects[1], official, label or emotion, folders, blank=blank, single_clip_folder=True
    )


LAYOUT = Layout(
    dataset="smic",
    title="SMIC-HS",
    annotations=(r"smic-hs-e_annotation(?:_2019)?\.xlsx?", r"smic\.xlsx?"),
    columns=Columns(
        {
            "subject": ("subject",),
            "filename": ("filename", "material"),
            "onset": ("onsetf", "onset"),
            "apex": ("apexf", "apex"),
            "offset": ("offsetf", "offset"),
            "emotion": ("emotion",),
        },
        required=("subject", "filename", "onset", "offset", "emotion"),
    ),
    frame_folders=("HS", "SMIC-HS-E", "SMIC_all_cropped", "SMIC_all_raw"),
    clip=_clip,
    is_frames=r"s[0-9]+",
    rows=_rows,
)
