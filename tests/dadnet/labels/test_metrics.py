import math

import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.labels import metrics

# truth \ prediction   0  1  2      F1                          recall
#                 0    4  1  0      8 / (5 + 5)  = 0.8          4/5
#                 1    1  2  1      4 / (4 + 3)  = 4/7          2/4
#                 2    0  0  1      2 / (1 + 2)  = 2/3          1/1
LABELS = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
PREDICTIONS = [0, 0, 0, 0, 1, 0, 1, 1, 2, 2]
MATRIX = np.array([[4, 1, 0], [1, 2, 1], [0, 0, 1]])


def test_confusion_counts_truth_in_rows():
    counts = metrics.confusion(LABELS, PREDICTIONS, 3)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, MATRIX)


def test_figures_by_hand():
    assert metrics.uf1(MATRIX) == pytest.approx((4 / 5 + 4 / 7 + 2 / 3) / 3)
    assert metrics.uar(MATRIX) == pytest.approx((4 / 5 + 2 / 4 + 1) / 3)


def test_class_that_is_neither_true_nor_predicted_is_left_out():
    # truth \ prediction   0  1  2      F1: 4/5, 2/3, undefined      recall: 1, 1/2, undefined
    counts = [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(metrics.class_f1(counts), [4 / 5, 2 / 3, np.nan])
    assert metrics.uf1(counts) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metrics.uar(counts) == pytest.approx((1 + 1 / 2) / 2)


def test_class_that_is_only_predicted_counts_for_uf1_and_not_for_uar():
    # truth \ prediction   0  1  2      F1: 4/5, 2/2, 0       recall: 2/3, 1, undefined
    counts = [[2, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert metrics.uf1(counts) == pytest.approx((4 / 5 + 1 + 0) / 3)
    assert metrics.uar(counts) == pytest.approx((2 / 3 + 1) / 2)


def test_no_clips_give_nan_and_no_warning():
    empty = metrics.confusion([], [], 3)
    assert empty.shape == (3, 3)
    for figure in (metrics.uf1, metrics.uar):
        assert math.isnan(figure(empty))
    assert math.isnan(metrics.log_loss(np.zeros((0, 3)), []))


def test_stacks_equal_single_matrices():
    stack = np.random.default_rng(0).integers(0, 9, size=(2, 5, 3, 3))
    figures = metrics.mean_of_defined(metrics.class_f1(stack, stacked=2))
    assert figures.shape == (2, 5)
    assert figures[1, 3] == metrics.uf1(stack[1, 3])


def test_uf1_agrees_with_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(1)
    labels, predictions = draw.integers(0, 4, 60), draw.integers(0, 4, 60)
    counts = metrics.confusion(labels, predictions, 4)
    expected = sklearn_metrics.f1_score(labels, predictions, average="macro")
    assert metrics.uf1(counts) == pytest.approx(expected)
    expected = sklearn_metrics.balanced_accuracy_score(labels, predictions)
    assert metrics.uar(counts) == pytest.approx(expected)


def test_label_counts_and_figures_by_hand():
    #          clips: 1  2  3      truth > prediction
    # label 0         1  1  0      1>1 1>1 0>0
    # label 1         0  1  0      0>1 1>0 0>1
    # label 2         0  0  0      never there, never said
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    said = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=bool)
    counts = metrics.label_counts(truth, said, 3)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[[1, 0], [0, 2]], [[0, 2], [1, 0]], [[3, 0], [0, 0]]]
    hits, clips, predictions = metrics.totals(counts)
    assert [hits.tolist(), clips.tolist(), predictions.tolist()] == [
        [2, 0, 0],
        [2, 1, 0],
        [2, 2, 0],
    ]
    np.testing.assert_array_equal(metrics.class_f1(counts), [1, 0, np.nan])
    assert (metrics.uf1(counts), metrics.uar(counts)) == (0.5, 0.5)
    np.testing.assert_array_equal(metrics.class_f1([counts, counts], stacked=1)[1], [1, 0, np.nan])


def test_label_log_loss_by_hand():
    table, truth = np.array([[0.9, 0.2, 0.5], [0.4, 1.0, 0.5]]), [[1, 0, 0], [0, 0, 1]]
    of_truth = [0.9, 0.8, 0.5, 0.6, np.finfo(np.float32).eps, 0.5]
    expected = -np.log(of_truth).mean()
    assert metrics.label_log_loss(table, truth) == pytest.approx(expected)
    assert metrics.label_log_loss(table.tolist(), truth) == pytest.approx(expected)
    assert math.isnan(metrics.label_log_loss(np.zeros((0, 3)), np.zeros((0, 3))))


def test_losses_are_computed_in_double_precision():
    coarse = np.array([[0.1, 0.9]], dtype=np.float16)
    exact = -math.log(float(coarse[0, 0]))
    assert metrics.log_loss(coarse, [0]) == pytest.approx(exact, rel=1e-14)
    expected = (exact - math.log1p(-float(coarse[0, 1]))) / 2
    assert metrics.label_log_loss(coarse, [[1, 0]]) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("truth", "said", "message"),
    [
        ([[0, 1]], [[0, 1], [1, 1]], "as many predictions as labels, got: 2, 1"),
        ([[0, 2]], [[0, 1]], "0 and 1 of 2 labels"),
        ([[0, 1]], [[0.5, 1]], "0 and 1 of 2 labels"),
        ([[0, 1, 1]], [[0, 1, 1]], "0 and 1 of 2 labels"),
        ([0, 1], [0, 1], "0 and 1 of 2 labels"),
    ],
)
def test_bad_labels_are_refused(truth, said, message):
    with pytest.raises(DadnetError, match=message):
        metrics.label_counts(truth, said, 2)


def test_log_loss_by_hand_and_finite_when_sure_and_wrong():
    assert metrics.log_loss([[0.5, 0.5], [0.2, 0.8]], [0, 1]) == pytest.approx(
        (math.log(2) - math.log(0.8)) / 2
    )
    worst = metrics.log_loss([[1.0, 0.0]], [1])
    assert worst == pytest.approx(-math.log(np.finfo(np.float32).eps))


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0], "as many predictions as labels"),
        ([0, 3], [0, 1], r"classes 0\.\.2, got: 0\.\.3"),
        ([0, -1], [0, 1], r"got: -1\.\."),
        ([[0, 1]], [[0, 1]], r"labels as \(N,\) integers"),
        ([0.0, 1.0], [0, 1], r"labels as \(N,\) integers"),
    ],
)
def test_bad_classes_are_refused(labels, predictions, message):
    with pytest.raises(DadnetError, match=message):
        metrics.confusion(labels, predictions, 3)


def test_bad_shapes_are_refused():
    with pytest.raises(DadnetError, match="one confusion matrix"):
        metrics.uf1(np.zeros((2, 3, 3)))
    with pytest.raises(DadnetError, match="confusion matrices"):
        metrics.uar(np.zeros((2, 3)))
    with pytest.raises(DadnetError, match=r"probabilities \(2, K\)"):
        metrics.log_loss(np.zeros((3, 2)), [0, 1])
    with pytest.raises(DadnetError, match=r"probabilities \(2, K\)"):
        metrics.log_loss(np.zeros(2), [0, 1])
    with pytest.raises(DadnetError, match=r"probabilities \(1, 2\), got: \(3, 2\)"):
        metrics.label_log_loss(np.zeros((3, 2)), [[0, 1]])
    with pytest.raises(DadnetError, match=r"classes 0\.\.1"):
        metrics.log_loss(np.full((1, 2), 0.5), [2])
