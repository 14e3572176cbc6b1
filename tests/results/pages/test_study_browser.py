"""The page of a search in headless Chromium: its figures are drawn and its policy is kept."""

from pathlib import Path

import pytest

from results.leaderboard.ranking import leaderboard
from results.ledger.studies import StudyLedger
from results.pages.rendering import study_page_name
from results.pages.site import write_site
from tests.build.browser import show
from tests.build.records import GOOD, build_study

pytestmark = pytest.mark.slow


@pytest.fixture
def page(ledger, fill, tmp_path) -> Path:
    experiment = fill(GOOD)
    study = build_study((experiment.digest,))
    StudyLedger(ledger.root).put(study)
    write_site(leaderboard(ledger), tmp_path / "site", ("html",))
    return tmp_path / "site" / study_page_name(study.digest)


def test_every_figure_is_drawn_and_nothing_is_refused(browser, page):
    browser.get_log("browser")
    for width in (390, 1440):
        show(browser, page, width)
        drawn = browser.execute_script(
            "return [...document.querySelectorAll('.plot')]"
            ".map(plot => plot.querySelectorAll('.main-svg').length)"
        )
        assert len(drawn) == 8  # with a slice for each of three parameters
        assert all(drawn)
        overflow = browser.execute_script(
            "return document.documentElement.scrollWidth - innerWidth"
        )
        assert overflow <= 0, width
    assert browser.get_log("browser") == []


def test_the_links_lead_to_the_row_and_back(browser, page):
    show(browser, page.with_name("synthetic.html"))
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    browser.execute_script("document.querySelector('a[href^=study-]').click()")
    assert browser.current_url == page.as_uri()
    browser.execute_script("document.querySelector('.facts a').click()")
    assert "synthetic.html#row-" in browser.current_url
