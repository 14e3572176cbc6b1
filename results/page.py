"""The board as self-contained HTML pages, one per dataset and an index.

A page needs no network, no server and no clock: style and script are inlined, and a content
security policy admits exactly these two by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dadnet.errors import DadnetError
from results.columns import COLUMNS, UNKNOWN, score_text, selection_text
from results.export import to_csv, to_json, to_latex, to_markdown
from results.rows import MOST_ROWS, Board, Tally
from results.resampling import CONFIDENCE, NUM_RESAMPLES

# Rows of a group with confusion matrix and subjects on the page itself.
MOST_DETAILS = 20
_TEMPLATES = Path(__file__).parent / "templates"
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
# suffix of the file, title of the link, maker of the text
_EXPORTS: dict[str, tuple[str, str, Callable[[Board], str]]] = {
    "csv": ("csv", "CSV", to_csv),
    "json": ("json", "JSON", to_json),
    "markdown": ("md", "Markdown", to_markdown),
    "latex": ("tex", "LaTeX", to_latex),
}
FORMATS = ("html", *_EXPORTS)


def write_site(board: Board, out: str | Path, formats: Sequence[str] = FORMATS) -> tuple[Path, ...]:
    """Write the files of every dataset, and the index of the pages.

    Args:
        board: what to show.
        out: folder for the files; it is made if absent, and files of the same name are replaced.
        formats: some of `FORMATS`.

    Returns:
        The paths written, the index first if there is one.

    Raises:
        DadnetError: on an unknown format, or none.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise DadnetError(f"expected some of {', '.join(FORMATS)} as formats, got: {formats}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, str] = {}
    if "html" in formats:
        texts["index.html"] = render_index(board)
    for dataset in board.datasets:
        part = board.of_dataset(dataset)
        if "html" in formats:
            texts[f"{page_name(dataset)}.html"] = render_dataset(part, formats)
        for name in (name for name in _EXPORTS if name in formats):
            suffix, _, make = _EXPORTS[name]
            texts[f"{page_name(dataset)}.{suffix}"] = make(part)
    for file, text in texts.items():
        _replace(folder / file, text)
    return tuple(folder / file for file in texts)


def render_dataset(board: Board, formats: Sequence[str] = ("html",)) -> str:
    """Return the page of a dataset.

    Args:
        board: of one dataset (see `Board.of_dataset`).
        formats: the exports that will lie beside it are linked.

    Raises:
        DadnetError: if the board has not exactly one dataset.
    """
    if len(board.datasets) != 1:
        raise DadnetError(f"expected the board of one dataset, got: {len(board.datasets)}")
    dataset = board.datasets[0]
    links = [
        (f"{page_name(dataset)}.{suffix}", title)
        for name, (suffix, title, _) in _EXPORTS.items()
        if name in formats
    ]
    return _render("dataset.html.j2", board=board, dataset=dataset, links=links)


def render_index(board: Board) -> str:
    """Return the page that lists the datasets."""
    return _render("index.html.j2", board=board)


def page_name(dataset: str) -> str:
    """Return the file name of a dataset's page without suffix, safe in paths and links.

    >>> page_name("casme2")
    'casme2'
    >>> page_name("a/b")
    'a-b-c14cddc0'
    """
    if _PLAIN_NAME.fullmatch(dataset) and dataset != "index":
        return dataset
    readable = re.sub(r"[^a-z0-9_-]+", "-", dataset.lower()).strip("-")[:60] or "dataset"
    return f"{readable}-{hashlib.sha256(dataset.encode()).hexdigest()[:8]}"


def _render(template: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        level=_level, share=_share, page_name=page_name, selection=selection_text
    )
    environment.globals.update(
        columns=[column for column in COLUMNS if column.shown],
        most_rows=MOST_ROWS,
        most_details=MOST_DETAILS,
        unknown=UNKNOWN,
        score_text=score_text,
        tally_text=_tally_text,
        confidence=f"{100 * CONFIDENCE:.0f}\N{NO-BREAK SPACE}%",
        num_resamples=f"{NUM_RESAMPLES:,}",
    )
    style, script = (
        (_TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "page.js")
    )
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(
        **values, style=Markup(style), script=Markup(script), policy=policy
    )


def _source(text: str) -> str:
    """Return the content security policy's source expression of an inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _level(share: float | None) -> int:
    """Return the step of a share on the colour scale, 0 to 10; 0 where it is undefined."""
    return 0 if share is None else int(share * 10 + 0.5)


def _tally_text(tally: Tally) -> str:
    if tally.right is None:
        return f"{tally.subject}: not finished"
    return f"{tally.subject}: {tally.right} of {tally.total} right"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(text.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
