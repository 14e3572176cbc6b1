import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.models import DADNet
from dadnet.models.loss import fold_losses
from dadnet.training.stack.network import StackedDADNet
from tests.build.stacks import (
    SMOOTHING,
    assert_near,
    directions_of,
    dual,
    flows,
    single_loss,
    student,
    teacher,
    trainable,
)

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
def test_outputs_gradients_and_statistics_equal_those_of_single_networks(variant, mode):
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
        own_loss = single_loss(own, labels[k, :size], weights[k], form)
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


def test_folds_not_chosen_have_no_gradient_and_keep_their_statistics():
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


def test_states_come_back_bit_for_bit():
    folds = build("adapters", 3)
    stack = StackedDADNet(folds)
    for k, fold in enumerate(folds):
        own = {n: v for n, v in fold.state_dict().items() if not n.startswith("teacher.")}
        state = stack.fold_state(k)
        assert state.keys() == own.keys()
        assert all(torch.equal(state[n], own[n]) for n in own)


def test_folds_that_differ_in_more_than_weights_are_refused():
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
