"""The pages in headless Chromium: as a reader opens them, from a file and without a network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.build.browser import show

EVIL = "<script>alert(1)</script>"
pytestmark = pytest.mark.slow


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
                drawn = browser.execute_script(
                    "return [...document.querySelectorAll('.plot')]"
                    ".map(plot => plot.querySelector('svg') !== null)"
                )
                assert all(drawn), path.name
                if path.stem.startswith(("run", "compare", "leaklab", "robustness", "study")):
                    assert drawn, path.name
            assert path.stat().st_size < 3_000_000
    assert browser.get_log("browser") == []


def test_nothing_serious_is_found_by_axe(browser, site):
    axe = pytest.importorskip("axe_core_python")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    for path in site.values():
        for width, scheme in ((1440, "light"), (390, "dark"), (1440, "dark")):
            show(browser, path, width, scheme)
            # what is folded away is checked as well, as it looks when it is open
            browser.execute_script(
                "for (const d of document.querySelectorAll('details')) d.open = true"
            )
            height = browser.execute_script("return document.documentElement.scrollHeight")
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            # past the page's policy, as a debugger does
            browser.execute_cdp_cmd("Runtime.evaluate", {"expression": script})
            found = browser.execute_async_script(
                "const done = arguments[0]; axe.run(document).then(result => done(JSON.stringify("
                "result.violations.map(v => [v.id, v.impact, v.nodes.map(n => n.html)]))))"
            )
            serious = [v for v in json.loads(found) if v[1] in ("serious", "critical")]
            assert serious == [], (path.name, width, scheme)


def test_filters_hide_rows_and_groups_and_never_rank_anew(browser, site):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    def ranks() -> list[str]:
        return browser.execute_script(
            "return [...document.querySelectorAll('.group:not([hidden]) .board tbody "
            "tr:not([hidden]) .c-rank')].map(cell => cell.dataset.sort)"
        )

    show(browser, site["samm"])
    assert ranks() == ["1", "1", "2", ""]
    Select(browser.find_element(By.CSS_SELECTOR, "[data-filter=protocol]")).select_by_value("loso")
    assert ranks() == ["1", "2", ""]
    select = Select(browser.find_element(By.CSS_SELECTOR, "[data-filter=selection]"))
    select.select_by_value("inner")
    assert ranks() == ["2"]
    select.select_by_value("")
    browser.find_element(By.CSS_SELECTOR, "[data-filter=method]").send_keys("m2")
    assert ranks() == ["1"]
    assert browser.find_element(By.CSS_SELECTOR, ".filters output").text == "1 of 4 rows"


def test_names_in_plots_are_text_and_no_worker_is_named(browser, site):
    show(browser, site["run"])
    told = browser.execute_script(
        "const plot = document.getElementById('plot-time');"
        "Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: 0}]);"
        "return [...plot.querySelectorAll('.hoverlayer text, .ytick text')].map(t => t.textContent)"
    )
    assert told[0] == "worker 1"
    assert any(EVIL in text for text in told[1:])
    assert browser.execute_script("return document.querySelectorAll('.plot script').length") == 0


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
