"""Baselines in the engine: they learn, they fail on shuffled labels, a stack changes nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import binom

from dadnet.base.seeding import generator
from dadnet.config.baselines import BASELINES, FITTED_BASELINES
from dadnet.config.experiment import (
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
from dadnet.labels.metrics import confusion, uf1
from dadnet.labels.tasks import SINGLE_LABEL
from dadnet.models.baselines import build_baseline
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.stack_size import choose_stack_size
from dadnet.training.vmapped_stack import VmappedStack
from tests.build.flows import make_clips, write_store
from tests.build.training import train_stack

CPU, SIZE = torch.device("cpu"), 32
NETWORKS = [name for name in BASELINES if name not in FITTED_BASELINES]
DUMMIES = ("majority", "prior-draw")
RATES = {"ststnet": 3e-3, "rcn-a": 3e-3, "resnet20": 4e-3}  # the others: 5e-4


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines") / "flows"
    return load_flow_store(write_store(folder, make_clips(6, 9)))


def dataset_of(store, shuffle_seed=None):
    return MicroExpressionDataset.from_store(store, "3class", SIZE, shuffle_seed)


def config(name, epochs=8, **optim):
    settings = {"batch_size": 16, "lr": 1e-3, "weight_decay": 0.0, **optim}
    return ExperimentConfig(
        data=DataConfig(selection="last"),
        model=ModelConfig(model_type=name, input_size=SIZE),
        loss=LossConfig(label_smoothing=0.0),
        optim=OptimConfig(epochs=epochs, **settings),
    )


def train(dataset, made, folds, files=None, **options):
    views = [FoldView.of(dataset, fold, CPU) for fold in folds]
    return train_stack(made, views, checkpoints=files, **options)


def pooled_uf1(dataset, made):
    """Of three folds of the six, which takes half the time."""
    folds = make_folds(dataset.clips, made.data, made.seed)[::2]
    total = np.zeros((3, 3), dtype=int)
    for fold, trained in zip(folds, train(dataset, made, folds), strict=True):
        rows = dataset.rows(fold.test)
        said = score(
            trained.model, dataset.flows[rows], trained.statistics, task=SINGLE_LABEL
        ).argmax(1)
        total += confusion(dataset.labels[rows].numpy(), said, 3)
    return uf1(total)


def shuffled_answers(store, made):
    """Right answers and clips of three permutations of the labels, each tested in two halves.

    Halves train on half of what a left-out subject does and test six times as many clips.
    """
    halved = dataclasses.replace(made.data, protocol="group-kfold", num_folds=2)
    made, right, clips, views, tests = dataclasses.replace(made, data=halved), 0, 0, [], []
    for seed in (1, 2, 3):
        dataset = dataset_of(store, seed)
        for fold in make_folds(dataset.clips, made.data, made.seed):
            view = FoldView.of(dataset, fold, CPU)
            views.append(dataclasses.replace(view, name=f"{seed}-{fold.name}"))
            tests.append((dataset, dataset.rows(fold.test)))
    trained = train_stack(made, views, teacher=None, device=CPU)
    for (dataset, rows), one in zip(tests, trained, strict=True):
        said = score(one.model, dataset.flows[rows], one.statistics, task=SINGLE_LABEL)
        right += int((said.argmax(1) == dataset.labels[rows].numpy()).sum())
        clips += len(rows)
    return right, clips


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_it_learns_the_pattern_unless_it_is_a_dummy_and_fails_on_shuffled_labels(store, name):
    made = config(name, lr=RATES.get(name, 5e-4))
    learnt = pooled_uf1(dataset_of(store), made)
    assert learnt < 0.6 if name in DUMMIES else learnt > 0.7
    right, clips = shuffled_answers(store, made)
    assert clips == 162
    # A coin of three sides says more right in one of a thousand: 73, which is 45 %.
    assert right <= binom.ppf(0.999, clips, 1 / 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_gradients_and_statistics_equal_those_of_single_networks(name):
    """Folds 0 and 2 of three, in float64."""
    folds = [build_baseline(name, 3, SIZE, generator("fold", k)).double().train() for k in range(3)]
    stack, chosen = VmappedStack(folds), (0, 2)
    before = stack.fold_state(1)
    x = torch.randn(2, 4, 2, SIZE, SIZE, generator=generator("flows"), dtype=torch.float64)
    masks = [folds[k].draw_keep(4, generator("masks", k)) for k in chosen]
    keep = [torch.stack(own).double() for own in zip(*masks, strict=True)]
    logits = stack(x, keep, torch.tensor(chosen))
    logits.square().sum().backward()
    for place, k in enumerate(chosen):
        alone = build_baseline(name, 3, SIZE, generator("fold", k)).double().train()
        own = alone(x[place], keep=masks[place]).logits
        own.square().sum().backward()
        torch.testing.assert_close(logits[place], own, rtol=1e-9, atol=1e-9)
        for key, weight in alone.named_parameters():
            torch.testing.assert_close(
                stack.parameters[key].grad[k], weight.grad, rtol=1e-7, atol=1e-9
            )
        for key, buffer in alone.named_buffers():
            torch.testing.assert_close(stack.buffers[key][k], buffer, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in stack.fold_state(1).items())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fold_is_the_same_in_a_stack_and_alone(store, name):
    """Folds of unequal size: some have a batch of another size, or one batch fewer."""
    dataset, made = dataset_of(store), config(name, epochs=2, augmentation="hflip")
    folds = make_folds(dataset.clips, made.data, made.seed)[:3]
    views = [FoldView.of(dataset, fold, CPU) for fold in folds]
    views = [dataclasses.replace(v, fit=v.fit[k * 7 :]) for k, v in enumerate(views)]
    options = {"teacher": None, "device": CPU}
    together = train_stack(made, views, **options)
    for view, stacked in zip(views, together, strict=True):
        [alone] = train_stack(made, [view], **options)
        # The order of summation differs, which BatchNorm and Adam amplify: hence 1 %.
        np.testing.assert_allclose(
            stacked.curves["train_loss"], alone.curves["train_loss"], rtol=1e-2
        )
        flows = dataset.flows[:12]
        np.testing.assert_allclose(
            score(stacked.model, flows, task=SINGLE_LABEL),
            score(alone.model, flows, task=SINGLE_LABEL),
            atol=2e-2,
        )


@pytest.mark.parametrize("name", ["rcn-a", "mdmo-svm"])
def test_an_interrupted_stack_goes_on_bit_for_bit(store, name, tmp_path):
    dataset, made = dataset_of(store), config(name, epochs=3)
    folds = make_folds(dataset.clips, made.data, made.seed)[:2]
    whole = train(dataset, made, folds)
    files = [CheckpointFile(tmp_path / f"{k}.pt", "e" * 16, f.name) for k, f in enumerate(folds)]

    def stop(name, epoch, _):
        if name == folds[1].name and epoch == min(2, whole[1].epochs_run):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, made, folds, files, checkpoint_every=1, on_epoch=stop)
    resumed = train(dataset, made, folds, files)
    for one, other in zip(whole, resumed, strict=True):
        assert one.epochs_run == other.epochs_run == (1 if name in FITTED_BASELINES else 3)
        weights, others = one.model.state_dict(), other.model.state_dict()
        assert all(torch.equal(weights[key], others[key]) for key in weights)


@pytest.mark.parametrize("name", FITTED_BASELINES)
def test_a_fit_is_one_epoch_sees_no_other_label_and_needs_no_order(store, name):
    dataset, made = dataset_of(store), config(name, epochs=30)
    fold = make_folds(dataset.clips, made.data, made.seed)[0]
    [one] = train(dataset, made, [fold])
    labels = dataset.labels.clone()
    labels[dataset.rows(fold.test)] = 0
    [other] = train(dataclasses.replace(dataset, labels=labels), made, [fold])
    assert one.epochs_run == one.chosen_epoch == 1
    assert np.isfinite(one.curves["train_loss"]).all()
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    found = score(one.model, dataset.flows, task=SINGLE_LABEL)
    backwards = score(one.model, dataset.flows.flip(0), task=SINGLE_LABEL)[::-1]
    np.testing.assert_allclose(found, backwards, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1)


def test_a_dummy_knows_the_shares_of_the_fit_clips_and_draws_with_them(store):
    dataset = dataset_of(store)
    labels = torch.where(torch.arange(len(dataset)) % 4 > 0, 0, dataset.labels)
    dataset = dataclasses.replace(dataset, labels=labels)
    fold = make_folds(dataset.clips, DataConfig(selection="last"), 42)[0]
    fit = dataset.rows(fold.fit)
    shares = torch.bincount(labels[fit], minlength=3).double() / len(fit)
    [prior] = train(dataset, config("majority"), [fold])
    found = score(prior.model, dataset.flows, task=SINGLE_LABEL)
    np.testing.assert_allclose(found, np.tile(shares.numpy(), (len(found), 1)), rtol=1e-5)
    [drawer] = train(dataset, config("prior-draw"), [fold])
    noise = torch.randn(600, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    drawn = torch.bincount(
        torch.from_numpy(score(drawer.model, noise, task=SINGLE_LABEL).argmax(1)), minlength=3
    )
    np.testing.assert_allclose(drawn / 600, shares, atol=0.07)


def test_two_classes_have_two_decision_values(store):
    """scikit-learn has one machine for two classes."""
    dataset = dataset_of(store)
    rows = torch.nonzero(dataset.labels < 2)[:, 0]
    machine = build_baseline("mdmo-svm", 2, SIZE)
    machine.fit(dataset.flows[rows].float(), dataset.labels[rows], 1)
    said = machine(dataset.flows[rows].float()).logits.argmax(1)
    assert (said == dataset.labels[rows]).float().mean() > 0.9


@pytest.mark.parametrize("name", ["ststnet", "mdmo-svm"])
def test_no_stack_size_is_tried_where_folds_are_trained_one_after_the_other(store, name):
    dataset, made = dataset_of(store), config(name, epochs=500)
    folds = make_folds(dataset.clips, made.data, made.seed)[:2]
    views = [FoldView.of(dataset, fold, CPU) for fold in folds]
    choice = choose_stack_size(made, views, teacher=None, device=CPU, at_most=2)
    assert (choice.size, choice.seconds) == (1, {})
    assert str(choice) == "stack of 1 (these folds are trained one after the other)"
