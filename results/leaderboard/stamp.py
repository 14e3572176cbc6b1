"""What a site was made from, so that nothing is made again while nothing has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from results.leaderboard.fingerprint import Folder, of_ledger, of_source, scan

STAMP = ".stamp.json"


@dataclass(frozen=True)
class Stamp:
    """What was made.

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


def unchanged(
    ledger: Path, out: Path, options: Mapping[str, str | None], processes: int = 1
) -> tuple[Stamp | None, dict[str, Folder]]:
    """Return the stamp if the site is as it would be made again, and what was seen.

    Every file of the site is read and hashed; the ledger's are looked at, not opened.
    """
    folders = scan(ledger, processes)
    made_from = _made_from(folders, options)
    try:
        stamp = Stamp(**json.loads((out / STAMP).read_bytes()))
    except (OSError, ValueError, TypeError):  # no stamp, or not a whole one: make the site
        return None, folders
    if made_from is None or stamp.made_from != made_from:
        return None, folders
    whole = all(_hash(out / name) == digest for name, digest in stamp.files.items())
    return (stamp if whole else None), folders


def write_stamp(
    out: Path,
    folders: dict[str, Folder],
    options: Mapping[str, str | None],
    paths: Sequence[Path],
    text: str,
    warnings: Sequence[str],
    status: int,
) -> None:
    """Write the stamp of a site that was just made; none if the ledger is still changing."""
    made_from = _made_from(folders, options)
    (out / STAMP).unlink(missing_ok=True)
    if made_from is not None:
        files = {path.relative_to(out).as_posix(): _hash(path) or "" for path in paths}
        first = paths[0].relative_to(out).as_posix()
        stamp = Stamp(made_from, files, first, text, warnings, status)
        (out / STAMP).write_text(json.dumps(asdict(stamp)) + "\n", encoding="utf-8")


def _made_from(folders: dict[str, Folder], options: Mapping[str, str | None]) -> str | None:
    seen = of_ledger(folders)
    if seen is None or not folders or options.get("flows"):  # flows are not watched
        return None
    parts = json.dumps([seen, of_source(), dict(options)], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def _hash(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
