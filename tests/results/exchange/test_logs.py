import codecs
import csv

import openpyxl
import pytest

from results.__main__ import main
from results.ledger.ledger import Ledger

# subject -> clip: truth, prediction, as numbers
CLIPS = {
    "sub01": {"EP01_01": (1, 0), "EP02_01": (0, 0), "EP03_01": (2, 2)},
    "sub02": {"EP01_01": (0, 0), "EP04_02f": (2, 0)},
}
NAMES = ("negative", "positive", "surprise")
MEGC = "".join(
    f"casme2 {s}\n" + "".join(f"{c} {t} {p}\n" for c, (t, p) in clips.items())
    for s, clips in CLIPS.items()
)
LISTS = "".join(
    f"Subject: {s} \nPredicted   : {[p for _, p in clips.values()]} \n"
    f"Ground Truth: {[t for t, _ in clips.values()]} \nUF1: 0.5 | UAR: nan \n"
    for s, clips in CLIPS.items()
)
NUMBERS = "subject,clip,label,prediction\n" + "".join(
    f"{s},{c},{t},{p}\n" for s, clips in CLIPS.items() for c, (t, p) in clips.items()
)
TRUTH = {f"casme2/{s}/{c}": NAMES[t] for s, d in CLIPS.items() for c, (t, _) in d.items()}
GIVEN = {f"casme2/{s}/{c}": NAMES[p] for s, d in CLIPS.items() for c, (_, p) in d.items()}


@pytest.fixture
def give(tmp_path, capsys):
    """Return a function that imports a file by the command: (experiment, rows, printed)."""

    def run(content: str | bytes, *words: str, dataset="casme2", protocol="loso", name="log.txt"):
        path, ledger = tmp_path / name, Ledger(tmp_path / "led")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        shared = ["--dataset", dataset, "--protocol", protocol, "--method", "Theirs"]
        assert main(["import", str(path), *shared, "--ledger", str(ledger.root), *words]) == 0
        [experiment] = ledger.experiments()
        records = ledger.records(experiment)
        rows = {p.clip_id: p for record in records for p in record.predictions}
        printed = capsys.readouterr().out
        for note in [line[6:] for line in printed.splitlines() if line.startswith("note: ")]:
            assert "literature" in note or all(note in record.audit for record in records)
        return experiment, rows, printed

    return run


@pytest.fixture
def refuse(tmp_path, capsys):
    """Return a function that imports a file that is refused, and gives the one line."""

    def run(content: str | bytes, *words: str, dataset="casme2", protocol="loso", name="log.txt"):
        path, ledger = tmp_path / name, tmp_path / "led"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        shared = ["--dataset", dataset, "--protocol", protocol, "--method", "Theirs"]
        assert main(["import", str(path), *shared, "--ledger", str(ledger), *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(path) in error
        assert not ledger.exists()
        return error

    return run


@pytest.mark.parametrize(
    "content",
    [
        MEGC,
        MEGC.replace("\n", "\r\n"),
        MEGC.replace(" ", "\t"),
        codecs.BOM_UTF8 + MEGC.encode(),
        MEGC.encode("utf-16"),
        MEGC.replace("casme2 sub02", "\n\nCASME-II  2 ") + "\n \n",
        MEGC.rstrip("\n"),
    ],
)
def test_a_challenge_log_is_read(give, content):
    experiment, rows, printed = give(content)
    assert {name: row.label for name, row in rows.items()} == TRUTH
    assert {name: row.prediction for name, row in rows.items()} == GIVEN
    assert (experiment.class_set, experiment.classes) == ("3class", NAMES)
    assert "note: numbers of classes read as 0 negative, 1 positive, 2 surprise" in printed


def test_the_log_that_the_predictions_command_writes_comes_back_as_it_was(
    give, tmp_path, published_log, capsys
):
    ledger = str(tmp_path / "first")
    shared = ["--dataset", "megc2019", "--protocol", "cde", "--method", "Theirs"]
    assert main(["import", str(published_log), *shared, "--ledger", ledger]) == 0
    [first] = Ledger(ledger).experiments()
    log = tmp_path / "out.txt"
    words = ["--ledger", ledger, "--experiment", first.digest]
    assert main(["predictions", *words, "--format", "megc-log", "--out", str(log)]) == 0
    second, _, _ = give(log.read_bytes(), dataset="megc2019", protocol="cde")
    assert second == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MEGC.partition("\n")[2], "expected a header `dataset subject` above the clips, got: line"),
        (MEGC + "casme2 sub03\n", "expected clips below the header in line 8: it is the last"),
        (MEGC.replace("EP02_01 0 0\n", "EP02_01 0 0 0.9\n"), "got: line 3 'EP02_01 0 0 0.9'"),
        (MEGC + "casme2 sub01\nEP02_01 0 0\n", "each clip once, got: casme2/sub01/EP02_01"),
        (MEGC.replace("casme2 sub02", "casme2 sub02\ncasme2 sub03"), "below the header in line 5"),
        (MEGC.replace("2 2", "2 3"), "expected numbers from 0 to 2"),
        (MEGC.replace("EP01_01 0 0", "EP04_02f 0 0"), "each clip once, got: casme2/sub02/EP04_02f"),
    ],
)
def test_a_bad_challenge_log_is_one_line(refuse, content, message):
    words = ["--classes", ",".join(NAMES)] if "numbers" in message else []
    assert message in refuse(content, *words)


