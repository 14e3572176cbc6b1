"""Copies of SAMM, SMIC and 4DME."""

from collections.abc import Sequence
from pathlib import Path

from dadnet.datasets.copies.drawing import NUM_FRAMES, PlannedClip, Studio
from dadnet.datasets.copies.sheets import Cell, write_table

SAMM_HEADER = (
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame",
    "Duration", "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
)  # fmt: skip
_SAMM_NOTES = ("SAMM micro-movements", "FACS codes", "Frames at 200 fps", "Notes", "Version 2")
_SMIC_CODES = {"negative": "ne", "positive": "po", "surprise": "sur"}
_INDICATORS = ("Positive", "Negative", "Surprise", "Repression", "Others")
FOURDME_HEADER = (
    "sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs", *_INDICATORS, "eye blink",
    "AU1", "AU4",
)  # fmt: skip


def write_samm(
    studio: Studio, clips: Sequence[PlannedClip], *, name: str = "SAMM_Micro_FACS_Codes_v2.xlsx"
) -> None:
    """SAMM: grey frames, the header in row 14 below notes.

    Quirks: a clip padded to four digits, an apex outside onset and offset (028_4_1), ``Other`` and
    ``Others``, units with "or".
    """
    rows: list[Sequence[Cell]] = [[note] for note in _SAMM_NOTES]
    rows += [[None]] * (13 - len(rows))
    rows.append(SAMM_HEADER)

    def add(clip: PlannedClip, filename: str = "", digits: int = 5, **changed: Cell) -> None:
        subject = f"{clip.subject:03d}"
        k = studio.number(clip.subject) - 1
        filename = filename or f"{subject}_{1 + k // 5}_{1 + k % 5}"
        onset = 562 + 100 * k
        pattern = f"{subject}_{{:0{digits}d}}.jpg"
        numbers = range(onset, onset + NUM_FRAMES)
        studio.clip(studio.root / "SAMM" / subject / filename, pattern, numbers, clip, grey=True)
        cells: dict[str, Cell] = {
            "onset": onset, "apex": onset + 2, "offset": onset + 4, "units": "4 + 7", **changed
        }  # fmt: skip
        *frames, units = cells.values()
        described = (NUM_FRAMES, "1/2", units, clip.emotion, 1, None)
        rows.append([subject, filename, k + 1, *frames, *described])

    for clip in clips:
        add(clip)
    if studio.quirks:
        add(PlannedClip(6, "Anger"), digits=4)
        add(PlannedClip(28, "Contempt"), "028_4_1", apex=9999)
        add(PlannedClip(6, "Others"), units="R12 or R15")
        add(PlannedClip(7, "Other"))
    write_table(studio.root / name, {"MICRO ONLY": rows})


def write_smic(studio: Studio, clips: Sequence[PlannedClip]) -> None:
    """SMIC-HS as cropped clips, without a table: subjects ``s1``, bitmaps.

    Quirks: a clip in the folder of another class, a folder that is not a clip, other files.
    """
    frames = studio.root / "SMIC_all_cropped" / "HS"

    def add(clip: PlannedClip, folder: str = "", name: str = "") -> Path:
        emotion = clip.emotion.lower()
        k = studio.number((clip.subject, emotion))
        name = name or f"s{clip.subject}_{_SMIC_CODES[emotion]}_{k:02d}"
        path = frames / f"s{clip.subject}" / "micro" / (folder or emotion) / name
        studio.clip(path, "reg_image{}.bmp", range(46, 46 + NUM_FRAMES), clip)
        return path

    for clip in clips:
        path = add(clip)
        if studio.quirks:
            (path / "Thumbs.db").touch()
    if studio.quirks:
        add(PlannedClip(1, "negative"), folder="positive", name="s1_ne_40")
        add(PlannedClip(1, "negative"), name="notes")
        (frames / "s1" / "non_micro" / "s1_non_01").mkdir(parents=True)


def write_smic_videos(
    studio: Studio, clips: Sequence[PlannedClip], *, name: str = "SMIC-HS-E_annotation_2019.xlsx"
) -> None:
    """SMIC-HS-E as whole videos with a table: subjects ``s01``, numbers of six digits.

    Quirks: a clip of the table without frames (s04_ne_05), an apex outside onset and offset.
    """
    header = ("Subject", "Filename", "OnsetF", "ApexF", "OffsetF", "Emotion")
    with_apex = "2019" in name
    rows: list[Sequence[Cell]] = []
    for clip in clips:
        emotion = clip.emotion.lower()
        k = studio.number((clip.subject, emotion))
        clip_name = f"s{clip.subject:02d}_{_SMIC_CODES[emotion]}_{k:02d}"
        folder = studio.root / "SMIC-HS-E" / f"s{clip.subject:02d}" / clip_name
        neutral = PlannedClip(clip.subject, "others")
        studio.clip(folder, "image{:06d}.jpg", range(100, 123), neutral)
        studio.clip(folder, "image{:06d}.jpg", range(123, 123 + NUM_FRAMES), clip)
        rows.append([f"s{clip.subject:02d}", clip_name, 123, 125, 127, emotion])
    if studio.quirks:
        rows.append(["s04", "s04_ne_05", 123, 125, 127, "negative"])
        rows.append([*rows[0][:1], "s01_ne_09", 123, 12, 127, "negative"])
    columns = [k for k, column in enumerate(header) if with_apex or column != "ApexF"]
    chosen = [[row[k] for k in columns] for row in (header, *rows)]
    write_table(studio.root / name, {"Sheet1": chosen})


def write_fourdme(
    studio: Studio,
    clips: Sequence[PlannedClip],
    *,
    name: str = "4DME_Labelling_Micro_release v1.xlsx",
) -> None:
    """4DME: grey frames with numbers of nine digits, indicator columns beside the emotion.

    Quirks: several emotions, static units ``(k)``, the clip that public loaders skip, a row whose
    emotion and indicators disagree.
    """
    rows: list[Sequence[Cell]] = [FOURDME_HEADER]

    def add(clip: PlannedClip, filename: str = "", marked: str = "", units: str = "AU4") -> None:
        k = studio.number(clip.subject)
        subject = f"S{clip.subject}"
        filename = filename or f"{subject}_1st_001_{k:02d}_1"
        numbers = range(123 + 50 * k, 123 + 50 * k + NUM_FRAMES)
        folder = studio.root / "gray_micro" / subject / filename
        studio.clip(folder, "Frame_{:09d}.jpg", numbers, clip, grey=True)
        words = (marked or clip.emotion).lower().split("+")
        ones = [int(name.lower() in words) for name in _INDICATORS]
        frames = (numbers[0], numbers[2], numbers[4])
        rows.append([subject, filename, clip.emotion, *frames, units, *ones, 0, 0, 1])

    for clip in clips:
        add(clip)
    if studio.quirks:
        add(PlannedClip(1, "Surprise+Positive"), units="AU1+AU12(k)")
        add(PlannedClip(2, "Negative"), marked="Positive")
        add(PlannedClip(13, "Negative"), "S13_1st_001_01_1")
    write_table(studio.root / name, {"Sheet1": rows})
