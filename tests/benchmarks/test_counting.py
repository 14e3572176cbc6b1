import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.counting import work_of
from dadnet.models import get_microflownext
from dadnet.models.blocks import GradientAwareBlock
from dadnet.models.operations import depthwise_convolution


def convolve(groups: int, in_needs_grad: bool = True):
    x = torch.randn(2, 8, 10, 12, requires_grad=in_needs_grad)
    weight = torch.randn(16, 8 // groups, 3, 3, requires_grad=True)
    return work_of(lambda: F.conv2d(x, weight, padding=1, groups=groups).sum().backward()).flop


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_convolution_and_its_two_gradients_are_counted_with_their_groups(groups):
    forward = 2 * (2 * 10 * 12) * (16 * 8 // groups * 9)
    assert convolve(groups) == 3 * forward
    assert convolve(groups, in_needs_grad=False) == 2 * forward


def test_a_transposed_convolution_too():
    x = torch.randn(2, 8, 5, 5, requires_grad=True)
    weight = torch.randn(8, 3, 2, 2, requires_grad=True)
    work = work_of(lambda: F.conv_transpose2d(x, weight, stride=2, groups=2).sum().backward())
    assert work.flop == 3 * 2 * (2 * 5 * 5) * (8 * 3 * 4)


def test_the_gradient_of_our_own_counts_as_torchs():
    x = torch.randn(2, 6, 16, 16, requires_grad=True)
    weight, bias = torch.randn(6, 1, 5, 5, requires_grad=True), torch.zeros(6, requires_grad=True)
    work = work_of(lambda: depthwise_convolution(x, weight, bias).sum().backward())
    assert work.flop == 3 * 2 * (2 * 16 * 16) * (6 * 25)


def test_a_step_of_the_student_is_the_sum_over_its_layers():
    model = get_microflownext(3, "ultralight", 128, head="linear", use_stn=False, drop_path_rate=0)
    expected = 0

    def add(layer, given, result):
        nonlocal expected
        positions = result.numel() // result.shape[1 if isinstance(layer, nn.Conv2d) else -1]
        times = 2 if layer is model.downsample_layers[0][0] else 3  # flows need no gradient
        expected += times * 2 * positions * layer.weight.numel()

    x = torch.randn(2, 2, 128, 128)
    hooks = [
        layer.register_forward_hook(add)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    for block in (m for m in model.modules() if isinstance(m, GradientAwareBlock)):
        # Its depthwise layers are not called as modules.
        side = 128 // 4 // 2 ** [24, 48, 64, 128].index(block.norm.weight.numel())
        expected += 3 * 2 * (2 * side**2) * block.norm.weight.numel() * (25 + 9)
    assert work_of(lambda: model(x).logits.sum().backward()).flop == expected


def test_bytes_are_those_read_and_written_and_a_view_has_none():
    a, b = torch.randn(1000), torch.randn(1000)
    assert work_of(lambda: a + b).nbyte == 3 * 4000
    assert work_of(lambda: a.view(10, 100).t()).nbyte == 0
    assert work_of(lambda: a[:1].expand(1000).add(b)).nbyte == 4 + 2 * 4000
