"""What the terminal shows while folds are made, and the event log that outlives the cluster."""

import json
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dadnet.base.location import Location
from orchestration.reporting.events import EventWriter
from orchestration.reporting.notebook import NotebookLive, in_notebook
from results.ledger.records import Divergence

_open: list["Progress"] = []  # of runs that have not ended

NEWS_S = 10.0  # between two `epochs` events
SILENT_S = 30.0  # without a terminal, a line at least so often while folds are made
# What the terminal shows of an event; `last` is the last line of a traceback.
_LINES = {
    "warning": "warning ({worker}): {message}",
    "told": "worker {worker}: {message}",
    "noted": "{message}",
    "yielded": "fold {fold} kept its state: {why}",
    "returned": "fold {fold} to be tried again after try {tries}: {last}",
    "failed": "fold {fold} given up after try {tries}: {last}",
}


def fraction_done(snapshot: Mapping[str, Any], epochs: int) -> float:
    """Share of the work that is done, with the epochs of running folds counted in."""
    counts = snapshot["counts"]
    parts = sum(row["info"].get("epoch", 0) / epochs for row in snapshot["running"])
    return float((counts["done"] + counts["failed"] + parts) / max(1, sum(counts.values())))


def remaining(elapsed: float, done: float) -> float:
    """Seconds left at the speed so far; infinite before any progress."""
    return elapsed * (1 - done) / done if done > 0 else math.inf


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds, as text."""
    if not math.isfinite(seconds):
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def incomplete(num_folds: int, num_missing: int, diverged: Sequence[Divergence]) -> str:
    """The last line of a run that leaves folds without a record."""
    parts, num_left = [], num_missing - len(diverged)
    if num_left:
        parts.append(
            f"{num_left} of {num_folds} folds are missing; give the same command again to run them"
        )
    if diverged:
        first = f"{diverged[0].fold} in epoch {diverged[0].epoch}"
        more = f" and {len(diverged) - 1} more" if len(diverged) > 1 else ""
        parts.append(
            f"{len(diverged)} of {num_folds} folds diverged ({first}{more}); lower --lr, or "
            "--retry-diverged tries again"
        )
    return f"incomplete: {'; '.join(parts)}"


class Progress:
    """Live table on a terminal, a line per finished fold elsewhere, events into a file.

    Args:
        events: path of the event log, appended to; one JSON object per line.
        epochs: epochs of a fold at most.
        title: what is running.
        console: where to draw.
        clock: seconds; injected in tests.
    """

    def __init__(
        self,
        events: Location,
        epochs: int,
        title: str,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epochs, self.title, self.console, self.clock = epochs, title, console, clock
        self._events = EventWriter(events)
        self._working: float | None = None  # since the first fold began: Ray has started by then
        self._news_at = self._said_at = clock()
        notebook = in_notebook() and not console.quiet
        self._is_live = console.is_terminal or notebook
        self._live: Live | NotebookLive = (
            NotebookLive(clock)
            if notebook
            else Live(console=console, refresh_per_second=4, transient=True)
        )

    def __enter__(self) -> "Progress":
        process = {"hostname": socket.gethostname(), "pid": os.getpid()}
        self.log({"event": "run", "title": self.title, "epochs": self.epochs, **process})
        _open.append(self)
        if self._is_live:
            self._live.start()
            if isinstance(self._live, Live):  # a notebook takes two pictures in a second
                self._live.update(Text(f"{self.title}: starting"), refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end("" if kind is None else kind.__name__)

    def end(self, why: str) -> None:
        """Write the `ended` event and take the table off the terminal."""
        if self in _open:
            _open.remove(self)
            self.log({"event": "ended", "why": why})
            self._events.flush()
            self._live.stop()

    def show(self, snapshot: Mapping[str, Any]) -> None:
        """Show the queue's state and its new events."""
        for event in snapshot["events"]:
            if event["event"] == "started" and self._working is None:
                self._working = self._said_at = self.clock()
                if not self._is_live:
                    self.console.print("the first folds are in training")
            self.log(event)
            self._print(event, snapshot)
        if self.clock() - self._news_at >= NEWS_S:
            self._news_at = self.clock()
            self.log(_news(snapshot))
        if self._is_live:
            self._live.update(self._table(snapshot), refresh=True)
        elif self._working is not None and self.clock() - self._said_at >= SILENT_S:
            self._said_at = self.clock()
            self.console.print(self._head(snapshot), markup=False, highlight=False)

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one event, with the time, to the log."""
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._events.append(json.dumps({"at": at, **event}, sort_keys=True))

    def _print(self, event: Mapping[str, Any], snapshot: Mapping[str, Any]) -> None:
        kind = event["event"]
        if (line := _LINES.get(kind)) is not None:
            last = str(event.get("why", "")).strip().rpartition("\n")[2]
            self.console.print(line.format(**event, last=last), markup=False)
        elif kind == "finished" and not self._is_live:
            counts = snapshot["counts"]
            val_uf1 = event.get("info", {}).get("val_uf1", math.nan)
            score = f", last val UF1 {val_uf1:.3f}" if math.isfinite(val_uf1) else ""
            self._said_at = self.clock()
            self.console.print(
                f"fold {event['fold']} done ({counts['done']}/{sum(counts.values())}, "
                f"ETA {self._eta(snapshot)}{score})",
                markup=False,
                highlight=False,
            )

    def _eta(self, snapshot: Mapping[str, Any]) -> str:
        if self._working is None:
            return duration(math.inf)
        done = fraction_done(snapshot, self.epochs)
        return duration(remaining(self.clock() - self._working, done))

    def _head(self, snapshot: Mapping[str, Any]) -> str:
        count = snapshot["counts"]
        return (
            f"{count['done']} of {sum(count.values())} folds done, {count['running']} running, "
            f"{count['failed']} failed; ETA {self._eta(snapshot)}"
        )

    def _table(self, snapshot: Mapping[str, Any]) -> Group:
        table = Table(box=None, pad_edge=False)
        for name in ("fold", "epoch", "train loss", "val UF1", "worker", "try"):
            table.add_column(name, justify="left" if name in ("fold", "worker") else "right")
        for row in snapshot["running"]:
            info = row["info"]
            figures = [f"{info.get(k, math.nan):.3f}" for k in ("train_loss", "val_uf1")]
            epoch = f"{info.get('epoch', 0)}/{self.epochs}"
            table.add_row(row["name"], epoch, *figures, row["worker"], str(row["tries"]))
        head = Text(f"{self.title}: {self._head(snapshot)}")
        bar = ProgressBar(total=1.0, completed=fraction_done(snapshot, self.epochs), width=60)
        return Group(head, bar, table)


def end_all(why: str) -> None:
    """Write the `ended` event of every run of this process, which is about to end."""
    for progress in list(_open):
        progress.end(why)


def _news(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """An event with the progress of the running folds, for `dadnet watch`."""
    return {
        "event": "epochs",
        "counts": snapshot["counts"],
        "folds": {
            row["name"]: {k: row["info"][k] for k in ("epoch", "val_uf1") if k in row["info"]}
            for row in snapshot["running"]
        },
    }
