"""Templates to pages: everything but plotly is inlined, and a policy admits just that.

A page needs no network, no server and no clock. Its content security policy admits the inlined
scripts by their hashes, and for plots the script beside it. Pages with plots allow styles in
general, which plotly sets as it draws.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dadnet.base.digests import content_digest
from dadnet.labels.tasks import text_of
from results.leaderboard import cells
from results.leaderboard.forest import make_forest
from results.leaderboard.rows import MOST_ROWS, Tally
from results.statistics.resampling import CONFIDENCE, NUM_RESAMPLES

# Plotly's script, once for all pages of a folder; its name changes with its text.
PLOTLY = "assets/plotly-basic-4.1.1.js"
# Rows of a group with confusion matrix and subjects on the page itself.
MOST_DETAILS = 20
_TEMPLATES = Path(__file__).parents[1] / "templates"
PLOTLY_FILE = _TEMPLATES / "plotly-basic.min.js"
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
# Names of other pages begin so.
_TAKEN = re.compile(r"index|leaklab|run-|compare-|study-|robustness-|ablation-")


def render(
    template: str,
    plots: Mapping[str, object] | None = None,
    *,
    kind: str | None = None,
    of: str = "",
    standalone: bool = False,
    **values: object,
) -> str:
    """Return a page.

    Args:
        template: a file in ``templates``.
        plots: plotly figures by name; the template places them with ``plot(name)``.
        kind: of the page, for the lists of pages; by default, the template's name.
        of: the dataset that it is about; "" for several.
        standalone: plotly is in the page itself, not in a file beside it (`PLOTLY`).
        values: what the template asks for.
    """
    drawn = {name: figure for name, figure in (plots or {}).items() if figure is not None}
    style, inlined = _text("style.css"), [_text("page.js")]
    if drawn:
        inlined += [plotly_script()] if standalone else []
        inlined += [_text("plots.js")]
    beside = bool(drawn) and not standalone
    allowed = " ".join(_source(text) for text in inlined)
    # A page that is opened as a file has no origin of its own in some browsers.
    files = " 'self' file:" if beside else ""
    styles = "'unsafe-inline'" if drawn else _source(style)
    policy = (
        f"default-src 'none'; style-src {styles}; script-src {allowed}{files}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            kind=kind or template.split(".")[0],
            of=of,
            style=Markup(style),
            scripts=[Markup(text) for text in inlined],
            script_beside=PLOTLY if beside else None,
            policy=policy,
            plots=_island(drawn) if drawn else None,
            drawn=frozenset(drawn),
        )
    )


def plotly_script() -> str:
    """Return the text of plotly's script, which draws the plots."""
    return _text(PLOTLY_FILE.name)


def page_name(dataset: str) -> str:
    """Return the file name of a dataset's page without suffix, safe in paths and links.

    >>> page_name("casme2")
    'casme2'
    >>> page_name("a/b")
    'a-b-c14cddc0'
    """
    if _PLAIN_NAME.fullmatch(dataset) and not _TAKEN.match(dataset):
        return dataset
    readable = re.sub(r"[^a-z0-9_-]+", "-", dataset.lower()).strip("-")[:60] or "dataset"
    return f"{readable}-{content_digest(dataset, 8)}"


def study_page_name(digest: str) -> str:
    """Return the file name of a study's page."""
    return f"study-{digest}.html"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        breakable=_breakable,
        uf1_name=cells.uf1_name,
        uar_name=cells.uar_name,
        names=text_of,
        level=_level,
        share=_share,
        page_name=page_name,
        selection=cells.selection_text,
        study_page=study_page_name,
        value=_value,
        forest=make_forest,
        signed=signed,
        plain_number=lambda value: f"{value:.3f}".replace("-", "\N{MINUS SIGN}"),
    )
    environment.globals.update(
        most_rows=MOST_ROWS,
        most_details=MOST_DETAILS,
        unknown=cells.UNKNOWN,
        score_text=cells.score_text,
        tally_text=_tally_text,
        confidence=f"{100 * CONFIDENCE:.0f}\N{NO-BREAK SPACE}%",
        num_resamples=f"{NUM_RESAMPLES:,}",
    )
    return environment


@lru_cache(maxsize=8)
def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _island(value: object) -> Markup:
    """Return JSON that may stand inside a script element whatever names it holds."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@lru_cache(maxsize=16)
def _source(text: str) -> str:
    """Return the content security policy's source expression of an inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _breakable(name: str) -> Markup:
    """Return a name that lines may break after its slashes."""
    return Markup("/<wbr>").join(name.split("/"))


def _value(value: object) -> str:
    """Return a parameter for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign, which is a true minus.

    >>> signed(-0.25, 2)
    '\N{MINUS SIGN}0.25'
    """
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _level(share: float | None) -> int:
    """Return the step of a share on the colour scale, 0 to 10; 0 where it is undefined."""
    return 0 if share is None else int(share * 10 + 0.5)


def _tally_text(tally: Tally) -> str:
    if tally.right is None:
        return f"{tally.subject}: not finished"
    return f"{tally.subject}: {tally.right} of {tally.total} right"
