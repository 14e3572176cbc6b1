"""AdamW for a stack: each member with its own learning rate, weight decay and step count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.training.stack.layout import MemberLayout


class StackedAdamW:
    """`torch.optim.AdamW` of every member (Loshchilov and Hutter, 2019), by torch's fused kernel.

    A weight without a gradient is left alone, as torch does, and so is a member's in `layouts` that
    it lacks or never runs, since its lone fold has no gradient there.

    Args:
        parameters: Name: weights of all members, shape (K, ...), contiguous; updated in place. The
            order is that of the lone model's trainable parameters.
        lr: Learning rate of each member; may be changed between steps through the attribute.
        weight_decay: Weight decay of each member, likewise.
        layouts: What of the weights each member has; None: all have all.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        lr: Sequence[float],
        weight_decay: Sequence[float],
        *,
        layouts: Sequence[MemberLayout] | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.parameters = dict(parameters)
        self.lr, self.weight_decay = list(lr), list(weight_decay)
        self.betas, self.eps = betas, eps
        first = next(iter(self.parameters.values()))
        if not len(self.lr) == len(self.weight_decay) == len(first):
            raise DadnetError(
                f"expected a learning rate and a weight decay for each of {len(first)} members, "
                f"got {len(self.lr)} and {len(self.weight_decay)}"
            )
        every = MemberLayout((), {name: name for name in self.parameters})
        given = [every] * len(first) if layouts is None else layouts
        # Of each member: rows of its weights in the lone optimiser's order, and of those stepped.
        self._own = [self._rows(layout.names.values()) for layout in given]
        self._stepped = [
            set(rows) - set(self._rows(layout.unused))
            for rows, layout in zip(self._own, given, strict=True)
        ]
        self._moments = {
            name: (
                torch.zeros_like(p, requires_grad=False),
                torch.zeros_like(p, requires_grad=False),
            )
            for name, p in self.parameters.items()
        }
        # Steps of each weight of each member: (weights, K), on the device as the kernel wants it.
        self._steps = torch.zeros(len(self.parameters), len(first), device=first.device)
        # Of each member: weight, moments and steps of each weight, made once since they are views.
        self._views = [
            [
                (parameter.detach()[k], mean[k], square[k], self._steps[i, k])
                for i, (parameter, (mean, square)) in enumerate(
                    zip(self.parameters.values(), self._moments.values(), strict=True)
                )
            ]
            for k in range(len(first))
        ]

    @torch.no_grad()
    def step(self, members: Sequence[int] | None = None) -> None:
        """Update members from the gradients.

        Args:
            members: Which ones; None is all. The others keep weights, moments and step counts.
        """
        gradients = {
            i: p.grad for i, p in enumerate(self.parameters.values()) if p.grad is not None
        }
        for k in range(len(self.lr)) if members is None else members:
            rows = [i for i in gradients if i in self._stepped[k]]
            weights, means, squares, steps = zip(*(self._views[k][i] for i in rows), strict=True)
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                weights,
                [gradients[i][k] for i in rows],
                means,
                squares,
                [],
                steps,
                lr=self.lr[k],
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.weight_decay[k],
                eps=self.eps,
                amsgrad=False,
                maximize=False,
            )

    def _rows(self, names: Iterable[str]) -> list[int]:
        """Places of weights among all; names of buffers are passed over."""
        places = {name: i for i, name in enumerate(self.parameters)}
        return [places[name] for name in names if name in places]

    def member_state(self, k: int) -> dict[str, Any]:
        """A member's state as `torch.optim.AdamW(...).state_dict()` of its lone fold gives it."""
        state: dict[int, dict[str, Tensor]] = {}
        names = list(self.parameters)
        for place, i in enumerate(self._own[k]):
            if self._steps[i, k] > 0:
                mean, square = self._moments[names[i]]
                state[place] = {
                    "step": self._steps[i, k].cpu().clone(),
                    "exp_avg": mean[k].clone(),
                    "exp_avg_sq": square[k].clone(),
                }
        return {"state": state, "param_groups": [self._group(k)]}

    def _group(self, k: int) -> dict[str, Any]:
        # torch knows best which settings its state dict has in this version.
        lone = torch.optim.AdamW(
            [torch.empty(0, requires_grad=True)],
            lr=self.lr[k],
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay[k],
            fused=True,  # the kernel of this class, so that a lone fold goes on with the same
        )
        group: dict[str, Any] = lone.state_dict()["param_groups"][0]
        return {**group, "params": list(range(len(self._own[k])))}

    @torch.no_grad()
    def load_member_state(self, k: int, state: Mapping[str, Any]) -> None:
        """Take over a lone fold's state, its learning rate and weight decay included.

        Args:
            k: Which member.
            state: Of `member_state`, or of `torch.optim.AdamW` over the trainable parameters.

        Raises:
            DadnetError: If it is of another number of weights, or of other betas or eps.
        """
        (group,) = state["param_groups"]
        found = (len(group["params"]), tuple(group["betas"]), group["eps"])
        if found != (len(self._own[k]), self.betas, self.eps):
            raise DadnetError(
                f"expected the state of {len(self._own[k])} weights with betas {self.betas} and "
                f"eps {self.eps}, got {found}"
            )
        self.lr[k], self.weight_decay[k] = group["lr"], group["weight_decay"]
        names = list(self.parameters)
        for place, i in enumerate(self._own[k]):
            mean, square = self._moments[names[i]]
            given = state["state"].get(place)
            self._steps[i, k] = 0.0 if given is None else given["step"]
            mean[k] = 0.0 if given is None else given["exp_avg"]
            square[k] = 0.0 if given is None else given["exp_avg_sq"]
