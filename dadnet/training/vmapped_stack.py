"""K baselines of one architecture as one program, by `torch.func.vmap` over the lone network.

Any network can be stacked so, without arithmetic of its own; the student's own stack is faster
(`dadnet.training.stack.network`). A step takes the members of equal batch size together, so that no
clip is padding, which BatchNorm would have to leave out.

Axes: K members, k of them in a call, B clips, S input size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from dadnet.base.errors import DadnetError
from dadnet.labels.targets import mean_loss
from dadnet.models import LossParts
from dadnet.models.baselines import BaselineNetwork
from dadnet.models.precision import full, half_products
from dadnet.training.fold_stack import MemberStack
from dadnet.training.stack.layout import MemberLayout


class VmappedStack:
    """K baselines of one architecture.

    Args:
        members: Networks of one architecture and device. Their weights are copied; the first one's
            modules are run with the others' weights, and its own stay.

    Attributes:
        parameters: name: the members' weights, shape (K, *shape of the lone one).
        buffers: the same for BatchNorm's running statistics.

    Raises:
        DadnetError: If there is none, or they differ.
    """

    def __init__(self, members: Sequence[BaselineNetwork]) -> None:
        described = [member.describe() for member in members]
        if not members or any(own != described[0] for own in described):
            raise DadnetError(f"expected members alike in a stack, got {described}")
        self.lone = members[0]
        self.parameters = _stacked([dict(member.named_parameters()) for member in members])
        self.buffers = _stacked([dict(member.named_buffers()) for member in members])
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        own = {name: name for name in (*self.parameters, *self.buffers)}
        self.layouts = [MemberLayout((), own)] * len(members)

    def train(self, mode: bool = True) -> VmappedStack:
        """Set the mode of all members."""
        self.lone.train(mode)
        return self

    def eval(self) -> VmappedStack:
        """Set evaluation mode."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def member_state(self, k: int) -> dict[str, Tensor]:
        """Copies of a member's weights and buffers, as its lone state dict."""
        tensors = {**self.parameters, **self.buffers}
        return {name: value.detach()[k].clone() for name, value in tensors.items()}

    def __call__(
        self, x: Tensor, keep: Sequence[Tensor] | None = None, members: Tensor | None = None
    ) -> Tensor:
        """Logits of members, each of its own clips.

        Args:
            x: Flows z-scored per channel, shape (k, B, 2, S, S).
            keep: Dropout masks, see `BaselineNetwork.draw_keep`, each (k, B, ...).
            members: Indices of the members, int64, distinct, shape (k,); None is all.

        Returns:
            Shape (k, B, classes). Running statistics are updated while training.
        """
        parameters, buffers = (
            dict(values) if members is None else {n: v[members] for n, v in values.items()}
            for values in (self.parameters, self.buffers)
        )

        def logits(
            weights: dict[str, Tensor],
            statistics: dict[str, Tensor],
            flows: Tensor,
            masks: tuple[Tensor, ...] | None,
        ) -> Tensor:
            output = functional_call(
                self.lone, (weights, statistics), (flows,), {"keep": masks}, strict=True
            )
            found: Tensor = output.logits
            return found

        masks = None if keep is None else tuple(keep)
        # vmap itself refuses a random draw inside, which would not be the member's own.
        mapped = vmap(logits, in_dims=(0, 0, 0, None if masks is None else 0))
        found: Tensor = mapped(parameters, buffers, x, masks)
        if members is not None and self.lone.training:
            with torch.no_grad():
                for name, updated in buffers.items():
                    self.buffers[name].index_copy_(0, members, updated)
        return found

    def classify(self, x: Tensor) -> Tensor:
        """Logits of all members, (K, B, 2, S, S) to (K, B, classes); evaluation mode."""
        return self(x)


class VmappedMemberStack(MemberStack):
    """Members with baselines whose steps are made together."""

    stack: VmappedStack

    def _put_together(self) -> VmappedStack:
        return VmappedStack([member.model for member in self.members])  # type: ignore[misc]

    def _training_step(self, chosen: list[int], rows: list[Tensor]) -> LossParts:
        places: dict[int, list[int]] = {}  # by batch size
        for place, own in enumerate(rows):
            places.setdefault(len(own), []).append(place)
        parts = [
            self._losses([chosen[p] for p in at], [rows[p] for p in at]) for at in places.values()
        ]
        order = torch.tensor([p for at in places.values() for p in at]).argsort()
        losses = torch.cat(parts)
        self.stack.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(chosen)
        for k in chosen:
            self.members[k].step += 1
        losses = losses[order.to(losses.device)]
        return LossParts(losses, losses, torch.zeros_like(losses), {})

    def _losses(self, chosen: list[int], rows: list[Tensor]) -> Tensor:
        """Cross-entropy of some members with equally many rows, shape (k,)."""
        members = [self.members[k] for k in chosen]
        batches = [m.batch(r) for m, r in zip(members, rows, strict=True)]
        flows = torch.stack([batch.flows for batch in batches])
        masks = [
            m.model.draw_keep(len(r), m.drop_path_draws())  # type: ignore[operator]
            for m, r in zip(members, rows, strict=True)
        ]
        keep = [torch.stack(own).to(flows) for own in zip(*masks, strict=True)]
        index = torch.tensor(chosen, device=flows.device)
        with half_products(members[0].config.optim.precision, flows.device):
            logits = self.stack(flows, keep, None if len(chosen) == len(self) else index)
        losses = [
            mean_loss(own, batch.labels, m.config.loss.label_smoothing)
            for own, batch, m in zip(full(logits), batches, members, strict=True)
        ]
        return torch.stack(losses)


def _stacked(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.stack([state[name].detach().contiguous() for state in states])
        for name in states[0]
    }
