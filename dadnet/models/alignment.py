"""What may be aligned between student and teacher: the sliced distance and its alternatives.

Every objective is one short function of K folds at once, over weighted points; a single fold is
K = 1. Padding has weight 0, and its values change nothing.

Axes: K folds, B clips, C channels, H and W rows and columns, N points, D dimension of a point, L
directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.models.precision import full, wide
from dadnet.models.sliced import GaussianSliced

Form = Literal["tokens", "flat"]
Method = Literal["auto", "moments", "projected"]
KL_TEMPERATURE = 4.0  # Hinton et al., 2015; the public DAD-Net takes it too
CRD_TEMPERATURE = 0.07  # Tian et al., 2020
_MMD_LADDER = (0.25, 0.5, 1.0, 2.0, 4.0)  # bandwidths as multiples of the mean squared distance
_TINY = 1e-12
_FAR = -1e30  # a score whose exponential is 0; finite, since a fold may have no clip


class Objective(NamedTuple):
    """An alignment and what it is computed from.

    Attributes:
        distance: of points (K, N, D) of student and teacher, weights (K, N) whose rows sum to 1,
            and unit directions (L, D) or (K, L, D), L = 0 where it needs none, to shape (K,).
        points: tokens: one per position; flat: one per clip, all channels and positions; pooled:
            one per clip, the mean of its positions; form: tokens or flat, as the user chooses.
        projected: whether it needs directions.
    """

    distance: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    points: Literal["form", "tokens", "pooled", "flat"]
    projected: bool = False


def gaussian_sliced(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None,
    directions: Tensor,
    method: Method = "auto",
) -> Tensor:
    """The distance of `gswd` of K folds at once, shape (K,); arguments as of `Objective.distance`.

    Without weights all points count equally. It can be differentiated once.
    """
    folds, number, dim = student.shape
    directions = directions.to(student).expand(folds, *directions.shape[-2:])
    if method == "auto":
        method = cheaper_method(number, dim, directions.shape[1])
    result: Tensor = GaussianSliced.apply(  # type: ignore[no-untyped-call]
        student, teacher, weights, directions, method == "moments"
    )
    return result


def cheaper_method(num_points: int, dim: int, num_directions: int) -> Method:
    """The method with fewer multiplications: `moments` if N D + L D <= N L."""
    moments = dim * (num_points + num_directions)
    return "moments" if moments <= num_points * num_directions else "projected"


def points_of(features: Tensor, reading: str) -> Tensor:
    """Features (K, B, C, H, W) to points (K, N, D), clip by clip; see `Objective`."""
    if reading == "flat":
        return features.flatten(2)
    if reading == "pooled":
        return features.mean((3, 4))
    return features.flatten(3).transpose(2, 3).flatten(1, 2)


def covariance_of(points: Tensor, weights: Tensor) -> Tensor:
    """Population covariance (K, D, D) of weighted points (K, N, D)."""
    centred = points - _weighted_mean(points, weights)
    return (centred.mT * weights[:, None]) @ centred


def sliced_wasserstein(
    student: Tensor, teacher: Tensor, weights: Tensor, directions: Tensor
) -> Tensor:
    """Mean over directions of the squared Wasserstein-2 distance of the projected points.

    Reference: Bonneel et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015. Both
    sets have equally many points of equal weight, so that sorting gives the optimal plan.
    """
    there = (weights > 0)[:, None]  # (K, 1, N)
    count = there.sum(2, keepdim=True).clamp(min=1)  # a fold without a clip has distance 0
    first = torch.arange(weights.shape[1], device=weights.device) < count  # ranks that are points
    ranked = [
        # Paddings go last, and are zeroed before anything is computed with their infinity.
        torch.where(there, (points @ directions.to(points).mT).mT, torch.inf)
        .sort(dim=2)
        .values.where(first, 0.0)
        for points in (student, teacher)
    ]
    costs = (ranked[0] - ranked[1]).square().sum(2) / count[:, :, 0]  # (K, L)
    return costs.mean(1)


def mmd(student: Tensor, teacher: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    """Squared maximum mean discrepancy, biased, of five Gaussian kernels (their mean).

    The kernels' bandwidths are the mean squared distance of all points, without gradient, times
    1/4, 1/2, 1, 2 and 4.

    Reference: Gretton et al., A Kernel Two-Sample Test, 2012; the bandwidths as in Long et al.,
        Learning Transferable Features with Deep Adaptation Networks, 2015.
    """
    points = torch.cat([student, teacher], dim=1)
    signs = torch.cat([weights, -weights], dim=1)  # (K, 2N)
    halves = signs.abs() / 2
    points = points - _weighted_mean(points, halves)  # a common offset would cost digits
    squares = points.square().sum(2)
    distances = (squares[:, :, None] + squares[:, None] - 2 * points @ points.mT).clamp(min=0)
    with torch.no_grad():
        mean = _quadratic(distances, halves).clamp(min=_TINY)[:, None, None]
    ladder = [wide(-distances / (step * mean)).exp() for step in _MMD_LADDER]
    kernel = torch.stack(ladder).mean(0).to(points)
    return _quadratic(kernel, signs)


def l2(student: Tensor, teacher: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    """Mean squared difference of the maps, position by position.

    Reference: Romero et al., FitNets: Hints for Thin Deep Nets, 2015; the adapter, which stands
        where the widths differ, is their regressor.
    """
    return ((student - teacher).square().mean(2) * weights).sum(1)


def kl(student: Tensor, teacher: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    """Divergence of the student's softened channels from the teacher's, times the temperature^2.

    The softmax runs over the channels of a clip's pooled feature, not over classes: the teacher's
    classes may be others than the student's.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
    """
    ours = (student / KL_TEMPERATURE).log_softmax(2)
    theirs = (teacher / KL_TEMPERATURE).log_softmax(2)
    per_clip = (theirs.exp() * (theirs - ours)).sum(2)
    return KL_TEMPERATURE**2 * (per_clip * weights).sum(1)


def pkt(student: Tensor, teacher: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    """Divergence of the probabilities that one clip of the batch picks another, by cosine.

    Reference: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge
        Transfer, 2018, with their kernel (cosine + 1) / 2.
    """
    there = weights > 0
    others = (
        there[:, :, None]
        & there[:, None]
        & ~torch.eye(weights.shape[1], dtype=torch.bool, device=weights.device)
    )  # a clip does not pick itself
    ours, theirs = (_picking(points, others) for points in (student, teacher))
    logs = [wide(picking.clamp(min=_TINY)).log() for picking in (theirs, ours)]
    divergence = (theirs * (logs[0] - logs[1]).to(theirs)).sum(2)
    return (divergence * weights).sum(1)


def crd(student: Tensor, teacher: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    """Cross-entropy of finding a clip's teacher feature among those of the batch, by cosine.

    Reference: Tian et al., Contrastive Representation Distillation, 2020, with the clips of the
        batch as negatives (van den Oord et al., 2018) in place of a memory bank, and with the
        adapter in place of their two projections.
    """
    ours, theirs = (_unit(points) for points in (student, teacher))
    scores = (ours @ theirs.mT / CRD_TEMPERATURE).masked_fill((weights == 0)[:, None], _FAR)
    matched = scores.log_softmax(2).diagonal(dim1=1, dim2=2)
    return -(matched.where(weights > 0, 0.0) * weights).sum(1)


def coral(student: Tensor, teacher: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    """Squared Frobenius distance of the covariances over 4 D^2.

    Reference: Sun and Saenko, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, 2016;
        population covariances here.
    """
    ours, theirs = (covariance_of(points, weights) for points in (student, teacher))
    return (ours - theirs).square().sum((1, 2)) / (4 * student.shape[2] ** 2)


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "gswd": Objective(gaussian_sliced, "form", projected=True),
        "sliced-wasserstein": Objective(sliced_wasserstein, "form", projected=True),
        "mmd": Objective(mmd, "pooled"),
        "l2": Objective(l2, "flat"),
        "kl": Objective(kl, "pooled"),
        "pkt": Objective(pkt, "pooled"),
        "crd": Objective(crd, "pooled"),
        "coral": Objective(coral, "tokens"),
    }
)


def alignment_distance(
    name: str,
    student: Tensor,
    teacher: Tensor,
    clip_weights: Tensor | None = None,
    *,
    directions: Tensor | None = None,
    form: Form = "tokens",
) -> Tensor:
    """An alignment of every fold.

    Args:
        name: A key of `OBJECTIVES`.
        student: Features, shape (K, B, C, H, W), float.
        teacher: Features of the same shape; gradients flow to both.
        clip_weights: Weight of each clip in the means of its fold, shape (K, B): one over the
            number of its clips, and 0 for padding, which may hold any finite numbers. None: there
            is no padding.
        directions: Unit rows, shape (L, D) or (K, L, D), where the objective is projected.
        form: Points of the projected objectives, see `gswd`.

    Returns:
        Shape (K,), at least 0 up to rounding.

    Raises:
        DadnetError: If the shapes do not fit, there is no such objective, or directions lack.
    """
    if name not in OBJECTIVES:
        raise DadnetError(f"expected an alignment of {', '.join(OBJECTIVES)}; got {name!r}")
    objective = OBJECTIVES[name]
    clips = student.shape[:2] if clip_weights is None else clip_weights.shape
    if student.ndim != 5 or student.shape != teacher.shape or clips != student.shape[:2]:
        raise DadnetError(
            "expected student and teacher of one shape (K, B, C, H, W) and clip_weights (K, B), "
            f"got {tuple(student.shape)}, {tuple(teacher.shape)} and {tuple(clips)}"
        )
    reading = form if objective.points == "form" else objective.points
    ours, theirs = (points_of(full(features), reading) for features in (student, teacher))
    if directions is None:
        directions = ours.new_empty(0, ours.shape[2])
    if objective.projected and (directions.shape[-1] != ours.shape[2] or not len(directions)):
        raise DadnetError(
            f"expected directions of shape (L, {ours.shape[2]}), got {tuple(directions.shape)}"
        )
    if clip_weights is None and objective.distance is gaussian_sliced:
        return gaussian_sliced(ours, theirs, None, directions)
    if clip_weights is None:
        clip_weights = ours.new_full(clips, 1 / clips[1])
    per_clip = ours.shape[1] // student.shape[1]
    weights = (clip_weights / per_clip).to(ours).repeat_interleave(per_clip, dim=1)
    return objective.distance(ours, theirs, weights, directions)


def _weighted_mean(points: Tensor, weights: Tensor) -> Tensor:
    """Mean of points (K, N, D) by weights (K, N), shape (K, 1, D).

    Not a product with one row, whose rounding depends on K on a CPU.
    """
    return (points * weights[:, :, None]).sum(1, keepdim=True)


def _quadratic(values: Tensor, weights: Tensor) -> Tensor:
    """Values (K, N, N) weighted by (K, N) on both sides and summed, (K,)."""
    return (values * weights[:, :, None] * weights[:, None]).sum((1, 2))


def _unit(points: Tensor) -> Tensor:
    return torch.nn.functional.normalize(points, dim=2, eps=_TINY)


def _picking(points: Tensor, others: Tensor) -> Tensor:
    """Probability that a clip picks another by similarity, (K, N, N); rows of padding are 0."""
    unit = _unit(points)
    similarity = ((unit @ unit.mT + 1) / 2).where(others, 0.0)
    return similarity / similarity.sum(2, keepdim=True).clamp(min=_TINY)
