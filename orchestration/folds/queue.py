"""The queue of folds: workers take folds under a lease, a driver reads the queue's state.

The records in the ledger are the truth; the queue only knows which worker trains which fold. A
worker that dies sends no heartbeat, its lease ends, and another worker continues the fold from its
checkpoint.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

State = Literal["waiting", "running", "elsewhere", "done", "failed", "cancelled"]
MAX_TRIES = 3
# Seconds after which a fold that another run has claimed is tried again.
ELSEWHERE_S = 5.0
METRICS_S = 2.0

# Called with the queue's state and its new events.
OnSnapshot = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Claim:
    """A fold that a worker has taken.

    Attributes:
        fold: its name in its plan.
        plan: name of the plan; empty where the queue has one plan only.
        worker: name of the worker.
        tries: number of this try, from 1.
    """

    fold: str
    plan: str
    worker: str
    tries: int

    @property
    def name(self) -> str:
        """The fold's name in the queue."""
        return queue_name(self.plan, self.fold)

    @property
    def circumstances(self) -> dict[str, Any]:
        """What the fold's record says of the claim."""
        return {"worker": self.worker, "tries": self.tries}


def queue_name(plan: str, fold: str) -> str:
    """A fold's name in the queue: ``plan/fold``, or that of the fold where there is one plan."""
    return f"{plan}/{fold}" if plan else fold


@dataclass
class FoldRow:
    """The state of one fold.

    `tries` counts how often the fold was given out, `failures` how often that ended badly: a
    worker that was asked to stop does not count.
    """

    fold: str
    plan: str = ""
    state: State = "waiting"
    worker: str = ""
    rank: int = 0
    tries: int = 0
    failures: int = 0
    renewed_at: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        self.name = queue_name(self.plan, self.fold)


