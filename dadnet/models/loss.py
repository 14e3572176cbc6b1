"""GSWD, and the loss of DAD-Net, of one fold and of a stack: cross-entropy and weighted alignment.

Axes: K folds, K_i of them that align stage i, B clips, C channels, H and W rows and columns, N
points, D their dimension, L directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, get_args

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator as generator_of
from dadnet.config.experiment import LossConfig
from dadnet.labels.targets import clip_losses, mean_loss
from dadnet.models.alignment import (
    OBJECTIVES,
    Form,
    Method,
    alignment_distance,
    gaussian_sliced,
    points_of,
)
from dadnet.models.precision import full

if TYPE_CHECKING:
    from dadnet.models.dad_net import DADNetOutput


class LossParts(NamedTuple):
    """The loss and its terms; scalars, or (K,) of K folds."""

    total: Tensor
    cross_entropy: Tensor
    alignment: Tensor  # mean over the aligned stages, not yet weighted; 0 where there are none
    per_stage: dict[int, Tensor]  # distance of each aligned stage

    def by_curve(self) -> dict[str, Tensor]:
        """Total and alignment by the name of their curve, without gradient."""
        named = {"train_loss": self.total, "alignment": self.alignment}
        named |= {f"alignment_stage_{stage}": value for stage, value in self.per_stage.items()}
        return {name: value.detach() for name, value in named.items()}


class StackedOutput(NamedTuple):
    """Output of K networks, each for its own batch of clips."""

    logits: Tensor  # (K, B, classes)
    student_features: dict[int, Tensor]  # aligned stage: maps, (K_i, B, C_i, H_i, W_i)
    teacher_features: dict[int, Tensor]  # the same stages and shapes, adapted; empty if not run
    pooled: Tensor  # (K, B, D)
    theta: Tensor | None  # (K, B, 2, 3)
    slots: dict[int, Tensor | None]  # aligned stage: which of the K align it, (K_i,); None is all


def gswd(
    student: Tensor,
    teacher: Tensor,
    num_projections: int = LossConfig.num_projections,
    directions: Tensor | None = None,
    generator: torch.Generator | None = None,
    form: Form = "tokens",
    method: Method = "auto",
) -> Tensor:
    r"""Squared Wasserstein-2 distance of the Gaussians fitted to sliced features, mean of L slices.

    Along a unit direction d the points of a set have mean m and population standard deviation s;
    the distance is the mean over d of (m_s - m_t)^2 + (s_s - s_t)^2. `projected` projects the
    centred points (N D L multiplications); `moments` takes s^2 = d' S d with the covariance S
    (N D^2 + L D^2). They differ by rounding only; `auto` takes the one with fewer multiplications.
    Both centre the points first, so a large common offset costs no digits in float32.

    Args:
        student: Features, shape (B, C, H, W) or points (N, D), float.
        teacher: Features of the same shape; gradients flow to both.
        num_projections: L, where directions are drawn here.
        directions: Unit rows, shape (L, D); None draws them.
        generator: Source of the draw; None takes torch's global one, as torch's functions do.
        form: `tokens`: B*H*W points in R^C. `flat`: B points in R^(C*H*W), the reference's first.
        method: How variances are computed; see above.

    Returns:
        Scalar, at least 0.

    Raises:
        DadnetError: If the shapes do not fit, or form or method is unknown.

    Reference: Bonneel et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015, with the
        closed form for Gaussians (Dowson and Landau, 1982); used so by DAD-Net (Zhang and Ben,
        2025).
    """
    for name, value, known in (("form", form, Form), ("method", method, Method)):
        if value not in get_args(known):
            raise DadnetError(f"expected a {name} of {', '.join(get_args(known))}; got {value!r}")
    if student.ndim not in (2, 4) or student.numel() == 0 or student.shape != teacher.shape:
        raise DadnetError(
            "expected student and teacher of one shape (B, C, H, W) or (N, D), not empty; "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    student, teacher = (
        x if x.ndim == 3 else points_of(x, form) for x in (full(student)[None], full(teacher)[None])
    )
    dim = student.shape[2]
    if directions is None:
        directions = draw_directions(
            num_projections, dim, generator=generator, device=student.device, dtype=student.dtype
        )
    if directions.ndim != 2 or directions.shape[1] != dim or len(directions) == 0:
        raise DadnetError(
            f"expected directions of shape (L, {dim}) for the form {form}, "
            f"got {tuple(directions.shape)}"
        )
    return gaussian_sliced(student, teacher, None, directions, method).squeeze(0)


def draw_directions(
    num: int,
    dim: int,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw directions uniformly on the unit sphere.

    Args:
        num: Number L of directions.
        dim: Dimension D.
        generator: Random source; the draw is made in float64 on its device, so that every device
            and dtype gets the same directions up to rounding. None: torch's global CPU generator.
        device: Where the result lies; None is the generator's device.
        dtype: Floating type of the result.

    Returns:
        Unit rows, shape (L, D).

    Raises:
        DadnetError: If num or dim is below 1.
    """
    if num < 1 or dim < 1:
        raise DadnetError(f"expected at least 1 direction of dimension 1, got {num} of {dim}")
    source = "cpu" if generator is None else generator.device
    draws = torch.randn(num, dim, generator=generator, device=source, dtype=torch.float64)
    unit: Tensor = draws / torch.linalg.vector_norm(draws, dim=1, keepdim=True)
    return unit.to(device=device, dtype=dtype)


