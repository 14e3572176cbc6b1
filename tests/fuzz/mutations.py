"""Hypothesis strategies that spoil valid input: JSON values, bytes, words."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

DEEP = "@deep@"  # becomes JSON that is nested too deeply for any reader
HUGE = "@huge@"  # becomes a number of 400 digits
_GONE = "@gone@"
NASTY = [None, True, -1, 0, 1e308, 2**63, 10**18, 0.5, "", "x", [], {}, [[]], [None], {"": None}]
NASTY += [DEEP, HUGE, _GONE, "\0", "\u202e", "x" * 5000, "../../x", "/etc/passwd", "s\u200b0", "é"]
Changes = list[tuple[list[int], Any]]

changes = st.lists(
    st.tuples(
        st.lists(st.integers(0, 40), max_size=6),
        st.sampled_from(NASTY) | st.text(max_size=8) | st.integers() | st.floats(),
    ),
    min_size=1,
    max_size=3,
)
flips = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=0, max_size=8
).flatmap(lambda found: st.tuples(st.just(found), st.none() | st.integers(0, 10**6)))
WORDS = ["", "-", "--", "None", "nan", "inf", "1e400", "9" * 400, "1" * 5000, "-1", "0", "1,2,x"]
WORDS += [
    "\0",
    "a\nb",
    "s3://",
    "s3://u:p@b/k",
    "http://x",
    "x" * 5000,
    "../..",
    "~",
    "\ud800",
    "é",
]
words = st.lists(st.sampled_from(WORDS) | st.text(max_size=12), max_size=4)


def spoil_json(value: Any, wanted: Changes) -> Any:
    """Put something else at some places of a JSON value; `picks` choose a place level by level."""
    spoilt = copy.deepcopy(value)
    for picks, new in wanted:
        parent, key = None, None
        place = spoilt
        for pick in picks:
            if not isinstance(place, (dict, list)) or not place:
                break
            keys: Sequence[Any] = sorted(place) if isinstance(place, dict) else range(len(place))
            parent, key = place, keys[pick % len(keys)]
            place = parent[key]
        if parent is None:
            continue
        if new == _GONE:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(new)
    return spoilt


def to_text(value: Any) -> str:
    """JSON with what `json.dumps` cannot write: deep nesting, numbers of 400 digits."""
    text = json.dumps(value)
    return text.replace(f'"{DEEP}"', "[" * 50_000 + "]" * 50_000).replace(f'"{HUGE}"', "9" * 400)


def spoil_bytes(data: bytes, wanted: tuple[list[tuple[int, int]], int | None]) -> bytes:
    """Set some bytes, and cut the rest off at a place, if one is given."""
    found, end = wanted
    spoilt = bytearray(data)
    for position, value in found:
        if spoilt:
            spoilt[position % len(spoilt)] = value
    return bytes(spoilt if end is None or not spoilt else spoilt[: end % len(spoilt)])


def spoil_words(valid: list[str], picks: list[int], new: list[str]) -> list[str]:
    """Put other words in the place of some."""
    spoilt = list(valid)
    for pick, word in zip(picks, new, strict=False):
        position = pick % (len(spoilt) + 1)
        spoilt[position : position + pick % 2] = [word]
    return [re.sub("[\ud800-\udfff]", "?", word) for word in spoilt]
