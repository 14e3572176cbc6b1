"""The rivals of the sliced distance: identities, closed forms, gradients, padding."""

from typing import get_args

import numpy as np
import ot
import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr, softmax
from sklearn.covariance import empirical_covariance
from sklearn.metrics.pairwise import cosine_similarity, rbf_kernel
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import SLICED, Alignment
from dadnet.models import draw_directions, gswd
from dadnet.models.alignment import OBJECTIVES, alignment_distance

NAMES = list(OBJECTIVES)
# Without a temperature in a softmax over others, distances of equal sets are 0.
DISTANCES = [name for name in NAMES if name != "crd"]
CLIPS, CHANNELS, SIDE, LINES = 5, 4, 3, 7


def maps(seed: int, *shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = shape or (1, CLIPS, CHANNELS, SIDE, SIDE)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64) + shift


def uniform(folds: int = 1, clips: int = CLIPS) -> Tensor:
    return torch.full((folds, clips), 1 / clips, dtype=torch.float64)


def lines(dim: int = CHANNELS, number: int = LINES) -> Tensor:
    return draw_directions(number, dim, torch.Generator().manual_seed(9), dtype=torch.float64)


def distance(name: str, student: Tensor, teacher: Tensor, shares: Tensor | None = None) -> Tensor:
    shares = uniform(*student.shape[:2]) if shares is None else shares
    return alignment_distance(name, student, teacher, shares, directions=lines())


def tokens(features: Tensor) -> np.ndarray:
    return features[0].permute(0, 2, 3, 1).flatten(0, 2).numpy()


def pooled(features: Tensor) -> np.ndarray:
    return features[0].mean((2, 3)).numpy()


STUDENT, TEACHER = maps(0, scale=1.3, shift=0.2), maps(1, scale=0.7, shift=-0.1)


def test_the_config_knows_these_and_no_other():
    assert {*OBJECTIVES, "none"} == set(get_args(Alignment))
    assert {name for name in NAMES if OBJECTIVES[name].projected} == set(SLICED)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_features_are_at_distance_0_and_others_are_not(name):
    assert float(distance(name, STUDENT, STUDENT)) == pytest.approx(0, abs=1e-12)
    assert float(distance(name, STUDENT, TEACHER)) > 1e-3


@pytest.mark.parametrize("name", [n for n in DISTANCES if n not in ("kl", "pkt")])
def test_a_distance_is_symmetric(name):
    one, other = distance(name, STUDENT, TEACHER), distance(name, TEACHER, STUDENT)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["gswd", "sliced-wasserstein", "mmd", "coral"])
def test_a_distance_of_sets_does_not_depend_on_the_order_of_clips(name):
    torch.testing.assert_close(
        distance(name, STUDENT, TEACHER), distance(name, STUDENT, TEACHER.flip(1))
    )


@pytest.mark.parametrize("name", [n for n in NAMES if n != "mmd"])
def test_the_gradient_is_that_of_finite_differences(name):
    student = maps(2, 2, 3, 2, 2, 2).requires_grad_()
    teacher = maps(3, 2, 3, 2, 2, 2).requires_grad_()
    shares = uniform(2, 3)
    directions = lines(2)

    def function(ours: Tensor, theirs: Tensor) -> Tensor:
        return alignment_distance(name, ours, theirs, shares, directions=directions)

    assert torch.autograd.gradcheck(function, (student, teacher))


def test_the_gradient_of_mmd_is_that_at_fixed_bandwidths():
    student = maps(2).requires_grad_()
    distance("mmd", student, TEACHER).sum().backward()
    ours = student.detach().requires_grad_()
    both = torch.cat([ours[0].mean((2, 3)), TEACHER[0].mean((2, 3))])
    squares = (both[:, None] - both[None]).square().sum(2)
    kernel = sum(
        (-squares / (step * squares.mean().detach())).exp() for step in (1 / 4, 1 / 2, 1, 2, 4)
    )
    signs = torch.cat([uniform()[0], -uniform()[0]])
    (signs @ kernel @ signs / 5).backward()
    torch.testing.assert_close(student.grad, ours.grad)


