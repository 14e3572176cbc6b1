"""Flow of one chunk of clips, the unit of work of the ingest, and the joining of chunks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from dadnet.base.errors import DadnetError
from dadnet.datasets.index import ClipIndex, Rejected
from dadnet.flow.clip import FlowOptions
from dadnet.flow.compute import TVL1_PARAMETERS, TVL1_TORCH, to_half
from dadnet.flow.store import (
    FLOW_FILE,
    META_COLUMNS,
    flow_digest,
    flow_table,
    read_flow_file,
    store_digest,
    write_card,
    write_flow_file,
)
from orchestration.flows.batched import AGAINST_OPENCV, clip_maker
from orchestration.flows.chunk import Chunk
from orchestration.flows.preview import clip_picture, write_sheet


def make_chunk(chunk: Chunk) -> int:
    """Compute and write the flows of a chunk.

    Returns:
        Number of clips that were worked on, rejected ones included.
    """
    cv2.setNumThreads(1)  # the parallelism is over chunks
    # A frame that cannot be decoded is reported once, by us.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    make = clip_maker(chunk)
    flows, rows, rejected, pictures = [], [], [], []
    notes: Counter[str] = Counter()
    for row in chunk.rows:
        try:
            made = make(row)
            flow = to_half(made.flow)
        except DadnetError as error:
            rejected.append({"clip_id": row["clip_id"], "reason": str(error)})
            continue
        notes.update(made.notes)
        flows.append(flow)
        rows.append({**row, "apex": made.apex, "flow_digest": flow_digest(flow)})
        if chunk.preview:
            pictures.append(clip_picture(rows[-1], made))
    for stale in (chunk.path, chunk.sheet_path):
        stale.unlink(missing_ok=True)
    if rows:
        clips = pd.DataFrame(rows)[META_COLUMNS]
        write_flow_file(chunk.path, [flow_table(clips, np.stack(flows))])
    if pictures:
        write_sheet(chunk.sheet_path, pictures)
    chunk.finish(rejected, notes)
    return len(chunk.rows)


def finish_store(
    store: Path,
    chunks: list[Chunk],
    rejected: Sequence[Rejected],
    options: FlowOptions,
    *,
    index: ClipIndex,
    normalisation: str,
    request: str,
    composite: str = "",
) -> dict[str, Any]:
    """Join the chunks into one file, one row group per subject, then write the card.

    Args:
        store: folder of the store.
        chunks: all chunks, finished, those of one subject together.
        rejected: every clip that was left out.
        options: how flows were made.
        index: what was read of the dataset; its files, corrections and notes go into the card.
        normalisation: what precomputed flows were normalised on.
        request: digest of what was asked for.
        composite: name of the datasets together that this one was made with, or "".

    Returns:
        The card.

    Raises:
        DadnetError: if every clip was rejected.
    """
    written: list[pd.DataFrame] = []

    def tables() -> Iterator[Any]:
        for _, group in groupby(chunks, key=lambda chunk: chunk.rows[0]["subject"]):
            parts = [read_flow_file(chunk.path) for chunk in group if chunk.path.exists()]
            if parts:
                clips = pd.concat([clips for clips, _ in parts], ignore_index=True)
                written.append(clips)
                yield flow_table(clips, np.concatenate([flows for _, flows in parts]))

    write_flow_file(store / FLOW_FILE, tables())
    clips = pd.concat(written, ignore_index=True)
    counted: Counter[str] = sum((chunk.notes() for chunk in chunks), Counter())
    notes = [f"{n} clip{'s' * (n != 1)}: {note}" for note, n in sorted(counted.items())]
    card = _card(clips, index, options, normalisation)
    card["source"]["notes"] += notes
    card |= {"request": request, "rejected": [asdict(r) for r in rejected]}
    if composite:
        card["composite"] = composite
    write_card(store, card)
    return card


def _card(
    clips: pd.DataFrame, index: ClipIndex, options: FlowOptions, normalisation: str
) -> dict[str, Any]:
    return {
        "schema": 1,
        "digest": store_digest(clips, normalisation),
        "files": [FLOW_FILE],
        "columns": [*META_COLUMNS, "flow"],
        "parameters": {
            **options.to_json(),
            "normalisation": normalisation,
            "tvl1": TVL1_PARAMETERS if options.method.startswith("tvl1") else None,
            "opencv": cv2.__version__,
            **({"against_opencv": AGAINST_OPENCV} if options.method == TVL1_TORCH else {}),
        },
        "datasets": sorted(set(clips["dataset"])),
        "counts": {
            "clips": len(clips),
            "subjects": int(clips["subject"].nunique()),
            "per_emotion": {str(k): int(v) for k, v in clips["emotion"].value_counts().items()},
            "per_subject": {str(k): int(v) for k, v in clips["subject"].value_counts().items()},
        },
        "source": {
            "files": list(index.files),
            "corrections": list(index.corrections),
            "notes": list(index.notes),
        },
    }
