"""Plots of pages as files, drawn by a real browser without a network."""

import json
import shutil

import pytest

from dadnet.base.errors import DadnetError
from results.__main__ import main
from results.exchange.figures import figures_of
from results.leaderboard.ranking import leaderboard
from results.pages.compare import render_compare
from results.pages.site import render_dataset

TABLE = {"a": ["n>n", "p>p"], "b": ["s>s", "n>p"], "c": ["p>p", "s>n"]}
OTHER = {"a": ["n>n", "p>n"], "b": ["s>s", "n>n"], "c": ["p>n", "s>s"]}
EVIL = "<b>&one"


@pytest.fixture
def pages(ledger, fill, tmp_path):
    first, second = fill(TABLE, method=EVIL), fill(OTHER, method="two")
    board, compared = tmp_path / "synthetic.html", tmp_path / "compare.html"
    board.write_text(render_dataset(leaderboard(ledger)))
    compared.write_text(render_compare(ledger, first, second)[0])
    return board, compared


def test_the_figures_of_a_page_have_its_colours_and_no_variables(pages):
    board, compared = pages
    found = figures_of(compared.read_text())
    assert list(found) == ["swings"]
    assert '"--' not in json.dumps(found)
    assert "#0d6570" in json.dumps(found)
    [(name, forest)] = figures_of(board.read_text()).items()
    assert name == "forest-1"
    assert "&lt;b&gt;&amp;one" in forest["layout"]["yaxis"]["ticktext"]
    row = forest["data"][0]["x"]
    assert row[0] == max(row)
    with pytest.raises(DadnetError, match="a page that this program wrote"):
        figures_of("<html></html>")


@pytest.mark.slow
def test_every_plot_becomes_a_png_an_svg_and_a_pdf(pages, tmp_path, capsys):
    pytest.importorskip("kaleido")
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    words = ["figures", *map(str, pages), "--out", str(tmp_path / "files")]
    assert main(words) == 0, capsys.readouterr().err
    heads = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}
    names = {
        f"{stem}.{suffix}" for stem in ("synthetic-forest-1", "compare-swings") for suffix in heads
    }
    assert {path.name for path in (tmp_path / "files").iterdir()} == names
    for path in (tmp_path / "files").iterdir():
        assert path.read_bytes().startswith(heads[path.suffix[1:]]), path.name
    assert "subject" in (tmp_path / "files" / "compare-swings.svg").read_text()
