"""The workers of a run on Ray: they make the missing folds of a plan.

They are Ray Train worker groups on one queue. The first group takes the capacity that there is;
when nodes join while folds wait, a further group takes theirs, and no worker is disturbed. When a
node is lost, its leases end and other workers take its folds.
"""

import math
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dadnet.base.errors import DadnetError
from dadnet.base.location import absolute
from dadnet.training.loop import StoppedError
from orchestration.folds.make import make_folds
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from orchestration.folds.queue import MAX_TRIES, LeaseQueue, OnSnapshot
from orchestration.folds.queue_state import MAX_REPLACED
from orchestration.reporting.stopping import GRACE_S as STOP_S
from orchestration.workers import capacity
from orchestration.workers.handle import QueueHandle, publish
from orchestration.workers.train import KEEP_MEMORY, make_trainer
from orchestration.workers.worker import MakeFolds, train_loop_per_worker
from results.ledger.ledger import Ledger

POLL_S = 0.5
# Once every fold is done or failed, the group has this time to end by itself: after the loss of a
# node `fit()` can wait for ever for a worker that cannot come back.
GRACE_S = 15.0
LEASE_S = 15.0
# Between two measurements of free capacity; what is free at two of them is not that of a worker
# which is only being replaced.
CAPACITY_S = 5.0
# Longer than an autoscaler's machines need to come.
NO_CAPACITY_S = 900.0


def run_group(
    plan: Plan,
    missing: tuple[str, ...],
    options: WorkOptions,
    on_snapshot: OnSnapshot,
    stop: Callable[[], bool],
    workers: int | None,
    gpus_per_worker: float | None = None,
    make: MakeFolds = make_folds,
) -> None:
    """Make the missing folds on workers; returns when each is done or has failed.

    Args:
        plan: the experiment's plan.
        missing: names of the folds to make.
        options: where and how.
        on_snapshot: called about twice a second with the queue's state and its new events.
        stop: asked as often; when it returns True, the workers keep the states of their folds.
        workers: at most; None: as many as the cluster ever has capacity for. Each takes a GPU
            where the cluster has some, else a CPU.
        gpus_per_worker: share of a GPU that each worker takes; None: one where there are some.
        make: what makes folds, see :func:`orchestration.workers.worker.serve`.

    Raises:
        StoppedError: because of `stop`.
        DadnetError: if there is no capacity for a worker.
        Exception: what broke all workers, if folds are left.
    """
    capacity.check_shared(Ledger(options.ledger).folder(plan.experiment))
    likely = min(workers or capacity.default_workers(gpus_per_worker), len(missing))
    group = WorkerGroup(
        f"loso-{plan.experiment.dataset}-{plan.experiment.digest}",
        LeaseQueue,
        missing,
        options,
        plan=plan,
        folds_per_worker=math.ceil(len(missing) / likely),
        epochs=plan.config.optim.epochs,
        worker=capacity.worker_resources(capacity.offered().get("GPU", 0), gpus_per_worker),
        at_most=min(workers or len(missing), len(missing)),
        # Enough for the queue to give up every fold first; not for ever, since workers that cannot
        # even start would then be restarted without end.
        max_failures=10 + (MAX_TRIES + MAX_REPLACED) * len(missing),
        make=make,
    )
    group.follow(on_snapshot, stop=stop)


