"""Gaussian sliced Wasserstein distance between the features of two networks.

Axes: K folds, B clips, C channels, H and W rows and columns, N points, D dimension of a point, L
directions.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import LossConfig
from dadnet.models.precision import full

Form = Literal["tokens", "flat"]
Method = Literal["auto", "moments", "projected"]


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
    _check_features(student, teacher, form, method)
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


def gaussian_sliced(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None,
    directions: Tensor,
    method: Method = "auto",
) -> Tensor:
    """The distance of `gswd` of K folds at once, shape (K,); arguments as of `Objective.distance`.

    Without weights all points count equally, by plain means, as in a fold that is trained alone.
    Weighted sums round differently, and the records of both kinds of folds depend on the rounding.
    """
    directions = directions.to(student)
    if method == "auto":
        _, number, dim = student.shape
        method = cheaper_method(number, dim, directions.shape[-2])
    mean, other = _mean(student, weights), _mean(teacher, weights)  # (K, 1, D)
    if weights is None:
        shift = (mean - other) @ directions.mT
    else:
        shift = mean @ directions.mT - other @ directions.mT
    spread = _projected_std(student, mean, weights, directions, method) - _projected_std(
        teacher, other, weights, directions, method
    )
    return (shift[:, 0].square() + spread.square()).mean(1)


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
    centred = points - weights[:, None] @ points
    return (centred.mT * weights[:, None]) @ centred


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the points, (K, N, D) to (K, 1, D)."""
    return values.mean(1, keepdim=True) if weights is None else weights[:, None] @ values


def _projected_std(
    points: Tensor, mean: Tensor, weights: Tensor | None, directions: Tensor, method: Method
) -> Tensor:
    """Population standard deviation of points (K, N, D) along each direction, shape (K, L)."""
    if method == "projected":
        variance = _mean(((points - mean) @ directions.mT).square(), weights)[:, 0]
    else:
        if weights is None:
            centred = points - mean
            covariance = centred.mT @ centred / points.shape[1]
        else:
            covariance = covariance_of(points, weights)
        variance = ((directions @ covariance) * directions).sum(2)
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
