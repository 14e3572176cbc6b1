import copy

import pytest
import torch
import torch.nn.functional as F

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.models import (
    DADNet,
    classification_loss,
    dad_net_loss,
    draw_directions,
    get_microflownext,
)
from dadnet.models.loss import fold_losses
from dadnet.training.stack.adamw import StackedAdamW
from dadnet.training.stack.aligned import AligningFolds, run_teacher
from dadnet.training.stack.network import StackedDADNet

SIZE, CLASSES, SMOOTHING = 32, 3, 0.05


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def lone_loss(output, labels, weight, form="tokens", step=0):
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


VARIANTS = {
    "tokens": {},
    "pooled": {"head": "pooled"},
    "linear, no STN": {"head": "linear", "use_stn": False},
    "similarity, no channel attention": {
        "flow_correction": "similarity",
        "channel_attention": False,
    },
    "deep, no drop path": {"size": "tiny", "drop_path_rate": 0.0},
    "adapters": {"size": "nano", "stages": (0, 1, 3)},
    "baseline": {"alone": True},
}


def build(variant, folds):
    settings = dict(VARIANTS[variant])
    if settings.pop("alone", False):
        return [student(k, **settings) for k in range(folds)]
    shared = teacher()
    return [dual(k, shared, **settings) for k in range(folds)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mode", ["training", "padded training", "evaluation"])
def test_outputs_gradients_and_statistics_equal_every_members_own(variant, mode):
    training = mode != "evaluation"
    sizes = [2, 3] if mode == "padded training" else [3, 3]
    folds = [m.train(training) for m in build(variant, 2)]
    stack = StackedDADNet(folds)
    x = flows(2, 3)
    labels = torch.tensor([[0, 2, 1], [1, 1, 0]])
    keep = None
    if training:
        keep = stack.draw_keep(sizes, [generator("drop", k) for k in range(2)])
    valid = None if sizes == [3, 3] else torch.arange(3) < torch.tensor(sizes)[:, None]
    weights = torch.tensor([0.3, 1.7], dtype=torch.float64)

    output = stack(x, keep, valid=valid)
    form = "flat" if variant == "pooled" else "tokens"
    loss = fold_losses(
        output,
        labels,
        weights,
        label_smoothing=SMOOTHING,
        directions=directions_of(output.student_features, form=form),
        form=form,
        valid=valid,
    )
    loss.total.sum().backward()

    for k, (fold, size) in enumerate(zip(folds, sizes, strict=True)):
        own_keep = fold_keep(fold, size, k) if training else None
        own = fold(x[k, :size], keep=own_keep)
        own_loss = lone_loss(own, labels[k, :size], weights[k], form)
        own_loss.total.backward()
        assert_near(output.logits[k, :size], own.logits)
        assert_near(output.pooled[k, :size], own.pooled)
        assert (output.theta is None) == (own.theta is None)
        if own.theta is not None:
            assert_near(output.theta[k, :size], own.theta)
        for kind in ("student_features", "teacher_features"):
            maps, own_maps = getattr(output, kind), getattr(own, kind, {})
            assert maps.keys() == own_maps.keys()
            for stage, feature in own_maps.items():
                assert_near(maps[stage][k, :size], feature)
        for part in ("total", "cross_entropy", "alignment"):
            assert_near(getattr(loss, part)[k], getattr(own_loss, part))
        assert loss.per_stage.keys() == own_loss.per_stage.keys()
        names = stack.layouts[k].names
        for name, parameter in trainable(fold).items():
            assert_near(stack.parameters[names[name]].grad[k], parameter.grad)
        for name, buffer in fold.named_buffers():
            if not name.startswith("teacher."):
                assert_near(stack.buffers[names[name]][k], buffer)


def fold_keep(fold, size, k):
    network = fold.student if isinstance(fold, DADNet) else fold
    return network.draw_keep(size, generator("drop", k))


def test_what_stands_in_the_padding_changes_nothing():
    stack = StackedDADNet(build("adapters", 2))
    x = flows(2, 3)
    valid = torch.tensor([[True, True, False], [True, True, True]])
    keep = stack.draw_keep([2, 3], [generator("drop", k) for k in range(2)])
    found = []
    for padding in (0.0, 7.0):
        x[0, 2] = padding
        stack.zero_grad()
        output = stack(x, keep, valid=valid)
        loss = fold_losses(
            output,
            torch.zeros(2, 3, dtype=torch.int64),
            torch.ones(2),
            directions=directions_of(output.student_features),
            valid=valid,
        )
        loss.total.sum().backward()
        found.append([loss.total, *(p.grad for p in stack.parameters.values())])
    for one, other in zip(*found, strict=True):
        assert_near(one, other, 1e-13)


def test_members_not_chosen_have_no_gradient_and_keep_their_statistics():
    stack = StackedDADNet(build("tokens", 3))
    x = flows(3, 2)
    keep = torch.ones(3, 4, 2)
    before = {name: buffer.clone() for name, buffer in stack.buffers.items()}
    some = stack(x[[2, 0]], keep[:2], folds=torch.tensor([2, 0])).logits
    some.sum().backward()
    for name, parameter in stack.parameters.items():
        assert (parameter.grad is None) or not parameter.grad[1].any(), name
    for name, buffer in stack.buffers.items():
        assert torch.equal(buffer[1], before[name][1])
        assert not torch.equal(buffer[0], before[name][0])
    assert_near(some, stack(x, keep).logits[[2, 0]])


# Trajectories: lone folds as `dadnet.training.loop` steps them, with torch's own AdamW.

STEPS = 50
RATES = [1e-4 * (1 + k) for k in range(8)]
DECAYS = [0.1 * k for k in range(8)]
LAMBDAS = [0.2 + 0.3 * k for k in range(8)]


def batch(k, step, dtype=torch.float64):
    """The fold's own clips and labels; sizes differ, as `tensor_split` leaves them.

    The flows are smooth, as flows are: on white noise a resampling makes training itself chaotic.
    """
    size = 2 + (k + step) % 2
    draws = generator("batch", k, step)
    coarse = torch.randn(size, 2, 5, 5, generator=draws, dtype=torch.float64)
    x = F.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=True).to(dtype)
    return x, torch.randint(CLASSES, (size,), generator=draws)


