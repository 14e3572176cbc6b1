"""Every dataset is read from a copy in its official layout that holds every known quirk."""

from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from dadnet.base.errors import DadnetError
from dadnet.datasets.copies import COPIES, write_copy
from dadnet.datasets.copies.drawing import PlannedClip, Studio, plan
from dadnet.datasets.copies.european import write_fourdme, write_samm, write_smic_videos
from dadnet.datasets.copies.sheets import write_table
from dadnet.datasets.index import ClipIndex
from dadnet.datasets.official.layout import Options
from dadnet.datasets.official.registry import LAYOUTS, read_dataset


def read_copy(name: str, root: Path, apex: str = "midpoint") -> ClipIndex:
    write_copy(name, root / name, size=0)
    return read_dataset(COPIES[name][0], root / name, Options(apex=apex))  # type: ignore[arg-type]


# Copy -> clips that can be used, subject of the first, and why the others cannot, in order.
EXPECTED = {
    "casme2": (
        26, "casme2/sub01",
        ["the apex 168 is not after the onset 166 and up to the offset 1", "no frame 148"],
    ),
    "casme3": (
        28, "casme3/spNO.1",
        ["the apex 83 is not after the onset 112", "onset is 0", "no frame 397"],
    ),
    "casme3-clips": (
        12, "casme3/spNO.1",
        ["no folder of frames: spNO.1/b/color", "onset is 0", "no frame 397"],
    ),
    "casme3c": (12, "casme3c/01", ["part C gives no emotion"]),
    "fourdme": (
        21, "fourdme/S1",
        ["emotion says negative, the indicator columns say positive", "public loaders skip"],
    ),
    "dfme": (29, "dfme/sub0001", ["no folder of frames: sub0001_09", "no emotion: the labels"]),
    "samm": (23, "samm/001", ["the apex 9999 is not after"]),
    "smic": (
        12, "smic/s01",
        ["expected s1_ne_01, got 'notes'", "emotion says positive, the clip's name says negative"],
    ),
    "smic-videos": (12, "smic/s01", ["no folder of frames", "no folder of frames"]),
    "ckplus": (28, "ckplus/S001", ["no emotion file", "expected a number from 0 to 7, got '9."]),
}  # fmt: skip


@pytest.mark.parametrize("name", list(COPIES))
def test_every_clip_of_a_copy_is_used_or_has_its_reason(name: str, tmp_path: Path):
    usable, subject, reasons = EXPECTED[name]
    index = read_copy(name, tmp_path)
    assert len(index.clips) == usable
    assert index.clips["subject"].iloc[0] == subject
    assert len(index.rejected) == len(reasons)
    for rejected, reason in zip(index.rejected, reasons, strict=True):
        assert reason in rejected.reason
    assert index.clips["onset_path"].map(lambda p: Path(p).is_file()).all()
    assert index.clips["apex_path"].map(lambda p: Path(p).is_file()).all()
    prefix = index.clips["clip_id"].str.split("/").str[:2].str.join("/")
    assert (prefix == index.clips["subject"]).all()


def test_every_reader_has_a_copy():
    drawn = {"synthetic", "synthetic-macro"}
    assert {dataset for dataset, _, _ in COPIES.values()} == set(LAYOUTS) - drawn


def test_what_the_authors_leave_out_is_no_defect_of_the_copy(tmp_path: Path):
    expected = {
        name: [r.reason[:16] for r in read_copy(name, tmp_path).rejected if r.expected]
        for name in ("casme2", "fourdme", "dfme", "ckplus")
    }
    assert expected == {
        "casme2": [],
        "fourdme": ["public loaders s"],
        "dfme": ["no emotion: the "],
        "ckplus": ["S001/008: no emo"],
    }


def test_several_clips_of_a_video_differ_by_their_onset(tmp_path: Path):
    ids = list(read_copy("casme3", tmp_path).clips["clip_id"])
    assert ids[:2] == ["casme3/spNO.1/a@355", "casme3/spNO.1/a@395"]
    assert len(set(ids)) == len(ids)


def test_a_macro_expression_in_a_mixed_list_of_casme3_is_left_out(tmp_path: Path):
    Studio(tmp_path, 0).clip(
        tmp_path / "part_A/spNO.1/a/color", "{}.jpg", range(5, 10), PlannedClip(1, "sad")
    )
    rows = [("Macro-expression", "sad", 6), ("Micro-expression", "sad", 5)]
    header = ("Subject", "Filename", "Expression type", "Onset", "Apex", "Offset", "AU", "emotion")
    table = [header, *(("spNO.1", "a", k, onset, 7, 9, "4", e) for k, e, onset in rows)]
    write_table(tmp_path / "cas(me)3_part_A_v2.xls", {"label": table})
    index = read_dataset("casme3", tmp_path)
    assert list(index.clips["clip_id"]) == ["casme3/spNO.1/a@5"]
    assert "not a micro-expression" in index.rejected[0].reason
    assert index.rejected[0].expected


