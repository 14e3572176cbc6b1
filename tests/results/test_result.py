"""The object of an experiment: figures that can be checked by hand, tables, comparison, display."""

import json
import subprocess
import sys

import pytest

from dadnet.base.errors import DadnetError
from results.__main__ import main as results_main
from results.ledger.ledger import Ledger
from results.pages.run import row_of
from results.result import Result, SearchResult
from tests.build.records import (
    CLASSES,
    GOOD,
    build_experiment,
    build_random_table,
    build_record,
    build_study,
)


@pytest.fixture
def stored(tmp_path):
    """Put a table into a ledger and return its result."""

    def put(table, ledger="runs", leave_out=0, **changes):
        experiment = build_experiment(table, **changes)
        store = Ledger(tmp_path / ledger)
        store.open(experiment)
        for fold, clips in list(table.items())[leave_out:]:
            store.put(experiment, build_record(experiment, fold, clips))
        return Result(store.root, experiment)

    return put


def test_figures_are_pooled_over_all_folds(stored):
    # n: 3 clips, 2 right, 1 predicted p..: the matrix below gives them by hand.
    result = stored(GOOD)
    assert result.confusion.to_numpy().tolist() == [[2, 0, 0], [0, 2, 0], [1, 0, 1]]
    assert list(result.confusion.index) == list(result.confusion.columns) == list(CLASSES)
    # 2 TP / (2 TP + FP + FN): 4/5, 4/4, 2/3.
    assert result.uf1 == pytest.approx((4 / 5 + 1 + 2 / 3) / 3)
    assert result.uar == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert result.accuracy == pytest.approx(5 / 6)
    low, high = result.interval
    assert low < result.uf1 <= high
    assert list(result.figures["value"]) == [result.uf1, result.uar, result.accuracy]


def test_predictions_have_a_row_per_clip_with_its_fold(stored):
    table = stored(GOOD).predictions
    assert list(table["clip"]) == [f"{s}/clip{i}" for s in "abc" for i in range(2)]
    assert list(table["fold"]) == list(table["subject"]) == list("aabbcc")
    assert list(table["truth"]) == [
        "negative", "positive", "surprise", "negative", "positive", "surprise",
    ]  # fmt: skip
    assert table["prediction"].iloc[-1] == "negative"
    assert not [name for name in table if name.startswith("prob_")]  # none are known


def test_probabilities_have_a_column_per_class(stored, tmp_path):
    experiment = build_experiment(GOOD)
    ledger = Ledger(tmp_path / "runs")
    ledger.open(experiment)
    for fold, clips in GOOD.items():
        record = build_record(experiment, fold, clips)
        rows = [row.replace(probabilities=(0.5, 0.25, 0.25)) for row in record.predictions]
        ledger.put(experiment, record.replace(predictions=tuple(rows)))
    table = Result(ledger.root, experiment).predictions
    assert list(table.iloc[0][[f"prob_{name}" for name in CLASSES]]) == [0.5, 0.25, 0.25]


def test_without_a_fold_there_are_clips_but_no_figures(stored):
    result = stored(GOOD, leave_out=1)
    assert not result.complete
    assert result.missing == ("a",)
    assert len(result.predictions) == 4
    for name in ("uf1", "uar", "accuracy", "interval", "confusion", "figures"):
        with pytest.raises(DadnetError, match="incomplete: 1 of 3 folds"):
            getattr(result, name)
    assert str(result).endswith("incomplete, 1 of 3 missing")


