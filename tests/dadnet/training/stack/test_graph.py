"""The life of a captured step: capture, compare, fall back, capture again, finish, join."""

import re

import numpy as np
import pytest
import torch

from dadnet.config.experiment import OptimConfig
from dadnet.training.fold_stack import FoldStack
from dadnet.training.loop import FoldTask, train_folds
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.graph import Capture
from tests.build.graphs import RecordingGraphs
from tests.build.models import CPU, config, make_teacher, views
from tests.build.training import unequal_folds


def short(**optim):
    return config(
        optim=OptimConfig(
            **{"epochs": 3, "batch_size": 8, "lr": 1e-3, "augmentation": "hflip", **optim}
        )
    )


def trained(made, stack, capture, slots=None):
    tasks = iter([FoldTask(made, view) for view in stack])
    found = train_folds(
        lambda: next(tasks, None),
        slots or len(stack),
        teacher=make_teacher(),
        device=CPU,
        capture=capture,
    )
    return {outcome.name: outcome for outcome in found}


def eager():
    capture = Capture(pytest.fail, RecordingGraphs())
    capture.refused = True
    return capture


# BatchNorm cancels these: the gradient of such a bias is rounding alone, which Adam makes as large
# as any other, and the running mean moves with the bias.
CANCELLED = re.compile(r"localization\.([04]\.bias|[15]\.running_mean)$")


def assert_alike(found, wanted):
    """Equal up to rounding, since kernels of a CPU round by where their numbers lie."""
    assert found.keys() == wanted.keys()
    for name, one in found.items():
        assert one.epochs_run == wanted[name].epochs_run
        for curve in ("train_loss", "alignment", "val_log_loss", "learning_rate"):
            np.testing.assert_allclose(one.curves[curve], wanted[name].curves[curve], rtol=1e-5)
        weights = wanted[name].model.state_dict()
        for part, value in one.model.state_dict().items():
            if not CANCELLED.search(part):
                torch.testing.assert_close(value, weights[part], rtol=1e-5, atol=1e-5)


def test_a_captured_step_is_compared_and_then_replayed_for_every_step(dataset):
    made, graphs = short(), RecordingGraphs()
    stack = unequal_folds(dataset, made, 3)
    found = trained(made, stack, Capture(pytest.fail, graphs, forced=True))
    assert_alike(found, trained(made, stack, eager()))
    assert graphs.events[:5] == ["warm up"] * 3 + ["capture", "replay"]
    assert graphs.events.count("capture") == 1
    steps = 3 * max(-(-len(view.fit) // 8) for view in stack)
    assert graphs.events[::-1].index("wait") == steps


def test_folds_that_finish_and_join_are_captured_again_and_not_compared_again(dataset):
    made, graphs = short(epochs=6, patience=2), RecordingGraphs()
    stack = views(dataset, made)
    found = trained(made, stack, Capture(pytest.fail, graphs, forced=True), slots=2)
    assert_alike(found, trained(made, stack, eager(), slots=2))
    assert graphs.events.count("capture") > 1
    second = graphs.events.index("capture", graphs.events.index("capture") + 1)
    assert "wait" not in graphs.events[second:]


def test_a_step_that_cannot_be_captured_stays_eager_and_one_line_says_why(dataset):
    made, graphs, lines = short(), RecordingGraphs(), []
    graphs.fail = RuntimeError("not permitted")
    stack = views(dataset, made)[:2]
    found = trained(made, stack, Capture(lines.append, graphs))
    assert_alike(found, trained(made, stack, eager()))
    assert lines == ["graph: steps are not captured: not permitted"]


def test_a_graph_of_one_fold_without_room_is_not_used(dataset):
    made, graphs, lines = short(), RecordingGraphs(), []
    graphs.fail = torch.OutOfMemoryError("full")
    [view, *_] = views(dataset, made)
    fold = OneFold(made, view, make_teacher(), CPU)
    FoldStack([fold], Capture(lines.append, graphs)).train_epoch()
    assert lines == ["graph: steps are not captured: full"]


def test_a_graph_of_several_folds_without_room_is_out_of_memory(dataset):
    made, graphs = short(), RecordingGraphs()
    graphs.fail = torch.OutOfMemoryError("full")
    with pytest.raises(torch.OutOfMemoryError):
        trained(made, views(dataset, made)[:2], Capture(pytest.fail, graphs))


def test_a_step_that_replays_to_other_numbers_is_not_used(dataset):
    made, graphs, lines = short(), RecordingGraphs(), []
    graphs.wrong = True
    stack = views(dataset, made)[:2]
    found = trained(made, stack, Capture(lines.append, graphs, forced=True))
    assert_alike(found, trained(made, stack, eager()))
    assert len(lines) == 1
    assert "expected the eager step's numbers" in lines[0]


def test_a_slower_captured_step_is_not_used_unless_it_is_asked_for(dataset, monkeypatch):
    made, stack = short(epochs=1, warmup_epochs=0), views(dataset, config())[:2]
    for forced in (False, True):
        graphs, lines, seconds = RecordingGraphs(), [], iter([1.0, 2.0])
        capture = Capture(lines.append, graphs, forced=forced)
        monkeypatch.setattr(capture, "_seconds", lambda _, left=seconds: next(left))
        trained(made, stack, capture)
        assert lines == (
            []
            if forced
            else ["graph: steps are not captured: it takes 2000.00 ms, an eager step 1000.00 ms"]
        )


def test_a_fold_without_a_batch_makes_no_step_and_the_others_step_as_without_it(dataset):
    made, teacher = short(warmup_epochs=0), make_teacher()
    stacks = [
        FoldStack([OneFold(made, view, teacher, CPU) for view in views(dataset, made)[:2]], capture)
        for capture in (eager(), None)
    ]
    for stack in stacks:
        rows, others = (fold.view.fit[:6] for fold in stack.folds)
        stack.stack.train()
        stack.training_step([0, 1], [rows, others])
        before = stack.stack.fold_state(1)
        stack.training_step([0], [rows])
        after = stack.stack.fold_state(1)
        assert all(torch.equal(before[name], after[name]) for name in before)
        states = [stack.optimiser.fold_state(k)["state"] for k in (0, 1)]
        assert [float(state[0]["step"]) for state in states] == [2, 1]
    masked, chosen = (stack.optimiser.fold_state(0)["state"] for stack in stacks)
    assert masked.keys() == chosen.keys()
    for i in masked:
        torch.testing.assert_close(masked[i]["exp_avg"], chosen[i]["exp_avg"], rtol=1e-3, atol=1e-5)