def test_a_corrected_clip_is_found_under_the_onset_of_its_first_release(tmp_path: Path):
    header = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "emotion")
    rows = [("spNO.9", f"v{k}", 1, 2, 3, "4", "sad") for k in range(860)]
    rows[749] = ("spNO.1", "a", 2697, 2650, 2660, "4", "sad")
    name = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    write_table(tmp_path / name, {"label": [header, *rows]})
    folder = tmp_path / "Part_A_ME_clip" / "frame" / "spNo.1_a_2697"
    Studio(tmp_path, 0).clip(folder, "{}.jpg", range(2647, 2661), PlannedClip(1, "sad"))
    index = read_dataset("casme3", tmp_path)
    assert list(index.clips["clip_id"]) == ["casme3/spNO.1/a@2647"]
    assert index.corrections[0].startswith("row 751: onset 2697 -> 2647 (source: ")


def test_a_root_that_no_disk_can_have_is_one_line():
    with pytest.raises(DadnetError, match="casme2: .*too long"):
        read_dataset("casme2", Path("x" * 5000))


def test_action_units_are_read_in_one_spelling(tmp_path: Path):
    units = {name: set(read_copy(name, tmp_path).clips["action_units"]) for name in (
        "casme2", "casme3", "casme3c", "samm", "fourdme", "ckplus",
    )}  # fmt: skip
    assert units == {
        "casme2": {"L12+6"},
        "casme3": {"L4+R7"},
        "casme3c": {"4+7"},  # also with the full-width comma
        "samm": {"4+7", "R12|R15"},
        "fourdme": {"4", "1"},  # without the static 12 (k)
        "ckplus": {"4"},
    }


def test_4dme_keeps_all_emotions_of_a_clip(tmp_path: Path):
    assert "positive+surprise" in set(read_copy("fourdme", tmp_path).clips["emotion"])


def test_the_newer_list_of_4dme_is_read(tmp_path: Path):
    write_fourdme(
        Studio(tmp_path, 0),
        plan(("Negative",), 4),
        name="Micro_and_Macro-expression_labels_new_2D.xlsx",
    )
    assert len(read_dataset("fourdme", tmp_path).clips) == 5


def test_a_macro_expression_in_a_list_of_4dme_is_left_out(tmp_path: Path):
    root = tmp_path / "fourdme"
    write_copy("fourdme", root, size=0)
    before = read_dataset("fourdme", root, Options(apex="midpoint"))
    edit(root / "4DME_Labelling_Micro_release v1.xlsx", lambda table: add_type(table, 3))
    after = read_dataset("fourdme", root, Options(apex="midpoint"))
    assert len(after.clips) == len(before.clips) - 1
    [left] = {r.clip_id: r for r in after.rejected if "the list says macro" in r.reason}.values()
    assert left.expected
    assert left.clip_id not in set(after.clips["clip_id"])


def edit(path: Path, change: Callable[[Worksheet], None]) -> None:
    """Change the only sheet of a workbook."""
    book = openpyxl.load_workbook(path)
    change(book.active)
    book.save(path)


def add_type(table: Worksheet, macro_row: int) -> None:
    column = table.max_column + 1
    for row in range(1, table.max_row + 1):
        text = "Type" if row == 1 else "Macro" if row == macro_row else "Micro"
        table.cell(row, column, text)


def test_a_row_of_dfme_whose_name_is_of_another_subject_is_rejected(tmp_path: Path):
    root = tmp_path / "dfme"
    write_copy("dfme", root, size=0)
    table = next(root.rglob("training_full_with_AU.xlsx"))
    edit(table, lambda sheet: sheet.cell(2, 2, "sub0099"))
    rejected = read_dataset("dfme", root, Options(apex="midpoint")).rejected
    [left] = [r for r in rejected if "sub0099" in r.reason]
    assert left.clip_id == "dfme/?/row 2 of training_full_with_AU.xlsx"
    assert (
        left.reason == "filename: expected sub0003_01 of its subject, got 'sub0001_01' of 'sub0099'"
    )


