"""Metrics of classes: labels of any kind, or rows whose largest entry is the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array, Floats
from ..validation import as_anything, as_array, as_count
from .samples import as_weights, mean

Average: TypeAlias = Literal["macro", "weighted", "micro", "binary"]


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the fraction of samples whose predicted class is the true one.

    Parameters
    ----------
    y_true : array-like of shape (B,) or (B, C)
        True labels, or rows whose largest entry is the class.
    y_pred : array-like of shape (B,) or (B, C)
        Predicted labels, or rows of probabilities.
    sample_weight : array-like of shape (B,), optional
        The weight of each sample, by default 1.

    Returns
    -------
    float

    Examples
    --------
    >>> fastnn.accuracy(["cat", "dog"], ["cat", "cat"])
    0.5
    >>> fastnn.accuracy([0, 1], [[0.9, 0.1], [0.6, 0.4]])
    0.5
    """
    true, predicted = _classes(y_true, "y_true"), _classes(y_pred, "y_pred")
    return mean(true == predicted, as_weights(true, predicted, sample_weight))


def balanced_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean, over the classes that occur in `y_true`, of their recall.

    Parameters as of :func:`accuracy`.

    Examples
    --------
    >>> fastnn.metrics.balanced_accuracy([0, 1, 1, 1, 1], [0, 1, 0, 1, 1])
    0.875
    """
    true, predicted = _classes(y_true, "y_true"), _classes(y_pred, "y_pred")
    weights = as_weights(true, predicted, sample_weight)
    _, at = np.unique(true, return_inverse=True)
    weights = np.ones(len(true)) if weights is None else weights
    right, total = np.bincount(at, weights * (true == predicted)), np.bincount(at, weights)
    return float((right[total > 0] / total[total > 0]).mean())


def top_k_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, k: int = 5, sample_weight: ArrayLike | None = None
) -> float:
    """Return the fraction of samples whose true class is among the `k` most probable ones.

    Parameters
    ----------
    y_true : array-like of shape (B,) or (B, C)
        Labels from 0 to C - 1, or rows.
    y_pred : array-like of shape (B, C)
        Probabilities or logits. Of equals, the first ones count as more probable.
    k : int
        At least 1.
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float

    Examples
    --------
    >>> fastnn.metrics.top_k_accuracy([0, 2], [[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], k=2)
    0.5
    """
    true, scores = _classes(y_true, "y_true"), as_array(y_pred, "y_pred")
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"y_pred has shape {scores.shape}, expected (n_samples, n_classes) rows")
    weights = as_weights(true, scores, sample_weight)
    best = np.argsort(-scores, axis=1, kind="stable")[:, : as_count(k, "k")]
    return mean((best == true[:, np.newaxis]).any(axis=1), weights)


@overload
def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average = "macro",
    sample_weight: ArrayLike | None = None,
) -> float: ...
@overload
def precision(
    y_true: ArrayLike, y_pred: ArrayLike, average: None, sample_weight: ArrayLike | None = None
) -> Floats: ...
def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return the fraction of the samples predicted as a class that are of this class.

    Parameters
    ----------
    y_true : array-like of shape (B,) or (B, O)
        True labels; or answers 0 and 1 to O questions, each of which then takes the place of a
        class.
    y_pred : array-like of shape (B,) or (B, O)
        Predicted labels or answers.
    average : {"macro", "weighted", "micro", "binary", None}
        The mean over the classes, the mean weighted with how often each is true, over all
        decisions together, only of class 1 where there are 0 and 1, or an array of all classes,
        in the order of their labels. Where nothing was predicted as a class, its value is 0.
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float, or ndarray of shape (C,)

    Examples
    --------
    >>> fastnn.metrics.precision([0, 1, 1, 1], [0, 1, 0, 1])
    0.75
    >>> fastnn.metrics.precision([0, 1, 1, 1], [0, 1, 0, 1], average="binary")
    1.0
    >>> fastnn.metrics.precision([0, 1, 1, 1], [0, 1, 0, 1], average=None)
    array([0.5, 1. ])
    """
    return _average(y_true, y_pred, average, sample_weight, lambda tp, p, a: _ratio(tp, p))


@overload
def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average = "macro",
    sample_weight: ArrayLike | None = None,
) -> float: ...
@overload
def recall(
    y_true: ArrayLike, y_pred: ArrayLike, average: None, sample_weight: ArrayLike | None = None
) -> Floats: ...
def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return the fraction of the samples of a class that are predicted as this class.

    Parameters as of :func:`precision`; 0 for a class that is never true.

    Examples
    --------
    >>> fastnn.metrics.recall([0, 1, 1, 1, 1], [0, 1, 0, 1, 1])
    0.875
    """
    return _average(y_true, y_pred, average, sample_weight, lambda tp, p, a: _ratio(tp, a))


@overload
def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average = "macro",
    sample_weight: ArrayLike | None = None,
) -> float: ...
@overload
def f1(
    y_true: ArrayLike, y_pred: ArrayLike, average: None, sample_weight: ArrayLike | None = None
) -> Floats: ...
def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return the harmonic mean of precision and recall: 2 * right / (predicted + true).

    Parameters as of :func:`precision`; van Rijsbergen, "Information Retrieval" (1979), chapter 7.

    Examples
    --------
    >>> fastnn.metrics.f1([0, 1, 1, 1], [0, 1, 0, 1], average="binary")
    0.8
    """
    return _average(y_true, y_pred, average, sample_weight, lambda tp, p, a: _ratio(2 * tp, p + a))


