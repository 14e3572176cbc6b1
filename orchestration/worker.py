"""The loop of one Ray Train worker: claim folds from the board, make them, until none is left.

`ray.train.report` is never called: it is a barrier over all workers, and these work on their own.
Records and checkpoints are written by the worker itself.
"""

import os
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TextIO

import ray
import ray.train
import torch

from orchestration.plan import Plan
from orchestration.work import WorkOptions, make_folds_of_plan, stack_size

BEAT_S = 2.0
ASK_AGAIN_S = 0.5


class LeaseLostError(RuntimeError):
    """Another worker has taken the fold over."""


@dataclass
class BoardClient:
    """The board as one worker sees it; its calls are kept out of the dashboard's task list."""

    actor: Any
    worker: str

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the board and wait for its answer."""
        return ray.get(self._call(method, *args))

    def send(self, method: str, *args: Any) -> None:
        """Call a method of the board without waiting."""
        self._call(method, *args)

    def _call(self, method: str, *args: Any) -> Any:
        return self.actor.call.options(enable_task_events=False).remote(method, *args)

    def inform(self, fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Say how far a fold is; raises `LeaseLostError` if it is no longer ours."""
        if not self.call("inform", self.worker, fold, {"epoch": epoch, **metrics}):
            raise LeaseLostError(fold)

    @contextmanager
    def working_on(self, tries: Mapping[str, int]) -> Iterator[None]:
        """Keep the leases alive and show each fold as a named task meanwhile."""
        for fold, number in tries.items():
            self.actor.fold.options(name=f"fold {fold}").remote(fold, number)
        over = threading.Event()
        beats = threading.Thread(target=self._beat, args=(list(tries), over), daemon=True)
        beats.start()
        try:
            yield
        finally:
            over.set()
            beats.join()

    def _beat(self, folds: Sequence[str], over: threading.Event) -> None:
        while not over.wait(BEAT_S):
            self.send("beat", self.worker, folds)

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


def train_loop_per_worker(config: dict[str, Any]) -> None:
    """Make folds until the board has none left.

    Args:
        config: ``board`` (actor), ``plan`` (object reference), ``options`` (`WorkOptions`),
            ``stack`` (folds at once; 0: measured here), ``names`` (missing folds) and ``share``
            (of them, those that fall to one worker).
    """
    context = ray.get_runtime_context()
    client = BoardClient(config["board"], f"{context.get_node_id()[:6]}-{os.getpid()}")
    rank = ray.train.get_context().get_world_rank()
    plan: Plan = ray.get(config["plan"])
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
            choice = stack_size(plan, config["names"], options, config["share"])
            client.send("tell", client.worker, str(choice))
            stack = choice.size
        while (tries := client.call("claim", client.worker, rank, stack)) is not None:
            if not tries:
                time.sleep(ASK_AGAIN_S)
                continue
            with client.working_on(tries):
                _make(client, plan, options, tries)


def _make(client: BoardClient, plan: Plan, options: WorkOptions, tries: Mapping[str, int]) -> None:
    host = {"worker": client.worker, "tries": max(tries.values())}
    try:
        make_folds_of_plan(plan, list(tries), options, on_epoch=client.inform, host=host)
    except LeaseLostError as lost:
        client.send("warn", client.worker, f"fold {lost} was given to another worker")
        for fold in tries:
            client.call("fail", client.worker, fold, "left with a fold that lost its lease")
    except Exception as error:  # whatever breaks a fold must not break the others
        why = "".join(traceback.format_exception(error))
        for fold in tries:
            client.call("fail", client.worker, fold, why)
    else:
        for fold in tries:
            client.call("finish", client.worker, fold)
