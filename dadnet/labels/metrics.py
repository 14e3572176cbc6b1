"""UF1, UAR and log-loss, from confusion matrices in numpy.

``K`` classes, ``N`` clips; a confusion matrix has the truth in its rows. `f1`, `recall` and
`mean_of_defined` are the only definitions of these figures; the bootstrap of `results` uses them
on arrays of resamples.

Counts are pooled over all folds first and the figure is computed once: a mean of the figures of
single subjects is another quantity, distorted because most subjects lack a class.

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
AnyFloats = npt.NDArray[Any]


def confusion(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int) -> IntArray:
    """Return how often each class was predicted as each class.

    Args:
        labels: the truth, (N,) class numbers in 0..K-1.
        predictions: (N,) class numbers in 0..K-1.
        num_classes: K.

    Returns:
        (K, K) int64, rows = truth, columns = prediction.

    Raises:
        DadnetError: if the shapes differ, are not (N,), or a number is no class.
    """
    truth, predicted = _classes("labels", labels), _classes("predictions", predictions)
    if truth.shape != predicted.shape:
        raise DadnetError(
            f"expected as many predictions as labels, got: {predicted.shape[0]} "
            f"predictions and {truth.shape[0]} labels"
        )
    both = np.concatenate([truth, predicted])
    if both.size and not 0 <= both.min() <= both.max() < num_classes:
        raise DadnetError(f"expected classes 0..{num_classes - 1}, got: {both.min()}..{both.max()}")
    counts = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def label_counts(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_labels: int) -> IntArray:
    """Return, of each label, how often absence and presence were predicted as either.

    Args:
        labels: the truth, (N, K) of 0 and 1.
        predictions: (N, K) of 0 and 1.
        num_labels: K.

    Returns:
        (K, 2, 2) int64: rows = truth, columns = prediction, absent before present.

    Raises:
        DadnetError: if the shapes differ or are not (N, K), or a value is neither 0 nor 1.
    """
    truth, predicted = _switches(labels, num_labels), _switches(predictions, num_labels)
    if truth.shape != predicted.shape:
        raise DadnetError(
            f"expected as many predictions as labels, got: {len(predicted)}, {len(truth)}"
        )
    cells = np.arange(num_labels) * 4 + truth * 2 + predicted
    counts = np.bincount(cells.ravel(), minlength=num_labels * 4)
    return counts.reshape(num_labels, 2, 2).astype(np.int64)


def totals(counts: npt.ArrayLike, *, stacked: int = 0) -> tuple[FloatArray, ...]:
    """Return hits, clips and predictions of each class, or of each label's presence, (..., K).

    Every pooled figure follows from them, so this is the one place that knows both kinds of counts.

    Args:
        counts: (..., K, K) of classes or (..., K, 2, 2) of labels, rows = truth.
        stacked: number of leading axes; the rank of the rest tells the two kinds apart.

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


def f1(hits: AnyFloats, clips_and_predictions: AnyFloats) -> AnyFloats:
    """Return F1 = 2 TP / (2 TP + FP + FN), elementwise and in the precision of the counts.

    Args:
        hits: TP.
        clips_and_predictions: 2 TP + FP + FN = (TP + FN) + (TP + FP).

    Returns:
        The same shape; NaN for a class that is neither in the truth nor predicted.
    """
    return _ratio(2 * hits, clips_and_predictions)


def recall(hits: AnyFloats, clips: AnyFloats) -> AnyFloats:
    """Return TP / (TP + FN), elementwise; NaN for a class that is not in the truth."""
    return _ratio(hits, clips)


def mean_of_defined(values: AnyFloats, axis: int = -1) -> AnyFloats:
    """Return the mean over the classes for which a figure is defined (not NaN), else NaN."""
    total, number = values.sum(axis=axis), values.dtype.type(values.shape[axis])
    if not np.isnan(total).any():  # nearly always; the rest is slower
        return _ratio(total, number)
    undefined = np.isnan(values)
    total = np.where(undefined, values.dtype.type(0), values).sum(axis=axis)
    return _ratio(total, number - undefined.sum(axis=axis).astype(values.dtype))


def class_f1(counts: npt.ArrayLike, *, stacked: int = 0) -> FloatArray:
    """Return the F1 of each class or label, (..., K); arguments as of `totals`."""
    hits, clips, predictions = totals(counts, stacked=stacked)
    return f1(hits, clips + predictions)


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
    return float(mean_of_defined(class_f1(confusion)))


def uar(confusion: npt.ArrayLike) -> float:
    """Return the unweighted average recall: the mean of TP_c / n_c over classes with n_c > 0.

    Arguments, result and errors are those of `uf1`.
    """
    hits, clips, _ = totals(confusion)
    return float(mean_of_defined(recall(hits, clips)))


def log_loss(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean of -ln p(truth) in nats.

    Probabilities have a floor, the smallest step of float32, so that a confident wrong prediction
    costs much, but not infinitely much.

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
    return _mean_log_loss(table[np.arange(truth.shape[0]), truth])


def label_log_loss(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean over clips and labels of -ln p(truth) in nats, with the floor of `log_loss`.

    Args:
        probabilities: (N, K), of the presence of each label.
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
    return _mean_log_loss(np.where(truth == 1, table, 1 - table))


def _mean_log_loss(of_truth: FloatArray) -> float:
    return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).eps)).mean())


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


def _ratio(above: AnyFloats, below: AnyFloats | np.floating) -> AnyFloats:
    with np.errstate(invalid="ignore"):
        quotient: AnyFloats = above / below  # 0 / 0 is NaN
    return quotient
