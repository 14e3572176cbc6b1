"""Datasets whose rows are read from their folders, and folders of one clip, in small trees."""

from pathlib import Path

import pytest

from dadnet.base.errors import DadnetError
from dadnet.datasets.copies.sheets import write_table
from dadnet.datasets.official.layout import Options
from dadnet.datasets.official.registry import read_dataset


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ckplus(root: Path, sequence: str, label: str, units: str = "") -> None:
    """A sequence of four frames; the numbers of the frames differ from their places."""
    below, stem = Path("S005") / sequence, f"S005_{sequence}"
    frames = root / "extended-cohn-kanade-images" / below
    touch(frames, *(f"{stem}_{n:08d}.png" for n in (3, 4, 6, 9)))
    if label:
        write(root / "Emotion_labels" / below / f"{stem}_00000009_emotion.txt", label)
        touch(root / "Emotion_labels" / below, f"._{stem}_00000009_emotion.txt", "notes.txt")
    write(root / "FACS_labels" / below / f"{stem}_00000009_facs.txt", units)


def test_ckplus_goes_from_the_first_frame_to_the_last(tmp_path):
    ckplus(tmp_path, "001", "   3.0000000e+00", " 4.0000000e+00 3.0e+00\n 1.7000000e+01 0.0\n")
    ckplus(tmp_path, "002", "7", "four\n")
    ckplus(tmp_path, "003", "7\n", "")
    touch(tmp_path / "extended-cohn-kanade-images" / "0-notes" / "001")
    index = read_dataset("ckplus", tmp_path)
    columns = ["clip_id", "onset", "apex", "offset", "emotion", "action_units"]
    assert index.clips[columns].to_numpy().tolist() == [
        ["ckplus/S005/001", 3, 9, 9, "disgust", "4+17"],
        ["ckplus/S005/002", 3, 9, 9, "surprise", ""],
        ["ckplus/S005/003", 3, 9, 9, "surprise", ""],
    ]
    assert (
        index.clips["apex_path"].map(lambda p: Path(p).name).tolist()[0] == "S005_001_00000009.png"
    )
    assert index.files == ("Emotion_labels",)
    assert index.rejected == ()


def test_ckplus_says_what_is_wrong_with_a_label(tmp_path):
    ckplus(tmp_path, "001", " ")
    ckplus(tmp_path, "002", "2")
    write(tmp_path / "Emotion_labels/S005/002/x_emotion.txt", "3")
    touch(tmp_path / "extended-cohn-kanade-images" / "S005" / "003")
    reasons = [rejected.reason for rejected in read_dataset("ckplus", tmp_path).rejected]
    assert reasons[0].endswith("got 'an empty file'")
    assert reasons[1].endswith("got '2 files of labels'")
    assert reasons[2] == "S005/003: no emotion file, so no label"


def test_ckplus_without_labels_or_sequences_is_refused(tmp_path):
    touch(tmp_path / "cohn-kanade-images" / "x")
    with pytest.raises(DadnetError, match=r"no CK\+ labels under .*looked for the folder Emotion"):
        read_dataset("ckplus", tmp_path)
    touch(tmp_path / "in" / "Emotion")
    with pytest.raises(DadnetError, match=r"no sequences of CK\+ in .*expected S005/001"):
        read_dataset("ckplus", tmp_path)


def test_cropped_clips_of_smic_are_read_without_a_table(tmp_path):
    frames = tmp_path / "SMIC_all_cropped" / "HS"
    for name in ("s1_ne_01", "s1_ne_02"):
        touch(frames / "s1/micro/negative" / name, *(f"reg_image{n}.bmp" for n in (5, 6, 9)))
    touch(frames / "s2" / "notes")
    index = read_dataset("smic", tmp_path, Options(apex="midpoint"))
    assert index.clips["clip_id"].tolist() == ["smic/s01/s01_ne_01", "smic/s01/s01_ne_02"]
    assert index.clips[["onset", "apex", "offset"]].to_numpy().tolist() == [[5, 6, 9]] * 2
    assert index.files == ()
    assert "no table: classes by the official names of the clips" in index.notes
    ends = "onset and offset not given: the folder's first and last frame"
    assert any(note.endswith(ends) for note in index.notes)


def test_smic_without_table_and_clips_is_refused(tmp_path):
    touch(tmp_path / "HS" / "s1" / "micro")
    with pytest.raises(DadnetError, match="no SMIC annotation under .* no cropped clips"):
        read_dataset("smic", tmp_path)


ANEW = "the folder counts its frames anew: onset and apex are taken by their place"


@pytest.mark.parametrize(
    ("given", "numbers", "expected", "note"),
    [
        (("", 6, 7), (4, 5, 6, 7), (4, 6, 7), "onset not given: the folder's first and last frame"),
        (
            (4, 6, ""),
            (4, 5, 6, 9),
            (4, 6, 9),
            "offset not given: the folder's first and last frame",
        ),
        ((13, 16, 17), (1, 2, 3, 4, 5), (1, 4, 5), ANEW),
        ((3, 6, 7), (3, 4, 5, 6, 7), (3, 6, 7), ""),
    ],
)
def test_a_folder_of_one_clip_gives_what_the_table_lacks(tmp_path, given, numbers, expected, note):
    header = ("subID", "fold name", "onset", "apex", "offset", "Emotion")
    name = "4DME_Labelling_Micro_release v1.xlsx"
    write_table(tmp_path / name, {"a": [header, ("S1", "f", *given, "Positive")]})
    touch(tmp_path / "gray_micro/S1/f", *(f"{n}.jpg" for n in numbers))
    index = read_dataset("fourdme", tmp_path)
    assert tuple(index.clips.loc[0, ["onset", "apex", "offset"]]) == expected
    assert index.notes == ((f"1 clip: {note}",) if note else ())
