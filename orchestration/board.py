"""The board: folds wait on it, workers claim them under a lease, a driver reads its state.

The records in the ledger are the truth; the board only says who works on what. A worker that dies
stops beating, its lease ends, and another takes the fold over from its checkpoint.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["waiting", "running", "done", "failed", "cancelled"]
MAX_TRIES = 3


@dataclass
class FoldRow:
    """What is known of one fold; `plan` tells apart the plans that share a board."""

    name: str
    plan: str = ""
    state: State = "waiting"
    worker: str = ""
    tries: int = 0
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
        self.rows = {name: FoldRow(name) for name in folds}
        self.lease_s, self.clock = lease_s, clock
        self.events: list[dict[str, Any]] = []
        self.open = False  # whether more folds may come
        self._ranks: dict[int, str] = {}

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
            being worked on (ask again: one may come back); None if nothing is left. They are of
            one plan, so that they can be one stack.
        """
        self._expire()
        if (before := self._ranks.get(rank, worker)) != worker:
            for row in self.rows.values():
                if row.state == "running" and row.worker == before:
                    self._release(row, f"worker {before} died")
        self._ranks[rank] = worker
        waiting = [row for row in self.rows.values() if row.state == "waiting"]
        if waiting:
            plan = waiting[0].plan if like is None else self.rows[like].plan
            waiting = [row for row in waiting if row.plan == plan][:at_most]
        now = self.clock()
        for row in waiting:
            row.state, row.worker, row.tries = "running", worker, row.tries + 1
            row.beaten_at = row.started_at = now
            row.info = {}
            self._note(row, "started")
        if waiting or self.open or any(row.state == "running" for row in self.rows.values()):
            return {row.name: row.tries for row in waiting}
        return None

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
            return True
        return False

    def finish(self, worker: str, fold: str) -> None:
        """The fold's record is in the ledger, whoever wrote it."""
        row = self.rows[fold]
        if row.state != "done":
            row.state, row.worker, row.seconds = "done", worker, self.clock() - row.started_at
            self._note(row, "finished")

    def fail(self, worker: str, fold: str, why: str) -> None:
        """The worker could not make the fold; after `MAX_TRIES` it is not given out again."""
        row = self.rows[fold]
        if row.state == "running" and row.worker == worker:
            self._release(row, why)

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

    def snapshot(self, events_from: int = 0) -> dict[str, Any]:
        """Rows, new events, and whether everything is done or failed."""
        self._expire()
        return {
            "rows": [asdict(row) for row in self.rows.values()],
            "events": self.events[events_from:],
            "over": not self.open
            and all(row.state in ("done", "failed", "cancelled") for row in self.rows.values()),
        }

    def _expire(self) -> None:
        now = self.clock()
        for row in self.rows.values():
            if row.state == "running" and now - row.beaten_at > self.lease_s:
                self._release(row, f"no heartbeat of {row.worker} for {self.lease_s:g} s")

    def _release(self, row: FoldRow, why: str) -> None:
        row.state = "failed" if row.tries >= MAX_TRIES else "waiting"
        row.why = why
        self._note(row, "failed" if row.state == "failed" else "returned", why=why)

    def _note(self, row: FoldRow, event: str, **more: Any) -> None:
        entry = {"event": event, "fold": row.name, "worker": row.worker, "tries": row.tries}
        self.events.append({**entry, **more, **({"info": row.info} if row.info else {})})


class FoldBoard:
    """The board as an asynchronous actor; a fold in progress is one of its tasks, by name."""

    def __init__(self, name: str, board: Board) -> None:
        self._name = name
        self._board = board

    def __repr__(self) -> str:
        return f"FoldBoard({self._name})"

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the board."""
        return getattr(self._board, method)(*args)

    async def fold(self, name: str, tries: int) -> str:
        """Last as long as the fold: the dashboard shows it with its name, start and duration."""
        row = self._board.rows.get(name)
        while row is not None and row.state == "running" and row.tries == tries:
            await asyncio.sleep(0.25)
        return row.state if row else "cancelled"