class WorkerGroup:
    """A run's workers with their queue.

    Args:
        name: of the run and of the queue, for the dashboard.
        queue: class of the queue.
        folds: names of the folds that it begins with.
        options: where and how folds are made.
        plan: of these folds; None: the queue gets its plans later.
        folds_per_worker: the largest stack to measure, where the stack is `auto`.
        epochs: of a fold at most, for the metrics.
        worker: what each worker takes of a machine.
        at_most: workers.
        max_failures: workers that may be replaced.
        make: what makes folds.
    """

    def __init__(
        self,
        name: str,
        queue: type[LeaseQueue],
        folds: Sequence[str],
        options: WorkOptions,
        *,
        plan: Plan | None = None,
        folds_per_worker: int = 1,
        epochs: int,
        worker: capacity.WorkerResources,
        at_most: int,
        max_failures: int,
        make: MakeFolds = make_folds,
    ) -> None:
        # With the driver: a node that is lost must not take the queue along.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(queue).options(
            # For the dashboard; Ray requires different names, and an old queue may not be gone.
            name=f"{name} {secrets.token_hex(2)}",
            num_cpus=0,
            max_concurrency=1000,
            scheduling_strategy=here,
        )
        self.queue = QueueHandle(actor.remote(folds, LEASE_S, title=name))
        if plan is not None:
            self.queue.ask(LeaseQueue.add_base, "", [publish(plan)])
        self.queue.send(LeaseQueue.export_metrics, epochs)
        self._loop = {
            "queue": self.queue.actor,
            "options": options,
            "names": folds,
            "folds_per_worker": folds_per_worker,
            "make": make,
        }
        self._name, self._worker, self._at_most = name, worker, at_most
        self._run = partial(
            RunConfig,
            # Where Ray Train keeps its own notes; it reads URIs as pyarrow does.
            storage_path=str(absolute(options.ledger / ".ray")),
            failure_config=FailureConfig(max_failures=max_failures),
            worker_runtime_env={"env_vars": {"GLIBC_TUNABLES": KEEP_MEMORY}},
        )
        self._fits: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._size = 0  # workers asked for; a lost one still counts: it gets the next free node
        self._request = capacity.CapacityRequest(worker)
        self._began = self._measured = time.monotonic()
        self._free = 0
        if free := capacity.capacity_to_begin(worker, at_most):
            self._open(min(free, at_most))

    def _open(self, workers: int) -> None:
        """Open one more group."""
        number = len(self._fits)
        trainer = make_trainer(
            train_loop_per_worker,
            {"first_rank": self._size, **self._loop},
            scaling_config=self._worker.scaling(workers),
            run_config=self._run(name=f"{self._name}-{number}" if number else self._name),
        )
        self._size += workers

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as failure:  # it is handed to the driver's thread
                self._failures.append(failure)

        self._fits.append(threading.Thread(target=fit, daemon=True))
        self._fits[-1].start()

    def _grow(self, snapshot: dict[str, Any]) -> None:
        """Open a further group if folds wait and there is capacity; else request more of it.

        Raises:
            DadnetError: if there was no capacity for any worker all the time.
        """
        if time.monotonic() - self._measured < CAPACITY_S:
            return
        self._measured = time.monotonic()
        begun, waiting = snapshot["workers"], snapshot["counts"]["waiting"]
        add = partial(capacity.further_workers, self._at_most, self._size, begun, waiting)
        more = add(sys.maxsize)
        free = add(capacity.free_capacity(self._worker)) if more else 0
        if free and free == self._free:
            self._open(free)
            self._note(f"the cluster has grown: {free} more workers, {self._size} in all")
            more -= free
        elif not self._size:
            self._wait_for_capacity()
        self._free = free
        self._request.send(more)

    def _wait_for_capacity(self) -> None:
        needs = ", ".join(f"{amount:g} {name}" for name, amount in self._worker.by_name.items())
        waited = self._measured - self._began
        if waited > NO_CAPACITY_S:
            raise DadnetError(
                f"cluster: expected a node with {needs} free for a worker, found none in "
                f"{waited:.0f} s"
            )
        if waited < 2 * CAPACITY_S:
            self._note(f"waiting for a node with {needs} free")

    def _note(self, message: str) -> None:
        self.queue.ask(LeaseQueue.message, "noted", message)

    def follow(
        self,
        on_snapshot: OnSnapshot,
        on_loss: Callable[[BaseException | None], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Show the queue until its folds are done or failed and the workers have ended.

        Args:
            on_snapshot: called about twice a second.
            on_loss: called with what broke the workers if they end while the queue is still open.
            stop: whether to stop.

        Raises:
            StoppedError: because of `stop`.
            DadnetError: if there is no capacity for a worker.
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
                time.sleep(POLL_S)  # the trials that wait see it, and then the queue is closed
        self._leave()
        if failure is not None and not over:
            raise failure

    def _leave(self) -> None:
        self._request.send(0)
        ray.kill(self.queue.actor)

    def _follow(self, on_snapshot: OnSnapshot, stop: Callable[[], bool]) -> bool:
        """Show the queue until the workers end, are no longer needed or have stopped; whether all
        is over."""
        seen = 0
        over_since: float | None = None
        stopped_at: float | None = None
        while True:
            alive = not self._fits or any(fit.is_alive() for fit in self._fits)
            snapshot = self.queue.ask(LeaseQueue.snapshot, seen)
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
                    self.queue.ask(LeaseQueue.stop)
                if not snapshot["running"] or time.monotonic() - stopped_at > STOP_S:
                    return False
            elif not snapshot["over"]:
                self._grow(snapshot)
            self._wait()

    def _wait(self) -> None:
        """Wait for the next snapshot, or for the end of the last group."""
        alive = [fit for fit in self._fits if fit.is_alive()]
        if len(alive) == 1:
            alive[0].join(POLL_S)
        else:
            time.sleep(POLL_S)