def test_compare_equals_the_command(stored, tmp_path, capsys):
    one = stored(build_random_table(8, 0.9, 1), method="one")
    two = stored(build_random_table(8, 0.4, 2), method="two")
    compared = one.compare(two)
    words = ["compare", one.digest, two.digest, "--ledger", str(tmp_path / "runs")]
    assert results_main([*words, "--out", str(tmp_path / "site")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(compared)
    assert compared.value == pytest.approx(one.uf1 - two.uf1)
    assert compared.interval[0] < compared.value < compared.interval[1]
    assert 0 < compared.p <= 1
    assert two.compare(one).value == -compared.value


def test_rows_over_other_clips_are_not_compared(stored):
    one = stored(GOOD)
    other = stored({name.upper(): clips for name, clips in GOOD.items()}, "others", method="other")
    with pytest.raises(DadnetError, match="same clips"):
        one.compare(other)
    renamed = build_experiment(GOOD, method="renamed")
    ledger = Ledger(one.ledger)
    ledger.open(renamed)
    for fold, clips in GOOD.items():
        record = build_record(renamed, fold, clips)
        rows = [row.replace(clip_id=f"{row.clip_id}b") for row in record.predictions]
        ledger.put(renamed, record.replace(predictions=tuple(rows)))
    with pytest.raises(DadnetError, match="got: other clip names"):
        one.compare(Result(one.ledger, renamed))
    with pytest.raises(DadnetError, match="two complete experiments"):
        one.compare(stored(GOOD, "part", leave_out=1, method="part"))


def test_a_name_is_text_and_no_markup(stored):
    result = stored(GOOD, method="<script>alert(1)</script>")
    shown = result._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "0.833" in shown  # accuracy


def test_outside_of_a_notebook_it_is_shown_as_text(stored, capsys):
    stored(GOOD).show()
    said = capsys.readouterr().out
    assert "UF1 0.822" in said
    assert "prediction  negative  positive  surprise" in said


def test_the_page_is_that_of_the_command(stored, tmp_path):
    result = stored(GOOD)
    words = ["run", result.digest, "--ledger", str(tmp_path / "runs"), "--out", str(tmp_path / "s")]
    words.append("--standalone")
    assert results_main(words) == 0
    [page] = (tmp_path / "s").glob("run-*.html")
    assert result.page(tmp_path / "mine.html").read_bytes() == page.read_bytes()


def test_several_labels_have_a_row_per_label(tmp_path):
    experiment = build_experiment(GOOD, multi_label=True)
    ledger = Ledger(tmp_path / "runs")
    ledger.open(experiment)
    for fold, clips in GOOD.items():
        record = build_record(experiment, fold, clips)
        rows = [row.replace(label=(row.label,), prediction=()) for row in record.predictions]
        ledger.put(experiment, record.replace(predictions=tuple(rows)))
    result = Result(ledger.root, experiment)
    assert list(result.confusion.columns) == [
        "true negative", "false positive", "false negative", "true positive",
    ]  # fmt: skip
    assert result.confusion.loc["negative"].tolist() == [4, 0, 2, 0]
    assert set(result.predictions["prediction"]) == {"none"}
    with pytest.raises(DadnetError, match="accuracy: it is not defined"):
        _ = result.accuracy
    assert "accuracy" not in str(result)


def test_a_search_has_its_trials_and_the_result_of_the_winner(stored):
    scored = stored(GOOD)
    study = build_study((scored.digest,))
    search = SearchResult(scored.ledger, (study,), (scored.experiment,))
    assert len(search.trials) == len(study.trials)
    assert list(search.trials.loc[search.trials["winner"], "trial"]) == [study.winner]
    assert search.winners[""] == study.best.params
    assert search.result.uf1 == scored.uf1
    assert search.experiment.digest == scored.digest
    assert "alignment_weight" in search._repr_html_()


def test_the_row_is_that_of_the_ledger(stored, tmp_path):
    result = stored(GOOD)
    assert result.row.summary == row_of(Ledger(tmp_path / "runs"), result.experiment).summary


def test_it_loads_neither_torch_nor_ray_and_the_commands_no_pandas():
    code = (
        "import json, sys, results.commands; early = 'pandas' in sys.modules;"
        "import results.result;print(json.dumps([early, *{'torch', 'ray'} & sys.modules.keys()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False]