class LeaseQueue:
    """Folds and leases, for one process or, as an asynchronous Ray actor, for a cluster.

    Args:
        folds: names of the folds to make, in the order in which they are given out.
        lease_s: seconds without a heartbeat after which a fold is given to another worker.
        clock: seconds; injected in tests.
        title: of the run, for Ray's dashboard.
    """

    def __init__(
        self,
        folds: Sequence[str] = (),
        lease_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        title: str = "",
    ) -> None:
        self.rows: dict[str, FoldRow] = {}
        # The rows by state: with ten thousand folds nothing may look at all of them often.
        self._by: dict[State, dict[str, FoldRow]] = {state: {} for state in get_args(State)}
        self.lease_s, self.clock, self.title = lease_s, clock, title
        self.events: list[dict[str, Any]] = []
        self.open = False  # whether more folds may come
        self.stopping = False
        self.clips = 0.0  # trained on, over all epochs
        self.failures = 0  # tries that ended badly
        self._ranks: dict[int, str] = {}
        self._bases: dict[str, list[Any]] = {}
        for fold in folds:
            self.add(FoldRow(fold))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title})"

    def add(self, row: FoldRow) -> None:
        """Add a fold, in place of one of the same name."""
        self.drop(row.name)
        self.rows[row.name] = self._by[row.state][row.name] = row

    def drop(self, name: str) -> None:
        """Remove a fold, if it is there."""
        if (row := self.rows.pop(name, None)) is not None:
            del self._by[row.state][name]

    def add_base(self, name: str, reference: list[Any]) -> None:
        """Add a plan, given as its object reference in a list: Ray resolves it nowhere else."""
        self._bases[name] = reference

    def drop_base(self, name: str) -> None:
        """Remove a plan whose folds are made."""
        self._bases.pop(name, None)

    def base(self, name: str) -> list[Any]:
        """The object reference of a plan, in a list."""
        return self._bases[name]

    def plan_values(self, plan: str) -> tuple[str, dict[str, Any]]:
        """Name of the base plan, and what is changed of its configuration; nothing here."""
        return plan, {}

    def move(self, row: FoldRow, state: State) -> None:
        """Change a fold's state; one that waits again is the next to be given out."""
        del self._by[row.state][row.name]
        row.state = state
        if state == "waiting":
            self._by[state] = {row.name: row, **self._by[state]}
        else:
            self._by[state][row.name] = row

    def claim(self, worker: str, rank: int, plan: str | None = None) -> Claim | None:
        """The next fold for a worker.

        Args:
            worker: name of the worker's process.
            rank: its rank in the group; a new process of a rank replaces one that died, without
                waiting for its leases to end.
            plan: the fold's plan; None: any.

        Returns:
            None if no fold of the plan waits now, or the run is to stop; see `is_over`.
        """
        if self.stopping:
            return None
        self._expire()
        if (before := self._ranks.get(rank, worker)) != worker:
            for old in [row for row in self._by["running"].values() if row.worker == before]:
                self._release(old, f"worker {before} died")
        self._ranks[rank] = worker
        if not self._by["waiting"]:
            self._retry_elsewhere()
        waiting = self._by["waiting"].values()
        fits = (row for row in waiting if plan is None or row.plan == plan)
        if (row := next(fits, None)) is None:
            return None
        self.move(row, "running")
        row.worker, row.rank, row.tries, row.info = worker, rank, row.tries + 1, {}
        row.renewed_at = self.clock()
        self._log(row, "started")
        return Claim(row.fold, row.plan, worker, row.tries)

    def is_over(self) -> bool:
        """Whether a worker that got no fold may end: none will come back, or the run stops."""
        return self.stopping or not self._goes_on()

    def _goes_on(self) -> bool:
        return self.open or any(self._by[state] for state in ("waiting", "running", "elsewhere"))

    def heartbeat(self, worker: str, names: Sequence[str]) -> bool:
        """Renew the leases of a worker's folds; returns whether the worker is to stop."""
        self.renew(worker, names)
        return self.stopping

    def renew(self, worker: str, names: Sequence[str]) -> bool:
        """Renew the leases of these folds; False if one is no longer this worker's."""
        rows = [row for name in names if (row := self._held(worker, name)) is not None]
        for row in rows:
            row.renewed_at = self.clock()
        return len(rows) == len(names)

    def _held(self, worker: str, name: str) -> FoldRow | None:
        row = self.rows.get(name)
        return row if row and row.state == "running" and row.worker == worker else None

    def inform(self, worker: str, name: str, info: dict[str, Any]) -> bool:
        """Renew one lease and store how far the fold is; False if the lease is lost."""
        if not self.renew(worker, [name]):
            self.warn_of_loss(worker, name)
            return False
        self.rows[name].info = info
        self.clips += info.get("clips", 0)
        return True

    def finish(self, worker: str, name: str) -> None:
        """The fold's record is in the ledger, whichever worker wrote it."""
        row = self.rows[name]
        if row.state != "done":
            self.move(row, "done")
            row.worker = worker
            self._log(row, "finished")

    def fail(self, worker: str, name: str, why: str) -> None:
        """The worker could not make the fold; after `MAX_TRIES` it is not given out again."""
        if (row := self._held(worker, name)) is not None:
            self._release(row, why)

    def diverge(self, worker: str, name: str, why: str) -> None:
        """The fold's loss is not finite: it is not given out again, it would end so again."""
        if (row := self._held(worker, name)) is not None:
            row.failures = MAX_TRIES - 1
            self._release(row, why)

    def put_back(self, worker: str, name: str, why: str) -> None:
        """The worker was asked to stop and has written the fold's state; that is no failure."""
        if (row := self._held(worker, name)) is not None:
            self.move(row, "waiting")
            self._log(row, "yielded", why=why)

    def elsewhere(self, worker: str, name: str) -> None:
        """Another run on the ledger has claimed the fold."""
        if (row := self._held(worker, name)) is not None:
            self.move(row, "elsewhere")
            row.tries -= 1
            row.renewed_at = self.clock()

    def _retry_elsewhere(self) -> None:
        for row in list(self._by["elsewhere"].values()):
            if self.clock() - row.renewed_at >= ELSEWHERE_S:
                self.move(row, "waiting")

    def stop(self) -> None:
        """Give out no more folds; workers are to write the states of theirs."""
        self.stopping = True

    def message(
        self, kind: Literal["warning", "told", "noted"], message: str, worker: str = ""
    ) -> None:
        """Pass a message on to the driver: a worker's warning or report, or the driver's own."""
        sender = {"worker": worker} if worker else {}
        self.events.append({"event": kind, **sender, "message": message})

    def warn_of_loss(self, worker: str, name: str) -> None:
        """Warn that a worker stops at a fold that another worker has."""
        if self.rows[name].state != "cancelled":
            self.message("warning", f"fold {name} was given to another worker", worker)

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
            "over": not self._goes_on(),
        }

    def _expire(self) -> None:
        now = self.clock()
        for row in list(self._by["running"].values()):
            if now - row.renewed_at > self.lease_s:
                self._release(row, f"no heartbeat of {row.worker} for {self.lease_s:g} s")

    def _release(self, row: FoldRow, why: str) -> None:
        row.failures += 1
        self.failures += 1
        self.move(row, "failed" if row.failures >= MAX_TRIES else "waiting")
        row.why = why
        self._log(row, "failed" if row.state == "failed" else "returned", why=why)

    def _log(self, row: FoldRow, event: str, **more: Any) -> None:
        entry = {"event": event, "fold": row.name, "worker": row.worker, "tries": row.tries}
        self.events.append({**entry, **more, **({"info": row.info} if row.info else {})})

    async def fold(self, name: str, tries: int) -> str:
        """Last as long as the fold: the dashboard shows it with its name, start and duration."""
        row = self.rows.get(name)
        while row is not None and row.state == "running" and row.tries == tries:
            await asyncio.sleep(0.25)
        return row.state if row else "cancelled"

    async def export_metrics(self, epochs: int) -> None:
        """Export the state to Prometheus as long as the actor lives; `epochs` of a fold at most."""
        from orchestration.reporting.metrics import GroupMetrics  # Ray, only in an actor

        metrics = GroupMetrics(self.title, epochs)
        while True:
            metrics.update(self.snapshot(len(self.events)))
            await asyncio.sleep(METRICS_S)
