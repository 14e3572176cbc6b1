"""What runs and how far it is, in any terminal: `dadnet watch --ledger FOLDER`.

Read from the ledger and the event logs alone, so it works from another terminal or machine that
sees the folder, for a run that goes on, has ended or has died, and when the cluster is gone. Until
nothing runs any more, or once for scripts. Exit status: 0 if every experiment shown is complete,
2 bad input, 3 incomplete.
"""

import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dadnet.base import cli
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, is_remote, on_disk
from orchestration.reporting.events import EventLog, LoggedFold, LoggedRun
from orchestration.reporting.progress import duration, remaining
from results.leaderboard.names import begins_so, names_in
from results.ledger.files import LedgerWarning, lines_of
from results.ledger.ledger import Ledger
from results.ledger.mirror import readable
from results.ledger.records import Experiment

LOOK_S = 2.0
_ORDER = ("running", "lost", "failed", "damaged", "waiting", "done")


@dataclass(frozen=True, kw_only=True)
class WatchFlags:
    """Where to look."""

    ledger: Location = Path("runs")
    """Folder of finished folds, or s3://bucket/folder."""
    name: tyro.conf.Positional[str | None] = None
    """Digest or name of an experiment, or its beginning; default all that have an event log."""
    experiment: str | None = None
    """The same as a flag."""
    once: bool = False
    """Print the tables and stop."""
    rows: int = 20
    """Folds that are shown of each experiment, running ones first; 0: all."""

    def __post_init__(self) -> None:
        if self.name and self.experiment:
            raise DadnetError("experiment: expected it once, got it as a word and by --experiment")
        if self.rows < 0:
            raise DadnetError(f"rows: expected 0 or more, got {self.rows}")


class Watched:
    """An experiment with its log, or a search.

    Args:
        title: what it is.
        log: its event log.
        of: the experiment with its ledger; None for a search, whose folds are in its log.
    """

    def __init__(self, title: str, log: Path, of: tuple[Ledger, Experiment] | None = None) -> None:
        self.title = title
        self._log, self._of = EventLog(log), of
        self._planned = None if of is None else tuple(fold.name for fold in of[1].folds)
        self._seen: dict[str, tuple[tuple[int, ...], bool]] = {}
        self.run, self.folds = LoggedRun(), list[LoggedFold]()

    @classmethod
    def of(cls, ledger: Ledger, experiment: Experiment, name: str = "") -> "Watched":
        """An experiment of a ledger, with its name."""
        return cls(
            f"{experiment.dataset} {experiment.digest} {name or experiment.method}",
            on_disk(ledger.events_path(experiment)),
            (ledger, experiment),
        )

    def look(self, now: float) -> None:
        """Read log and ledger; a record counts, whatever the log says."""
        self.run = self._log.look()
        goes_on = self.run.state(now) in ("running", "silent")
        names = tuple(self.run.folds) if self._planned is None else self._planned
        self.folds = [self.run.folds.get(name, LoggedFold(name)) for name in names]
        if self._of is not None:
            for fold in self.folds:
                valid = self._has_record(*self._of, fold.name)
                if valid is not None:
                    fold.state = "done" if valid else "damaged"
                elif fold.state == "done":  # its record was removed
                    fold.state = "waiting"
        for fold in self.folds:
            if fold.state == "running" and not goes_on:
                fold.state = "lost"

    def _has_record(self, ledger: Ledger, experiment: Experiment, name: str) -> bool | None:
        """Whether a fold's record can be used; None without one. Each is read once."""
        try:
            status = on_disk(ledger.fold_path(experiment, name)).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        stamp = (status.st_size, status.st_ino, status.st_mtime_ns)
        if self._seen.get(name, ((), False))[0] != stamp:
            self._seen[name] = (stamp, ledger.record(experiment, name) is not None)
        return self._seen[name][1]

    @property
    def count(self) -> Counter[str]:
        """Folds by state."""
        return Counter(fold.state for fold in self.folds)

    @property
    def complete(self) -> bool:
        """Whether every planned fold has a record, or the search has ended."""
        if self._planned is None:
            return self.run.ended == ""
        return self.count["done"] == len(self.folds)

    def eta(self, now: float) -> float:
        """Seconds until all folds are done, at the speed of this run; infinite if unknown."""
        # The number of folds of a search is not known before its end.
        if self._planned is None or not self.run.working_at:
            return math.inf
        run = self.run
        parts = sum(f.epoch / run.epochs for f in self.folds if f.state == "running" and run.epochs)
        left = sum(f.state in ("running", "waiting") for f in self.folds)
        made = run.finished + parts
        return remaining(now - run.working_at, made / max(1, run.finished + left))


