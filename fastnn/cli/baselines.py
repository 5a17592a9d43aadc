"""Models that a network has to beat: one answer for all samples, and a linear model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

import fastnn

from ..types import Array, Floats

if TYPE_CHECKING:
    from ..model import Sequential
    from ..tables.targets import Target

MOST_FEATURES = 2_000
"""With more features there is no linear model: it takes I**2 numbers, and I**3 operations."""

_PENALTIES = np.logspace(-3, 3, 13)


def constant_model(target: Target, y: Array, n_features: int, dtype: str) -> Sequential:
    """Return a model with the same outputs for all samples: class frequencies, or the mean."""
    n_outputs = len(target.labels) if target.task == "classification" else 1
    dense = fastnn.Dense(n_features, n_outputs, dtype=dtype, init="zeros")
    if target.task == "regression":
        return fastnn.Sequential([dense], loss=fastnn.MeanSquaredError())
    counts = np.bincount(y, minlength=n_outputs)
    dense.biases = [np.log(np.maximum(counts, 0.5) / counts.sum())]
    return fastnn.Sequential([dense])


def linear_model(
    target: Target,
    inputs: list[Floats],
    targets: list[Array],
    dtype: str,
    fit: Callable[[Sequential], object],
) -> Sequential | None:
    """Return a linear model; None where there are more than `MOST_FEATURES` features.

    Of numbers it is ridge regression, with the penalty that is best on the second part. Of classes
    it is a network without a hidden layer, which `fit` trains.
    """
    n_features = inputs[0].shape[1]
    if n_features > MOST_FEATURES:
        return None
    n_outputs = len(target.labels) if target.task == "classification" else 1
    dense = fastnn.Dense(n_features, n_outputs, dtype=dtype, init="zeros")
    if target.task == "classification":
        model = fastnn.Sequential([dense])
        fit(model)
        return model
    dense.weights, dense.biases = _ridge(inputs, [target.standardize(y) for y in targets])
    return fastnn.Sequential([dense], loss=fastnn.MeanSquaredError())


def _ridge(inputs: list[Floats], targets: list[Floats]) -> tuple[Floats, Floats]:
    """Return the weights (I, 1) and biases (1, 1) of ridge regression.

    Of several penalties that is taken whose squared error is the smallest on the second part.
    Hoerl, Kennard, "Ridge Regression" (1970), equation 2.1.
    """
    (X, X_held_out), (y, y_held_out) = inputs, targets
    means, level = X.mean(axis=0, dtype=np.float64), y.mean()
    n = len(X)
    # The rows are not copied to float64: sums of products of the centered columns.
    products = (X.T @ X).astype(np.float64) - n * np.outer(means, means)
    slopes = (X.T @ y.astype(X.dtype)).astype(np.float64) - n * means * level
    values, vectors = np.linalg.eigh(products)
    scales, turned = np.maximum(values, 0.0), vectors.T @ slopes
    best = np.inf, np.zeros(X.shape[1])
    for penalty in _PENALTIES:
        weights = vectors @ (turned / (scales + penalty))
        error = float(np.mean((X_held_out @ weights + (level - means @ weights) - y_held_out) ** 2))
        best = min(best, (error, weights), key=lambda each: each[0])
    weights = best[1]
    return weights[:, np.newaxis], np.array([[level - means @ weights]])