def test_printed_lists_are_read_and_their_clips_numbered(give):
    experiment, rows, printed = give(LISTS)
    in_order = [(s, k, *pair) for s, d in CLIPS.items() for k, pair in enumerate(d.values())]
    assert {name: (row.label, row.prediction) for name, row in rows.items()} == {
        f"casme2/{s}/{k}": (NAMES[t], NAMES[p]) for s, k, t, p in in_order
    }
    assert experiment.selection == "unknown"
    assert "the log does not name the clips: they are numbered from 0" in printed


def test_the_lists_as_they_are_printed_while_training_are_read(give):
    shown = LISTS.replace("Predicted   :", "lr=0.1\nPredicted    :").replace("Truth:", "Truth :")
    _, rows, _ = give(shown + "Final Evaluation: \nUF1: 0.7 | UAR: 0.7\n")
    assert len(rows) == 5


def test_arrays_and_names_in_lists_are_read(give):
    arrays = "Subject: sub01\nPredicted: [0 1 2]\nGround Truth: [0 2 2]\n"
    words = "Subject: sub02\nPredicted: ['negative', 'positive']\n"
    words += "Ground Truth: ['negative', \"surprise\"]\n"
    _, rows, _ = give(arrays + words, "--classes", ",".join(NAMES))
    assert rows["casme2/sub01/1"].label == "surprise"
    assert rows["casme2/sub02/1"].prediction == "positive"


def test_subjects_of_a_composite_go_to_their_datasets_by_their_ids(give):
    log = LISTS.replace("sub02", "006") + LISTS.replace("sub01", "s01").replace("sub02", "s03")
    experiment, _, _ = give(log, dataset="megc2019", protocol="cde")
    subjects = {fold.name for fold in experiment.folds}
    assert subjects == {"casme2/sub01", "samm/006", "smic/s01", "smic/s03"}


def test_lists_of_the_best_epoch_are_an_oracle(give, refuse):
    best = LISTS.replace("Predicted   :", "Best Predicted    :")
    assert "expected oracle, got last" in refuse(best, "--selection", "last")
    experiment, _, printed = give(best)
    assert experiment.selection == "oracle"
    assert "the best epoch on the test subject: selection oracle" in printed


def test_beside_the_last_epoch_the_best_one_is_left_out_and_said(give):
    both = LISTS.replace("Ground", "Best Predicted    : [1, 1, 1]\nGround")
    experiment, rows, printed = give(both)
    assert experiment.selection == "unknown"
    assert [row.prediction for row in rows.values()] == [
        NAMES[p] for clips in CLIPS.values() for _, p in clips.values()
    ]
    assert "lists `Best Predicted` (the best epoch on the test subject) are left out" in printed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LISTS.replace("Subject: sub01 \n", ""), "`Subject: NAME` above the list in line 1"),
        (LISTS.replace("[0, 0]", "[0, 0, 1]", 1), "3 predictions and 2 truths"),
        (LISTS.rpartition("Ground")[0], "a list `Ground Truth` for subject sub02 in line 5"),
        (LISTS + LISTS, "each subject once, got: sub01 again"),
        (LISTS.replace("UF1", "Predicted: [1, 2, 0]\nUF1", 1), "one list `Predicted`"),
        (LISTS.replace("sub01", ""), "expected `Subject: NAME`, got: line 1"),
        (LISTS.replace("[0, 0, 2]", "[0, 0, 6]"), "--classes NAME,NAME,... says what they mean"),
    ],
)
def test_bad_lists_are_one_line(refuse, content, message):
    assert message in refuse(content)


def test_numbers_in_a_table_are_read_through_the_classes(give):
    _, rows, printed = give(NUMBERS.replace("\n", "\r\n"), "--classes", ",".join(NAMES))
    assert {name: row.label for name, row in rows.items()} == TRUTH
    assert {name: row.prediction for name, row in rows.items()} == GIVEN
    assert "numbers of classes read as 0 negative, 1 positive, 2 surprise" in printed


def test_numbers_with_a_point_and_other_separators_and_cases_are_read(give):
    text = NUMBERS.replace(",1,", ",1.0,").replace(",", ";").replace("subject;clip", "Subject;Clip")
    _, rows, _ = give(text, "--classes", ",".join(NAMES))
    assert {name: row.label for name, row in rows.items()} == TRUTH


