"""The event log of a run: one JSON object per line, with ``at`` (ISO 8601) and ``event``."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from dadnet.base.disk import LARGEST, stream_regular
from dadnet.base.errors import DadnetError
from dadnet.base.location import on_disk
from results.ledger.files import LedgerWarning
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment

_Number = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Info(msgspec.Struct):
    """What an event may say of a fold that is trained."""

    epoch: _Number = 0
    val_uf1: float | None = None


class _Event(msgspec.Struct):
    """The fields of an event that are read back; more are allowed."""

    at: str
    event: str = ""
    fold: str = ""
    title: str = ""
    epochs: _Number = 0
    hostname: str = ""
    pid: _Number = 0
    worker: str = ""
    why: str | None = ""
    info: _Info = msgspec.field(default_factory=_Info)
    folds: Mapping[str, _Info] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.at).timestamp()


class EventReader:
    """Reads an event log that may still grow; each call reads only what is new.

    Args:
        path: the log; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self._line = path, 0, 0
        self._refused = False

    def read(self, take: Callable[[dict[str, Any]], object]) -> None:
        """Call `take` with every new event; a half-written last line is left for the next call.

        Lines that are no events are left out, with one `LedgerWarning` that counts them.
        """
        whole = self._new_lines()
        self.offset += len(whole)
        bad, first = 0, ""
        for line in whole.splitlines():
            self._line += 1
            try:
                event = json.loads(line)  # not by msgspec: a figure may be NaN
                msgspec.convert(event, _Event)
                take(event)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                bad += 1
                first = first or (
                    f"line {self._line} is {line[:80].decode(errors='replace')!r} "
                    f"({type(error).__name__}: {error})"
                )
        if bad:
            warnings.warn(
                f"{bad} lines of {self.path} are no events and are left out: {first}",
                LedgerWarning,
                stacklevel=2,
            )

    def _new_lines(self) -> bytes:
        """The whole lines that were not read yet; none, with one warning, of what is no file."""
        try:
            with stream_regular(self.path) as stream:
                if os.fstat(stream.fileno()).st_size - self.offset > LARGEST:
                    raise DadnetError(f"it has more than {LARGEST} new bytes")
                stream.seek(self.offset)
                text = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except (DadnetError, OSError) as error:
            if not self._refused:
                reason = f"the event log {self.path} is left out: {error}"
                warnings.warn(reason, LedgerWarning, stacklevel=3)
            self._refused = True
            return b""
        return text[: text.rfind(b"\n") + 1]


def read_events(ledger: Ledger, experiment: Experiment) -> list[dict[str, Any]]:
    """Return the events of an experiment; none without a log."""
    events = list[dict[str, Any]]()
    EventReader(on_disk(ledger.events_path(experiment))).read(events.append)
    return [event for event in events if "event" in event]
