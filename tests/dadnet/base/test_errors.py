"""The wording that errors share: near names, and many things on one line."""

import pytest

from dadnet.base.errors import grouped, listed, meant, unknown


def test_the_nearest_name_is_offered():
    assert meant("casm2", ["samm", "casme2"]) == "; did you mean casme2?"
    assert meant("zebra", ["samm", "casme2"]) == ""


def test_an_unknown_name_is_one_line_with_what_there_is():
    assert str(unknown("preset", "smok", ["smoke", "reference-v1"])) == (
        "preset: expected one of smoke, reference-v1, got 'smok'; did you mean smoke?"
    )
    assert len(str(unknown("preset", "x" * 5000, ["smoke"]))) < 100


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, ""), (2, "0, 1"), (5, "0, 1, 2, 3, 4"), (24, "0, 1, 2, 3, 4 and 19 more")],
)  # fmt: skip
def test_more_than_five_names_are_counted(number, text):
    assert listed(range(number)) == text


def test_reasons_that_differ_in_a_word_are_one():
    reasons = [(f"clip{k}", f"unknown label 'w{k}'; known are anger, fear") for k in range(24)]
    assert grouped(reasons) == (
        "clip0 and 23 like it: unknown label 'w0', 'w1', 'w2', 'w3', 'w4' and 19 more; known are "
        "anger, fear"
    )
    assert grouped([*reasons[:2], ("x", "no apex")]).endswith("; x: no apex")
    assert len(grouped([("clip", "long " * 900)])) <= 140
