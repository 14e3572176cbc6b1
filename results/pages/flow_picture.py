"""Flow fields as small pictures: hue is the direction, lightness the length."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from dadnet.flow.picture import colour_wheel, wheel
from dadnet.flow.store import read_card

_SIDE = 96
# Levels of the picture behind two parameters.
LEVELS = 6


def flow_pictures(store: Path, clip_ids: Sequence[str]) -> dict[str, bytes]:
    """Return a PNG of each clip's flow; only these clips are read.

    Args:
        store: folder of the flow store.
        clip_ids: clips that the store may hold.

    Raises:
        DadnetError: if there is no flow store.
    """
    pictures: dict[str, bytes] = {}
    for name in read_card(store)["files"]:
        table = pq.read_table(
            store / name, columns=["clip_id", "flow"], filters=[("clip_id", "in", list(clip_ids))]
        )
        flows = table.column("flow").combine_chunks()
        if len(flows):
            if hasattr(flows, "chunks"):
                flows = flows.chunk(0)
            for clip_id, flow in zip(
                table.column("clip_id").to_pylist(), flows.to_numpy_ndarray(), strict=True
            ):
                pictures[clip_id] = png(colours(flow))
    return pictures


def wheel_picture() -> bytes:
    """Return the key to the colours as a PNG: each colour in its direction from the middle."""
    return png(wheel(_SIDE)[..., ::-1])


def colours(flow: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Return the picture (side, side, 3) of a flow (2, H, W); no motion is white.

    The length is relative to the 99th percentile of this flow's lengths.
    """
    rows, columns = (np.arange(_SIDE) * size // _SIDE for size in flow.shape[1:])
    small = flow[:, rows][:, :, columns].astype(np.float32)
    return colour_wheel(small, float(np.quantile(np.hypot(*small), 0.99)))[..., ::-1]


def levels_picture(places: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> bytes:
    """Return the interpolated values as a picture of a few levels; the darker, the higher.

    Args:
        places: (2, N) in [0, 1], across and up; values: (N,).
    """
    middles = (np.arange(60) + 0.5) / 60
    across, up = np.meshgrid(middles, middles[::-1])  # the first row is on top
    squared = (across[..., None] - places[0]) ** 2 + (up[..., None] - places[1]) ** 2
    weights = 1 / (squared + 1e-3)
    smooth = (weights * values).sum(-1) / weights.sum(-1)
    spread = float(values.max() - values.min()) or 1.0
    level = np.clip(np.floor((smooth - values.min()) / spread * LEVELS), 0, LEVELS - 1)
    share = (level / (LEVELS - 1))[..., None]
    light, dark = np.array([222.0, 238.0, 238.0]), np.array([13.0, 101.0, 112.0])
    return png(np.rint(light + share * (dark - light)).astype(np.uint8))


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Return an RGB picture (H, W, 3) as PNG; the same pixels give the same bytes."""
    height, width, _ = picture.shape
    lines = b"".join(b"\0" + line.tobytes() for line in picture)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
