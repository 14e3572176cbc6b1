"""UF1, UAR, accuracy and log-loss, from confusion matrices in numpy.

``K`` classes, ``N`` clips; a confusion matrix has the truth in its rows. Functions named
``batched_*`` take any leading shape, ``(..., K, K)``; the others take one ``(K, K)``.

Counts are pooled over all folds first and the figure is computed once: a mean of the figures of
single subjects is another quantity, which most subjects distort because they lack a class.

Reference: See, Yap, Li, Hong, Wang, "MEGC 2019 - The Second Facial Micro-Expressions Grand
Challenge", section on evaluation (UF1, UAR over the counts of all folds).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def confusion(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int) -> IntArray:
    """Return how often each class was taken for each.

    Args:
        labels: the truth, (N,) class numbers in 0..K-1.
        predictions: (N,) class numbers in 0..K-1.
        num_classes: K.

    Returns:
        (K, K) int64, rows = truth, columns = prediction.

    Raises:
        DadnetError: if the shapes differ, are not (N,), or a number is no class.
    """
    truth, given = _classes("labels", labels), _classes("predictions", predictions)
    if truth.shape != given.shape:
        raise DadnetError(
            f"expected as many predictions as labels, got: {given.shape[0]} "
            f"predictions and {truth.shape[0]} labels"
        )
    both = np.concatenate([truth, given])
    if both.size and not 0 <= both.min() <= both.max() < num_classes:
        raise DadnetError(f"expected classes 0..{num_classes - 1}, got: {both.min()}..{both.max()}")
    counts = np.bincount(truth * num_classes + given, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def batched_class_f1(confusions: npt.ArrayLike) -> FloatArray:
    """Return F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c) of every class.

    Args:
        confusions: (..., K, K).

    Returns:
        (..., K); NaN for a class that is neither in the truth nor predicted.

    Raises:
        DadnetError: if the last two axes are not (K, K).
    """
    counts = _counts(confusions)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    # 2 TP + FP + FN = (TP + FN) + (TP + FP) = row sum + column sum
    return _ratio(2 * hits, counts.sum(axis=-1) + counts.sum(axis=-2))


def batched_recall(confusions: npt.ArrayLike) -> FloatArray:
    """Return TP_c / n_c of every class, (..., K) from (..., K, K); NaN where n_c = 0."""
    counts = _counts(confusions)
    return _ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1))


def batched_uf1(confusions: npt.ArrayLike) -> FloatArray:
    """Return the mean F1 over the classes for which it is defined, (...) from (..., K, K)."""
    return _mean_of_defined(batched_class_f1(confusions))


def batched_uar(confusions: npt.ArrayLike) -> FloatArray:
    """Return the mean recall over the classes that occur, (...) from (..., K, K)."""
    return _mean_of_defined(batched_recall(confusions))


def batched_accuracy(confusions: npt.ArrayLike) -> FloatArray:
    """Return the share of right clips, (...) from (..., K, K); NaN without clips."""
    counts = _counts(confusions)
    return _ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def label_counts(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_labels: int) -> IntArray:
    """Return, of each label, how often it was absent or present and was taken for either.

    Args:
        labels: the truth, (N, K) of 0 and 1.
        predictions: (N, K) of 0 and 1.
        num_labels: K.

    Returns:
        (K, 2, 2) int64: rows = truth, columns = prediction, absent before present.

    Raises:
        DadnetError: if the shapes differ or are not (N, K), or a value is neither 0 nor 1.
    """
    truth, given = _switches(labels, num_labels), _switches(predictions, num_labels)
    if truth.shape != given.shape:
        raise DadnetError(
            f"expected as many predictions as labels, got: {len(given)}, {len(truth)}"
        )
    cells = np.arange(num_labels) * 4 + truth * 2 + given
    counts = np.bincount(cells.ravel(), minlength=num_labels * 4)
    return counts.reshape(num_labels, 2, 2).astype(np.int64)


def tallies(counts: npt.ArrayLike, *, stacked: int = 0) -> tuple[FloatArray, ...]:
    """Return hits, clips and predictions of each class, or of each label's presence, (..., K).

    Every pooled figure follows from them, so this is where the two kinds of counts meet.

    Args:
        counts: (..., K, K) of classes or (..., K, 2, 2) of labels, rows = truth.
        stacked: axes in front of them, which tell the two apart.

    Raises:
        DadnetError: if the counts are neither.
    """
    array = np.asarray(counts, dtype=np.float64)
    if array.ndim == stacked + 3 and array.shape[-2:] == (2, 2):
        return array[..., 1, 1], array[..., 1, :].sum(axis=-1), array[..., 1].sum(axis=-1)
    if array.ndim != stacked + 2:
        raise DadnetError(f"expected one confusion matrix, or (K, 2, 2), got: {array.shape}")
    if array.shape[-1] != array.shape[-2]:
        raise DadnetError(f"expected confusion matrices (K, K) or (K, 2, 2), got: {array.shape}")
    return np.diagonal(array, axis1=-2, axis2=-1), array.sum(axis=-1), array.sum(axis=-2)


def class_f1(counts: npt.ArrayLike, *, stacked: int = 0) -> FloatArray:
    """Return the F1 of each class or label, (..., K); NaN where it is neither there nor predicted.

    Args:
        counts, stacked: see `tallies`.
    """
    hits, clips, given = tallies(counts, stacked=stacked)
    return _ratio(2 * hits, clips + given)


def uf1(confusion: npt.ArrayLike) -> float:
    """Return the unweighted F1: the mean over classes of 2 TP / (2 TP + FP + FN).

    A class that is neither in the truth nor predicted has no F1 and is left out of the mean. Of
    labels it is the macro F1: the mean over labels, of their presence.

    Args:
        confusion: (K, K) of classes or (K, 2, 2) of labels, rows = truth.

    Returns:
        In [0, 1]; NaN if there is no clip.

    Raises:
        DadnetError: if the counts are neither.
    """
    return float(_mean_of_defined(class_f1(confusion)))


def uar(confusion: npt.ArrayLike) -> float:
    """Return the unweighted average recall: the mean of TP_c / n_c over classes with n_c > 0.

    Args:
        confusion: (K, K) of classes or (K, 2, 2) of labels, rows = truth.

    Returns:
        In [0, 1]; NaN if there is no clip.

    Raises:
        DadnetError: if the counts are neither.
    """
    hits, clips, _ = tallies(confusion)
    return float(_mean_of_defined(_ratio(hits, clips)))


def accuracy(confusion: npt.ArrayLike) -> float:
    """Return the share of right clips of a (K, K) matrix; NaN if there is no clip.

    Raises:
        DadnetError: if the matrix is not (K, K).
    """
    return float(batched_accuracy(_one(confusion)))


def log_loss(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean of -ln p(truth) in nats.

    Probabilities are kept away from 0 by the smallest step of float32, so that one sure and
    wrong clip gives a large figure and not an infinite one.

    Args:
        probabilities: (N, K), rows that sum to 1.
        labels: (N,) class numbers in 0..K-1.

    Returns:
        The mean over the N clips; NaN for N = 0.

    Raises:
        DadnetError: if the shapes do not fit or a label is no class.
    """
    table, truth = np.asarray(probabilities, dtype=np.float64), _classes("labels", labels)
    if table.ndim != 2 or table.shape[0] != truth.shape[0]:
        raise DadnetError(f"expected probabilities ({truth.shape[0]}, K), got: {table.shape}")
    if not truth.size:
        return float("nan")
    if not 0 <= truth.min() <= truth.max() < table.shape[1]:
        raise DadnetError(
            f"expected classes 0..{table.shape[1] - 1}, got: {truth.min()}..{truth.max()}"
        )
    chosen = table[np.arange(truth.shape[0]), truth]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).eps)).mean())


