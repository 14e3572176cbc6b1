import re
from html.parser import HTMLParser

import pytest

from dadnet.base.errors import DadnetError
from results.leaderboard.ranking import leaderboard
from results.pages.rendering import page_name
from results.pages.site import render_dataset, write_site

GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}
POOR = {"a": ["n>p", "p>n"], "b": ["s>s", "n>n"], "c": ["p>n", "s>n"]}
EVIL = "<script>alert(1)</script>"
VOID = {"meta", "circle", "path", "wbr", "link", "br", "img", "input", "col", "hr"}


class Reader(HTMLParser):
    """Collects the tags, the addresses and the text, and checks that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.addresses += [value for name, value in attrs if name in ("href", "src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_files_of_a_site(ledger, fill, tmp_path):
    fill(GOOD, dataset="casme2")
    fill(GOOD, dataset="SAMM long")
    paths = write_site(leaderboard(ledger), tmp_path / "site")
    name = page_name("SAMM long")
    assert re.fullmatch(r"samm-long-[0-9a-f]{8}", name)
    expected = {f"{n}.{s}" for n in ("casme2", name) for s in ("html", "csv", "json", "md", "tex")}
    assert {path.name for path in paths} == expected | {"index.html"}
    assert {path.name for path in (tmp_path / "site").iterdir()} == expected | {"index.html"}
    assert paths[0].name == "index.html"
    index = Reader(paths[0].read_text())
    assert index.addresses == [f"{name}.html", "casme2.html"]


def test_only_the_formats_asked_for(ledger, fill, tmp_path):
    fill(GOOD, dataset="casme2")
    paths = write_site(leaderboard(ledger), tmp_path, ("csv",))
    assert [path.name for path in paths] == ["casme2.csv"]
    page = render_dataset(leaderboard(ledger), ("html", "json"))
    assert "casme2.json" in page
    assert "casme2.csv" not in page
    for formats in (("pdf",), (), ("csv", "")):
        with pytest.raises(DadnetError, match="html, csv, json, markdown"):
            write_site(leaderboard(ledger), tmp_path, formats)


def test_same_ledger_same_bytes(ledger, fill, random_table, tmp_path):
    fill(random_table(9, 0.7, 1))
    fill(random_table(9, 0.5, 2), method="another", without=["synthetic/sub03"])
    first = write_site(leaderboard(ledger), tmp_path / "one")
    again = write_site(leaderboard(ledger.root), tmp_path / "two")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_pages_need_nothing_from_outside(ledger, fill, tmp_path):
    fill(GOOD)
    for path in write_site(leaderboard(ledger), tmp_path, ("html",)):
        page = Reader(path.read_text())
        assert not set(page.tags) & {"link", "img", "iframe", "object", "embed", "base"}
        assert page.tags.count("script") == page.tags.count("style") == 1
        # style attributes and handlers would need a laxer policy than two hashes
        assert not [name for name in page.attributes if name == "style" or name.startswith("on")]
        assert all(re.fullmatch(r"#row-[0-9a-f]{16}|[\w-]+\.\w+", to) for to in page.addresses)
        text = path.read_text()
        assert "http://" not in text
        assert "https://" not in text
        assert "default-src &#39;none&#39;" in text
        assert "unsafe" not in text


def test_all_names_are_escaped(ledger, fill, tmp_path):
    table = {f"{EVIL}/<b>": ["n>n"], '"><img src=x>': ["s>p", "p>p"]}
    fill(
        table,
        dataset=EVIL,
        method=EVIL,
        protocol="<u>",
        class_set="'\"><u>",
        data_digest="<u>{{ 7*7 }}",
        without=['"><img src=x>'],
    )
    fill(
        {"s": ["<><", "p>p"]}, dataset=EVIL, method="{{ 7*7 }}", classes=("<h1>x</h1>", "positive")
    )
    for path in write_site(leaderboard(ledger), tmp_path):
        assert re.fullmatch(r"(index|script-alert-1-script-[0-9a-f]{8})\.\w+", path.name)
        if path.suffix == ".html":
            text = path.read_text()
            assert EVIL not in text
            page = Reader(text)
            assert page.tags.count("script") == 1
            assert page.tags.count("h1") == 1
            assert not set(page.tags) & {"img", "u"}
            assert "49" not in re.sub(r"[0-9a-f]{8,}", "", text.split("</style>")[1])
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        if path.suffix == ".md":
            assert EVIL not in path.read_text()


def test_page_shows_figures_counts_subjects_and_states(ledger, fill):
    fill(GOOD, method="honest")
    fill(GOOD, method="peeking", selection="oracle")
    fill(POOR, method="half", without=["c"])
    text = render_dataset(leaderboard(ledger))
    Reader(text)
    for part in (
        'class="badge test-peeking">test-peeking',
        'class="badge incomplete">incomplete',
        "2 of 3 folds are finished",
        'title="c: not finished"',
        'aria-label="c: 1 of 2 right"',
        ">0.822</span>",
        'aria-label="0.822, interval ',
        "<b>2</b><span>100 %</span>",
        "How to read this page",
    ):
        assert part in text, part
    assert text.count("<details") == 3
    assert len(re.findall(r"<details[^>]* open", text)) == 1
    rows = re.findall(r'<tr role="row" class="([\w-]+)"', text)
    assert rows == ["ranked", "test-peeking", "incomplete"]
    assert text.count("<tbody role") == 2  # sorted each by itself


def test_without_a_ranked_row_the_index_says_so(ledger, fill, tmp_path):
    fill(GOOD, without=["c"])
    index, *_ = write_site(leaderboard(ledger), tmp_path, ("html",))
    assert "No ranked row yet" in index.read_text()


def test_a_note_says_when_rows_score_other_clips(ledger, fill):
    fill(GOOD, method="one")
    assert "compare them with care" not in render_dataset(leaderboard(ledger))
    fill({"a": ["n>n"], "b": ["p>s"]}, method="two")
    assert "compare them with care" in render_dataset(leaderboard(ledger))


def test_a_page_is_of_one_dataset(ledger, fill):
    fill(GOOD, dataset="one")
    fill(GOOD, dataset="two")
    with pytest.raises(DadnetError, match="one dataset, got: 2"):
        render_dataset(leaderboard(ledger))


def test_page_names_are_safe_and_differ():
    names = ["casme2", "CASME2", "casme 2", "casme/2", "index", "..", "", "光流", "样本", "x" * 300]
    pages = [page_name(name) for name in names]
    assert pages[0] == "casme2"
    assert len(set(pages)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", page) for page in pages)
    assert "index" not in pages
