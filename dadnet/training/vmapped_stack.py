"""K baselines of one architecture as one program, by `torch.func.vmap` over a single network.

This stacks any network without new arithmetic; the stack of the student is faster
(`dadnet.training.stack.network`). A step takes folds of equal batch size together, so that there is
no padding, which BatchNorm would have to exclude.

Axes: K folds, k of them in a call, B clips, S input size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from dadnet.base.errors import DadnetError
from dadnet.labels.targets import clip_losses
from dadnet.models import LossParts
from dadnet.models.baselines import BaselineNetwork
from dadnet.models.own import OwnNetwork
from dadnet.models.precision import full, half_products, matrix_units
from dadnet.training.fold_stack import FoldStack
from dadnet.training.stack.aligned import index_of, pick
from dadnet.training.stack.inputs import Left, StepInputs
from dadnet.training.stack.layout import FoldLayout
from dadnet.training.stack.network import Stack


class VmappedStack(Stack):
    """K baselines of one architecture.

    Args:
        models: Networks of one architecture and device. Their weights are copied. The modules of
            the first one are run with the weights of the others; its own weights stay.

    Raises:
        DadnetError: If there is none, or they differ.
    """

    def __init__(self, models: Sequence[BaselineNetwork | OwnNetwork]) -> None:
        described = [model.describe() for model in models]
        if not models or any(other != described[0] for other in described):
            raise DadnetError(f"expected folds alike in a stack, got {described}")
        names = {name: name for name in models[0].state_dict()}
        super().__init__(models, [FoldLayout((), names)] * len(models))
        self.single = models[0]

    def train(self, mode: bool = True) -> VmappedStack:
        """Set the mode of all folds, and of the modules that are run."""
        self.single.train(mode)
        return super().train(mode)

    def __call__(
        self, x: Tensor, keep: Sequence[Tensor] | None = None, folds: Tensor | None = None
    ) -> Tensor:
        """Logits of folds, each for its own clips.

        Args:
            x: Flows z-scored per channel, shape (k, B, 2, S, S).
            keep: Dropout masks, see `BaselineNetwork.draw_keep`, each (k, B, ...).
            folds: Indices of the folds, int64, distinct, shape (k,); None is all.

        Returns:
            Shape (k, B, classes). Running statistics are updated while training.
        """
        parameters, buffers = (
            dict(values) if folds is None else {n: v[folds] for n, v in values.items()}
            for values in (self.parameters, self.buffers)
        )

        def logits(
            weights: dict[str, Tensor],
            statistics: dict[str, Tensor],
            flows: Tensor,
            masks: tuple[Tensor, ...] | None,
        ) -> Tensor:
            output = functional_call(
                self.single, (weights, statistics), (flows,), {"keep": masks}, strict=True
            )
            of_fold: Tensor = output.logits
            return of_fold

        masks = None if keep is None else tuple(keep)
        # vmap itself refuses a random draw inside, which would not come from the fold's generator.
        mapped = vmap(logits, in_dims=(0, 0, 0, None if masks is None else 0))
        of_folds: Tensor = mapped(parameters, buffers, x, masks)
        if folds is not None and self.single.training:
            with torch.no_grad():
                for name, updated in buffers.items():
                    self.buffers[name].index_copy_(0, folds, updated)
        return of_folds

    @property
    def left(self) -> Left:
        """The dropout."""
        return Left(share=self.single.dropout, shapes=self.single.dropped)

    @property
    def shapes(self) -> dict[int, tuple[int, int, int]]:
        """No stage is aligned."""
        return {}

    def classify(self, x: Tensor) -> Tensor:
        """Logits of all folds, (K, B, 2, S, S) to (K, B, classes); evaluation mode."""
        return self(x)


class VmappedFoldStack(FoldStack):
    """Folds of a baseline that are trained together."""

    stack: VmappedStack
    pads = False

    def _stack_networks(self) -> VmappedStack:
        return VmappedStack([fold.model for fold in self.folds])  # type: ignore[misc]

    def step(self, inputs: StepInputs, sizes: Sequence[int]) -> LossParts:
        """One optimiser step of the folds that have clips; see `FoldStack.step`."""
        chosen = [k for k, size in enumerate(sizes) if size]
        some = None if len(chosen) == len(self) else index_of(tuple(chosen), self.device)
        with matrix_units(self.precision):
            own = inputs.of(some, max(sizes))
            loss = self._of_sizes(own, chosen, [sizes[k] for k in chosen])
            self._update(loss.total.sum(), inputs)
        return loss

    def _of_sizes(
        self, inputs: StepInputs, chosen: Sequence[int], sizes: Sequence[int]
    ) -> LossParts:
        by_size: dict[int, list[int]] = {}  # batch size: slots of the folds in this step
        for slot, size in enumerate(sizes):
            by_size.setdefault(size, []).append(slot)
        order = index_of(tuple(slot for slots in by_size.values() for slot in slots), self.device)
        parts = [self._of_size(inputs, size, slots, chosen) for size, slots in by_size.items()]
        losses = torch.cat(parts).index_select(0, order.argsort())
        return LossParts(losses, losses, torch.zeros_like(losses), {})

    def _of_size(
        self, inputs: StepInputs, size: int, slots: Sequence[int], chosen: Sequence[int]
    ) -> Tensor:
        """Cross-entropy of the folds in these slots, which have equally many clips, (k,)."""
        some = None if len(slots) == len(chosen) else index_of(tuple(slots), self.device)
        inputs, folds = inputs.of(some, size), [chosen[slot] for slot in slots]
        index = None if len(folds) == len(self) else index_of(tuple(folds), self.device)
        flows = self.batcher.clips(inputs.rows, inputs.warp, folds)
        with half_products(self.precision, self.device):
            logits = self.stack(flows, inputs.masks, index)
        losses = clip_losses(full(logits), inputs.labels, pick(self.label_smoothing, index))
        return losses.mean(1)
