"""The corrections of the official tables are exactly those of their source."""

import pytest

from dadnet.datasets.official.registry import LAYOUTS

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


def test_no_other_dataset_is_corrected():
    synthetic = {"synthetic", "synthetic-macro"}  # read as CASME II, never with 256 rows
    corrected = {name for name, layout in LAYOUTS.items() if layout.corrections}
    assert corrected - synthetic == set(EXPECTED)
