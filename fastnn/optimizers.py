"""Optimizers: how parameters follow their gradients."""

import numpy as np

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
        kernels.sgd_update(parameters, gradients, self.rate_for(parameters.dtype))

    def rate_for(self, dtype):
        """Return the learning rate as a `dtype` number; ValueError where it has none for it."""
        limits = np.finfo(dtype)
        if not limits.tiny <= self.learning_rate <= limits.max:
            raise ValueError(
                f"learning_rate is {self.learning_rate}, "
                f"expected {limits.tiny} to {limits.max}, the range of {dtype}"
            )
        return dtype.type(self.learning_rate)

    def __repr__(self):
        return f"SGD(learning_rate={self.learning_rate})"
