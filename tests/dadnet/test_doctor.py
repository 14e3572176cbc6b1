"""The doctor on whole sets with the counts of the literature, and on everything that is not one."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dadnet import doctor
from dadnet.datasets.copies import COPIES, write_copy
from dadnet.datasets.copies.asian import write_casme2, write_casme3
from dadnet.datasets.copies.drawing import PlannedClip, Studio
from dadnet.datasets.copies.european import write_fourdme, write_samm, write_smic
from dadnet.datasets.copies.others import write_ckplus, write_dfme
from dadnet.datasets.literature import LITERATURE


class Plain(Studio):
    """Writes small grey frames, which is quick."""

    def _images(self, planned: PlannedClip) -> list[np.ndarray]:
        return [np.full((8, 8, 3), 90, dtype=np.uint8)]


def plain(root: Path) -> Plain:
    return Plain(root, 8, quirks=False)


def dealt(counts: Mapping[str, int], subjects: int) -> tuple[PlannedClip, ...]:
    """The given numbers of clips by emotion, distributed to the subjects in turn."""
    emotions = [e for e, n in counts.items() for _ in range(n)]
    return tuple(PlannedClip(1 + k % subjects, e) for k, e in enumerate(emotions))


def emotions(dataset: str) -> dict[str, int]:
    return dict(LITERATURE[dataset].emotions)


def whole_casme2(root: Path) -> None:
    """The 255 rows; of the subjects, 10 shows sadness alone and 18 others alone."""
    counts = {"disgust": 62, "repression": 26, "happiness": 32, "surprise": 25, "others": 97}
    usable = [s for s in range(1, 27) if s not in (10, 18)]
    clips = [PlannedClip(usable[c.subject - 1], c.emotion) for c in dealt(counts, 24)]
    clips += [PlannedClip(4, "disgust", "EP12_01f"), PlannedClip(24, "repression", "EP02_07")]
    clips += [PlannedClip(10, "sadness")] * 7 + [PlannedClip(18, "others")] * 2
    clips += [PlannedClip(1, "fear")] * 2
    write_casme2(plain(root), clips)


def differing(report: doctor.Report) -> list[str]:
    return [str(f) for f in report.findings if f.verdict in ("differs", "fail")]


def test_whole_samm_is_as_in_the_literature(tmp_path: Path):
    # 32 took part, 29 have clips; one has "other" alone, so 28 are in the challenge.
    clips = dealt({e: n for e, n in emotions("samm").items() if e != "other"}, 28)
    others = tuple(PlannedClip(29, "Other") for k in range(26))
    write_samm(plain(tmp_path), (*clips, *others))
    assert differing(doctor.examine("samm", tmp_path)) == []


def test_whole_smic_is_as_in_the_literature(tmp_path: Path):
    write_smic(plain(tmp_path), dealt(emotions("smic"), 16))
    report = doctor.examine("smic", tmp_path)
    assert differing(report) == []
    assert report.status == doctor.ALL_RIGHT


def test_whole_ckplus_counts_its_unlabelled_sequences(tmp_path: Path):
    write_ckplus(plain(tmp_path), dealt(emotions("ckplus"), 118))
    for k in range(593 - 327):
        plain(tmp_path).clip(
            tmp_path / f"cohn-kanade-images/S{k % 123 + 1:03d}/{900 + k}",
            "x_{}.png",
            (1, 2),
            PlannedClip(1, "happy"),
        )
    report = doctor.examine("ckplus", tmp_path)
    assert differing(report) == []
    [left_out] = [f for f in report.findings if f.what.startswith("left out")]
    assert left_out.found.startswith("266, such as")


def test_whole_dfme_has_its_parts(tmp_path: Path):
    by_part = {
        "train": ("disgust 548 surprise 298 sadness 278 fear 265 happiness 206 anger 161 "
                  "contempt 100", 1, 176),
        "testA": ("disgust 129 surprise 101 sadness 46 fear 62 happiness 63 anger 39 contempt 34",
                  177, 42),
        "testB": ("disgust 58 surprise 48 sadness 35 fear 38 happiness 42 anger 41 contempt 37",
                  219, 41),
    }  # fmt: skip
    clips: list[PlannedClip] = []
    for words, first, subjects in by_part.values():
        pairs = iter(words.split())
        counts = {emotion: int(number) for emotion, number in zip(pairs, pairs, strict=True)}
        clips += [PlannedClip(first - 1 + c.subject, c.emotion) for c in dealt(counts, subjects)]
    write_dfme(plain(tmp_path), clips, parts=(176 / 259, 218 / 259))
    report = doctor.examine("dfme", tmp_path)
    assert differing(report) == []
    oks = {f.what for f in report.findings if f.verdict == "ok"}
    assert {"part train", "part testA", "part testB", "class set 3class", "class set 4class"} <= oks


def test_whole_casme2_is_as_in_the_literature_in_every_class_set(tmp_path: Path, capsys):
    whole_casme2(tmp_path)
    assert doctor.main(["--dataset", "casme2", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all as in the literature"
    for name, total in {
        "3class": 147,
        "3class-megc": 145,
        "3class-156": 156,
        "5class": 246,
    }.items():
        [line] = [one for one in lines if one.split()[1:4] == ["class", "set", name]]
        assert line.startswith("ok")
        assert f" {total} of " in line


def test_lost_frames_are_reported(tmp_path: Path):
    whole_casme2(tmp_path)
    folder = tmp_path / "CASME2_RAW_selected" / "sub04" / "EP12_01f"
    shutil.rmtree(folder)
    report = doctor.examine("casme2", tmp_path)
    lines = {f.what: f for f in report.findings}
    assert lines["rows"].verdict == "ok"
    assert lines["emotion disgust"].reason == "1 rejected row (below)"
    assert lines["rejected"].reason.startswith("an archive that was not unpacked")
    # The challenge does not use that clip.
    assert lines["class set 3class-megc"].verdict == "ok"
    assert lines["class set 3class"].verdict == "differs"


def test_every_copy_differs_and_says_why(tmp_path: Path, capsys):
    for name, (dataset, _, _) in COPIES.items():
        write_copy(name, tmp_path / name, size=0)
        assert doctor.main(["--dataset", dataset, "--root", str(tmp_path / name)]) == 3
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{dataset} in {tmp_path / name}"
        rows = next(line for line in lines if line.startswith("differs rows"))
        assert rows.endswith("likely: a part of the set, or a copy of it for tests")
        rejected = [line for line in lines if line.startswith("differs rejected")]
        assert all("such as" in line for line in rejected)
        assert "lines differ" in lines[-1]


@pytest.mark.parametrize("dataset", [d for d, _, _ in COPIES.values()])
def test_an_empty_folder_and_none_at_all_are_one_line(dataset: str, tmp_path: Path, capsys):
    for root in (tmp_path, tmp_path / "none"):
        assert doctor.main(["--dataset", dataset, "--root", str(root)]) == 2
        out = capsys.readouterr().out.splitlines()
        assert len(out) == 3
        assert out[1].startswith("fail    files")


def test_an_unknown_dataset_is_one_line(tmp_path: Path, capsys):
    assert doctor.main(["--dataset", "mmew", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: dataset: expected one of casme2")


def test_a_misspelt_emotion_is_named(tmp_path: Path):
    write_fourdme(plain(tmp_path), [PlannedClip(1, "Negativ")])
    write_casme3(plain(tmp_path), [PlannedClip(1, "digust"), PlannedClip(1, "sad")])
    lines = {f.what: f for f in doctor.examine("casme3", tmp_path).findings}
    assert lines["emotion digust"].reason.startswith("another spelling")
    assert "(1 clip of unknown emotion)" in lines["class set 3class"].found
    assert doctor.examine("fourdme", tmp_path).status == doctor.DIFFERS


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path: Path):
    whole_casme2(tmp_path)
    torn = tmp_path / "CASME2_RAW_selected/sub01/EP02_01f/img46.jpg"
    torn.write_bytes(torn.read_bytes()[:50])
    [line] = differing(doctor.examine("casme2", tmp_path))
    assert "frame cannot be decoded: img46.jpg" in line
    assert line.endswith("likely: a broken copy")
