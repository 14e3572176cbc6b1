"""The pages of a folder as one site: what is there is linked, and nothing else is.

Pages come from several commands, in any order. Each command writes its page and then goes over the
folder: a link to a page that is not there loses its address until the page is, and the index and
the leaderboards list the pages of the other commands.
"""

from __future__ import annotations

import re
from pathlib import Path

from dadnet.base.location import replace_file
from results.pages.rendering import PLOTLY, plotly_script

# Kinds of pages that the index and the leaderboards list, in this order.
_LISTED = {
    "compare": "comparison",
    "ablation": "ablation",
    "robustness": "robustness",
    "explanation": "explanation",
    "study": "search",
    "leaklab": "leak laboratory",
}
_LINK = re.compile(r'<a (?:data-)?href="([\w-]+\.html)(?=["#])')
_ABOUT = re.compile(r'<meta name="page" content="(\w+)" data-dataset="([^"]*)">')
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


def write_page(path: Path, text: str) -> list[Path]:
    """Write a page and, once for a folder, the script that its plots need; return what is there.

    The pages around it are not linked anew: see `link_pages`.
    """
    replace_file(path, text)
    script = path.parent / PLOTLY
    if f'src="{PLOTLY}"' not in text:
        return [path]
    if not script.exists() or script.read_text(encoding="utf-8") != plotly_script():
        replace_file(script, plotly_script())
    return [path, script]


def add_page(path: Path, text: str) -> None:
    """Write a page into a folder of pages, and link it."""
    write_page(path, text)
    link_pages(path.parent)


def link_pages(folder: Path) -> None:
    """Go over our pages in a folder: list them, and let every link lead to a page that is there.

    The same pages give the same bytes.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.html"))}
    ours = {path: text for path, text in texts.items() if _ABOUT.search(text)}
    names = {path.name for path in texts}

    def link(found: re.Match[str]) -> str:
        return f'<a {"" if found[1] in names else "data-"}href="{found[1]}'

    for path, text in ours.items():
        about = _ABOUT.search(text)
        assert about is not None
        listed = _list(ours, about[2]) if about[1] in ("index", "dataset") else ""
        before, mark, rest = text.partition("<!--pages-->")
        new = before + mark + listed + rest[rest.find("<!--/pages-->") :] if mark else text
        new = _LINK.sub(link, new)
        if new != text:
            replace_file(path, new)


def _list(pages: dict[Path, str], dataset: str) -> str:
    """Return the list of pages of a dataset as HTML, or of all for ""; titles are escaped there."""
    rows = []
    for path, text in pages.items():
        about, title = _ABOUT.search(text), _TITLE.search(text)
        if about is None or title is None or about[1] not in _LISTED:
            continue
        if not dataset or about[2] in ("", dataset):
            rows.append((list(_LISTED).index(about[1]), path.name, title[1], about[1]))
    if not rows:
        return ""
    items = "".join(
        f'<li><a href="{name}{"#looks" if kind == "explanation" else ""}">{title}</a> '
        f'<span class="sub">{_LISTED[kind]}</span></li>\n'
        for _, name, title, kind in sorted(rows)
    )
    head = '<section aria-labelledby="pages"><h2 id="pages">More pages</h2>'
    return f'\n{head}\n<ul class="pages">\n{items}</ul></section>\n'