def label_log_loss(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean over clips and labels of -ln p(truth) in nats, with the floor of `log_loss`.

    Args:
        probabilities: (N, K), of each label that it is there.
        labels: (N, K) of 0 and 1.

    Raises:
        DadnetError: if the shapes differ or a label is neither 0 nor 1.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    truth = _switches(labels, table.shape[-1])
    if table.shape != truth.shape:
        raise DadnetError(f"expected probabilities {truth.shape}, got: {table.shape}")
    if not truth.size:
        return float("nan")
    chosen = np.where(truth == 1, table, 1 - table)
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).eps)).mean())


def _switches(values: npt.ArrayLike, num_labels: int) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != num_labels or not np.isin(array, (0, 1)).all():
        raise DadnetError(f"expected 0 and 1 of {num_labels} labels of each clip, got: {array}")
    return array.astype(np.int64)


def _classes(name: str, values: npt.ArrayLike) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise DadnetError(f"expected {name} as (N,) integers, got: {array.shape} {array.dtype}")
    return array.astype(np.int64)


def _one(confusion: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(confusion)
    if array.ndim != 2:
        raise DadnetError(f"expected one confusion matrix (K, K), got: {array.shape}")
    return array


def _counts(confusions: npt.ArrayLike) -> FloatArray:
    array = np.asarray(confusions, dtype=np.float64)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise DadnetError(f"expected confusion matrices (..., K, K), got: {array.shape}")
    return array


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> FloatArray:
    top, bottom = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    quotient = np.full(top.shape, np.nan, dtype=np.float64)
    np.divide(top, bottom, out=quotient, where=bottom > 0)
    return quotient


def _mean_of_defined(values: FloatArray) -> FloatArray:
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))
