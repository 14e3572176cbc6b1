"""Make a flow store from face frames: `python -m orchestration.ingest --dataset casme2 --root DIR`.

Ray Data maps chunks of clips to optical flow on all cores. A finished chunk is one file in
`STORE/.partial`, so that an interrupted ingest goes on where it was. At the end the chunks become
one Parquet file, sorted by subject, and `card.json` says what went in and what was rejected.
"""

import json
import logging
import math
import pickle
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dadnet.base import cli
from dadnet.config.ingest import INGEST, IngestFlags

if __name__ == "__main__":
    INGEST.parse_first(__doc__)

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from dadnet.base.digests import content_digest, file_digest
from dadnet.base.errors import DadnetError, StorageError, grouped
from dadnet.base.location import Location, is_remote
from dadnet.datasets.apex import SEARCHED
from dadnet.datasets.index import ClipIndex, Rejected
from dadnet.datasets.subjects import COMPOSITES
from dadnet.flow.clip import FlowOptions
from dadnet.flow.faces import load_landmarker
from dadnet.flow.request import flow_options, read_index, with_points
from dadnet.flow.store import CARD, FLOW_FILE, publish_store, set_store_aside, verify_store
from orchestration.flows.chunk import Chunk
from orchestration.flows.chunks import finish_store, make_chunk
from orchestration.flows.preview import PREVIEW, preview_store, publish_sheets

CHUNK_CLIPS = 8
# Less work than this, in .npy flows, is done in this process: Ray takes about 10 s to start.
NUM_LISTED = 20  # rejected clips that are shown where there are too many
LITTLE_WORK = 200
# A clip of frames against a .npy flow, in seconds of one core at 224 pixels (OpenCV 4).
_UNITS = {"tvl1": 150, "dis": 5, "farneback": 6}
_SEARCH = 20  # frames of which the apex is looked for


def ingest(flags: IngestFlags, console: Console) -> int:
    """Make the stores, or continue them, or report that they are complete.

    Returns:
        Exit status 0.

    Raises:
        DadnetError: if the input cannot be used or too many clips are rejected.
    """
    index = read_index(flags)
    options = flow_options(flags, index.clips, _align(flags))
    datasets = index.by_dataset().items()
    parts = {name: with_points(part, flags.landmarks) for name, part in datasets}
    name = flags.dataset or "+".join(parts)
    if flags.archive is not None and flags.dataset is None:
        name = next((known for known, sets in COMPOSITES.items() if sets == tuple(parts)), name)
    out = flags.out or Path("flows") / name
    local = Path("flows") / out.name if is_remote(out) else Path(str(out))
    if not (local / CARD).exists():  # before hours of work
        _check_rejected(
            [r for p in parts.values() for r in p.rejected], flags.max_rejected, console
        )
    earlier: tuple[Rejected, ...] = ()
    for dataset, part in parts.items():
        several = len(parts) > 1
        store = local / dataset if several else local
        composite = name if several else ""
        earlier += _ingest_one(flags, part, store, options, console, composite, earlier)
        if is_remote(out):
            target = out / dataset if several else out
            if (target / CARD).exists():  # a damaged copy is copied again
                _sound_card(target, console)
            new = publish_store(store, target)
            console.print(f"{store} {'was copied to' if new else 'is also in'} {target}")
    if len(parts) > 1:
        flows = ",".join(f"{out / dataset}" for dataset in parts) if is_remote(out) else out
        console.print(
            f"{len(parts)} datasets: run them together by --dataset {name} --protocol cde "
            f"--flows {flows}",
            markup=False,
        )
    return cli.DONE


def _ingest_one(
    flags: IngestFlags,
    index: ClipIndex,
    store: Path,
    options: FlowOptions,
    console: Console,
    composite: str,
    earlier: Sequence[Rejected],
) -> tuple[Rejected, ...]:
    """Make the store of one dataset, which may be a part of a composite.

    Returns:
        The rejected clips; `earlier` has those of the other datasets.
    """
    request = request_digest(index, options, flags.normalisation)
    partial = store / ".partial" / request
    model = flags.landmark_model.absolute() if flags.landmark_model else None
    chunks = [
        replace(chunk, landmark_model=model, preview=flags.preview)
        for chunk in make_chunks(index.clips, partial, options)
    ]
    if (store / CARD).exists() and _already_there(store, request, console):
        if flags.preview and not (store / PREVIEW).exists():
            preview_store(store, chunks, console)
        return index.rejected
    partial.mkdir(parents=True, exist_ok=True)
    waiting = [chunk for chunk in chunks if not chunk.finished]
    waiting.sort(key=lambda chunk: -len(chunk.rows))  # the longest first: no core ends late
    if len(waiting) < len(chunks):
        console.print(f"going on: {len(chunks) - len(waiting)} of {len(chunks)} chunks are there")
    started = time.monotonic()
    _compute(waiting, flags, console)
    if waiting:
        seconds = time.monotonic() - started
        console.print(f"{sum(len(c.rows) for c in waiting) / seconds:.1f} clips per second")
    rejected = (*index.rejected, *(r for chunk in chunks for r in chunk.rejected()))
    _check_rejected((*earlier, *rejected), flags.max_rejected, console)
    if flags.preview:
        publish_sheets(store, chunks, rejected, console)
    card = finish_store(
        store,
        chunks,
        rejected,
        options,
        index=index,
        normalisation=flags.normalisation,
        request=request,
        composite=composite,
    )
    shutil.rmtree(store / ".partial")
    _report(card, store, console)
    return rejected


