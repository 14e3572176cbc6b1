import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from dadnet.base.errors import DadnetError
from results.exchange.imported import ForeignTable, import_table
from results.leaderboard.ranking import leaderboard
from results.ledger.records import Prediction

HEADER = "subject,clip,label,prediction\n"
EARLIER = ("casme2/s1", "casme2/s2")
GOOD = HEADER + "s1,c1,negative,negative\ns1,c2,positive,surprise\ns2,c1,surprise,surprise\n"


@pytest.fixture
def write(tmp_path):
    def table(text: str, **changes: object) -> ForeignTable:
        path = tmp_path / "foreign.csv"
        path.write_text(text, encoding="utf-8")
        fields = {"path": path, "method": "Theirs", "dataset": "casme2", "protocol": "loso"}
        return ForeignTable(**{**fields, **changes})  # type: ignore[arg-type]

    return table


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_published_log_gives_the_published_figures(ledger, published_log):
    table = ForeignTable(published_log, method="STSTNet", dataset="megc2019", protocol="cde")
    experiment = import_table(table, ledger)
    assert len(experiment.folds) == 68
    assert experiment.class_set == "3class"
    assert {fold.name.split("/")[0] for fold in experiment.folds} == {"casme2", "samm", "smic"}
    whole, *parts = leaderboard(ledger).groups
    [row] = whole.rows
    assert (whole.subset, [group.subset for group in parts]) == ("", ["casme2", "samm", "smic"])
    assert (row.num_clips, row.num_subjects, row.rank) == (442, 68, 1)
    assert row.summary.uf1.value == pytest.approx(0.7209, abs=5e-5)
    assert row.summary.uar.value == pytest.approx(0.725, abs=5e-4)
    interval = row.summary.uf1.interval
    assert (interval.low, interval.high) == pytest.approx((0.656, 0.777), abs=8e-3)


def test_a_composite_is_reported_whole_and_by_dataset_from_one_pooled_set(ledger, published_log):
    import_table(ForeignTable(published_log, "STSTNet", "megc2019", "cde"), ledger)
    whole, *parts = leaderboard(ledger).groups
    [full], by_part = whole.rows, {group.subset: group.rows[0] for group in parts}
    sizes = {name: (row.num_clips, row.num_subjects) for name, row in by_part.items()}
    assert sizes == {"casme2": (145, 24), "samm": (133, 28), "smic": (164, 16)}
    # The parts are the whole's predictions: their counts add up to its counts.
    summed = np.sum([row.summary.confusion for row in by_part.values()], axis=0)
    np.testing.assert_array_equal(summed, full.summary.confusion)
    truth = {name: np.sum(row.summary.confusion, axis=1).tolist() for name, row in by_part.items()}
    assert truth == {"casme2": [88, 32, 25], "samm": [92, 26, 15], "smic": [70, 51, 43]}
    # Figures of a part, from the file itself.
    for name, row in by_part.items():
        with published_log.open(encoding="utf-8") as stream:
            rows = [line for line in csv.DictReader(stream) if line["dataset"] == name]
        labels, given = ([line[k] for line in rows] for k in ("label", "prediction"))
        f1 = f1_score(labels, given, average="macro")
        assert row.summary.uf1.value == pytest.approx(f1, abs=1e-9)
        assert row.experiment is full.experiment


def test_one_fold_per_subject(ledger, write):
    experiment = import_table(write(GOOD), ledger)
    assert [fold.name for fold in experiment.folds] == ["casme2/s1", "casme2/s2"]
    assert (experiment.selection, experiment.seed) == ("unknown", None)
    first, second = ledger.records(experiment)
    assert first.predictions[1] == Prediction(
        "casme2/s1/c2", "casme2/s1", "", "positive", "surprise"
    )
    assert second.test_subjects == ("casme2/s2",)
    assert ledger.missing(experiment) == ()


def test_given_again_or_in_another_order_nothing_changes(ledger, write):
    import_table(write(GOOD), ledger)
    before = snapshot(ledger.root)
    import_table(write(GOOD), ledger)
    header, *rows = GOOD.splitlines(keepends=True)
    import_table(write("\ufeff" + header + "".join(reversed(rows)) + "\n"), ledger)
    assert snapshot(ledger.root) == before


def test_other_predictions_are_another_row_over_the_same_data(ledger, write):
    first = import_table(write(GOOD), ledger)
    other = import_table(write(GOOD.replace("positive,surprise", "positive,positive")), ledger)
    assert first.digest != other.digest
    assert first.data_digest == other.data_digest
    assert len(leaderboard(ledger).groups[0].rows) == 2


def test_probabilities_are_kept_in_the_order_of_the_classes(ledger, write):
    text = (
        "subject,clip,label,prediction,prob_surprise,prob_negative,prob_positive\n"
        "s1,c1,negative,negative,0.1,0.7,0.2\ns2,c1,positive,surprise,0.6,0.1,0.3\n"
    )
    first, second = ledger.records(import_table(write(text), ledger))
    assert first.predictions[0].probabilities == (0.7, 0.2, 0.1)
    assert second.predictions[0].probabilities == (0.1, 0.3, 0.6)


