"""The workers of a run on Ray: they make the missing folds of a plan.

They are Ray Train worker groups on one board. The first takes the room that there is; when nodes
join while folds wait, a further group takes theirs, and nobody who works is disturbed. When a node
goes, its leases end and the others take its folds over.
"""

import math
import secrets
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, absolute
from dadnet.training.loop import StoppedError
from orchestration.folds.make import WorkOptions, make_folds_of_plan
from orchestration.folds.plan import Plan
from orchestration.folds.queue import MAX_TRIES, Board, FoldBoard
from orchestration.folds.stopping import GRACE_S as STOP_S
from orchestration.workers.backend import IndependentConfig
from orchestration.workers.capacity import (
    Wish,
    WorkerShare,
    check_shared,
    default_workers,
    free_room,
    further_workers,
    offered,
    worker_share,
)
from orchestration.workers.train import KEEP_MEMORY, IndependentTrainer
from orchestration.workers.worker import MakeFolds, train_loop_per_worker
from results.ledger.ledger import Ledger

POLL_S = 0.5
# Once every fold is done or failed, so long is waited for the group to end by itself: after the
# loss of a node `fit()` can wait for ever for a worker that cannot come back.
GRACE_S = 15.0
LEASE_S = 15.0
# Between two looks for room; what is free at two of them is nobody's who is only being replaced.
LOOK_S = 5.0
# A group that has just ended may still hold the room of the next one.
ROOM_S = 3.0
# Longer than an autoscaler's machines need to come.
NO_ROOM_S = 900.0

OnSnapshot = Callable[[dict[str, Any]], None]
OnLoss = Callable[[BaseException | None], None]


def run_group(
    plan: Plan,
    missing: tuple[str, ...],
    options: WorkOptions,
    *,
    workers: int | None,
    stack: int,
    on_snapshot: OnSnapshot,
    gpus_per_worker: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    make: MakeFolds = make_folds_of_plan,
) -> None:
    """Make the missing folds on workers; returns when each is done or has failed.

    Args:
        plan: the experiment's plan.
        missing: names of the folds to make.
        options: where and how.
        workers: at most; None: as many as there ever is room for. Each takes a GPU where the
            cluster has some, else a CPU.
        stack: folds that a worker trains at once; 0: each worker measures what is fastest.
        gpus_per_worker: share of a GPU that each worker takes; None: one where there are some.
        on_snapshot: called about twice a second with the board's state and its new events.
        stop: asked as often; if it says so, the workers keep the states of their folds.
        make: what makes folds, see :func:`orchestration.workers.worker.serve`.

    Raises:
        StoppedError: because of `stop`.
        DadnetError: if there is no room for a worker.
        Exception: what broke all workers, if folds are left.
    """
    check_shared(Ledger(options.ledger).folder(plan.experiment))
    likely = min(workers or default_workers(gpus_per_worker), len(missing))
    name = f"loso-{plan.experiment.dataset}-{plan.experiment.digest}"
    group = WorkerGroup(
        name,
        Board(missing, lease_s=LEASE_S),
        {
            "plan": share(plan),
            "options": options,
            "stack": stack,
            "names": missing,
            "share": math.ceil(len(missing) / likely),
            "make": make,
        },
        epochs=plan.config.optim.epochs,
        share=worker_share(offered().get("GPU", 0), gpus_per_worker),
        at_most=min(workers or len(missing), len(missing)),
        # Enough for every fold to be given up by the board first; not for ever, since workers
        # that cannot even start would then be restarted without end.
        max_failures=10 + MAX_TRIES * len(missing),
    )
    group.follow(on_snapshot, stop=stop)


def share(plan: Plan) -> ray.ObjectRef:
    """Put a plan into the node's shared memory, of which all its processes map the same pages.

    Another node gets one copy when its first worker asks. This process lets go of its own.
    """
    reference = ray.put(plan)
    plan.dataset.share_flows_of(ray.get(reference).dataset)
    return reference


