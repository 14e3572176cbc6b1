"""Several labels of a clip in the engine: learnt, at chance where shuffled, hidden, stacked."""

import dataclasses

import numpy as np
import pytest
import torch

from dadnet.base.errors import AuditError, DadnetError
from dadnet.config.experiment import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
)
from dadnet.flow.store import load_flow_store
from dadnet.folds.audit import audit
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.hidden_labels import hide_labels
from dadnet.folds.protocols import make_folds
from dadnet.folds.view import FoldView
from dadnet.inference.score import score
from dadnet.labels.metrics import uf1
from dadnet.labels.tasks import MULTI_LABEL, lacking
from tests.build.flows import make_coded_clips, write_coded_store
from tests.build.models import make_teacher
from tests.build.training import train_stack

CPU = torch.device("cpu")
UNITS = ("AU1", "AU4", "AU9", "AU12", "AU15")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coded") / "flows"
    return load_flow_store(write_coded_store(folder, make_coded_clips(6, 14)))


@pytest.fixture
def dataset(store):
    return MicroExpressionDataset.from_store(store, "action-units", 32)


def config(model_type="baseline", selection="last", **optim):
    settings = {"epochs": 8, "batch_size": 12, "lr": 4e-3, **optim}
    return ExperimentConfig(
        data=DataConfig(selection=selection, class_set="action-units"),
        model=ModelConfig(
            model_type=model_type, micro_size="ultralight", macro_size="ultralight", input_size=32
        ),
        loss=LossConfig(num_projections=8),
        optim=OptimConfig(**settings),
    )


def train(dataset, made, folds, teacher=None):
    views = [FoldView.of(dataset, fold, CPU) for fold in folds]
    return train_stack(made, views, teacher=teacher)


def pooled(dataset, made):
    """Macro F1 of two folds of the six."""
    folds = make_folds(dataset.clips, made.data, made.seed)[::3]
    total = np.zeros((5, 2, 2), dtype=int)
    for fold, trained in zip(folds, train(dataset, made, folds), strict=True):
        rows = dataset.rows(fold.test)
        said = score(trained.model, dataset.flows[rows], trained.statistics, task=dataset.task)
        decided = MULTI_LABEL.decide(said)
        total += MULTI_LABEL.counts(dataset.labels[rows].numpy(), decided, 5)
    return uf1(total)


def best_constant(dataset):
    """Macro F1 of naming every label always: no other answer without looking gives more."""
    shares = dataset.labels.double().mean(0)
    return float((2 * shares / (1 + shares)).mean())


def test_labels_are_a_table_and_clips_are_counted_under_each(store):
    dataset = MicroExpressionDataset.from_store(store, "action-units", 32)
    assert dataset.classes == UNITS
    assert dataset.labels.shape == (84, 5)
    assert dataset.task is MULTI_LABEL
    for text, row in zip(dataset.clips["label"], dataset.labels, strict=True):
        assert [name in text.split("+") for name in UNITS] == row.bool().tolist()
    assert list(dataset.counts().values()) == dataset.labels.sum(0).int().tolist()
    flow, label = dataset[0]
    assert flow.shape == (2, 32, 32)
    assert torch.equal(label, dataset.labels[0])


def test_what_was_not_coded_is_dropped_and_counted(store):
    clips = store.clips.copy()
    clips.loc[:4, "action_units"] = ["", "", "12 or 14", "24", "L4+12B"]
    found = MicroExpressionDataset.from_store(
        dataclasses.replace(store, clips=clips), "action-units", 32
    )
    assert found.dropped == {"no unit coded": 2, "alternatives 12 or 14": 1}
    assert list(found.clips["label"][:2]) == ["none", "AU4+AU12"]
    assert found.source != MicroExpressionDataset.from_store(store, "action-units", 32).source


def test_units_are_learnt_and_shuffled_ones_are_not(store, dataset):
    assert pooled(dataset, config()) > 0.9
    shuffled = MicroExpressionDataset.from_store(store, "action-units", 32, shuffle_seed=1)
    assert sorted(shuffled.clips["label"]) == sorted(dataset.clips["label"])
    assert pooled(shuffled, config()) < best_constant(dataset)