@lru_cache(maxsize=64)  # the folds of a stack use the same ones
def directions_at(seed: int, step: int, stage: int, number: int, size: int) -> Tensor:
    """The directions of a step, (L, D), on the host."""
    return draw_directions(number, size, generator_of("directions", seed, step, stage))


def dad_net_loss(
    output: DADNetOutput,
    labels: Tensor,
    *,
    alignment_weight: float = LossConfig.alignment_weight,
    num_projections: int = LossConfig.num_projections,
    label_smoothing: float = LossConfig.label_smoothing,
    directions: Mapping[int, Tensor] | None = None,
    generator: torch.Generator | None = None,
    form: Form = "tokens",
    alignment: str = "gswd",
) -> LossParts:
    """Cross-entropy + alignment_weight * mean over the aligned stages of the alignment.

    Args:
        output: Of `DADNet.forward`.
        labels: Class indices, shape (B,), int64, or those of several labels; see `targets`.
        alignment_weight: Weight lambda.
        num_projections: Directions L, where they are drawn here.
        label_smoothing: Share of the target spread over all classes.
        directions: Aligned stage: unit rows (L, D); None draws them, stage by stage, rising.
        generator: Source of that draw, see `draw_directions`.
        form: See `gswd`.
        alignment: What is aligned, a key of `OBJECTIVES`; most need no directions.

    Returns:
        `LossParts`; the alignment is 0 where the output has no teacher features.

    Raises:
        DadnetError: If directions lack an aligned stage or have a wrong shape.
    """
    if not output.teacher_features:
        return classification_loss(output.logits, labels, label_smoothing)
    if directions is None and OBJECTIVES[alignment].projected:
        directions = {}
        for stage, maps in sorted(output.student_features.items()):
            dim = maps.shape[1] if form == "tokens" else maps[0].numel()
            directions[stage] = draw_directions(
                num_projections, dim, generator, maps.device, maps.dtype
            )
    students, teachers = (
        {stage: maps[None] for stage, maps in features.items()}
        for features in (output.student_features, output.teacher_features)
    )
    slots = dict.fromkeys(teachers)
    single = StackedOutput(
        output.logits[None], students, teachers, output.pooled[None], None, slots
    )
    cross_entropy = mean_loss(full(output.logits), labels, label_smoothing)[None]
    loss = _with_alignment(
        cross_entropy, single, alignment_weight, directions or {}, form, alignment, None
    )
    total, cross_entropy, mean = (part.squeeze(0) for part in loss[:3])
    return LossParts(
        total, cross_entropy, mean, {s: value.squeeze(0) for s, value in loss.per_stage.items()}
    )


