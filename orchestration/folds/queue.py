"""The board: folds wait on it, workers claim them under a lease, a driver reads its state.

The records in the ledger are the truth; the board only says who works on what. A worker that dies
stops beating, its lease ends, and another takes the fold over from its checkpoint.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Literal, get_args

State = Literal["waiting", "running", "elsewhere", "done", "failed", "cancelled"]
MAX_TRIES = 3
# After so many seconds a fold that another run has claimed is looked at again.
ELSEWHERE_S = 5.0
METRICS_S = 2.0


@dataclass
class FoldRow:
    """What is known of one fold.

    `plan` tells apart the plans that share a board. `tries` counts how often the fold was given
    out, `failures` how often that ended badly: a worker that was told to stop does not count.
    """

    name: str
    plan: str = ""
    state: State = "waiting"
    worker: str = ""
    rank: int = 0
    tries: int = 0
    failures: int = 0
    beaten_at: float = 0.0
    started_at: float = 0.0
    seconds: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)
    why: str = ""


class Board:
    """Folds and leases. Plain Python; :class:`FoldBoard` puts it into an actor.

    Args:
        folds: names of the folds to make, in the order in which they are given out.
        lease_s: seconds without a heartbeat after which a fold is given to another worker.
        clock: seconds; injected in tests.
    """

    def __init__(
        self,
        folds: Sequence[str],
        lease_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows: dict[str, FoldRow] = {}
        # The rows by state: with ten thousand folds nothing may look at all of them often.
        self._by: dict[State, dict[str, FoldRow]] = {state: {} for state in get_args(State)}
        self.lease_s, self.clock = lease_s, clock
        self.events: list[dict[str, Any]] = []
        self.open = False  # whether more folds may come
        self.stopping = False
        self.clips = 0.0  # trained on, over all epochs
        self.failures = 0  # tries that ended badly
        self._ranks: dict[int, str] = {}
        for name in folds:
            self.add(FoldRow(name))

    def add(self, row: FoldRow) -> None:
        """Put a fold on the board, in place of one of its name."""
        self.drop(row.name)
        self.rows[row.name] = self._by[row.state][row.name] = row

    def drop(self, name: str) -> None:
        """Take a fold off the board, if it is there."""
        if (row := self.rows.pop(name, None)) is not None:
            del self._by[row.state][name]

    def move(self, row: FoldRow, state: State) -> None:
        """Change a fold's state; one that waits again is the next to be given out."""
        del self._by[row.state][row.name]
        row.state = state
        if state == "waiting":
            self._by[state] = {row.name: row, **self._by[state]}
        else:
            self._by[state][row.name] = row

    def claim(
        self, worker: str, rank: int, at_most: int, like: str | None = None
    ) -> dict[str, int] | None:
        """Folds for a worker.

        Args:
            worker: name of the worker's process.
            rank: its place in the group; a new process in a place takes over from one that died,
                without waiting for its leases to end.
            at_most: folds that it takes at once.
            like: a fold of whose plan they have to be; None: of that of the first that waits.

        Returns:
            Name and number of the try of up to `at_most` folds; empty if all that are left are
            being worked on (ask again: one may come back); None if nothing is left, or the run
            is to stop. They are of one plan, so that they can be one stack.
        """
        if self.stopping:
            return None
        self._expire()
        if (before := self._ranks.get(rank, worker)) != worker:
            for row in [row for row in self._by["running"].values() if row.worker == before]:
                self._release(row, f"worker {before} died")
        self._ranks[rank] = worker
        if not self._by["waiting"]:
            self._look_elsewhere()
        given = self._next(at_most, like)
        now = self.clock()
        for row in given:
            self.move(row, "running")
            row.worker, row.rank, row.tries = worker, rank, row.tries + 1
            row.beaten_at = row.started_at = now
            row.info = {}
            self._note(row, "started")
        if given or self.open or self._by["running"] or self._by["elsewhere"]:
            return {row.name: row.tries for row in given}
        return None

    def _next(self, at_most: int, like: str | None) -> list[FoldRow]:
        """The folds to give out: the first that wait of one plan."""
        waiting = self._by["waiting"].values()
        if not waiting:
            return []
        plan = next(iter(waiting)).plan if like is None else self.rows[like].plan
        return list(islice((row for row in waiting if row.plan == plan), at_most))

    def beat(self, worker: str, folds: Sequence[str]) -> bool:
        """Keep the leases of these folds; False if one has been given to another worker."""
        rows = [self.rows[name] for name in folds]
        mine = [row for row in rows if row.state == "running" and row.worker == worker]
        for row in mine:
            row.beaten_at = self.clock()
        return len(mine) == len(rows)

    def inform(self, worker: str, fold: str, info: dict[str, Any]) -> bool:
        """Keep one lease and say how far the fold is."""
        if self.beat(worker, [fold]):
            self.rows[fold].info = info
            self.clips += info.get("clips", 0)
            return True
        return False

    def finish(self, worker: str, fold: str) -> None:
        """The fold's record is in the ledger, whoever wrote it."""
        row = self.rows[fold]
        if row.state != "done":
            self.move(row, "done")
            row.worker, row.seconds = worker, self.clock() - row.started_at
            self._note(row, "finished")

    def fail(self, worker: str, fold: str, why: str) -> None:
        """The worker could not make the fold; after `MAX_TRIES` it is not given out again."""
        row = self.rows[fold]
        if row.state == "running" and row.worker == worker:
            self._release(row, why)

    def put_back(self, worker: str, fold: str, why: str) -> None:
        """The worker was told to stop and has kept the fold's state; that is no failure."""
        row = self.rows.get(fold)
        if row is not None and row.state == "running" and row.worker == worker:
            self.move(row, "waiting")
            self._note(row, "yielded", why=why)

    def stop(self) -> None:
        """No fold is given out any more, and workers are to keep the state of theirs."""
        self.stopping = True

    def is_stopping(self) -> bool:
        """Whether workers are to stop."""
        return self.stopping

    def elsewhere(self, worker: str, fold: str) -> None:
        """Another run on the ledger has claimed the fold."""
        row = self.rows.get(fold)
        if row is not None and row.state == "running" and row.worker == worker:
            self.move(row, "elsewhere")
            row.tries -= 1
            row.beaten_at = self.clock()

    def _look_elsewhere(self) -> None:
        for row in list(self._by["elsewhere"].values()):
            if self.clock() - row.beaten_at >= ELSEWHERE_S:
                self.move(row, "waiting")

    def left(self, worker: str, fold: str) -> None:
        """The worker stopped at a fold that was taken from it."""
        if self.rows[fold].state != "cancelled":
            self.warn(worker, f"fold {fold} was given to another worker")

    def warn(self, worker: str, message: str) -> None:
        """Pass a worker's warning on to the driver."""
        self.events.append({"event": "warning", "worker": worker, "message": message})

    def tell(self, worker: str, message: str) -> None:
        """Pass on what a worker has to say."""
        self.events.append({"event": "told", "worker": worker, "message": message})

    def note(self, message: str) -> None:
        """Keep what the driver has to say with the events."""
        self.events.append({"event": "noted", "message": message})

    def snapshot(self, events_from: int = 0) -> dict[str, Any]:
        """Number of folds by state, rows that run, new events, workers so far, whether all is over.

        All is over when every fold is done or failed. The other rows are not in it: a driver asks
        twice a second, and there may be ten thousand of them.
        """
        self._expire()
        return {
            "counts": {state: len(rows) for state, rows in self._by.items()},
            "running": [asdict(row) for row in self._by["running"].values()],
            "events": self.events[events_from:],
            "clips": self.clips,
            "failures": self.failures,
            "workers": len(self._ranks),
            "over": not self.open
            and not any(self._by[state] for state in ("waiting", "running", "elsewhere")),
        }

    def _expire(self) -> None:
        now = self.clock()
        for row in list(self._by["running"].values()):
            if now - row.beaten_at > self.lease_s:
                self._release(row, f"no heartbeat of {row.worker} for {self.lease_s:g} s")

    def _release(self, row: FoldRow, why: str) -> None:
        row.failures += 1
        self.failures += 1
        self.move(row, "failed" if row.failures >= MAX_TRIES else "waiting")
        row.why = why
        self._note(row, "failed" if row.state == "failed" else "returned", why=why)

    def _note(self, row: FoldRow, event: str, **more: Any) -> None:
        entry = {"event": event, "fold": row.name, "worker": row.worker, "tries": row.tries}
        self.events.append({**entry, **more, **({"info": row.info} if row.info else {})})


class FoldBoard:
    """The board as an asynchronous actor; a fold in progress is one of its tasks, by name.

    Args:
        name: of the run.
        board: what is to be made.
        epochs: of a fold at most, for the metrics; 0: none are exported.
    """

    def __init__(self, name: str, board: Board, epochs: int = 0) -> None:
        self._name, self._board, self._epochs = name, board, epochs
        self._metrics: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"FoldBoard({self._name})"

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the board."""
        if self._metrics is None and self._epochs:
            self._metrics = asyncio.create_task(self._export())
        return getattr(self._board, method)(*args)

    async def fold(self, name: str, tries: int) -> str:
        """Last as long as the fold: the dashboard shows it with its name, start and duration."""
        row = self._board.rows.get(name)
        while row is not None and row.state == "running" and row.tries == tries:
            await asyncio.sleep(0.25)
        return row.state if row else "cancelled"

    async def _export(self) -> None:
        from orchestration.reporting.metrics import (
            GroupMetrics,  # Ray, which a run in one process lacks
        )

        metrics = GroupMetrics(self._name, self._epochs)
        while True:
            metrics.update(self._board.snapshot(len(self._board.events)))
            await asyncio.sleep(METRICS_S)
