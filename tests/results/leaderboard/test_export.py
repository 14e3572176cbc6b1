import csv
import io
import os
import re
import shutil
import subprocess

import pytest

from dadnet.base.errors import DadnetError
from results.__main__ import main
from results.exchange.imported import ForeignTable, import_table
from results.leaderboard.cells import count_text, duration_text
from results.leaderboard.columns import COLUMNS, board_columns, columns_of, first_columns
from results.leaderboard.export import to_csv, to_json, to_latex, to_markdown
from results.leaderboard.published import published
from results.leaderboard.ranking import leaderboard
from results.leaderboard.text import text_table
from results.pages.site import render_dataset
from tests.build.records import build_experiment, build_record

GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}
POOR = {"a": ["n>p", "p>n"], "b": ["s>s", "n>n"], "c": ["p>n", "s>n"]}
HOST = {
    "seconds": 90.0,
    "stack": 3,
    "started_at": "2026-03-04T05:06:07+00:00",
    "parameters": 1_234_567,
    "flops": 45_600_000_000,
}


def store(ledger, hosts, **changes):
    experiment = build_experiment(GOOD, **changes)
    ledger.open(experiment)
    for (fold, clips), host in zip(GOOD.items(), hosts, strict=True):
        ledger.put(experiment, build_record(experiment, fold, clips, host=host))
    return experiment


def cells(row) -> dict[str, str]:
    return {c.key: c.text(row).replace("\N{NO-BREAK SPACE}", " ") for c in COLUMNS}


def test_what_people_compare_on_comes_from_the_records(ledger):
    later = {**HOST, "started_at": "2026-03-05T00:00:00+00:00"}
    store(ledger, [HOST, later, HOST])
    (row,) = leaderboard(ledger).rows
    shown = cells(row)
    assert shown["training_seconds"] == "1 min 30 s"  # 3 x 90 s, a third of a stack each
    assert shown["date"] == "2026-03-05"
    assert shown["parameters"] == "1.23 M"
    assert shown["flops"] == "45.6 G"
    (line,) = csv.DictReader(io.StringIO(to_csv(leaderboard(ledger))))
    assert (line["parameters"], line["flops"]) == ("1234567", "45600000000")
    assert (line["training_seconds"], line["date"]) == ("90.0", "2026-03-05")


def test_older_and_differing_records_show_a_dash(ledger):
    store(ledger, [HOST, HOST, {}])
    other = {**HOST, "parameters": 7}
    store(ledger, [HOST, other, HOST], seed=5)
    old, differing = sorted(leaderboard(ledger).rows, key=lambda row: row.experiment.seed)
    assert cells(old)["training_seconds"] == "\N{EN DASH}"  # a sum over two of three misleads
    assert cells(old)["parameters"] == "\N{EN DASH}"
    assert cells(old)["date"] == "2026-03-04"
    assert cells(differing)["parameters"] == "\N{EN DASH}"
    assert cells(differing)["flops"] == "45.6 G"


def test_chosen_columns_are_those_of_every_table(ledger, fill):
    fill(GOOD)
    board, chosen = leaderboard(ledger), columns_of(("uf1", "method", "mcc"))
    assert to_csv(board, chosen).splitlines()[0] == "uf1,method,mcc"
    assert "| UF1 | Method | MCC |" in to_markdown(board, chosen)
    assert r"UF1 & Method & MCC \\" in to_latex(board, chosen)
    assert text_table(board, chosen=chosen).splitlines()[2].split() == ["UF1", "Method", "MCC"]
    page = render_dataset(board, columns=chosen)
    headings = re.findall(
        r'<th role="columnheader"[^>]*data-key="(\w+)"[^>]*?( hidden)?><button', page
    )
    assert [key for key, hidden in headings if not hidden] == ["uf1", "method", "mcc"]
    assert {key for key, hidden in headings} >= {"rank", "preset", "flops", "date"}
    assert to_json(board, chosen) == to_json(board)


