"""Per-clip predictions as challenges ask for them."""

import csv
import io

import pytest

from results.__main__ import main
from results.exchange.imported import ForeignTable, import_table
from results.ledger.ledger import Ledger
from tests.build.records import build_experiment, build_record

OFFICIAL = {"d/a": ["n>n", "p>s"], "d/b": ["s>s"]}


@pytest.fixture
def megc(ledger, tmp_path):
    """A composite of two datasets in the ledger; gives the folder of the ledger."""
    path = tmp_path / "log.csv"
    path.write_text(
        "dataset,subject,clip,label,prediction\n"
        "casme2,sub01,EP02_01f,positive,negative\n"
        "casme2,sub01,EP01_01,surprise,surprise\n"
        "samm,006,006_1_2,negative,negative\n"
    )
    import_table(ForeignTable(path, "A", "megc2019", "cde"), ledger)
    return ledger.root


def test_the_megc_log_has_a_header_per_fold_and_the_numbers_of_the_challenge(megc, capsys):
    assert main(["predictions", "--ledger", str(megc), "--format", "megc-log"]) == 0
    assert capsys.readouterr().out == (
        "casme2 sub01\nEP01_01 2 2\nEP02_01f 1 0\nsamm 006\n006_1_2 0 0\n"
    )


def test_a_file_is_written_whole(megc, tmp_path, capsys):
    out = tmp_path / "megc.log"
    words = ["predictions", "--ledger", str(megc), "--format", "megc-log", "--out", str(out)]
    assert main(words) == 0
    assert len(out.read_text().splitlines()) == 5
    assert [p.name for p in tmp_path.glob("*.tmp")] == []


@pytest.fixture
def official(ledger: Ledger) -> Ledger:
    """One fold of two test subjects, of the parts testA and testB."""
    from results.ledger.records import PlannedFold, Prediction

    folds = (PlannedFold("official", ("d/a", "d/b"), 3),)
    experiment = build_experiment(OFFICIAL, dataset="d", protocol="official", folds=folds)
    rows = (
        Prediction("d/a/a_01", "d/a", "testA", "negative", "negative", (0.5, 0.25, 0.25)),
        Prediction("d/a/a_02", "d/a", "testA", "positive", "surprise", (0.1, 0.2, 0.7)),
        Prediction("d/b/b_01", "d/b", "testB", "surprise", "surprise", (0.0, 0.0, 1.0)),
    )
    sides = {"test_subjects": ("d/a", "d/b"), "fit_subjects": ("d/c",), "val_subjects": ("d/e",)}
    record = build_record(experiment, "official", (), predictions=rows, **sides)
    ledger.open(experiment)
    ledger.put(experiment, record)
    return ledger


def test_the_boards_of_dfme_get_their_part(official, capsys):
    words = ["predictions", "--ledger", str(official.root), "--part", "testA"]
    assert main(words) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[1] == {
        "clip": "a_02", "subject": "a", "part": "testA", "prediction": "surprise",
        "prob_negative": "0.100000", "prob_positive": "0.200000", "prob_surprise": "0.700000",
    }  # fmt: skip
    assert len(rows) == 2


def test_official_parts_are_groups_of_the_board(official):
    from results.leaderboard.ranking import leaderboard

    board = leaderboard(official)
    assert [(g.subset, g.rows[0].num_clips) for g in board.groups] == [
        ("", 3),
        ("testA", 2),
        ("testB", 1),
    ]
    assert board.groups[1].title.endswith(": testA part")
    assert len({row.key for group in board.groups for row in group.rows}) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--part", "testC"], "part: expected one of testA, testB, got 'testC'"),
        (["--format", "megc-log"], "expected one subject per fold, got 2 in official"),
        (["--experiment", "ffff"], "expected the digest or name of one experiment, got: 'ffff'"),
        (["--format", "megc-log", "--part", "testA"], "the megc-log holds all clips"),
    ],
)
def test_what_does_not_fit_is_one_line(official, capsys, words, message):
    assert main(["predictions", "--ledger", str(official.root), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_other_classes_have_no_megc_log(ledger, capsys):
    experiment = build_experiment(OFFICIAL, classes=("happiness", "fear"), class_set="2class")
    ledger.open(experiment)
    for fold, clips in {"d/a": ["h>f", "h>h"], "d/b": ["f>f"]}.items():
        ledger.put(experiment, build_record(experiment, fold, clips))
    words = ["predictions", "--ledger", str(ledger.root), "--format"]
    assert main([*words, "megc-log"]) == 2
    assert "expected the classes negative, positive, surprise" in capsys.readouterr().err
    assert main([*words, "csv"]) == 0
    assert capsys.readouterr().out.startswith("clip,subject,part,prediction\n")


def test_an_unfinished_experiment_gives_no_predictions(ledger, capsys):
    experiment = build_experiment(OFFICIAL)
    ledger.open(experiment)
    ledger.put(experiment, build_record(experiment, "d/a", OFFICIAL["d/a"]))
    assert main(["predictions", "--ledger", str(ledger.root)]) == 3
    assert capsys.readouterr().err == "incomplete: 1 of 2 folds are missing\n"


def test_a_name_that_a_spreadsheet_would_run_is_text_in_csv(ledger, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(
        "subject,clip,label,prediction\n"
        '=1+1,"=HYPERLINK(""http://x"")",positive,negative\n'
        "s2,@a,surprise,surprise\ns3,-a,negative,negative\ns4,+a,negative,negative\n"
    )
    import_table(ForeignTable(path, "=A()", "megc2019", "loso"), ledger)
    assert main(["predictions", "--ledger", str(ledger.root)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["clip"][:2] for row in rows] == ["'=", "'@", "'-", "'+"]
    assert rows[0]["subject"] == "'=1+1"
    site = tmp_path / "site"
    assert main(["leaderboard", "--ledger", str(ledger.root), "--out", str(site)]) == 0
    with (site / "megc2019.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["method"] == "'=A()"
