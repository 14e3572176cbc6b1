"""CASME II (Yan et al. 2014); the synthetic sets have the same layout.

Layout: ``CASME2-coding-20140508.xlsx`` and ``CASME2_RAW_selected/sub01/EP02_01f/img46.jpg``, or the
authors' crop ``Cropped/sub01/EP02_01f/reg_img46.jpg``.
"""

from dadnet.datasets.official.corrections import MEB, Correction, missing_apexes
from dadnet.datasets.official.layout import Clip, Layout, clip_of, filled, numbered
from dadnet.datasets.official.tables import FRAME_COLUMNS, TableRow

# For the table of 256 rows. Row 60 lacks its apex and has a wrong offset.
_MISSING_APEX = (
    (29, 35, 43, 45, 51, 53, 60, 117, 118, 126, 136, 147, 155, 168, 170, 177, 202, 203, 234, 237,
     238),
    (279, 68, 77, 81, 166, 100, 78, 187, 89, 80, 88, 134, 231, 53, 329, 111, 91, 103, 98, 153, 98),
)  # fmt: skip


def _clip(row: TableRow) -> Clip:
    filename, emotion = filled(row, "filename", "emotion")
    number = numbered(row, "subject", "s(?:ub)?([0-9]+)")
    folders = (f"sub{number:02d}", f"sub{number}", f"s{number:02d}", f"s{number}")
    paths = tuple((folder, filename) for folder in folders)
    return clip_of(row, folders[0], filename, emotion, paths)


LAYOUT = Layout(
    dataset="casme2",
    title="CASME II",
    annotations=(
        r"casme2-coding-20140508\.xlsx?",
        r"casme2-coding-20190701\.xlsx?",
        r"casme2-coding-updated\.xlsx?",
        r"casme2_label_ver_2\.xlsx?",
    ),
    columns=FRAME_COLUMNS,
    frame_folders=("CASME2_RAW_selected", "Cropped", "CASME2-RAW", "CASME2_RAW", "CASME2_Cropped"),
    clip=_clip,
    is_frames=r"s(?:ub)?[0-9]+",
    corrections=(
        *missing_apexes(*_MISSING_APEX, table_rows=256, source=MEB),
        Correction(60, 256, {"offset": 91}, MEB),
    ),
)