def test_a_page_shows_the_usual_columns_first_and_offers_others():
    usual = {column.key for column in COLUMNS if column.shown and not column.optional}
    assert first_columns() == usual
    offered = {column.key for column in board_columns()} - usual
    assert offered == {"preset", "parameters", "flops", "training_seconds", "date"}
    assert columns_of(()) is None


def test_unknown_columns_are_one_short_line():
    with pytest.raises(DadnetError, match="expected some of rank, ranks, .*got: 'uf2'") as error:
        columns_of(("uf1", "uf2"))
    assert len(str(error.value)) <= 300
    with pytest.raises(DadnetError, match="each once"):
        columns_of(("uf1", "uf1"))


def test_the_command_chooses_columns_and_a_second_call_does_so_too(ledger, fill, tmp_path, capsys):
    fill(GOOD)
    for path in ledger.root.rglob("*.json"):  # old enough for a stamp
        os.utime(path, (path.stat().st_mtime - 60,) * 2)
    words = ["leaderboard", "--ledger", str(ledger.root), "--out", str(tmp_path / "site")]
    exported = tmp_path / "site" / "synthetic.csv"
    assert main(words) == 0
    full = exported.read_text()
    assert main([*words, "--columns", "method,uf1"]) == 0
    assert exported.read_text().splitlines()[0] == "method,uf1"
    assert "nothing changed" not in capsys.readouterr().out
    assert main([*words, "--columns", "method,uf1"]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert main(words) == 0
    assert exported.read_text() == full


def test_latex_has_a_label_the_best_in_bold_and_fits_two_columns(ledger, fill):
    fill(GOOD, method="good")
    fill(POOR, method="poor")
    fill(GOOD, method="peeking", selection="oracle")
    fill(GOOD, classes=("positive", "negative", "surprise"))
    board = leaderboard(ledger)
    text = to_latex(board)
    assert r"\label{tab:synthetic-loso-3class}" in text
    assert r"\label{tab:synthetic-loso-3class-2}" in text  # each once
    (good,) = (line for line in text.splitlines() if "& good &" in line)
    (poor,) = (line for line in text.splitlines() if "& poor &" in line)
    assert r"\textbf{0.822 [" in good
    assert r"\textbf{" not in poor
    assert r"\begin{table*}" in text
    assert r"\resizebox{\textwidth}{!}{%" in text
    narrow = to_latex(board, columns_of(("method", "uf1")))
    assert r"\begin{table}" in narrow
    assert r"\resizebox" not in narrow
    assert narrow.count("{") == narrow.count("}")
    assert text.count("{") == text.count("}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(ledger, fill, tmp_path):
    fill(GOOD, method="good & <better>_1")
    packages = r"\usepackage{booktabs,graphicx}\usepackage[normalem]{ulem}"
    head = rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}"
    text = f"{head}\n{to_latex(leaderboard(ledger))}\\end{{document}}\n"
    (tmp_path / "board.tex").write_text(text)
    words = ["pdflatex", "-interaction=batchmode", "-halt-on-error", "board.tex"]
    assert subprocess.run(words, cwd=tmp_path, check=False).returncode == 0


def test_published_rows_link_their_papers_and_say_what_a_figure_is(ledger, published_log):
    import_table(ForeignTable(published_log, "STSTNet (log)", "megc2019", "cde"), ledger)
    page = render_dataset(leaderboard(ledger))
    assert '<a href="https://arxiv.org/abs/1902.03634" rel="noreferrer">STSTNet</a>' in page
    assert "0.760<sup>1</sup>" in page
    assert "<sup>1</sup> The reported UAR seems to be macro precision" in page
    assert all((row.link or "https://").startswith("https://") for row in published())
    noted = [(row.method, row.part) for row in published() if row.note]
    assert noted == [("STSTNet", "full")]


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "\N{EN DASH}"), (0, "0"), (999, "999"), (1000, "1.00 k"), (999_600, "1.00 M")],
)
def test_counts_for_people(number, text):
    assert count_text(number).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "\N{EN DASH}"), (0.2, "0 s"), (60, "1 min"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations_for_people(seconds, text):
    assert duration_text(seconds).replace("\N{NO-BREAK SPACE}", " ") == text
