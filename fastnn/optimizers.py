"""Optimizers: how parameters follow their gradients."""

import numpy as np

from . import kernels
from .validation import DTYPES, as_array, as_positive, unlocked


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
        """Take one step for two arrays of one shape, float32 or float64; `parameters` changes."""
        if not isinstance(parameters, np.ndarray) or parameters.dtype not in DTYPES:
            kind = getattr(parameters, "dtype", type(parameters).__name__)
            raise TypeError(f"parameters is {kind}, expected an array of float32 or float64")
        gradients = as_array(gradients, "gradients")
        if gradients.shape != parameters.shape or gradients.dtype != parameters.dtype:
            raise ValueError(
                f"gradients is {gradients.dtype} of shape {gradients.shape}, "
                f"expected {parameters.dtype} of shape {parameters.shape}, as parameters"
            )
        if not parameters.flags.writeable:
            raise ValueError("parameters is read-only, expected an array that can be updated")
        ready = np.require(parameters, requirements=["C_CONTIGUOUS", "ALIGNED"])
        slopes = np.require(gradients, requirements=["C_CONTIGUOUS", "ALIGNED"])
        kernels.sgd_update(ready, unlocked(slopes), self.rate_for(parameters.dtype))
        if ready is not parameters:
            parameters[...] = ready

    def rate_for(self, dtype):
        """Return the learning rate as a `dtype` number; ValueError where it has none for it."""
        limits = np.finfo(dtype)
        rate = as_positive(self.learning_rate, "learning_rate")  # a script may have set it
        if not float(limits.tiny) <= rate <= float(limits.max):
            raise ValueError(
                f"learning_rate is {rate}, "
                f"expected {limits.tiny} to {limits.max}, the range of {dtype}"
            )
        return dtype.type(rate)

    def __repr__(self):
        return f"SGD(learning_rate={self.learning_rate})"
