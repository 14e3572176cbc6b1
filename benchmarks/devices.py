"""The measured device: its ceilings, and the memory of a step."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.counting import Work
from dadnet.base.errors import DadnetError


@dataclass(frozen=True)
class Ceilings:
    """What the device reached in this run.

    Attributes:
        flops: operations a second of a float32 matrix product (no TF32) that fits no cache.
        nbytes: bytes a second, read and written, of a copy that fits no cache.
    """

    flops: float
    nbytes: float

    def row(self) -> dict[str, Any]:
        """For a report."""
        return {"matrix_gflops": self.flops / 1e9, "copy_gbytes_s": self.nbytes / 1e9}

    def beside(self, name: str, seconds: float, work: Work) -> dict[str, Any]:
        """The rates of a way that took this many seconds."""
        return {
            f"{name}_gflops": work.flop / seconds / 1e9,
            f"{name}_gbytes_s": work.nbyte / seconds / 1e9,
        }

    def floors(self, work: Work) -> dict[str, Any]:
        """Milliseconds of the work at the ceilings.

        `traffic_ms` is not a floor for a fused program, see `Work.nbyte`.
        """
        return {
            "gflop": work.flop / 1e9,
            "gbyte": work.nbyte / 1e9,
            "floor_ms": work.flop / self.flops * 1000,
            "traffic_ms": work.nbyte / self.nbytes * 1000,
        }


def choose(name: str | None) -> torch.device:
    """The device of that name, or the best one for None.

    Raises:
        DadnetError: if there is none.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DadnetError("device: expected one that torch sees, got cuda; available is cpu")
    return torch.device(name)


def wait(device: torch.device) -> None:
    """Wait until all queued work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device, repeats: int = 5) -> Ceilings:
    """Measure the device.

    Args:
        device: which; on a CPU with the threads that torch has.
        repeats: repetitions of each median.
    """
    side = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    source = torch.empty(2**26 if device.type == "cpu" else 2**29, device=device).zero_()
    target = torch.empty_like(source).zero_()
    matmul, kept = torch.backends.cuda.matmul, torch.backends.cuda.matmul.fp32_precision
    matmul.fp32_precision = "ieee"
    try:
        product_s = _median(lambda: torch.mm(a, b), device, repeats)
    finally:
        matmul.fp32_precision = kept
    copy_s = _median(lambda: target.copy_(source), device, repeats)
    return Ceilings(2 * side**3 / product_s, 2 * source.nbytes / copy_s)


def _median(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        wait(device)
        started = time.perf_counter()
        call()
        wait(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """Peak memory of tensors during a call, minus their memory before it.

    Weights, moments and clips existed before, also those of the other ways. None on a CPU, where
    torch does not count memory.
    """
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    wait(device)
    return torch.cuda.max_memory_allocated(device) - before
