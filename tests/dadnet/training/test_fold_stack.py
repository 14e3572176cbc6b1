import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import (
    Alignment,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
)
from dadnet.inference.score import score
from dadnet.labels.tasks import SINGLE_LABEL
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.fold_stack import FoldStack
from dadnet.training.loop import FoldTask, train_folds
from dadnet.training.one_fold import OneFold
from tests.build.models import CPU, config, make_teacher, views
from tests.build.training import Interrupted, assert_close, assert_same, train, unequal_folds


@pytest.mark.parametrize("model_type", ["dad_net", "baseline"])
@pytest.mark.parametrize("number", [2, 3, pytest.param(8, marks=pytest.mark.slow)])
def test_a_fold_is_the_same_in_a_stack_and_alone(dataset, model_type, number):
    made = config(optim=OptimConfig(epochs=4, batch_size=6, lr=5e-4, augmentation="hflip"))
    model = dataclasses.replace(made.model, model_type=model_type, drop_path=0.1)
    made = dataclasses.replace(made, model=model)
    stack = unequal_folds(dataset, made, number)
    teacher = make_teacher()
    together = train(dataset, made, stack=stack, teacher=teacher)
    for view, stacked in zip(stack, together, strict=True):
        [alone] = train(dataset, made, stack=[view], teacher=teacher)
        assert_close(stacked, alone)
        flows = dataset.flows[view.val]
        np.testing.assert_allclose(
            score(stacked.model, flows, task=SINGLE_LABEL),
            score(alone.model, flows, task=SINGLE_LABEL),
            atol=2e-2,
        )


@pytest.mark.parametrize("alignment", get_args(Alignment))
def test_every_alignment_gives_the_single_folds_numbers_in_a_stack(dataset, alignment):
    made = config(
        loss=LossConfig(alignment=alignment, num_projections=8),
        optim=OptimConfig(epochs=2, batch_size=8, lr=5e-4),
    )
    made = dataclasses.replace(made, model=dataclasses.replace(made.model, micro_size="nano"))
    stack, teacher = unequal_folds(dataset, made, 2), make_teacher()
    for view, stacked in zip(
        stack, train(dataset, made, stack=stack, teacher=teacher), strict=True
    ):
        [alone] = train(dataset, made, stack=[view], teacher=teacher)
        assert_close(stacked, alone)
        np.testing.assert_allclose(
            stacked.curves["alignment"], alone.curves["alignment"], rtol=0.01
        )
        assert (stacked.curves["alignment"][0] > 0) == (alignment != "none")


def test_folds_of_another_alignment_are_refused(dataset):
    settings = settings_of_a_stack()
    other = dataclasses.replace(settings[2].loss, alignment="coral")
    settings[2] = dataclasses.replace(settings[2], loss=other)
    with pytest.raises(DadnetError, match="one alignment.*got coral 0 tokens, gswd 8 tokens"):
        FoldStack(folds_of(dataset, settings, make_teacher()))


def test_a_fold_that_stops_early_leaves_the_stack_and_the_others_go_on(dataset):
    made = config(optim=OptimConfig(epochs=12, batch_size=8, lr=1e-3, patience=2))
    stack = views(dataset, made)[:3]
    together = train(dataset, made, stack=stack)
    assert len({trained.epochs_run for trained in together}) > 1
    for view, stacked in zip(stack, together, strict=True):
        [alone] = train(dataset, made, stack=[view])
        assert stacked.epochs_run == alone.epochs_run
        assert stacked.chosen_epoch == alone.chosen_epoch


def test_a_finished_fold_gives_its_place_to_the_next_and_neither_changes(dataset):
    made = config(optim=OptimConfig(epochs=8, batch_size=8, lr=1e-3, patience=2))
    folds, teacher, begun = views(dataset, made), make_teacher(), []

    def next_task():
        if len(begun) == len(folds):
            return None
        begun.append(folds[len(begun)])
        return FoldTask(made, begun[-1])

    at_work = []
    for trained in train_folds(next_task, 2, teacher=teacher, device=CPU):
        at_work.append(len(begun))
        [view] = [v for v in folds if v.name == trained.name]
        [alone] = train(dataset, made, stack=[view], teacher=teacher)
        assert trained.epochs_run == alone.epochs_run
        assert_close(trained, alone)
    assert len(at_work) == len(folds)
    assert at_work[:2] == [2, 3]  # the third began when the first had ended, not both


def test_an_interrupted_stack_goes_on_bit_for_bit(dataset, tmp_path):
    made = config()
    stack = unequal_folds(dataset, made, 3)
    whole = train(dataset, made, stack=stack)
    files = [CheckpointFile(tmp_path / f"{k}.pt", "e" * 16, v.name) for k, v in enumerate(stack)]

    def stop(name, epoch, _):
        if epoch == 3 and name == stack[-1].name:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(dataset, made, stack=stack, files=files, every=2, on_epoch=stop)
    resumed = train(dataset, made, stack=stack, files=files, every=2)
    for one, other in zip(whole, resumed, strict=True):
        assert_same(one, other)


