"""A ledger on object storage, read through a copy of its small files in a folder here.

All that a leaderboard reads is written once or replaced as a whole. So a file that the listing
shows unchanged is not fetched again: a second leaderboard costs one listing. The copy may be
deleted at any time. A damaged record is moved aside in the copy only; in the storage it stays
until the next run finds it, moves it aside and makes the fold again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import msgspec

from dadnet.base.digests import content_digest
from dadnet.base.disk import read_regular
from dadnet.base.errors import DadnetError, StorageError
from dadnet.base.location import is_remote, replace_file
from dadnet.base.remote import Entry, RemotePath
from results.ledger.ledger import Ledger

_INDEX = ".mirror.json"
_OTHERS = {"claims", "quarantine", "checkpoints", "weights", "searched", ".ray"}
_REQUESTS = 32  # at once


def readable(ledger: Ledger) -> Ledger:
    """The ledger itself if it is a folder, else its mirror, brought up to date."""
    if is_remote(ledger.root):
        return Ledger(mirror(ledger.root, mirror_folder(ledger.root)))
    return ledger


def mirror_folder(root: RemotePath) -> Path:
    """Where the mirror of a ledger lies: in the user's cache folder."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        cache = Path(given) if given else Path.home() / ".cache"
    except RuntimeError as error:
        raise DadnetError("XDG_CACHE_HOME: expected a folder, since there is no home") from error
    return cache / "dadnet" / "ledgers" / content_digest(str(root))


def mirror(root: RemotePath, folder: Path) -> Path:
    """Bring a folder up to date with the small files of a ledger, and return it.

    Raises:
        StorageError: if the storage cannot be read; files fetched so far stay.
    """
    listed = {entry.name: entry for entry in root.entries() if _wanted(entry.name)}
    known = _load(folder / _INDEX)
    folder.mkdir(parents=True, exist_ok=True)
    stale = [entry for name, entry in listed.items() if not _current(folder, entry, known)]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        for _ in pool.map(lambda entry: _fetch(root, folder, entry), stale):
            pass
    for name in known.keys() - listed.keys():
        (folder / name).unlink(missing_ok=True)
    _join_events(folder, listed)
    index = json.dumps({name: entry.etag for name, entry in sorted(listed.items())})
    replace_file(folder / _INDEX, index)
    return folder


def _wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if not name.endswith((".json", ".jsonl")) or _OTHERS & set(parts):
        return False
    if "/".join(parts) != name or ".." in parts or "\\" in name:
        raise StorageError(f"storage: expected the files of a ledger, got the name {name!r}")
    return name != _INDEX


def _current(folder: Path, entry: Entry, known: dict[str, str]) -> bool:
    if not entry.etag or known.get(entry.name) != entry.etag:
        return False
    try:
        return (folder / entry.name).stat().st_size == entry.size
    except FileNotFoundError:
        return False


def _fetch(root: RemotePath, folder: Path, entry: Entry) -> None:
    path = folder / entry.name
    try:
        replace_file(path, (root / entry.name).read_bytes())
    except FileNotFoundError:  # removed since the listing
        path.unlink(missing_ok=True)
        return
    seconds = entry.modified.timestamp()
    os.utime(path, (seconds, seconds))


def _join_events(folder: Path, names: Iterable[str]) -> None:
    """An object cannot be appended to, so every run has its own log: here they are one."""
    logs: dict[Path, list[Path]] = {}
    for name in sorted(names):
        path = folder / name
        if path.parent.name == "events":
            logs.setdefault(path.parent.parent / "events.jsonl", []).append(path)
    for joined, parts in logs.items():
        text = b"".join(part.read_bytes() for part in parts if part.exists())
        if not joined.exists() or joined.read_bytes() != text:
            replace_file(joined, text)


def _load(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(read_regular(path), type=dict[str, str])
    except (FileNotFoundError, ValueError, RecursionError):  # absent or damaged: fetch all again
        return {}
