"""Records, counts and boards of clips with several labels, by hand."""

import json

import msgspec
import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import DataConfig, ExperimentConfig, experiment_digest
from results.exchange.imported import ForeignTable
from results.exchange.predictions import megc_log, prediction_csv
from results.exchange.submission import pack, verify
from results.leaderboard import leaklab
from results.leaderboard.export import to_csv, to_json, to_latex, to_markdown
from results.leaderboard.ranking import leaderboard, text_table
from results.ledger.ledger import check_record
from results.ledger.records import Experiment, FoldRecord, Prediction
from results.ledger.val_side import nested
from results.pages.compare import render_compare
from results.pages.run import render_run, row_of
from results.pages.site import render_dataset, render_index
from results.statistics.compare import difference, swap_test
from results.statistics.counts import count
from results.statistics.summary import summarise
from results.statistics.tallies import read_tallies

LABELS = ("AU1", "AU4")
# subject -> clips, truth>prediction; 1 and 4 stand for AU1 and AU4
TABLE = {"samm/a": ["1>1", "14>1", ">4"], "samm/b": ["4>4", "1>14"], "samm/c": [">", "14>14", "4>"]}


def names(text):
    return tuple(f"AU{digit}" for digit in text)


def prediction(subject, i, clip):
    truth, given = map(names, clip.split(">"))
    sure = tuple(0.9 if name in given else 0.2 for name in LABELS)
    return Prediction(f"{subject}/clip{i}", subject, "", truth, given, sure)


def put(ledger, make_experiment, make_record, table=TABLE, **changes):
    own = {"dataset": "samm", "class_set": "action-units", "classes": LABELS, "multi_label": True}
    experiment = make_experiment(table, **{**own, **changes})
    ledger.open(experiment)
    for fold, clips in table.items():
        rows = tuple(prediction(fold, i, clip) for i, clip in enumerate(clips))
        made = make_record(make_experiment(table), fold, ["n>n"] * len(clips))
        same = {"experiment": experiment.digest, "teacher_digest": experiment.teacher_digest}
        values = {**msgspec.structs.asdict(made), **same, "predictions": rows}
        assert ledger.put(experiment, FoldRecord(**values))
    return experiment


@pytest.fixture
def two(ledger, make_experiment, make_record):
    """Two experiments over the same clips, the second with some other answers."""
    other = {**TABLE, "samm/a": ["1>", "14>14", ">"]}
    first = put(ledger, make_experiment, make_record)
    return first, put(ledger, make_experiment, make_record, other, method="Other")


def counts_of(ledger, experiment):
    rows = [row for record in ledger.records(experiment) for row in record.predictions]
    return count(rows, experiment.classes)


def test_counts_are_a_table_of_two_by_two_for_each_label(ledger, two):
    #        AU1: truth  1 1 0 | 0 1 | 0 1 0     AU4: truth  0 1 0 | 1 0 | 0 1 1
    #             given  1 1 0 | 0 1 | 0 1 0          given  0 0 1 | 1 1 | 0 1 0
    found = counts_of(ledger, two[0])
    assert found.pooled.tolist() == [[[4, 0], [0, 4]], [[2, 2], [2, 2]]]
    assert found.num_clips.tolist() == [3, 2, 3]
    assert found.num_right.tolist() == [4, 3, 5]
    assert found.num_decisions.tolist() == [6, 4, 6]


def test_macro_f1_is_the_mean_over_labels_of_pooled_f1(ledger, two):
    summary = summarise(counts_of(ledger, two[0]))
    assert summary.class_f1 == (1.0, 0.5)
    assert summary.uf1.value == pytest.approx(0.75)
    assert summary.uar.value == pytest.approx(0.75)  # recalls 1 and 1/2
    assert summary.accuracy.value is None
    assert summary.mcc is None
    assert summary.uf1.interval.low <= 0.75 <= summary.uf1.interval.high
    # 12 of 16 decisions right: -ln 0.9 or -ln 0.8 each; wrong: -ln 0.1 where found, -ln 0.2 missed.
    right = 4 * -np.log(0.9) + 4 * -np.log(0.8) + 2 * -np.log(0.9) + 2 * -np.log(0.8)
    wrong = 2 * -np.log(0.1) + 2 * -np.log(0.2)
    assert summary.log_loss == pytest.approx((right + wrong) / 16, abs=1e-6)


