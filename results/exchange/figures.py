"""Plots of finished pages as files: PNG, SVG or PDF, in the light colours of the page.

Drawn by kaleido (extra ``figures``) in a Chromium or Chrome of this machine, without a network and
with the plotly that the pages use.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dadnet.base.disk import read_regular
from dadnet.base.errors import DadnetError

FORMATS = ("png", "svg", "pdf")
# Width in pixels, and pixels of a PNG for each of them.
WIDTH, SCALE = 700, 3
_ISLAND = re.compile(r'<script type="application/json" id="plots">(.*?)</script>', re.DOTALL)
_FOREST = re.compile(r'<table class="forest" data-rows="([^"]*)"')
_COLOUR = re.compile(r"--([a-z]+): (#[0-9a-f]{6})\b")
_STYLE = re.compile(r"<style>\s*:root \{(.*?)\}", re.DOTALL)


def figures_of(page: str) -> dict[str, dict[str, Any]]:
    """Return the plotly figures of a page by name, in its light colours.

    Raises:
        DadnetError: if it is no page of ours.
    """
    style = _STYLE.search(page)
    if style is None:
        raise DadnetError("expected a page that this program wrote, got another file")
    colours = {f"--{name}": value for name, value in _COLOUR.findall(style[1])}
    island = _ISLAND.search(page)
    found: dict[str, Any] = {} if island is None else json.loads(island[1])
    for number, rows in enumerate(_FOREST.findall(page), start=1):
        found[f"forest-{number}"] = forest_figure(json.loads(html.unescape(rows)))
    return {name: _styled(_coloured(figure, colours), colours) for name, figure in found.items()}


def forest_figure(rows: Sequence[tuple[str, float, float, float]]) -> dict[str, Any]:
    """Return the forest plot of rows (name, low, value, high) as a plotly figure."""
    names, low, value, high = zip(*rows, strict=True)
    above = [end - middle for end, middle in zip(high, value, strict=True)]
    below = [middle - end for middle, end in zip(value, low, strict=True)]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    trace = {
        "type": "scatter", "mode": "markers", "x": value, "y": list(range(len(rows))),
        "error_x": {**bars, "thickness": 2, "width": 4, "color": "--accent"},
        "marker": {"color": "--accent", "size": 9, "symbol": "square"},
    }  # fmt: skip
    words = [html.escape(name, quote=False) for name in names]
    ticks = {"tickvals": list(range(len(rows))), "ticktext": words, "autorange": "reversed"}
    layout = {
        "height": 110 + 26 * len(rows),
        "xaxis": {"title": {"text": "UF1 and its interval"}},
        "yaxis": {**ticks, "automargin": True},
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
    }
    return {"data": [trace], "layout": layout}


def _coloured(value: Any, colours: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return colours.get(value, value)
    if isinstance(value, list):
        return [_coloured(item, colours) for item in value]
    if isinstance(value, Mapping):
        made = {key: _coloured(item, colours) for key, item in value.items()}
        filled = made.get("fillcolor")
        if isinstance(filled, str) and filled.startswith("#"):
            parts = [str(int(filled[start : start + 2], 16)) for start in (1, 3, 5)]
            made["fillcolor"] = f"rgba({','.join(parts)},0.2)"
        return made
    return value


def _styled(figure: dict[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    layout = dict(figure["layout"])
    axis = {"gridcolor": colours["--faint"], "zerolinecolor": colours["--faint"]}
    for name in ("xaxis", "yaxis"):
        layout[name] = {**axis, **layout.get(name, {})}
    square = (layout.get("meta") or {}).get("square")
    layout.update(width=WIDTH, height=WIDTH + 40 if square else layout.get("height", 300))
    layout.update(font={"size": 12, "color": colours["--ink"]}, paper_bgcolor="#ffffff")
    return {"data": figure["data"], "layout": {**layout, "plot_bgcolor": "#ffffff"}}


def write_figures(
    pages: Sequence[Path], out: Path, formats: Sequence[str], script: Path
) -> list[Path]:
    """Write every plot of some pages into a folder; return the files.

    Args:
        pages: HTML files that this program wrote.
        out: folder; a file is called PAGE-PLOT.FORMAT.
        formats: some of `FORMATS`.
        script: plotly's script.

    Raises:
        DadnetError: if a page cannot be used, none has a plot, kaleido is not installed, or the
            browser fails.
    """
    drawn: list[dict[str, Any]] = []
    for page in pages:
        try:
            found = figures_of(read_regular(page).decode())
        except (OSError, ValueError) as error:
            raise DadnetError(f"{page}: {error}") from error
        for name, figure in found.items():
            size = {"width": WIDTH, "height": figure["layout"]["height"]}
            for suffix in formats:
                opts = {"format": suffix, **size, "scale": SCALE if suffix == "png" else 1}
                path = out / f"{page.stem}-{name}.{suffix}"
                drawn.append({"fig": figure, "path": str(path), "opts": opts})
    if not drawn:
        raise DadnetError("pages: expected pages with plots, got none with any")
    out.mkdir(parents=True, exist_ok=True)
    asyncio.run(_draw(drawn, script))
    return [Path(item["path"]) for item in drawn]


async def _draw(drawn: Sequence[Mapping[str, Any]], script: Path) -> None:
    try:
        import kaleido
    except ImportError as error:
        raise DadnetError(
            "expected the package kaleido, which draws the files: pip install dadnet-loso[figures]"
        ) from error
    generator = kaleido.PageGenerator(plotly=script.absolute().as_uri(), mathjax=False)
    try:
        async with kaleido.Kaleido(page_generator=generator) as browser:
            await browser.write_fig_from_object(drawn, cancel_on_error=True)
    except Exception as error:  # of the browser: it has no base class of its own
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DadnetError(f"the browser could not draw the plots: {first[:200]}") from error
