"""AdamW for a stack: learning rate, weight decay and step count of each fold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.training.one_fold import FUSED
from dadnet.training.stack.layout import FoldLayout
from dadnet.training.stack.torch_internals import fused_adamw_step


class _Tensors(NamedTuple):
    """A weight of one fold, its moments and its step count."""

    weight: Tensor
    mean: Tensor
    square: Tensor
    step: Tensor


class StackedAdamW:
    """`torch.optim.AdamW` of every fold (Loshchilov and Hutter, 2019), by torch's fused kernel.

    A weight without a gradient is not changed, as in torch. Nor is a weight that a fold lacks or
    never runs according to `layouts`, since a fold trained alone has no gradient there.

    Args:
        parameters: Name: weights of all folds, shape (K, ...), contiguous; updated in place. The
            order is that of the trainable parameters of a single network.
        lr: Learning rate of each fold; may be changed between steps through the attribute.
        weight_decay: Weight decay of each fold; may be changed likewise.
        layouts: Which of the weights each fold has; None: every fold has all.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        lr: Sequence[float],
        weight_decay: Sequence[float],
        *,
        layouts: Sequence[FoldLayout] | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.parameters = dict(parameters)
        self.lr, self.weight_decay = list(lr), list(weight_decay)
        self.betas, self.eps = betas, eps
        first = next(iter(self.parameters.values()))
        if not len(self.lr) == len(self.weight_decay) == len(first):
            raise DadnetError(
                f"expected a learning rate and a weight decay for each of {len(first)} folds, "
                f"got {len(self.lr)} and {len(self.weight_decay)}"
            )
        every = FoldLayout((), {name: name for name in self.parameters})
        layouts = [every] * len(first) if layouts is None else layouts
        # Of each fold: rows of its weights in the order of its single optimiser, and those stepped.
        self._fold_rows = [self._rows(layout.names.values()) for layout in layouts]
        self._stepped = [
            set(rows) - set(self._rows(layout.unused))
            for rows, layout in zip(self._fold_rows, layouts, strict=True)
        ]
        weights = list(self.parameters.values())
        # On the device, as the kernel needs them.
        steps = torch.zeros(len(weights), len(first), device=first.device)
        moments = [[torch.zeros_like(w, requires_grad=False) for _ in range(2)] for w in weights]
        # Views, made once.
        self._tensors = [
            [
                _Tensors(weight.detach()[k], mean[k], square[k], steps[i, k])
                for i, (weight, (mean, square)) in enumerate(zip(weights, moments, strict=True))
            ]
            for k in range(len(first))
        ]

    @torch.no_grad()
    def step(
        self, folds: Sequence[int] | None = None, part: Mapping[str, Tensor] | None = None
    ) -> None:
        """Update these folds (None: all) from the gradients; nothing of the others changes.

        `part` has the weights of these folds alone, which are adjacent, with their gradients.
        """
        parameters = enumerate((self.parameters if part is None else part).values())
        gradients = {i: p.grad for i, p in parameters if p.grad is not None}
        first = 0 if part is None or folds is None else folds[0]
        for k in range(len(self.lr)) if folds is None else folds:
            rows = [i for i in gradients if i in self._stepped[k]]
            weights, means, squares, steps = zip(*(self._tensors[k][i] for i in rows), strict=True)
            fused_adamw_step(
                weights,
                [gradients[i][k - first] for i in rows],
                means,
                squares,
                steps,
                lr=self.lr[k],
                betas=self.betas,
                weight_decay=self.weight_decay[k],
                eps=self.eps,
            )

    def _rows(self, names: Iterable[str]) -> list[int]:
        """Indices of weights among all; names of buffers are skipped."""
        index = {name: i for i, name in enumerate(self.parameters)}
        return [index[name] for name in names if name in index]

    def fold_state(self, k: int) -> dict[str, Any]:
        """The state of fold k as `torch.optim.AdamW(...).state_dict()` of a single fold."""
        state = {
            position: {
                "step": tensors.step.cpu().clone(),
                "exp_avg": tensors.mean.clone(),
                "exp_avg_sq": tensors.square.clone(),
            }
            for position, tensors in enumerate(self._tensors[k][i] for i in self._fold_rows[k])
            if tensors.step > 0
        }
        settings = settings_of(
            self.lr[k],
            self.weight_decay[k],
            self.betas,
            self.eps,
            self._tensors[k][0].weight.device,
        )
        return {
            "state": state,
            "param_groups": [{**settings, "params": [*range(len(self._fold_rows[k]))]}],
        }

    @torch.no_grad()
    def load_fold_state(self, k: int, state: Mapping[str, Any]) -> None:
        """Load the state of fold k, of `fold_state` or of a single `torch.optim.AdamW`.

        Raises:
            DadnetError: If the number of weights, the betas or eps differ.
        """
        group = check_group(state, len(self._fold_rows[k]), self.betas, self.eps)
        self.lr[k], self.weight_decay[k] = group["lr"], group["weight_decay"]
        for position, i in enumerate(self._fold_rows[k]):
            saved, tensors = state["state"].get(position, {}), self._tensors[k][i]
            tensors.step.copy_(torch.as_tensor(saved.get("step", 0.0)))
            tensors.mean.copy_(torch.as_tensor(saved.get("exp_avg", 0.0)))
            tensors.square.copy_(torch.as_tensor(saved.get("exp_avg_sq", 0.0)))


def stepped_names(layout: FoldLayout, parameters: Iterable[str]) -> set[str]:
    """Names in the stack of the weights that a fold has and uses."""
    return (set(layout.names.values()) - layout.unused) & set(parameters)


def settings_of(
    lr: float, weight_decay: float, betas: tuple[float, float], eps: float, device: torch.device
) -> dict[str, Any]:
    """The settings of a single fold's optimiser, as torch lists them in this version."""
    single = torch.optim.AdamW(
        [torch.empty(0, requires_grad=True)],
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        fused=device.type in FUSED or None,
    )
    [group] = single.state_dict()["param_groups"]
    return dict(group)


def check_group(
    state: Mapping[str, Any], weights: int, betas: tuple[float, float], eps: float
) -> dict[str, Any]:
    """The settings in the state of a single optimiser.

    Raises:
        DadnetError: If the number of weights, the betas or eps differ.
    """
    (group,) = state["param_groups"]
    loaded = (len(group["params"]), tuple(group["betas"]), group["eps"])
    if loaded != (weights, betas, eps):
        raise DadnetError(
            f"expected the state of {weights} weights with betas {betas} and eps {eps}, "
            f"got {loaded}"
        )
    return dict(group)
