"""The flow store: a folder of Parquet with one row per clip, and `card.json`.

The flow column is Arrow's fixed-shape tensor of float16: pyarrow, pandas and duckdb read the files
without this package. There is one row group per subject.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dadnet.base.digests import canonical_json, checksum, content_digest, file_checksum
from dadnet.base.disk import check_regular, free_memory, replacing
from dadnet.base.errors import DadnetError, StorageError, first_line
from dadnet.base.location import Location, is_remote, location, replace_file, stored, write_once
from dadnet.base.remote import RemotePath
from dadnet.config.checks import LARGEST_SIDE
from dadnet.datasets.card import CARD as CARD
from dadnet.datasets.card import read_card as read_card
from dadnet.datasets.index import FRAME_COLUMNS, INDEX_COLUMNS
from dadnet.flow.compute import resize_flow

# No byte-stream split: it saves a fifth, but duckdb cannot read it for float16.
_PARQUET = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["dataset", "subject"]}
FLOW_FILE = "flows-00000.parquet"
META_COLUMNS = [*(c for c in INDEX_COLUMNS if not c.endswith("_path")), "flow_digest"]

Flows = npt.NDArray[np.float16]


@dataclass(frozen=True)
class FlowStore:
    """A loaded store.

    Attributes:
        card: counts, rejected clips, parameters, digest.
        clips: one row per clip, columns `META_COLUMNS`, sorted by subject and clip.
        flows: shape (N, 2, H, W), float16, pixels; row i belongs to clip i.
    """

    card: Mapping[str, Any]
    clips: pd.DataFrame
    flows: Flows

    @property
    def digest(self) -> str:
        """Hash of clips, labels and flows: 16 hexadecimal digits."""
        return str(self.card["digest"])


def flow_digest(flow: Flows) -> str:
    """16 hexadecimal digits of the SHA-256 of a flow's float16 bytes."""
    return content_digest(np.ascontiguousarray(flow, dtype="<f2").tobytes())


def store_digest(clips: pd.DataFrame, normalisation: str) -> str:
    """Hash of a store's content: its clips with labels, parts and flows, in any order."""
    columns = ["clip_id", "subject", "emotion", "part", "flow_digest"]
    rows = sorted("\t".join(row) for row in clips[columns].astype(str).itertuples(index=False))
    text = json.dumps({"schema": 1, "normalisation": normalisation, "clips": rows})
    return content_digest(text)


def flow_table(clips: pd.DataFrame, flows: Flows) -> pa.Table:
    """Arrow table of clips (columns `META_COLUMNS`, N rows) and flows (N, 2, H, W), float16."""
    arrays = [
        pa.array(clips[c].to_numpy(), pa.int64())
        if c in FRAME_COLUMNS
        else pa.array(clips[c].astype(str).tolist(), pa.string())
        for c in META_COLUMNS
    ]
    tensor = pa.fixed_shape_tensor(pa.float16(), flows.shape[1:])
    values = pa.array(np.ascontiguousarray(flows).reshape(-1), pa.float16())
    storage = pa.FixedSizeListArray.from_arrays(values, int(np.prod(flows.shape[1:])))
    arrays.append(pa.ExtensionArray.from_storage(tensor, storage))
    return pa.table(arrays, names=[*META_COLUMNS, "flow"])