def lone_optimiser(model, k):
    return torch.optim.AdamW(trainable(model).values(), lr=RATES[k], weight_decay=DECAYS[k])


def step_lone(model, optimiser, k, step, dtype=torch.float64):
    x, labels = batch(k, step, dtype)
    output = model(x, generator("drop", k, step))
    loss = lone_loss(output, labels, LAMBDAS[k], step=step)
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
                CLASSES, "ultralight", SIZE, generator=generator("start", k)
            ).double(),
            copy.deepcopy(shared),
        ).double()
        for k in range(8)
    ]


LONE = (0, 3)  # folds that are also trained alone, to compare with


@pytest.fixture(scope="module")
def trained_alone(start):
    found = {}
    for k in LONE:
        model = copy.deepcopy(start[k])
        optimiser = lone_optimiser(model, k)
        losses = [step_lone(model, optimiser, k, step) for step in range(STEPS)]
        found[k] = (model, optimiser, losses)
    return found


@pytest.mark.parametrize(
    "folds", [[3], [0, 3, 5], pytest.param([*range(8)], marks=pytest.mark.slow)]
)
def test_50_steps_of_a_stack_equal_those_of_lone_folds(start, trained_alone, folds):
    stack = StackedDADNet([start[k] for k in folds])
    optimiser = optimiser_of(stack, folds)
    losses = [step_stack(stack, optimiser, folds, step) for step in range(STEPS)]
    losses = torch.tensor(losses, dtype=torch.float64)
    for k in set(folds) & set(LONE):
        i = folds.index(k)
        model, lone, lone_losses = trained_alone[k]
        assert_near(losses[:, i], torch.tensor(lone_losses, dtype=torch.float64), 1e-9)
        wanted = model.state_dict()
        for name, value in stack.fold_state(i).items():
            assert_near(value, wanted[name], 1e-9)
        states = lone.state_dict()["state"]
        found = optimiser.fold_state(i)["state"]
        assert found.keys() == states.keys()
        for j, state in states.items():
            for part, value in state.items():
                assert_near(found[j][part], value, 1e-9)


