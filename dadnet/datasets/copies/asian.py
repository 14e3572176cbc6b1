"""Copies of CASME II and CAS(ME)^3."""

from collections.abc import Sequence
from pathlib import Path

from dadnet.datasets.copies.drawing import NUM_FRAMES, PlannedClip, Studio
from dadnet.datasets.copies.sheets import Cell, write_table
from dadnet.datasets.synthetic.__main__ import CASME2_HEADER

CASME3_HEADER = (
    "Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion",
)  # fmt: skip


def write_casme2(
    studio: Studio, clips: Sequence[PlannedClip], *, name: str = "CASME2-coding-20140508.xlsx"
) -> None:
    """CASME II: numbers without padding, two blank columns, the subject as a number.

    Quirks: an apex "/", an offset before the apex, a missing frame, a blank row, numbers as text,
    shortcuts and other files among the frames, a lock file of Excel, and the two clips that the
    list of the Micro-Expressions Grand Challenge lacks.
    """
    frames = studio.root / "CASME2_RAW_selected"
    rows: list[Sequence[Cell]] = [CASME2_HEADER]

    def add(clip: PlannedClip, *, as_text: bool = False, **changed: Cell) -> Path:
        k = studio.number(clip.subject) - 1
        filename = clip.filename or f"EP{2 + k // 6:02d}_{1 + k % 6:02d}f"
        onset = 46 + 20 * k
        folder = frames / f"sub{clip.subject:02d}" / filename
        studio.clip(folder, "img{}.jpg", range(onset, onset + NUM_FRAMES), clip)
        cells: dict[str, Cell] = {"onset": onset, "apex": onset + 2, "offset": onset + 4, **changed}
        if as_text:
            cells = {name: f" {cell} " for name, cell in cells.items()}
        rows.append([clip.subject, filename, None, *cells.values(), None, "L12+6", clip.emotion])
        return folder

    for clip in clips:
        add(clip)
    if studio.quirks:
        add(PlannedClip(1, "disgust", "EP18_01"), apex="/")
        add(PlannedClip(1, "disgust", "EP18_02"), offset=1)
        missing = add(PlannedClip(2, "surprise", "EP18_03"))
        sorted(missing.iterdir())[2].unlink()
        rows.append([None] * len(CASME2_HEADER))
        add(PlannedClip(2, "happiness", "EP18_04"), as_text=True)
        add(PlannedClip(3, "fear"))
        add(PlannedClip(3, "sadness"))
        add(PlannedClip(4, "disgust", "EP12_01f"))
        add(PlannedClip(24, "repression", "EP02_07"))
        (frames / "sub01" / "Desktop - Shortcut.lnk").touch()
        (frames / "sub01" / "EP02_01f" / "Thumbs.db").touch()
        (frames / "sub02" / ".DS_Store").touch()
        (studio.root / f"~${name}").write_bytes(b"locked")
    write_table(studio.root / name, {"Sheet1": rows})


def write_casme3(
    studio: Studio,
    clips: Sequence[PlannedClip],
    *,
    videos: bool = True,
    name: str = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
) -> None:
    """CAS(ME)^3, part A, as whole videos or as clips; two clips share each video.

    Quirks: the table is not on the first sheet, ``spNO`` and ``spNo``, an apex before the onset,
    an onset 0, a missing frame, sides of units, a depth folder beside the colours.
    """
    rows: list[Sequence[Cell]] = [CASME3_HEADER]

    def add(clip: PlannedClip, *, drawn: bool = True, **changed: Cell) -> Path:
        k = studio.number(clip.subject) - 1
        video, onset = chr(ord("a") + k // 2), 355 + 40 * (k % 2)
        folder = studio.root / "Part_A_ME_clip" / "frame" / f"spNo.{clip.subject}_{video}_{onset}"
        if videos:
            folder = studio.root / "part_A" / f"spNO.{clip.subject}" / video / "color"
            (folder.parent / "depth").mkdir(parents=True, exist_ok=True)
        if drawn:
            studio.clip(folder, "{}.jpg", range(onset, onset + NUM_FRAMES), clip)
        cells: dict[str, Cell] = {"onset": onset, "apex": onset + 2, "offset": onset + 4, **changed}
        rows.append([f"spNO.{clip.subject}", video, *cells.values(), "L4+R7", "I", clip.emotion])
        return folder

    for clip in clips:
        add(clip)
    if studio.quirks:
        add(PlannedClip(1, "disgust"), drawn=False, onset=112, apex=83, offset=358)
        add(PlannedClip(1, "fear"), drawn=False, onset=0)
        missing = add(PlannedClip(2, "Others"))
        sorted(missing.iterdir())[-3].unlink()
    notes: list[Sequence[Cell]] = [["CAS(ME)3"], ["labels are on the sheet label"]]
    write_table(studio.root / name, {"readme": notes, "label": rows})


def write_casme3c(studio: Studio, clips: Sequence[PlannedClip]) -> None:
    """CAS(ME)^3, part C: no apex; the emotion column is added, since the real list has no label.

    Quirks: the full-width comma between units, a row without emotion.
    """
    rows: list[Sequence[Cell]] = [("sub", "count", "onset", "offset", "au", "emotion")]
    for clip in clips:
        k = studio.number(clip.subject)
        folder = studio.root / "part_C" / f"{clip.subject:02d}" / str(k) / "color"
        studio.clip(folder, "{}.jpg", range(20, 20 + NUM_FRAMES), clip)
        units = "4\uff0c7" if k == 1 else "4,7"
        rows.append([clip.subject, k, 20, 24, units, clip.emotion])
    if studio.quirks:
        rows.append([1, 99, 20, 24, "4", None])
    write_table(studio.root / "CAS(ME)3_part_C_ME.xlsx", {"Sheet1": rows})
