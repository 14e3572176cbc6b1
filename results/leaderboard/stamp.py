"""What a site was made from, so that nothing is made again while nothing has changed.

Whether a ledger has changed is seen by names, sizes, times and inodes, without opening a file.
Imports nothing heavy: a second leaderboard of an unchanged ledger runs nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import msgspec

from dadnet.base.disk import ABSENT, is_folder, read_regular
from results.ledger.files import STUDIES

STAMP = ".stamp.json"
# A file changed this shortly before it was looked at may change again within the clock's grain.
SETTLED_S = 2.0
# Folders that are worth starting processes for.
_MANY = 1_000


@dataclass(frozen=True)
class SiteStamp:
    """A site that was made.

    Attributes:
        made_from: hash of ledger, code and options.
        files: name -> SHA-256 of every file of the site.
        first: the file to open; text: the table; warnings: lines; status: exit status.
    """

    made_from: str
    files: Mapping[str, str]
    first: str
    text: str
    warnings: Sequence[str]
    status: int


def source_of(ledger: Path, options: Mapping[str, str | None], processes: int = 1) -> str | None:
    """Return the hash of ledger, code and options; None if they may change without a trace."""
    seen = None if options.get("flows") else of_ledger(ledger, processes)  # flows are not watched
    if seen is None:
        return None
    parts = json.dumps([seen, of_source(), dict(options)], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def unchanged(out: Path, made_from: str | None) -> SiteStamp | None:
    """Return the stamp of a site, if the site would be made again as it is.

    Every file of the site is read and hashed.
    """
    try:
        stamp = msgspec.json.decode(read_regular(out / STAMP), type=SiteStamp)
    except (OSError, ValueError, RecursionError):  # no stamp, or a damaged one: make the site
        return None
    whole = all(_hash(out / name) == digest for name, digest in stamp.files.items())
    return stamp if whole and stamp.made_from == made_from else None


def write_site_stamp(
    out: Path,
    made_from: str | None,
    paths: Sequence[Path],
    text: str,
    warnings: Sequence[str],
    status: int,
) -> None:
    """Write the stamp of a site that was just made; none if the ledger is still changing."""
    (out / STAMP).unlink(missing_ok=True)
    if made_from is not None:
        files = {path.relative_to(out).as_posix(): _hash(path) or "" for path in paths}
        first = paths[0].relative_to(out).as_posix()
        stamp = SiteStamp(made_from, files, first, text, warnings, status)
        (out / STAMP).write_text(json.dumps(asdict(stamp)) + "\n", encoding="utf-8")


def _hash(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_regular(path)).hexdigest()
    except (OSError, ValueError):
        return None


def of_ledger(root: str | Path, processes: int = 1) -> str | None:
    """Return a hash of a ledger's files; equal if and only if nothing was written between.

    Args:
        root: the ledger's folder.
        processes: number of processes that look at the folders, if there are many folders.

    Returns:
        The hash of all experiments and searches; None if there is none, or if a file is so new
        that it may change again without a trace.
    """
    limit = time.time_ns() - int(SETTLED_S * 1e9)
    names = sorted(_names(str(root)))
    if len(names) < _MANY or processes < 2:
        lines = _look_at(str(root), names, limit)
    else:
        mine, *others = (names[start::processes] for start in range(processes))
        with ProcessPoolExecutor(len(others), mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(_look_at, str(root), part, limit) for part in others]
            lines = _look_at(str(root), mine, limit)
            lines += [line for future in futures for line in future.result()]
    if not lines or None in lines:
        return None
    return hashlib.sha256("\n".join(sorted(map(str, lines))).encode()).hexdigest()


def of_source() -> str:
    """Return the hash of this package's own code and data, and of the figures' formulas."""
    package = Path(__file__).parents[1]
    files = sorted(path for path in package.rglob("*") if path.suffix != ".pyc" and path.is_file())
    files.append(package.parent / "dadnet" / "labels" / "metrics.py")
    total = hashlib.sha256()
    for path in files:
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _names(root: str) -> Iterator[str]:
    if not os.path.isdir(root):  # noqa: PTH112 - a Path per entry would cost half of the time
        return
    with os.scandir(root) as datasets:
        for dataset in datasets:
            hidden = dataset.name.startswith(".") and dataset.name != STUDIES
            if hidden or not is_folder(dataset):
                continue
            with os.scandir(dataset.path) as experiments:
                yield from (f"{dataset.name}/{e.name}" for e in experiments if is_folder(e))


def _look_at(root: str, names: list[str], limit: int) -> list[str | None]:
    return [_look(root, name, limit) for name in names]


def _look(root: str, name: str, limit: int) -> str | None:
    """Return a line on the folder of one experiment or search; None if a file is too new."""
    seen: list[str] = [name]  # names of folders and files
    numbers: list[int] = []  # size, inode and time of each file
    for part in ("", "/folds", "/diverged", "/features", "/explain"):
        try:
            folder = os.open(f"{root}/{name}{part}", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            continue
        try:
            files = sorted(e for e in os.listdir(folder) if e.endswith((".json", ".jsonl")))  # noqa: PTH208 - of a descriptor
            for file in files:
                status = os.stat(file, dir_fd=folder, follow_symlinks=False)
                numbers += (status.st_size, status.st_ino, status.st_mtime_ns)
        finally:
            os.close(folder)
        seen += [part, *files]
    for part, changed in sorted(_folders_of(f"{root}/{name}/robustness")):
        seen.append(f"/robustness/{part}")
        numbers += (0, 0, changed)
    if max(numbers[2::3], default=0) >= limit:
        return None
    # No name of a file holds a slash or a zero: this can be read in one way only.
    text = "\0".join([*seen, str(numbers)])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _folders_of(path: str) -> Iterator[tuple[str, int]]:
    """Names and times of the folders in a folder; a file that comes or goes changes the time."""
    try:
        with os.scandir(path) as entries:
            yield from ((e.name, e.stat().st_mtime_ns) for e in entries if is_folder(e))
    except OSError as error:
        if error.errno not in ABSENT:
            raise
