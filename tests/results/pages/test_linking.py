"""A folder of pages is one site: every page is linked, and no link is dead, in any order."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from results.__main__ import main
from results.leaderboard.ranking import leaderboard
from results.pages.linking import link_pages
from results.pages.rendering import PLOTLY, plotly_script
from results.pages.site import write_site

TABLE = {"a": ["n>n", "p>p"], "b": ["s>s", "n>p"], "c": ["p>p", "s>n"]}


class Links(HTMLParser):
    """The addresses and the ids of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.ids.add(known.get("id", ""))
        self.links += [known[name] for name in ("href", "src") if name in known]


def dead_links(folder: Path) -> list[tuple[str, str]]:
    pages = {path.name: Links(path) for path in folder.glob("*.html")}
    dead = []
    for name, page in pages.items():
        for link in page.links:
            file, _, part = link.partition("#")
            if link.startswith(("data:", "https:")):
                continue
            if file and not (folder / file).is_file():
                dead.append((name, link))
            if part and part not in pages[file or name].ids:
                dead.append((name, link))
    return dead


def test_no_link_is_dead_and_every_page_is_reached_from_the_index(site):
    folder = next(iter(site.values())).parent
    assert dead_links(folder) == []
    reached, left = set(), {"index.html"}
    while left:
        name = left.pop()
        reached.add(name)
        links = {link.partition("#")[0] for link in Links(folder / name).links}
        left |= {link for link in links if link.endswith(".html")} - reached
    assert reached == {path.name for path in folder.glob("*.html")}
    listed = set(Links(folder / "casme2.html").links)
    kinds = ("compare", "ablation", "leaklab", "study")
    assert {site[kind].name for kind in kinds} <= listed
    assert site["robustness"].name not in listed  # of another dataset
    assert f"{site['run'].name}#looks" in Links(folder / "index.html").links


def test_plotly_is_there_once(site):
    folder = next(iter(site.values())).parent
    assert [path.relative_to(folder).as_posix() for path in folder.glob("*/*")] == [PLOTLY]
    version = re.search(r"plotly\.js \(basic - minified\) v([\d.]+)", plotly_script()).group(1)
    assert f"assets/plotly-basic-{version}.js" == PLOTLY
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 4e6


@pytest.mark.parametrize("command", ["compare", "leaklab", "run"])
def test_a_page_alone_has_no_dead_link_and_gets_them_when_the_site_is_there(
    ledger, fill, tmp_path, command
):
    one, two = fill(TABLE, method="one"), fill(TABLE, method="two")
    words = {"compare": [one.digest, two.digest], "leaklab": ["--k", "1"], "run": [one.digest]}
    out = tmp_path / "site"
    common = ["--ledger", str(ledger.root), "--out", str(out)]
    assert main([command, *words[command], *common]) == 0
    assert dead_links(out) == []
    [page] = out.glob("*.html")
    assert "index.html" not in Links(page).links
    assert main(["leaderboard", *common]) == 0
    assert dead_links(out) == []
    assert "index.html" in Links(page).links
    if command != "run":
        assert page.name in Links(out / "index.html").links
        assert page.name in Links(out / "synthetic.html").links


def test_a_page_that_is_gone_is_linked_no_more(ledger, fill, tmp_path):
    experiment = fill(TABLE)
    write_site(leaderboard(ledger), tmp_path / "site", ("html",), ledger=ledger, run_pages=1)
    (tmp_path / "site" / f"run-{experiment.digest}.html").unlink()
    foreign = tmp_path / "site" / "mine.html"
    foreign.write_text('<a href="nowhere.html">a page that is not ours</a>')
    link_pages(tmp_path / "site")
    foreign_links = Links(foreign).links
    foreign.unlink()
    assert dead_links(tmp_path / "site") == []
    assert foreign_links == ["nowhere.html"]


def test_a_standalone_page_needs_no_file_beside_it(ledger, fill, tmp_path):
    experiment = fill(TABLE)
    words = [experiment.digest, "--ledger", str(ledger.root), "--out", str(tmp_path / "one")]
    assert main(["run", *words, "--standalone"]) == 0
    [page] = (tmp_path / "one").iterdir()
    assert plotly_script() in page.read_text()
    assert "file:" not in page.read_text().split("</head>")[0].split("<style>")[0]
