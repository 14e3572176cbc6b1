import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ModelConfig
from dadnet.models import (
    MODEL_SIZES,
    MicroFlowNeXt,
    ModelOutput,
    correct_flow,
    count_parameters,
    get_microflownext,
)
from dadnet.models.blocks import gradient_magnitude

HEADS = ("tokens", "pooled", "linear")


def small(head: str = "tokens", **options: object) -> MicroFlowNeXt:
    generator = torch.Generator().manual_seed(3)
    model = get_microflownext(3, "ultralight", 64, head=head, generator=generator, **options)  # type: ignore[arg-type]
    return model.double()


def flows(num: int, size: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 2, size, size, generator=generator, dtype=torch.float64)


class TestClipsNeverMix:
    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("head", HEADS)
    def test_predict_of_a_batch_equals_predict_one_by_one(self, head: str, training: bool) -> None:
        model, x = small(head, drop_path_rate=0.5).train(training), flows(5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # the one layer that mixes clips, by definition, while training
        keep = model.draw_keep(5, torch.Generator().manual_seed(0)) if training else None
        together = model(x, keep=keep)
        for row in range(5):
            alone = model(x[row : row + 1], keep=None if keep is None else keep[:, row : row + 1])
            for ours, single in zip(
                (together.logits, together.pooled, together.features[-1]),
                (alone.logits, alone.pooled, alone.features[-1]),
                strict=True,
            ):
                torch.testing.assert_close(ours[row : row + 1], single, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("head", HEADS)
    def test_no_gradient_reaches_a_neighbour(self, head: str) -> None:
        model, x = small(head).eval(), flows(3).requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).logits[1].sum(), x)
        assert gradient[1].abs().max() > 0
        assert gradient[[0, 2]].abs().max() == 0


class TestHead:
    def test_tokens_attend_over_positions(self) -> None:
        model = small("tokens")
        last = torch.randn(2, 128, 3, 3, dtype=torch.float64)
        # By hand: one head, shared projection, values = normalised tokens.
        attention = model.attention
        tokens = attention.norm(last.flatten(2).transpose(1, 2))
        projected = attention.projection(tokens)
        weights = (projected @ projected.transpose(1, 2) / 128**0.5).softmax(-1)
        mixed = (weights @ tokens + 0.1 * attention.micro_enhance(tokens)).mean(1)
        logits, pooled = model.classify(last)
        torch.testing.assert_close(pooled, model.norm(mixed))
        torch.testing.assert_close(logits, model.head(model.norm(mixed)))

    def test_head_attention_off_is_the_linear_head(self) -> None:
        names = set(get_microflownext(3, "nano", 32, head_attention=False).state_dict())
        assert names == set(get_microflownext(3, "nano", 32, head="linear").state_dict())
        assert not any(name.startswith("attention.") for name in names)

    @pytest.mark.parametrize("head", HEADS)
    def test_every_weight_gets_a_gradient(self, head: str) -> None:
        model = small(head).train()
        output = model(flows(4), torch.Generator().manual_seed(0))
        F.cross_entropy(output.logits, torch.tensor([0, 1, 2, 0])).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


class TestSpatialTransformer:
    def test_starts_at_the_identity(self) -> None:
        x = flows(2)
        aligned, theta = small().eval().align_flow(x)
        assert theta is not None
        torch.testing.assert_close(theta, torch.eye(2, 3, dtype=theta.dtype).expand(2, 2, 3))
        torch.testing.assert_close(aligned, x, rtol=1e-5, atol=1e-5)  # the 1e-6 in the inverse

    def test_can_be_left_out(self) -> None:
        model, x = small(use_stn=False).eval(), flows(2)
        assert model(x).theta is None
        assert model.align_flow(x)[0] is x
        assert not any("loc" in name for name in model.state_dict())

    def test_inverse_correction_is_the_inverse_matrix(self) -> None:
        flow, theta = flows(4, 6), torch.randn(4, 2, 3, dtype=torch.float64)
        matrix = theta[:, :, :2] + 1e-6 * torch.eye(2, dtype=torch.float64)
        expected = torch.linalg.solve(matrix, flow.flatten(2)).view_as(flow)
        torch.testing.assert_close(correct_flow(flow, theta, "inverse"), expected)

    def test_both_corrections_agree_up_to_the_sense_for_a_rotation(self) -> None:
        # R^-1 v under "inverse", R v under "similarity": a turn by +a and one by -a.
        angle = torch.tensor([0.3, -0.3], dtype=torch.float64)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(2, dtype=torch.float64)
        theta = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(2, 2, 3)
        flow = flows(1, 6).expand(2, -1, -1, -1)
        inverse = correct_flow(flow, theta, "inverse")
        similarity = correct_flow(flow, theta.flip(0), "similarity")
        torch.testing.assert_close(inverse, similarity, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("method", ["inverse", "similarity"])
    def test_gradcheck_of_flow_correction(self, method: str) -> None:
        flow = flows(2, 4).requires_grad_()
        theta = torch.tensor([[[1.1, 0.2, 0.1], [-0.3, 0.8, 0.0]]], dtype=torch.float64)
        theta = torch.cat([theta, theta.flip(1)]).requires_grad_()
        assert torch.autograd.gradcheck(lambda f, t: correct_flow(f, t, method), (flow, theta))  # type: ignore[arg-type]


class TestGradientMagnitude:
    def test_equals_convolution_with_central_differences(self) -> None:
        x = flows(2, 7)
        kernel = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
        gx = F.conv2d(x, kernel.view(1, 1, 1, 3).repeat(2, 1, 1, 1), padding=(0, 1), groups=2)
        gy = F.conv2d(x, kernel.view(1, 1, 3, 1).repeat(2, 1, 1, 1), padding=(1, 0), groups=2)
        torch.testing.assert_close(gradient_magnitude(x), (gx**2 + gy**2 + 1e-8).sqrt())

    def test_flat_map_has_a_finite_gradient(self) -> None:
        x = torch.zeros(1, 1, 5, 5, requires_grad=True)
        gradient_magnitude(x).sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


class TestStochasticDepth:
    def test_a_training_step_is_a_function_of_the_generator(self) -> None:
        model, x = small(drop_path_rate=0.5).train(), flows(8)
        before = torch.get_rng_state()
        first, again, other = (
            model(x, torch.Generator().manual_seed(seed)).logits for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), before)

    def test_rate_grows_linearly_from_zero_and_keeps_the_mean(self) -> None:
        model = get_microflownext(3, "small", 32, drop_path_rate=0.3)
        assert model.drop_rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
        keep = model.draw_keep(20_000, torch.Generator().manual_seed(0))
        assert keep.shape == (7, 20_000)
        dropped = (keep == 0).double().mean(1)
        assert dropped.tolist() == pytest.approx(model.drop_rates, abs=0.01)
        assert keep.mean(1).tolist() == pytest.approx([1] * 7, abs=0.02)

    def test_training_without_a_generator_is_refused(self) -> None:
        with pytest.raises(DadnetError, match="generator"):
            small(drop_path_rate=0.1).train()(flows(2))

    def test_rate_zero_is_the_default_and_needs_no_generator(self) -> None:
        assert small().drop_path_rate == ModelConfig().drop_path == 0
        assert isinstance(small().train()(flows(2)), ModelOutput)


