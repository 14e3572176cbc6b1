"""A training step of a stack as one CUDA graph: hundreds of launches become one.

A graph replays the same operations on the same addresses. So the inputs of a step are copied into
tensors of its own, and weights, moments and statistics are changed in place. Before it is used, a
captured step is compared with the eager one and timed; if it is not equal or not faster, or cannot
be captured, steps stay eager, and one line says why.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.training.stack.inputs import StepInputs

GraphMode = Literal["auto", "on", "off"]
Report = Callable[[str], None]
_WARM_UPS = 3
_TIMED = 5
_WITHIN = 1e-3  # of the largest number; kernels that add atomically round differently each time


class Graphs(Protocol):
    """What captures and replays work: CUDA, or a stand-in of a test."""

    def warm_up(self, work: Callable[[], object]) -> None:
        """Do work once, in a stream of its own."""

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        """Record work, which is not done, and return what does it."""

    def wait(self) -> None:
        """Wait for the work of the device."""


class CudaGraphs:
    """CUDA graphs of the current device."""

    def warm_up(self, work: Callable[[], object]) -> None:
        """Do work once, in a stream of its own."""
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream().wait_stream(stream)

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        """Record work, which is not done, and return what does it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay

    def wait(self) -> None:
        """Wait for the work of the device."""
        torch.cuda.synchronize()


class CapturedStep:
    """A step that is replayed on inputs of its own.

    Args:
        step: makes a step from inputs, in place.
        like: inputs of the shapes of every step.
        graphs: what captures.
    """

    def __init__(
        self, step: Callable[[StepInputs], object], like: StepInputs, graphs: Graphs
    ) -> None:
        self._inputs = like.clone()
        self._replay = graphs.capture(lambda: step(self._inputs))

    def __call__(self, inputs: StepInputs) -> None:
        """Make the step from these inputs."""
        for own, new in zip(self._inputs.tensors(), inputs.tensors(), strict=True):
            own.copy_(new)
        self._replay()


class Capture:
    """Decides whether steps are captured, for all stacks of one training.

    Args:
        report: gets one line if steps stay eager.
        graphs: what captures; None is CUDA.
        forced: whether a slower graph is used too.

    Attributes:
        refused: whether steps stay eager from now on.
    """

    def __init__(
        self, report: Report, graphs: Graphs | None = None, *, forced: bool = False
    ) -> None:
        self.report, self.graphs, self.forced = report, graphs or CudaGraphs(), forced
        self.refused = False
        self._checked = False

    def __call__(
        self,
        step: Callable[[StepInputs], object],
        inputs: StepInputs,
        state: Callable[[], Sequence[Tensor]],
    ) -> CapturedStep | None:
        """Capture a step; None if it stays eager.

        Args:
            step: makes a step from inputs, in place.
            inputs: of the step to come, for warming up and comparing; it is not made yet.
            state: returns the tensors that a step changes; they are as before afterwards.

        Raises:
            torch.OutOfMemoryError: if a graph of several folds has no room.
        """
        before = [tensor.clone() for tensor in state()]

        def restore() -> None:
            with torch.no_grad():
                for tensor, value in zip(state(), before, strict=True):
                    tensor.copy_(value)

        try:
            for _ in range(_WARM_UPS):
                self.graphs.warm_up(lambda: step(inputs))
            restore()
            captured = CapturedStep(step, inputs, self.graphs)
            why = None if self._checked else self._compare(step, captured, inputs, state, restore)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) and len(inputs.rows) > 1:
                raise  # a captured step of half the folds is faster than an eager one of all
            [why, *_] = str(error).splitlines() or [type(error).__name__]
        restore()
        self._checked = True
        if why is None:
            return captured
        self.refused = True
        self.report(f"graph: steps are not captured: {why}")
        return None

    def _compare(
        self,
        step: Callable[[StepInputs], object],
        captured: CapturedStep,
        inputs: StepInputs,
        state: Callable[[], Sequence[Tensor]],
        restore: Callable[[], None],
    ) -> str | None:
        """Why the captured step must not be used; None: it may."""
        found = []
        for work in (step, captured):
            restore()
            work(inputs)
            found.append([tensor.clone() for tensor in state()])
        for eager, replayed in zip(*found, strict=True):
            far = (eager.double() - replayed.double()).abs().max()
            largest = eager.double().abs().max()
            if not far <= _WITHIN * largest:  # NaN is not equal either
                return (
                    f"expected the eager step's numbers within {_WITHIN} of {largest:.3g}, "
                    f"got a difference of {far:.3g}"
                )
        seconds = [self._seconds(lambda work=work: work(inputs)) for work in (step, captured)]  # type: ignore[misc]
        if seconds[1] > seconds[0] and not self.forced:
            return f"it takes {seconds[1] * 1000:.2f} ms, an eager step {seconds[0] * 1000:.2f} ms"
        return None

    def _seconds(self, work: Callable[[], object]) -> float:
        self.graphs.wait()
        started = time.perf_counter()
        for _ in range(_TIMED):
            work()
        self.graphs.wait()
        return time.perf_counter() - started


def capture_for(mode: GraphMode, device: torch.device) -> Capture | None:
    """What captures the steps of a training on this device; None: they are eager.

    A reason not to capture becomes a warning.

    Raises:
        DadnetError: if graphs are asked for and the device has none.
    """
    if mode == "off" or (mode == "auto" and device.type != "cuda"):
        return None
    if device.type != "cuda":
        raise DadnetError(f"graph: expected auto or off on a {device.type}, got on; it needs a GPU")
    return Capture(lambda line: warnings.warn(line, stacklevel=2), forced=mode == "on")
