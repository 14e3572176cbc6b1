"""The loop of one Ray Train worker: take folds from the queue, make them, until none is left.

`ray.train.report` is never called: it is a barrier over all workers, and these work on their own.
Records and checkpoints are written by the worker itself.
A worker whose device or process is broken, or that the queue found to be sick, ends; Ray Train
starts another process in its place.
"""

import gc
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
import ray.train
import torch

from dadnet.base.location import is_remote
from dadnet.training.loop import StoppedError
from orchestration.folds.make import make_folds, with_measured_stack
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan, with_config
from orchestration.folds.queue import Claim, LeaseQueue
from orchestration.folds.queue_state import is_of_the_process
from orchestration.folds.worker_queue import FoldQueue, LeaseLostError, WorkerQueue
from orchestration.reporting.stopping import WORKER_STOP
from orchestration.workers.handle import QueueHandle
from search_spaces.space import apply_values

HEARTBEAT_S = 2.0
ASK_AGAIN_S = 0.5

# As `make_folds`; the benchmark of this machinery has folds that only take time.
MakeFolds = Callable[[Plan, FoldQueue, WorkOptions, Callable[[], bool]], None]


class RemoteQueue(WorkerQueue):
    """The queue in its actor, as one worker sees it."""

    def __init__(self, actor: Any, worker: str, rank: int) -> None:
        self.handle = QueueHandle(actor)
        super().__init__(self.handle.ask, worker, rank)

    def claim(self, plan: str | None) -> Claim | None:
        """As of `WorkerQueue`; the dashboard shows the fold as a named task while it is made."""
        if (claim := super().claim(plan)) is not None:
            task = self.handle.actor.fold.options(name=f"fold {claim.name}")
            task.remote(claim.name, claim.tries)
        return claim

    def inform(self, fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """As of `FoldQueue`; with this process's GPU memory."""
        super().inform(fold, epoch, {**metrics, **_memory()})

    @contextmanager
    def heartbeats(self) -> Iterator[None]:
        """Renew the leases of the folds that are held, and ask whether the run is to stop."""
        over = threading.Event()
        thread = threading.Thread(target=self._send_heartbeats, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _send_heartbeats(self, over: threading.Event) -> None:
        while not over.wait(HEARTBEAT_S):
            names = [claim.name for claim in list(self.held.values())]
            with suppress(ray.exceptions.RayError):  # the calls of the training see it too
                if self.ask(LeaseQueue.heartbeat, self.worker, names):
                    WORKER_STOP.ask()

    def retire_for(self, error: BaseException) -> None:
        """End this worker because of an error of its device or process."""
        last = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
        traceback.clear_frames(error.__traceback__)  # what they hold may be the missing memory
        gc.collect()
        self.retire(last)

    @contextmanager
    def passing_on_warnings(self) -> Iterator[None]:
        """Show warnings on the driver's terminal instead of in a worker's log."""

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            self.handle.send(LeaseQueue.message, "warning", str(message), self.worker)

        with warnings.catch_warnings():
            warnings.showwarning = show
            yield


def _memory() -> dict[str, float]:
    if not torch.cuda.is_available():
        return {}
    return {"gpu_memory_bytes": float(torch.cuda.max_memory_allocated())}


class Plans:
    """The plans that a worker makes folds of, fetched from the queue."""

    def __init__(self, handle: QueueHandle) -> None:
        self._handle = handle
        self._bases: dict[str, Plan] = {}

    def of(self, name: str) -> Plan:
        """The plan of that name."""
        base, values = self._handle.ask(LeaseQueue.plan_values, name)
        if base not in self._bases:  # only the newest: a study over other subjects has begun
            [reference] = self._handle.ask(LeaseQueue.base, base)
            self._bases = {base: ray.get(reference)}
        plan = self._bases[base]
        return with_config(plan, apply_values(plan.config, values)) if values else plan


def train_loop_per_worker(config: dict[str, Any]) -> None:
    """Make folds until the queue has none left.

    Args:
        config: ``queue`` (actor), ``first_rank`` (of this group of several), ``options``
            (`WorkOptions`), ``names`` (missing folds), ``folds_per_worker`` (how many of them one
            worker makes) and, where it is not :func:`make_folds`, ``make``.
    """
    context = ray.get_runtime_context()
    rank = config["first_rank"] + ray.train.get_context().get_world_rank()
    queue = RemoteQueue(config["queue"], f"{context.get_node_id()[:6]}-{os.getpid()}", rank)
    plans, options = Plans(queue.handle), config["options"]
    if torch.cuda.is_available():
        options = replace(options, device="cuda")
    with queue.passing_on_warnings():
        if ray.get_gpu_ids() and options.device == "cpu":
            warnings.warn(
                "Ray gave this worker a GPU but torch sees none; it trains on the CPU", stacklevel=1
            )
        try:
            # A number is only reported: whether folds of a user's network are one program.
            if options.stack == "auto" or (rank == 0 and options.stack > 1 and config["names"]):
                options = with_measured_stack(
                    plans.of(""), config["names"], options, config["folds_per_worker"], queue.report
                )
            serve(queue, plans, options, config.get("make", make_folds))
        except Exception as error:
            if not is_of_the_process(error):
                raise
            queue.retire_for(error)
    if queue.ask(LeaseQueue.verdict, queue.worker) == "replace":
        os._exit(1)  # Ray would regard a return as the end of this rank's part
    if WORKER_STOP.by_signal:
        # The machine may be about to go, and Ray is to start a new worker elsewhere; it would
        # regard a return as the end of this worker's part.
        os._exit(128 + signal.SIGTERM)


def serve(
    queue: RemoteQueue, plans: Plans, options: WorkOptions, make: MakeFolds = make_folds
) -> None:
    """Call `make` for one plan after another, until no fold is left or this worker is to stop."""
    while not WORKER_STOP():
        if (claim := queue.begin()) is not None:
            _make(queue, plans, claim.plan, options, make)
        elif queue.ask(LeaseQueue.is_over, queue.worker):
            return
        else:
            time.sleep(ASK_AGAIN_S)


def _make(
    queue: RemoteQueue, plans: Plans, plan: str, options: WorkOptions, make: MakeFolds
) -> None:
    """Make folds of a plan; those that are not finished at the end are given back."""
    why = ""
    if (lost := _unseen_storage(options)) is not None:
        queue.retire(lost)
        return
    try:
        with queue.heartbeats():
            make(plans.of(plan), queue, options, WORKER_STOP)
    except StoppedError:
        pass
    except LeaseLostError:  # the others of its stack have not failed
        queue.put_back("left with a fold that lost its lease")
    except Exception as error:  # whatever breaks a fold must not break the others
        if is_of_the_process(error):
            queue.retire_for(error)
            return
        if (lost := _unseen_storage(options)) is not None:
            queue.retire(lost)
            return
        why = "".join(traceback.format_exception(error))
    if why:
        queue.fail(why)
    else:
        queue.put_back("SIGTERM" if WORKER_STOP.by_signal else "the run is to stop")


def _unseen_storage(options: WorkOptions) -> str | None:
    """Return what this node does not see of the ledger; records made here would be lost."""
    folder = options.ledger if options.claims is None else options.claims.folder
    if is_remote(folder) or folder.is_dir():
        return None
    return f"its node does not see {folder}"
