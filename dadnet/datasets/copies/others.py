"""Copies of DFME and CK+."""

from collections.abc import Sequence
from pathlib import Path

from dadnet.datasets.copies.drawing import NUM_FRAMES, PlannedClip, Studio
from dadnet.datasets.copies.sheets import Cell, write_table
from dadnet.datasets.official.ckplus import EMOTIONS

_DFME_HEADER = ("Filename", "Subject", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "AU")


def write_dfme(
    root: Path,
    studio: Studio,
    clips: Sequence[PlannedClip],
    *,
    quirks: bool = True,
    parts: tuple[float, float] = (0.5, 0.75),
) -> None:
    """DFME in the parts of the challenge: frames of five digits from 0.

    The first share of the subjects trains, the next is testA, the rest testB. Quirks: an apex
    "/", a test clip without label, a clip without frames.
    """
    subjects = sorted({clip.subject for clip in clips})
    bounds = [round(share * len(subjects)) for share in parts]
    taken: dict[int, int] = {}
    rows: dict[str, list[Sequence[Cell]]] = {
        part: [_DFME_HEADER] for part in ("train", "testA", "testB")
    }
    folders = {
        "train": root / "train_data" / "train_data",
        "testA": root / "test_data_A",
        "testB": root / "test_data_B",
    }

    def add(
        clip: PlannedClip, *, label: bool = True, apex: Cell = 2, drawn: bool = True, part: str = ""
    ) -> None:
        place = subjects.index(clip.subject)
        part = part or ("train", "testA", "testB")[sum(place >= bound for bound in bounds)]
        k = taken[clip.subject] = taken.get(clip.subject, 0) + 1
        filename = f"sub{clip.subject:04d}_{k:02d}"
        if drawn:
            studio.clip(folders[part] / filename, "{:05d}.png", range(NUM_FRAMES), clip)
        emotion = clip.emotion if label else None
        subject = f"sub{clip.subject:04d}"
        rows[part].append([filename, subject, 0, apex, NUM_FRAMES - 1, emotion, "4+7"])

    for clip in clips:
        add(clip)
    if quirks:
        add(PlannedClip(subjects[0], "Fear"), apex="/")
        add(PlannedClip(subjects[0], "Anger"), drawn=False)
        add(PlannedClip(subjects[-1], "Anger"), label=False)
    names = {"train": "training_full_with_AU", "testA": "test_A_labels", "testB": "test_B_labels"}
    for part, name in names.items():
        write_table(root / "full_release_annotation" / f"{name}.xlsx", {"Sheet1": rows[part]})


def write_ckplus(
    root: Path, studio: Studio, clips: Sequence[PlannedClip], *, quirks: bool = True
) -> None:
    """CK+: sequences from neutral to the peak, one number per file of emotion.

    Quirks: a sequence without a label, a broken file of emotion, hidden files.
    """
    taken: dict[int, int] = {}

    def add(clip: PlannedClip, label: str | None) -> None:
        k = taken[clip.subject] = taken.get(clip.subject, 0) + 1
        subject, sequence = f"S{clip.subject:03d}", f"{k:03d}"
        stem = f"{subject}_{sequence}"
        place = Path(subject) / sequence
        images = root / "cohn-kanade-images" / place
        studio.clip(images, f"{stem}_{{:08d}}.png", (1, 2, 3), clip)
        last = f"{stem}_{3:08d}"
        for name, ending, text in (
            ("Emotion", "emotion", label),
            ("FACS", "facs", "   4.0000000e+00   0.0000000e+00\n"),
            ("Landmarks", "landmarks", "   1.0000000e+01   1.0000000e+01\n" * 68),
        ):
            folder = root / name / place
            folder.mkdir(parents=True, exist_ok=True)
            if text is not None:
                (folder / f"{last}_{ending}.txt").write_text(text, encoding="ascii")
        if quirks:
            (images / ".DS_Store").touch()

    for clip in clips:
        add(clip, f"   {EMOTIONS.index(clip.emotion.lower())}.0000000e+00\n")
    if quirks:
        add(PlannedClip(1, "happy"), None)
        add(PlannedClip(2, "happy"), "   9.0000000e+00\n")
