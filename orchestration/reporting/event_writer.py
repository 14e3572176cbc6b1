"""Appending to an event log, on a disk or where nothing can be appended to."""

import secrets
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from dadnet.base.location import Location
from dadnet.base.remote import RemotePath

FLUSH_S = 5.0


class EventWriter:
    """An event log that lines are added to.

    On object storage every run has a log of its own, ``events/<start>-<name>.jsonl`` beside
    ``events.jsonl``, which is put again as a whole; readers join them (`results.ledger.mirror`).

    Args:
        path: the experiment's ``events.jsonl``.
        clock: seconds; injected in tests.
    """

    def __init__(self, path: Location, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._lines: list[str] = []
        self._put_at = -FLUSH_S
        if isinstance(path, RemotePath):
            start = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
            self._path = path.parent / "events" / f"{start}-{secrets.token_hex(4)}.jsonl"

    def append(self, line: str) -> None:
        """Add a line; on object storage it is seen after some seconds."""
        if isinstance(self._path, Path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")
            return
        self._lines.append(f"{line}\n")
        if self._clock() - self._put_at >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Let all lines be seen."""
        if isinstance(self._path, RemotePath) and self._lines:
            self._path.replace_with("".join(self._lines).encode())
            self._put_at = self._clock()
