"""The flows of a chunk: clip by clip, or by TV-L1 in torch all at once."""

from collections.abc import Callable
from typing import Any

from dadnet.base.errors import DadnetError
from dadnet.flow.clip import ClipFlow, make_clip_flow, read_clip_frames
from dadnet.flow.compute import TVL1_TORCH, check_flow, check_frames, tvl1_of_pairs
from orchestration.flows.chunk import Chunk

# In the card of a store; tests/dadnet/flow/test_tvl1.py holds the number.
AGAINST_OPENCV = "median end-point error of at most 0.05 pixels on the synthetic set"
MOST_PAIRS = 64  # at once: about 1 GB of memory at 224 pixels


def clip_maker(chunk: Chunk) -> Callable[[dict[str, Any]], ClipFlow]:
    """What returns the flow of a row of the chunk, or raises why it has none (`DadnetError`)."""
    if chunk.options.method != TVL1_TORCH:
        return lambda row: make_clip_flow(row, chunk.options, chunk.landmark_model)
    made: dict[str, ClipFlow | DadnetError] = {}
    for start in range(0, len(chunk.rows), MOST_PAIRS):
        made |= _batch(chunk, chunk.rows[start : start + MOST_PAIRS])

    def make(row: dict[str, Any]) -> ClipFlow:
        found = made[row["clip_id"]]
        if isinstance(found, DadnetError):
            raise found
        return found

    return make


def _batch(chunk: Chunk, rows: list[dict[str, Any]]) -> dict[str, ClipFlow | DadnetError]:
    made: dict[str, ClipFlow | DadnetError] = {}
    read = {}
    for row in rows:
        try:
            if row["flow_path"]:
                made[row["clip_id"]] = make_clip_flow(row, chunk.options)
                continue
            onset, apex, number = read_clip_frames(row, chunk.options, chunk.landmark_model)
            check_frames(onset, apex)
            read[row["clip_id"]] = onset, apex, number
        except DadnetError as error:
            made[row["clip_id"]] = error
    flows = tvl1_of_pairs([(onset, apex) for onset, apex, _ in read.values()]) if read else ()
    for (name, (onset, apex, number)), flow in zip(read.items(), flows, strict=True):
        try:
            made[name] = ClipFlow(check_flow(flow), number, onset, apex)
        except DadnetError as error:
            made[name] = error
    return made