@pytest.mark.parametrize("name", NAMES)
def test_a_fold_with_padding_is_as_it_is_alone(name):
    student, teacher = maps(6, 2, 5, 4, 3, 3), maps(7, 2, 5, 4, 3, 3)
    shares = torch.tensor([[1 / 3] * 3 + [0.0] * 2, [0.2] * 5], dtype=torch.float64)
    student, teacher = student.requires_grad_(), teacher.requires_grad_()
    both = distance(name, student, teacher, shares)
    both.sum().backward()
    gradient = student.grad
    for k, size in ((0, 3), (1, 5)):
        ours = student.detach()[k : k + 1, :size].requires_grad_()
        theirs = teacher.detach()[k : k + 1, :size]
        alone = distance(name, ours, theirs)
        alone.sum().backward()
        torch.testing.assert_close(both[k : k + 1], alone)
        torch.testing.assert_close(gradient[k : k + 1, :size], ours.grad)
        assert not gradient[k, size:].any()


@pytest.mark.parametrize("name", NAMES)
def test_one_clip_of_one_position_gives_a_finite_value_and_gradient(name):
    student = maps(8, 1, 1, 4, 1, 1).requires_grad_()
    found = distance(name, student, maps(9, 1, 1, 4, 1, 1))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_without_weights_all_clips_count_equally_in_the_precision_of_the_features(name):
    found = alignment_distance(name, STUDENT, TEACHER, directions=lines())
    torch.testing.assert_close(found, distance(name, STUDENT, TEACHER), rtol=1e-12, atol=0)
    single = distance(name, STUDENT.float(), TEACHER.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SLICED)
def test_every_fold_may_have_directions_of_its_own(name):
    student, teacher = maps(6, 2, 5, 4, 3, 3), maps(7, 2, 5, 4, 3, 3)
    own = torch.stack([lines(), lines().roll(1, dims=1)])
    both = alignment_distance(name, student, teacher, uniform(2), directions=own)
    alone = [
        alignment_distance(name, student[k : k + 1], teacher[k : k + 1], directions=own[k])
        for k in (0, 1)
    ]
    torch.testing.assert_close(both, torch.cat(alone))


# Closed forms, by other libraries.


def test_gswd_is_that_of_the_lone_function():
    for form, dim in (("tokens", CHANNELS), ("flat", CHANNELS * SIDE * SIDE)):
        found = alignment_distance(
            "gswd", STUDENT, TEACHER, uniform(), directions=lines(dim), form=form
        )
        alone = gswd(STUDENT[0], TEACHER[0], directions=lines(dim), form=form)
        assert float(found) == pytest.approx(float(alone), rel=1e-12)


def test_gswd_tends_to_the_mean_over_the_sphere_of_pots_gaussian_distance():
    """Along a direction it is POT's closed form; over many, its error falls as 1 / sqrt(L)."""
    ours, theirs = tokens(STUDENT), tokens(TEACHER)
    means = [points.mean(0) for points in (ours, theirs)]
    covariances = [empirical_covariance(points) for points in (ours, theirs)]

    def along(direction: np.ndarray) -> float:
        projected = [np.atleast_1d(direction @ mean) for mean in means]
        spread = [np.atleast_2d(direction @ c @ direction) for c in covariances]
        return ot.gaussian.bures_wasserstein_distance(*projected, *spread) ** 2

    few = lines(number=20)
    expected = np.mean([along(d) for d in few.numpy()])
    found = alignment_distance("gswd", STUDENT, TEACHER, uniform(), directions=few)
    assert float(found) == pytest.approx(expected, rel=1e-9)

    limit = float(distance_by_lines(200_000, seed=1))
    errors = {
        number: np.sqrt(
            np.mean([(float(distance_by_lines(number, s)) - limit) ** 2 for s in range(2, 42)])
        )
        for number in (25, 400)
    }
    assert errors[400] < 0.4 * errors[25]  # 1/4 in the mean


