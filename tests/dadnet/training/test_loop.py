import dataclasses
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import (
    Alignment,
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
)
from dadnet.flow.store import load_flow_store
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.protocols import make_folds
from dadnet.folds.view import FoldView
from dadnet.inference.score import score
from dadnet.labels.tasks import SINGLE_LABEL
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.fold_stack import FoldStack
from dadnet.training.loop import FoldTask, train_folds
from dadnet.training.one_fold import OneFold, learning_rate
from tests.build.models import CPU, config, make_teacher, train_stack, views


@pytest.fixture
def dataset(store):
    return MicroExpressionDataset.from_store(load_flow_store(store), "3class", 32)


def train(dataset, made, *, stack=None, files=None, every=1, on_epoch=None, teacher=None):
    stack = views(dataset, made)[:1] if stack is None else stack
    return train_stack(
        made,
        stack,
        teacher=teacher or make_teacher(),
        checkpoints=files,
        checkpoint_every=every,
        on_epoch=on_epoch,
    )


def assert_same(one, other):
    assert (one.name, one.chosen_epoch, one.epochs_run) == (
        other.name,
        other.chosen_epoch,
        other.epochs_run,
    )
    np.testing.assert_equal(dict(one.curves), dict(other.curves))
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(weights[k], others[k]) for k in weights)


def test_labels_outside_fit_and_val_are_hidden_from_the_trainer(dataset):
    for view, fold in zip(
        views(dataset, config()), make_folds(dataset.clips, DataConfig(), 42), strict=True
    ):
        test = dataset.rows(fold.test)
        assert (view.labels[test] == -1).all()
        assert not set(test.tolist()) & {*view.fit.tolist(), *view.val.tolist()}


def test_test_labels_do_not_change_a_trained_weight(dataset):
    [before] = train(dataset, config())
    fold = make_folds(dataset.clips, DataConfig(), 42)[0]
    labels = dataset.labels.clone()
    labels[dataset.rows(fold.test)] = (labels[dataset.rows(fold.test)] + 1) % 3
    altered = dataclasses.replace(dataset, labels=labels)
    [after] = train(altered, config(), stack=[FoldView.of(altered, fold, CPU)])
    assert_same(before, after)


def test_it_learns_the_pattern(dataset):
    made = config(optim=OptimConfig(epochs=25, batch_size=8, lr=3e-3, warmup_epochs=2))
    [trained] = train(dataset, made)
    assert trained.curves["train_loss"][-1] < 0.6 * trained.curves["train_loss"][0]
    assert max(trained.curves["val_uf1"]) > 0.6


def test_the_chosen_epoch_has_the_best_val_uf1_then_uar_then_log_loss(dataset):
    [trained] = train(dataset, config())
    curves = trained.curves
    keys = list(
        zip(curves["val_uf1"], curves["val_uar"], [-x for x in curves["val_log_loss"]], strict=True)
    )
    assert trained.chosen_epoch == 1 + keys.index(max(keys))


def test_selection_last_takes_the_last_epoch_and_looks_at_no_val(dataset):
    made = config(data=DataConfig(selection="last"))
    [trained] = train(dataset, made)
    assert trained.chosen_epoch == trained.epochs_run == 6
    assert all(math.isnan(x) for x in trained.curves["val_uf1"])


def test_patience_stops_early(dataset):
    made = config(optim=OptimConfig(epochs=30, batch_size=8, lr=1e-9, patience=2))
    [trained] = train(dataset, made)
    uf1 = trained.curves["val_uf1"]
    assert trained.epochs_run < 30
    assert trained.epochs_run == uf1.index(max(uf1)) + 1 + 2


def assert_close(one, other):
    """Equal up to the order of summation, which Adam amplifies: hence few epochs and 1 %."""
    assert (one.name, one.chosen_epoch, one.epochs_run) == (
        other.name,
        other.chosen_epoch,
        other.epochs_run,
    )
    for name in ("train_loss", "val_log_loss", "learning_rate"):
        np.testing.assert_allclose(one.curves[name], other.curves[name], rtol=1e-2, err_msg=name)


def unequal_folds(dataset, made, number):
    """Folds of unequal size: the k-th has k clips fewer to train on."""
    stack = views(dataset, made) * 2
    return [
        dataclasses.replace(view, name=f"{view.name}-{k}", fit=view.fit[k:])
        for k, view in enumerate(stack[:number])
    ]


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
def test_every_alignment_gives_the_lone_folds_numbers_in_a_stack(dataset, alignment):
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


