"""Metrics of probabilities and other scores of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array, Floats
from ..validation import as_anything, as_array
from .samples import as_weights, mean


def roc_auc(y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve.

    It is the probability that a random sample of a class has a higher score for this class than a
    random sample of another one. Equal scores count one half.

    Parameters
    ----------
    y_true : array-like of shape (B,) or (B, C)
        Labels from 0 to C - 1, one-hot rows, or answers 0 and 1 to C questions.
    y_score : array-like of shape (B,) or (B, C)
        The scores of class 1, if there are two classes; or a score for each class or question, such
        as probabilities or logits.
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float
        For more than two classes, the mean over the classes, each against all others. A class that
        no sample has, or that all have, is left out. NaN if no class remains.

    Examples
    --------
    >>> fastnn.metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    true, scores = _columns(y_true, y_score, "y_score")
    weights = as_weights(true, scores, sample_weight)
    weights = np.ones(len(true)) if weights is None else weights
    if np.ndim(y_true) == 1 and true.shape[1] == 2:  # the area of class 0 is the same
        true, scores = true[:, 1:], scores[:, 1:]
    areas = [_area(true[:, k], scores[:, k], weights) for k in range(true.shape[1])]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else float("nan")


def log_loss(
    y_true: ArrayLike, y_proba: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean of -log(p), where p is the predicted probability of the true class.

    Parameters
    ----------
    y_true : array-like of shape (B,) or (B, C)
        Labels from 0 to C - 1, or rows that are distributions.
    y_proba : array-like of shape (B,) or (B, C)
        The probabilities of class 1, if there are two classes; or those of all classes. They are
        moved away from 0 and 1 by the machine epsilon of their dtype, as in scikit-learn.
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float

    Examples
    --------
    >>> round(fastnn.metrics.log_loss([0, 1], [[0.9, 0.1], [0.2, 0.8]]), 4)
    0.1643
    >>> round(fastnn.metrics.log_loss([0, 1], [0.1, 0.8]), 4)
    0.1643
    """
    true, scores = _columns(y_true, y_proba, "y_proba")
    weights = as_weights(true, scores, sample_weight)
    outside = (scores < 0) | (scores > 1)
    if outside.any():  # of two columns, the second is the one that was passed
        raise ValueError(f"y_proba has {scores[outside][-1]}, expected numbers from 0 to 1")
    dtype = np.asarray(y_proba).dtype
    epsilon = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    logs = np.log(np.clip(scores, epsilon, 1 - epsilon))
    return mean(-(true * logs).sum(axis=1), weights)


def _columns(y_true: ArrayLike, y_score: ArrayLike, name: str) -> tuple[Floats, Floats]:
    """Return both as rows (B, C) of float64. Scores (B,) of class 1 give two columns."""
    scores = as_array(y_score, name)
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(
            f"{name} has shape {scores.shape}, "
            "expected (n_samples,) or (n_samples, n_classes) numbers"
        )
    scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"{name} has NaN, expected numbers")
    if scores.ndim == 1 or scores.shape[1] == 1:
        scores = np.column_stack([1 - scores, scores])
    true = as_anything(y_true, "y_true")
    if true.ndim not in (1, 2) or true.size == 0:
        raise ValueError(
            f"y_true has shape {true.shape}, "
            "expected (n_samples,) labels or (n_samples, n_classes) rows"
        )
    if len(true) != len(scores):
        raise ValueError(f"{name} has {len(scores)} samples, y_true {len(true)}: expected equal")
    if true.ndim == 1:
        n_classes = scores.shape[1]
        return np.eye(n_classes)[_as_labels(true, n_classes)], scores
    rows = as_array(true, "y_true").astype(np.float64)
    if rows.shape != scores.shape:
        raise ValueError(f"{name} has shape {np.shape(y_score)}, expected {rows.shape}, as y_true")
    return rows, scores


def _as_labels(true: Array, n_classes: int) -> Array:
    right = np.isin(true, range(n_classes))
    if true.dtype.kind not in "biuf" or not right.all():
        wrong = true[~right].tolist() or true.tolist()
        raise ValueError(f"y_true has {wrong[0]!r:.80}, expected labels from 0 to {n_classes - 1}")
    return true.astype(np.int64)


def _area(true: Floats, scores: Floats, weights: Floats) -> float:
    """Return the area of one class, NaN if all samples are of it, or none is."""
    distinct, at = np.unique(scores, return_inverse=True)
    of_class = np.bincount(at, weights * (true > 0), len(distinct))
    of_others = np.bincount(at, weights * (true <= 0), len(distinct))
    n_pairs = of_class.sum() * of_others.sum()
    if n_pairs == 0:
        return float("nan")
    below = np.cumsum(of_others) - of_others / 2
    return float(of_class @ below / n_pairs)
