import csv
import json
from pathlib import Path

import pytest

from results.__main__ import main
from results.leaderboard.ranking import leaderboard
from results.statistics import tallies

ALL = [
    (f"s{i}", f"c{i}_{k}", label, label if (i + k) % 3 else "negative")
    for i in range(5)
    for k, label in enumerate(["negative", "positive", "surprise"])
]
EASY = [row for row in ALL if row[2] != "surprise"]
RELABELLED = [(s, c, "negative", p) if c == "c0_1" else (s, c, t, p) for s, c, t, p in ALL]
SWAPPED = [
    (s, c, {"c0_1": "surprise", "c0_2": "positive"}.get(c, t), p) for s, c, t, p in ALL
]  # equally many of each class
RENAMED = [(s, f"{n}", t, p) for n, (s, c, t, p) in enumerate(ALL)]


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Return a function that imports tables and makes the leaderboard by the commands."""
    monkeypatch.chdir(tmp_path)

    def make(tables, dataset="mine", protocol="loso"):
        words = ["--dataset", dataset, "--protocol", protocol, "--ledger", "led"]
        for method, rows in tables.items():
            with Path("table.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                header = ["subject", "clip", "label", "prediction"]
                writer.writerow(["dataset", *header] if len(rows[0]) == 5 else header)
                writer.writerows(rows)
            classes = ["--classes", "negative,positive,surprise"]
            assert main(["import", "table.csv", "--method", method, *classes, *words]) == 0
        assert main(["leaderboard", "--ledger", "led", "--out", "site"]) == 0
        with Path(f"site/{dataset}.csv").open(newline="") as file:
            return {row["method"] + row["part"]: row for row in csv.DictReader(file)}

    return make


def test_a_row_over_a_part_of_the_clips_stands_apart_in_every_export(board, tmp_path, capsys):
    rows = board({"All": ALL, "Part": EASY})
    reason = (
        "not ranked with the others, other clips: 5 of the other rows' 15 clips are missing "
        "(all of surprise)"
    )
    assert float(rows["Part"]["uf1"]) > float(rows["All"]["uf1"])
    assert (rows["All"]["rank"], rows["All"]["status"], rows["All"]["note"]) == ("1", "ranked", "")
    assert (rows["Part"]["rank"], rows["Part"]["status"]) == ("", "not-comparable")
    assert rows["Part"]["note"] == reason
    (group,) = json.loads((tmp_path / "site/mine.json").read_text())["groups"]
    assert [(r["rank"], r.get("note")) for r in group["rows"]] == [(1, None), (None, reason)]
    for name in ("mine.html", "mine.md", "mine.tex"):
        text = (tmp_path / "site" / name).read_text().replace("&#39;", "'")
        assert reason in text, name
        assert text.index("All") < text.index("Part")
    assert "Part: " + reason in " ".join(capsys.readouterr().out.split())


def test_another_truth_for_the_same_clips_stands_apart(board):
    rows = board({"Published": ALL, "Other": ALL[::-1], "Relabelled": RELABELLED})
    assert rows["Relabelled"]["status"] == "not-comparable"
    assert rows["Relabelled"]["note"].endswith("other clips: 1 clips have another truth")
    assert {rows["Published"]["rank"], rows["Other"]["rank"]} == {"1"}


def test_an_exchange_of_truths_that_keeps_all_counts_is_seen(board, capsys):
    rows = board({"Published": ALL, "Other": ALL[::-1], "Swapped": SWAPPED})
    assert rows["Swapped"]["note"].endswith("2 clips have another truth")
    digests = [rows[name]["experiment"] for name in ("Published", "Swapped")]
    assert main(["compare", *digests, "--ledger", "led"]) == 2
    assert "with the same truth, got: another one for 2" in capsys.readouterr().err


def test_clips_with_other_names_and_equal_numbers_are_ranked_together(board):
    rows = board({"Named": ALL, "Numbered": RENAMED})
    assert {rows["Named"]["rank"], rows["Numbered"]["rank"]} == {"1"}
    assert "note" not in rows["Named"]


def test_clips_with_other_names_and_other_numbers_stand_apart(board):
    rows = board({"Named": ALL, "Numbered": RENAMED[:-1]})
    assert "other clips: 14 of 5 subjects" in rows["Numbered"]["note"]


def test_more_clips_stand_apart_from_most_rows(board):
    more = [*ALL, ("s9", "c9", "positive", "positive")]
    rows = board({"One": ALL, "Two": ALL[::-1], "More": more})
    assert rows["More"]["note"].endswith("1 clips are not in the other rows")


def test_clips_of_all_classes_are_the_measure_even_against_most_rows(board):
    rows = board({"All": ALL, "Part": EASY, "Same part": EASY[::-1]})
    assert rows["All"]["rank"] == "1"
    assert rows["Part"]["status"] == rows["Same part"]["status"] == "not-comparable"


def test_the_part_of_a_composite_is_compared_by_its_own_clips(board):
    both = [(d, *row) for d in ("casme2", "smic") for row in ALL]
    rows = board({"All": both, "Part": both[:-1]}, "duo", "cde")
    assert rows["Part"]["status"] == rows["Partsmic"]["status"] == "not-comparable"
    assert rows["Partcasme2"]["status"] == "ranked"


def test_known_sets_are_compared_with_the_literature(board, published_log, capsys):
    with published_log.open() as file:
        log = [tuple(row.values()) for row in csv.DictReader(file)]
    rows = board({"STSTNet": log, "Less": log[1:], "Too": log[:0:-1]}, "megc2019", "cde")
    # Those that the literature counts are the measure, although most rows lack a clip.
    assert rows["STSTNet"]["rank"] == "1"
    assert rows["STSTNet"]["note"] == ""
    assert rows["Less"]["note"].endswith(
        "1 of the other rows' 442 clips are missing; class counts 249/109/83 (negative, positive, "
        "surprise) differ from the literature's 250/109/83 (Micro-Expressions Grand Challenge 2019)"
    )
    assert "literature" not in rows["Lesssmic"]["note"]


def test_mixed_versions_are_a_warning_on_the_board_and_in_the_exports(
    ledger, make_experiment, make_record, tmp_path, capsys
):
    table = {name: ["n>n", "p>p"] for name in "abcd"}
    for method, versions in (("mixed", ("0.0.7", "0.1.0")), ("one", ("0.1.0", "0.1.0"))):
        experiment = make_experiment(table, method=method)
        ledger.open(experiment)
        for number, (fold, clips) in enumerate(table.items()):
            installed = {"dadnet-loso": versions[number % 2], "torch": "2.0"}
            host = {"versions": installed, "pid": number}
            ledger.put(experiment, make_record(experiment, fold, clips, host=host))
    site = tmp_path / "site"
    assert main(["leaderboard", "--ledger", str(ledger.root), "--out", str(site)]) == 0
    note = "made by 2 versions: dadnet-loso 0.0.7 (2 folds), 0.1.0 (2 folds)"
    with (site / "synthetic.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert (rows["mixed"]["note"], rows["mixed"]["rank"]) == (note, "1")
    assert rows["one"]["note"] == ""
    for name in ("synthetic.html", "synthetic.md", "synthetic.tex", "synthetic.json"):
        assert note.replace("_", r"\_") in (site / name).read_text(), name
    pages = [path.read_text() for path in site.glob("run-*.html")]
    assert sorted(note in page for page in pages) == [False, True]
    assert "mixed: " + note in " ".join(capsys.readouterr().out.split())


def test_folds_of_two_states_of_the_code_and_of_none_are_mixed(
    ledger, make_experiment, make_record
):
    table = {name: ["n>n", "p>p"] for name in "abc"}
    for codes, note in (
        (("1a", "1a", "2b"), "made by 2 versions: code 1a (2 folds), 2b (1 folds)"),
        ((None, None, "2b"), "made by 2 versions: code 2b (1 folds), unknown (2 folds)"),
        ((None, None, None), None),
        (("1a", "1a", "1a"), None),
    ):
        experiment = make_experiment(table, method=f"codes {codes}")
        ledger.open(experiment)
        for fold, code in zip("abc", codes, strict=True):
            versions = {"torch": "2.0"} | ({"code": code} if code else {})
            record = make_record(experiment, fold, table[fold], host={"versions": versions})
            ledger.put(experiment, record)
        notes = {row.experiment.method: row.note for row in leaderboard(ledger).rows}
        assert notes[experiment.method] == note


def test_versions_are_read_alike_by_the_slow_path(
    ledger, make_experiment, make_record, monkeypatch
):
    table = {name: ["n>n", "p>p"] for name in "abc"}
    experiment = make_experiment(table)
    ledger.open(experiment)
    for fold, version in zip("abc", ("1", "2", None), strict=True):
        host = {"versions": {"dadnet-loso": version}} if version else {}
        ledger.put(experiment, make_record(experiment, fold, table[fold], host=host))
    quick = leaderboard(ledger).groups[0].rows[0].note
    monkeypatch.setattr(tallies, "read_clips", lambda *_: None)
    assert leaderboard(ledger).groups[0].rows[0].note == quick
    assert "1 (1 folds), 2 (1 folds), unknown (1 folds)" in quick


def test_a_test_peeking_row_over_other_clips_stays_test_peeking_and_says_so(ledger, fill):
    fill({"a": ["n>n", "p>p", "s>s"], "b": ["n>n", "s>n"]}, method="honest")
    fill({"a": ["n>n", "p>p", "s>s"]}, method="peeking", selection="oracle")
    rows = leaderboard(ledger).groups[0].rows
    assert [(row.status, row.rank) for row in rows] == [("ranked", 1), ("test-peeking", None)]
    assert "2 of the other rows' 5 clips are missing" in rows[1].note
