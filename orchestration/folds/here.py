"""Folds made in this process, without Ray: the driver is the queue's only worker."""

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Concatenate

from dadnet.base.errors import DadnetError
from dadnet.training.loop import StoppedError
from orchestration.folds.make import make_folds, with_measured_stack
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from orchestration.folds.queue import LeaseQueue, OnSnapshot
from orchestration.folds.worker_queue import P, R, WorkerQueue

ASK_AGAIN_S = 0.5


class LocalQueue(WorkerQueue):
    """A queue in this process, for one worker; `on_snapshot` is called after every call of it."""

    def __init__(self, folds: tuple[str, ...], on_snapshot: OnSnapshot = lambda _: None) -> None:
        super().__init__(self._ask, "driver", 0)
        self._leases, self._on_snapshot = LeaseQueue(folds, lease_s=math.inf), on_snapshot
        self._seen = 0

    def _ask(
        self, method: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        answer = method(self._leases, *args, **kwargs)
        snapshot = self._leases.snapshot(self._seen)
        self._seen += len(snapshot["events"])
        self._on_snapshot(snapshot)
        return answer


def make_folds_here(
    plan: Plan,
    missing: tuple[str, ...],
    options: WorkOptions,
    on_snapshot: OnSnapshot,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Make the missing folds; one that breaks three times is given up, as on a worker group.

    `stop` is asked after every epoch.

    Raises:
        StoppedError: because of `stop`; the states of the folds are kept.
        DadnetError: if the input cannot be used.
    """
    queue = LocalQueue(missing, on_snapshot)
    options = with_measured_stack(plan, missing, options, len(missing), queue.report)
    assert options.stack != "auto"
    options = replace(options, stack=min(options.stack, len(missing)))
    while not queue.ask(LeaseQueue.is_over):
        try:
            make_folds(plan, queue, options, stop)
        except StoppedError:
            queue.put_back("the run is to stop")
            raise
        except DadnetError:
            raise
        except Exception as error:  # whatever breaks a fold must not break the others
            queue.fail("".join(traceback.format_exception(error)))
        if not queue.ask(LeaseQueue.is_over):
            if stop():
                raise StoppedError
            time.sleep(ASK_AGAIN_S)  # what is left is made by another run
