"""The loop of one Ray Train worker: claim folds from the board, make them, until none is left.

`ray.train.report` is never called: it is a barrier over all workers, and these work on their own.
Records and checkpoints are written by the worker itself.
"""

import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, TextIO

import ray
import ray.train
import torch

from dadnet.training.loop import StoppedError
from orchestration.folds.make import WorkOptions, make_folds_of_plan, stack_size
from orchestration.folds.plan import Plan, with_config
from orchestration.folds.stopping import WORKER_STOP
from search_spaces.space import apply_values

BEAT_S = 2.0
ASK_AGAIN_S = 0.5

MakeFolds = Callable[..., None]


class LeaseLostError(RuntimeError):
    """Another worker has taken the fold over."""


@dataclass
class BoardClient:
    """The board as one worker sees it; its calls are kept out of the dashboard's task list.

    Attributes:
        actor: the board.
        worker: this worker's name.
        prefix: what the board puts before the names of the folds, where plans share it.
    """

    actor: Any
    worker: str
    prefix: str = ""

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the board and wait for its answer."""
        return ray.get(self._call(method, *args))

    def send(self, method: str, *args: Any) -> None:
        """Call a method of the board without waiting."""
        self._call(method, *args)

    def _call(self, method: str, *args: Any) -> Any:
        return self._remote(method, *args)

    @cached_property
    def _remote(self) -> Callable[..., Any]:
        remote: Callable[..., Any] = self.actor.call.options(enable_task_events=False).remote
        return remote

    def inform(self, fold: str, info: Mapping[str, float]) -> None:
        """Say how far a fold is; raises `LeaseLostError` if it is no longer ours."""
        name = self.prefix + fold
        if not self.call("inform", self.worker, name, dict(info)):
            raise LeaseLostError(name)

    @contextmanager
    def working_on(self, tries: Mapping[str, int]) -> Iterator[None]:
        """Keep the leases of these folds alive; of those too that are added meanwhile."""
        over = threading.Event()
        beats = threading.Thread(target=self._beat, args=(tries, over), daemon=True)
        beats.start()
        try:
            yield
        finally:
            over.set()
            beats.join()

    def show(self, tries: Mapping[str, int]) -> None:
        """Let each fold be seen as a named task while it is made."""
        for fold, number in tries.items():
            self.actor.fold.options(name=f"fold {fold}").remote(fold, number)

    def _beat(self, tries: Mapping[str, int], over: threading.Event) -> None:
        while not over.wait(BEAT_S):
            self.send("beat", self.worker, list(tries))
            with suppress(ray.exceptions.RayError):  # a board that is gone is seen by the others
                if self.call("is_stopping"):
                    WORKER_STOP.ask()

    @contextmanager
    def passing_on_warnings(self) -> Iterator[None]:
        """Show warnings on the driver's terminal instead of in a log that nobody reads."""

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            self.send("warn", self.worker, str(message))

        with warnings.catch_warnings():
            warnings.showwarning = show
            yield


class Plans:
    """The plans that a worker makes folds of: one, or those that the board names.

    Args:
        client: the board.
        only: reference of the one plan; None where the board has several.
    """

    def __init__(self, client: BoardClient, only: ray.ObjectRef | None) -> None:
        self._client = client
        self._only: Plan | None = None if only is None else ray.get(only)
        self._bases: dict[str, Plan] = {}

    @property
    def only(self) -> Plan:
        """The one plan."""
        assert self._only is not None
        return self._only

    def of(self, fold: str) -> tuple[Plan, str]:
        """The plan of a fold on the board, and what stands before the fold's own name."""
        if self._only is not None:
            return self._only, ""
        job = self._client.call("job", fold)
        base = job["base"]
        if base not in self._bases:  # only the newest: a study over other subjects has begun
            self._bases = {base: ray.get(self._client.call("base", base)[0])}
        plan = self._bases[base]
        config = apply_values(plan.config, job["values"])
        return with_config(plan, config), job["prefix"]