def fold_losses(
    output: StackedOutput,
    labels: Tensor,
    alignment_weight: Tensor,
    *,
    label_smoothing: float | Tensor = LossConfig.label_smoothing,
    directions: Mapping[int, Tensor] | None = None,
    form: Form = "tokens",
    alignment: str = "gswd",
    valid: Tensor | None = None,
) -> LossParts:
    """`dad_net_loss` of every fold; `total.sum().backward()` gives each fold its gradient.

    Args:
        output: Of a stack.
        labels: As of `dad_net_loss` with one more axis in front, shape (K, B); any where not valid.
        alignment_weight: Weight lambda of each fold, shape (K,).
        label_smoothing: Of each fold, shape (K,), or of all.
        directions: Aligned stage: unit rows, (L, D) for all folds, or (K_i, L, D) of each.
        form: See `gswd`.
        alignment: What is aligned, a key of `OBJECTIVES`, of all folds.
        valid: Which clips there are, shape (K, B), bool; None is all of them.

    Returns:
        `LossParts` of shape (K,): the alignment is the mean over the stages that the fold aligns,
        and 0 where it aligns none.

    Raises:
        DadnetError: If directions lack an aligned stage.
    """
    logits = full(output.logits)
    losses = clip_losses(logits, labels, label_smoothing)
    weights = None if valid is None else clip_weights(valid, logits.dtype)
    cross_entropy = losses.mean(1) if weights is None else (losses * weights).sum(1)
    if not output.teacher_features:
        return LossParts(cross_entropy, cross_entropy, torch.zeros_like(cross_entropy), {})
    return _with_alignment(
        cross_entropy, output, alignment_weight, directions or {}, form, alignment, weights
    )


def clip_weights(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Weight of each clip in the mean of its fold: 1 / count where valid, else 0; shape (K, B)."""
    mask = valid.to(dtype)
    return mask / mask.sum(1, keepdim=True).clamp(min=1)


def _with_alignment(
    cross_entropy: Tensor,
    output: StackedOutput,
    alignment_weight: float | Tensor,
    directions: Mapping[int, Tensor],
    form: Form,
    alignment: str,
    weights: Tensor | None,
) -> LossParts:
    """Add the alignment to the cross-entropy (K,); weights as in `alignment_distance`."""
    lacking = sorted(set(output.teacher_features) - set(directions))
    if OBJECTIVES[alignment].projected and lacking:
        raise DadnetError(
            f"expected directions for every aligned stage, got stages {sorted(directions)}, "
            f"without {lacking}"
        )
    per_stage: dict[int, Tensor] = {}
    count = torch.zeros_like(cross_entropy)  # of the stages of each fold
    for stage, teacher in sorted(output.teacher_features.items()):
        slots = output.slots[stage]
        distance = alignment_distance(
            alignment,
            output.student_features[stage],
            teacher,
            weights if weights is None or slots is None else weights.index_select(0, slots),
            directions=directions.get(stage),
            form=form,
        )
        per_stage[stage] = _put(distance, slots, len(count))
        count += _put(torch.ones_like(distance), slots, len(count))
    mean = torch.stack(list(per_stage.values())).sum(0) / count.clamp(min=1)
    if isinstance(alignment_weight, Tensor):
        alignment_weight = alignment_weight.to(mean)
    return LossParts(cross_entropy + alignment_weight * mean, cross_entropy, mean, per_stage)


def _put(values: Tensor, slots: Tensor | None, folds: int) -> Tensor:
    """Values of some folds, (K_i,), among those of all, (K,); 0 for the others."""
    return values if slots is None else values.new_zeros(folds).index_copy(0, slots, values)


def classification_loss(
    logits: Tensor, labels: Tensor, label_smoothing: float = LossConfig.label_smoothing
) -> LossParts:
    """The loss of a single stream: (binary) cross-entropy alone.

    Args:
        logits: Shape (B, K).
        labels: Class indices, shape (B,), int64, or those of several labels; see `targets`.
        label_smoothing: Share of the target spread over all classes.

    Returns:
        `LossParts` without alignment.
    """
    cross_entropy = mean_loss(full(logits), labels, label_smoothing)
    return LossParts(cross_entropy, cross_entropy, cross_entropy.new_zeros(()), {})
