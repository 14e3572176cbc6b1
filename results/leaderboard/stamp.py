"""What a site was made from, so that nothing is made again while nothing has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from dadnet.base.disk import read_regular
from results.leaderboard.fingerprint import of_ledger, of_source

STAMP = ".stamp.json"


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
