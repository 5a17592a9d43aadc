"""The formulas of losses in NumPy, for rows of the catalogue.

Each returns (loss, slope) of outputs z and targets y, element by element.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def binary_from_logits(z: Array, y: Array, number: float) -> tuple[Array, Array]:
    """Cross-entropy of answers of 0 or 1 and logits; a yes weighs `number`, and 1 if that is 0."""
    e = np.exp(-np.abs(z))
    loss, slope = np.maximum(z, 0) - z * y + np.log1p(e), np.where(z > 0, 1, e) / (1 + e) - y
    if number > 0:
        more = y * (number - 1)
        loss = loss + more * (np.maximum(-z, 0) + np.log1p(e))
        slope = slope - more * np.where(z > 0, e, 1) / (1 + e)
    return loss, slope


def binary_from_probabilities(z: Array, y: Array, number: float) -> tuple[Array, Array]:
    """Cross-entropy of probabilities that are clipped to [number, 1 - number]."""
    p = np.clip(z, number, 1 - number)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)), (p - y) / (p * (1 - p))


def squared_error(z: Array, y: Array, number: float) -> tuple[Array, Array]:
    """Square of the difference."""
    d = z - y
    return d * d, 2 * d


def absolute_error(z: Array, y: Array, number: float) -> tuple[Array, Array]:
    """Absolute value of the difference."""
    d = z - y
    return np.abs(d), np.sign(d)


def huber(z: Array, y: Array, number: float) -> tuple[Array, Array]:
    """Half of the squared difference; linear where the difference is above `number`."""
    d = z - y
    size, inside = np.abs(d), np.abs(d) <= number
    loss = np.where(inside, d * d / 2, number * (size - number / 2))
    return loss, np.where(inside, d, number * np.sign(d))


def quantile(z: Array, y: Array, number: float) -> tuple[Array, Array]:
    """Pinball loss of the quantile `number`."""
    d = z - y
    slope = np.where(d > 0, 1 - number, np.where(d < 0, -number, 0))
    return d * slope, slope


def poisson(z: Array, y: Array, number: float) -> tuple[Array, Array]:
    """Half of the Poisson deviance of counts y; z are logarithms of rates."""
    with np.errstate(over="ignore", invalid="ignore"):
        rate = np.exp(z)
        d = z - np.log(np.where(y > 0, y, 1))
        near = y * (np.expm1(np.minimum(d, 1)) - d)
        return np.where(y > 0, np.where(d > 1, rate - y - y * d, near), rate), rate - y
