"""Make a flow store from face frames: `python -m orchestration.ingest --dataset casme2 --root DIR`.

Ray Data maps chunks of clips to optical flow on all cores. A finished chunk is one file in
`STORE/.partial`, so that an interrupted ingest goes on where it was. At the end the chunks become
one Parquet file, sorted by subject, and `card.json` says what went in and what was rejected.
"""

import hashlib
import json
import logging
import pickle
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from dadnet.datasets import synthetic
from dadnet.datasets.class_sets import known_emotions
from dadnet.datasets.index import ClipIndex, Rejected, read_index_csv
from dadnet.datasets.layout import ApexRule, Options
from dadnet.datasets.registry import READERS, read_dataset
from dadnet.errors import DadnetError
from dadnet.flow_store import (
    CARD,
    read_card,
)
from orchestration import cli
from orchestration.flows import Chunk, FlowOptions, finish_store, make_chunk

CHUNK_CLIPS = 8


@dataclass(frozen=True, kw_only=True)
class IngestFlags:
    """Where the clips come from and how their flow is made."""

    dataset: str | None = None
    """casme2, casme3, casme3c, fourdme, dfme, samm, smic, ckplus, synthetic, synthetic-macro, or
    with --index the name to give to the dataset."""
    root: Path | None = None
    """Folder of the dataset in its official layout; default data/synthetic for synthetic."""
    annotation: Path | None = None
    """Annotation file; default: the only one found under --root."""
    frames: str = "auto"
    """Folder of the frames, relative to --root; auto looks for the official names."""
    index: Path | None = None
    """Own table instead: columns subject,label and either flow_path or onset_path,apex_path."""
    out: Path | None = None
    """Folder of the flow store; default flows/DATASET."""
    flow: Literal["tvl1", "dis", "farneback"] = "tvl1"
    """Optical flow method."""
    size: int = 224
    """Side of the stored flow in pixels."""
    crop: tuple[int, ...] = ()
    """Cut this box out of every frame first: left,top,width,height in pixels."""
    apex: ApexRule = "drop"
    """A clip whose apex is not annotated is rejected (drop), or the frame in the middle of onset
    and offset is taken (midpoint), or the one that moved most since the onset (flow-peak)."""
    flow_normalisation: Literal["none", "clip", "dataset"] = "none"
    """For --index with flow_path: what the given flows were normalised on. The audit refuses
    `dataset`, since test clips shaped it."""
    max_rejected: int = 0
    """Stop with exit status 2 if more clips than this are rejected; those that the dataset's
    authors leave out as well are not counted."""
    workers: int | None = None
    """Ray Data tasks at once; default all CPUs; 0: in this process, without Ray."""

    def __post_init__(self) -> None:
        if self.crop and (len(self.crop) != 4 or min(self.crop) < 0 or min(self.crop[2:]) < 1):
            raise DadnetError(f"crop: expected left,top,width,height in pixels, got {self.crop}")
        if self.size < 32:
            raise DadnetError(f"size: expected at least 32, got {self.size}")
        if self.max_rejected < 0:
            raise DadnetError(f"max_rejected: expected 0 or more, got {self.max_rejected}")
        if self.workers is not None and self.workers < 0:
            raise DadnetError(f"workers: expected 0 or more, got {self.workers}")


def ingest(flags: IngestFlags, console: Console) -> int:
    """Make the store, or go on with it, or find that it is there.

    Returns:
        Exit status 0.

    Raises:
        DadnetError: if the input cannot be used or too many clips are rejected.
    """
    index = read_index(flags)
    dataset = flags.dataset or str(index.clips["dataset"].iloc[0])
    store = flags.out or Path("flows") / dataset
    options = FlowOptions(flags.flow, flags.size, flags.crop or None)
    request = request_digest(index, options, flags.flow_normalisation)
    if (store / CARD).exists():
        return _already_there(store, request, console)
    _check_rejected(index.rejected, flags.max_rejected)  # before hours of work

    partial = store / ".partial" / request
    partial.mkdir(parents=True, exist_ok=True)
    chunks = make_chunks(index.clips, partial, options)
    waiting = [chunk for chunk in chunks if not chunk.finished]
    if len(waiting) < len(chunks):
        console.print(f"going on: {len(chunks) - len(waiting)} of {len(chunks)} chunks are there")
    _compute(waiting, sum(len(c.rows) for c in waiting), flags.workers, console)
    rejected = (*index.rejected, *(r for chunk in chunks for r in chunk.rejected()))
    _check_rejected(rejected, flags.max_rejected)
    card = finish_store(
        store, chunks, rejected, options, normalisation=flags.flow_normalisation, request=request
    )
    shutil.rmtree(store / ".partial")
    _report(card, store, console)
    return cli.DONE