@pytest.mark.parametrize("model_type", ["mdmo-svm", "lbp-svm"])
def test_a_linear_machine_has_one_of_each_label(store, dataset, model_type):
    assert pooled(dataset, config(model_type)) > best_constant(dataset)


def test_the_majority_of_each_label_is_said_with_its_share(dataset):
    [fold, *_] = make_folds(dataset.clips, config().data, 42)
    [trained] = train(dataset, config("majority"), [fold])
    found = score(trained.model, dataset.flows[:3], task=MULTI_LABEL)
    shares = dataset.labels[dataset.rows(fold.fit)].double().mean(0)
    np.testing.assert_allclose(found, np.tile(shares, (3, 1)), atol=1e-6)


@pytest.mark.parametrize("model_type", ["dad_net", "ststnet"])
def test_a_fold_is_the_same_in_a_stack_and_alone(dataset, model_type):
    made = config(model_type, "inner", epochs=3, lr=5e-4, augmentation="hflip")
    folds = make_folds(dataset.clips, made.data, made.seed)[:2]
    views = [FoldView.of(dataset, fold, CPU) for fold in folds]
    views[1] = dataclasses.replace(views[1], fit=views[1].fit[5:])
    options = {"teacher": make_teacher() if model_type == "dad_net" else None, "device": CPU}
    together = train_stack(made, views, **options)
    for view, stacked in zip(views, together, strict=True):
        [alone] = train_stack(made, [view], **options)
        for name in ("train_loss", "alignment", "val_log_loss"):
            np.testing.assert_allclose(stacked.curves[name], alone.curves[name], rtol=1e-2)
        found, expected = (
            score(each.model, dataset.flows[view.val], task=MULTI_LABEL)
            for each in (stacked, alone)
        )
        np.testing.assert_allclose(found, expected, atol=2e-2)


def test_the_val_figure_is_the_macro_f1_of_the_val_clips(dataset):
    made = config(selection="inner", epochs=3)
    [fold, *_] = make_folds(dataset.clips, made.data, made.seed)
    view = FoldView.of(dataset, fold, CPU)
    [trained] = train_stack(made, [view], teacher=None)
    said = score(trained.model, dataset.flows[view.val], task=MULTI_LABEL)
    labels = dataset.labels[view.val].numpy()
    expected = uf1(MULTI_LABEL.counts(labels, MULTI_LABEL.decide(said), 5))
    chosen = trained.chosen_epoch - 1
    assert trained.curves["val_uf1"][chosen] == pytest.approx(expected)
    assert trained.curves["val_uf1"][chosen] == max(trained.curves["val_uf1"])
    assert trained.curves["val_log_loss"][chosen] == pytest.approx(
        MULTI_LABEL.log_loss(said, labels)
    )


def test_the_trainer_and_a_search_see_no_test_label(dataset):
    [fold, *_] = make_folds(dataset.clips, DataConfig(), 42)
    test = dataset.rows(fold.test)
    assert FoldView.of(dataset, fold, CPU).labels[test].isnan().all()
    hidden = hide_labels(dataset, fold.test)
    assert hidden.labels[test].isnan().all()
    assert hidden.task is MULTI_LABEL


def test_the_val_part_has_every_label_and_clips_without_it(dataset):
    for fold in make_folds(dataset.clips, DataConfig(), 42):
        for side in (fold.fit, fold.val):
            texts = dataset.clips["label"][dataset.rows(side).numpy()]
            assert lacking(texts, UNITS) == ([], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "none" if "AU9" in text else text, "no clip of AU9"),
        (lambda text: text if "AU9" in text else "AU9", "no clip without AU9"),
    ],
)
def test_a_label_that_no_clip_or_every_clip_has_is_refused(dataset, change, message):
    clips = dataset.clips.assign(label=dataset.clips["label"].map(change))
    folds = make_folds(clips, DataConfig(), 42)
    with pytest.raises(AuditError, match=message):
        audit(clips, folds, UNITS, DataConfig(), store_normalisation="none")


def test_datasets_of_other_units_are_no_one_set(store):
    clips = store.clips.copy()
    clips.loc[:9, "dataset"] = "samm"
    with pytest.raises(DadnetError, match="have different classes under it"):
        MicroExpressionDataset.from_store(
            dataclasses.replace(store, clips=clips), "action-units", 32
        )
