"""Folds in training as one program: their epochs run in lockstep, one optimiser step for all."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import SLICED
from dadnet.inference.score import EVAL_BATCH, Probabilities
from dadnet.labels.targets import to_probabilities
from dadnet.models import LossParts
from dadnet.models.alignment import Form
from dadnet.models.loss import fold_losses
from dadnet.models.precision import half_products, matrix_units
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.adamw import StackedAdamW
from dadnet.training.stack.aligned import index_of, pick
from dadnet.training.stack.batch import Batcher, CachedMaps
from dadnet.training.stack.flat_adamw import FlatAdamW
from dadnet.training.stack.graph import Capture, CapturedStep
from dadnet.training.stack.groups import alike, joined
from dadnet.training.stack.inputs import Drawer, Epoch, StepInputs
from dadnet.training.stack.network import StackedDADNet

_VAL_CLIPS = 8  # of each fold, validated at once on a CPU


class FoldStack:
    """Several folds whose steps are made together.

    The draws of a fold and the order of its clips are those of a single training; only the
    arithmetic is shared.

    On a CPU the folds of a step that have equally many clips are one program, and those with more
    or fewer another. No batch is padded, and no number of a fold depends on the other folds: its
    outcome is the same bits in every stack. On other devices all folds are one padded program.

    Args:
        folds: folds in training; their networks and optimisers are read here, and updated when
            somebody asks for them. Their experiments have one architecture and one alignment, with
            its number of projections and its form; everything else may differ.
        capture: makes one CUDA graph of a step; None: steps are eager.

    Raises:
        DadnetError: if the folds differ in one of these.
    """

    pads = True  # whether batches of unequal size can be one

    def __init__(self, folds: Sequence[OneFold], capture: Capture | None = None) -> None:
        self.folds, self.device, self.capture = list(folds), folds[0].device, capture
        self._captured: CapturedStep | None = None
        self._drawn: Iterator[Epoch] | None = None  # the epoch to come, if it is drawn
        for fold in folds:
            fold.leave_stack()
            fold.model.train()
        self.precision = folds[0].config.optim.precision
        self.stack = self._stack_networks()
        self.alignment, self.form = _common_alignment(folds)
        losses = [fold.config.loss for fold in folds]
        self.alignment_weight, self.label_smoothing = (
            torch.tensor([getattr(loss, name) for loss in losses]).to(self.device)
            for name in ("alignment_weight", "label_smoothing")
        )
        self.curves = ["train_loss", "alignment"]
        self.curves += sorted({name for fold in folds for name in fold.stage_curves})
        # Whether every step runs all folds at one shape; those without clips do not change.
        if capture is not None or self.device.type != "cpu" or not self.pads:
            self.stack.lie_flat()
        self.masked = self.pads and self.stack.flat is not None
        self.optimiser = self._optimiser()
        for k, fold in enumerate(folds):
            self.optimiser.load_fold_state(k, fold.optimiser.state_dict())
        self.batcher, self.maps = Batcher.of(folds), CachedMaps.of(folds)
        shape = len(self.curves), len(self)
        self._sums = torch.zeros(shape, dtype=torch.float64, device=self.device)
        self.drawer = Drawer(folds, self.stack.shapes, self.stack.left, self.device)
        vals = [fold.view.val for fold in folds]
        self._val_rows = pad_sequence(vals, batch_first=True).to(self.device)
        self._parts: dict[tuple[int, int], Any] = {}  # networks of adjacent folds, once made
        self._chosen: dict[str, Tensor] = {}  # name in the stack: weights of the best epochs

    def _stack_networks(self) -> Any:
        """The networks of all folds as one; subclasses stack other networks."""
        return StackedDADNet([fold.model for fold in self.folds])  # type: ignore[misc]

    def _optimiser(self) -> Any:
        optims = [fold.config.optim for fold in self.folds]
        rates = [optim.lr for optim in optims], [optim.weight_decay for optim in optims]
        layouts = self.stack.layouts
        if self.stack.flat is not None:
            return FlatAdamW(self.stack.flat, self.stack.parameters, *rates, layouts=layouts)
        return StackedAdamW(self.stack.parameters, *rates, layouts=layouts)

    def train_epoch(self) -> None:
        """One pass of every fold over its own fit clips."""
        self.stack.train()
        self.optimiser.lr[:] = [fold.rate for fold in self.folds]
        self._sums.zero_()
        parts, self._drawn = self._drawn or self.drawer.epochs(), None
        for epoch in parts:
            for i, sizes in enumerate(epoch.sizes):
                self.run(epoch.step(i), sizes)
            for k, fold in enumerate(self.folds):
                fold.step += sum(sizes[k] > 0 for sizes in epoch.sizes)
        for fold in self.folds:
            fold.end_epoch()
        if self.masked:
            # The host draws the next epoch while the device works on this one.
            following = self.drawer.epochs()
            self._drawn = chain([next(following)], following)
        for k, (fold, of_fold) in enumerate(zip(self.folds, self._sums.t().tolist(), strict=True)):
            size = len(fold.view.fit)
            fold.append_losses({n: v / size for n, v in zip(self.curves, of_fold, strict=True)})
            fold.trained_by(partial(self._hand_back, k))

    def draw_and_run(self, rows: Sequence[Tensor]) -> None:
        """Draw the inputs of a step of all folds, on these rows, and make it; see `run`."""
        epoch = self.drawer.draw([[of_fold] for of_fold in rows])
        self.run(epoch.step(0), epoch.sizes[0])

    def run(self, inputs: StepInputs, sizes: Sequence[int]) -> None:
        """A step whose losses are added up on the device; one CUDA graph where that is possible."""
        if self.masked and self.capture is not None and not self.capture.refused:
            if self._captured is None:
                self._captured = self.capture(partial(self._run, sizes=sizes), inputs, self._state)
            if self._captured is not None:
                self._captured(inputs)
                return
        self._run(inputs, sizes)

    def _run(self, inputs: StepInputs, sizes: Sequence[int]) -> None:
        # Losses stay on the device until the epoch's end: a copy would wait for its work.
        self._sums += self._by_curve(self.step(inputs, sizes), sizes) * inputs.valid.sum(1)

    def _state(self) -> list[Tensor]:
        """Everything that a step changes in place."""
        optimiser = self.optimiser.tensors() if self.masked else []
        return [*optimiser, *self.stack.buffers.values(), self._sums]

    def _by_curve(self, loss: LossParts, sizes: Sequence[int]) -> Tensor:
        """The losses of a step by curve and fold, 0 for those without a batch; float64."""
        named = loss.by_curve()
        if lacking := set(self.curves) - named.keys():
            named |= dict.fromkeys(lacking, torch.zeros_like(named["train_loss"]))
        values = torch.stack([named[name] for name in self.curves]).double()
        if values.shape[1] == len(sizes):
            return values
        some = index_of(tuple(k for k, size in enumerate(sizes) if size), self.device)
        return values.new_zeros(len(values), len(sizes)).index_copy(1, some, values)

    def training_step(self, chosen: Sequence[int], rows: Sequence[Tensor]) -> LossParts:
        """One optimiser step of some folds, each on its own rows; the losses of these folds."""
        batches: list[list[Tensor]] = [[] for _ in self.folds]
        for k, of_fold in zip(chosen, rows, strict=True):
            batches[k] = [of_fold]
        epoch = self.drawer.draw(batches)
        loss = self.step(epoch.step(0), epoch.sizes[0])
        for k in chosen:
            self.folds[k].step += 1
        return loss

    def step(self, inputs: StepInputs, sizes: Sequence[int]) -> LossParts:
        """One optimiser step of the folds that have clips, from inputs on the device.

        Args:
            inputs: of all folds.
            sizes: number of clips of each fold; 0: it makes no step.

        Returns:
            The losses of these folds.
        """
        with matrix_units(self.precision):
            if self.masked:
                return self._step_of_all(inputs)
            parts = [
                self._step_of(folds, inputs.of(folds, sizes[folds.start])) for folds in alike(sizes)
            ]
        return joined(parts)

    def _step_of(self, folds: slice, inputs: StepInputs) -> LossParts:
        """A step of adjacent folds with equally many clips, from their inputs."""
        part = self._part(folds)
        part.zero_grad()
        loss = self._losses(part, folds, inputs)
        loss.total.sum().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(range(folds.start, folds.stop), part.parameters)
        return loss

    def _part(self, folds: slice) -> Any:
        """The networks of adjacent folds."""
        key = folds.start, folds.stop
        if key not in self._parts:
            every = key == (0, len(self))
            self._parts[key] = self.stack if every else self.stack.part(folds)
        return self._parts[key].train(self.stack.training)

    def _step_of_all(self, inputs: StepInputs) -> LossParts:
        """A step of all folds, padded; those without a clip do not change."""
        loss = self._losses(self.stack, slice(0, len(self)), inputs, inputs.valid)
        self._update(loss.total.sum(), inputs)
        return loss

    def _update(self, loss: Tensor, inputs: StepInputs) -> None:
        names, weights = zip(*self.stack.parameters.items(), strict=True)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        gradients = dict(zip(names, found, strict=True))
        self.optimiser.step(gradients, inputs.rates, inputs.valid.any(1))

    def _losses(
        self, part: Any, folds: slice, inputs: StepInputs, valid: Tensor | None = None
    ) -> LossParts:
        """Losses of adjacent folds, each on its own clips; networks and inputs are of these."""
        chosen = range(folds.start, folds.stop)
        maps = None if self.maps is None else self.maps(inputs, chosen)
        flow = self.batcher.clips(inputs.rows, inputs.warp, chosen)
        with half_products(self.precision, self.device):
            output = part(flow, inputs.keep, valid=valid, teacher_maps=maps)
        return fold_losses(
            output,
            inputs.labels,
            self.alignment_weight[folds],
            label_smoothing=self.label_smoothing[folds],
            directions={s: pick(d, output.slots.get(s)) for s, d in inputs.directions.items()},
            form=self.form,
            alignment=self.alignment,
            valid=valid,
        )

    @torch.no_grad()
    def val_probabilities(self) -> list[Probabilities]:
        """Probabilities of the val clips of every fold, computed together."""
        sizes = [len(fold.view.val) for fold in self.folds]
        if not any(sizes):
            return [np.empty((0, fold.view.num_classes)) for fold in self.folds]
        self.stack.eval()
        logits = self._val_on_device(self._val_rows).cpu()
        found = []
        for fold, of_fold, size in zip(self.folds, logits, sizes, strict=True):
            found.append(to_probabilities(of_fold[:size].double(), fold.view.task).numpy())
        return found

    @torch.no_grad()
    def _val_on_device(self, rows: Tensor) -> Tensor:
        """Logits of clips (K, M) of every fold, (K, M, C), on the device."""
        at_once = EVAL_BATCH
        if rows.is_cpu:
            # The shape of a fold's work must not depend on the others of its stack.
            at_once = _VAL_CLIPS
            rows = F.pad(rows, (0, -rows.shape[1] % at_once))
        with matrix_units("float32"):
            parts = [
                self.stack.classify(self.batcher.clips(part))
                for part in torch.split(rows, at_once, dim=1)
            ]
        return torch.cat(parts, dim=1)

    def select(self) -> None:
        """Keep the weights of the folds whose epoch is the best so far; they stay on the device."""
        better = [k for k, f in enumerate(self.folds) if f.select(partial(self._of_chosen, k))]
        tensors = self.stack.tensors()
        if len(better) == len(self):
            self._chosen = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        elif better:
            some = index_of(tuple(better), self.device)
            for name, tensor in tensors.items():
                if name not in self._chosen:
                    self._chosen[name] = torch.empty_like(tensor, requires_grad=False)
                self._chosen[name].index_copy_(0, some, tensor.detach().index_select(0, some))

    def _of_chosen(self, k: int) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.stack.fold_state(k, self._chosen)
        return found

    def _hand_back(self, k: int) -> None:
        """Bring weights and optimiser of a fold to where they are when it trains alone."""
        self.folds[k].load_weights(self.stack.fold_state(k))
        self.folds[k].optimiser.load_state_dict(self.optimiser.fold_state(k))

    def __len__(self) -> int:
        return len(self.folds)


def _common_alignment(folds: Sequence[OneFold]) -> tuple[str, Form]:
    """The alignment and its form; with the number of projections they shape a stack's arrays."""
    losses = [fold.config.loss for fold in folds if fold.config.aligned]
    kinds = {
        (loss.alignment, loss.num_projections, loss.gswd_form)
        if loss.alignment in SLICED
        else (loss.alignment, 0, "tokens")
        for loss in losses
    }
    if len(kinds) > 1:
        raise DadnetError(
            "expected folds of one alignment, num_projections and gswd_form in a stack, got "
            + ", ".join(f"{name} {number} {form}" for name, number, form in sorted(kinds))
        )
    return (losses[0].alignment, losses[0].gswd_form) if losses else ("gswd", "tokens")
