"""Metrics of numbers, (B,) or (B, O): the mean over samples and outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..types import Floats
from ..validation import as_array
from .samples import as_weights, mean


def mean_squared_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean of (y_pred - y_true)**2 over samples and outputs.

    Parameters
    ----------
    y_true : array-like of shape (B,) or (B, O)
        Targets.
    y_pred : array-like of shape (B,) or (B, O)
        Predictions.
    sample_weight : array-like of shape (B,), optional
        The weight of each sample, by default 1.

    Returns
    -------
    float

    Examples
    --------
    >>> fastnn.metrics.mean_squared_error([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    return mean(np.square(predicted - true).mean(axis=1), weights)


def root_mean_squared_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the square root of the mean of (y_pred - y_true)**2, the mean over the outputs.

    Parameters as of :func:`mean_squared_error`.

    Examples
    --------
    >>> fastnn.metrics.root_mean_squared_error([1.0, 2.0], [4.0, 5.0])
    3.0
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    squares = np.average(np.square(predicted - true), axis=0, weights=weights)
    return float(np.sqrt(squares).mean())


def mean_absolute_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean of |y_pred - y_true|; parameters as of :func:`mean_squared_error`.

    Examples
    --------
    >>> fastnn.metrics.mean_absolute_error([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    return mean(np.abs(predicted - true).mean(axis=1), weights)


def poisson_deviance(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean Poisson deviance of rates, over samples and outputs.

    2 * (y log(y / r) - y + r) for a target y and a predicted rate r, which is 2 * r where y is 0:
    twice the loss of :class:`Poisson`. It is 0 where all predictions are right, and infinite for
    a rate of 0 where y is not. McCullagh, Nelder, "Generalized Linear Models" (1989), section 2.3.
    Parameters as of :func:`mean_squared_error`, none of them below 0.

    Examples
    --------
    >>> round(fastnn.metrics.poisson_deviance([3.0, 0.0], [3.0, 2.0]), 4)
    2.0
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    for array, name in ((true, "y_true"), (predicted, "y_pred")):
        if (array < 0).any():
            raise ValueError(f"{name} has {array.min()}, expected numbers of at least 0")
    counted = true > 0
    with np.errstate(divide="ignore"):
        logs = [np.log(a, out=np.zeros_like(a), where=counted) for a in (true, predicted)]
    deviances = 2 * (true * (logs[0] - logs[1]) - true + predicted)
    return mean(deviances.mean(axis=1), weights)


def r2(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the coefficient of determination, the mean over the outputs.

    1 - sum((y_pred - y_true)**2) / sum((y_true - mean(y_true))**2): 1 at best, 0 for the mean of
    the targets. For constant targets 1 where all predictions are right, else 0. Parameters as of
    :func:`mean_squared_error`.

    Examples
    --------
    >>> fastnn.metrics.r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    weights = np.ones(len(true)) if weights is None else weights
    rest = weights @ np.square(predicted - true)
    spread = weights @ np.square(true - np.average(true, axis=0, weights=weights))
    scores = np.where(rest == 0, 1.0, 0.0)
    np.divide(spread - rest, spread, out=scores, where=(spread > 0) & (rest != 0))
    return float(scores.mean())


def _numbers(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Floats, Floats, Floats | None]:
    true, predicted = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
    for array, name in ((true, "y_true"), (predicted, "y_pred")):
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(
                f"{name} has shape {array.shape}, "
                "expected (n_samples,) or (n_samples, n_outputs) numbers"
            )
    weights = as_weights(true, predicted, sample_weight)
    true, predicted = (a.reshape(len(a), -1).astype(np.float64) for a in (true, predicted))
    if true.shape != predicted.shape:
        raise ValueError(f"y_pred has shape {predicted.shape}, expected {true.shape}, as y_true")
    return true, predicted, weights
