"""Folds in training as one program: their epochs run in lockstep, one optimiser step for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import SLICED
from dadnet.flow.normalisation import normalise
from dadnet.inference.score import EVAL_BATCH, Probabilities
from dadnet.labels.targets import to_probabilities
from dadnet.models import LossParts
from dadnet.models.alignment import Form
from dadnet.models.loss import fold_losses
from dadnet.models.precision import half_products, matrix_units
from dadnet.training.one_fold import Batch, OneFold, by_curve
from dadnet.training.stack.adamw import StackedAdamW
from dadnet.training.stack.aligned import pick
from dadnet.training.stack.network import StackedDADNet


class FoldStack:
    """Several folds whose steps are made together.

    The draws of a fold and the order of its clips are those of a single training; only the
    arithmetic is shared. Results equal those of a single training up to the order of summation.

    Args:
        folds: folds in training; their networks and optimisers are read here and updated after
            every epoch. Their experiments have one architecture and one alignment, with its number
            of projections and its form; everything else may differ.

    Raises:
        DadnetError: if the folds differ in one of these.
    """

    def __init__(self, folds: Sequence[OneFold]) -> None:
        self.folds = list(folds)
        for fold in folds:
            fold.model.train()
        self.stack = self._stack_networks()
        self.alignment, self.form = _common_alignment(folds)
        losses, device = [fold.config.loss for fold in folds], folds[0].device
        self.alignment_weight, self.label_smoothing = (
            torch.tensor([getattr(loss, name) for loss in losses]).to(device)
            for name in ("alignment_weight", "label_smoothing")
        )
        self.optimiser = StackedAdamW(
            self.stack.parameters,
            [fold.config.optim.lr for fold in folds],
            [fold.config.optim.weight_decay for fold in folds],
            layouts=self.stack.layouts,
        )
        for k, fold in enumerate(folds):
            self.optimiser.load_fold_state(k, fold.optimiser.state_dict())

    def _stack_networks(self) -> Any:
        """The networks of all folds as one; subclasses stack other networks."""
        return StackedDADNet([fold.model for fold in self.folds])  # type: ignore[misc]

    def train_epoch(self) -> None:
        """One pass of every fold over its own fit clips."""
        self.stack.train()
        self.optimiser.lr[:] = [fold.rate for fold in self.folds]
        batches = [fold.batches() for fold in self.folds]
        sums: dict[str, Tensor] = {}
        for i in range(max(map(len, batches))):
            # Folds differ in size, so some have a batch fewer in an epoch.
            chosen = [k for k, of_fold in enumerate(batches) if i < len(of_fold)]
            rows = [batches[k][i] for k in chosen]
            for name, value in by_curve(self.training_step(chosen, rows)).items():
                total = sums.setdefault(name, value.new_zeros(len(self)))
                total[chosen] += value * value.new_tensor([len(r) for r in rows])
        losses = {name: total.tolist() for name, total in sums.items()}
        for k, fold in enumerate(self.folds):
            size = len(fold.view.fit)
            fold.end_epoch({name: values[k] / size for name, values in losses.items()})
            fold.load_weights(self.stack.fold_state(k))
            fold.optimiser.load_state_dict(self.optimiser.fold_state(k))

    def training_step(self, chosen: list[int], rows: list[Tensor]) -> LossParts:
        """One optimiser step of some folds, each on its own rows."""
        with matrix_units(self.folds[0].config.optim.precision):
            return self._training_step(chosen, rows)

    def _training_step(self, chosen: list[int], rows: list[Tensor]) -> LossParts:
        folds = [self.folds[k] for k in chosen]
        sizes = [len(r) for r in rows]
        batches = [m.batch(r) for m, r in zip(folds, rows, strict=True)]
        flow = pad_sequence([batch.flows for batch in batches], batch_first=True)
        labels = pad_sequence([batch.labels for batch in batches], batch_first=True)
        valid: Tensor | None = None
        if len(set(sizes)) > 1:
            counts = torch.tensor(sizes, device=flow.device)[:, None]
            valid = torch.arange(flow.shape[1], device=flow.device) < counts
        some = None if len(chosen) == len(self) else torch.tensor(chosen, device=flow.device)
        keep: Tensor | None = None
        if folds[0].config.model.drop_path > 0:
            keep = self.stack.draw_keep(sizes, [m.drop_path_draws() for m in folds])
        with half_products(folds[0].config.optim.precision, flow.device):
            output = self.stack(
                flow, keep, valid=valid, folds=some, teacher_maps=_padded_maps(folds, batches)
            )
        shapes = {stage: f.shape[2:] for stage, f in output.student_features.items()}
        loss = fold_losses(
            output,
            labels,
            pick(self.alignment_weight, some),
            label_smoothing=pick(self.label_smoothing, some),
            directions=_directions(folds, shapes),
            form=self.form,
            alignment=self.alignment,
            valid=valid,
        )
        self.stack.zero_grad()
        loss.total.sum().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(chosen)
        for fold in folds:
            fold.step += 1
        return loss

    @torch.no_grad()
    def val_probabilities(self) -> list[Probabilities]:
        """Probabilities of the val clips of every fold, computed together."""
        self.stack.eval()
        if not any(len(fold.view.val) for fold in self.folds):
            return [fold.val_probabilities() for fold in self.folds]
        rows = pad_sequence([fold.view.val for fold in self.folds], batch_first=True)
        parts = []
        for part in torch.split(rows, max(1, EVAL_BATCH // len(self)), dim=1):
            clips = zip(self.folds, part, strict=True)
            flows = [normalise(m.view.flows[r].float(), m.statistics) for m, r in clips]
            parts.append(self.stack.classify(torch.stack(flows)))
        logits, task = torch.cat(parts, dim=1).double(), self.folds[0].view.task
        probabilities = to_probabilities(logits, task).cpu().numpy()
        return [p[: len(m.view.val)] for p, m in zip(probabilities, self.folds, strict=True)]

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


def _padded_maps(folds: Sequence[OneFold], batches: Sequence[Batch]) -> dict[int, Tensor] | None:
    """The cached teacher maps by stage, (K_i, B, C, H, W); None unless all that align have them."""
    maps = [b.teacher_maps for b, m in zip(batches, folds, strict=True) if m.config.aligned]
    cached = [of_fold for of_fold in maps if of_fold is not None]
    if not cached or len(cached) < len(maps):
        return None
    longest = max(len(batch.labels) for batch in batches)
    return {
        stage: _padded([of_fold[stage] for of_fold in cached if stage in of_fold], longest)
        for stage in sorted({stage for of_fold in cached for stage in of_fold})
    }


def _padded(maps: Sequence[Tensor], clips: int) -> Tensor:
    padded = pad_sequence(list(maps), batch_first=True)
    lacking = clips - padded.shape[1]  # where the longest batch is of a fold that aligns nothing
    return F.pad(padded, (0, 0) * 3 + (0, lacking)) if lacking else padded


def _directions(folds: Sequence[OneFold], shapes: Mapping[int, torch.Size]) -> dict[int, Tensor]:
    """Directions by stage: (L, D) where those that align it are at one step, else (K_i, L, D)."""
    by_stage: dict[int, list[Tensor]] = {}
    for fold in folds:
        if fold.config.aligned:
            stages = fold.config.loss.alignment_stages
            for stage, rows in fold.directions({s: shapes[s] for s in stages}).items():
                by_stage.setdefault(stage, []).append(rows)
    return {
        stage: rows[0] if all(other is rows[0] for other in rows) else torch.stack(rows)
        for stage, rows in by_stage.items()
    }
