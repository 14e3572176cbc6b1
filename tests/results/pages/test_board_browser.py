"""What a reader does on the board: columns, filters and sorting in the address, two rows picked."""

from __future__ import annotations

import pytest

from results.leaderboard.ranking import leaderboard
from results.pages.site import write_site
from tests.build.browser import show

pytestmark = pytest.mark.slow


@pytest.fixture
def board(ledger, fill, random_table, tmp_path):
    for number, method in enumerate(("DAD-Net", "DAD-Net (large)", "Z: single stream", "A: other")):
        table = random_table(24, 0.5 + number / 10, number, "casme2")
        fill(table, dataset="casme2", method=method)
    return write_site(leaderboard(ledger), tmp_path / "site", ("html",))[1]


def column(browser, key: str, body: int = 0) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('.board')[0].tBodies[arguments[1]].rows]"
        ".map(row => row.querySelector('.c-' + arguments[0]).dataset.sort)",
        key,
        body,
    )


def test_columns_filters_and_sorting_are_kept_in_the_address(browser, board):
    from selenium.webdriver.common.by import By

    def shown() -> list[str]:
        return browser.execute_script(
            "return [...document.querySelectorAll('.board')[0].tHead.rows[0].cells]"
            ".filter(cell => cell.offsetParent).map(cell => cell.dataset.key)"
        )

    show(browser, board)
    usual = shown()
    assert "flops" not in usual
    browser.find_element(By.CSS_SELECTOR, ".choosing").click()
    browser.find_element(By.CSS_SELECTOR, "[data-column=flops]").click()
    browser.find_element(By.CSS_SELECTOR, "[data-column=tie]").click()
    assert set(shown()) == {*usual, "flops"} - {"tie"}
    browser.find_element(By.CSS_SELECTOR, ".board th.c-uar button").click()
    browser.find_element(By.CSS_SELECTOR, "[data-filter=method]").send_keys("DAD-Net")
    order, address = column(browser, "uar"), browser.current_url
    assert "#" in address
    browser.get("about:blank")
    browser.get(address)  # as another reader opens it
    assert set(shown()) == {*usual, "flops"} - {"tie"}
    assert column(browser, "uar") == order
    heading = browser.find_element(By.CSS_SELECTOR, ".board th.c-uar")
    assert heading.get_attribute("aria-sort") == "descending"
    assert "2 of 4 rows" in browser.find_element(By.CSS_SELECTOR, ".filters output").text
    show(browser, board)
    assert shown() == usual
    assert browser.get_log("browser") == []


def test_two_picked_rows_give_the_command_and_the_page_if_there_is_one(browser, board):
    from selenium.webdriver.common.by import By

    show(browser, board)
    boxes = browser.find_elements(By.CSS_SELECTOR, "[data-pick]")
    line = browser.find_element(By.CSS_SELECTOR, ".picked")
    assert not line.is_displayed()
    boxes[0].click()
    assert "Pick a second row" in line.text
    boxes[1].click()
    digests = [box.get_attribute("data-pick") for box in boxes]
    assert f"dadnet compare {digests[0]} {digests[1]}" in line.text
    assert not line.find_element(By.TAG_NAME, "a").is_displayed()
    boxes[2].click()  # the first one is let go
    assert not boxes[0].is_selected()
    assert f"dadnet compare {digests[1]} {digests[2]}" in line.text
    name = f"compare-{digests[2]}-{digests[1]}.html"
    browser.execute_script(
        "document.querySelector('.picked').dataset.compared = arguments[0]", name
    )
    boxes[2].click()
    boxes[2].click()
    link = line.find_element(By.TAG_NAME, "a")
    assert link.is_displayed()
    assert link.get_attribute("href").endswith(name)