def _classes(values: ArrayLike, name: str) -> Array:
    array = as_anything(values, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape}, "
            "expected (n_samples,) labels or (n_samples, n_classes) rows"
        )
    if array.ndim == 1:
        return array
    if array.shape[1] == 1:
        raise ValueError(f"{name} has shape {array.shape}; labels are {name}.ravel()")
    classes: Array = array.argmax(axis=1)
    return classes


def _average(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None,
    sample_weight: ArrayLike | None,
    score: Callable[..., Any],
) -> Any:
    averages = ("macro", "weighted", "micro", "binary", None)
    if average not in averages:
        raise ValueError(f"average is {average!r}, expected one of {averages}")
    counts = _count(y_true, y_pred, sample_weight, average == "binary")
    if average == "micro":
        return float(score(*(each.sum() for each in counts)))
    scores = score(*counts)
    if average is None:
        return scores
    if average == "weighted":
        return float(np.average(scores, weights=counts[2])) if counts[2].any() else 0.0
    return float(scores[-1] if average == "binary" else scores.mean())


def _count(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, binary: bool
) -> tuple[Floats, Floats, Floats]:
    """Return how often each class is predicted and true, predicted, and true: three (C,)."""
    true, predicted = as_anything(y_true, "y_true"), as_anything(y_pred, "y_pred")
    if true.ndim == predicted.ndim == 2 and true.shape[1:] == predicted.shape[1:]:
        weights = as_weights(true, predicted, sample_weight)
        weights = np.ones(len(true)) if weights is None else weights
        true, predicted = true != 0, predicted != 0
        return weights @ (true & predicted), weights @ predicted, weights @ true
    true, predicted = _classes(true, "y_true"), _classes(predicted, "y_pred")
    weights = as_weights(true, predicted, sample_weight)
    labels = np.union1d(true, predicted)
    if binary:
        if not np.isin(labels, [0, 1]).all():
            raise ValueError(f"y_true has labels {labels}, expected 0 and 1 for a binary average")
        labels = np.array([0, 1])
    true, predicted = (np.searchsorted(labels, each) for each in (true, predicted))
    right = true == predicted
    chosen = None if weights is None else weights[right]
    return (
        np.bincount(true[right], chosen, len(labels)).astype(np.float64),
        np.bincount(predicted, weights, len(labels)).astype(np.float64),
        np.bincount(true, weights, len(labels)).astype(np.float64),
    )


def _ratio(part: Floats, whole: Floats) -> Any:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole != 0)
