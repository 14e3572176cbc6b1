"""Folds of one stack that differ in stages, lambda, rates and label smoothing."""

import copy

import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.models import DADNet, dad_net_loss, get_microflownext
from dadnet.models.loss import fold_losses
from dadnet.training.stack.adamw import StackedAdamW
from dadnet.training.stack.aligned import AligningFolds, run_teacher
from dadnet.training.stack.network import StackedDADNet
from tests.build.stacks import (
    CLASSES,
    SIZE,
    STEPS,
    assert_near,
    batch,
    directions_of,
    dual,
    flows,
    teacher,
    trainable,
)

# Folds of a stack with different alignment: (stages, lambda, learning rate, weight decay, label
# smoothing). The students are wider than the teacher, so every stage has an adapter. At three times
# its learning rate the third fold, trained alone, amplifies rounding by up to 10^9 in 50 steps.
MIXED = [
    ((2, 3), 0.5, 2e-4, 0.1, 0.05),
    ((), 0.5, 3e-4, 0.0, 0.0),
    ((0,), 0.8, 1e-4, 0.3, 0.2),
    ((0, 3), 0.0, 5e-4, 0.2, 0.1),
    ((2, 3), 0.2, 1e-4, 0.5, 0.05),
]


def mixed_folds(settings=MIXED):
    shared = teacher()
    return [
        dual(f"mixed {k}", shared, "nano", stages, weight)
        for k, (stages, weight, *_) in enumerate(settings)
    ]


def mixed_start():
    """The same as training begins, whose trajectories amplify rounding least."""
    shared = teacher()
    found = []
    for k, (stages, weight, *_) in enumerate(MIXED):
        draws = generator("mixed start", k)
        network = get_microflownext(
            CLASSES, "nano", SIZE, drop_path_rate=0.1, generator=draws
        ).double()
        model = DADNet(network, copy.deepcopy(shared), stages, weight, generator=draws)
        found.append(model.double())
    return found


def mixed_single_optimiser(model, k):
    _, _, rate, decay, _ = MIXED[k]
    return torch.optim.AdamW(trainable(model).values(), lr=rate, weight_decay=decay)


def mixed_single_step(model, optimiser, k, step):
    _, weight, *_, smoothing = MIXED[k]
    x, labels = batch(k, step)
    output = model(x, generator("drop", k, step))
    loss = dad_net_loss(
        output,
        labels,
        alignment_weight=weight,
        label_smoothing=smoothing,
        directions=directions_of(output.student_features, step),
    )
    optimiser.zero_grad(set_to_none=True)
    loss.total.backward()
    optimiser.step()
    return loss


def mixed_optimiser(stack, numbers):
    rates, decays = ([MIXED[k][part] for k in numbers] for part in (2, 3))
    return StackedAdamW(stack.parameters, rates, decays, layouts=stack.layouts)


