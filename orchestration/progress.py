"""What a person sees while folds are made, and the event log that outlives the cluster."""

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


def fraction_done(rows: list[dict[str, Any]], epochs: int) -> float:
    """Share of the work that is done, with the epochs of running folds counted in.

    Args:
        rows: the board's rows.
        epochs: epochs of a fold at most.
    """
    parts = {"done": 1.0, "failed": 1.0, "waiting": 0.0}
    shares = [
        parts[row["state"]] if row["state"] in parts else row["info"].get("epoch", 0) / epochs
        for row in rows
    ]
    return sum(shares) / max(1, len(shares))


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes, for a person."""
    if not math.isfinite(seconds):
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


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
        events: Path,
        epochs: int,
        title: str,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epochs, self.title, self.console, self.clock = epochs, title, console, clock
        self._events = events
        self._started = clock()
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Progress":
        self._events.parent.mkdir(parents=True, exist_ok=True)
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, snapshot: Mapping[str, Any]) -> None:
        """Take in the board's state and its new events."""
        for event in snapshot["events"]:
            self.log(event)
            self._tell(event, snapshot["rows"])
        if self.console.is_terminal:
            self._live.update(self._table(snapshot["rows"]), refresh=True)

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one event, with the time, to the log."""
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        with self._events.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"at": at, **event}, sort_keys=True) + "\n")

    def _tell(self, event: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
        kind = event["event"]
        if kind == "warning":
            self.console.print(f"warning ({event['worker']}): {event['message']}", markup=False)
        elif kind == "told":
            self.console.print(f"worker {event['worker']}: {event['message']}", markup=False)
        elif kind in ("returned", "failed"):
            last = str(event["why"]).strip().splitlines()[-1]
            verb = "given up" if kind == "failed" else "to be tried again"
            self.console.print(
                f"fold {event['fold']} {verb} after try {event['tries']}: {last}", markup=False
            )
        elif kind == "finished" and not self.console.is_terminal:
            done = sum(row["state"] == "done" for row in rows)
            val_uf1 = event.get("info", {}).get("val_uf1", math.nan)
            score = f", last val UF1 {val_uf1:.3f}" if math.isfinite(val_uf1) else ""
            self.console.print(
                f"fold {event['fold']} done ({done}/{len(rows)}, ETA {self._eta(rows)}{score})",
                markup=False,
                highlight=False,
            )

    def _eta(self, rows: list[dict[str, Any]]) -> str:
        done = fraction_done(rows, self.epochs)
        elapsed = self.clock() - self._started
        return duration(elapsed * (1 - done) / done if done else math.inf)

    def _table(self, rows: list[dict[str, Any]]) -> Group:
        count = {s: sum(r["state"] == s for r in rows) for s in ("done", "running", "failed")}
        table = Table(box=None, pad_edge=False)
        for name in ("fold", "epoch", "train loss", "val UF1", "worker", "try"):
            table.add_column(name, justify="left" if name in ("fold", "worker") else "right")
        for row in (r for r in rows if r["state"] == "running"):
            info = row["info"]
            figures = [f"{info.get(k, math.nan):.3f}" for k in ("train_loss", "val_uf1")]
            epoch = f"{info.get('epoch', 0)}/{self.epochs}"
            table.add_row(row["name"], epoch, *figures, row["worker"], str(row["tries"]))
        head = Text(
            f"{self.title}: {count['done']} of {len(rows)} folds done, {count['running']} running, "
            f"{count['failed']} failed; ETA {self._eta(rows)}"
        )
        bar = ProgressBar(total=1.0, completed=fraction_done(rows, self.epochs), width=60)
        return Group(head, bar, table)
