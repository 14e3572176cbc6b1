"""Whether the engine computes on this device what float64 computes on the CPU.

Every check draws fresh clips: a right answer for one input may be luck.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.fold_step import teacher
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig, Precision
from dadnet.flow.normalisation import normalise
from dadnet.folds.view import FoldView
from dadnet.models import dad_net_loss, draw_directions
from dadnet.training.fold_stack import FoldStack
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.graph import Capture

# Of the relative error, see `_error`. float32 has 24 bits and sums thousands of terms; tf32 and
# bf16 keep 10 and 8 bits of every operand.
TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "tf32": 2e-2, "bf16": 2e-1}


def random_view(config: ExperimentConfig, clips: int, seed: int, device: torch.device) -> FoldView:
    """A fold of noise of this seed; a fifth of the clips is for validation."""
    size, draws = config.model.input_size, torch.Generator().manual_seed(seed)
    flows = torch.randn(clips, 2, size, size, generator=draws).half().to(device)
    labels = torch.randint(3, (clips,), generator=draws).to(device)
    rows, fit = torch.arange(clips), clips - clips // 5
    return FoldView("f0", flows, labels, rows[:fit], rows[fit:], 3, f"noise-{seed}-{clips}-{size}")


def folds_of(
    config: ExperimentConfig, view: FoldView, names: Iterable[str], device: torch.device
) -> list[OneFold]:
    """Folds of these names in training on these clips; each draws and shuffles for itself."""
    frozen = teacher(config.model.input_size)
    made = [OneFold(config, replace(view, name=name), frozen, device) for name in names]
    for fold in made:
        _off_the_kinks(fold)
    return made


@torch.no_grad()
def _off_the_kinks(fold: OneFold) -> None:
    """Turn each fold's view a little.

    The spatial transformer begins with the identity, whose sampling points lie on pixel centres:
    bilinear sampling has no derivative there, and rounding decides which side it takes.
    """
    draws = torch.Generator().manual_seed(3)
    bias = fold.model.get_parameter("student.fc_loc.2.bias")
    bias += 0.05 * torch.randn(bias.shape, generator=draws).to(bias.device)


def numbered(number: int) -> list[str]:
    """Names of that many folds."""
    return [f"f{k}" for k in range(number)]


def exact_gradient(config: ExperimentConfig, view: FoldView) -> dict[str, Tensor]:
    """Gradient of the first step of a fold, float64, by the definition: no stack, no cache."""
    config = replace(config, optim=replace(config.optim, precision="float32"))
    [fold] = folds_of(config, view, [view.name], torch.device("cpu"))
    rows = fold.batches()[0]
    drawn = fold.augment.draw(len(rows), generator("augment", config.seed, view.name, 0))
    # The clips are augmented in float32, as the definition of an experiment has it.
    flows = normalise(fold.augment.apply(view.flows[rows].float(), drawn)).double()
    model = fold.model.double().train()
    output = model(flows, generator("drop-path", config.seed, view.name, 0))
    directions = {
        stage: draw_directions(
            config.loss.num_projections,
            maps.shape[1],
            generator=generator("directions", config.seed, 0, stage),
        ).double()
        for stage, maps in output.student_features.items()
    }
    loss = dad_net_loss(
        output,
        view.labels[rows],
        alignment_weight=config.loss.alignment_weight,
        label_smoothing=config.loss.label_smoothing,
        directions=directions,
    )
    loss.total.backward()  # type: ignore[no-untyped-call]
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def check_gradients(
    config: ExperimentConfig, number: int, device: torch.device, seed: int, capture: bool
) -> dict[str, Any]:
    """The first step of some folds of a stack against float64.

    The gradient is read from AdamW's first moment, which is a tenth of it after one step: that is
    what a captured step leaves behind too. A step that writes nothing has an error of 1.
    """
    batch = config.optim.batch_size
    view = random_view(config, batch, seed, torch.device("cpu"))
    view = replace(view, fit=torch.arange(batch), val=torch.arange(0))
    on_device = replace(view, flows=view.flows.to(device), labels=view.labels.to(device))
    folds, refusals = folds_of(config, on_device, numbered(number), device), list[str]()
    stack = FoldStack(folds, Capture(refusals.append, forced=True) if capture else None)
    stack.train_epoch()
    errors = []
    for k in sorted({0, number // 2, number - 1}):
        exact = exact_gradient(config, replace(view, name=f"f{k}"))
        errors.append(_error(_gradient(folds[k]), exact))
    worst, allowed = max(errors), TOLERANCE[config.optim.precision]
    return {
        "check": "gradient",
        "k": number,
        "input_size": config.model.input_size,
        "precision": config.optim.precision,
        "captured": capture and not refusals,
        "error": worst,
        "allowed": allowed,
        "ok": worst <= allowed and not refusals,  # false for NaN
        "note": "; ".join(refusals),
    }


def _gradient(fold: OneFold) -> dict[str, Tensor]:
    """The gradient of a fold's first step, by the name of the parameter."""
    names = [name for name, p in fold.model.named_parameters() if p.requires_grad]
    moments = fold.state()["optimiser"]["state"]
    factor = 1 - fold.optimiser.defaults["betas"][0]
    unwritten = {"exp_avg": torch.zeros(())}
    return {
        name: moments.get(i, unwritten)["exp_avg"].double().cpu() / factor
        for i, name in enumerate(names)
    }


def _error(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """The largest relative error of a gradient over its parameters.

    Gradients of less than a thousandth of the whole one's norm are taken as of that size: those of
    a bias before a BatchNorm are 0 but for rounding.
    """
    smallest = 1e-3 * math.sqrt(sum(float(grad.square().sum()) for grad in exact.values()))
    errors = [
        float((found[name] - expected).norm()) / max(float(expected.norm()), smallest)
        for name, expected in exact.items()
    ]
    return math.nan if any(map(math.isnan, errors)) else max(errors)


def check_resume(
    config: ExperimentConfig, number: int, device: torch.device, capture: bool
) -> dict[str, Any]:
    """Four epochs at once against two, a state, and two more; val probabilities compared."""
    view = random_view(config, 5 * config.optim.batch_size, 77, device)
    refusals = list[str]()

    def trained(folds: list[OneFold], epochs: int) -> list[Any]:
        stack = FoldStack(folds, Capture(refusals.append, forced=True) if capture else None)
        for _ in range(epochs):
            stack.train_epoch()
        return stack.val_probabilities()

    straight = trained(folds_of(config, view, numbered(number), device), 4)
    before = folds_of(config, view, numbered(number), device)
    trained(before, 2)
    after = folds_of(config, view, numbered(number), device)
    for fold, old in zip(after, before, strict=True):
        fold.load_state(old.state())
    resumed = trained(after, 2)
    apart = max(float(np.abs(a - b).max()) for a, b in zip(straight, resumed, strict=True))
    return {
        "check": "resume",
        "k": number,
        "input_size": config.model.input_size,
        "precision": config.optim.precision,
        "captured": capture and not refusals,
        "error": apart,
        "allowed": 0.0,
        "ok": apart == 0.0 and not refusals,
        "note": "; ".join(refusals),
    }
