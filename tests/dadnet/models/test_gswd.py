import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.models.alignment import cheaper_method
from dadnet.models.loss import draw_directions, gswd

ORACLES = Path(__file__).parents[2] / "data" / "oracles"
FIGURES: dict[str, float] = json.loads((ORACLES / "reference.json").read_text())["gswd"]
METHODS = ("moments", "projected")


def oracle_inputs(name: str) -> tuple[Tensor, Tensor, Tensor, str]:
    seed, channels, height, num, form = re.fullmatch(  # type: ignore[union-attr]
        r"seed(\d+)_C(\d+)_H(\d+)_L(\d+)_(\w+)", name
    ).groups()
    c, h = int(channels), int(height)
    r = np.random.RandomState(int(seed))
    student = r.standard_normal((4, c, h, h)) * 1.3 + 0.2
    teacher = r.standard_normal((4, c, h, h)) * 0.7 - 0.1
    directions = r.standard_normal((int(num), c if form == "tokens" else c * h * h))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return (
        torch.from_numpy(student),
        torch.from_numpy(teacher),
        torch.from_numpy(directions),
        form,
    )


def maps(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class TestGSWD:
    @pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
    @pytest.mark.parametrize("method", [*METHODS, "auto"])
    @pytest.mark.parametrize("name", FIGURES)
    def test_every_figure_of_the_reference_is_met(
        self, name: str, method: str, dtype: str, tolerance: float
    ) -> None:
        student, teacher, directions, form = oracle_inputs(name)
        kind = getattr(torch, dtype)
        value = gswd(
            student.to(kind),
            teacher.to(kind),
            directions=directions.to(kind),
            form=form,  # type: ignore[arg-type]
            method=method,  # type: ignore[arg-type]
        )
        assert float(value) == pytest.approx(FIGURES[name], rel=tolerance)

    @pytest.mark.parametrize("form", ["tokens", "flat"])
    @pytest.mark.parametrize("seed", range(5))
    def test_moments_equal_the_projected_form(self, seed: int, form: str) -> None:
        student, teacher = maps(seed, 3, 6, 4, 5) * 2 + 1, maps(seed + 100, 3, 6, 4, 5)
        directions = draw_directions(
            20, 6 if form == "tokens" else 120, torch.Generator(), dtype=torch.float64
        )
        one, other = (
            float(gswd(student, teacher, directions=directions, form=form, method=m))  # type: ignore[arg-type]
            for m in METHODS
        )
        assert one == pytest.approx(other, rel=1e-9)

    @pytest.mark.parametrize("method", METHODS)
    def test_a_large_common_offset_costs_no_digits_in_float32(self, method: str) -> None:
        student, teacher = maps(0, 4, 16, 7, 7), 0.8 * maps(1, 4, 16, 7, 7)
        directions = draw_directions(50, 16, torch.Generator(), dtype=torch.float64)
        exact = float(gswd(student, teacher, directions=directions))
        # 512 + x keeps 14 bits of x: what is lost is lost in the input, not in the variance.
        moved = gswd(
            (student + 512).float(),
            (teacher + 512).float(),
            directions=directions.float(),
            method=method,  # type: ignore[arg-type]
        )
        assert float(moved) == pytest.approx(exact, rel=1e-3)

    @pytest.mark.parametrize("method", METHODS)
    def test_gaussian_closed_form_in_one_dimension(self, method: str) -> None:
        # points -1, 1 (mean 0, deviation 1) against 2, 8 (mean 5, deviation 3): 25 + 4
        student, teacher = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [8.0]])
        value = gswd(student, teacher, directions=torch.ones(1, 1), method=method)  # type: ignore[arg-type]
        assert float(value) == pytest.approx(29.0)

    @pytest.mark.parametrize("method", METHODS)
    def test_zero_between_equals_and_symmetric(self, method: str) -> None:
        a, b = maps(0, 2, 5, 3, 3), maps(1, 2, 5, 3, 3)
        directions = draw_directions(9, 5, torch.Generator(), dtype=torch.float64)
        assert float(gswd(a, a, directions=directions, method=method)) == 0  # type: ignore[arg-type]
        there, back = (
            float(gswd(*pair, directions=directions, method=method))  # type: ignore[arg-type]
            for pair in ((a, b), (b, a))
        )
        assert there == pytest.approx(back, rel=1e-12)
        assert there > 0

    def test_positions_may_be_shuffled_in_tokens_but_not_in_flat(self) -> None:
        a, b = maps(0, 2, 3, 4, 4), maps(1, 2, 3, 4, 4)
        moved = a.flatten(2)[:, :, torch.randperm(16, generator=torch.Generator())].view_as(a)
        for form, dim, same in (("tokens", 3, True), ("flat", 48, False)):
            directions = draw_directions(8, dim, torch.Generator(), dtype=torch.float64)
            values = [float(gswd(x, b, directions=directions, form=form)) for x in (a, moved)]  # type: ignore[arg-type]
            assert (values[0] == pytest.approx(values[1], rel=1e-12)) is same

    @pytest.mark.parametrize("form", ["tokens", "flat"])
    @pytest.mark.parametrize("method", METHODS)
    def test_gradcheck(self, method: str, form: str) -> None:
        student = maps(0, 3, 2, 2, 2).requires_grad_()
        teacher = maps(1, 3, 2, 2, 2).requires_grad_()
        directions = draw_directions(
            4, 2 if form == "tokens" else 8, torch.Generator(), dtype=torch.float64
        ).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda s, t, d: gswd(s, t, directions=d, form=form, method=method),  # type: ignore[arg-type]
            (student, teacher, directions),
        )

    @pytest.mark.parametrize("method", METHODS)
    def test_constant_features_have_a_finite_gradient(self, method: str) -> None:
        student = torch.ones(2, 3, 2, 2, requires_grad=True)
        gswd(
            student,
            torch.randn(2, 3, 2, 2, generator=torch.Generator()),
            generator=torch.Generator(),
            method=method,  # type: ignore[arg-type]
        ).backward()
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()

    def test_the_draw_is_a_function_of_the_generator(self) -> None:
        a, b = maps(0, 2, 5, 3, 3), maps(1, 2, 5, 3, 3)
        first, again, other = (
            float(gswd(a, b, 7, generator=torch.Generator().manual_seed(s))) for s in (1, 1, 2)
        )
        assert first == again != other

    @pytest.mark.parametrize(("dim", "method"), [(20, "moments"), (200, "projected")])
    def test_auto_is_the_cheaper_method_to_the_bit(self, dim: int, method: str) -> None:
        a, b = maps(0, 100, dim).float(), maps(1, 100, dim).float()
        lines = draw_directions(50, dim, torch.Generator())
        values = {m: gswd(a, b, directions=lines, method=m) for m in (*METHODS, "auto")}  # type: ignore[arg-type]
        assert values["auto"] == values[method]
        assert values["moments"] != values["projected"]

    def test_the_directions_that_are_drawn_are_those_of_the_generator(self) -> None:
        a, b = maps(0, 2, 5, 3, 3), maps(1, 2, 5, 3, 3)
        lines = draw_directions(7, 5, torch.Generator().manual_seed(1), dtype=torch.float64)
        drawn = gswd(a, b, 7, generator=torch.Generator().manual_seed(1))
        assert float(drawn) == float(gswd(a, b, directions=lines))
        coarse = gswd(a, b, directions=lines.float())
        assert coarse.dtype == torch.float64
        assert float(coarse) == pytest.approx(float(drawn), rel=1e-5)

    @pytest.mark.parametrize(
        ("shape", "method"),
        [
            ((6272, 48, 100), "moments"),
            ((1568, 192, 100), "projected"),
            ((8, 9408, 100), "projected"),
        ],
    )
    def test_the_cheaper_method_is_taken(self, shape: tuple[int, int, int], method: str) -> None:
        assert cheaper_method(*shape) == method

    @pytest.mark.parametrize(
        ("student", "teacher", "directions"),
        [
            ((2, 3, 4, 4), (2, 5, 4, 4), (7, 3)),  # channels differ
            ((2, 3, 4, 4), (2, 3, 2, 2), (7, 3)),  # positions differ
            ((2, 3, 4), (2, 3, 4), (7, 3)),  # neither maps nor points
            ((0, 3, 4, 4), (0, 3, 4, 4), (7, 3)),  # nothing
            ((2, 3, 4, 4), (2, 3, 4, 4), (7, 4)),  # directions of another space
            ((2, 3, 4, 4), (2, 3, 4, 4), (3,)),
            ((2, 3, 4, 4), (2, 3, 4, 4), (0, 3)),
        ],
    )
    def test_bad_shapes_are_refused(
        self, student: tuple[int, ...], teacher: tuple[int, ...], directions: tuple[int, ...]
    ) -> None:
        with pytest.raises(DadnetError, match=r"expected .* got"):
            gswd(torch.zeros(student), torch.zeros(teacher), directions=torch.zeros(directions))

    @pytest.mark.parametrize("argument", ["form", "method"])
    def test_unknown_names_are_refused(self, argument: str) -> None:
        with pytest.raises(DadnetError, match=f"expected a {argument} of .*got 'other'"):
            gswd(torch.zeros(2, 2), torch.zeros(2, 2), **{argument: "other"})  # type: ignore[arg-type]


class TestDirections:
    def test_rows_are_unit_and_equal_in_both_dtypes(self) -> None:
        double, single = (
            draw_directions(30, 17, torch.Generator().manual_seed(4), dtype=dtype)
            for dtype in (torch.float64, torch.float32)
        )
        norms = double.square().sum(1)
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-12, atol=0)
        assert torch.equal(double.float(), single)

    def test_without_a_generator_torch_draws_and_one_dimension_has_two_directions(self) -> None:
        torch.manual_seed(3)
        expected = torch.randn(4, 3, dtype=torch.float64)
        torch.manual_seed(3)
        drawn = draw_directions(4, 3)
        assert torch.equal(drawn, (expected / expected.norm(dim=1, keepdim=True)).float())
        assert sorted(set(draw_directions(9, 1, torch.Generator()).flatten().tolist())) == [-1, 1]

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
    def test_none_or_no_dimension_is_refused(self, shape: tuple[int, int]) -> None:
        with pytest.raises(DadnetError, match="at least 1"):
            draw_directions(*shape)
