"""Models that a network has to beat: one answer for all samples, and a linear model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

import fastnn

from ..types import Floats

if TYPE_CHECKING:
    from ..model import Sequential
    from .dataset import TrainingData

MOST_FEATURES = 2_000
"""With more features there is no linear model: it takes I**2 numbers, and I**3 operations."""

_PENALTIES = np.logspace(-3, 3, 13)


def constant_model(dataset: TrainingData, dtype: str) -> Sequential:
    """Return a model with the same outputs for all samples: class frequencies, or the mean."""
    target, n_features = dataset.target, len(dataset.preprocessor.feature_names)
    n_outputs = len(target.labels) if target.task == "classification" else 1
    dense = fastnn.Dense(n_features, n_outputs, dtype=dtype, init="zeros")
    if target.task == "regression":
        return fastnn.Sequential([dense], loss=fastnn.MeanSquaredError())
    counts = dataset.count_classes()
    dense.biases = [np.log(np.maximum(counts, 0.5) / counts.sum())]
    return fastnn.Sequential([dense])


def linear_model(
    dataset: TrainingData, dtype: str, fit: Callable[[Sequential], object]
) -> Sequential | None:
    """Return a linear model; None where there are more than `MOST_FEATURES` features.

    Of numbers it is ridge regression, with the penalty that is best on the held-out part. Of
    classes it is a network without a hidden layer, which `fit` trains.
    """
    target, n_features = dataset.target, len(dataset.preprocessor.feature_names)
    if n_features > MOST_FEATURES:
        return None
    n_outputs = len(target.labels) if target.task == "classification" else 1
    dense = fastnn.Dense(n_features, n_outputs, dtype=dtype, init="zeros")
    if target.task == "classification":
        model = fastnn.Sequential([dense])
        fit(model)
        return model
    dense.weights, dense.biases = _ridge(dataset)
    return fastnn.Sequential([dense], loss=fastnn.MeanSquaredError())


def _ridge(dataset: TrainingData) -> tuple[Floats, Floats]:
    """Return the weights (I, 1) and biases (1, 1) of ridge regression.

    Of several penalties that is taken whose squared error is the smallest on the held-out part.
    Hoerl, Kennard, "Ridge Regression" (1970), equation 2.1.
    """
    n_features = len(dataset.preprocessor.feature_names)
    n, n_held_out = dataset.sizes
    totals, level = np.zeros(n_features), 0.0
    products, slopes = np.zeros((n_features, n_features)), np.zeros(n_features)
    for X, y in dataset.parts(0):
        totals += X.sum(axis=0, dtype=np.float64)
        level += float(y.sum())
        # The rows are not copied to float64: sums of products of the centered columns.
        products += X.T @ X
        slopes += X.T @ y.astype(X.dtype)
    means, level = totals / n, level / n
    products -= n * np.outer(means, means)
    slopes -= n * means * level
    values, vectors = np.linalg.eigh(products)
    scales, turned = np.maximum(values, 0.0), vectors.T @ slopes
    candidates = [vectors @ (turned / (scales + penalty)) for penalty in _PENALTIES]
    errors = np.zeros(len(candidates))
    for X, y in dataset.parts(1):
        for k, weights in enumerate(candidates):
            errors[k] += np.sum((X @ weights + (level - means @ weights) - y) ** 2)
    best = candidates[int(np.argmin(errors / n_held_out))]
    return best[:, np.newaxis], np.array([[level - means @ best]])
