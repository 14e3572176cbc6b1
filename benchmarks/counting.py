"""The work of a step: its floating-point operations, and the bytes that they read and write."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Work:
    """Operations and memory traffic of one call.

    Attributes:
        flop: operations of convolutions and products; a multiplication and an addition are two.
        nbyte: bytes that the single operations of an eager step read and write; a fused program, or
            operands in a cache, need fewer.
    """

    flop: int
    nbyte: int


def work_of(call: Callable[[], object]) -> Work:
    """Count a call while it runs once."""
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
    )
    traffic = _Traffic()
    with traffic, counter:
        call()
    return Work(counter.get_total_flops(), traffic.nbyte)


def _convolution_backward(
    grad_shape: Sequence[int],
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: int,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    """Each of the two gradients costs as much as the forward pass, for any number of groups.

    torch's own formula counts the weight gradient of a grouped convolution as dense, which for a
    depthwise one is too much by a factor of the number of channels.
    """
    positions = math.prod((input_shape if transposed else grad_shape)[2:])
    # (C_out, C_in / groups, *kernel), or (C_in, C_out / groups, *kernel) where transposed
    forward = 2 * grad_shape[0] * positions * math.prod(weight_shape)
    return forward * sum(map(bool, output_mask[:2]))


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations read and write; views touch none."""

    def __init__(self) -> None:
        super().__init__()
        self.nbyte = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not _is_view(func):
            for leaf in tree_leaves((args, kwargs, result)):
                if isinstance(leaf, Tensor):
                    self.nbyte += _stored_bytes(leaf)
        return result


def _stored_bytes(tensor: Tensor) -> int:
    """Bytes behind a tensor, an expanded one counted once."""
    shape = (n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step)
    return math.prod(shape) * tensor.element_size()


def _is_view(func: Any) -> bool:
    returned = func._schema.returns
    return any(r.alias_info is not None and not r.alias_info.is_write for r in returned)
