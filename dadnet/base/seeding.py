"""Seeds: every random draw comes from a generator seeded by its purpose, never by a counter."""

import hashlib
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
