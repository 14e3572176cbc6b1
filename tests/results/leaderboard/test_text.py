"""The leaderboard in a terminal: snapshots at usual widths, and what no width may do."""

import os
import re
from pathlib import Path

import pytest

from results.exchange.imported import ForeignTable, import_table
from results.leaderboard.columns import columns_of
from results.leaderboard.names import put_name
from results.leaderboard.ranking import leaderboard
from results.leaderboard.text import text_table
from tests.build.variants import fill_eight

SNAPSHOTS = Path(__file__).parents[2] / "data" / "terminal"
GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}
WIDTHS = (80, 100, 120)


@pytest.fixture
def ledger_of_eight(ledger, fill, random_table):
    made = fill_eight(fill, lambda n: random_table(12, 0.4 + n / 20, n))
    put_name(ledger, made["stages 3"], "the variant with the last stage alone, as in the draft")
    fill(random_table(12, 0.9, 4), method="Sees the test subjects", selection="oracle")
    fill(GOOD, dataset="casme2", method="A method with a rather long name, from another program")
    fill(GOOD, dataset="casme2", method="Unfinished", without=["b"])
    return ledger


@pytest.fixture
def ledger_of_published(ledger, published_log):
    import_table(ForeignTable(published_log, "STSTNet (log)", "megc2019", "cde"), ledger)
    return ledger


def compare(name: str, text: str) -> None:
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("DADNET_SNAPSHOTS"):  # to make them again; look at the difference
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
def test_eight_variants_at_usual_widths(ledger_of_eight, width):
    text = text_table(leaderboard(ledger_of_eight), width)
    compare(f"eight-{width}", text)


def test_a_terminal_that_says_dumb_gets_the_same_table(ledger_of_eight, monkeypatch):
    table = text_table(leaderboard(ledger_of_eight), 120)
    monkeypatch.setenv("TERM", "dumb")  # as `ray submit` sets it where no terminal is
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert text_table(leaderboard(ledger_of_eight), 120) == table


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_with_published_figures_at_usual_widths(ledger_of_published, width):
    text = text_table(leaderboard(ledger_of_published), width)
    assert "published figures, not ranked, are on the page" in text
    compare(f"published-{width}", text)


@pytest.mark.parametrize("width", [80, 87, 93, 100, 120, 160, 250])
def test_no_figure_is_cut_and_no_word_is_broken(ledger_of_eight, width):
    board = leaderboard(ledger_of_eight)
    text = text_table(board, width)
    assert max(map(len, text.splitlines())) <= width
    for row in board.rows:
        assert all(word in text for word in row.name.split())
        if row.summary is not None:
            score = row.summary.uf1
            figure = f"{score.value:.3f} [{score.interval.low:.3f}, {score.interval.high:.3f}]"
            assert figure in text
    figures = [part for part in re.findall(r"\S*\d\.\d+\S*", text) if "lr" not in part]
    assert all(re.fullmatch(r"[\[<]?\d\.\d{1,3}[\],;]*", figure) for figure in figures), figures


def test_a_peeking_row_says_so_at_every_width(ledger_of_eight):
    for width in (80, 100, 120, 250):
        text = text_table(leaderboard(ledger_of_eight, "synthetic"), width)
        assert text.count("(test-peeking") == 1, width


def test_columns_fall_away_by_importance_and_are_named(ledger_of_eight):
    board = leaderboard(ledger_of_eight, "synthetic")
    narrow, wide = text_table(board, 80), text_table(board, 250)
    assert "left out at 80 characters: " in narrow
    assert "--columns" in narrow
    left = narrow.partition("left out at 80 characters: ")[2]
    for title in ("Clips", "Seed", "Date"):
        assert title not in narrow.partition("left out")[0]
        assert title in left
    for title in ("Method", "UF1", "Rank", "Folds"):
        assert title in narrow.partition("left out")[0]
    assert "left out" not in wide
    assert "Date" in wide


def test_a_word_longer_than_half_the_table_leaves_room_for_figures(ledger, fill):
    fill(GOOD, method="x" * 200)
    text = text_table(leaderboard(ledger), 80)
    assert "0.822 [" in text
    assert "3/3" in text
    assert sum(map(len, re.findall("x{2,}", text))) == 200
    assert max(map(len, text.splitlines())) <= 80


def test_chosen_columns_are_shown_in_their_order(ledger, fill):
    experiment = fill(GOOD)
    chosen = columns_of(("uf1", "experiment", "method", "mcc"))
    lines = text_table(leaderboard(ledger), 120, chosen=chosen).splitlines()
    assert lines[2].split() == ["UF1", "Experiment", "Method", "MCC"]
    assert experiment.digest in lines[4]
    narrow = text_table(leaderboard(ledger), 70, chosen=chosen)
    assert "left out at 70 characters: MCC" in narrow.replace("\n", " ")
