"""The inputs of the steps of an epoch: drawn on the host, brought to the device together.

Every number is drawn by the generator of its purpose, fold and step, as for a fold that is trained
alone. The numbers of all steps and folds are then put side by side, one row per step, so that an
epoch needs two copies to the device, and a step none.

Axes: T steps, K folds, B clips of the longest batch, J blocks, L directions, D their dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from dadnet.base.seeding import seed_hash
from dadnet.models.loss import directions_at
from dadnet.training.augment import OpticalFlowAugmentation, WarpParameters
from dadnet.training.one_fold import OneFold

_AT_MOST_BYTES = 128 * 2**20  # of the directions that lie on the device at once
Shapes = Mapping[int, tuple[int, int, int]]  # stage: channels, rows, columns


@dataclass(frozen=True)
class Left:
    """What a network leaves out at random.

    Attributes:
        rates: probability of each block, of stochastic depth.
        share: share of the features, of dropout.
        shapes: of these features of one clip, in the order of their draws.
    """

    rates: tuple[float, ...] = ()
    share: float = 0.0
    shapes: tuple[tuple[int, ...], ...] = ()


class StepInputs(NamedTuple):
    """What a step of a stack is made from, on the device; padding is 0."""

    rows: Tensor  # clips among the flows, (K, B), int64
    labels: Tensor  # (K, B), or (K, B, C) of several labels
    valid: Tensor  # which clips there are, (K, B), bool; a fold without a batch has none
    warp: WarpParameters  # of the clips, each (K, B)
    keep: Tensor | None  # stochastic depth, (K, J, B)
    masks: tuple[Tensor, ...]  # dropout, each (K, B, ...)
    rates: Tensor  # learning rates, (K,)
    directions: dict[int, Tensor]  # aligned stage: (K, L, D)

    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        found = [self.rows, self.labels, self.valid, *self.warp, *self.masks, self.rates]
        kept = [] if self.keep is None else [self.keep]
        return [*found, *kept, *self.directions.values()]

    def clone(self) -> StepInputs:
        """The same numbers in tensors of their own."""
        keep = None if self.keep is None else self.keep.clone()
        warp = WarpParameters(*(part.clone() for part in self.warp))
        rows, labels, valid, rates = (
            x.clone() for x in (self.rows, self.labels, self.valid, self.rates)
        )
        masks = tuple(mask.clone() for mask in self.masks)
        directions = {stage: x.clone() for stage, x in self.directions.items()}
        return StepInputs(rows, labels, valid, warp, keep, masks, rates, directions)

    def of(self, folds: Tensor | slice | None, clips: int) -> StepInputs:
        """Those of some folds, index int64 (None: all), cut to this number of clips."""

        def part(x: Tensor) -> Tensor:
            if isinstance(folds, slice):
                return x[folds]
            return x if folds is None else x.index_select(0, folds)

        rows, labels, valid, angle, scale, flip = (
            part(x)[:, :clips] for x in (self.rows, self.labels, self.valid, *self.warp)
        )
        keep = None if self.keep is None else part(self.keep)[..., :clips]
        masks = tuple(part(mask)[:, :clips] for mask in self.masks)
        directions = {stage: part(of_stage) for stage, of_stage in self.directions.items()}
        warp = WarpParameters(angle, scale, flip)
        return StepInputs(rows, labels, valid, warp, keep, masks, part(self.rates), directions)


@dataclass(frozen=True)
class Epoch:
    """Steps of an epoch of a stack.

    Attributes:
        sizes: clips of each fold in each step, T times K; on the host.
        numbers: name of each input: floats of all steps, (T, K, ...), on the device.
        indices: the same for integers.
        directions: aligned stage: unit rows of every step number that occurs, (U, L, D).
        same: the row of `directions` of each step where all folds are at one step number, else
            None; on the host.
    """

    sizes: Sequence[Sequence[int]]
    numbers: Mapping[str, Tensor]
    indices: Mapping[str, Tensor]
    directions: Mapping[int, Tensor]
    same: Sequence[int | None]

    def __len__(self) -> int:
        return len(self.sizes)

    def step(self, i: int) -> StepInputs:
        """The inputs of step i, of all folds and at full width."""
        numbers = {name: values[i] for name, values in self.numbers.items()}
        indices = {name: values[i] for name, values in self.indices.items()}
        labels = indices["labels"] if "labels" in indices else numbers["labels"]
        warp = WarpParameters(numbers["angle"], numbers["scale"], numbers["flip"] > 0)
        return StepInputs(
            indices["rows"],
            labels,
            numbers["valid"] > 0,
            warp,
            numbers.get("keep"),
            tuple(numbers[name] for name in numbers if name.startswith("mask")),
            numbers["rates"],
            {stage: self._directions(stage, i) for stage in self.directions},
        )

    def _directions(self, stage: int, i: int) -> Tensor:
        table, index = self.directions[stage], self.indices["directions"][i]
        if (row := self.same[i]) is not None and table.is_cpu:
            return table[row].expand(len(index), -1, -1)  # without a copy for each fold
        return table.index_select(0, index)


@dataclass
class Drawer:
    """Draws the inputs of the steps of some folds.

    Attributes:
        folds: the folds of a stack.
        shapes: of the features of every stage that any fold aligns.
        left: what the networks leave out.
        device: where the inputs are needed.
    """

    folds: Sequence[OneFold]
    shapes: Shapes
    left: Left
    device: torch.device
    clips: int = field(init=False)  # of the longest batch; inputs have one shape in all epochs
    _labels: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        fits = [(len(fold.view.fit), fold.config.optim.batch_size) for fold in self.folds]
        self.clips = max(math.ceil(n / math.ceil(n / size)) for n, size in fits)
        self._labels = [fold.view.labels.cpu() for fold in self.folds]

    def epochs(self) -> Iterator[Epoch]:
        """The epoch to come, in parts whose directions are not too large for the device."""
        batches = [fold.batches() for fold in self.folds]
        steps = max(map(len, batches))
        for first in range(0, steps, at_once := self._steps_at_once(steps)):
            part = [of_fold[first : first + at_once] for of_fold in batches]
            yield self.draw(part)

    def draw(self, batches: Sequence[Sequence[Tensor]]) -> Epoch:
        """Steps of all folds from their next step numbers on, on these rows of their clips.

        A fold may have fewer batches than others; an empty batch is none.
        """
        steps, folds = max(map(len, batches)), len(batches)
        sizes = [[len(b[t]) if t < len(b) else 0 for b in batches] for t in range(steps)]
        width = max(self.clips, *map(max, sizes))
        rows = torch.zeros(steps, folds, width, dtype=torch.int64)
        valid = torch.arange(rows.shape[2]) < torch.tensor(sizes)[:, :, None]
        labels = self._labels[0].new_zeros(*rows.shape, *self._labels[0].shape[1:])
        for k, of_fold in enumerate(batches):
            order = torch.cat(list(of_fold)) if len(of_fold) else rows.new_empty(0)
            rows[:, k][valid[:, k]] = order
            labels[:, k][valid[:, k]] = self._labels[k][order]
        rates = torch.tensor([fold.rate for fold in self.folds]).expand(steps, -1)
        numbers = {
            "valid": valid,
            "rates": rates,
            **self._warp(sizes, valid),
            **self._keep(sizes, width),
        }
        indices = {"rows": rows}
        (numbers if labels.is_floating_point() else indices)["labels"] = labels
        directions, indices["directions"], same = self._directions(sizes)
        floats = _uploaded([*numbers.values(), *directions.values()], torch.float32, self.device)
        integers = _uploaded(list(indices.values()), torch.int64, self.device)
        return Epoch(
            sizes,
            dict(zip(numbers, floats, strict=False)),
            dict(zip(indices, integers, strict=True)),
            dict(zip(directions, floats[len(numbers) :], strict=True)),
            same,
        )

    def _steps_at_once(self, steps: int) -> int:
        """As many steps as have directions that fit; folds at one step number share theirs."""
        directed = [fold for fold in self.folds if fold.directed_stages]
        at = {(fold.config.seed, fold.step) for fold in directed}
        stages = {stage: fold for fold in directed for stage in fold.directed_stages}
        numbers = sum(math.prod(self._size(stage, fold)) for stage, fold in stages.items())
        return max(1, min(steps, _AT_MOST_BYTES // max(1, 4 * numbers * len(at))))

    def _warp(self, sizes: Sequence[Sequence[int]], valid: Tensor) -> dict[str, Tensor]:
        """Angle, scale and flip of every clip, (T, K, B)."""
        draws = torch.zeros(*valid.shape, 6, dtype=torch.float64)
        source = torch.Generator()
        for t, k, size in _batches(sizes):
            fold = self.folds[k]
            source.manual_seed(
                seed_hash("augment", fold.config.seed, fold.view.name, fold.step + t)
            )
            torch.rand(size, 6, generator=source, dtype=torch.float64, out=draws[t, k, :size])
        of_folds = [policy_of(fold).of_draws(draws[:, k]) for k, fold in enumerate(self.folds)]
        parts = WarpParameters(*(torch.stack(part, dim=1) for part in zip(*of_folds, strict=True)))
        # Where there is no clip, nothing is turned.
        return {
            "angle": parts.angle.where(valid, 0.0),
            "scale": parts.scale.where(valid, 1.0),
            "flip": parts.flip & valid,
        }

    def _keep(self, sizes: Sequence[Sequence[int]], clips: int) -> dict[str, Tensor]:
        """Factors of what is left out, 0 in the padding; none where nothing ever is.

        Stochastic depth is (T, K, J, B), the dropout masks are (T, K, B, ...).
        """
        rates = torch.tensor(self.left.rates)
        shape = (len(sizes), len(sizes[0]))
        source = torch.Generator()
        keep = torch.full((*shape, len(rates), clips), -1.0)
        masks = [torch.full((*shape, clips, *of_clip), -1.0) for of_clip in self.left.shapes]
        if not rates.any() and not masks:
            return {}
        for t, k, size in _batches(sizes):
            fold = self.folds[k]
            source.manual_seed(
                seed_hash("drop-path", fold.config.seed, fold.view.name, fold.step + t)
            )
            if len(rates):
                keep[t, k, :, :size] = torch.rand(len(rates), size, generator=source)
            for mask in masks:
                mask[t, k, :size] = torch.rand(size, *mask.shape[3:], generator=source)
        found = {
            f"mask {i}": (mask >= self.left.share) / (1 - self.left.share)
            for i, mask in enumerate(masks)
        }
        if rates.any():
            found["keep"] = (keep >= rates[:, None]) / (1 - rates[:, None])
        return found

    def _directions(
        self, sizes: Sequence[Sequence[int]]
    ) -> tuple[dict[int, Tensor], Tensor, list[int | None]]:
        """Directions of every step number that occurs, the row of each step and fold, (T, K)."""
        known: dict[tuple[int, int], int] = {}  # seed and step number: row
        directed = [k for k, fold in enumerate(self.folds) if fold.directed_stages]
        rows: list[list[int]] = []
        same: list[int | None] = []
        for t, of_step in enumerate(sizes):
            at = {
                k: (self.folds[k].config.seed, self.folds[k].step + t)
                for k in directed
                if of_step[k]
            }
            found = {k: known.setdefault(place, len(known)) for k, place in at.items()}
            some = min(found.values(), default=0)  # for folds that make no step; it is not used
            rows.append([found.get(k, some) for k in range(len(self.folds))])
            same.append(some if len(set(found.values())) <= 1 else None)
        stages = sorted({stage for k in directed for stage in self.folds[k].directed_stages})
        tables = {}
        for stage in stages:
            fold = next(self.folds[k] for k in directed if stage in self.folds[k].directed_stages)
            size = self._size(stage, fold)
            tables[stage] = torch.stack(
                [directions_at(seed, step, stage, *size) for seed, step in known]
            )
        return tables, torch.tensor(rows), same

    def _size(self, stage: int, fold: OneFold) -> tuple[int, int]:
        """Number and dimension of the directions of a stage."""
        loss, shape = fold.config.loss, self.shapes[stage]
        return loss.num_projections, shape[0] if loss.gswd_form == "tokens" else math.prod(shape)


def policy_of(fold: OneFold) -> OpticalFlowAugmentation:
    """The augmentation of a fold in a stack, which is never a user's own (`kinds`)."""
    assert isinstance(fold.augment, OpticalFlowAugmentation)
    return fold.augment


def _batches(sizes: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    """Step, fold and size of every batch."""
    for t, of_step in enumerate(sizes):
        for k, size in enumerate(of_step):
            if size:
                yield t, k, size


def _uploaded(parts: Sequence[Tensor], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """These tensors on the device, by one copy, which a GPU makes beside its work."""
    flat = torch.cat([part.to(dtype).flatten() for part in parts])
    there = flat.pin_memory() if device.type == "cuda" else flat
    pieces = torch.split(there.to(device, non_blocking=True), [part.numel() for part in parts])
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]