class TestBuilding:
    @pytest.mark.parametrize("size", MODEL_SIZES)
    def test_every_size_runs_at_the_smallest_input(self, size: str) -> None:
        model = get_microflownext(5, size, 32).eval()
        with torch.no_grad():
            output = model(flows(2, 32).float())
        assert output.logits.shape == (2, 5)
        assert [f.shape[1] for f in output.features] == list(MODEL_SIZES[size][1])
        assert [f.shape[2] for f in output.features] == [8, 4, 2, 1]

    @pytest.mark.parametrize("input_size", [33, 56, 100])
    def test_inputs_that_do_not_divide_evenly_run(self, input_size: int) -> None:
        model = get_microflownext(3, "ultralight", input_size).eval()
        assert model(flows(1, input_size).float()).logits.shape == (1, 3)

    def test_channel_attention_can_be_left_out(self) -> None:
        model = small(channel_attention=False).eval()
        assert not any(".fc." in name for name in model.state_dict())
        assert model(flows(2)).logits.shape == (2, 3)

    def test_weights_are_a_function_of_the_generator(self) -> None:
        first, again = (
            get_microflownext(3, "nano", 32, generator=torch.Generator().manual_seed(7))
            for _ in range(2)
        )
        for name, value in first.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), name

    def test_initial_weights_have_std_0_02_and_zero_bias(self) -> None:
        model = get_microflownext(3, "micro", 32, generator=torch.Generator().manual_seed(0))
        assert float(model.stages[3][0].pwconv[0].weight.detach().std()) == pytest.approx(
            0.02, rel=0.02
        )
        assert all(float(m.bias.detach().abs().max()) == 0 for m in (model.head, model.fc_loc[0]))

    def test_stages_after_those_wanted_are_not_computed(self) -> None:
        features, _ = small().eval().stage_features(flows(1), num_stages=2)
        assert len(features) == 2

    def test_trainable_parameters_are_counted_apart(self) -> None:
        model = small()
        model.head.requires_grad_(False)
        frozen = 128 * 3 + 3
        assert count_parameters(model, trainable_only=True) == count_parameters(model) - frozen

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"input_size": 31}, "at least 32, since the stages divide"),
            ({"model_size": "huge"}, "ultralight, nano, micro, tiny, small, base; got 'huge'"),
            ({"head": "mean"}, "tokens, pooled, linear; got 'mean'"),
            ({"flow_correction": "none"}, "inverse, similarity; got 'none'"),
            ({"num_classes": 1}, "at least 2, got 1"),
            ({"drop_path_rate": 1.0}, "[0, 1), got 1.0"),
        ],
    )
    def test_bad_arguments_are_refused_with_what_is_available(
        self, arguments: dict[str, object], message: str
    ) -> None:
        valid: dict[str, object] = {"num_classes": 3, "model_size": "nano", "input_size": 32}
        with pytest.raises(DadnetError, match=re.escape(message)):
            get_microflownext(**(valid | arguments))  # type: ignore[arg-type]

    @pytest.mark.parametrize("shape", [(2, 2, 64, 32), (2, 3, 64, 64), (2, 64, 64)])
    def test_flows_of_another_shape_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(DadnetError, match=r"expected flows of shape \(B, 2, 64, 64\), got"):
            small().eval()(torch.zeros(shape, dtype=torch.float64))
