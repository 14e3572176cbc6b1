"""One class of each clip, or several labels: decisions, counts, losses."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss, recall_score
from torch.nn import functional as F

from dadnet.base.errors import DadnetError
from dadnet.labels import metrics
from dadnet.labels.targets import clip_losses, hidden_label, mean_loss, to_probabilities
from dadnet.labels.tasks import MULTI_LABEL, SINGLE_LABEL, has, lacking, names_in, task_of, text_of

CLASSES = ("AU1", "AU4", "AU12")


@pytest.fixture
def drawn():
    draw = np.random.default_rng(0)
    return draw.integers(0, 2, (40, 3)), draw.random((40, 3))


def test_macro_f1_and_recall_are_scikit_learns(drawn):
    truth, probabilities = drawn
    given = MULTI_LABEL.decide(probabilities)
    counts = MULTI_LABEL.counts(truth, given, 3)
    assert counts.shape == (3, 2, 2)
    assert (counts.sum(axis=(1, 2)) == 40).all()
    assert metrics.uf1(counts) == pytest.approx(f1_score(truth, given, average="macro"))
    assert metrics.uar(counts) == pytest.approx(recall_score(truth, given, average="macro"))
    np.testing.assert_allclose(metrics.class_f1(counts), f1_score(truth, given, average=None))


def test_the_log_loss_is_the_mean_over_the_labels(drawn):
    truth, probabilities = drawn
    single = [log_loss(truth[:, k], probabilities[:, k]) for k in range(3)]
    assert MULTI_LABEL.log_loss(probabilities, truth) == pytest.approx(np.mean(single))
    sure = MULTI_LABEL.log_loss(np.array([[1.0, 0.0]]), np.array([[0, 0]]))
    assert sure == pytest.approx(-math.log(np.finfo(np.float32).eps) / 2)


def test_a_label_that_is_neither_there_nor_found_has_no_f1():
    counts = MULTI_LABEL.counts(np.array([[1, 0], [1, 0]]), np.array([[1, 0], [0, 0]]), 2)
    np.testing.assert_allclose(metrics.class_f1(counts), [2 / 3, np.nan])
    assert metrics.uf1(counts) == pytest.approx(2 / 3)


def test_a_decision_is_the_largest_probability_or_each_of_at_least_a_half():
    assert SINGLE_LABEL.decide(np.array([[0.2, 0.5, 0.3]])).tolist() == [1]
    assert MULTI_LABEL.decide(np.array([[0.5, 0.49, 0.9]])).tolist() == [[1, 0, 1]]
    assert MULTI_LABEL.decide(np.array([[0.5, 0.49, 0.9]])).dtype == np.int64
    assert (task_of(True), task_of(False)) == (MULTI_LABEL, SINGLE_LABEL)
    assert (MULTI_LABEL.multi_label, SINGLE_LABEL.multi_label) == (True, False)
    assert SINGLE_LABEL.named(np.int64(1), CLASSES) == "AU4"
    assert MULTI_LABEL.named(np.array([1, 0, 1]), CLASSES) == ("AU1", "AU12")


def test_labels_become_text_and_back():
    for names in ((), ("AU4",), ("AU1", "AU12")):
        assert names_in(text_of(names)) == names
    assert text_of(()) == "none"
    assert text_of("surprise") == "surprise"
    assert has("AU1", "AU1")
    assert not has("AU12", "AU1")
    assert has(("AU12", "AU1"), "AU1")


def test_what_no_clip_and_what_every_clip_has_cannot_be_learnt():
    assert lacking(["AU1+AU4", "AU4", "AU4"], CLASSES) == (["AU12"], ["AU4"])
    assert lacking(["none", "AU1+AU4+AU12"], CLASSES) == ([], [])
    assert lacking(["AU4"], ("AU1", "AU4")) == (["AU1"], ["AU4"])
    assert lacking(["a", "b", "a"], ("a", "b", "c")) == (["c"], [])


@pytest.mark.parametrize(
    "labels", [np.zeros((4, 2)), np.zeros(4), np.full((4, 3), 0.5), np.full((4, 3), -1)]
)
def test_what_is_no_table_of_labels_is_refused(labels):
    with pytest.raises(DadnetError, match="expected 0 and 1 of 3 labels"):
        metrics.label_counts(labels, np.zeros((4, 3)), 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_labels_is_binary_cross_entropy_of_smoothed_targets(smoothing):
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=draws, dtype=torch.float64)
    labels = (torch.rand(6, 4, generator=draws) < 0.3).float()
    found = mean_loss(logits, labels, smoothing)
    expected = F.binary_cross_entropy(
        to_probabilities(logits, MULTI_LABEL), labels.double() * (1 - smoothing) + smoothing / 2
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("several", [True, False])
def test_the_losses_of_a_stack_are_those_of_single_folds_with_their_smoothing(several):
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, generator=draws, dtype=torch.float64)
    if several:
        labels = (torch.rand(3, 5, 4, generator=draws) < 0.4).float()
    else:
        labels = torch.randint(0, 4, (3, 5), generator=draws)
    smoothing = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    found = clip_losses(logits, labels, smoothing).mean(1)
    single = [mean_loss(logits[k], labels[k], float(smoothing[k])) for k in range(3)]
    torch.testing.assert_close(found, torch.stack(single), rtol=1e-12, atol=1e-12)


def test_a_hidden_label_gives_no_loss_that_could_be_used():
    labels = torch.full((2,), hidden_label(torch.zeros(2, dtype=torch.int64)), dtype=torch.int64)
    with pytest.raises((IndexError, RuntimeError)):
        mean_loss(torch.zeros(2, 3), labels, 0.0)
    hidden = torch.full((2, 3), hidden_label(torch.zeros(2, 3)))
    assert mean_loss(torch.zeros(2, 3), hidden, 0.1).isnan()
