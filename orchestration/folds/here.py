"""Making folds in this process, without Ray: the driver is the board's only worker."""

import math
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal

from dadnet.base.errors import DadnetError
from dadnet.training.loop import StoppedError
from orchestration.folds.make import WorkOptions, make_folds_of_plan, stack_size
from orchestration.folds.plan import Plan
from orchestration.folds.queue import Board

WORKER = "driver"
ASK_AGAIN_S = 0.5


def make_folds_here(
    plan: Plan,
    missing: tuple[str, ...],
    options: WorkOptions,
    stack: int | Literal["auto"],
    on_snapshot: Callable[[Mapping[str, Any]], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Make the missing folds; one that breaks three times is given up, as on a worker group.

    Args:
        plan: the experiment's plan.
        missing: names of the folds to make.
        options: where and how.
        stack: folds trained at once; auto: what is measured to be fastest.
        on_snapshot: called with the board's state and its new events.
        stop: asked after every epoch.

    Raises:
        StoppedError: because of `stop`; the states of the folds are kept.
        DadnetError: if the input cannot be used.
    """
    here = _Here(missing, on_snapshot)
    if stack == "auto":
        choice = stack_size(plan, missing, options, len(missing))
        here.board.tell(WORKER, str(choice))
        stack = choice.size
    while not here.board.snapshot()["over"]:
        try:
            make_folds_of_plan(
                plan,
                (),
                options,
                places=min(stack, len(missing)),
                more=here.more,
                on_record=here.finish,
                on_elsewhere=lambda fold: here.board.elsewhere(WORKER, fold),
                on_epoch=here.inform,
                host=lambda fold: {"worker": WORKER, "tries": here.board.rows[fold].tries},
                stop=stop,
            )
        except StoppedError:
            here.give_up_running("put_back", "the run is to stop")
            raise
        except DadnetError:
            raise
        except Exception as error:  # whatever breaks a fold must not break the others
            here.give_up_running("fail", "".join(traceback.format_exception(error)))
        if not here.board.snapshot()["over"]:
            if stop():
                raise StoppedError
            time.sleep(ASK_AGAIN_S)  # what is left is made by another run


class _Here:
    """The board, shown after every call."""

    def __init__(
        self, folds: tuple[str, ...], on_snapshot: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.board = Board(folds, lease_s=math.inf)
        self._on_snapshot = on_snapshot
        self._seen = 0

    def more(self) -> str | None:
        claimed = self.board.claim(WORKER, 0, 1)
        self._show()
        return next(iter(claimed)) if claimed else None

    def inform(self, fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self.board.inform(WORKER, fold, {"epoch": epoch, **metrics})
        self._show()

    def finish(self, fold: str) -> None:
        self.board.finish(WORKER, fold)
        self._show()

    def give_up_running(self, method: Literal["fail", "put_back"], why: str) -> None:
        for row in self.board.snapshot()["running"]:
            getattr(self.board, method)(WORKER, row["name"], why)
        self._show()

    def _show(self) -> None:
        snapshot = self.board.snapshot(self._seen)
        self._seen += len(snapshot["events"])
        self._on_snapshot(snapshot)
