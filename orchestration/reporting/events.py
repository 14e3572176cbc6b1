"""The event log: written by a run, read back also when its cluster is gone."""

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from dadnet.base.disk import open_regular
from dadnet.base.location import Location, is_remote, replace_file
from results.ledger.events import EventReader

RunState = Literal["running", "silent", "dead", "interrupted", "broken", "ended", "unknown"]
SILENT_S = 60.0  # a run writes an event every ten seconds
FLUSH_S = 5.0


@dataclass
class LoggedFold:
    """What the log says of one fold; times are seconds since the epoch."""

    name: str
    state: str = "waiting"
    epoch: int = 0
    val_uf1: float | None = None
    worker: str = ""
    retries: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    why: str = ""


@dataclass
class LoggedRun:
    """What the log says of the newest run, and of every fold."""

    title: str = ""
    epochs: int = 0
    hostname: str = ""
    pid: int = 0
    started_at: float = 0.0
    working_at: float = 0.0  # since its first fold began: until then only Ray has started
    last_at: float = 0.0
    ended: str | None = None
    finished: int = 0  # folds since this run began
    folds: dict[str, LoggedFold] = field(default_factory=dict)

    def state(self, now: float) -> RunState:
        """The state of the run, `now` being in seconds since the epoch.

        It is `dead` where its process is known to have ended, `silent` where that cannot be known
        and the log has no new event; `unknown` for logs of versions without a `run` event.
        """
        if not self.started_at:
            return "unknown"
        if self.ended is not None:
            if self.ended in ("KeyboardInterrupt", "StoppedError"):
                return "interrupted"
            return "broken" if self.ended else "ended"
        if self.hostname == socket.gethostname():
            return "running" if is_alive(self.pid) else "dead"
        return "running" if now - self.last_at < SILENT_S else "silent"

    def take(self, event: dict[str, Any]) -> None:
        """Process one event."""
        at = datetime.fromisoformat(event["at"]).timestamp()
        self.last_at = at
        kind = event["event"]
        if kind == "run":
            for name in ("title", "epochs", "hostname", "pid"):
                setattr(self, name, event[name])
            self.started_at, self.working_at, self.ended, self.finished = at, 0.0, None, 0
            for fold in self.folds.values():  # left open by an earlier run
                fold.state = "waiting" if fold.state in ("running", "failed") else fold.state
        elif kind == "ended":
            self.ended = event["why"]
        elif kind == "epochs":
            for name, info in event["folds"].items():
                self._inform(self._fold(name), info)
        elif "fold" in event:
            self._take_fold(self._fold(event["fold"]), event, at)

    def _fold(self, name: str) -> LoggedFold:
        return self.folds.setdefault(name, LoggedFold(name))

    def _take_fold(self, fold: LoggedFold, event: dict[str, Any], at: float) -> None:
        fold.worker = event.get("worker", "")
        self._inform(fold, event.get("info", {}))
        kind = event["event"]
        if kind == "started":
            self.working_at = self.working_at or at
            fold.state, fold.started_at, fold.epoch, fold.val_uf1 = "running", at, 0, None
        elif kind == "finished":
            fold.state, fold.ended_at = "done", at
            self.finished += 1
        elif kind in ("returned", "failed", "yielded"):
            fold.state = "failed" if kind == "failed" else "waiting"
            fold.retries += kind != "yielded"
            fold.ended_at, fold.why = at, str(event.get("why", ""))

    @staticmethod
    def _inform(fold: LoggedFold, info: dict[str, Any]) -> None:
        fold.epoch = info.get("epoch", fold.epoch)
        fold.val_uf1 = info.get("val_uf1", fold.val_uf1)


class EventLog:
    """An event log that may still grow, or not exist yet; each look reads only what is new."""

    def __init__(self, path: Path) -> None:
        self.run, self._reader = LoggedRun(), EventReader(path)

    def look(self) -> LoggedRun:
        """Read on; lines that are no events give a `LedgerWarning`."""
        path = self._reader.path
        if path.is_file() and path.stat().st_size < self._reader.offset:  # --fresh began another
            self.run, self._reader = LoggedRun(), EventReader(path)
        self._reader.read(self.run.take)
        return self.run


def is_alive(pid: int) -> bool:
    """Whether a process of this machine lives; 0 or less is none."""
    try:
        if pid > 0:
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return pid > 0


class EventWriter:
    """Appends lines to an event log.

    On object storage every run has a log of its own, ``events/<start>-<name>.jsonl`` beside
    ``events.jsonl``, written as a whole each time; readers join them (`results.ledger.mirror`).

    Args:
        path: the experiment's ``events.jsonl``.
        clock: seconds; injected in tests.
    """

    def __init__(self, path: Location, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._lines: list[str] = []
        self._put_at = -FLUSH_S
        if is_remote(path):
            start = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
            self._path = path.parent / "events" / f"{start}-{secrets.token_hex(4)}.jsonl"

    def append(self, line: str) -> None:
        """Add a line; on object storage it is visible after some seconds."""
        if not is_remote(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(open_regular(self._path, append=True), "a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")
            return
        self._lines.append(f"{line}\n")
        if self._clock() - self._put_at >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write the lines that are not yet visible."""
        if is_remote(self._path) and self._lines:
            replace_file(self._path, "".join(self._lines))
            self._put_at = self._clock()