# Folds of a stack that align what they like: (stages, lambda, learning rate, weight decay, label
# smoothing). The students are wider than the teacher, so every stage has an adapter. At three times
# its rate the third multiplies one unit of rounding in its lone weights by up to 10^9 in 50 steps.
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
        network = get_microflownext(CLASSES, "nano", SIZE, generator=draws).double()
        model = DADNet(network, copy.deepcopy(shared), stages, weight, generator=draws)
        found.append(model.double())
    return found


def mixed_lone_optimiser(model, k):
    _, _, rate, decay, _ = MIXED[k]
    return torch.optim.AdamW(trainable(model).values(), lr=rate, weight_decay=decay)


def mixed_lone_step(model, optimiser, k, step):
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


def assert_equals_lone(stack, optimiser, place, model, lone, tolerance=1e-9):
    """Weights, statistics and the optimiser's state under the lone fold's own names."""
    wanted = {n: v for n, v in model.state_dict().items() if not n.startswith("teacher.")}
    found = stack.fold_state(place)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert_near(value, wanted[name], tolerance)
    states, own = lone.state_dict(), optimiser.fold_state(place)
    assert own["param_groups"][0]["params"] == states["param_groups"][0]["params"]
    assert own["state"].keys() == states["state"].keys()
    for j, state in states["state"].items():
        for part, value in state.items():
            assert_near(own["state"][j][part], value, tolerance)


def test_50_steps_of_folds_of_different_settings_equal_those_of_lone_folds():
    models = mixed_start()
    numbers = range(len(models))
    stack = StackedDADNet(models)
    optimiser = mixed_optimiser(stack, numbers)
    unused = {n: v.clone() for n, v in models[3].adapters.state_dict().items()}
    assert unused
    losses = [mixed_step(stack, optimiser, numbers, step) for step in range(STEPS)]
    for k, model in enumerate(models):
        lone = mixed_lone_optimiser(model, k)
        for step in range(STEPS):
            own = mixed_lone_step(model, lone, k, step)
            for part in ("total", "cross_entropy", "alignment"):
                assert_near(getattr(losses[step], part)[k], getattr(own, part), 1e-9)
            for stage, value in losses[step].per_stage.items():
                assert_near(value[k], own.per_stage.get(stage, torch.zeros_like(value[k])), 1e-9)
        assert_equals_lone(stack, optimiser, k, model, lone)
    kept = stack.fold_state(3)  # lambda 0: its adapters are as they were, bit for bit
    assert all(torch.equal(kept[f"adapters.{n}"], value) for n, value in unused.items())


@pytest.mark.parametrize("chosen", [[1], [3, 1], [4, 0], [2, 3], [4, 2, 1, 0], [4, 3, 2, 1, 0]])
def test_some_folds_of_different_settings_may_be_stepped(chosen):
    models = mixed_folds()
    numbers = range(len(models))
    stack = StackedDADNet(models)
    optimiser = mixed_optimiser(stack, numbers)
    lone = [mixed_lone_optimiser(model, k) for k, model in enumerate(models)]
    for step, part in enumerate((None, chosen, None)):
        mixed_step(stack, optimiser, numbers, step, part)
        for k in numbers if part is None else part:
            mixed_lone_step(models[k], lone[k], k, step)
    for k in numbers:
        assert_equals_lone(stack, optimiser, k, models[k], lone[k], 1e-10)