def test_bootstrap_and_swap_act_on_whole_subjects(ledger, two):
    first, second = (counts_of(ledger, experiment) for experiment in two)
    found = difference(first, second)
    assert found.value == pytest.approx(summarise(first).uf1.value - summarise(second).uf1.value)
    # One subject differs: swapping it or not gives the same distance, so nothing can be told.
    assert swap_test(first, second) == 1.0


def test_reading_quickly_and_slowly_gives_the_same(ledger, two):
    quick = read_tallies(ledger, [two[0]])[0]
    assert summarise(counts_of(ledger, two[0])) == quick.summary
    assert quick.counts.pooled.tolist() == counts_of(ledger, two[0]).pooled.tolist()


def test_records_and_experiments_are_read_back(ledger, two):
    [record, *_] = ledger.records(two[0])
    assert FoldRecord.from_json(record.to_json()) == record
    assert json.loads(record.to_json())["predictions"][1]["label"] == ["AU1", "AU4"]
    assert json.loads(record.to_json())["predictions"][2]["label"] == []
    assert Experiment.from_json(two[0].to_json()) == two[0]
    assert json.loads(two[0].to_json())["multi_label"] is True


def test_an_experiment_of_classes_is_written_as_ever(make_experiment):
    text = make_experiment({"synthetic/a": ["n>n"]}).to_json()
    assert "multi_label" not in text
    assert not Experiment.from_json(text).multi_label


@pytest.mark.parametrize(
    ("label", "given"),
    [
        (("AU4", "AU1"), ()),  # not in class order
        (("AU9",), ()),  # unknown
        ("AU1", "AU1"),  # a class
    ],
)
def test_labels_that_do_not_fit_are_refused(
    ledger, make_experiment, make_record, two, label, given
):
    [record, *_] = ledger.records(two[0])
    wrong = Prediction(record.predictions[0].clip_id, "samm/a", "", label, given, (0.5, 0.5))
    made = record.replace(predictions=(wrong, *record.predictions[1:]))
    with pytest.raises(DadnetError, match="classes of samm/a/clip0: expected some of AU1, AU4"):
        ledger.put(two[0], made)


def test_a_label_is_given_once():
    with pytest.raises(DadnetError, match="different names"):
        Prediction("a/b/c", "a/b", "", ("AU1", "AU1"), ())


def test_probabilities_of_labels_need_no_sum_and_of_classes_do():
    Prediction("a/b/c", "a/b", "", ("AU1",), (), (0.9, 0.9))
    with pytest.raises(DadnetError, match="sum to 1"):
        Prediction("a/b/c", "a/b", "", "AU1", "AU1", (0.9, 0.9))
    with pytest.raises(DadnetError, match=r"in \[0, 1\] for"):
        Prediction("a/b/c", "a/b", "", ("AU1",), (), (1.1, 0.9))


def test_only_counts_of_one_of_both_shapes_are_counts():
    assert nested([[1, 2], [3, 4]]) == ((1, 2), (3, 4))
    assert nested(np.zeros((3, 2, 2), dtype=int)) == (((0, 0), (0, 0)),) * 3
    for wrong in ([[1, 2]], [[1, 2], [3]], [[1, -2], [3, 4]], [[1, 2.5], [3, 4]], 3):
        with pytest.raises(DadnetError, match="expected a confusion matrix"):
            nested(wrong)


def test_labels_and_classes_are_never_ranked_together(ledger, two, make_experiment):
    named = {"dataset": "samm", "class_set": "action-units", "classes": LABELS}
    ledger.open(make_experiment(TABLE, method="One", **named))  # but one class of each clip
    groups = leaderboard(ledger).groups
    assert [len(group.rows) for group in groups] == [1, 2]
    assert [group.multi_label for group in groups] == [False, True]
    assert {row.rank for row in groups[1].rows} == {1, 2}