def _align(flags: IngestFlags) -> str:
    """The landmarks by their content, which is a part of the flows' identity."""
    if flags.landmarks is not None:
        return f"points:{file_digest(flags.landmarks)}"
    if flags.landmark_model is not None:
        load_landmarker(flags.landmark_model)  # a missing file is reported before hours of work
        return f"model:{file_digest(flags.landmark_model)}"
    return "none"


def request_digest(index: ClipIndex, options: FlowOptions, normalisation: str) -> str:
    """Digest of what is requested: clips, labels and parameters, but no paths."""
    left_out = ["onset_path", "apex_path", "flow_path", "points"]
    clips = index.clips.drop(columns=left_out, errors="ignore").astype(str).to_numpy().tolist()
    request = {"clips": clips, "options": options.to_json(), "normalisation": normalisation}
    return content_digest(json.dumps(request, sort_keys=True))


def make_chunks(clips: pd.DataFrame, partial: Path, options: FlowOptions) -> list[Chunk]:
    """Cut the clips, sorted by subject and id, into chunks of one subject each."""
    clips = clips.sort_values(["subject", "clip_id"], kind="stable")
    chunks: list[Chunk] = []
    for _, group in clips.groupby("subject", sort=True):
        rows = [{str(k): v for k, v in row.items()} for row in group.to_dict("records")]
        for start in range(0, len(rows), CHUNK_CLIPS):
            path = partial / f"{len(chunks):06d}.parquet"
            chunks.append(Chunk(path, rows[start : start + CHUNK_CLIPS], options))
    return chunks


def _compute(chunks: list[Chunk], flags: IngestFlags, console: Console) -> None:
    if not chunks:
        return
    clips = sum(len(chunk.rows) for chunk in chunks)
    here = flags.flow_backend == "torch" or flags.workers == 0
    here = here or (flags.workers is None and work_of(chunks) < LITTLE_WORK)
    columns = (TextColumn("flow"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("flow", total=clips)
        done = map(make_chunk, chunks) if here else _on_ray(chunks, flags.workers, flags.verbose)
        for number in done:
            bar.advance(task, number)


def work_of(chunks: Sequence[Chunk]) -> float:
    """The work of chunks, in .npy flows."""
    work = 0.0
    for chunk in chunks:
        if chunk.landmark_model is not None:  # a network per frame
            return math.inf
        frames = _UNITS[chunk.options.method] * (chunk.options.size / 224) ** 2
        for row in chunk.rows:
            searched = _SEARCH if row["apex"] == SEARCHED else 1
            work += 1 if row["flow_path"] else max(1, frames) * searched
    return work


def _on_ray(chunks: list[Chunk], workers: int | None, verbose: bool) -> Iterator[int]:
    import ray  # only when needed

    from orchestration.workers.connection import connect

    connect(workers or 1)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if not verbose:  # its import has given this logger a level; the progress bar is ours
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
    dataset = ray.data.from_items(items).repartition(len(chunks))
    for row in dataset.map(_map_chunk, concurrency=workers).iter_rows():
        yield row["clips"]


def _map_chunk(row: dict[str, Any]) -> dict[str, Any]:
    return {"clips": make_chunk(pickle.loads(row["chunk"]))}


def _check_rejected(rejected: Sequence[Rejected], allowed: int, console: Console) -> None:
    """Refuse too many rejected clips; the first ones are listed, since no card is written."""
    counted = [r for r in rejected if not r.expected]
    if len(counted) <= allowed:
        return
    for row in counted[:NUM_LISTED]:
        console.print(f"  rejected {row.clip_id}: {row.reason}", markup=False)
    if len(counted) > NUM_LISTED:
        console.print(f"  and {len(counted) - NUM_LISTED} more")
    text = grouped((r.clip_id, r.reason) for r in counted)
    raise DadnetError(f"{len(counted)} clips rejected, --max-rejected allows {allowed}: {text}")


def _sound_card(store: Location, console: Console) -> dict[str, Any] | None:
    """Return the card of a store that has one; a damaged store is set aside, and None returned."""
    try:
        return verify_store(store)
    except StorageError:
        raise
    except DadnetError as error:
        set_store_aside(store)
        console.print(
            f"warning: {error}; card and flows are set aside as {CARD}.damaged and "
            f"{FLOW_FILE}.damaged, the store is made again",
            markup=False,
        )
        return None


def _already_there(store: Path, request: str, console: Console) -> bool:
    """Whether the complete store is the one that is asked for; a damaged one is set aside.

    Raises:
        DadnetError: if it is another one.
    """
    card = _sound_card(store, console)
    if card is None:
        return False
    if card.get("request") != request:
        raise DadnetError(
            f"out: {store} holds another flow store (other clips, labels or parameters); "
            "expected a new folder, or remove it first"
        )
    console.print(f"{store} is complete: {card['counts']['clips']} clips, digest {card['digest']}")
    return True


def _report(card: dict[str, Any], store: Path, console: Console) -> None:
    counts = card["counts"]
    console.print(
        f"{store}: {counts['clips']} clips of {counts['subjects']} subjects, "
        f"{len(card['rejected'])} rejected, digest {card['digest']}"
    )
    source = card.get("source", {})
    for correction in source.get("corrections", []):
        console.print(f"  corrected {correction}", markup=False)
    for note in source.get("notes", []):
        console.print(f"  note: {note}", markup=False)
    for row in card["rejected"]:
        word = "left out" if row.get("expected") else "rejected"
        console.print(f"  {word} {row['clip_id']}: {row['reason']}", markup=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return INGEST.run(lambda flags: ingest(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
