import dataclasses
import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from dadnet.config.experiment import DataConfig, OptimConfig
from dadnet.folds.protocols import make_folds
from dadnet.folds.view import FoldView
from dadnet.inference.score import score
from dadnet.labels.tasks import SINGLE_LABEL
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.loop import DivergedError, FoldTask, train_folds
from dadnet.training.one_fold import learning_rate
from tests.build.models import CPU, config, make_teacher, views
from tests.build.training import Interrupted, assert_close, assert_same, train


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


def _no_optimiser(state):
    moments = state["optimiser"]["state"]
    moments[0]["exp_avg"] = moments[1]["exp_avg"]


def _short_weights(state):
    name = next(iter(state["model"]))
    state["model"][name] = state["model"][name][:1]


def _other_best(state):
    del state["best"]["weights"][next(iter(state["best"]["weights"]))]


def _short_curve(state):
    state["curves"]["val_uf1"] = state["curves"]["val_uf1"][:1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_short_weights, "weights"),
        (_other_best, "weights"),
        (_no_optimiser, "optimiser"),
        (_short_curve, "curves"),
        (lambda state: state.update(epoch=7), "epoch"),
        (lambda state: state.pop("step"), "not the state of a fold"),
        (lambda state: state.update(more=1), "parts"),
        (lambda state: state.update(model=None), "not the state of a fold"),
    ],
)
def test_a_state_that_does_not_fit_is_set_aside_and_the_fold_made_anew(
    dataset, tmp_path, change, reason
):
    made = config()
    [whole] = train(dataset, made)
    file = CheckpointFile(tmp_path / "f.pt", "e" * 16, whole.name)

    def stop(_, epoch, __):
        if epoch == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(dataset, made, files=[file], every=2, on_epoch=stop)
    state = file.load()
    change(state)
    file.save(state)
    with pytest.warns(UserWarning, match=rf"f\.pt\.damaged \(.*{reason}") as caught:
        [again] = train(dataset, made, files=[file], every=10)
    assert len(caught) == 1
    assert_same(whole, again)


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


def broken():
    """An experiment whose first step breaks the network."""
    return config(optim=OptimConfig(epochs=6, batch_size=8, lr=1e30, warmup_epochs=0))


def test_a_loss_that_is_not_finite_ends_the_fold_with_its_epoch_and_what_to_do(dataset):
    line = r"^fold synthetic/sub01 diverged in epoch 1; lower --lr$"
    with pytest.raises(DivergedError, match=line):
        train(dataset, broken())


def test_a_last_step_that_breaks_the_network_is_a_divergence_too(dataset):
    made = config(
        optim=OptimConfig(epochs=1, batch_size=1000, lr=1e30, warmup_epochs=0),
        data=DataConfig(selection="last"),
    )
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        train(dataset, made)


@pytest.mark.parametrize("slots", [1, 3])
def test_the_other_folds_of_a_stack_are_trained_as_without_it(dataset, tmp_path, slots):
    first, second, third = views(dataset, config())[:3]
    files = [CheckpointFile(tmp_path / f"{k}.pt", "e" * 16, "any") for k in range(3)]
    tasks = iter(
        [
            FoldTask(config(), first, files[0]),
            FoldTask(broken(), second, files[1]),
            FoldTask(config(), third, files[2]),
        ]
    )
    diverged = []
    trained = train_folds(
        lambda: next(tasks, None),
        slots,
        teacher=make_teacher(),
        device=CPU,
        on_divergence=diverged.append,
        checkpoint_every=1,
    )
    outcomes = list(trained)
    assert [(error.fold, error.epoch) for error in diverged] == [(second.name, 1)]
    assert not files[1].path.exists()
    same = assert_same if slots == 1 else assert_close
    wholes = [train(dataset, config(), stack=[view])[0] for view in (first, third)]
    for outcome, whole in zip(outcomes, wholes, strict=True):
        same(outcome, whole)


# Numpy asks for large pages, of which a fault makes one; ones() touches all of 64 MiB.
HELD = """
import resource, sys
import numpy as np
from dadnet.training.loop import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
before = faults()
for _ in range(4):
    np.ones(2**23)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told")
def test_freed_memory_is_kept_for_the_next_step():
    pages = {}
    for way in ("kept", "default"):
        words = [sys.executable, "-c", HELD, way]
        environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True)
        pages[way] = int(done.stdout)
    assert pages["kept"] < 64  # of 65,536, or of 128 large ones
    assert pages["kept"] < pages["default"]
