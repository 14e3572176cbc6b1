import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain import make_plain, plain_gradient_magnitude
from dadnet.models import get_microflownext
from dadnet.models.operations import affine_points, depthwise_convolution, gradient_magnitude


def maps(*shape: int) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def gradients(result: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return torch.autograd.grad(result, inputs, weights)


class TestGradientMagnitude:
    @pytest.mark.parametrize("shape", [(2, 3, 6, 5), (1, 1, 1, 1), (3, 2, 1, 4)])
    def test_equals_torchs_own_with_gradient(self, shape: tuple[int, ...]) -> None:
        x = maps(*shape)
        ours, plain = gradient_magnitude(x), plain_gradient_magnitude(x)
        torch.testing.assert_close(ours, plain, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(gradients(ours, [x]), gradients(plain, [x]))


class TestAffinePoints:
    @pytest.mark.parametrize(("height", "width"), [(5, 8), (2, 2)])
    def test_equals_torchs_own_with_gradient(self, height: int, width: int) -> None:
        draws = torch.Generator().manual_seed(2)
        theta = torch.randn(3, 2, 3, generator=draws, dtype=torch.float64, requires_grad=True)
        ours = affine_points(theta, height, width)
        plain = F.affine_grid(theta, [3, 2, height, width], align_corners=True)
        torch.testing.assert_close(ours, plain)
        torch.testing.assert_close(gradients(ours, [theta]), gradients(plain, [theta]))


class TestDepthwiseConvolution:
    # 5 columns in two pieces, 7 in three, 3 in one; tiny maps take their own way.
    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 3), (4, 4), (5, 6), (12, 9)])
    @pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (3, 7)])
    def test_equals_torchs_own_with_gradients(
        self, size: tuple[int, int], kernel: tuple[int, int]
    ) -> None:
        x, weight = maps(2, 4, *size), maps(4, 1, *kernel)
        bias = torch.arange(4.0, dtype=torch.float64, requires_grad=True)
        ours = depthwise_convolution(x, weight, bias)
        padding = (kernel[0] // 2, kernel[1] // 2)
        plain = F.conv2d(x, weight, bias, padding=padding, groups=4)
        torch.testing.assert_close(ours, plain)
        inputs = [x, weight, bias]
        torch.testing.assert_close(gradients(ours, inputs), gradients(plain, inputs))


def test_the_plain_network_of_the_benchmarks_is_the_engines() -> None:
    ours, plain = (
        get_microflownext(
            3, "ultralight", 56, drop_path_rate=0.0, generator=torch.Generator().manual_seed(1)
        ).double()
        for _ in range(2)
    )
    make_plain(plain)
    x = maps(3, 2, 56, 56)
    torch.testing.assert_close(ours(x).logits, plain(x).logits)
    found = [
        dict(zip(names, gradients(model(x).logits, weights), strict=True))
        for model in (ours, plain)
        for names, weights in [zip(*model.named_parameters(), strict=True)]
    ]
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], msg=name)