def settings_of_a_stack(**common):
    """Four experiments: other stages, lambda 0, another rate, decay, smoothing and batch size."""
    base = ModelConfig(micro_size="nano", macro_size="ultralight", input_size=32, drop_path=0.1)
    parts = [
        ({"alignment_stages": (2, 3)}, {}),
        ({"alignment_stages": ()}, {"lr": 3e-4, "batch_size": 8}),
        ({"alignment_stages": (0,), "label_smoothing": 0.2}, {"weight_decay": 0.2}),
        ({"alignment_stages": (1, 3), "alignment_weight": 0.0}, {"lr": 1e-3}),
    ]
    optim = {"epochs": 4, "batch_size": 6, "lr": 5e-4, "augmentation": "hflip", **common}
    return [
        ExperimentConfig(
            model=base,
            loss=LossConfig(**{"num_projections": 8, **loss}),
            optim=OptimConfig(**{**optim, **own}),
        )
        for loss, own in parts
    ]


def folds_of(dataset, settings, teacher):
    stack = unequal_folds(dataset, settings[0], len(settings))
    return [OneFold(own, view, teacher, CPU) for own, view in zip(settings, stack, strict=True)]


def epochs(folds, number):
    stack = FoldStack(folds)
    for _ in range(number):
        stack.train_epoch()


@pytest.mark.parametrize("augmentation", ["hflip", "reference-v1"])
def test_folds_of_different_settings_train_in_one_stack_as_alone(dataset, augmentation):
    teacher, settings = make_teacher(), settings_of_a_stack(augmentation=augmentation)
    together, alone = (folds_of(dataset, settings, teacher) for _ in range(2))
    # The teacher's maps are kept where it is run and clips are only mirrored.
    kept = [fold.teacher_maps is not None for fold in together]
    assert kept == ([True, False, True, False] if augmentation == "hflip" else [False] * 4)
    epochs(together, 2)
    for stacked, fold in zip(together, alone, strict=True):
        fold.train_epoch()
        fold.train_epoch()
        assert (stacked.epoch, stacked.step) == (fold.epoch, fold.step)
        for name in ("train_loss", "alignment", "learning_rate"):
            np.testing.assert_allclose(stacked.curves[name], fold.curves[name], rtol=1e-2)
        flows = dataset.flows[fold.view.val]
        np.testing.assert_allclose(
            score(stacked.model, flows, task=SINGLE_LABEL),
            score(fold.model, flows, task=SINGLE_LABEL),
            atol=2e-2,
        )
        ours, theirs = stacked.optimiser.state_dict(), fold.optimiser.state_dict()
        assert ours["state"].keys() == theirs["state"].keys()
        assert ours["param_groups"] == theirs["param_groups"]
        steps = {float(state["step"]) for state in ours["state"].values()}
        assert steps == {float(fold.step)}


def test_an_interrupted_stack_of_different_settings_goes_on_bit_for_bit(dataset, tmp_path):
    teacher, settings = make_teacher(), settings_of_a_stack()
    whole, cut, resumed = (folds_of(dataset, settings, teacher) for _ in range(3))
    epochs(whole, 4)
    epochs(cut, 2)
    for k, (before, after) in enumerate(zip(cut, resumed, strict=True)):
        file = CheckpointFile(tmp_path / f"{k}.pt", "e" * 16, before.view.name)
        file.save(before.state())
        after.load_state(file.load())
    epochs(resumed, 2)
    for one, other in zip(whole, resumed, strict=True):
        assert one.curves == other.curves
        weights, others = one.model.state_dict(), other.model.state_dict()
        assert all(torch.equal(weights[name], others[name]) for name in weights)
        states, found = (m.optimiser.state_dict()["state"] for m in (one, other))
        assert states.keys() == found.keys()
        assert all(torch.equal(states[j][n], found[j][n]) for j in states for n in states[j])


def test_folds_of_another_number_of_projections_are_refused_unless_they_align_nothing(dataset):
    settings = settings_of_a_stack()
    odd = [dataclasses.replace(s.loss, num_projections=9) for s in settings]
    teacher = make_teacher()
    for k, allowed in ((1, True), (2, False), (3, True)):
        changed = list(settings)
        changed[k] = dataclasses.replace(settings[k], loss=odd[k])
        folds = folds_of(dataset, changed, teacher)
        if allowed:
            assert FoldStack(folds).form == "tokens"
        else:
            with pytest.raises(DadnetError, match="got gswd 8 tokens, gswd 9 tokens"):
                FoldStack(folds)