def write_flow_file(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write one Parquet file atomically, with one row group per table of :func:`flow_table`."""
    writer: pq.ParquetWriter | None = None
    with replacing(path) as temporary:
        for table in tables:
            writer = writer or pq.ParquetWriter(temporary, table.schema, **_PARQUET)
            writer.write_table(table)
        if writer is None:
            raise DadnetError(f"{path.name}: expected at least one clip, got none")
        writer.close()


def write_card(store: Path, card: Mapping[str, Any]) -> None:
    """Write `card.json`, which makes the store complete, atomically.

    It gets the checksums of the store's files and its own.
    """
    card = {**card, "checksums": {name: file_checksum(store / name) for name in card["files"]}}
    card["checksum"] = checksum(canonical_json(card))
    replace_file(store / CARD, json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False))


def verify_store(store: Location) -> dict[str, Any]:
    """The card of a complete store whose files are those that were written, byte for byte.

    A store of an older version has no checksums; its flows and labels are verified by its digests.

    Raises:
        DadnetError: if there is no complete store, or it is damaged.
    """
    card = read_card(store)
    if not {"checksum", "checksums"} & card.keys():
        load_flow_store(store)
        return card
    plain = {name: value for name, value in card.items() if name != "checksum"}
    if checksum(canonical_json(plain)) != card.get("checksum"):
        raise DadnetError(f"flow store: the checksum of {store / CARD} does not match its content")
    _check_names(store, card["files"])
    for name in card["files"]:
        if _checksum_of(store / name) != card["checksums"][name]:
            raise DadnetError(f"flow store: the checksum of {store / name} does not match")
    return card


def _checksum_of(path: Location) -> str:
    if not is_remote(path):
        return file_checksum(path)
    if (data := path.read()) is None:
        raise DadnetError(f"flow store: expected {path}, found none")
    return checksum(data)


def set_store_aside(store: Location) -> None:
    """Rename card and flows of a damaged store, so that it can be made again."""
    for name in (CARD, FLOW_FILE):
        stored(store / name).set_aside(store / f"{name}.damaged")


def read_flow_file(path: Location) -> tuple[pd.DataFrame, Flows]:
    """Clips and flows of one Parquet file.

    Returns:
        Table with columns `META_COLUMNS`, and flows of shape (N, 2, H, W).

    Raises:
        DadnetError: if the file is damaged or not a flow file.
    """
    try:
        with pq.ParquetFile(_source(path)) as file:
            # One row group after the other into one array, so that the set is in memory once.
            kind = _flow_type(file)
            flows = np.empty((file.metadata.num_rows, *kind.shape), np.float16)
            tables, start = [], 0
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                for chunk in table["flow"].chunks:
                    flows[start : start + len(chunk)] = chunk.to_numpy_ndarray()
                    start += len(chunk)
                tables.append(table.select(META_COLUMNS))
        table = pa.concat_tables(tables)
        _check_columns(table)
        return table.to_pandas(), flows
    except StorageError:
        raise
    except (OSError, KeyError, ValueError, IndexError, pa.ArrowException) as error:
        raise DadnetError(f"flow store: {path.name} cannot be read: {first_line(error)}") from error


def _source(path: Location) -> Any:
    if is_remote(path):
        return pa.BufferReader(path.read_bytes())
    check_regular(path, 2**62)
    return path


def _flow_type(file: pq.ParquetFile) -> Any:
    """The type of the flow column, if it is that of :func:`flow_table`."""
    kind = file.schema_arrow.field("flow").type
    shape = tuple(getattr(kind, "shape", ()))
    square = len(shape) == 3 and shape[0] == 2 and all(0 < n <= LARGEST_SIDE for n in shape[1:])
    if not square or kind.value_type != pa.float16():
        raise DadnetError(f"its flows have the type {kind}; expected float16 of (2, H, W)")
    return kind


def _check_columns(table: pa.Table) -> None:
    table.validate(full=True)  # whether the texts are UTF-8
    for name in META_COLUMNS:
        column, kind = table[name], pa.int64() if name in FRAME_COLUMNS else pa.string()
        if column.null_count or column.type != kind:
            raise DadnetError(
                f"its column {name} is {column.type} with {column.null_count} nulls; expected "
                f"{kind} without"
            )


def _check_memory(store: Location, names: Sequence[str]) -> None:
    """Refuse a store that is larger than the free memory, before hours of swapping."""
    free = free_memory()
    needed = 0
    if free is None:
        return
    for name in names:
        path = store / name
        try:
            if is_remote(path):
                needed += path.size()  # compressed: a lower bound, without reading it twice
                continue
            with pq.ParquetFile(_source(path)) as file:
                groups = map(file.metadata.row_group, range(file.num_row_groups))
                unpacked = [group.total_byte_size for group in groups]
                flows = 2 * file.metadata.num_rows * math.prod(_flow_type(file).shape)
                needed += max(flows, sum(unpacked))
        except (OSError, ValueError, KeyError, pa.ArrowException):
            return  # the reader reports the error
    if needed > free:
        raise DadnetError(
            f"flow store: {store} takes {needed / 1e9:.1f} GB of memory as float16, "
            f"{free / 1e9:.1f} GB are free here; expected a machine with more, or a store made "
            "with a smaller `ingest --size`"
        )


def load_flow_store(store: str | Location) -> FlowStore:
    """Load a complete store and verify every flow against its digest.

    Raises:
        DadnetError: if it is incomplete, unreadable, or not what its card says.
    """
    card = read_card(store)
    folder, names = location(store), list(card["files"])
    _check_names(folder, names)
    _check_memory(folder, names)
    parts = [read_flow_file(folder / name) for name in names]
    clips = pd.concat([clips for clips, _ in parts], ignore_index=True)
    flows = np.concatenate([flows for _, flows in parts]) if len(parts) > 1 else parts[0][1]
    for clip_id, expected, flow in zip(clips["clip_id"], clips["flow_digest"], flows, strict=True):
        if flow_digest(flow) != expected:
            raise DadnetError(f"flow store: the flow of {clip_id} is damaged; ingest it again")
        if _is_odd(flow):
            raise DadnetError(
                f"flow store: the flow of {clip_id} holds NaN or infinity; ingest it again from "
                "a finite flow, or reject the clip"
            )
    if store_digest(clips, card["parameters"]["normalisation"]) != card["digest"]:
        raise DadnetError(f"flow store: {store} is not what its card says; ingest it again")
    return FlowStore(card, clips, flows)


def _is_odd(flow: Flows) -> bool:
    """Whether a value is NaN or infinite: in float16 all bits of the exponent are then set."""
    return bool(((flow.view(np.uint16) & 0x7C00) == 0x7C00).any())


def publish_store(store: Path, target: RemotePath) -> bool:
    """Copy a complete store to object storage; the card comes last and completes the copy.

    Returns:
        False if the target has the same store already.

    Raises:
        DadnetError: if the target has another store.
    """
    card = read_card(store)
    if (target / CARD).exists():
        if read_card(target)["digest"] != card["digest"]:
            raise DadnetError(f"out: {target} holds another flow store; expected a new folder")
        return False
    _check_names(store, card["files"])
    for name in card["files"]:
        (target / name).upload(store / name)
    write_once(target / CARD, (store / CARD).read_bytes())
    return True


def join_stores(stores: Sequence[FlowStore], size: int) -> FlowStore:
    """One store from several without common clips; a single one is returned unchanged.

    Flows of different sizes are resized to `size` pixels.

    Raises:
        DadnetError: if a clip is in two of them, or there is none.
    """
    if len(stores) == 1:
        return stores[0]
    clips = pd.concat([store.clips for store in stores], ignore_index=True)
    if twice := sorted(set(clips.loc[clips["clip_id"].duplicated(), "clip_id"])):
        raise DadnetError(f"flow stores: the same clip in two of them: {', '.join(twice[:3])}")
    arrays = [store.flows for store in stores]
    if len({array.shape[1:] for array in arrays}) > 1:
        arrays = [np.stack([resize_flow(f, size) for f in a]).astype(np.float16) for a in arrays]
    kinds = {str(store.card["parameters"]["normalisation"]) for store in stores}
    # The audit reads one word: the first one that it refuses, if there is any.
    normalisation = next((k for k in sorted(kinds) if k not in ("none", "clip")), min(kinds))
    digests = sorted(store.digest for store in stores)
    digest = content_digest(json.dumps({"joined": digests}))
    every = [store.card["parameters"] for store in stores]
    common = {k: v for k, v in every[0].items() if all(p.get(k) == v for p in every)}
    parameters = {**common, "normalisation": normalisation}
    card: dict[str, Any] = {"digest": digest, "parameters": parameters, "joined": digests}
    # The name that they were ingested under together.
    composites = {store.card.get("composite") for store in stores}
    if len(composites) == 1 and None not in composites:
        card["composite"] = composites.pop()
    return FlowStore(card, clips, np.concatenate(arrays))


def _check_names(store: Location, names: Sequence[str]) -> None:
    for name in names:
        if Path(name).name != name or name in ("", "..") or not name.isprintable():
            raise DadnetError(f"flow store: expected a plain file name in the card, got {name!r}")
        path = store / name
        if not is_remote(path) and path.resolve().parent != path.parent.resolve():
            raise DadnetError(f"flow store: {path} is a link that leads out of its folder")
