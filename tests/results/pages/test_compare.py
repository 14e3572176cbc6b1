"""The page that compares two experiments."""

import pytest

from dadnet.flow.store import load_flow_store
from results.pages.compare import compare_page_name, differing_settings, render_compare

TABLE = {"a": ["n>n", "p>p"], "b": ["s>s", "n>p"], "c": ["p>p", "s>n"]}
WORSE = {"a": ["n>p", "p>p"], "b": ["s>n", "n>p"], "c": ["p>n", "s>n"]}


@pytest.fixture
def pair(fill):
    first = fill(TABLE, method="one", config={"model": {"stn": True}, "epochs": 3})
    return first, fill(WORSE, method="two", config={"model": {"stn": False}, "epochs": 3})


def test_only_what_differs_is_listed_and_it_comes_first(ledger, pair):
    assert differing_settings(*pair) == [("method", "one", "two"), ("model.stn", "True", "False")]
    text, _ = render_compare(ledger, *pair)
    order = ["<h1>one", "What differs", "model.stn", "A minus B", "Confusion matrix", "Subjects"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "<title>one against two</title>" in text
    assert text.count('class="confusion"') == 2


def test_both_runs_and_the_board_are_linked(ledger, pair):
    text, _ = render_compare(ledger, *pair)
    for page in ("index.html", "synthetic.html", *(f"run-{e.digest}.html" for e in pair)):
        assert f'<a href="{page}">' in text
    assert compare_page_name(*pair) == f"compare-{pair[0].digest}-{pair[1].digest}.html"


def test_a_loss_has_a_true_minus_and_points_are_named(ledger, pair):
    text, gap = render_compare(ledger, *reversed(pair))
    assert gap.value < 0
    main = text.split("<main>")[1].split("</main>")[0]
    assert f"\N{MINUS SIGN}{-gap.value:.3f}" in main
    assert f"-{-gap.value:.3f}" not in main
    assert "in percentage points" in main
    assert "\N{MINUS SIGN}50.0" in main


def test_equal_names_are_told_apart(ledger, fill):
    one, two = fill(TABLE, method="same"), fill(WORSE, method="same", seed=1)
    text, _ = render_compare(ledger, one, two)
    assert "<title>same, seed 0 against same, seed 1</title>" in text


def test_clips_that_changed_show_their_flows_and_the_key(ledger, fill, store):
    clips = load_flow_store(store).clips["clip_id"].tolist()
    subject = clips[0].rsplit("/", 1)[0]
    one = fill({subject: ["n>p", "n>n"], "other": ["p>p"]}, method="one")
    two = fill({subject: ["n>n", "n>n"], "other": ["p>p"]}, method="two")
    text, _ = render_compare(ledger, one, two, store)
    assert text.count("data:image/png;base64,") == 2
    assert "Colour wheel" in text
    assert "With <code" not in text
    assert "With <code" in render_compare(ledger, one, two)[0]
