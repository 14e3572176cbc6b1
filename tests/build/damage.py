"""Files with one changed bit."""

from pathlib import Path

import numpy as np


def flip(path: Path, bit: int) -> None:
    """Change one bit of a file, counted from its first byte; negative: from its end."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def some_bits(path: Path, number: int, first: int = 0) -> list[int]:
    """The first bits of a file, and others drawn over all of it."""
    size = 8 * path.stat().st_size
    drawn = np.random.default_rng(0).integers(0, size, number)
    return sorted({*range(min(first, size)), *drawn.tolist()})
