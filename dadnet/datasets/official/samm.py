"""SAMM (Davison et al. 2018).

Layout: ``SAMM_Micro_FACS_Codes_v2.xlsx`` (its header is row 14, below notes) and
``SAMM/006/006_1_2/006_05562.jpg``; some clips pad the number to four digits.
"""

from dadnet.datasets.official.corrections import MEB, Correction, missing_apexes
from dadnet.datasets.official.layout import Clip, Layout, clip_of, filled, numbered
from dadnet.datasets.official.tables import FRAME_COLUMNS, TableRow


def _clip(row: TableRow) -> Clip:
    filename, emotion = filled(row, "filename", "emotion")
    number = numbered(row, "subject", "s?([0-9]+)")
    if emotion.lower() == "others":
        emotion = "other"
    folders = ((f"{number:03d}", filename), (str(number), filename))
    return clip_of(row, f"{number:03d}", filename, emotion, folders)


LAYOUT = Layout(
    dataset="samm",
    title="SAMM",
    annotations=(r"samm_(?:[0-9]+_)?micro_facs_codes_v2.*\.xlsx?",),
    columns=FRAME_COLUMNS,
    frame_folders=("SAMM", "SAMM_Cropped", "SAMM_crop"),
    clip=_clip,
    is_frames=r"[0-9]{3}",
    corrections=(
        Correction(56, 159, {"offset": 5739}, MEB),
        *missing_apexes((125, 132, 133), (1105, 4945, 5130), table_rows=159, source=MEB),
    ),
)
