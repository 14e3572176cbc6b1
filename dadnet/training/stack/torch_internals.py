"""The private functions of torch that the packages call; no other file calls one.

A stack steps every fold with its own learning rate and weight decay. The public
`torch.optim.adamw.adamw(fused=True)` calls the same kernels, but groups all tensors by device and
dtype at every call. Checked with torch 2.13; `tests/dadnet/training/stack/test_torch_internals.py`
fails if arguments or results change.
"""

from __future__ import annotations

import torch
from torch import Tensor

Tensors = list[Tensor] | tuple[Tensor, ...]


def fused_adamw_step(
    weights: Tensors,
    gradients: Tensors,
    means: Tensors,
    squares: Tensors,
    steps: Tensors,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    eps: float,
) -> None:
    """One step of AdamW; weights, moments and step counts (before this step) change in place."""
    torch._foreach_add_(steps, 1)
    torch._fused_adamw_(
        weights,
        gradients,
        means,
        squares,
        [],
        steps,
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=weight_decay,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )
