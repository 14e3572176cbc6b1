"""Contact sheets: onset, apex, flow in colours and its length, for visual inspection.

They show a bad crop, a wrong apex, or a flow that is only head motion.
"""

import cv2
import numpy as np
import numpy.typing as npt

from dadnet.flow.compute import Flow, Image

Colour = npt.NDArray[np.uint8]  # (H, W, 3) blue, green, red

TILE = 128
_CAPTION = 40
_GAP = 6
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_HEADS = ("onset", "apex", "flow", "length")


def colour_wheel(flow: Flow, scale: float) -> Colour:
    """A flow (2, H, W) in colours (H, W, 3): the hue is the direction, white is no motion.

    Red is to the right, yellow-green down, cyan to the left, violet up. Vectors of `scale` pixels
    and longer have the full colour.
    """
    u, v = flow.astype(np.float32)
    angle = (np.arctan2(v, u) / (2 * np.pi)) % 1.0  # 0 to the right, then downwards
    strength = np.clip(np.hypot(u, v) / max(scale, 1e-9), 0, 1)
    hsv = np.stack([angle * 360, strength, np.ones_like(u)], axis=-1).astype(np.float32)
    bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    return np.asarray(np.rint(bgr * 255), dtype=np.uint8)


def wheel(side: int = TILE) -> Colour:
    """The key to the colours: each in its direction from the middle."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    picture = colour_wheel(np.stack([u, v]), 1.0)
    picture[np.hypot(u, v) > 1] = 255
    return picture


def sheet_row(
    title: str, detail: str, flow: Flow, onset: Image | None = None, apex: Image | None = None
) -> Colour:
    """One clip: title and detail above onset, apex, flow and length of the flow.

    Characters outside printable ASCII become "?". The flow has shape (2, H, W), the grey frames
    (H, W); a flow from a file has no frames.
    """
    length = np.hypot(*flow.astype(np.float32))
    scale = float(np.percentile(length, 99)) or float(length.max())
    heat = np.clip(length / max(scale, 1e-9) * 255, 0, 255).astype(np.uint8)
    tiles = [
        _grey(onset),
        _grey(apex),
        _tile(colour_wheel(flow, scale)),
        _tile(np.asarray(cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO), dtype=np.uint8)),
    ]
    width = len(tiles) * TILE + (len(tiles) + 1) * _GAP
    row = np.full((TILE + _CAPTION + _GAP, width, 3), 255, dtype=np.uint8)
    for k, tile in enumerate(tiles):
        left = _GAP + k * (TILE + _GAP)
        row[_CAPTION : _CAPTION + TILE, left : left + TILE] = tile
    _write(row, title, 15, bold=True)
    _write(row, f"{detail}; full colour {scale:.2f} px", 32)
    return row


def sheet(rows: list[Colour]) -> Colour:
    """The rows of a sheet, below the names of the columns and the key to the colours."""
    head = np.full((2 * _GAP + 72, rows[0].shape[1], 3), 255, dtype=np.uint8)
    for k, name in enumerate(_HEADS):
        left = _GAP + k * (TILE + _GAP)
        cv2.putText(head, name, (left, 74), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    left = _GAP + 2 * (TILE + _GAP) + TILE - 64
    head[_GAP : _GAP + 64, left : left + 64] = wheel(64)
    return np.concatenate([head, *rows])


def _grey(image: Image | None) -> Colour:
    if image is not None:
        return _tile(np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8))
    empty = np.full((TILE, TILE, 3), 230, dtype=np.uint8)
    cv2.putText(empty, "no frame", (30, 68), _FONT, 0.45, (90, 90, 90), 1, cv2.LINE_AA)
    return empty


def _tile(picture: Colour) -> Colour:
    shrinking = picture.shape[0] > TILE
    how = cv2.INTER_AREA if shrinking else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, (TILE, TILE), interpolation=how), dtype=np.uint8)


def _write(row: Colour, text: str, baseline: int, *, bold: bool = False) -> None:
    shown = "".join(c if " " <= c <= "~" else "?" for c in text)
    cv2.putText(row, shown, (_GAP, baseline), _FONT, 0.42, (0, 0, 0), 1 + bold, cv2.LINE_AA)