def train_loop_per_worker(config: dict[str, Any]) -> None:
    """Make folds until the board has none left.

    Args:
        config: ``board`` (actor), ``plan`` (object reference; None where the board has the plans,
            as in a search), ``first_rank`` (of this group of several), ``options``
            (`WorkOptions`), ``stack`` (folds at once; 0: measured here), ``names`` (missing
            folds), ``share`` (of them, those that fall to one worker) and, where it is not
            :func:`make_folds_of_plan`, ``make``.
    """
    context = ray.get_runtime_context()
    client = BoardClient(config["board"], f"{context.get_node_id()[:6]}-{os.getpid()}")
    rank = config["first_rank"] + ray.train.get_context().get_world_rank()
    plans = Plans(client, config["plan"])
    options: WorkOptions = config["options"]
    if torch.cuda.is_available():
        options = replace(options, device="cuda")
    with client.passing_on_warnings():
        if ray.get_gpu_ids() and options.device == "cpu":
            warnings.warn(
                "Ray gave this worker a GPU but torch sees none; it trains on the CPU", stacklevel=1
            )
        stack = config["stack"]
        if stack == 0:
            choice = stack_size(plans.only, config["names"], options, config["share"])
            client.send("tell", client.worker, str(choice))
            stack = choice.size
        serve(client, rank, plans, options, stack, config.get("make", make_folds_of_plan))
    if WORKER_STOP.by_signal:
        # The machine may be about to go, and Ray is to put a new worker elsewhere; it would
        # take a return for the end of this worker's part.
        os._exit(128 + signal.SIGTERM)


def serve(
    client: BoardClient,
    rank: int,
    plans: Plans,
    options: WorkOptions,
    stack: int,
    make: MakeFolds = make_folds_of_plan,
) -> None:
    """Claim folds and make them until none is left or this worker is told to stop.

    Args:
        client: the board.
        rank: this worker's place in the group.
        plans: what is made.
        options: where and how.
        stack: folds at once.
        make: what makes them; the benchmark of this machinery has folds that only take time.
    """
    while not WORKER_STOP():
        tries = client.call("claim", client.worker, rank, stack)
        if tries is None:
            return
        if tries:
            _make(client, rank, plans, options, stack, tries, make)
        else:
            time.sleep(ASK_AGAIN_S)


def _make(
    client: BoardClient,
    rank: int,
    plans: Plans,
    options: WorkOptions,
    stack: int,
    tries: dict[str, int],
    make: MakeFolds,
) -> None:
    """Make the claimed folds, and more of their plan as their places become free."""
    client.show(tries)
    first = next(iter(tries))

    def more() -> str | None:
        if WORKER_STOP():
            return None
        claimed = client.call("claim", client.worker, rank, 1, first)
        if not claimed:
            return None
        client.show(claimed)
        tries.update(claimed)
        return str(next(iter(claimed))).removeprefix(prefix)

    try:
        plan, prefix = plans.of(first)
        ours = replace(client, prefix=prefix)

        @cache
        def num_clips(fold: str) -> int:
            return len(plan.dataset.rows(plan.fold(fold).fit))

        def on_epoch(fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
            ours.inform(fold, {"epoch": epoch, "clips": num_clips(fold), **metrics, **_memory()})

        with client.working_on(tries):
            make(
                plan,
                [name.removeprefix(prefix) for name in tries],
                options,
                places=stack,
                more=more,
                on_record=lambda fold: client.call("finish", client.worker, prefix + fold),
                on_elsewhere=lambda fold: client.call("elsewhere", client.worker, prefix + fold),
                on_epoch=on_epoch,
                host=lambda fold: {"worker": client.worker, "tries": tries[prefix + fold]},
                stop=WORKER_STOP,
            )
    except StoppedError:
        why = "SIGTERM" if WORKER_STOP.by_signal else "the run is to stop"
        for fold in tries:
            client.call("put_back", client.worker, fold, why)
    except LeaseLostError as lost:
        client.send("left", client.worker, str(lost))
        _give_back(client, tries, "left with a fold that lost its lease")
    except Exception as error:  # whatever breaks a fold must not break the others
        _give_back(client, tries, "".join(traceback.format_exception(error)))


def _memory() -> dict[str, float]:
    if not torch.cuda.is_available():
        return {}
    return {"gpu_memory_bytes": float(torch.cuda.max_memory_allocated())}


def _give_back(client: BoardClient, folds: Iterable[str], why: str) -> None:
    """Of these folds the board takes back those that are not finished."""
    for fold in folds:
        client.call("fail", client.worker, fold, why)
