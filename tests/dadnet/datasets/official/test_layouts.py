"""Every name by which a release is found, every header that is read, and every shape of a row."""

import re

import pytest

from dadnet.base.errors import DadnetError
from dadnet.datasets.official.fourdme import emotions
from dadnet.datasets.official.layout import Clip, LeftOut, Options, filled, frame, numbered
from dadnet.datasets.official.registry import LAYOUTS
from dadnet.datasets.official.tables import TableRow, integer, plain, read_table

# Title, files of the releases (one for each pattern), folders of frames, folders in them.
NAMES = {
    "casme2": (
        "CASME II",
        ["CASME2-coding-20140508.xlsx", "CASME2-coding-20190701.xlsx", "CASME2-coding-updated.xls",
         "CASME2_label_Ver_2.xls"],
        ["CASME2_RAW_selected", "Cropped", "CASME2-RAW", "CASME2_RAW", "CASME2_Cropped"],
        ["sub01", "s1", "sub26"],
    ),
    "casme3": (
        "CAS(ME)^3 part A",
        ["cas(me)3_part_A_ME_label_JpgIndex_v2_20250903.xlsx", "cas(me)3_part_A_v2.xls"],
        ["part_A", "Part_A_ME_clip", "part_A_cropped"],
        ["spno.1", "sp no1", "spno.1_a_355", "frame"],
    ),
    "casme3c": (
        "CAS(ME)^3 part C", ["CAS(ME)3_part_C_ME.xlsx"], ["part_C", "Part_C_ME_clip"],
        ["sub01", "sp1", "s1", "1"],
    ),
    "fourdme": (
        "4DME",
        ["4DME_Labelling_Micro_release v1.xlsx", "Micro_and_Macro-expression_labels_new_2D.xlsx"],
        ["gray_micro", "micro_short_gray_video_cropped", "gray"],
        ["s1", "12", "s13_1st_001"],
    ),
    "dfme": (
        "DFME", ["training_full_with_AU.xlsx", "test_data_A.xlsx", "testB.xls"], [], ["sub0001_01"],
    ),
    "samm": (
        "SAMM", ["SAMM_20181215_Micro_FACS_Codes_v2.xlsx"], ["SAMM", "SAMM_Cropped", "SAMM_crop"],
        ["006"],
    ),
    "smic": (
        "SMIC-HS", ["SMIC-HS-E_annotation_2019.xlsx", "SMIC.xlsx"],
        ["HS", "SMIC-HS-E", "SMIC_all_cropped", "SMIC_all_raw"], ["s1", "s03"],
    ),
    "ckplus": (
        "CK+", [], ["cohn-kanade-images", "extended-cohn-kanade-images"], ["s005"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("dataset", NAMES)
def test_the_names_of_all_releases_are_known(dataset):
    title, files, folders, inner = NAMES[dataset]
    layout = LAYOUTS[dataset]
    assert layout.title == title
    found = [[p for p in layout.annotations if re.fullmatch(p, f.lower())] for f in files]
    assert [patterns for [patterns] in found] == list(layout.annotations)
    assert list(layout.frame_folders) == folders
    for name in inner:
        assert re.fullmatch(layout.is_frames, name), name
    assert dataset == "dfme" or not re.fullmatch(layout.is_frames, "notes")


FRAMES = ["subject", "filename", "onset", "apex", "offset", "emotion"]
OFFICIAL = {
    "subject": "subject", "filename": "filename", "onset": "onsetframe", "apex": "apexframe",
    "offset": "offsetframe", "action_units": "actionunits", "emotion": "estimatedemotion",
}  # fmt: skip
PLAIN = {name: name for name in FRAMES}
# Our column -> its headers; required columns; preferred sheets.
HEADERS = {
    "casme2": (OFFICIAL, FRAMES, ()),
    "samm": (OFFICIAL, FRAMES, ()),
    "casme3": (
        {**PLAIN, "action_units": "au actionunits", "kind": "expressiontype"}, FRAMES, ("label",),
    ),
    "casme3c": (
        {**PLAIN, "subject": "sub subject", "filename": "count filename", "action_units": "au"},
        ["subject", "filename", "onset", "offset"], (),
    ),
    "fourdme": (
        {
            **PLAIN, "subject": "subid sub", "filename": "foldname", "action_units": "aus au",
            "kind": "type expressiontype micro/macro",
            **{n: n for n in ("positive", "negative", "surprise", "repression", "others")},
        },
        ["subject", "filename", "onset", "apex", "emotion"], (),
    ),
    "dfme": (
        {
            "filename": "filename name videoname", "subject": "subject",
            "onset": "onsetframe onset", "apex": "apexframe apex", "offset": "offsetframe offset",
            "action_units": "au aus actionunits", "emotion": "emotion label",
        },
        ["filename"], (),
    ),
    "smic": (
        {
            "subject": "subject", "filename": "filename material", "onset": "onsetf onset",
            "apex": "apexf apex", "offset": "offsetf offset", "emotion": "emotion",
        },
        ["subject", "filename", "onset", "offset", "emotion"], (),
    ),
    "ckplus": ({}, [], ()),
}  # fmt: skip


@pytest.mark.parametrize("dataset", HEADERS)
def test_the_headers_of_all_releases_are_known(dataset):
    names, required, sheets = HEADERS[dataset]
    columns = LAYOUTS[dataset].columns
    assert dict(columns.names) == {name: tuple(seen.split()) for name, seen in names.items()}
    assert (list(columns.required), columns.sheets) == (required, sheets)


def row(**cells: str) -> TableRow:
    frames = {"onset": "46", "apex": "59", "offset": "86", "emotion": "Sad"}
    return TableRow("row 2", 0, {**frames, **cells})


def parsed(dataset: str, **cells: str) -> Clip:
    return LAYOUTS[dataset].clip(row(**cells))


def clip(subject: str, filename: str, folders: list[str], **changes: object) -> Clip:
    values = {"onset": 46, "apex": 59, "offset": 86, "emotion": "sad", **changes}
    return Clip(subject, filename, folders=tuple(tuple(f.split("/")) for f in folders), **values)


VIDEOS = ["spNO.1/a/color", "spNO.1/a"]
SMIC = "s3_ne_01 s03_ne_01"
CLIPS = {
    "casme2": (
        {"subject": "sub1", "filename": "EP02", "action_units": "4", "part": "x"},
        clip("sub01", "EP02", ["sub01/EP02", "sub1/EP02", "s01/EP02", "s1/EP02"], action_units="4",
             part="x"),
    ),
    "casme2, number": (
        {"subject": "12.0", "filename": "E", "apex": "/"},
        clip("sub12", "E", ["sub12/E", "sub12/E", "s12/E", "s12/E"], apex=None),
    ),
    "casme3": (
        {"subject": "spNO.1", "filename": "a", "kind": "Micro-expression"},
        clip("spNO.1", "a", [*VIDEOS, "frame/spNO.1_a_46", "spNO.1_a_46"], many=True),
    ),
    "casme3, corrected onset, no apex": (
        {"subject": "sp no 1", "filename": "a", "first_onset": "40", "apex": "-"},
        clip("spNO.1", "a", [*VIDEOS, "frame/spNO.1_a_46", "frame/spNO.1_a_40", "spNO.1_a_46",
                             "spNO.1_a_40"], apex=None, many=True),
    ),
    "casme3c": (
        {"subject": "sub3", "filename": "k"},
        clip("03", "k", ["03/k/color", "03/k", "3/k"], many=True),
    ),
    "fourdme": (
        {"subject": "S1", "filename": "f", "emotion": "Surprise+Positive", "kind": "Micro",
         "positive": "1", "surprise": "True", "negative": "0", "offset": "n/a"},
        clip("S1", "f", ["S1/f", "f"], emotion="positive+surprise", offset=None,
             single_clip_folder=True),
    ),
    "fourdme, indicators alone": (
        {"subject": "S1", "filename": "f", "emotion": "", "others": "TRUE"},
        clip("S1", "f", ["S1/f", "f"], emotion="others", single_clip_folder=True),
    ),
    "dfme": (
        {"subject": "", "filename": "SUB0001_02", "onset": "null", "part": "testA"},
        clip("sub0001", "SUB0001_02", ["**/SUB0001_02"], onset=None, part="testA",
             single_clip_folder=True),
    ),
    "samm": (
        {"subject": "s6", "filename": "006_1_2", "emotion": "Others"},
        clip("006", "006_1_2", ["006/006_1_2", "6/006_1_2"], emotion="other"),
    ),
    "smic": (
        {"subject": "s3", "filename": "s3_NE_01", "emotion": "NE", "no_table": "yes", "onset": ""},
        clip("s03", "s03_ne_01",
             [f"{s}/micro/negative/{n}" for s in ("s3", "s03") for n in ("s3_NE_01", *SMIC.split())]
             + [f"{s}/{n}" for s in ("s3", "s03") for n in ("s3_NE_01", *SMIC.split())],
             emotion="negative", onset=None, single_clip_folder=True),
    ),
    "ckplus": (
        {"subject": "S005", "filename": "001", "emotion": "3.0000000e+00"},
        clip("S005", "001", ["S005/001"], emotion="disgust"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CLIPS)
def test_a_row_of_every_shape_becomes_its_clip(case):
    cells, expected = CLIPS[case]
    assert parsed(case.split(",")[0], **cells) == expected


def test_ckplus_numbers_its_emotions_as_its_readme():
    names = ["anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"]
    clips = [parsed("ckplus", subject="S1", filename="1", emotion=str(n)) for n in range(1, 8)]
    assert [made.emotion for made in clips] == names


REFUSED = {
    "casme2": [({"subject": "1", "filename": "E", "offset": ""}, "offset: expected a frame")],
    "casme3": [
        ({"subject": "1", "filename": "a", "kind": "Macro"}, "not a micro-expression: .* Macro"),
        ({"subject": "1", "filename": "a", "onset": "0"}, "^onset is 0"),
        ({"subject": "1", "filename": "a", "apex": "0"}, "^apex is 0"),
        ({"subject": "1", "filename": "a", "emotion": ""}, "emotion is blank"),
    ],
    "casme3c": [({"subject": "1", "filename": "k", "emotion": ""}, "part C gives no emotion")],
    "fourdme": [
        ({"subject": "S13", "filename": "S13_1st_001_01_1"}, "public loaders skip"),
        ({"subject": "S1", "filename": "f", "kind": "Macro"}, "the list says macro"),
        ({"subject": "S1", "filename": "f", "negative": "1"}, "says sad, .* say negative"),
    ],
    "dfme": [
        ({"filename": "x_01"}, "expected sub0003_01 of its subject, got 'x_01' of '\\?'"),
        ({"filename": "sub0001_02", "subject": "sub0002"}, "got 'sub0001_02' of 'sub0002'"),
        ({"filename": "sub0001_02", "emotion": "", "part": "testB"}, "labels of testB"),
    ],
    "smic": [
        ({"subject": "s3", "filename": "s3_xx_01"}, "expected s1_ne_01"),
        ({"subject": "s3", "filename": "s3_po_01", "emotion": "sur"}, "says surprise, .* positive"),
        ({"subject": "s3", "filename": "s3_ne_01", "onset": ""}, "onset: expected a frame"),
    ],
    "ckplus": [
        ({"subject": "S1", "filename": "1", "emotion": ""}, "S1/1: no emotion file"),
        ({"subject": "S1", "filename": "1", "onset": ""}, "S1/1: no frames"),
        ({"subject": "S1", "filename": "1", "emotion": "8"}, "from 0 to 7, got '8'"),
        ({"subject": "S1", "filename": "1", "emotion": "0"}, "neutral"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "cells", "reason"),
    [(name, cells, reason) for name, cases in REFUSED.items() for cells, reason in cases],
)
def test_a_row_that_is_no_clip_says_why(dataset, cells, reason):
    with pytest.raises(DadnetError, match=reason) as caught:
        parsed(dataset, **cells)
    authors = ("micro-expr", "public loaders", "labels of", "no emotion file", "neutral")
    assert isinstance(caught.value, LeftOut) == any(text in str(caught.value) for text in authors)


def test_emotions_of_a_cell_are_split_sorted_and_joined():
    assert emotions("Surprise + Positive") == "positive+surprise"
    assert emotions("Others/Repression,negative") == "negative+repression+others"
    assert emotions("Sad;angry \u3001 surprise\uff0cPositive&") == "positive+surprise+angry+sad"
    assert emotions("") == ""


def test_cells_are_read_as_frames_numbers_and_names():
    for blank in ("", "/", "-", "N/A", "nan", "NULL", "none"):
        assert frame(row(apex=blank), "apex", blank=True) is None
        with pytest.raises(DadnetError, match="apex: expected a frame number"):
            frame(row(apex=blank), "apex")
    assert [integer(text) for text in ("046", "46.0", "46,00", "\uff14\uff16")] == [46] * 4
    assert [integer(text) for text in ("", "4.5", "-1", "1" * 13, "46.")] == [None] * 5
    assert integer("1" * 12) == 111111111111
    assert numbered(row(subject="SUB07"), "subject", "sub([0-9]+)") == 7
    assert numbered(row(subject="8"), "subject", "sub([0-9]+)") == 8
    with pytest.raises(DadnetError, match="subject: expected a number, got 'x8'"):
        numbered(row(subject="x8"), "subject", "sub([0-9]+)")
    assert filled(row(filename="a b"), "filename", "emotion") == ("a b", "Sad")
    for bad in ("a/b", "a\\b", "..", ".", "a\x07b", "a\x7fb"):
        with pytest.raises(DadnetError, match="filename: expected a plain name"):
            filled(row(filename=bad), "filename")
    assert plain(" Onset _Frame\n") == "onsetframe"


def test_a_clip_is_named_by_its_onset_only_in_a_video_of_several():
    one = clip("s1", "v", ["s1/v"])
    assert one.id("d") == "d/s1/v"
    assert clip("s1", "v", ["s1/v"], many=True).id("d") == "d/s1/v@46"
    assert clip("s1", "v", ["s1/v"], many=True, onset=None).id("d") == "d/s1/v"


@pytest.mark.parametrize("rule", ["drop", "midpoint", "flow-peak"])
def test_the_rules_for_an_apex(rule):
    assert Options(apex=rule).apex == rule
    assert (Options().apex, Options().frames, Options().replace_apex) == ("drop", "auto", False)


def test_rows_have_the_numbers_of_the_file_and_of_the_data(tmp_path):
    path = tmp_path / "table.csv"
    names = (
        "Sub Ject,Filename,Onset_Frame,ApexFrame,OffsetFrame,Action Units,Estimated Emotion,Note"
    )
    text = ["notes", names, "1,a ,1,2,3,4,sad,n", ",,,,,,,", "2,b  c,4,5,6"]
    path.write_text("\n".join(text) + "\n")
    first, second = read_table(path, LAYOUTS["casme2"].columns)
    assert (first.number, second.number) == (0, 1)
    assert first.cells == {
        "subject": "1", "filename": "a", "onset": "1", "apex": "2", "offset": "3",
        "action_units": "4", "emotion": "sad",
    }  # fmt: skip
    assert (second["filename"], second["emotion"], second["nothing"]) == ("b c", "", "")
    assert [first.location[-1], second.location[-1]] == ["3", "5"]
    path.write_text("\n".join(["notes"] * 40 + text[1:]) + "\n")
    with pytest.raises(DadnetError, match="no column for subject, filename"):
        read_table(path, LAYOUTS["casme2"].columns)
    path.write_text("\n".join(["notes"] * 39 + text[1:]) + "\n")
    assert len(read_table(path, LAYOUTS["casme2"].columns)) == 2
