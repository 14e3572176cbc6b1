"""CAS(ME)^3 (Li et al. 2022), part A, and part C as ``casme3c``.

Layout of part A: ``cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx``, sheet ``label``, with either whole
videos ``part_A/spNO.1/a/color/355.jpg`` or clips ``Part_A_ME_clip/frame/spNo.1_a_355/355.jpg``. A
video holds several clips, so a clip's id has its onset.

Part C: ``CAS(ME)3_part_C_ME.xlsx`` has no apex and, in the known copies, no emotion.
"""

from dadnet.base.errors import DadnetError
from dadnet.datasets.official.corrections import MEB, Correction
from dadnet.datasets.official.layout import Clip, Layout, LeftOut, clip_of, filled, frame, numbered
from dadnet.datasets.official.tables import Columns, TableRow

_REQUIRED = ("subject", "filename", "onset", "apex", "offset", "emotion")


def _clip(row: TableRow) -> Clip:
    filename, emotion = filled(row, "filename", "emotion")
    if row["kind"] and not row["kind"].lower().startswith("micro"):
        raise LeftOut(f"not a micro-expression: expression type {row['kind']}")
    number = numbered(row, "subject", r"sp\s?no\.?\s?([0-9]+)")
    onset = frame(row, "onset")
    apex = frame(row, "apex", blank=True)
    if onset == 0 or apex == 0:
        raise DadnetError(f"{'onset' if onset == 0 else 'apex'} is 0: frames are counted from 1")
    subject = f"spNO.{number}"
    # The names of the clips' folders have the uncorrected onset.
    onsets = dict.fromkeys((onset, frame(row, "first_onset", blank=True)))
    clips = [(f"{subject}_{filename}_{n}",) for n in onsets if n is not None]
    videos = ((subject, filename, "color"), (subject, filename))
    folders = (*videos, *(("frame", *clip) for clip in clips), *clips)
    return clip_of(row, subject, filename, emotion, folders, many=True)


LAYOUT = Layout(
    dataset="casme3",
    title="CAS(ME)^3 part A",
    annotations=(r"cas\(me\)3_part_a_me_label_jpgindex.*\.xlsx?", r"cas\(me\)3_part_a_v2\.xlsx?"),
    columns=Columns(
        {
            **{name: (name,) for name in _REQUIRED},
            "action_units": ("au", "actionunits"),
            "kind": ("expressiontype",),
        },
        required=_REQUIRED,
        sheets=("label",),
    ),
    frame_folders=("part_A", "Part_A_ME_clip", "part_A_cropped"),
    clip=_clip,
    is_frames=r"sp\s?no\.?[0-9]+.*|frame",
    # The source also has an apex for row 128, but its versions differ (123, 160): that row stays
    # rejected. Its correction of row 750 sets the onset to the apex, a clip without motion.
    corrections=(
        Correction(749, 860, {"onset": 2647}, MEB),
        Correction(708, 860, {"offset": 34}, MEB),
        Correction(796, 860, {"offset": 1845}, MEB),
        Correction(798, 860, {"offset": 2403}, MEB),
    ),
)


def _clip_c(row: TableRow) -> Clip:
    [filename] = filled(row, "filename")
    number = numbered(row, "subject", "s(?:ub|p)?([0-9]+)")
    subject = f"{number:02d}"
    if not row["emotion"]:
        raise DadnetError("the list of part C gives no emotion, so there is no label to learn")
    folders = ((subject, filename, "color"), (subject, filename), (str(number), filename))
    return clip_of(row, subject, filename, row["emotion"], folders, many=True)


LAYOUT_C = Layout(
    dataset="casme3c",
    title="CAS(ME)^3 part C",
    annotations=(r"cas\(me\)3_part_c_me\.xlsx?",),
    columns=Columns(
        {
            "subject": ("sub", "subject"),
            "filename": ("count", "filename"),
            **{name: (name,) for name in ("onset", "apex", "offset", "emotion")},
            "action_units": ("au",),
        },
        required=("subject", "filename", "onset", "offset"),
    ),
    frame_folders=("part_C", "Part_C_ME_clip"),
    clip=_clip_c,
    is_frames=r"(?:s(?:ub|p)?)?[0-9]+",
)
