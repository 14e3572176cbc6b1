"""Pages of a search: made from the ledger alone, linked from the row of its winner."""

import pytest

from results.leaderboard.cells import selection_text
from results.leaderboard.ranking import leaderboard, text_table
from results.ledger.studies import StudyLedger, StudyRecord
from results.pages.rendering import study_page_name
from results.pages.site import render_study, write_site
from results.statistics.importances import parameter_importances
from tests.build.records import EVIL, GOOD, build_experiment, build_study, build_trial


@pytest.fixture
def searched(ledger, fill):
    experiment = fill(GOOD)
    study = build_study((experiment.digest,))
    StudyLedger(ledger.root).put(study)
    return experiment, study


def test_the_winners_row_links_to_the_search_and_says_that_it_was_not_nested(
    ledger, searched, tmp_path
):
    _, study = searched
    board = leaderboard(ledger)
    [row] = board.groups[0].rows
    assert row.studies == (study,)
    assert selection_text(row) == "inner, searched, not nested"
    assert "not nested" in text_table(board, width=200)
    paths = write_site(board, tmp_path / "site")
    assert tmp_path / "site" / study_page_name(study.digest) in paths
    page = (tmp_path / "site" / "synthetic.html").read_text()
    assert f'href="study-{study.digest}.html">a search of 14 trials' in page
    assert study.digest in (tmp_path / "site" / "synthetic.csv").read_text()


def test_a_nested_or_official_search_is_not_flagged(ledger, fill):
    one = fill(GOOD, selection="nested")
    two = fill(GOOD, protocol="official")
    StudyLedger(ledger.root).put(build_study((one.digest,), level="nested", digest="1" * 16))
    StudyLedger(ledger.root).put(build_study((two.digest,), digest="2" * 16))
    rows = [row for group in leaderboard(ledger).groups for row in group.rows]
    assert len(rows) == 2
    assert not any(row.not_nested for row in rows)
    assert all(row.studies for row in rows)


def test_the_page_tells_every_trial_and_nothing_of_it_is_code(searched):
    _, study = searched
    page = render_study(study)
    assert page.count("<tr class=") == 14
    assert "14: 12 complete, 1 stopped early, 1 failed" in page
    for title in (
        "History", "Importances", "Slices", "Parallel coordinates",
        "Weight and projections", "What the pruning rule saw",
    ):  # fmt: skip
        assert title in page
    assert EVIL not in page
    assert "Pareto" not in page


def test_same_study_same_bytes(searched):
    _, study = searched
    assert render_study(study) == render_study(StudyRecord.from_json(study.to_json()))


def test_two_objectives_show_their_front():
    trials = tuple(build_trial(n, values=(0.4 + n / 100, 100.0 - n % 5)) for n in range(8))
    study = build_study((), objectives=("val_uf1", "seconds"), trials=trials, winner=7)
    assert "Pareto front" in render_study(study)


def test_the_parameter_that_matters_has_the_largest_share():
    found = parameter_importances(build_study(()))
    assert max(found, key=found.get) == "alignment_weight"
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("number", [0, 1])
def test_a_study_with_hardly_any_trial_has_a_page_too(number):
    trials = tuple(build_trial(n) for n in range(number))
    study = build_study((), trials=trials, winner=0 if number else None)
    assert parameter_importances(study) == {}
    assert "Trials" in render_study(study)


def test_an_experiment_without_a_search_has_no_link(ledger, fill):
    fill(GOOD)
    [row] = leaderboard(ledger).groups[0].rows
    assert row.studies == ()
    assert selection_text(row) == "inner"
    assert build_experiment(GOOD).selection == "inner"
