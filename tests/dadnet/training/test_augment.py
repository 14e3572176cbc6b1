import dataclasses
import re

import pytest
import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.training.augment import POLICIES, OpticalFlowAugmentation, mirror_flow, warp_flow

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flows(num: int, height: int = 16, width: int = 16, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(num, 2, height, width, generator=seeded(1), dtype=dtype)


def positions(height: int, width: int) -> Tensor:
    """Pixel positions (x, y) from the centre, y down, shape (2, H, W)."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=F64) - (height - 1) / 2,
        torch.arange(width, dtype=F64) - (width - 1) / 2,
        indexing="ij",
    )
    return torch.stack([x, y])


def motion(angle: float, scale: float = 1.0, flip: bool = False) -> Tensor:
    """The matrix M by hand: mirror, turn clockwise (y is down), zoom."""
    a = torch.tensor(angle, dtype=F64).deg2rad()
    turn = torch.stack([torch.stack([a.cos(), -a.sin()]), torch.stack([a.sin(), a.cos()])])
    return scale * turn @ torch.diag(torch.tensor([-1.0 if flip else 1.0, 1.0], dtype=F64))


def warp(flow: Tensor, angle: float, scale: float = 1.0, flip: bool = False) -> Tensor:
    num = len(flow)
    return warp_flow(
        flow,
        torch.full((num,), angle, dtype=F64),
        torch.full((num,), scale, dtype=F64),
        torch.full((num,), flip),
    )


def inside(height: int, width: int, matrix: Tensor) -> Tensor:
    """Where the warped field comes wholly from inside the input, shape (H, W)."""
    source = torch.einsum("ij,jhw->ihw", torch.linalg.inv(matrix), positions(height, width))
    half = torch.tensor([width - 1, height - 1], dtype=F64).view(2, 1, 1) / 2
    return (source.abs() <= half - 1e-9).all(0)


class TestWarp:
    @pytest.mark.parametrize("flip", [False, True])
    @pytest.mark.parametrize("scale", [1.0, 0.9, 1.2])
    @pytest.mark.parametrize("angle", [0.0, 7.0, -33.0, 90.0])
    @pytest.mark.parametrize("shape", [(24, 24), (20, 31)])
    def test_a_rotating_vector_field_equals_the_analytic_one(
        self, shape: tuple[int, int], angle: float, scale: float, flip: bool
    ) -> None:
        # v(p) = omega x (p - c), turning about c: linear, so that bilinear sampling is exact.
        spin = 0.07 * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64)
        self.check_linear(shape, spin, angle, scale, flip)

    @pytest.mark.parametrize("angle", [11.0, -70.0])
    def test_any_linear_field_equals_the_analytic_one(self, angle: float) -> None:
        shear = torch.tensor([[0.3, -0.2], [0.05, 0.1]], dtype=F64)
        self.check_linear((18, 26), shear, angle, 1.1, True)

    @staticmethod
    def check_linear(
        shape: tuple[int, int], spin: Tensor, angle: float, scale: float, flip: bool
    ) -> None:
        centre = torch.tensor([3.0, -2.0], dtype=F64).view(2, 1, 1)
        matrix = motion(angle, scale, flip)
        at = positions(*shape)
        field = torch.einsum("ij,jhw->ihw", spin, at - centre)
        source = torch.einsum("ij,jhw->ihw", torch.linalg.inv(matrix), at)
        expected = torch.einsum("ij,jhw->ihw", matrix @ spin, source - centre)
        where = inside(*shape, matrix)
        assert where.sum() > 100
        warped = warp(field[None], angle, scale, flip)[0]
        torch.testing.assert_close(warped[:, where], expected[:, where], rtol=0, atol=1e-12)

    def test_a_windowed_uniform_field_turns_with_its_vectors(self) -> None:
        # A blob at (10, 0), moving right, turned by 90 degrees: at (0, 10), below, moving down.
        at = positions(64, 64)
        centre = torch.tensor([10.0, 0.0], dtype=F64).view(2, 1, 1)
        window = torch.exp(-(at - centre).square().sum(0) / (2 * 6.0**2))
        field = torch.stack([window, torch.zeros_like(window)])
        below = torch.exp(-(at - centre.flip(0)).square().sum(0) / (2 * 6.0**2))
        turned = warp(field[None], 90.0)[0]
        torch.testing.assert_close(turned[1], below, rtol=0, atol=1e-12)
        assert turned[0].abs().max() < 1e-12
        # by 30 degrees the grids no longer meet, so bilinear sampling smooths: h^2 / 8 * max |f''|
        matrix = motion(30.0)
        moved = torch.einsum("ij,jhw->ihw", matrix, centre)
        window30 = torch.exp(-(at - moved).square().sum(0) / (2 * 6.0**2))
        expected = matrix[:, 0].view(2, 1, 1) * window30
        torch.testing.assert_close(warp(field[None], 30.0)[0], expected, rtol=0, atol=0.008)

    def test_scale_multiplies_the_magnitude(self) -> None:
        warped = warp(torch.ones(1, 2, 16, 16, dtype=F64), 0.0, 1.1)
        torch.testing.assert_close(warped, torch.full_like(warped, 1.1))

    def test_identity_parameters_return_the_very_bits(self) -> None:
        flow = flows(4, dtype=torch.float32)
        assert torch.equal(warp(flow, 0.0), flow)

    def test_only_changed_clips_are_touched(self) -> None:
        flow = flows(3)
        angle = torch.tensor([0.0, 5.0, 0.0], dtype=F64)
        warped = warp_flow(flow, angle, torch.ones(3, dtype=F64), torch.zeros(3, dtype=torch.bool))
        assert torch.equal(warped[[0, 2]], flow[[0, 2]])
        assert not torch.equal(warped[1], flow[1])

    def test_a_clip_does_not_depend_on_its_neighbours(self) -> None:
        flow = flows(3)
        angle = torch.tensor([1.0, 5.0, 9.0], dtype=F64)
        scale = torch.tensor([0.9, 1.0, 1.1], dtype=F64)
        flip = torch.tensor([True, False, True])
        together = warp_flow(flow, angle, scale, flip)
        for row in range(3):
            one = slice(row, row + 1)
            alone = warp_flow(flow[one], angle[one], scale[one], flip[one])
            torch.testing.assert_close(together[one], alone, rtol=1e-12, atol=1e-12)

    def test_flip_negates_u_and_twice_is_the_identity(self) -> None:
        flow, both = flows(2), torch.tensor([True, True])
        once = mirror_flow(flow, both)
        assert torch.equal(once[:, 0], -flow[:, 0].flip(-1))
        assert torch.equal(once[:, 1], flow[:, 1].flip(-1))
        assert torch.equal(mirror_flow(once, both), flow)
        assert torch.equal(warp(warp(flow, 0.0, flip=True), 0.0, flip=True), flow)

    def test_gradcheck(self) -> None:
        flow = flows(3, 5, 6).requires_grad_()
        angle = torch.tensor([12.0, -31.0, 3.0], dtype=F64, requires_grad=True)
        scale = torch.tensor([0.93, 1.07, 1.02], dtype=F64, requires_grad=True)
        flip = torch.tensor([True, False, False])
        # Short steps: bilinear sampling has kinks where a sample crosses a pixel.
        assert torch.autograd.gradcheck(
            lambda f, a, s: warp_flow(f, a, s, flip), (flow, angle, scale), eps=1e-7, atol=1e-5
        )

    def test_the_parameter_of_a_wrong_shape_is_named(self) -> None:
        right = {"angle": torch.zeros(2), "scale": torch.ones(2), "flip": torch.ones(2).bool()}
        for name in right:
            with pytest.raises(DadnetError, match=rf"expected {name} of shape \(2,\), got \(3,\)"):
                warp_flow(torch.zeros(2, 2, 8, 8), **{**right, name: torch.zeros(3)})

    @pytest.mark.parametrize(
        ("shape", "num"), [((2, 3, 8, 8), 2), ((2, 8, 8), 2), ((2, 2, 8, 8), 3)]
    )
    def test_bad_shapes_are_refused(self, shape: tuple[int, ...], num: int) -> None:
        with pytest.raises(DadnetError, match=r"expected .* got"):
            warp_flow(
                torch.zeros(shape),
                torch.zeros(num),
                torch.ones(num),
                torch.zeros(num, dtype=torch.bool),
            )


class TestAugmentation:
    def test_a_batch_is_a_function_of_the_generator(self) -> None:
        augment, flow = OpticalFlowAugmentation(), flows(8)
        before = torch.get_rng_state()
        first, again, other = (augment(flow, seeded(s)) for s in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), before)

    def test_six_numbers_of_a_clip_become_its_parameters(self) -> None:
        coins = OpticalFlowAugmentation(
            hflip=0.3, rotation=8.0, scale=(0.8, 1.2), probability=0.6, each_by_coin=True
        )
        # changed?, mirrored?, angle, zoom, turned?, zoomed?
        numbers = torch.tensor(
            [
                [0.59, 0.29, 0.75, 0.25, 0.49, 0.49],
                [0.60, 0.29, 0.75, 0.25, 0.49, 0.49],
                [0.59, 0.30, 0.00, 1.00, 0.50, 0.49],
                [0.10, 0.10, 0.25, 0.25, 0.49, 0.50],
            ],
            dtype=F64,
        )
        angle, scale, flip = coins.of_draws(numbers)
        torch.testing.assert_close(angle, torch.tensor([4.0, 0, 0, -4], dtype=F64))
        torch.testing.assert_close(scale, torch.tensor([0.9, 1, 1.2, 1], dtype=F64))
        assert flip.tolist() == [True, False, False, True]
        always = dataclasses.replace(coins, each_by_coin=False)
        angle, scale, flip = always.of_draws(numbers)
        torch.testing.assert_close(angle, torch.tensor([4.0, 0, -8, -4], dtype=F64))
        torch.testing.assert_close(scale, torch.tensor([0.9, 1, 1.2, 0.9], dtype=F64))
        assert flip.tolist() == [True, False, False, True]
        drawn = torch.rand(8, 6, generator=seeded(), dtype=F64)
        for one, other in zip(coins.draw(8, seeded()), coins.of_draws(drawn), strict=True):
            assert torch.equal(one, other)

    def test_policies_are_those_of_their_recipes(self) -> None:
        table = {
            name: (p.hflip, p.rotation, p.scale, p.probability, p.each_by_coin, p.only_mirrors)
            for name, p in POLICIES.items()
        }
        assert table == {
            "none": (0.0, 0.0, (1.0, 1.0), 1.0, False, True),
            "hflip": (0.5, 0.0, (1.0, 1.0), 1.0, False, True),
            "reference-v1": (0.5, 10.0, (0.9, 1.1), 1.0, True, False),
            "standard": (0.0, 5.0, (0.95, 1.05), 0.5, True, False),
        }
        assert not OpticalFlowAugmentation(rotation=5.0, scale=(1.0, 1.0)).only_mirrors
        assert not OpticalFlowAugmentation(rotation=0.0, scale=(1.0, 1.1)).only_mirrors

    def test_draws_keep_to_their_ranges(self) -> None:
        angle, scale, flip = OpticalFlowAugmentation(
            hflip=0.25, rotation=8.0, scale=(0.8, 1.5)
        ).draw(20_000, seeded())
        assert -8 <= float(angle.min()) < -7.9
        assert 7.9 < float(angle.max()) <= 8
        assert 0.8 <= float(scale.min()) < 0.81
        assert 1.49 < float(scale.max()) <= 1.5
        assert float(flip.double().mean()) == pytest.approx(0.25, abs=0.01)

    def test_names_of_the_public_project_are_taken_with_its_coins(self) -> None:
        public = OpticalFlowAugmentation(
            horizontal_flip_prob=0.5, rotation_range=10.0, scale_range=(0.9, 1.1)
        )
        assert public == POLICIES["reference-v1"]
        turned = OpticalFlowAugmentation(rotation_range=3.0)
        assert (turned.rotation, turned.hflip, turned.each_by_coin) == (3.0, 0.5, True)
        assert not OpticalFlowAugmentation().each_by_coin
        with pytest.raises(DadnetError, match="expected hflip from 0 to 1, got 2"):
            OpticalFlowAugmentation(horizontal_flip_prob=2)

    def test_one_clip_without_a_generator_is_drawn_by_torch(self) -> None:
        augment, clip = OpticalFlowAugmentation(), flows(1)[0]
        torch.manual_seed(3)
        first = augment(clip)
        torch.manual_seed(3)
        assert torch.equal(first, augment(clip))
        assert first.shape == clip.shape
        assert not torch.equal(first, augment(clip))

    def test_standard_turns_and_zooms_each_by_coin_in_half_of_the_clips(self) -> None:
        angle, scale, flip = POLICIES["standard"].draw(20_000, seeded())
        turned, zoomed = angle != 0, scale != 1
        assert float(turned.double().mean()) == pytest.approx(0.25, abs=0.01)
        assert float(zoomed.double().mean()) == pytest.approx(0.25, abs=0.01)
        assert float((turned & zoomed).double().mean()) == pytest.approx(0.125, abs=0.01)
        assert not flip.any()
        assert float(angle.abs().max()) <= 5
        assert 0.95 <= float(scale.min()) <= float(scale.max()) <= 1.05

    def test_none_changes_no_bit_and_hflip_only_mirrors(self) -> None:
        flow = flows(40, dtype=torch.float32)
        assert torch.equal(POLICIES["none"](flow, seeded()), flow)
        hflip = POLICIES["hflip"]
        flip = hflip.draw(40, seeded()).flip
        assert 0 < int(flip.sum()) < 40
        mirrored = hflip(flow, seeded())
        assert torch.equal(mirrored[~flip], flow[~flip])
        assert torch.equal(mirrored[flip][:, 0], -flow[flip][:, 0].flip(-1))

    @pytest.mark.parametrize("policy", POLICIES)
    def test_every_policy_keeps_shape_and_dtype(self, policy: str) -> None:
        flow = flows(6, dtype=torch.float32)
        augmented = POLICIES[policy](flow, seeded())
        assert augmented.shape == flow.shape
        assert augmented.dtype == flow.dtype

    def test_policies_draw_the_same_numbers(self) -> None:
        # One seed, two policies: the flips of one are those of the other.
        both = [POLICIES[name].draw(50, seeded()).flip for name in ("hflip", "reference-v1")]
        assert torch.equal(*both)

    def test_what_is_drawn_is_what_is_done(self) -> None:
        augment, flow = OpticalFlowAugmentation(), flows(8)
        assert torch.equal(augment(flow, seeded()), warp_flow(flow, *augment.draw(8, seeded())))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"hflip": 1.5}, "hflip from 0 to 1, got 1.5"),
            ({"probability": -1.0}, "probability from 0 to 1, got -1.0"),
            ({"rotation": -5.0}, "from 0 to 180 degrees, got -5.0"),
            ({"scale": (1.1, 0.9)}, "0 < low <= high, got (1.1, 0.9)"),
            ({"scale": (0.0, 1.0)}, "0 < low <= high, got (0.0, 1.0)"),
        ],
    )
    def test_bad_arguments_are_refused(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(DadnetError, match=re.escape(message)):
            OpticalFlowAugmentation(**arguments)  # type: ignore[arg-type]