class Interrupted(Exception):
    pass


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


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_resumed_fold_equals_the_uninterrupted_one_bit_for_bit(dataset, tmp_path, stop_after):
    made = config()
    [whole] = train(dataset, made)
    file = CheckpointFile(tmp_path / "f.pt", "e" * 16, whole.name)

    def stop(_, epoch, __):
        if epoch == stop_after:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(dataset, made, files=[file], every=2, on_epoch=stop)
    epochs = []
    [resumed] = train(
        dataset, made, files=[file], every=2, on_epoch=lambda _, epoch, __: epochs.append(epoch)
    )
    assert epochs[0] == stop_after // 2 * 2 + 1
    assert_same(whole, resumed)


def test_the_global_generator_is_neither_used_nor_moved(dataset):
    teacher = make_teacher()
    torch.manual_seed(1)
    [one] = train(dataset, config(), teacher=teacher)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    [other] = train(dataset, config(), teacher=teacher)
    assert_same(one, other)
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_the_teacher_does_not_change_in_training(dataset):
    teacher = make_teacher()
    [trained] = train(dataset, config(), teacher=teacher)
    for name, weight in teacher.weights.items():
        assert torch.equal(trained.model.state_dict()[f"teacher.{name}"], weight), name


@pytest.mark.parametrize("head", ["tokens", "pooled", "linear"])
def test_predicting_a_batch_equals_predicting_one_by_one(dataset, head):
    model = dataclasses.replace(config().model, head=head)
    made = config(model=model, optim=OptimConfig(epochs=2, lr=1e-3))
    [trained] = train(dataset, made)
    flows = dataset.flows[:9]
    batch = score(trained.model, flows, task=SINGLE_LABEL)
    one_by_one = np.concatenate(
        [score(trained.model, flow[None], task=SINGLE_LABEL) for flow in flows]
    )
    np.testing.assert_allclose(batch, one_by_one, atol=1e-6)


def test_normalisation_on_fit_uses_the_fit_clips_alone(dataset):
    made = config(data=DataConfig(normalisation="fit"))
    view = views(dataset, made)[0]
    [trained] = train(dataset, made, stack=[view])
    fit = dataset.flows[view.fit].double()
    assert trained.statistics is not None
    torch.testing.assert_close(trained.statistics[0], fit.mean((0, 2, 3)).float())
    torch.testing.assert_close(trained.statistics[1], fit.std((0, 2, 3), correction=0).float())


def test_the_learning_rate_warms_up_and_falls_to_its_floor():
    optim = OptimConfig(epochs=12, lr=1.0, lr_floor=0.1, warmup_epochs=2)
    rates = [learning_rate(optim, epoch) for epoch in range(13)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[7] == pytest.approx(0.55)
    assert rates[12] == pytest.approx(0.1)


class TestCheckpointFile:
    def file(self, tmp_path: Path) -> CheckpointFile:
        return CheckpointFile(tmp_path / "sub" / "f.pt", "e" * 16, "d/s1")

    def test_nothing_saved_is_none(self, tmp_path):
        assert self.file(tmp_path).load() is None

    def test_a_state_comes_back(self, tmp_path):
        file = self.file(tmp_path)
        file.save({"epoch": 3, "x": torch.arange(3)})
        state = file.load()
        assert state is not None
        assert state["epoch"] == 3
        assert torch.equal(state["x"], torch.arange(3))

    @pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
    def test_a_truncated_state_is_set_aside_with_a_warning(self, tmp_path, keep):
        file = self.file(tmp_path)
        file.save({"x": torch.randn(1000)})
        data = file.path.read_bytes()
        file.path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
        with pytest.warns(UserWarning, match="set aside"):
            assert file.load() is None
        assert not file.path.exists()

    def test_a_state_of_another_fold_is_set_aside(self, tmp_path):
        file = self.file(tmp_path)
        file.save({"epoch": 1})
        other = dataclasses.replace(file, fold="d/s2")
        with pytest.warns(UserWarning, match="made for"):
            assert other.load() is None

    def test_a_state_that_would_run_code_is_not_run(self, tmp_path):
        file = self.file(tmp_path)
        file.path.parent.mkdir()

        class Evil:
            def __reduce__(self):
                return Path.touch, (tmp_path / "pwned",)

        torch.save({"experiment": "e" * 16, "fold": "d/s1", "state": Evil()}, file.path)
        with pytest.warns(UserWarning, match="set aside"):
            assert file.load() is None
        assert not (tmp_path / "pwned").exists()
