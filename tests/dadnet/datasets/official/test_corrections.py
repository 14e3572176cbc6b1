"""The corrections of the official tables are exactly those of their source."""

import pytest

from dadnet.datasets.official.corrections import MEB, Correction, correct
from dadnet.datasets.official.registry import LAYOUTS
from dadnet.datasets.official.tables import TableRow

# Row from 0 and right figures, as in github.com/tvaranka/meb, meb/datasets/datasets.py.
CASME2_APEX = """
29 279  35 68  43 77  45 81  51 166  53 100  60 78  117 187  118 89  126 80  136 88  147 134
155 231  168 53  170 329  177 111  202 91  203 103  234 98  237 153  238 98
"""
EXPECTED = {
    "casme2": (
        256,
        [
            (row, "apex", at)
            for row, at in zip(*[iter(map(int, CASME2_APEX.split()))] * 2, strict=True)
        ]
        + [(60, "offset", 91)],
    ),
    "samm": (
        159,
        [(56, "offset", 5739), (125, "apex", 1105), (132, "apex", 4945), (133, "apex", 5130)],
    ),
    "casme3": (
        860,
        [(749, "onset", 2647), (708, "offset", 34), (796, "offset", 1845), (798, "offset", 2403)],
    ),
}


@pytest.mark.parametrize("dataset", EXPECTED)
def test_every_correction_is_that_of_its_source(dataset):
    rows, expected = EXPECTED[dataset]
    corrections = LAYOUTS[dataset].corrections
    found = [(c.row, name, at) for c in corrections for name, at in c.cells.items()]
    assert sorted(found) == sorted(expected)
    assert {c.table_rows for c in corrections} == {rows}


@pytest.mark.parametrize("dataset", EXPECTED)
def test_every_correction_has_its_source(dataset):
    assert {c.source for c in LAYOUTS[dataset].corrections} == {MEB}
    assert MEB == "github.com/tvaranka/meb, meb/datasets/datasets.py"


def row(onset: object, apex: object, offset: object, number: int = 0) -> TableRow:
    cells = {"onset": str(onset), "apex": str(apex), "offset": str(offset)}
    return TableRow(f"row {number + 2}", number, cells)


def test_a_correction_is_applied_where_it_makes_a_wrong_row_right():
    rows = [row(1, "", 5), row(1, 2, 5), row(7, "", 5), row(7, 8, 5), row(1, 5, 5)]
    fixes = [Correction(k, 5, {"apex": 5}, "a source") for k in range(5)]
    fixes.append(Correction(3, 5, {"onset": 1}, "another"))
    mended, changes, notes = correct(rows, fixes)
    assert mended[0].cells == {"onset": "1", "apex": "5", "offset": "5", "first_apex": ""}
    assert mended[3].cells["first_onset"] == "7"
    assert [mended[k] is rows[k] for k in range(5)] == [False, True, True, False, True]
    assert changes == {
        0: "row 2: apex blank -> 5 (source: a source)",
        3: "row 2: apex 8 -> 5, onset 7 -> 1 (source: a source)",
    }
    assert notes == (
        "1 of 6 known corrections do not match and were not applied: they do not repair their row, "
        "which differs from that of the known release",
        "2 of 6 known corrections are not needed: these rows are right",
    )
    twice = [row(7, "", 5), row(7, "", 5)]
    _, _, notes = correct(twice, [Correction(k, 2, {"apex": 5}, "s") for k in (0, 1)])
    assert notes[0].startswith("2 of 2 known corrections do not match")
    _, changes, notes = correct(twice, [Correction(k, 9, {"apex": 5}, "s") for k in (0, 1)])
    assert (changes, len(notes)) == ({}, 1)
    assert notes[0] == (
        "2 of 2 known corrections do not match and were not applied; they are for a table of 9 "
        "rows, this one has 2"
    )


def test_a_row_is_in_order_up_to_an_apex_at_its_offset():
    fixes = [Correction(0, 1, {"onset": 1}, "s")]
    for figures, right in (((1, 5, 5), True), ((5, 5, 5), False), ((1, 6, 5), False)):
        _, _, notes = correct([row(*figures)], fixes)
        assert any("not needed" in note for note in notes) == right


def test_no_other_dataset_is_corrected():
    synthetic = {"synthetic", "synthetic-macro"}  # read as CASME II, never with 256 rows
    corrected = {name for name, layout in LAYOUTS.items() if layout.corrections}
    assert corrected - synthetic == set(EXPECTED)
