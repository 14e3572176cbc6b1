"""What a step costs an accelerator, counted on torch's `meta` device: shapes without numbers."""

import pytest
import torch

from dadnet.config.experiment import ExperimentConfig, LossConfig, ModelConfig, OptimConfig
from dadnet.folds.view import FoldView
from dadnet.training.kinds import new_fold, new_stack
from dadnet.training.stack.graph import CapturedStep
from tests.build.devices import META, Count
from tests.build.graphs import RecordingGraphs
from tests.build.models import make_teacher

FOLDS = (1, 4, 16, 64)


@pytest.fixture(scope="module")
def stacks():
    return {number: make_stack(number) for number in FOLDS}


def make_stack(number, model="dad_net", augmentation="hflip"):
    size = 28 if model == "ststnet" else 32
    made = ExperimentConfig(
        model=ModelConfig(
            model_type=model, micro_size="nano", macro_size="ultralight", input_size=size
        ),
        loss=LossConfig(alignment_stages=(2, 3), num_projections=8),
        optim=OptimConfig(batch_size=8, augmentation=augmentation),
    )
    rows, teacher = torch.arange(64), make_teacher() if model == "dad_net" else None
    flows = torch.empty(64, 2, size, size, dtype=torch.half, device=META)
    views = [
        FoldView(f"f{k}", flows, rows % 3, rows[: 48 - 2 * (k % 3 == 1)], rows[48:60], 3, "x")
        for k in range(number)
    ]
    stack = new_stack([new_fold(made, view, teacher, META) for view in views])
    assert stack is not None
    return stack


def step_of(stack):
    """The work of a second step, whose first has filled the caches."""
    stack.stack.train()
    epoch = stack.drawer.draw([fold.batches() for fold in stack.folds])
    stack.run(epoch.step(0), epoch.sizes[0])
    with Count() as count:
        stack.run(epoch.step(1), epoch.sizes[1])
    return count


def test_a_step_has_the_same_operations_for_any_number_of_folds_and_no_copy(stacks):
    counts = {number: step_of(stack) for number, stack in stacks.items()}
    assert all(not count.copies for count in counts.values())
    assert counts[4].operations == counts[16].operations == counts[64].operations
    assert counts[1].operations <= counts[4].operations <= 750


def test_a_validation_has_the_same_operations_for_any_number_of_folds_and_one_copy(stacks):
    found = {}
    for number, stack in stacks.items():
        with Count() as count:
            stack.val_probabilities()
        assert sum(count.copies.values()) == 1
        found[number] = count.operations
    assert found[4] == found[16] == found[64]


def test_an_epoch_has_at_most_four_copies(stacks):
    for number, stack in stacks.items():
        for _ in range(2):
            with Count() as count:
                stack.train_epoch()
                for fold, probabilities in zip(stack.folds, stack.val_probabilities(), strict=True):
                    fold.validate(probabilities)
                stack.select()
        assert sum(count.copies.values()) <= 4, (number, count.copies)


@pytest.mark.parametrize("augmentation", ["none", "reference-v1"])
def test_no_augmentation_needs_a_copy_in_a_step(augmentation):
    assert not step_of(make_stack(4, augmentation=augmentation)).copies


def test_a_stack_of_a_baseline_has_the_same_operations_for_any_number_of_folds():
    counts = {number: step_of(make_stack(number, "ststnet")) for number in (4, 16)}
    assert counts[4].operations == counts[16].operations
    assert not counts[4].copies


def test_a_replayed_step_is_a_few_copies_of_inputs_on_the_device(stacks):
    stack = stacks[16]
    stack.stack.train()
    epoch = stack.drawer.draw([fold.batches() for fold in stack.folds])
    graphs = RecordingGraphs()
    captured = CapturedStep(lambda x: stack._run(x, epoch.sizes[0]), epoch.step(0), graphs)
    captured._replay = lambda: None
    with Count() as count:
        captured(epoch.step(1))
    assert count.operations <= 20
    assert not count.copies
