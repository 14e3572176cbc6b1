"""What a reader can read of the plots, of every kind of page, in headless Chromium."""

from __future__ import annotations

import pytest

from tests.build.browser import show

pytestmark = pytest.mark.slow

# For each plot its axes (letter, type, texts of the ticks) and the pairs of labels that overlap.
# Labels of an axis lie in one direction, so two of them overlap if they do along it and across it.
READ = """
function boxes(texts) {
  return texts.filter(text => text.textContent.trim()).map(text => {
    const box = text.getBBox(), matrix = text.getScreenCTM();
    const at = (x, y) => new DOMPoint(x, y).matrixTransform(matrix);
    const corners = [at(box.x, box.y), at(box.x + box.width, box.y),
                     at(box.x, box.y + box.height), at(box.x + box.width, box.y + box.height)];
    const angle = Math.atan2(matrix.b, matrix.a), c = Math.cos(angle), s = Math.sin(angle);
    const along = corners.map(p => p.x * c + p.y * s), across = corners.map(p => p.y * c - p.x * s);
    return {text: text.textContent, along: [Math.min(...along), Math.max(...along)],
            across: [Math.min(...across), Math.max(...across)]};
  });
}
const meet = (a, b) => Math.min(a[1], b[1]) - Math.max(a[0], b[0]) > 1.5;
function overlaps(texts) {
  const found = [], all = boxes(texts);
  for (let i = 0; i < all.length; i++) for (let j = 0; j < i; j++)
    if (meet(all[i].along, all[j].along) && meet(all[i].across, all[j].across))
      found.push([all[i].text, all[j].text]);
  return found;
}
return [...document.querySelectorAll('.plot')].map(plot => {
  const texts = name => [...plot.querySelectorAll(name)];
  const axes = ['x', 'y'].filter(l => plot._fullLayout[l + 'axis'].visible !== false).map(l => [
    l, plot._fullLayout[l + 'axis'].type, texts(`.${l}tick text`).map(t => t.textContent)]);
  const groups = ['.xtick text', '.ytick text', '.annotation text', '.legend text'];
  return {name: plot.id, axes, height: plot.clientHeight,
          overlaps: groups.flatMap(name => overlaps(texts(name)))};
});
"""


@pytest.mark.parametrize("width", [390, 1440])
def test_every_axis_has_three_ticks_and_no_labels_overlap(browser, site, width):
    seen = 0
    for path in site.values():
        show(browser, path, width)
        for plot in browser.execute_script(READ):
            seen += 1
            where = (path.name, plot["name"], width)
            assert plot["overlaps"] == [], where
            for letter, kind, ticks in plot["axes"]:
                fewest = 1 if kind == "category" else 3
                assert len(set(ticks) - {""}) >= fewest, (*where, letter, ticks)
    assert seen >= 20


def test_plots_of_a_search_are_high_enough_and_take_the_colours_of_the_dark(browser, site):
    colours = []
    for scheme in ("light", "dark"):
        show(browser, site["study"], 390, scheme)
        plots = browser.execute_script(READ)
        assert min(plot["height"] for plot in plots) >= 280
        colours.append(
            browser.execute_script(
                "return [...document.querySelectorAll('.xtick text')].map(t => t.style.fill)"
            )
        )
    assert not set(colours[0]) & set(colours[1])


def test_the_picture_behind_two_parameters_is_shown(browser, site):
    show(browser, site["study"])
    image = "return document.querySelector('#plot-contour image').getBoundingClientRect().width"
    assert browser.execute_script(image) > 300
    assert [e for e in browser.get_log("browser") if "Content Security" in e["message"]] == []


def test_the_command_is_copied(browser, site):
    show(browser, site["run"])
    button = "document.querySelector('[data-copy]')"
    browser.execute_script(f"{button}.click()")
    said = browser.execute_async_script(
        "const done = arguments[0], look = () => {"
        f"const text = {button}.textContent;"
        "text === 'Copy the command' ? setTimeout(look, 20) : done(text)}; look()"
    )
    assert said in ("Copied", "Selected: copy it")
    chosen = browser.execute_script("return getSelection().toString()")
    assert chosen.startswith("dadnet loso")


def test_subjects_are_sorted_by_a_heading(browser, site):
    show(browser, site["run"])
    table = "document.querySelector('#subjects').parentNode.querySelector('table')"
    names = f"return [...{table}.tBodies[0].rows].map(row => row.cells[1].textContent)"
    assert browser.execute_script(names) == ["2", "1"]
    browser.execute_script(f"{table}.querySelectorAll('button')[1].click()")
    assert browser.execute_script(names) == ["2", "1"]
    browser.execute_script(f"{table}.querySelectorAll('button')[1].click()")
    assert browser.execute_script(names) == ["1", "2"]