def mixed_step(stack, optimiser, numbers, step, chosen=None):
    """A step of the folds `numbers`, of which those at the places `chosen` take part."""
    places = range(len(numbers)) if chosen is None else chosen
    active = [numbers[place] for place in places]
    batches = [batch(k, step) for k in active]
    sizes = [len(labels) for _, labels in batches]
    x = torch.nn.utils.rnn.pad_sequence([x for x, _ in batches], batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence([y for _, y in batches], batch_first=True)
    keep = stack.draw_keep(sizes, [generator("drop", k, step) for k in active])
    valid = torch.arange(x.shape[1]) < torch.tensor(sizes)[:, None]
    folds = None if chosen is None else torch.tensor(chosen)
    output = stack(x, keep, valid=valid, folds=folds)
    loss = fold_losses(
        output,
        labels,
        torch.tensor([MIXED[k][1] for k in active], dtype=torch.float64),
        label_smoothing=torch.tensor([MIXED[k][4] for k in active], dtype=torch.float64),
        directions=directions_of(output.student_features, step),
        valid=valid,
    )
    stack.zero_grad()
    loss.total.sum().backward()
    optimiser.step(chosen)
    return loss


def assert_equals_single(stack, optimiser, place, model, single, tolerance=1e-9):
    """Weights, statistics and the optimiser's state under the single fold's own names."""
    wanted = {n: v for n, v in model.state_dict().items() if not n.startswith("teacher.")}
    found = stack.fold_state(place)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert_near(value, wanted[name], tolerance)
    states, own = single.state_dict(), optimiser.fold_state(place)
    assert own["param_groups"][0]["params"] == states["param_groups"][0]["params"]
    assert own["state"].keys() == states["state"].keys()
    for j, state in states["state"].items():
        for part, value in state.items():
            assert_near(own["state"][j][part], value, tolerance)


def test_50_steps_of_folds_of_different_settings_equal_those_of_single_folds():
    models = mixed_start()
    numbers = range(len(models))
    stack = StackedDADNet(models)
    optimiser = mixed_optimiser(stack, numbers)
    unused = {n: v.clone() for n, v in models[3].adapters.state_dict().items()}
    assert unused
    losses = [mixed_step(stack, optimiser, numbers, step) for step in range(STEPS)]
    for k, model in enumerate(models):
        single = mixed_single_optimiser(model, k)
        for step in range(STEPS):
            own = mixed_single_step(model, single, k, step)
            for part in ("total", "cross_entropy", "alignment"):
                assert_near(getattr(losses[step], part)[k], getattr(own, part), 1e-9)
            for stage, value in losses[step].per_stage.items():
                assert_near(value[k], own.per_stage.get(stage, torch.zeros_like(value[k])), 1e-9)
        assert_equals_single(stack, optimiser, k, model, single)
    kept = stack.fold_state(3)  # lambda 0: its adapters are as they were, bit for bit
    assert all(torch.equal(kept[f"adapters.{n}"], value) for n, value in unused.items())


@pytest.mark.parametrize("chosen", [[1], [3, 1], [4, 0], [2, 3], [4, 2, 1, 0], [4, 3, 2, 1, 0]])
def test_some_folds_of_different_settings_may_be_stepped(chosen):
    models = mixed_folds()
    numbers = range(len(models))
    stack = StackedDADNet(models)
    optimiser = mixed_optimiser(stack, numbers)
    single = [mixed_single_optimiser(model, k) for k, model in enumerate(models)]
    for step, part in enumerate((None, chosen, None)):
        mixed_step(stack, optimiser, numbers, step, part)
        for k in numbers if part is None else part:
            mixed_single_step(models[k], single[k], k, step)
    for k in numbers:
        assert_equals_single(stack, optimiser, k, models[k], single[k], 1e-10)


def test_a_fold_moves_between_stacks_of_different_settings():
    """Interrupted in one stack, it goes on from its own states among other neighbours."""
    models = mixed_folds()
    single = [mixed_single_optimiser(model, k) for k, model in enumerate(models)]
    for step in range(2):
        for k, model in enumerate(models):
            mixed_single_step(model, single[k], k, step)
    moved = mixed_folds()
    kept = [mixed_single_optimiser(model, k) for k, model in enumerate(moved)]
    for step, parts in enumerate(([[0, 2, 1], [3, 4]], [[3, 2], [4, 1, 0]])):
        for numbers in parts:
            stack = StackedDADNet([moved[k] for k in numbers])
            optimiser = mixed_optimiser(stack, numbers)
            for place, k in enumerate(numbers):
                optimiser.load_fold_state(place, kept[k].state_dict())
            mixed_step(stack, optimiser, numbers, step)
            for place, k in enumerate(numbers):
                moved[k].load_state_dict(stack.fold_state(place), strict=False)
                kept[k].load_state_dict(optimiser.fold_state(place))
                if step == 1:
                    assert_equals_single(stack, optimiser, place, models[k], single[k], 1e-11)


def test_a_fold_that_breaks_down_does_not_reach_those_that_align_less():
    models = mixed_folds()
    stack = StackedDADNet(models)
    with torch.no_grad():
        stack.parameters["adapters.0.conv.weight"][2] = torch.nan
    loss = mixed_step(stack, mixed_optimiser(stack, range(5)), range(5), 0)
    assert loss.total.isfinite().tolist() == [True, True, False, True, True]
    for name, parameter in stack.parameters.items():
        assert parameter[[0, 1, 3, 4]].isfinite().all(), name


def test_teacher_maps_that_lack_a_stage_are_refused():
    stack = StackedDADNet(mixed_folds()).eval()
    x = flows(5, 2)
    maps = run_teacher(stack.single, x, AligningFolds.of(stack.layouts, None, x.device))
    assert {stage: len(found) for stage, found in maps.items()} == {0: 1, 2: 2, 3: 2}
    assert_near(stack(x, teacher_maps=maps).teacher_features[2], stack(x).teacher_features[2])
    with pytest.raises(DadnetError, match=r"none of \[0\]"):
        stack(x, teacher_maps={2: maps[2], 3: maps[3]})
