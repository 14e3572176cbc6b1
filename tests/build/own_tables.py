"""Own tables with the frames that they name, as users have them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from openpyxl import Workbook

from dadnet.flow.store import FlowStore, load_flow_store
from orchestration import ingest

WORDS = ("negative", "positive", "surprise")
FAST = ("--size", "32", "--flow", "farneback", "--workers", "0")


def write_video(
    folder: Path, numbers: Iterable[int], seed: int = 0, name: str = "img{}.jpg"
) -> None:
    """Frames of a pattern that moves to the right by a third of a pixel per number."""
    noise = np.random.default_rng(seed).uniform(0, 255, (48, 48)).astype(np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        move = np.float32([[1, 0, number / 3], [0, 1, 0]])
        moved = cv2.warpAffine(smooth, move, (48, 48), borderMode=cv2.BORDER_REFLECT)
        cv2.imwrite(str(folder / name.format(number)), moved.astype(np.uint8))


def write_videos(root: Path, number: int) -> list[tuple[str, str]]:
    """Folders ``frames/0``, ... with the frames 1, 5 and 9; returns onset and apex of each."""
    for k in range(number):
        write_video(root / "frames" / str(k), (1, 5, 9), seed=k)
    return [(f"frames/{k}/img1.jpg", f"frames/{k}/img5.jpg") for k in range(number)]


def write_text(path: Path, rows: Sequence[Sequence[object]], separator: str = ",") -> Path:
    """A table as text."""
    lines = [separator.join("" if cell is None else str(cell) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_xlsx(path: Path, rows: Sequence[Sequence[object]], merged: Sequence[str] = ()) -> Path:
    """A table as a workbook, with cells merged."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    for cells in merged:
        sheet.merge_cells(cells)
    book.save(path)
    return path


def ingest_table(table: Path, *words: str, out: Path | None = None) -> int:
    """Run the real command on a table; the store is beside it."""
    store = out or table.parent / "store"
    return ingest.main(["--index", str(table), "--out", str(store), *FAST, *words])


def store_of(table: Path) -> FlowStore:
    return load_flow_store(table.parent / "store")
