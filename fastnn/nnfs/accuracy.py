"""Accuracies under the names of networks from scratch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from ..validation import as_array, as_flag
from .losses import RunningMean


class Accuracy(RunningMean):
    """The fraction of right predictions, those for which `compare` of a subclass gives True.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> class Within(nnfs.Accuracy):
    ...     def compare(self, predictions, y):
    ...         return np.abs(predictions - y) < 0.5
    >>> float(Within().calculate(np.array([1.0, 2.0]), np.array([1.1, 3.0])))
    0.5
    """

    compare: Callable[[Any, Any], Array]

    def init(self, y: ArrayLike) -> None:
        """Called with all targets before training."""

    def calculate(self, predictions: ArrayLike, y: ArrayLike) -> np.floating[Any]:
        """Return the fraction of a batch's predictions that are right."""
        comparisons = self.compare(predictions, y)
        self.accumulate(np.sum(comparisons), np.size(comparisons))
        mean: np.floating[Any] = np.mean(comparisons)
        return mean

    def calculate_accumulated(self) -> float:
        """Return the fraction of right predictions since `new_pass`."""
        return self._mean()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _as_pair(predictions: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    predictions, y = as_array(predictions, "predictions"), as_array(y, "y")
    if predictions.shape != y.shape:
        raise ValueError(f"predictions has shape {predictions.shape}, expected {y.shape}, as y")
    return predictions, y


class Accuracy_Categorical(Accuracy):
    """The accuracy of classes, or of yes-or-no answers.

    Parameters
    ----------
    binary : bool
        If True, targets are answers 0 or 1 (B, O), which are compared one by one. If False, they
        are classes: labels (B,) or one-hot rows (B, C).

    Examples
    --------
    >>> from fastnn import nnfs
    >>> float(nnfs.Accuracy_Categorical().calculate([0, 1, 1], [0, 1, 2]).round(2))
    0.67
    """

    def __init__(self, *, binary: bool = False) -> None:
        self.binary = as_flag(binary, "binary")

    def compare(self, predictions: ArrayLike, y: ArrayLike) -> Array:
        """Return which predictions are right."""
        y = as_array(y, "y")
        if not self.binary and y.ndim == 2:
            y = np.argmax(y, axis=1)
        predictions, y = _as_pair(predictions, y)
        right: Array = predictions == y
        return right

    def __repr__(self) -> str:
        return f"{type(self).__name__}(binary={getattr(self, 'binary', '?')})"


class Accuracy_Regression(Accuracy):
    """The accuracy of numbers: a prediction is right if it is less than `precision` away.

    Attributes
    ----------
    precision : float or None
        The standard deviation of the targets of the first `init`, divided by 250.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> accuracy = nnfs.Accuracy_Regression()
    >>> accuracy.init([0.0, 1.0, 2.0])
    >>> round(float(accuracy.precision), 4)
    0.0033
    >>> float(accuracy.calculate([0.001, 1.1, 2.0], [0.0, 1.0, 2.0]).round(2))
    0.67
    """

    def __init__(self) -> None:
        self.precision: float | np.floating[Any] | None = None

    def init(self, y: ArrayLike, reinit: bool = False) -> None:
        """Compute the precision from the targets `y`, if there is none yet or with `reinit`."""
        if self.precision is None or as_flag(reinit, "reinit"):
            self.precision = np.std(as_array(y, "y")) / 250

    def compare(self, predictions: ArrayLike, y: ArrayLike) -> Array:
        """Return which predictions are right."""
        if self.precision is None:
            raise RuntimeError("Accuracy_Regression.compare was called before init")
        predictions, y = _as_pair(predictions, y)
        right: Array = np.abs(predictions - y) < self.precision
        return right
