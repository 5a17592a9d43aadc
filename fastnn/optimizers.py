"""Optimizers: how parameters follow their gradients."""

from . import kernels
from .validation import as_positive


class SGD:
    """Stochastic gradient descent: parameters -= learning_rate * gradients.

    Parameters
    ----------
    learning_rate : float
        Above 0.
    """

    def __init__(self, learning_rate=0.01):
        self.learning_rate = as_positive(learning_rate, "learning_rate")

    def update(self, parameters, gradients):
        """Take one step, in place, for two arrays of one shape and dtype."""
        rate = parameters.dtype.type(self.learning_rate)
        kernels.sgd_update(parameters, gradients, rate)

    def __repr__(self):
        return f"SGD(learning_rate={self.learning_rate})"
