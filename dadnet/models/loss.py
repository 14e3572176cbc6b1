"""Gaussian sliced Wasserstein distance between two networks' features, and DAD-Net's loss with it.

Axes: B clips, C channels, H and W rows and columns, N points, D dimension of a point, L directions,
K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, get_args

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.labels.targets import mean_loss
from dadnet.models.alignment import OBJECTIVES, Form, Method, alignment_distance, cheaper_method
from dadnet.models.precision import full

if TYPE_CHECKING:
    from dadnet.models.dad_net import DADNetOutput


class LossParts(NamedTuple):
    """The loss and what it is made of; scalars."""

    total: Tensor
    cross_entropy: Tensor
    alignment: Tensor  # mean over the aligned stages, not yet weighted; 0 where there are none
    per_stage: dict[int, Tensor]  # distance of each aligned stage


def gswd(
    student: Tensor,
    teacher: Tensor,
    num_projections: int = 100,
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
    _check_features(student, teacher, form, method)
    student, teacher = _points(full(student), form), _points(full(teacher), form)
    num_points, dim = student.shape
    if directions is None:
        directions = draw_directions(
            num_projections, dim, generator=generator, device=student.device, dtype=student.dtype
        )
    if directions.ndim != 2 or directions.shape[1] != dim or len(directions) == 0:
        raise DadnetError(
            f"expected directions of shape (L, {dim}) for the form {form}, "
            f"got {tuple(directions.shape)}"
        )
    if method == "auto":
        method = cheaper_method(num_points, dim, len(directions))
    student_mean, teacher_mean = student.mean(0), teacher.mean(0)
    shift = directions @ (student_mean - teacher_mean)  # (L,)
    spread = _projected_std(student - student_mean, directions, method) - _projected_std(
        teacher - teacher_mean, directions, method
    )
    return (shift.square() + spread.square()).mean()


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


def dad_net_loss(
    output: DADNetOutput,
    labels: Tensor,
    *,
    alignment_weight: float = 0.5,
    num_projections: int = 100,
    label_smoothing: float = 0.05,
    directions: Mapping[int, Tensor] | None = None,
    generator: torch.Generator | None = None,
    form: Form = "tokens",
    alignment: str = "gswd",
) -> LossParts:
    """Cross-entropy + alignment_weight * mean over the aligned stages of GSWD, or of a rival.

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
    classification = classification_loss(output.logits, labels, label_smoothing)
    if not output.teacher_features:
        return classification
    projected = OBJECTIVES[alignment].projected
    if directions is None:
        directions = (
            _draw_all(output.student_features, num_projections, form, generator)
            if projected
            else {}
        )
    if projected and (lacking := sorted(set(output.teacher_features) - set(directions))):
        raise DadnetError(
            f"expected directions for every aligned stage, got stages {sorted(directions)}, "
            f"without {lacking}"
        )
    per_stage = {
        stage: _distance(
            alignment, output.student_features[stage], feature, directions.get(stage), form
        )
        for stage, feature in sorted(output.teacher_features.items())
    }
    mean = torch.stack(list(per_stage.values())).mean()
    total = classification.total + alignment_weight * mean
    return LossParts(total, classification.cross_entropy, mean, per_stage)


def classification_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.05) -> LossParts:
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


def _distance(
    alignment: str, student: Tensor, teacher: Tensor, directions: Tensor | None, form: Form
) -> Tensor:
    """An alignment of one fold's features, both (B, C, H, W)."""
    if alignment == "gswd":
        return gswd(student, teacher, directions=directions, form=form)
    ours, theirs = full(student)[None], full(teacher)[None]
    shares = ours.new_full((1, len(student)), 1 / len(student))
    return alignment_distance(
        alignment, ours, theirs, shares, directions=directions, form=form
    ).squeeze(0)


def _draw_all(
    features: Mapping[int, Tensor],
    num_projections: int,
    form: Form,
    generator: torch.Generator | None,
) -> dict[int, Tensor]:
    drawn = {}
    for stage, feature in sorted(features.items()):
        dim = feature.shape[1] if form == "tokens" else feature[0].numel()
        drawn[stage] = draw_directions(
            num_projections, dim, generator, device=feature.device, dtype=feature.dtype
        )
    return drawn


def _points(features: Tensor, form: Form) -> Tensor:
    """Shape (B, C, H, W) or (N, D) to (N, D)."""
    if features.ndim == 2:
        return features
    if form == "flat":
        return features.flatten(1)
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def _projected_std(centred: Tensor, directions: Tensor, method: Method) -> Tensor:
    """Population standard deviation of centred points (N, D) along each direction, shape (L,)."""
    if method == "projected":
        variance = (centred @ directions.T).square().mean(0)
    else:
        covariance = centred.T @ centred / len(centred)  # (D, D)
        variance = ((directions @ covariance) * directions).sum(1)
    # Rounding can leave the moments form just below 0, and the root has no gradient at 0.
    positive = variance > 0
    return torch.where(positive, variance, 1.0).sqrt() * positive


def _check_features(student: Tensor, teacher: Tensor, form: str, method: str) -> None:
    if form not in get_args(Form):
        raise DadnetError(f"expected a form of {', '.join(get_args(Form))}; got {form!r}")
    if method not in get_args(Method):
        raise DadnetError(f"expected a method of {', '.join(get_args(Method))}; got {method!r}")
    if student.ndim not in (2, 4) or student.numel() == 0 or student.shape != teacher.shape:
        raise DadnetError(
            "expected student and teacher of one shape (B, C, H, W) or (N, D), not empty; "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