def test_the_board_says_macro_f1(ledger, two):
    board = leaderboard(ledger)
    assert "Macro F1" in text_table(board)
    assert "Macro F1" in to_markdown(board)
    assert "Macro F1 pooled over all subjects" in to_latex(board)
    assert "UF1" not in text_table(board)
    assert "0.75" in to_csv(board)
    [group] = json.loads(to_json(board))["groups"]
    first = next(row for row in group["rows"] if row["experiment"] == two[0].digest)
    assert first["confusion"] == [[[4, 0], [0, 4]], [[2, 2], [2, 2]]]
    assert first["class_f1"] == {"AU1": 1.0, "AU4": 0.5}
    assert first["subjects"]["samm/a"] == [4, 6]
    assert first["num_clips"] == 8
    page = render_dataset(board)
    assert "Counts of each label" in page
    assert 'data-label="Macro F1"' in page
    assert "Best Macro F1" in render_index(board)


def test_run_page_and_comparison_name_the_labels(ledger, two):
    page = render_run(ledger, row_of(ledger, two[0]))
    assert "<dt>Macro F1</dt>" in page
    assert "<td>AU1+AU4</td><td>AU1</td>" in page
    assert "<td>none</td><td>AU4</td>" in page
    assert "no one place between them" in page
    compared, found = render_compare(ledger, *two)
    assert "Macro F1, A minus B" in compared
    assert "<td>AU1</td><td>AU1</td><td>none</td>" in compared
    assert found.value == pytest.approx(0.75 - summarise(counts_of(ledger, two[1])).uf1.value)


def test_labels_and_classes_are_not_compared(ledger, two, make_experiment, make_record):
    table = {subject: ["A>A"] * len(clips) for subject, clips in TABLE.items()}
    single = make_experiment(table, dataset="samm", class_set="own", classes=LABELS, method="One")
    ledger.open(single)
    for fold, clips in table.items():
        ledger.put(single, make_record(single, fold, clips))
    with pytest.raises(DadnetError, match="one class of each clip and several labels"):
        render_compare(ledger, two[0], single)


def test_predictions_are_exported_as_text_and_not_as_a_challenges_log(ledger, two):
    records = ledger.records(two[0])
    lines = prediction_csv(two[0], records).splitlines()
    assert lines[0] == "clip,subject,part,prediction,prob_AU1,prob_AU4"
    assert lines[1] == "clip0,a,,AU1,0.900000,0.200000"
    assert "none" in lines[6]
    with pytest.raises(DadnetError, match="one of each clip"):
        megc_log(two[0], records)


def test_the_leak_laboratory_refuses(ledger, two):
    [group] = leaderboard(ledger).groups
    with pytest.raises(DadnetError, match="expected one class of each clip"):
        leaklab.labels_of_rows(group)


def test_a_table_of_elsewhere_gives_one_class_of_each_clip(tmp_path):
    with pytest.raises(DadnetError, match="clips have several labels there"):
        ForeignTable(tmp_path / "t.csv", "Theirs", "samm", "loso", class_set="action-units")


def test_a_bundle_of_labels_holds_and_a_changed_kind_does_not(
    ledger, make_experiment, make_record, tmp_path
):
    config = ExperimentConfig(data=DataConfig(dataset="samm", class_set="action-units"), seed=7)
    own = {
        "digest": experiment_digest(config, "d" * 16, "t" * 16),
        "method": config.method(),
        "seed": 7,
        "teacher_digest": "t" * 16,
        "config": config.to_json(),
    }
    experiment = put(ledger, make_experiment, make_record, **own)
    pack(ledger, [experiment], tmp_path / "mine.zip")
    [packed] = verify(tmp_path / "mine.zip").experiments
    assert packed.experiment == experiment
    assert packed.summary.uf1.value == pytest.approx(0.75)
    [record, *_] = packed.records
    with pytest.raises(DadnetError, match="classes of samm/a/clip0"):
        check_record(experiment.replace(multi_label=False), record)