def test_order_of_other_classes(ledger, write):
    text = HEADER + "s1,c1,sad,happy\ns2,c1,angry,sad\n"
    experiment = import_table(write(text), ledger)
    assert experiment.classes == ("angry", "happy", "sad")
    assert experiment.class_set == "own-3class"  # not the 3class of everybody
    experiment = import_table(
        write(text, classes=("sad", "happy", "angry", "calm"), class_set="moods"), ledger
    )
    assert experiment.classes == ("sad", "happy", "angry", "calm")
    assert experiment.class_set == "moods"


ROW = "s3,c1,negative,negative"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header and at least one clip"),
        (HEADER, "header and at least one clip"),
        ("subject,clip,label\ns,c,negative\n", "columns subject, clip, label, prediction"),
        ("subject,subject,clip,label,prediction\na,a,c,negative,negative\n", "once each"),
        (GOOD + "s3,c1,negative\n", "4 filled cells.*row 5"),
        (GOOD + "s3,c1,negative,\n", "4 filled cells.*row 5"),
        (GOOD + "s3, ,negative,negative\n", "4 filled cells.*row 5"),
        (GOOD + "s1,c1,negative,positive\n", "each clip once, got: casme2/s1/c1 again in row 5"),
        (GOOD + 's3,"c\n', "CSV file in UTF-8"),
        (GOOD + "s3,c\x1b1,negative,negative\n", "row 5.*printable"),
        (HEADER + "s1,c1,0,1\ns1,c2,1,1\n", "class names, got: numbers 0, 1"),
        (HEADER + "s1,c1,fear,fear\n", "2 or more different names"),
        ("subject,clip,label,prediction,note\ns,c,negative,negative,x\n", "no further columns"),
        (
            "subject,clip,label,prediction,prob_negative\ns,c,negative,negative,1\n",
            "exactly prob_negative, prob_positive, prob_surprise",
        ),
        (
            "subject,clip,label,prediction,prob_negative,prob_positive,prob_surprise\n"
            "s,c,negative,negative,1,x,0\n",
            "row 2 of",
        ),
        (
            "subject,clip,label,prediction,prob_negative,prob_positive,prob_surprise\n"
            "s,c,negative,negative,1,nan,0\n",
            "row 2 of.*sum to 1",
        ),
    ],
)
def test_bad_tables_are_refused_and_nothing_is_written(ledger, write, text, message):
    with pytest.raises(DadnetError, match=message):
        import_table(write(text), ledger)
    assert not ledger.root.exists()


@pytest.mark.parametrize("other", ["S1", "s 1", "\N{FULLWIDTH LATIN SMALL LETTER S}1"])
def test_one_subject_in_two_spellings_is_refused_and_nothing_is_written(ledger, write, other):
    text = GOOD + f"{other},c3,surprise,surprise\n"
    with pytest.raises(DadnetError, match="one way of writing each subject"):
        import_table(write(text), ledger)
    assert not ledger.root.exists()


def test_names_of_an_import_get_one_unicode_form(ledger, write):
    forms = ("Ren\N{LATIN SMALL LETTER E WITH ACUTE}", "Rene\N{COMBINING ACUTE ACCENT}\u200b")
    rows = [f"{name},c{n},positive,positive\n" for n, name in enumerate(forms)]
    experiment = import_table(write(GOOD + "".join(rows)), ledger)
    assert [fold.name for fold in experiment.folds] == [f"casme2/{forms[0]}", *EARLIER]


def test_unknown_class_is_refused(ledger, write):
    for changes in ({"class_set": "3class"}, {"classes": ("negative", "positive", "surprise")}):
        with pytest.raises(DadnetError, match=r"label as one of.*got: 'fear' in row 5"):
            import_table(write(GOOD + "s3,c1,fear,negative\n", **changes), ledger)
    with pytest.raises(DadnetError, match="class set 3class is negative, positive, surprise"):
        import_table(write(GOOD, class_set="3class", classes=("positive", "negative")), ledger)
    assert not ledger.root.exists()


def test_bad_file_and_bad_words_are_refused(ledger, tmp_path, write):
    table = ForeignTable(tmp_path / "none.csv", "x", "casme2", "loso")
    with pytest.raises(DadnetError, match="no file at"):
        import_table(table, ledger)
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"s\xe9,c,negative,negative\n")
    with pytest.raises(DadnetError, match="UTF-8"):
        import_table(ForeignTable(tmp_path / "latin.csv", "x", "casme2", "loso"), ledger)
    for changes in ({"method": ""}, {"dataset": "\n"}, {"protocol": "holdout"}):
        with pytest.raises(DadnetError):
            write(GOOD, **changes)
    with pytest.raises(DadnetError, match="selection as one of"):
        import_table(write(GOOD, selection="best"), ledger)
