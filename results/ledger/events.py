"""The event log of a run: one JSON object per line, with ``at`` (ISO 8601) and ``event``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dadnet.base.errors import DadnetError
from dadnet.base.location import on_disk
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment


class EventReader:
    """Reads an event log that may still grow; each call reads only what is new.

    Args:
        path: the log; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self._line = path, 0, 0

    def read(self, take: Callable[[dict[str, Any]], object]) -> None:
        """Call `take` with every new event; a half-written last line is left for the next call.

        Raises:
            DadnetError: if a line is no event.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            self._line += 1
            try:
                take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DadnetError(
                    f"expected an event in line {self._line} of {self.path}, got: "
                    f"{line[:80].decode(errors='replace')} ({type(error).__name__}: {error})"
                ) from error


def read_events(ledger: Ledger, experiment: Experiment) -> list[dict[str, Any]]:
    """Return the events of an experiment; none without a log.

    Raises:
        DadnetError: if a line is no event.
    """
    events = list[dict[str, Any]]()
    EventReader(on_disk(ledger.events_path(experiment))).read(events.append)
    return [event for event in events if "event" in event]