def test_a_fold_moves_between_stacks_of_different_settings():
    """Interrupted in one stack, it goes on from its own states among other neighbours."""
    models = mixed_folds()
    lone = [mixed_lone_optimiser(model, k) for k, model in enumerate(models)]
    for step in range(2):
        for k, model in enumerate(models):
            mixed_lone_step(model, lone[k], k, step)
    moved = mixed_folds()
    kept = [mixed_lone_optimiser(model, k) for k, model in enumerate(moved)]
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
                    assert_equals_lone(stack, optimiser, place, models[k], lone[k], 1e-11)


def test_a_member_that_breaks_down_does_not_reach_those_that_align_less():
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


def test_a_fold_goes_on_in_a_stack_and_out_of_it_again(start, trained_alone):
    cut, again = 3, 6
    model = copy.deepcopy(start[3])
    lone = lone_optimiser(model, 3)
    for step in range(cut):
        step_lone(model, lone, 3, step)
    stack = StackedDADNet([start[0], model])
    optimiser = optimiser_of(stack, [0, 1])
    optimiser.load_fold_state(1, lone.state_dict())
    for step in range(cut, again):
        step_stack(stack, optimiser, [0, 3], step)
    model.load_state_dict(stack.fold_state(1), strict=False)
    lone.load_state_dict(optimiser.fold_state(1))
    losses = [step_lone(model, lone, 3, step) for step in range(again, 9)]
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
    lone = [lone_optimiser(model, k) for k, model in enumerate(folds)]
    for step in range(3):
        together = step_stack(stack, optimiser, range(3), step, torch.float32)
        alone = [step_lone(model, lone[k], k, step, torch.float32) for k, model in enumerate(folds)]
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    x = flows(3, 6, dtype=torch.float32)
    with torch.no_grad():
        found = stack.eval()(x).logits.softmax(2)
        wanted = torch.stack(
            [m.eval()(own).logits.softmax(1) for m, own in zip(folds, x, strict=True)]
        )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
    assert torch.equal(found.argmax(2), wanted.argmax(2))


def test_states_come_back_bit_for_bit():
    folds = build("adapters", 3)
    stack = StackedDADNet(folds)
    for k, fold in enumerate(folds):
        own = {n: v for n, v in fold.state_dict().items() if not n.startswith("teacher.")}
        state = stack.fold_state(k)
        assert state.keys() == own.keys()
        assert all(torch.equal(state[n], own[n]) for n in own)


def test_the_optimiser_steps_only_the_members_named():
    weights = {"a": torch.ones(3, 2, dtype=torch.float64, requires_grad=True)}
    optimiser = StackedAdamW(weights, [0.1, 0.2, 0.3], [0.0, 0.5, 0.0])
    weights["a"].grad = torch.ones(3, 2, dtype=torch.float64)
    optimiser.step([1])
    torch.testing.assert_close(weights["a"].detach()[:, 0].tolist(), [1.0, 0.7, 1.0])
    assert optimiser.fold_state(0)["state"] == {}
    assert optimiser.fold_state(1)["state"][0]["step"] == 1


def test_members_that_differ_in_more_than_weights_are_refused():
    one, other = dual(0, teacher()), dual(1, student("another teacher"))
    with pytest.raises(DadnetError, match="one teacher"):
        StackedDADNet([one, other])
    with pytest.raises(DadnetError, match="folds alike"):
        StackedDADNet([student(0), student(1, head="linear")])
    with pytest.raises(DadnetError, match="at least one"):
        StackedDADNet([])


def test_wrong_shapes_and_missing_draws_are_refused():
    stack = StackedDADNet([student(0), student(1)])
    with pytest.raises(DadnetError, match=r"shape \(2, B, 2, 32, 32\)"):
        stack(flows(3, 1))
    with pytest.raises(DadnetError, match="draws at random"):
        stack(flows(2, 1))
