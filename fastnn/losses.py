"""Losses. Targets are labels (B,), or rows (B, C) that are one-hot or soft distributions.

The loss of a batch is the mean over its samples, and every gradient is the one of that mean.
"""

import numpy as np

from . import kernels
from .validation import as_positive, as_rows, as_targets, unlocked


class Loss:
    """A loss with one value a sample: a subclass gives `forward(y_pred, y_true)`."""

    dinputs = None

    def calculate(self, y_pred, y_true):
        """Return the mean of the losses of the samples."""
        return np.mean(self.forward(y_pred, y_true))


class CategoricalCrossEntropy(Loss):
    """Cross-entropy of probabilities: -sum(y_true * log(y_pred)) for each sample.

    Parameters
    ----------
    epsilon : float
        Probabilities are first moved into [epsilon, 1 - epsilon], so the loss is finite.

    Attributes
    ----------
    dinputs : ndarray of shape (B, C)
        From the last `backward`.

    Raises
    ------
    TypeError, ValueError
        For probabilities that are not (B, C) finite numbers, B above 0; for labels outside
        [0, C) or not whole, rows that are not distributions, or another number of targets.
    """

    def __init__(self, epsilon=1e-7):
        self.epsilon = as_positive(epsilon, "epsilon")
        if self.epsilon >= 0.5:
            raise ValueError(f"epsilon is {self.epsilon}, expected a number below 0.5")

    def forward(self, y_pred, y_true):
        """Return the losses (B,) of probabilities (B, C)."""
        y_pred, targets = _check(y_pred, "y_pred", y_true)
        losses = np.empty(len(y_pred), y_pred.dtype)
        kernels.cross_entropy_forward(losses, y_pred, targets, self.epsilon)
        return losses

    def backward(self, dvalues, y_true):
        """Return -y_true / dvalues / B, the gradient at the probabilities `dvalues` (B, C)."""
        y_pred, targets = _check(dvalues, "dvalues", y_true)
        dinputs = np.empty_like(y_pred)
        kernels.cross_entropy_backward(dinputs, y_pred, targets, self.epsilon)
        self.dinputs = dinputs
        return dinputs

    def __repr__(self):
        return f"{type(self).__name__}(epsilon={self.epsilon})"


class SoftmaxCrossEntropy:
    """Softmax and cross-entropy in one: exact for logits of any size, and a simple gradient.

    Attributes
    ----------
    output : ndarray of shape (B, C)
        The probabilities of the last `forward`.
    dinputs : ndarray of shape (B, C)
        From the last `backward`.

    Raises
    ------
    TypeError, ValueError
        As :class:`CategoricalCrossEntropy`.
    """

    output = None
    dinputs = None

    def forward(self, logits, y_true):
        """Return the mean loss: of logsumexp(logits) - logits[target] over the batch."""
        logits, targets = _check(logits, "logits", y_true)
        losses = np.empty(len(logits), logits.dtype)
        output = np.empty_like(logits)
        kernels.softmax_cross_entropy_forward(losses, output, logits, targets)
        self.output = output
        return np.mean(losses)

    def backward(self, probabilities, y_true):
        """Return (probabilities - y_true) / B, the gradient with respect to the logits."""
        probabilities, targets = _check(probabilities, "probabilities", y_true)
        dinputs = np.empty_like(probabilities)
        kernels.softmax_cross_entropy_backward(dinputs, probabilities, targets)
        self.dinputs = dinputs
        return dinputs

    def __repr__(self):
        return f"{type(self).__name__}()"


def _check(y_pred, name, y_true):
    y_pred = as_rows(y_pred, name, allow_empty=False)
    targets = as_targets(y_true, "y_true", *y_pred.shape, y_pred.dtype)
    return unlocked(y_pred), unlocked(targets)
