"""Seeds: every random draw comes from a generator seeded by its purpose, never by a counter."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_hash(purpose: str, *parts: str | int) -> int:
    """A 63-bit seed for one purpose: the hash of the purpose and of all that it depends on.

    Args:
        purpose: what the draw is for, such as ``"order"`` or ``"directions"``.
        parts: what the draw depends on: experiment seed, fold, epoch or step.
    """
    text = "\x1f".join([purpose, *(f"{type(p).__name__}:{p}" for p in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(purpose: str, *parts: str | int) -> "torch.Generator":
    """A CPU generator seeded by :func:`seed_hash`; draws on the CPU are equal on all devices."""
    import torch

    return torch.Generator().manual_seed(seed_hash(purpose, *parts))


@contextmanager
def global_draws(seed: int, device: "torch.device | None" = None) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python for a while; then they are as before.

    For code of others, which draws from them.

    Args:
        seed: a seed of :func:`seed_hash`.
        device: a GPU whose generator is seeded too.
    """
    import random

    import numpy as np
    import torch

    before = random.getstate(), np.random.get_state()  # noqa: NPY002 (they draw from it)
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
