"""The pages in headless Chromium: as a reader opens them, from a file and without a network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.board import leaderboard
from results.foreign import ForeignTable, import_table
from results.page import write_site

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
)
EVIL = "<script>alert(1)</script>"

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed"),
    pytest.mark.skipif(not DRIVER.exists(), reason="chromedriver is not installed"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def site(ledger, fill, random_table, published_log, tmp_path) -> dict[str, Path]:
    log = ForeignTable(published_log, "STSTNet (published log)", "megc2019", "cde")
    import_table(log, ledger)
    table = random_table(24, 0.75, 1, "casme2")
    fill(table, dataset="casme2")
    fill(random_table(24, 0.5, 2, "casme2"), dataset="casme2", method="Z: single stream")
    fill(random_table(24, 0.6, 3, "casme2"), dataset="casme2", method="A: no transformer")
    fill(random_table(24, 0.9, 4, "casme2"), dataset="casme2", selection="oracle")
    fill(table, without=list(table)[17:], dataset="casme2", seed=7)
    fill({f"{EVIL}/1": ["n>n", "s>p"], "2": ["p>p"]}, dataset=EVIL, method=EVIL + "x" * 80)
    paths = write_site(leaderboard(ledger), tmp_path / "site", ("html", "csv"))
    return {path.stem.split("-")[0]: path for path in paths if path.suffix == ".html"}


def show(browser, path: Path, width: int = 1440, scheme: str = "light") -> None:
    """Open a page in a viewport of exactly this width (a window cannot be so narrow)."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())


def column(browser, key: str, body: int = 0) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('.board')[0].tBodies[arguments[1]].rows]"
        ".map(row => row.querySelector('.c-' + arguments[0]).dataset.sort)",
        key,
        body,
    )


def test_pages_are_quiet_and_fit_at_every_width(browser, site):
    browser.get_log("browser")
    for path in site.values():
        for width in (390, 760, 1000, 1440):
            for scheme in ("light", "dark"):
                show(browser, path, width, scheme)
                assert browser.execute_script("return innerWidth") == width
                overflow = browser.execute_script(
                    "return document.documentElement.scrollWidth - innerWidth"
                )
                assert overflow <= 0, (path.name, width)
                folder = os.environ.get("DADNET_SCREENSHOTS")  # to look at them
                if folder:
                    browser.save_screenshot(f"{folder}/{path.stem}-{width}-{scheme}.png")
    assert browser.get_log("browser") == []


def test_details_fit_a_phone_when_opened(browser, site):
    show(browser, site["casme2"], 390)
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= 390


def test_a_heading_sorts_and_sorts_back(browser, site):
    from selenium.webdriver.common.by import By

    show(browser, site["casme2"])
    ranks, below = column(browser, "rank"), column(browser, "experiment", 1)
    assert ranks == ["1", "2", "3"]
    heading = browser.find_element(By.CSS_SELECTOR, ".board th.c-method")
    button = heading.find_element(By.TAG_NAME, "button")
    button.click()
    names = column(browser, "method")
    assert names == sorted(names)
    assert heading.get_attribute("aria-sort") == "ascending"
    button.click()
    assert column(browser, "method") == names[::-1]
    assert heading.get_attribute("aria-sort") == "descending"
    others = browser.find_elements(By.CSS_SELECTOR, ".board th:not([aria-sort=none])")
    assert len(others) == 1
    # Figures: the best first, then reversed; an oracle row never climbs among the ranked.
    button = browser.find_element(By.CSS_SELECTOR, ".board th.c-uf1 button")
    button.click()
    assert column(browser, "rank") == ["1", "2", "3"]
    button.click()
    assert column(browser, "rank") == ["3", "2", "1"]
    assert set(column(browser, "experiment", 1)) == set(below)
    # The row without a figure is last in either direction.
    assert column(browser, "uf1", 1)[-1] == ""


def test_sorting_works_by_keyboard_and_on_a_phone(browser, site):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, site["casme2"], 390)
    button = browser.find_element(By.CSS_SELECTOR, ".board th.c-rank button")
    assert button.is_displayed()
    button.send_keys(Keys.ENTER)
    assert column(browser, "rank") == ["3", "2", "1"]


def test_a_link_to_a_row_opens_its_details(browser, site):
    from selenium.webdriver.common.by import By

    show(browser, site["casme2"])
    details = browser.find_elements(By.CSS_SELECTOR, "details")
    assert [d.get_attribute("open") is not None for d in details] == [True] + [False] * 4
    browser.find_elements(By.CSS_SELECTOR, ".board .c-method a")[1].click()
    assert details[1].get_attribute("open") is not None


def test_a_subject_says_what_it_shows(browser, site):
    from selenium.webdriver.common.by import By

    show(browser, site["megc2019"])
    # The first strip is of all subjects; those of the composite's parts follow.
    cells = browser.find_element(By.CSS_SELECTOR, ".strip").find_elements(By.TAG_NAME, "span")
    assert len(cells) == 68
    cells[0].click()
    said = browser.find_element(By.CSS_SELECTOR, ".pointed").text
    assert said == cells[0].get_attribute("title")
    assert said.startswith("casme2/")


def test_names_are_text_and_the_policy_holds(browser, site):
    show(browser, site["script"])
    assert browser.execute_script("return document.querySelector('h1').textContent") == EVIL
    assert browser.execute_script("return document.scripts.length") == 1
    browser.get_log("browser")
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.evil = 1';"
        "document.body.append(s)"
    )
    assert browser.execute_script("return window.evil") is None
    assert any(
        "Content Security Policy" in entry["message"] for entry in browser.get_log("browser")
    )
