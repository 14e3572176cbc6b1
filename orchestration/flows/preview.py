"""Contact sheets of a flow store: PNG pictures and a page that shows them."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import jinja2
from rich.console import Console

from dadnet.base.errors import DadnetError
from dadnet.base.location import replace_file
from dadnet.datasets.index import Rejected
from dadnet.flow.clip import ClipFlow, read_clip_frames
from dadnet.flow.picture import Colour, sheet, sheet_row, wheel
from dadnet.flow.store import load_flow_store

if TYPE_CHECKING:
    from orchestration.flows.chunk import Chunk

PREVIEW = "preview"

_PAGE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #111; background: #fff; }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top; }
img { border: 1px solid #ccc; max-width: 100%; }
table { border-collapse: collapse; } td, th { border: 1px solid #ccc; padding: .2rem .5rem;
text-align: left; } .key { border: 0; float: left; margin-right: 1rem; } h2 { clear: both; }
</style></head><body>
<h1>{{ title }}</h1>
<p style="min-height: 100px"><img class="key" src="wheel.png" alt="colour wheel" width="96">
Columns: onset, apex, flow as a colour (the wheel shows which way a colour points, white is no
motion), length of the flow. Look for: a face that is cut or off the middle, an apex like the onset,
a flow of one colour all over (the head moved), a flow at the border only.</p>
{% for s in sheets %}<figure><img loading="lazy" src="{{ s.file }}" alt="{{ s.clips|join(', ') }}">
<figcaption>{{ s.subject }}: {{ s.clips|length }} clips</figcaption></figure>
{% endfor %}
<h2>Not in the store: {{ rejected|length }}</h2>
{% if rejected %}<table><tr><th>clip</th><th>reason</th></tr>
{% for r in rejected %}<tr><td>{{ r.clip_id }}</td><td>{{ r.reason }}</td></tr>
{% endfor %}</table>{% endif %}
</body></html>
"""
)


def clip_picture(row: dict[str, Any], made: ClipFlow) -> Colour:
    """The row of a clip on its sheet."""
    frames = f"frames {row['onset']}, {made.apex}, {row['offset']}"
    units = f", AU {row['action_units']}" if row["action_units"] else ""
    detail = f"{row['emotion']}{units}, {frames}"
    return sheet_row(row["clip_id"], detail, made.flow, made.onset_image, made.apex_image)


def write_sheet(path: Path, pictures: list[Colour]) -> None:
    """Write one sheet atomically."""
    _write_png(path, sheet(pictures))


def publish_sheets(
    store: Path, chunks: Sequence["Chunk"], rejected: Sequence[Rejected], console: Console
) -> None:
    """Move the chunks' sheets to ``STORE/preview`` and write the page."""
    folder, temporary = store / PREVIEW, store / f".{PREVIEW}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    left_out = {r.clip_id for r in rejected}
    sheets: list[dict[str, Any]] = []
    for chunk in chunks:
        if not chunk.sheet_path.exists():  # every clip of it was rejected
            continue
        subject = str(chunk.rows[0]["subject"])
        name = f"{len(sheets):05d}-{quote(subject.replace('/', '-'), safe='')[:100]}.png"
        shutil.copy(chunk.sheet_path, temporary / name)
        clips = [r["clip_id"] for r in chunk.rows if r["clip_id"] not in left_out]
        sheets.append({"file": quote(name), "subject": subject, "clips": clips})
    _write_png(temporary / "wheel.png", wheel(192))
    page = _PAGE.render(title=f"Contact sheets: {store.name}", sheets=sheets, rejected=rejected)
    (temporary / "index.html").write_text(page, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    console.print(f"{len(sheets)} contact sheets: {folder / 'index.html'}", markup=False)


def preview_store(store: Path, chunks: Sequence["Chunk"], console: Console) -> None:
    """Make the contact sheets of a store that has none, from its flows and the frames."""
    loaded = load_flow_store(store)
    rows = {str(clip_id): k for k, clip_id in enumerate(loaded.clips["clip_id"])}
    rejected = [Rejected(**row) for row in loaded.card.get("rejected", [])]
    for chunk in chunks:
        chunk.path.parent.mkdir(parents=True, exist_ok=True)
        pictures = []
        for row in (r for r in chunk.rows if r["clip_id"] in rows):
            k = rows[row["clip_id"]]
            flow, apex = loaded.flows[k].astype("float32"), int(loaded.clips["apex"][k])
            if row["flow_path"]:
                made = ClipFlow(flow, apex)
            else:
                images = read_clip_frames(row, chunk.options, chunk.landmark_model)
                made = ClipFlow(flow, apex, *images[:2])
            pictures.append(clip_picture(row, made))
        if pictures:
            write_sheet(chunk.sheet_path, pictures)
    publish_sheets(store, chunks, rejected, console)
    shutil.rmtree(store / ".partial")


def _write_png(path: Path, picture: Colour) -> None:
    fine, encoded = cv2.imencode(".png", picture)
    if not fine:
        raise DadnetError(f"{path.name} cannot be encoded as PNG")
    replace_file(path, encoded.tobytes())
