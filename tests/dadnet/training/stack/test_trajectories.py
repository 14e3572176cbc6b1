"""Steps of a stack against those of single folds with torch's own AdamW."""

import copy

import pytest
import torch

from dadnet.base.seeding import generator
from dadnet.models import DADNet, get_microflownext
from dadnet.models.loss import fold_losses
from dadnet.training.stack.adamw import StackedAdamW
from dadnet.training.stack.network import StackedDADNet
from tests.build.stacks import (
    CLASSES,
    SIZE,
    SMOOTHING,
    STEPS,
    assert_near,
    batch,
    directions_of,
    flows,
    single_loss,
    teacher,
    trainable,
)

RATES = [1e-4 * (1 + k) for k in range(8)]
DECAYS = [0.1 * k for k in range(8)]
LAMBDAS = [0.2 + 0.3 * k for k in range(8)]


def single_optimiser(model, k):
    return torch.optim.AdamW(trainable(model).values(), lr=RATES[k], weight_decay=DECAYS[k])


def step_single(model, optimiser, k, step, dtype=torch.float64):
    x, labels = batch(k, step, dtype)
    output = model(x, generator("drop", k, step))
    loss = single_loss(output, labels, LAMBDAS[k], step=step)
    optimiser.zero_grad(set_to_none=True)
    loss.total.backward()
    optimiser.step()
    return loss.total.item()


def step_stack(stack, optimiser, folds, step, dtype=torch.float64):
    batches = [batch(k, step, dtype) for k in folds]
    sizes = [len(labels) for _, labels in batches]
    x = torch.nn.utils.rnn.pad_sequence([x for x, _ in batches], batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence([y for _, y in batches], batch_first=True)
    valid = torch.arange(x.shape[1]) < torch.tensor(sizes)[:, None]
    keep = stack.draw_keep(sizes, [generator("drop", k, step) for k in folds])
    output = stack(x, keep, valid=valid)
    loss = fold_losses(
        output,
        labels,
        torch.tensor([LAMBDAS[k] for k in folds], dtype=dtype),
        label_smoothing=SMOOTHING,
        directions=directions_of(output.student_features, step, dtype=dtype),
        valid=valid,
    )
    stack.zero_grad()
    loss.total.sum().backward()
    optimiser.step()
    return loss.total.tolist()


def optimiser_of(stack, folds):
    return StackedAdamW(stack.parameters, [RATES[k] for k in folds], [DECAYS[k] for k in folds])


@pytest.fixture(scope="module")
def start():
    shared = teacher()
    return [
        DADNet(
            get_microflownext(
                CLASSES, "ultralight", SIZE, drop_path_rate=0.1, generator=generator("start", k)
            ).double(),
            copy.deepcopy(shared),
        ).double()
        for k in range(8)
    ]


SINGLE = (0, 3)  # folds that are also trained alone, to compare with


@pytest.fixture(scope="module")
def trained_alone(start):
    found = {}
    for k in SINGLE:
        model = copy.deepcopy(start[k])
        optimiser = single_optimiser(model, k)
        losses = [step_single(model, optimiser, k, step) for step in range(STEPS)]
        found[k] = (model, optimiser, losses)
    return found


@pytest.mark.parametrize(
    "folds", [[3], [0, 3, 5], pytest.param([*range(8)], marks=pytest.mark.slow)]
)
def test_50_steps_of_a_stack_equal_those_of_single_folds(start, trained_alone, folds):
    stack = StackedDADNet([start[k] for k in folds])
    optimiser = optimiser_of(stack, folds)
    losses = [step_stack(stack, optimiser, folds, step) for step in range(STEPS)]
    losses = torch.tensor(losses, dtype=torch.float64)
    for k in set(folds) & set(SINGLE):
        i = folds.index(k)
        model, single, single_losses = trained_alone[k]
        assert_near(losses[:, i], torch.tensor(single_losses, dtype=torch.float64), 1e-9)
        wanted = model.state_dict()
        for name, value in stack.fold_state(i).items():
            assert_near(value, wanted[name], 1e-9)
        states = single.state_dict()["state"]
        found = optimiser.fold_state(i)["state"]
        assert found.keys() == states.keys()
        for j, state in states.items():
            for part, value in state.items():
                assert_near(found[j][part], value, 1e-9)


def test_a_fold_goes_on_in_a_stack_and_out_of_it_again(start, trained_alone):
    cut, again = 3, 6
    model = copy.deepcopy(start[3])
    single = single_optimiser(model, 3)
    for step in range(cut):
        step_single(model, single, 3, step)
    stack = StackedDADNet([start[0], model])
    optimiser = optimiser_of(stack, [0, 1])
    optimiser.load_fold_state(1, single.state_dict())
    for step in range(cut, again):
        step_stack(stack, optimiser, [0, 3], step)
    model.load_state_dict(stack.fold_state(1), strict=False)
    single.load_state_dict(optimiser.fold_state(1))
    losses = [step_single(model, single, 3, step) for step in range(again, 9)]
    wanted = torch.tensor(trained_alone[3][2][again:9], dtype=torch.float64)
    assert_near(torch.tensor(losses, dtype=torch.float64), wanted, 1e-11)


def test_early_float32_steps_agree_to_the_rounding_of_another_order_of_summation(start):
    """Before Adam has amplified it: gradients of order 1 summed over some 10^4 products.

    Three updates later a weight whose gradient is all rounding (a bias before BatchNorm) may have
    moved by the learning rate either way, so it is losses and predictions that are compared.
    """
    folds = [copy.deepcopy(start[k]).float() for k in range(3)]
    stack = StackedDADNet(folds)
    optimiser = optimiser_of(stack, range(3))
    single = [single_optimiser(model, k) for k, model in enumerate(folds)]
    for step in range(3):
        together = step_stack(stack, optimiser, range(3), step, torch.float32)
        alone = [
            step_single(model, single[k], k, step, torch.float32) for k, model in enumerate(folds)
        ]
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    x = flows(3, 6, dtype=torch.float32)
    with torch.no_grad():
        found = stack.eval()(x).logits.softmax(2)
        wanted = torch.stack(
            [m.eval()(own).logits.softmax(1) for m, own in zip(folds, x, strict=True)]
        )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
    assert torch.equal(found.argmax(2), wanted.argmax(2))


def test_the_optimiser_steps_only_the_folds_named():
    weights = {"a": torch.ones(3, 2, dtype=torch.float64, requires_grad=True)}
    optimiser = StackedAdamW(weights, [0.1, 0.2, 0.3], [0.0, 0.5, 0.0])
    weights["a"].grad = torch.ones(3, 2, dtype=torch.float64)
    optimiser.step([1])
    torch.testing.assert_close(weights["a"].detach()[:, 0].tolist(), [1.0, 0.7, 1.0])
    assert optimiser.fold_state(0)["state"] == {}
    assert optimiser.fold_state(1)["state"][0]["step"] == 1