def test_smic_without_an_apex_follows_the_rule(tmp_path: Path):
    names = {"": "SMIC-HS-E_annotation.xlsx", "2019": "SMIC-HS-E_annotation_2019.xlsx"}
    for folder, name in names.items():
        (tmp_path / f"v{folder}").mkdir()
        write_smic_videos(Studio(tmp_path / f"v{folder}", 0), plan(("negative",), 4), name=name)
    assert len(read_dataset("smic", tmp_path / "v2019").clips) == 4
    dropped = read_dataset("smic", tmp_path / "v")
    assert dropped.clips.empty
    assert "apex is unknown" in dropped.rejected[0].reason
    middle = read_dataset("smic", tmp_path / "v", Options(apex="midpoint"))
    assert set(middle.clips["apex"]) == {125}


def test_an_annotation_in_the_numbers_of_the_video_fits_a_clip_that_counts_anew(tmp_path: Path):
    write_smic_videos(Studio(tmp_path, 0, quirks=False), plan(("negative",), 4))
    for folder in (tmp_path / "SMIC-HS-E").glob("*/*"):
        for k, path in enumerate(sorted(folder.iterdir())):
            path.unlink()
            if k < 5:  # the five frames of the clip, counted from 1
                (folder / f"image{k + 1:06d}.jpg").touch()
    index = read_dataset("smic", tmp_path)
    assert set(zip(index.clips["onset"], index.clips["apex"], strict=True)) == {(1, 3)}
    assert "counts its frames anew" in index.notes[0]


def test_samm_has_its_header_below_notes_and_under_other_names(tmp_path: Path):
    name = "SAMM_20181215_Micro_FACS_Codes_v2.xlsx"
    write_samm(Studio(tmp_path, 0), plan(("Anger",), 4), name=name)
    index = read_dataset("samm", tmp_path)
    assert index.files == (name,)
    assert set(index.clips["emotion"]) == {"anger", "other"}


def test_an_unlabelled_list_of_part_c_says_so(tmp_path: Path):
    index = read_copy("casme3c", tmp_path, "drop")
    assert index.clips.empty
    assert {"the apex is unknown" in r.reason for r in index.rejected[:-1]} == {True}


def test_dfme_has_the_parts_of_the_challenge(tmp_path: Path):
    clips = read_copy("dfme", tmp_path).clips
    assert clips["part"].value_counts().to_dict() == {"train": 15, "testA": 7, "testB": 7}
    assert clips.groupby("subject")["part"].nunique().max() == 1


def test_the_tables_of_dfme_are_named_and_a_missing_one_is_noted(tmp_path: Path):
    index = read_copy("dfme", tmp_path)
    assert [Path(file).name[:6] for file in index.files] == ["traini", "test_A", "test_B"]
    assert not any("no table" in note for note in index.notes)
    root = tmp_path / "dfme"
    [first] = [path for path in root.rglob("*.xlsx") if path.name.startswith("training")]
    second = first.with_name("training_again.xlsx")
    second.write_bytes(first.read_bytes())
    with pytest.raises(DadnetError, match="train under .*: full_release_annotation/training_agai"):
        read_dataset("dfme", root)
    chosen = read_dataset("dfme", root, Options(apex="midpoint", annotation=second))
    assert chosen.files[0] == str(second.relative_to(root))
    assert chosen.clips["clip_id"].tolist() == index.clips["clip_id"].tolist()
    for path in (first, second):
        path.unlink()
    without = read_dataset("dfme", root, Options(apex="midpoint"))
    assert "no table of the part train" in without.notes
    assert set(without.clips["part"]) == {"testA", "testB"}


def test_a_clip_of_dfme_that_lies_twice_is_a_question(tmp_path: Path):
    write_copy("dfme", tmp_path / "dfme", size=0)
    (tmp_path / "dfme" / "copy" / "sub0001_01").mkdir(parents=True)
    index = read_dataset("dfme", tmp_path / "dfme", Options(apex="midpoint"))
    assert "several folders of frames" in index.rejected[0].reason


def test_copies_of_bad_parameters_are_refused(tmp_path: Path):
    with pytest.raises(DadnetError, match="copy: expected one of casme2"):
        write_copy("casme9", tmp_path / "a")
    with pytest.raises(DadnetError, match="subjects >= 4 and size >= 32"):
        write_copy("casme2", tmp_path / "a", subjects=3)
    assert not list(tmp_path.iterdir())


def test_an_unknown_dataset_lists_the_known_ones(tmp_path: Path):
    with pytest.raises(DadnetError, match=r"expected one of casme2, casme3.*got 'mmew'"):
        read_dataset("mmew", tmp_path)
