"""The initial weights of dense layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from ..settings import Setting
from ..types import Floats, Init
from ..validation import as_array, as_matrix, as_positive

# The variance of the weights, by the numbers of inputs and outputs.
_VARIANCES: dict[str, Callable[[int, int], float]] = {
    # He, Zhang, Ren, Sun, "Delving Deep into Rectifiers" (2015), equation 10.
    "he": lambda n_inputs, n_outputs: 2 / n_inputs,
    # Glorot, Bengio, "Understanding the difficulty of training deep ..." (2010), equation 12.
    "glorot": lambda n_inputs, n_outputs: 2 / (n_inputs + n_outputs),
    # LeCun, Bottou, Orr, Mueller, "Efficient BackProp" (1998), equation 16.
    "lecun": lambda n_inputs, n_outputs: 1 / n_inputs,
    "zeros": lambda n_inputs, n_outputs: 0.0,
}
NAMES = (*_VARIANCES, "he_uniform", "glorot_uniform", "lecun_uniform")


class scaled_normal:
    """Normal weights whose standard deviation does not depend on the size of the layer.

    Parameters
    ----------
    deviation : float
        Above 0. Networks from scratch usually have 0.01.

    Examples
    --------
    >>> layer = fastnn.Dense(100, 100, init=fastnn.scaled_normal(0.01), rng=0)
    >>> round(float(layer.weights.std()), 3)
    0.01
    """

    deviation = Setting(as_positive)

    def __init__(self, deviation: float = 0.01) -> None:
        self.deviation = deviation

    def __call__(self, rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return rng.standard_normal(shape) * self.deviation

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'deviation', '?')})"


def as_init(value: Init, name: str = "init") -> Init:
    """Return `value`, one of `NAMES` or a callable of (rng, shape)."""
    if not callable(value) and (not isinstance(value, str) or value not in NAMES):
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(NAMES)} or a callable")
    return value


def make_weights(
    init: Init, rng: np.random.Generator, shape: tuple[int, int], dtype: DTypeLike
) -> Floats:
    """Return initial weights (I, O): `init` is one of `NAMES`, or a callable of (rng, shape)."""
    if callable(init):
        weights = as_array(init(rng, shape), "the weights that init gave")
        if weights.shape != shape:
            raise ValueError(f"init gave weights of shape {weights.shape}, expected {shape}")
        return as_matrix(weights, "the weights that init gave", dtype).copy()
    deviation = math.sqrt(_VARIANCES[init.removesuffix("_uniform")](*shape))
    if init.endswith("_uniform"):
        limit = math.sqrt(3) * deviation
        return rng.uniform(-limit, limit, shape).astype(dtype)
    return (rng.standard_normal(shape) * deviation).astype(np.dtype(dtype))