def test_a_workbook_is_read(give, tmp_path):
    book = openpyxl.Workbook()
    for line in NUMBERS.splitlines():
        book.active.append([int(c) if c.isdigit() else c for c in line.split(",")])
    book.save(tmp_path / "book.xlsx")
    content = (tmp_path / "book.xlsx").read_bytes()
    _, rows, _ = give(content, "--classes", ",".join(NAMES), name="theirs.xlsx")
    assert {name: row.prediction for name, row in rows.items()} == GIVEN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NUMBERS, "expected class names, got: numbers 0, 1, 2"),
        (
            NUMBERS.replace("2", "3").replace("1,", "2,").replace(",0", ",1"),
            "numbers from 0 to 2 for the classes negative, positive, surprise, got: 1, 2, 3",
        ),
        (NUMBERS.replace(",0\n", ",-1\n"), "got: '-1' and '0'"),
        (NUMBERS.replace(",0\n", ",happy\n"), "got: 'happy' and '0'"),
    ],
)
def test_numbers_that_fit_no_class_are_one_line(refuse, content, message):
    words = [] if "class names" in message else ["--classes", ",".join(NAMES)]
    error = refuse(content, *words)
    assert message in error
    assert ("count from 1" in error) == ("1, 2, 3" in message)


def test_names_in_another_case_are_the_same_classes(give):
    text = "subject,clip,label,prediction\ns1,a,Negative,POSITIVE\ns2,b,Surprise,surprise\n"
    experiment, rows, _ = give(text)
    assert experiment.class_set == "3class"
    assert rows["casme2/s1/a"].prediction == "positive"


PROBABILITIES = (
    "subject,clip,label,prediction,prob_0,prob_1,prob_2\n"
    "s1,a,0,0,0.7,0.2,0.1\ns1,b,1,2,0.1,0.3,0.6\ns2,a,2,2,0.2,0.2,0.6\n"
)


def test_probabilities_may_be_numbered_and_the_most_probable_class_is_the_prediction(give):
    without = "\n".join(
        ",".join(cell for k, cell in enumerate(line.split(",")) if k != 3)
        for line in PROBABILITIES.splitlines()
    )
    _, rows, printed = give(without, "--classes", ",".join(NAMES))
    assert [row.prediction for row in rows.values()] == ["negative", "surprise", "surprise"]
    assert rows["casme2/s1/b"].probabilities == (0.1, 0.3, 0.6)
    assert "the most probable class is the prediction" in printed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.7,0.2,0.1", "70,20,10", "percentages; divide by 100"),
        ("0.7,0.2,0.1", "0.7,0.2,0.4", "that sum to 1"),
        ("0.7,0.2,0.1", "2.5,-1.0,0.3", "such as logits"),
        ("0.7,0.2,0.1", "nan,0.5,0.5", "that sum to 1"),
        ("0.7,0.2,0.1", "high,0.2,0.1", "row 2"),
    ],
)
def test_figures_that_are_no_probabilities_are_named(refuse, old, new, message):
    error = refuse(PROBABILITIES.replace(old, new), "--classes", ",".join(NAMES))
    assert message in error


def test_labels_that_are_always_the_most_probable_class_look_exchanged(refuse):
    text = PROBABILITIES.replace("label,prediction", "prediction,label").replace("1,2,", "1,2,")
    error = refuse(text, "--classes", ",".join(NAMES))
    assert "label and prediction look exchanged" in error
    assert "every label is the most probable class" in error


def test_predictions_with_the_literatures_counts_look_exchanged(refuse, published_log):
    with published_log.open() as file:
        rows = list(csv.DictReader(file))
    lines = [
        f"{r['dataset']},{r['subject']},{r['clip']},{r['prediction']},{r['label']}" for r in rows
    ]
    text = "dataset,subject,clip,label,prediction\n" + "\n".join(lines) + "\n"
    error = refuse(text, dataset="megc2019", protocol="cde")
    assert "label and prediction look exchanged" in error
    assert "the literature's class counts 250/109/83" in error


def test_a_truth_that_the_ledger_knows_as_the_prediction_looks_exchanged(
    tmp_path, fill, ledger, capsys
):
    fill({"mine/a": ["n>n", "p>n"], "mine/b": ["s>p", "n>n"]}, dataset="mine")
    path = tmp_path / "table.csv"
    right = "a,clip0,negative,negative\na,clip1,positive,negative\n"
    right += "b,clip0,surprise,positive\nb,clip1,negative,negative\n"
    exchanged = "".join("{0},{1},{3},{2}\n".format(*r.split(",")) for r in right.splitlines())
    words = ["--dataset", "mine", "--protocol", "loso", "--method", "x", "--ledger"]
    for body, status in ((exchanged, 2), (right, 0)):
        path.write_text("subject,clip,label,prediction\n" + body)
        assert main(["import", str(path), *words, str(ledger.root)]) == status
    assert "the predictions are the truth of these clips in the ledger" in capsys.readouterr().err


def test_counts_that_differ_from_the_literature_are_said(give):
    _, _, printed = give(MEGC)
    assert (
        "class counts 2/1/2 (negative, positive, surprise) differ from the literature's" in printed
    )


def test_the_published_log_has_the_counts_of_the_literature(give, published_log):
    _, _, printed = give(published_log.read_bytes(), dataset="megc2019", protocol="cde")
    assert "literature" not in printed


def test_a_format_that_is_named_is_not_guessed(refuse):
    assert "expected columns subject, clip, label" in refuse(LISTS, "--format", "csv")
    assert "expected `Subject: NAME` and lists" in refuse(MEGC, "--format", "list-log")
