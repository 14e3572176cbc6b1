import pytest
import torch

from dadnet.base.errors import TestLabelError
from dadnet.flow.store import load_flow_store
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.hidden_labels import hide_labels
from dadnet.folds.protocols import Fold
from dadnet.folds.view import FoldView

TEST = ("synthetic/sub02",)
OTHERS = ("synthetic/sub01", "synthetic/sub03")


@pytest.fixture
def dataset(store):
    return MicroExpressionDataset.from_store(load_flow_store(store), "3class", 32)


def test_a_label_of_a_test_clip_cannot_be_read(dataset):
    hidden = hide_labels(dataset, TEST)
    row = int(dataset.rows(TEST)[0])
    assert int(hidden.labels[row]) == -1
    label = hidden.clips["label"].iloc[row]
    for look in (str, repr, hash, bool, lambda x: x == "negative", lambda x: f"{x}", list):
        with pytest.raises(TestLabelError):
            look(label)


def test_test_clips_cannot_even_be_chosen(dataset):
    hidden = hide_labels(dataset, TEST)
    with pytest.raises(TestLabelError, match="sub02"):
        hidden.rows((*OTHERS, *TEST))
    with pytest.raises(TestLabelError, match="sub02"):
        hidden[int(dataset.rows(TEST)[0])]


def test_the_other_clips_are_as_they_were_and_flows_are_shared(dataset):
    hidden = hide_labels(dataset, TEST)
    rows = dataset.rows(OTHERS)
    assert torch.equal(hidden.rows(OTHERS), rows)
    assert torch.equal(hidden.labels[rows], dataset.labels[rows])
    assert list(hidden.clips["label"].iloc[rows]) == list(dataset.clips["label"].iloc[rows])
    assert hidden.flows.data_ptr() == dataset.flows.data_ptr()
    assert int(dataset.labels.min()) >= 0  # the original is not touched


def test_a_fold_whose_view_would_hold_a_test_clip_cannot_be_made(dataset):
    good = Fold("synthetic/sub02", ("synthetic/sub01",), ("synthetic/sub03",), TEST)
    view = FoldView.of(hide_labels(dataset, TEST), good, torch.device("cpu"))
    assert torch.equal(view.labels, FoldView.of(dataset, good, torch.device("cpu")).labels)
    leaking = Fold("synthetic/sub02", ("synthetic/sub01", *TEST), ("synthetic/sub03",), TEST)
    with pytest.raises(TestLabelError):
        FoldView.of(hide_labels(dataset, TEST), leaking, torch.device("cpu"))
