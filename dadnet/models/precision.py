"""How precisely a training step multiplies: float32, TF32 or bfloat16.

Weights, optimiser, loss and every score are float32 in all three. `tf32` rounds the operands of
products and convolutions to 10 bits on the GPU's matrix units. `bf16` runs the products and
convolutions of the streams in bfloat16; the spatial transformer, BatchNorm, the sliced distance
and the cross-entropy stay in float32 (with them in bfloat16 too the gradient's direction is lost:
cosine 0.65 with the exact gradient, instead of 0.98).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError

if TYPE_CHECKING:
    from dadnet.config.experiment import Precision


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise if the device does not support the precision.

    Raises:
        DadnetError: for `tf32` on anything but a GPU.
    """
    if precision == "tf32" and device.type != "cuda":
        raise DadnetError(
            f"precision: expected float32 or bf16 on a {device.type}, got tf32, which needs a GPU"
        )


@contextmanager
def matrix_units(precision: Precision) -> Iterator[None]:
    """Products and convolutions of a GPU in TF32 or, otherwise, in full float32, for a while.

    torch's default is full float32 for products but TF32 for convolutions.
    """
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for kind, value in zip(kinds, before, strict=True):
            kind.fp32_precision = value


def half_products(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Products and convolutions of a forward pass in bfloat16 where that is the precision."""
    if precision != "bf16" and not _has_autocast(device.type):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def full(x: Tensor) -> Tensor:
    """Bfloat16 as float32; anything else as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


def wide(x: Tensor) -> Tensor:
    """As float64 on a CPU, for functions such as exp and cos of a few numbers.

    In float32 the last numbers of a tensor, which fill no vector register, go through another
    code, so that a fold's numbers would depend on its place in a stack.
    """
    return x.double() if x.is_cpu else x


def in_full(device: torch.device) -> AbstractContextManager[None]:
    """A part of a forward pass that stays in float32 inside `half_products`."""
    if not _has_autocast(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def as_products(*operands: Tensor) -> tuple[Tensor, ...]:
    """Operands in the dtype of torch's autocast, for autograd functions of our own."""
    kind = operands[0].device.type
    if not _has_autocast(kind) or not torch.is_autocast_enabled(kind):
        return operands
    return tuple(operand.to(torch.get_autocast_dtype(kind)) for operand in operands)


def _has_autocast(device_type: str) -> bool:
    """Whether torch knows mixed precision there; `meta`, which has no numbers, has none."""
    return torch.amp.is_autocast_available(device_type)
