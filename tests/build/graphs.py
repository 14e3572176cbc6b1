"""A stand-in for CUDA graphs on a CPU: it records the operations of work and does them again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result


class RecordingGraphs:
    """Records and replays, as `CudaGraphs`: on the same addresses, without Python's work.

    Attributes:
        events: what was done, in order.
        fail: raised by the next capture, if it is set.
        wrong: whether a replay leaves out the last operation.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.fail: Exception | None = None
        self.wrong = False

    def warm_up(self, work: Callable[[], object]) -> None:
        self.events.append("warm up")
        work()

    def capture(self, work: Callable[[], object]) -> Callable[[], None]:
        self.events.append("capture")
        if self.fail is not None:
            raise self.fail
        recorder = _Recorder()
        with recorder:
            work()  # CUDA does not do it while it records; the caller restores what it changes
        calls = recorder.calls

        def replay() -> None:
            self.events.append("replay")
            with torch.no_grad():
                for function, args, kwargs, result in calls[: -1 if self.wrong else None]:
                    again = function(*args, **kwargs)
                    for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                        # Views and changes in place lie where they lay.
                        if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                            old.copy_(new)

        return replay

    def wait(self) -> None:
        self.events.append("wait")
