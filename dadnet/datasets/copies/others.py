"""Copies of DFME and CK+."""

from collections.abc import Sequence
from pathlib import Path

from dadnet.datasets.copies.drawing import NUM_FRAMES, PlannedClip, Studio
from dadnet.datasets.copies.sheets import Cell, write_table
from dadnet.datasets.official.ckplus import EMOTIONS

_DFME_HEADER = ("Filename", "Subject", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "AU")


def write_dfme(
    studio: Studio, clips: Sequence[PlannedClip], *, parts: tuple[float, float] = (0.5, 0.75)
) -> None:
    """DFME in the parts of the challenge: frames of five digits from 0.

    `parts` has the bounds between train, testA and testB as shares of the subjects. Quirks: an
    apex "/", a test clip without label, a clip without frames.
    """
    subjects = sorted({clip.subject for clip in clips})
    bounds = [round(share * len(subjects)) for share in parts]
    rows: dict[str, list[Sequence[Cell]]]
    rows = {part: [_DFME_HEADER] for part in ("train", "testA", "testB")}
    folders = {
        "train": studio.root / "train_data" / "train_data",
        "testA": studio.root / "test_data_A",
        "testB": studio.root / "test_data_B",
    }

    def add(
        clip: PlannedClip, *, label: bool = True, apex: Cell = 2, drawn: bool = True, part: str = ""
    ) -> None:
        position = subjects.index(clip.subject)
        part = part or ("train", "testA", "testB")[sum(position >= bound for bound in bounds)]
        k = studio.number(clip.subject)
        filename = f"sub{clip.subject:04d}_{k:02d}"
        if drawn:
            studio.clip(folders[part] / filename, "{:05d}.png", range(NUM_FRAMES), clip)
        emotion = clip.emotion if label else None
        subject = f"sub{clip.subject:04d}"
        rows[part].append([filename, subject, 0, apex, NUM_FRAMES - 1, emotion, "4+7"])

    for clip in clips:
        add(clip)
    if studio.quirks:
        add(PlannedClip(subjects[0], "Fear"), apex="/")
        add(PlannedClip(subjects[0], "Anger"), drawn=False)
        add(PlannedClip(subjects[-1], "Anger"), label=False)
    names = {"train": "training_full_with_AU", "testA": "test_A_labels", "testB": "test_B_labels"}
    for part, name in names.items():
        path = studio.root / "full_release_annotation" / f"{name}.xlsx"
        write_table(path, {"Sheet1": rows[part]})


def write_ckplus(studio: Studio, clips: Sequence[PlannedClip]) -> None:
    """CK+: sequences from neutral to the peak, one number per emotion file.

    Quirks: a sequence without a label, a broken emotion file, hidden files.
    """

    def add(clip: PlannedClip, label: str | None) -> None:
        k = studio.number(clip.subject)
        subject, sequence = f"S{clip.subject:03d}", f"{k:03d}"
        stem = f"{subject}_{sequence}"
        below = Path(subject) / sequence
        images = studio.root / "cohn-kanade-images" / below
        studio.clip(images, f"{stem}_{{:08d}}.png", (1, 2, 3), clip)
        last = f"{stem}_{3:08d}"
        for name, ending, text in (
            ("Emotion", "emotion", label),
            ("FACS", "facs", "   4.0000000e+00   0.0000000e+00\n"),
            ("Landmarks", "landmarks", "   1.0000000e+01   1.0000000e+01\n" * 68),
        ):
            folder = studio.root / name / below
            folder.mkdir(parents=True, exist_ok=True)
            if text is not None:
                (folder / f"{last}_{ending}.txt").write_text(text, encoding="ascii")
        if studio.quirks:
            (images / ".DS_Store").touch()

    for clip in clips:
        add(clip, f"   {EMOTIONS.index(clip.emotion.lower())}.0000000e+00\n")
    if studio.quirks:
        add(PlannedClip(1, "happy"), None)
        add(PlannedClip(2, "happy"), "   9.0000000e+00\n")
