"""Whether a ledger has changed, by names, sizes, times and inodes, without opening a file.

Imports nothing heavy: it is all that a second, unchanged leaderboard runs.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from results.ledger.files import STUDIES

# A file changed this shortly before it was looked at may change again within the clock's grain.
SETTLED_S = 2.0
# Folders that are worth starting processes for.
_MANY = 1_000


@dataclass(frozen=True)
class Folder:
    """What was seen of the folder of one experiment, or of one search.

    Attributes:
        name: ``<dataset>/<digest>`` as folder names.
        fingerprint: hash of everything seen; equal if and only if nothing was written.
        settled: whether the newest file is old enough for the fingerprint to be trusted.
    """

    name: str
    fingerprint: str
    settled: bool


def scan(root: str | Path, processes: int = 1) -> dict[str, Folder]:
    """Return every experiment's and every search's folder below a ledger's root, by name, sorted.

    Args:
        root: the ledger's folder.
        processes: how many may look side by side, if there are many folders.
    """
    limit = time.time_ns() - int(SETTLED_S * 1e9)
    names = sorted(_names(str(root)))
    if len(names) < _MANY or processes < 2:
        found = _look_at(str(root), names, limit)
    else:
        mine, *others = (names[start::processes] for start in range(processes))
        context = get_context("spawn")
        with ProcessPoolExecutor(len(others), mp_context=context) as pool:
            looked = [pool.submit(_look_at, str(root), part, limit) for part in others]
            found = _look_at(str(root), mine, limit)
            found += [folder for part in looked for folder in part.result()]
    return {folder.name: folder for folder in sorted(found, key=lambda folder: folder.name)}


def of_ledger(folders: dict[str, Folder]) -> str | None:
    """Return one fingerprint of all folders; None if any is not settled."""
    if not all(folder.settled for folder in folders.values()):
        return None
    lines = "\n".join(f"{folder.name} {folder.fingerprint}" for folder in folders.values())
    return hashlib.sha256(lines.encode()).hexdigest()


def of_source() -> str:
    """Return the hash of this package's own code and data, and of the figures' formulas."""
    package = Path(__file__).parents[1]
    files = sorted(path for path in package.rglob("*") if path.suffix != ".pyc" and path.is_file())
    files.append(package.parent / "dadnet" / "labels" / "metrics.py")
    found = hashlib.sha256()
    for path in files:
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def _names(root: str) -> Iterator[str]:
    if not os.path.isdir(root):  # noqa: PTH112 - a Path per entry would cost half of the time
        return
    with os.scandir(root) as datasets:
        for dataset in datasets:
            hidden = dataset.name.startswith(".") and dataset.name != STUDIES
            if hidden or not dataset.is_dir():
                continue
            with os.scandir(dataset.path) as experiments:
                yield from (f"{dataset.name}/{e.name}" for e in experiments if e.is_dir())


def _look_at(root: str, names: list[str], limit: int) -> list[Folder]:
    return [_look(root, name, limit) for name in names]


def _look(root: str, name: str, limit: int) -> Folder:
    seen: list[str] = []  # names of files and folders
    numbers: list[int] = []  # and what was seen of each file
    for part in ("", "/folds", "/features", "/explain"):
        try:
            folder = os.open(f"{root}/{name}{part}", os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            files = sorted(e for e in os.listdir(folder) if e.endswith((".json", ".jsonl")))  # noqa: PTH208 - of a descriptor
            for file in files:
                found = os.stat(file, dir_fd=folder)
                numbers += (found.st_size, found.st_ino, found.st_mtime_ns)
        finally:
            os.close(folder)
        seen += [part, *files]
    for part, changed in sorted(_folders_of(f"{root}/{name}/robustness")):
        seen.append(f"/robustness/{part}")
        numbers += (0, 0, changed)
    # No name of a file holds a slash or a zero: this can be read in one way only.
    text = "\0".join([*seen, str(numbers)])
    fingerprint = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return Folder(name, fingerprint, max(numbers[2::3], default=0) < limit)


def _folders_of(path: str) -> Iterator[tuple[str, int]]:
    """Names and times of the folders in a folder; a file that comes or goes changes the time."""
    try:
        with os.scandir(path) as entries:
            yield from ((e.name, e.stat().st_mtime_ns) for e in entries if e.is_dir())
    except FileNotFoundError:
        return