def test_gswd_of_shifted_points_is_the_squared_shift_over_the_dimension():
    """To first order: POT's Gaussian distance is the whole shift, a direction sees 1/D of it."""
    shift = torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64)
    teacher = STUDENT + shift[:, None, None]
    ours, theirs = tokens(STUDENT), tokens(teacher)
    whole = ot.gaussian.empirical_bures_wasserstein_distance(ours, theirs, reg=0.0) ** 2
    assert whole == pytest.approx(float(shift.square().sum()), rel=1e-6)
    found = distance_by_lines(200_000, seed=1, teacher=teacher)
    assert float(found) == pytest.approx(whole / CHANNELS, rel=0.02)


def distance_by_lines(number: int, seed: int, teacher: Tensor = TEACHER) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = draw_directions(number, CHANNELS, generator, dtype=torch.float64)
    return alignment_distance("gswd", STUDENT, teacher, uniform(), directions=directions)


def test_sliced_wasserstein_is_pots():
    expected = ot.sliced_wasserstein_distance(
        tokens(STUDENT), tokens(TEACHER), projections=lines().numpy().T
    )
    found = distance("sliced-wasserstein", STUDENT, TEACHER)
    assert float(found) == pytest.approx(expected**2, rel=1e-9)


def test_mmd_is_the_sum_over_kernels_of_scikit_learn():
    ours, theirs = pooled(STUDENT), pooled(TEACHER)
    both = np.concatenate([ours, theirs])
    width = ((both[:, None] - both[None]) ** 2).sum(2).mean()
    expected = np.mean(
        [
            rbf_kernel(ours, gamma=g).mean()
            + rbf_kernel(theirs, gamma=g).mean()
            - 2 * rbf_kernel(ours, theirs, gamma=g).mean()
            for g in 1 / (width * np.array([0.25, 0.5, 1, 2, 4]))
        ]
    )
    assert float(distance("mmd", STUDENT, TEACHER)) == pytest.approx(expected, rel=1e-9)


def test_l2_is_the_mean_squared_error():
    torch.testing.assert_close(distance("l2", STUDENT, TEACHER)[0], F.mse_loss(STUDENT, TEACHER))


def test_kl_is_the_relative_entropy_of_softened_channels():
    theirs, ours = (softmax(pooled(x) / 4, axis=1) for x in (TEACHER, STUDENT))
    expected = 16 * rel_entr(theirs, ours).sum(1).mean()
    assert float(distance("kl", STUDENT, TEACHER)) == pytest.approx(expected, rel=1e-9)


def test_pkt_is_the_relative_entropy_of_picking_another_clip():
    def picking(points: np.ndarray) -> np.ndarray:
        similarity = (cosine_similarity(points) + 1) / 2
        np.fill_diagonal(similarity, 0)
        return similarity / similarity.sum(1, keepdims=True)

    expected = rel_entr(picking(pooled(TEACHER)), picking(pooled(STUDENT))).sum(1).mean()
    assert float(distance("pkt", STUDENT, TEACHER)) == pytest.approx(expected, rel=1e-9)


def test_crd_is_the_cross_entropy_of_the_clips_own_place():
    scores = torch.from_numpy(cosine_similarity(pooled(STUDENT), pooled(TEACHER)) / 0.07)
    expected = F.cross_entropy(scores, torch.arange(CLIPS))
    torch.testing.assert_close(distance("crd", STUDENT, TEACHER)[0], expected)


def test_coral_is_the_frobenius_distance_of_covariances():
    ours, theirs = (empirical_covariance(tokens(x)) for x in (STUDENT, TEACHER))
    expected = np.linalg.norm(ours - theirs) ** 2 / (4 * CHANNELS**2)
    assert float(distance("coral", STUDENT, TEACHER)) == pytest.approx(expected, rel=1e-9)


def test_a_wrong_name_shape_or_no_directions_are_told():
    with pytest.raises(DadnetError, match="alignment of gswd, .*; got 'none'"):
        distance("none", STUDENT, TEACHER)
    with pytest.raises(DadnetError, match="one shape"):
        distance("l2", STUDENT, TEACHER[:, :2])
    with pytest.raises(DadnetError, match=r"directions of shape \(L, 4\), got \(0, 4\)"):
        alignment_distance("sliced-wasserstein", STUDENT, TEACHER, uniform())
