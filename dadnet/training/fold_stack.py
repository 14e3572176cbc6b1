"""Members in training as one program: their epochs run in lockstep, one optimiser step for all."""

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
from dadnet.models.precision import half_products, matrix_units
from dadnet.training.one_fold import Batch, Member, by_curve
from dadnet.training.stack.adamw import StackedAdamW
from dadnet.training.stack.aligned import pick
from dadnet.training.stack.loss import stacked_loss
from dadnet.training.stack.network import StackedDADNet


class MemberStack:
    """Several members whose steps are made together.

    What a member draws, and in which order it sees its clips, is its own; only the arithmetic is
    shared. It equals the lone member's up to the order of summation.

    Args:
        members: members in training; their networks and optimisers are read here and brought up to
            date after every epoch. Their experiments have one architecture and alignment, with its
            number of projections and form; all else may differ.

    Raises:
        DadnetError: if they have not.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        for member in members:
            member.model.train()
        self.stack = self._put_together()
        self.alignment, self.form = _common_alignment(members)
        losses = [member.config.loss for member in members]
        device = members[0].device
        self.alignment_weight = torch.tensor([own.alignment_weight for own in losses]).to(device)
        self.label_smoothing = torch.tensor([own.label_smoothing for own in losses]).to(device)
        self.optimiser = StackedAdamW(
            self.stack.parameters,
            [member.config.optim.lr for member in members],
            [member.config.optim.weight_decay for member in members],
            layouts=self.stack.layouts,
        )
        for k, member in enumerate(members):
            self.optimiser.load_member_state(k, member.optimiser.state_dict())

    def _put_together(self) -> Any:
        """The members' networks as one; a kind of members has its own kind of stack."""
        return StackedDADNet.of([member.model for member in self.members])  # type: ignore[misc]

    def train_epoch(self) -> None:
        """One pass of every member over its own fit clips."""
        self.stack.train()
        self.optimiser.lr[:] = [member.rate for member in self.members]
        batches = [member.batches() for member in self.members]
        sums: dict[str, Tensor] = {}
        for i in range(max(map(len, batches))):
            # Folds differ in size, so some have a batch fewer in an epoch.
            chosen = [k for k, mine in enumerate(batches) if i < len(mine)]
            rows = [batches[k][i] for k in chosen]
            for name, value in by_curve(self.training_step(chosen, rows)).items():
                total = sums.setdefault(name, value.new_zeros(len(self)))
                total[chosen] += value * value.new_tensor([len(r) for r in rows])
        losses = {name: total.tolist() for name, total in sums.items()}
        for k, member in enumerate(self.members):
            size = len(member.view.fit)
            member.end_epoch({name: values[k] / size for name, values in losses.items()})
            self._hand_back(k, member)

    def training_step(self, chosen: list[int], rows: list[Tensor]) -> LossParts:
        """One optimiser step of some members, each on its own rows."""
        with matrix_units(self.members[0].config.optim.precision):
            return self._training_step(chosen, rows)

    def _training_step(self, chosen: list[int], rows: list[Tensor]) -> LossParts:
        members = [self.members[k] for k in chosen]
        sizes = [len(r) for r in rows]
        batches = [m.batch(r) for m, r in zip(members, rows, strict=True)]
        flow = pad_sequence([batch.flows for batch in batches], batch_first=True)
        labels = pad_sequence([batch.labels for batch in batches], batch_first=True)
        valid: Tensor | None = None
        if len(set(sizes)) > 1:
            counts = torch.tensor(sizes, device=flow.device)[:, None]
            valid = torch.arange(flow.shape[1], device=flow.device) < counts
        some = None if len(chosen) == len(self) else torch.tensor(chosen, device=flow.device)
        keep: Tensor | None = None
        if members[0].config.model.drop_path > 0:
            keep = self.stack.draw_keep(sizes, [m.drop_path_draws() for m in members])
        with half_products(members[0].config.optim.precision, flow.device):
            output = self.stack(
                flow, keep, valid=valid, members=some, teacher_maps=_padded_maps(members, batches)
            )
        shapes = {stage: f.shape[2:] for stage, f in output.student_features.items()}
        loss = stacked_loss(
            output,
            labels,
            pick(self.alignment_weight, some),
            label_smoothing=pick(self.label_smoothing, some),
            directions=_directions(members, shapes),
            form=self.form,
            alignment=self.alignment,
            valid=valid,
        )
        self.stack.zero_grad()
        loss.total.sum().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(chosen)
        for member in members:
            member.step += 1
        return loss

    @torch.no_grad()
    def val_probabilities(self) -> list[Probabilities]:
        """Probabilities of every member's val clips, of all members together."""
        self.stack.eval()
        if not any(len(member.view.val) for member in self.members):
            return [member.val_probabilities() for member in self.members]
        rows = pad_sequence([member.view.val for member in self.members], batch_first=True)
        parts = [
            self.stack.classify(
                torch.stack(
                    [
                        normalise(m.view.flows[r].float(), m.statistics)
                        for m, r in zip(self.members, part, strict=True)
                    ]
                )
            )
            for part in torch.split(rows, max(1, EVAL_BATCH // len(self)), dim=1)
        ]
        logits, task = torch.cat(parts, dim=1).double(), self.members[0].view.task
        found = to_probabilities(logits, task).cpu().numpy()
        return [f[: len(m.view.val)] for f, m in zip(found, self.members, strict=True)]

    def _hand_back(self, k: int, member: Member) -> None:
        """Bring a member's own network and optimiser up to date."""
        member.load_weights(self.stack.member_state(k))
        member.optimiser.load_state_dict(self.optimiser.member_state(k))

    def __len__(self) -> int:
        return len(self.members)


def _common_alignment(members: Sequence[Member]) -> tuple[str, Form]:
    """What is aligned and in which form; they and the projections shape a stack's arrays."""
    losses = [member.config.loss for member in members if member.config.aligned]
    found = {
        (loss.alignment, loss.num_projections, loss.gswd_form)
        if loss.alignment in SLICED
        else (loss.alignment, 0, "tokens")
        for loss in losses
    }
    if len(found) > 1:
        raise DadnetError(
            "expected members of one alignment, num_projections and gswd_form in a stack, got "
            + ", ".join(f"{name} {number} {form}" for name, number, form in sorted(found))
        )
    return (losses[0].alignment, losses[0].gswd_form) if losses else ("gswd", "tokens")


def _padded_maps(members: Sequence[Member], batches: Sequence[Batch]) -> dict[int, Tensor] | None:
    """The kept teacher's maps by stage, (K_i, B, C, H, W); None unless all that align have them."""
    maps = [b.teacher_maps for b, m in zip(batches, members, strict=True) if m.config.aligned]
    kept = [own for own in maps if own is not None]
    if not kept or len(kept) < len(maps):
        return None
    stages = sorted({stage for own in kept for stage in own})
    longest = max(len(batch.labels) for batch in batches)
    return {s: _padded([own[s] for own in kept if s in own], longest) for s in stages}


def _padded(maps: Sequence[Tensor], clips: int) -> Tensor:
    padded = pad_sequence(list(maps), batch_first=True)
    lacking = clips - padded.shape[1]  # where the longest batch is of a member that aligns nothing
    return F.pad(padded, (0, 0) * 3 + (0, lacking)) if lacking else padded


def _directions(members: Sequence[Member], shapes: Mapping[int, torch.Size]) -> dict[int, Tensor]:
    """Directions by stage: (L, D) where those that align it are at one step, else (K_i, L, D)."""
    found: dict[int, list[Tensor]] = {stage: [] for stage in shapes}
    for member in members:
        if member.config.aligned:
            own = {stage: shapes[stage] for stage in member.config.loss.alignment_stages}
            for stage, rows in member.directions(own).items():
                found[stage].append(rows)
    if not any(found.values()):
        return {}
    return {
        stage: rows[0] if all(other is rows[0] for other in rows) else torch.stack(rows)
        for stage, rows in found.items()
    }
