import csv
import io
import json

import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from results.exchange.imported import ForeignTable, import_table
from results.leaderboard.cells import UNKNOWN
from results.leaderboard.columns import COLUMNS
from results.leaderboard.export import to_csv, to_json, to_latex, to_markdown
from results.leaderboard.ranking import Filters, leaderboard, text_table
from results.leaderboard.rows import Tally
from results.ledger.ledger import LedgerWarning
from results.ledger.records import PlannedFold, Prediction

# accuracy = the share of right clips; UF1 by hand in test_stats
GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}
FAIR = {"a": ["n>n", "p>n"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}
POOR = {"a": ["n>p", "p>n"], "b": ["s>s", "n>n"], "c": ["p>n", "s>n"]}


def names(group) -> list[tuple[int | None, str]]:
    return [(row.rank, row.experiment.method) for row in group.rows]


def test_complete_rows_are_ranked_by_uf1(ledger, fill):
    fill(POOR, method="poor")
    fill(GOOD, method="good")
    fill(FAIR, method="fair")
    (group,) = leaderboard(ledger).groups
    assert names(group) == [(1, "good"), (2, "fair"), (3, "poor")]
    assert group.same_clips
    # GOOD, truth \ prediction   n  p  s    F1: 4/5, 1, 2/3
    #                        n   2  0  0
    #                        p   0  2  0
    #                        s   1  0  1
    assert group.rows[0].summary.uf1.value == pytest.approx((4 / 5 + 1 + 2 / 3) / 3)
    assert group.rows[0].summary.accuracy.value == pytest.approx(5 / 6)


def test_equal_rows_share_a_rank(ledger, fill):
    for method in ("x", "y"):
        fill(GOOD, method=method)
    fill(POOR, method="z")
    (group,) = leaderboard(ledger).groups
    assert names(group) == [(1, "x"), (1, "y"), (3, "z")]


def test_incomplete_rows_are_unranked_below_and_without_figures(ledger, fill):
    fill(POOR, method="poor")
    fill(GOOD, method="good so far", without=["c"])
    board = leaderboard(ledger)
    (group,) = board.groups
    assert names(group) == [(1, "poor"), (None, "good so far")]
    row = group.rows[1]
    assert not board.complete
    assert row.status == "incomplete"
    assert row.summary is None
    assert row.tallies == (Tally("a", 2, 2), Tally("b", 2, 2), Tally("c", None, 2))
    assert (row.num_clips, row.num_subjects) == (6, 3)
    texts = {column.key: column.text(row) for column in COLUMNS}
    assert texts["folds_done"] == "2/3"
    assert texts["uf1"] == texts["rank"] == UNKNOWN


def test_test_peeking_rows_are_never_ranked(ledger, fill):
    fill(POOR, method="honest")
    fill(GOOD, method="peeking", selection="oracle")
    fill(GOOD, method="peeking and incomplete", selection="oracle", without=["a"])
    (group,) = leaderboard(ledger).groups
    assert names(group) == [(1, "honest"), (None, "peeking"), (None, "peeking and incomplete")]
    assert [row.status for row in group.rows] == ["ranked", "test-peeking", "incomplete"]
    assert "oracle (test-peeking)" in {column.text(group.rows[1]) for column in COLUMNS}


def test_other_protocols_class_sets_and_classes_are_other_groups(ledger, fill):
    fill(GOOD, method="one")
    fill(GOOD, method="two", protocol="cde")
    fill(GOOD, method="three", class_set="3class-other")
    fill(GOOD, method="four", classes=("positive", "negative", "surprise"))
    fill(GOOD, method="five", dataset="another")
    board = leaderboard(ledger)
    assert [names(group) for group in board.groups] == [
        [(1, "five")],
        [(1, "two")],
        [(1, "one")],
        [(1, "four")],
        [(1, "three")],
    ]
    assert board.datasets == ("another", "synthetic")
    assert leaderboard(ledger, "another") == board.of_dataset("another")


def test_rows_over_other_clips_are_marked(ledger, fill):
    fill(GOOD, method="one")
    fill({"a": ["n>n"], "b": ["p>s"]}, method="two")
    (group,) = leaderboard(ledger).groups
    assert not group.same_clips


def test_folds_with_several_subjects(ledger, make_experiment, make_record):
    folds = (PlannedFold("g0", ("a", "b"), 2), PlannedFold("g1", ("c", "d"), 2))
    experiment = make_experiment({}, folds=folds, protocol="group-kfold")
    ledger.open(experiment)
    rows = (
        Prediction("b/1", "b", "", "negative", "negative"),
        Prediction("a/1", "a", "", "positive", "negative"),
    )
    sides = {"fit_subjects": (), "val_subjects": ("c",), "test_subjects": ("a", "b")}
    assert ledger.put(experiment, make_record(experiment, "g0", [], predictions=rows, **sides))
    ((row,),) = (group.rows for group in leaderboard(ledger).groups)
    assert (row.num_done, row.num_planned, row.num_clips, row.num_subjects) == (1, 2, 4, 4)
    # how many clips c and d have is not planned one by one
    assert row.tallies == (
        Tally("a", 0, 1),
        Tally("b", 1, 1),
        Tally("c", None, None),
        Tally("d", None, None),
    )


def test_a_damaged_record_makes_the_row_incomplete(ledger, fill):
    experiment = fill(GOOD)
    ledger.fold_path(experiment, "b").write_text("{")
    with pytest.warns(LedgerWarning, match="damaged"):
        (group,) = leaderboard(ledger).groups
    assert group.rows[0].status == "incomplete"


def test_unknown_dataset_and_empty_ledger_are_refused(ledger, fill, tmp_path):
    with pytest.raises(DadnetError, match="nothing in"):
        leaderboard(tmp_path / "nowhere")
    fill(GOOD)
    with pytest.raises(DadnetError, match="'casme2'; available: synthetic"):
        leaderboard(ledger, "casme2")


def test_registry_has_every_key_and_title_once():
    assert len({column.key for column in COLUMNS}) == len(COLUMNS)
    assert len({column.title for column in COLUMNS}) == len(COLUMNS)
    shown = {column.key for column in COLUMNS if column.shown}
    assert {"method", "selection", "num_clips", "num_subjects", "seed"} <= shown
    assert {"experiment", "ranks", "tie", "p_best"} <= shown


def test_exports_hold_the_same_figures(ledger, fill):
    fill(GOOD, method="good | best", seed=7)
    fill(POOR, method="*poor*", without=["c"])
    board = leaderboard(ledger)
    first, second = csv.DictReader(io.StringIO(to_csv(board)))
    uf1 = round((4 / 5 + 1 + 2 / 3) / 3, 6)
    assert float(first["uf1"]) == uf1
    assert (first["rank"], first["seed"], first["status"]) == ("1", "7", "ranked")
    assert first["uf1_interval_method"] in ("BCa", "percentile")
    assert float(first["uf1_low"]) <= uf1 <= float(first["uf1_high"])
    assert (second["uf1"], second["rank"], second["folds_done"]) == ("", "", "2")

    (group,) = json.loads(to_json(board))["groups"]
    assert group["rows"][0]["uf1"] == uf1
    assert group["rows"][0]["confusion"] == [[2, 0, 0], [0, 2, 0], [1, 0, 1]]
    assert group["rows"][0]["class_f1"] == {
        "negative": 0.8,
        "positive": 1.0,
        "surprise": round(2 / 3, 6),
    }
    assert group["rows"][1]["confusion"] is None
    assert group["rows"][1]["subjects"]["c"] == [None, 2]

    markdown = to_markdown(board)
    assert r"| A | good \| best | 0.822 \[" in markdown
    assert r"\*poor\*" in markdown


def test_text_table_shows_names_as_they_are(ledger, fill):
    fill(GOOD, method="[red]x[/]")
    fill(GOOD, method="peek", selection="oracle")
    text = text_table(leaderboard(ledger), width=140)
    assert "[red]x[/]" in text
    assert "0.822 [" in text
    assert "test-peeking" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 140


def test_same_ledger_same_bytes(ledger, fill, random_table):
    for skill in (0.4, 0.7):
        fill(random_table(12, skill, 1), method=f"skill {skill}")
    first = leaderboard(ledger)
    again = leaderboard(ledger.root)
    for export in (to_csv, to_json, to_markdown, to_latex, text_table):
        assert export(first) == export(again)


def test_peeking_rows_stand_beside_their_honest_twin_struck_out(ledger, fill):
    honest = fill(POOR, seed=3)
    fill(POOR, seed=4)
    fill(GOOD, seed=3, selection="oracle")
    board = leaderboard(ledger)
    row = next(row for row in board.rows if row.peeking)
    assert row.twin == honest.digest
    gain = row.summary.uf1.value - (0 + 1 / 3 + 2 / 3) / 3  # POOR: F1 of n 2/6, p 0, s 2/3
    assert row.gain == pytest.approx(gain, abs=1e-6)
    assert f"oracle (test-peeking gain {gain:+.2f})" in text_table(board, width=200)
    assert "~~DAD-Net (micro/ultralight), selection oracle~~" in to_markdown(board)
    assert r"\sout{DAD-Net (micro/ultralight), selection oracle}" in to_latex(board)


def test_filters_choose_and_say_what_there_is(ledger, fill):
    fill(GOOD)
    fill(GOOD, protocol="cde")
    (group,) = leaderboard(ledger, filters=Filters(protocol="cde")).groups
    assert group.protocol == "cde"
    with pytest.raises(DadnetError, match="class_set '5class'; available: 3class"):
        leaderboard(ledger, filters=Filters(protocol="cde", class_set="5class"))


def test_seeds_of_one_method_are_put_together(ledger, fill, random_table):
    for seed in (4, 5, 7):
        fill(random_table(12, 0.7, seed), seed=seed)
    fill(random_table(12, 0.6, 1), method="single seed")
    (group,) = leaderboard(ledger).groups
    (family,) = group.seeds
    values = {r.experiment.seed: r.summary.uf1.value for r in group.rows if r.experiment.seed}
    assert family.seeds == (4, 5, 7)
    assert family.figures.values == pytest.approx([values[seed] for seed in (4, 5, 7)])
    assert family.figures.mean == pytest.approx(np.mean(list(values.values())))
    assert family.figures.deviation == pytest.approx(np.std(list(values.values()), ddof=1))
    assert family.figures.interval.low < family.figures.mean < family.figures.interval.high


def test_published_figures_stand_beside_ours_with_reasons(ledger, published_log):
    table = ForeignTable(published_log, "STSTNet (log)", "megc2019", "cde")
    experiment = import_table(table, ledger)
    group, *parts = leaderboard(ledger).groups
    assert [part.subset for part in parts] == ["casme2", "samm", "smic"]
    assert not any(part.reported for part in parts)  # they stand beside the whole
    found = {(item.published.method, item.published.part): item for item in group.reported}
    whole = found["STSTNet", "full"]
    assert whole.digest == experiment.digest
    assert whole.ours == pytest.approx(0.7209, abs=5e-5)
    assert whole.gap == pytest.approx(0.7209 - 0.7353, abs=5e-5)
    assert whole.reasons == ()
    # the part of one dataset, of the same pooled predictions
    samm = found["STSTNet", "samm"]
    assert samm.ours is not None
    assert samm.ours != pytest.approx(whole.ours)
    assert found["CapsuleNet", "full"].reasons == ("test-peeking", "fold-averaged")
    assert found["CapsuleNet", "full"].ours is None
    assert found["EMR", "full"].reasons == ("selection unknown",)


def test_published_figures_of_other_classes_or_clips_say_so(ledger, fill):
    names = ("negative", "positive", "surprise", "others")
    fill({"a": ["n>n"], "b": ["p>s"]}, dataset="casme3", classes=names, class_set="4class")
    fill(GOOD, dataset="megc2019", protocol="cde", method="STSTNet")
    casme3, megc = leaderboard(ledger).groups
    reasons = {item.published.num_classes: item.reasons for item in casme3.reported}
    assert "other class set" in reasons[3]
    assert "other class set" not in reasons[4]
    whole = next(i for i in megc.reported if i.published.method == "STSTNet" and i.ours)
    assert "other n" in whole.reasons


def test_ledger_without_shared_clips_has_no_tests_between_them(ledger, fill):
    fill(GOOD, method="one")
    fill({"a": ["n>n"], "b": ["p>s"]}, method="two")
    (group,) = leaderboard(ledger).groups
    assert [row.tie for row in group.rows] == ["A", None]
    assert group.rows[1].p_best is None