class WorkerGroup:
    """A run's workers with their board.

    Args:
        name: of the run and of the board, for the dashboard.
        board: what is to be made.
        loop: configuration of `train_loop_per_worker`, without board and rank.
        epochs: of a fold at most, for the metrics.
        share: what each worker takes of a machine.
        at_most: workers.
        max_failures: workers that may be replaced.
    """

    def __init__(
        self,
        name: str,
        board: Board,
        loop: dict[str, Any],
        *,
        epochs: int,
        share: WorkerShare,
        at_most: int,
        max_failures: int,
    ) -> None:
        # With the driver: a node that is lost must not take the board along.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(FoldBoard).options(
            # For the dashboard; Ray wants names that differ, and the last board may not be gone.
            name=f"{name} {secrets.token_hex(2)}",
            num_cpus=0,
            max_concurrency=1000,
            scheduling_strategy=here,
        )
        self.board: Any = actor.remote(name, board, epochs)
        self._ask = self.board.call.options(enable_task_events=False).remote
        self._name, self._share, self._at_most = name, share, at_most
        self._loop, self._max_failures = loop, max_failures
        self._fits: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._size = 0  # of all groups; who is lost counts, since a new node is first given to him
        self._wish = Wish(share)
        self._began = self._looked = time.monotonic()
        self._room = 0
        if room := _room_to_begin(share, at_most):
            self._open(min(room, at_most))

    def _open(self, workers: int) -> None:
        """Open one more group."""
        number = len(self._fits)
        name = f"{self._name}-{number}" if number else self._name
        trainer = IndependentTrainer(
            train_loop_per_worker,
            train_loop_config={"board": self.board, "first_rank": self._size, **self._loop},
            backend_config=IndependentConfig(),
            scaling_config=self._share.scaling(workers),
            run_config=RunConfig(
                name=name,
                storage_path=_storage(self._loop["options"].ledger),
                failure_config=FailureConfig(max_failures=self._max_failures),
                worker_runtime_env={"env_vars": {"GLIBC_TUNABLES": KEEP_MEMORY}},
            ),
        )
        self._size += workers
        self._fits.append(
            threading.Thread(target=_fit, args=(trainer, self._failures), daemon=True)
        )
        self._fits[-1].start()

    def _grow(self, snapshot: dict[str, Any]) -> None:
        """Open a further group if folds wait and there is room; tell the autoscaler what we want.

        Raises:
            DadnetError: if there was no room for anybody all the time.
        """
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        waiting = snapshot["counts"]["waiting"]
        add = partial(further_workers, self._at_most, self._size, snapshot["workers"], waiting)
        more = add(sys.maxsize)
        room = add(free_room(self._share)) if more else 0
        if room and room == self._room:
            self._open(room)
            self._tell(f"the cluster has grown: {room} more workers, {self._size} in all")
            more -= room
        elif not self._size:
            self._wait_for_room()
        self._room = room
        self._wish.tell(more)

    def _wait_for_room(self) -> None:
        needs = ", ".join(f"{amount:g} {name}" for name, amount in self._share.resources.items())
        waited = self._looked - self._began
        if waited > NO_ROOM_S:
            raise DadnetError(
                f"cluster: expected a node with {needs} free for a worker, found none in "
                f"{waited:.0f} s"
            )
        if waited < 2 * LOOK_S:
            self._tell(f"waiting for a node with {needs} free")

    def _tell(self, message: str) -> None:
        ray.get(self._ask("note", message))

    def follow(
        self,
        on_snapshot: OnSnapshot,
        on_loss: OnLoss | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Show the board until its folds are done or failed and the workers have ended.

        Args:
            on_snapshot: called about twice a second.
            on_loss: called with what broke the workers if they end while the board is still open.
            stop: whether to stop.

        Raises:
            StoppedError: because of `stop`.
            DadnetError: if there is no room for a worker.
            Exception: what broke all workers, if folds are left.
        """
        over = self._follow(on_snapshot, stop)
        if not over and stop():
            self._leave()
            raise StoppedError("the run was asked to stop")
        failure = self._failures[0] if self._failures else None
        if not over and on_loss is not None:
            on_loss(failure)
            while not self._follow(on_snapshot, stop):
                time.sleep(POLL_S)  # whoever waits is to see it, and then closes the board
        self._leave()
        if failure is not None and not over:
            raise failure

    def _leave(self) -> None:
        self._wish.tell(0)
        ray.kill(self.board)

    def _follow(self, on_snapshot: OnSnapshot, stop: Callable[[], bool]) -> bool:
        """Show the board until the workers end, are no longer needed or have stopped; whether all
        is over."""
        seen = 0
        over_since: float | None = None
        stopped_at: float | None = None
        while True:
            alive = not self._fits or any(fit.is_alive() for fit in self._fits)
            snapshot = ray.get(self._ask("snapshot", seen))
            seen += len(snapshot["events"])
            on_snapshot(snapshot)
            if snapshot["over"]:
                over_since = over_since or time.monotonic()
                if not self._fits:
                    return True
            if not alive or (over_since and time.monotonic() - over_since > GRACE_S):
                return bool(snapshot["over"])
            if stop() and not snapshot["over"]:
                if stopped_at is None:
                    stopped_at = time.monotonic()
                    ray.get(self._ask("stop"))
                if not snapshot["running"] or time.monotonic() - stopped_at > STOP_S:
                    return False
            elif not snapshot["over"]:
                self._grow(snapshot)
            self._wait()

    def _wait(self) -> None:
        """For the next look, or for the last group's end."""
        alive = [fit for fit in self._fits if fit.is_alive()]
        if len(alive) == 1:
            alive[0].join(POLL_S)
        else:
            time.sleep(POLL_S)


def _room_to_begin(share: WorkerShare, at_most: int) -> int:
    """Workers that there is room for now; a moment is given to who is just leaving."""
    until = time.monotonic() + ROOM_S
    full = sum(
        share.fit_in(node["Resources"], node["Resources"]) for node in ray.nodes() if node["Alive"]
    )
    while (room := free_room(share)) < min(full, at_most) and time.monotonic() < until:
        time.sleep(0.2)
    return room


def _storage(ledger: Location) -> str:
    """Where Ray Train keeps its own notes; it reads URIs as pyarrow does."""
    return str(absolute(ledger / ".ray"))


def _fit(trainer: IndependentTrainer, failures: list[BaseException]) -> None:
    try:
        trainer.fit()
    except BaseException as failure:  # it is handed to the driver's thread
        failures.append(failure)
