"""AdamW for a stack on an accelerator: all weights of a fold in one row, one update for all folds.

Learning rates and step counts lie on the device, and which folds make the step is a mask. An update
is therefore the same few operations for any number of folds, and can be part of a CUDA graph.

Axes: K folds, P numbers of a fold's weights, each weight padded to a full cache line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dadnet.training.stack.adamw import check_group, settings_of, stepped_names
from dadnet.training.stack.layout import FoldLayout

_ALIGNED = 32  # numbers; products read weights that begin at 128 bytes fastest


def flattened(parameters: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights (K, ...) side by side in one tensor (K, P), and as views of it."""
    first = next(iter(parameters.values()))
    flat = _side_by_side([p.detach() for p in parameters.values()], _margin(first))
    return flat, _views(flat, parameters)


def _margin(like: Tensor) -> Tensor:
    """Zeros (K, ...) for the end of a line."""
    return torch.zeros(len(like), _ALIGNED, dtype=like.dtype, device=like.device)


def _side_by_side(tensors: Sequence[Tensor], zeros: Tensor) -> Tensor:
    """Tensors (K, ...) as one of (K, P), each filled up with zeros to full lines."""
    parts: list[Tensor] = []
    for x in tensors:
        parts.append(x.reshape(len(x), -1))
        if lacking := -parts[-1].shape[1] % _ALIGNED:
            parts.append(zeros[:, :lacking])
    return torch.cat(parts, dim=1)


def _views(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found, start = {}, 0
    for name, x in like.items():
        size = x[0].numel()
        found[name] = flat[:, start : start + size].view(x.shape)
        start += size + -size % _ALIGNED
    return found


class FlatAdamW:
    """`torch.optim.AdamW` of every fold (Loshchilov and Hutter, 2019), as `StackedAdamW`.

    Args:
        flat: Weights of all folds, (K, P), of `flattened`; updated in place.
        parameters: The same weights by their names in the stack.
        lr: Learning rate of each fold, for its state; a step gets its own.
        weight_decay: Weight decay of each fold.
        layouts: Which of the weights each fold has and uses.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
    """

    def __init__(
        self,
        flat: Tensor,
        parameters: Mapping[str, Tensor],
        lr: Sequence[float],
        weight_decay: Sequence[float],
        *,
        layouts: Sequence[FoldLayout],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.flat, self.parameters, self.layouts = flat, dict(parameters), list(layouts)
        self.lr, self.weight_decay = list(lr), list(weight_decay)
        self.betas, self.eps = betas, eps
        self._decay = torch.tensor(self.weight_decay, dtype=flat.dtype).to(flat.device)
        self._mean, self._square = torch.zeros_like(flat), torch.zeros_like(flat)
        self._means, self._squares = (_views(x, parameters) for x in (self._mean, self._square))
        self._steps = torch.zeros(len(flat), dtype=flat.dtype, device=flat.device)
        self._margin = _margin(flat)
        self.gradient = torch.zeros_like(flat[:, :0])  # of the newest step, (K, P)
        self._used = self._used_numbers()

    def _used_numbers(self) -> Tensor | None:
        """1 where a fold has and uses a number, (K, P); None if all folds use all."""
        stepped = [stepped_names(layout, self.parameters) for layout in self.layouts]
        if all(names == self.parameters.keys() for names in stepped):
            return None
        used = torch.zeros(self.flat.shape, dtype=self.flat.dtype)
        for name, view in _views(used, self.parameters).items():
            for k, names in enumerate(stepped):
                view[k] = float(name in names)
        return used.to(self.flat.device)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor | None], lr: Tensor, active: Tensor) -> None:
        """Update the folds that are active.

        Args:
            gradients: Of every weight, by its name in the stack; None is 0.
            lr: Learning rates, (K,).
            active: Which folds make the step, (K,), bool; nothing of the others changes.
        """
        found = [gradients[name] for name in self.parameters]
        none = zip(found, self.parameters.values(), strict=True)
        rows = [torch.zeros_like(p) if g is None else g for g, p in none]
        gradient = self.gradient = _side_by_side(rows, self._margin)
        here = active.to(self.flat)
        self._steps += here
        # A fold that has made no step yet is not active, and must not divide by 0.
        done, (first, second) = self._steps.clamp(min=1), self.betas
        root = (1 - second**done).sqrt()
        size = lr * root / (1 - first**done)
        here = here[:, None] if self._used is None else here[:, None] * self._used
        self.flat.mul_(1 - here * (lr * self._decay)[:, None])
        self._mean.lerp_(gradient, here * (1 - first))
        self._square.lerp_(gradient * gradient, here * (1 - second))
        below = self._square.sqrt().add_((root * self.eps)[:, None])
        self.flat.addcdiv_(self._mean * (here * -size[:, None]), below)

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes."""
        return [self.flat, self._mean, self._square, self._steps]

    def fold_state(self, k: int) -> dict[str, Any]:
        """The state of fold k as `torch.optim.AdamW(...).state_dict()` of a single fold."""
        names, stepped = self._names(k), stepped_names(self.layouts[k], self.parameters)
        done = self._steps[k].cpu()
        state = {
            position: {
                "step": done.clone(),
                "exp_avg": self._means[name][k].clone(),
                "exp_avg_sq": self._squares[name][k].clone(),
            }
            for position, name in enumerate(names)
            if done > 0 and name in stepped
        }
        settings = settings_of(
            self.lr[k], self.weight_decay[k], self.betas, self.eps, self.flat.device
        )
        return {"state": state, "param_groups": [{**settings, "params": [*range(len(names))]}]}

    @torch.no_grad()
    def load_fold_state(self, k: int, state: Mapping[str, Any]) -> None:
        """Load the state of fold k, of `fold_state` or of a single `torch.optim.AdamW`.

        Raises:
            DadnetError: If the number of weights, the betas or eps differ.
        """
        names = self._names(k)
        group = check_group(state, len(names), self.betas, self.eps)
        self.lr[k], self.weight_decay[k] = group["lr"], group["weight_decay"]
        self._decay[k] = group["weight_decay"]
        done: Any = 0.0
        for position, name in enumerate(names):
            saved = state["state"].get(position, {})
            done = saved.get("step", done)
            self._means[name][k] = torch.as_tensor(saved.get("exp_avg", 0.0))
            self._squares[name][k] = torch.as_tensor(saved.get("exp_avg_sq", 0.0))
        self._steps[k] = torch.as_tensor(done)

    def _names(self, k: int) -> list[str]:
        """Names in the stack of the weights of fold k, in the order of its single optimiser."""
        return [name for name in self.layouts[k].names.values() if name in self.parameters]
