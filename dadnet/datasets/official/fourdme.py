"""4DME (Li et al. 2022): the grey 2D frames of the micro-expressions.

Layout: ``4DME_Labelling_Micro_release v1.xlsx`` (or the newer list of micro- and macro-expressions)
and ``gray_micro/<sub_ID>/<fold_name>/...``, or ``micro_short_gray_video_cropped`` instead. A clip
may have several emotions (``Positive+Surprise``); the index has all of them.
"""

import re

from dadnet.base.errors import DadnetError
from dadnet.datasets.official.layout import Clip, Layout, LeftOut, clip_of, filled
from dadnet.datasets.official.tables import Columns, TableRow

_INDICATORS = ("positive", "negative", "surprise", "repression", "others")
# Public loaders skip this clip.
_SKIPPED = "s13_1st_001_01_1"


def emotions(text: str) -> str:
    """The different emotions of a cell, in the order of the indicator columns, joined by "+"."""
    words = {word.lower() for word in re.split("\\s*[+,/&;\u3001\uff0c]\\s*", text) if word}
    known = [name for name in _INDICATORS if name in words]
    return "+".join([*known, *sorted(words - set(known))])


def _clip(row: TableRow) -> Clip:
    subject, filename = filled(row, "subject", "filename")
    if filename.lower() == _SKIPPED:
        raise LeftOut("public loaders skip this clip")
    emotion = emotions(row["emotion"])
    marked = "+".join(name for name in _INDICATORS if row[name] in ("1", "True", "TRUE"))
    if emotion and marked and marked != emotion:
        raise DadnetError(f"emotion says {emotion}, the indicator columns say {marked}")
    if "macro" in row["kind"].lower():
        raise LeftOut("not a micro-expression: the list says macro")
    folders = ((subject, filename), (filename,))
    return clip_of(
        row, subject, filename, emotion or marked, folders, blank=True, single_clip_folder=True
    )


LAYOUT = Layout(
    dataset="fourdme",
    title="4DME",
    annotations=(
        r"4dme_labelling_micro_release.*\.xlsx?",
        r"micro_and_macro-expression_labels_new_2d.*\.xlsx?",
    ),
    columns=Columns(
        {
            "subject": ("subid", "sub"),
            "filename": ("foldname",),
            "action_units": ("aus", "au"),
            "kind": ("type", "expressiontype", "micro/macro"),
            **{name: (name,) for name in ("onset", "apex", "offset", "emotion", *_INDICATORS)},
        },
        required=("subject", "filename", "onset", "apex", "emotion"),
    ),
    frame_folders=("gray_micro", "micro_short_gray_video_cropped", "gray"),
    clip=_clip,
    is_frames=r"s?[0-9]+|.*_.*_.*",
)