def read_index(flags: IngestFlags) -> ClipIndex:
    """The index that the flags ask for.

    Raises:
        DadnetError: if the flags contradict each other or nothing usable is found.
    """
    if flags.index is not None:
        if flags.root is not None:
            raise DadnetError("expected --root or --index, got both")
        index = read_index_csv(flags.index, flags.dataset)
    elif flags.dataset is not None:
        root = flags.root
        if root is None and flags.dataset == "synthetic":
            root = Path("data") / "synthetic"
            synthetic.write_dataset(root)
        if root is None and flags.dataset in READERS:
            raise DadnetError(f"root: expected the folder of {flags.dataset}, got none")
        options = Options(flags.apex, flags.frames, flags.annotation)
        index = read_dataset(flags.dataset, root or Path(), options)
    else:
        raise DadnetError(
            f"expected --dataset NAME --root DIR or --index FILE.csv; datasets are "
            f"{', '.join(READERS)}"
        )
    index = _known_labels(index)
    if index.clips.empty:
        raise DadnetError(
            f"no clip can be used; {len(index.rejected)} rejected, the first: "
            + (f"{index.rejected[0].clip_id}: {index.rejected[0].reason}" if index.rejected else "")
        )
    return index


def _known_labels(index: ClipIndex) -> ClipIndex:
    """Reject the clips whose label no class set of their dataset knows."""
    known = {name: sorted(known_emotions(name)) for name in set(index.clips["dataset"])}
    named = zip(index.clips["dataset"], index.clips["emotion"], strict=True)
    good = np.array([emotion in known[dataset] for dataset, emotion in named], dtype=bool)
    unknown = tuple(
        Rejected(
            str(row["clip_id"]),
            f"unknown label '{row['emotion']}'; known are {', '.join(known[row['dataset']])}",
        )
        for row in index.clips[~good].to_dict("records")
    )
    clips = index.clips[good].reset_index(drop=True)
    return replace(index, clips=clips, rejected=(*index.rejected, *unknown))


def request_digest(index: ClipIndex, options: FlowOptions, normalisation: str) -> str:
    """What an ingest was asked for: clips, labels and parameters, but no paths."""
    clips = index.clips.drop(columns=["onset_path", "apex_path", "flow_path"])
    text = json.dumps(
        {
            "clips": clips.astype(str).to_numpy().tolist(),
            "options": asdict(options),
            "normalisation": normalisation,
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _compute(chunks: list[Chunk], clips: int, workers: int | None, console: Console) -> None:
    if not chunks:
        return
    columns = (TextColumn("flow"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("flow", total=clips)
        done = map(make_chunk, chunks) if workers == 0 else _on_ray(chunks, workers)
        for number in done:
            bar.advance(task, number)


def _on_ray(chunks: list[Chunk], workers: int | None) -> Iterator[int]:
    import ray  # only when needed

    from orchestration.group import connect

    connect(workers or 1)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # the progress bar is ours
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    items = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
    dataset = ray.data.from_items(items).repartition(len(chunks))
    for row in dataset.map(_map_chunk, concurrency=workers).iter_rows():
        yield row["clips"]


def _map_chunk(row: dict[str, Any]) -> dict[str, Any]:
    return {"clips": make_chunk(pickle.loads(row["chunk"]))}


def _check_rejected(rejected: Sequence[Rejected], allowed: int) -> None:
    counted = [r for r in rejected if not r.expected]
    if len(counted) <= allowed:
        return
    shown = "; ".join(f"{r.clip_id}: {r.reason}" for r in counted[:20])
    more = f"; and {len(counted) - 20} more" if len(counted) > 20 else ""
    raise DadnetError(
        f"{len(counted)} clips rejected, --max-rejected allows {allowed}: {shown}{more}"
    )


def _already_there(store: Path, request: str, console: Console) -> int:
    card = read_card(store)
    if card.get("request") != request:
        raise DadnetError(
            f"out: {store} holds another flow store (other clips, labels or parameters); "
            "expected a new folder, or remove it first"
        )
    console.print(f"{store} is complete: {card['counts']['clips']} clips, digest {card['digest']}")
    return cli.DONE


def _report(card: dict[str, Any], store: Path, console: Console) -> None:
    counts = card["counts"]
    console.print(
        f"{store}: {counts['clips']} clips of {counts['subjects']} subjects, "
        f"{len(card['rejected'])} rejected, digest {card['digest']}"
    )
    for row in card["rejected"]:
        console.print(f"  rejected {row['clip_id']}: {row['reason']}", markup=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; gives the exit status."""

    def command(words: Sequence[str]) -> int:
        flags = cli.parse(
            IngestFlags,
            words,
            prog="python -m orchestration.ingest",
            description=__doc__ or "",
        )
        return ingest(flags, cli.console())

    return cli.run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