def find(flags: WatchFlags) -> list[Watched]:
    """The experiments and searches to show, the newest log last.

    Raises:
        DadnetError: if there are none.
    """
    ledger, word = readable(Ledger(flags.ledger)), flags.name or flags.experiment
    experiments = ledger.experiments()
    logs = ledger.local_root.glob(".studies/**/events.jsonl")
    searches = [] if word else sorted(logs)
    if not experiments and not searches:
        raise DadnetError(f"ledger: expected a folder with experiments, got {flags.ledger}")
    names = names_in(ledger, experiments)
    chosen = begins_so(experiments, names, word or "")
    if not chosen and not searches:
        known = ", ".join(e.digest for e in experiments[:8])
        raise DadnetError(f"experiment: expected the start of one of {known}, got {word}")
    logged = [e for e in chosen if word or ledger.events_path(e).exists()]
    if not logged and not searches:
        raise DadnetError(
            f"ledger: none of the {len(chosen)} experiments in {flags.ledger} has an event log; "
            "name one by --experiment"
        )
    watched = [Watched.of(ledger, e, names[e.digest]) for e in logged]
    watched += [Watched(f"search {path.parent}", path) for path in searches]
    for each in watched:
        each.look(time.time())
    return sorted(watched, key=lambda each: each.run.last_at)


def draw(watched: Sequence[Watched], now: float, rows: int) -> Group:
    """A head line for each experiment; a table too for those that are not complete.

    Each has been looked at; its table has so many rows at most, with 0 all.
    """
    parts: list[RenderableType] = []
    for each in watched:
        parts.append(Text(_head(each, now)))
        if not each.complete or len(watched) == 1:
            parts.extend(_table(each, now, rows))
    return Group(*parts)


def _head(each: Watched, now: float) -> str:
    run, count = each.run, each.count
    state = run.state(now)
    line = (
        f"{each.title}: {count['done']} of {len(each.folds)} folds done, {count['running']} "
        f"running, {count['failed']} failed, {sum(f.retries for f in each.folds)} retries; "
    )
    if count["damaged"]:
        line += f"{count['damaged']} damaged; "
    if each.complete:
        return line + "complete"
    if state == "running":
        since = duration(max(0.0, now - run.started_at))
        return line + f"running for {since}, ETA {duration(each.eta(now))}"
    if state == "unknown":
        return line + "no run has reported yet"
    return line + f"{state}, last news {duration(max(0.0, now - run.last_at))} ago"


def _table(each: Watched, now: float, rows: int) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False)
    for name in ("fold", "state", "epoch", "val UF1", "retries", "time", "worker", "last error"):
        right = name in ("epoch", "val UF1", "retries", "time")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.columns[0].min_width = max((len(fold.name) for fold in each.folds), default=0)
    ordered = sorted(each.folds, key=lambda f: (_ORDER.index(f.state), -f.ended_at))
    shown = ordered[:rows] if rows else ordered
    for fold in shown:
        seconds = (now if fold.state == "running" else fold.ended_at) - fold.started_at
        cells = (
            fold.name,
            fold.state,
            f"{fold.epoch}/{each.run.epochs}" if fold.epoch else "",
            "" if fold.val_uf1 is None or math.isnan(fold.val_uf1) else f"{fold.val_uf1:.3f}",
            str(fold.retries or ""),
            duration(seconds) if fold.started_at and seconds >= 0 else "",
            fold.worker,
            fold.why.strip().splitlines()[-1] if fold.why.strip() and fold.retries else "",
        )
        table.add_row(*(Text(cell) for cell in cells))  # a bracket is no markup here
    left = Counter(fold.state for fold in ordered[len(shown) :])
    if not left:
        return [table]
    text = ", ".join(f"{number} {state}" for state, number in left.items())
    return [table, Text(f"and {text} (--rows 0 shows them)")]


def watch(flags: WatchFlags, console: Console) -> int:
    """Show the runs of a ledger until none goes on.

    Returns:
        Exit status: 0 if every experiment shown is complete, else 3.

    Raises:
        DadnetError: if there is nothing to show.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LedgerWarning)
        status = _watch(flags, console)
    for line in lines_of(caught):
        console.print(f"warning: {line}", markup=False)
    return status


def _watch(flags: WatchFlags, console: Console) -> int:
    watched = find(flags)

    def picture() -> Group:
        if is_remote(flags.ledger):  # an object has no new part: read again
            watched[:] = find(flags)
        for each in watched:
            each.look(time.time())
        return draw(watched, time.time(), flags.rows)

    def goes_on() -> bool:
        return any(each.run.state(time.time()) == "running" for each in watched)

    if not flags.once and console.is_terminal:
        # Ctrl-C ends this loop; the last table is drawn below.
        with (
            suppress(KeyboardInterrupt),
            Live(picture(), console=console, auto_refresh=False, transient=True) as live,
        ):
            while goes_on():
                time.sleep(LOOK_S)
                live.update(picture(), refresh=True)
    if not console.is_terminal:  # a pipe or file has no width: nothing is cut off there
        console.width = 300
    console.print(picture(), soft_wrap=False)
    return cli.DONE if all(each.complete for each in watched) else cli.INCOMPLETE


WATCH = cli.Command("dadnet watch", WatchFlags)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return WATCH.run(lambda flags: watch(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
