"""Networks with shaken weights, their flows, draws and losses, single and for stacks."""

import copy

import torch
import torch.nn.functional as F

from dadnet.base.seeding import generator
from dadnet.models import (
    DADNet,
    classification_loss,
    dad_net_loss,
    draw_directions,
    get_microflownext,
)

SIZE, CLASSES, SMOOTHING = 32, 3, 0.05
STEPS = 50


def shaken(model, draws):
    """Weights off their symmetric start: norms, biases and statistics that a mix-up would show."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=draws).to(tensor))
                tensor.add_(0.02 * torch.randn(tensor.shape, generator=draws).to(tensor).abs())
    return model


def student(seed, size="ultralight", **switches):
    draws = generator("test", seed)
    switches = {"drop_path_rate": 0.1, **switches}
    network = get_microflownext(CLASSES, size, SIZE, generator=draws, **switches)
    return shaken(network.double(), draws)


def teacher():
    return student("teacher").eval()


def dual(seed, teacher_network, size="ultralight", stages=(2, 3), weight=0.5, **switches):
    draws = generator("dual", seed)
    model = DADNet(
        student(seed, size, **switches),
        copy.deepcopy(teacher_network),
        stages,
        weight,
        generator=draws,
    ).double()
    shaken(model.adapters, draws)
    return model


def flows(folds, clips, seed=0, dtype=torch.float64):
    draws = generator("flows", seed)
    return torch.randn(folds, clips, 2, SIZE, SIZE, generator=draws, dtype=torch.float64).to(dtype)


def directions_of(features, step=0, form="tokens", dtype=torch.float64):
    return {
        stage: draw_directions(
            9,
            feature.shape[-3] if form == "tokens" else feature.shape[-3:].numel(),
            generator("directions", step, stage),
            dtype=dtype,
        )
        for stage, feature in features.items()
    }


def single_loss(output, labels, weight, form="tokens", step=0):
    if not getattr(output, "teacher_features", None):
        return classification_loss(output.logits, labels, SMOOTHING)
    return dad_net_loss(
        output,
        labels,
        alignment_weight=weight,
        label_smoothing=SMOOTHING,
        directions=directions_of(output.student_features, step, form, output.logits.dtype),
        form=form,
    )


def assert_near(found, wanted, tolerance=1e-12):
    """Relative to the largest entry; absolute below 1."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= tolerance * max(1.0, wanted.abs().max())


def trainable(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def batch(k, step, dtype=torch.float64):
    """The fold's own clips and labels; sizes differ, as `tensor_split` leaves them.

    The flows are smooth, as flows are: on white noise a resampling makes training itself chaotic.
    """
    size = 2 + (k + step) % 2
    draws = generator("batch", k, step)
    coarse = torch.randn(size, 2, 5, 5, generator=draws, dtype=torch.float64)
    x = F.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=True).to(dtype)
    return x, torch.randint(CLASSES, (size,), generator=draws)
