"""Accuracies under the names of networks from scratch."""

import numpy as np

from ..validation import as_array, as_flag
from .losses import Accumulated


class Accuracy(Accumulated):
    """The fraction of right predictions: a subclass gives `compare(predictions, y)`."""

    def init(self, y):
        """Look at all targets before training."""

    def calculate(self, predictions, y):
        """Return the fraction of a batch's predictions that are right."""
        comparisons = self.compare(predictions, y)
        self.accumulate(np.sum(comparisons), np.size(comparisons))
        return np.mean(comparisons)

    def calculate_accumulated(self):
        """Return the fraction of right predictions since `new_pass`."""
        return self._mean()

    def __repr__(self):
        return f"{type(self).__name__}()"


def _compared(predictions, y):
    predictions, y = as_array(predictions, "predictions"), as_array(y, "y")
    if predictions.shape != y.shape:
        raise ValueError(f"predictions has shape {predictions.shape}, expected {y.shape}, as y")
    return predictions, y


class Accuracy_Categorical(Accuracy):
    """Of classes, or of yes-or-no answers.

    Parameters
    ----------
    binary : bool
        Targets are answers 0 or 1 (B, O), compared one by one, and not classes, (B,) labels or
        (B, C) rows.
    """

    def __init__(self, *, binary=False):
        self.binary = as_flag(binary, "binary")

    def compare(self, predictions, y):
        """Return which predictions are right."""
        y = as_array(y, "y")
        if not self.binary and y.ndim == 2:
            y = np.argmax(y, axis=1)
        predictions, y = _compared(predictions, y)
        return predictions == y

    def __repr__(self):
        return f"Accuracy_Categorical(binary={self.binary})"


class Accuracy_Regression(Accuracy):
    """Of numbers: right is what is less than `precision` away.

    Attributes
    ----------
    precision : float or None
        The standard deviation of all targets over 250, from the first `init`.
    """

    def __init__(self):
        self.precision = None

    def init(self, y, reinit=False):
        """Choose the precision for the targets `y`, once, or again with `reinit`."""
        if self.precision is None or as_flag(reinit, "reinit"):
            self.precision = np.std(as_array(y, "y")) / 250

    def compare(self, predictions, y):
        """Return which predictions are right."""
        if self.precision is None:
            raise RuntimeError("Accuracy_Regression.compare was called before init")
        predictions, y = _compared(predictions, y)
        return np.abs(predictions - y) < self.precision
