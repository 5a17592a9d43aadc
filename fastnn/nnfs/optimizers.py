"""Optimizers under the names of networks from scratch, with the formulas of the book.

They keep their averages on the layers, as `weight_momentums`, `bias_momentums`, `weight_cache`
and `bias_cache`, and count the steps themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..kernels.catalogue import Rule
from ..nn import optimizer as base
from ..nn import optimizers
from ..types import Array, DType, Floats
from ..validation import as_array, as_number, as_positive

# The parameters of a layer, and how the names of their averages begin.
KINDS = (("weights", "weight_"), ("biases", "bias_"))


class Optimizer(base.Optimizer):
    """What they share.

    Attributes
    ----------
    learning_rate, current_learning_rate : float
        At the start, and now.
    decay : float
        At least 0. `pre_update_params` makes the rate learning_rate / (1 + decay * iterations).
    iterations : int
        Steps taken.
    """

    learning_rate: Any
    averages: tuple[str, ...] = ()

    def _start(self, decay: float) -> None:
        self.decay = as_number(decay, "decay", 0)
        self.current_learning_rate: float = self.learning_rate
        self.iterations = 0

    def rate_at(self, step: int) -> float:
        """Return the rate that `pre_update_params` chooses before the step."""
        if not self.decay:
            return self.current_learning_rate
        rate: float = self.learning_rate * (1.0 / (1.0 + self.decay * step))
        return rate

    def rates(self, first: int, count: int, dtype: DType) -> Floats:
        """Return the learning rates of some steps; the next one takes the rate as it is now."""
        self.rate_for(dtype)
        as_positive(self.current_learning_rate, "current_learning_rate")
        rates = np.array([self.rate_at(first + i) for i in range(count)], np.float64)
        if first == self.iterations:
            rates[0] = self.current_learning_rate
        return rates

    def pre_update_params(self) -> None:
        """Before a step: choose the rate."""
        self.current_learning_rate = self.rate_at(self.iterations)

    def update_params(self, layer: Any) -> None:
        """Take the step of one layer: `weights` and `biases` follow `dweights` and `dbiases`."""
        found = [(getattr(layer, name), _gradients_of(layer, name)) for name, _ in KINDS]
        for (_, beginning), (parameters, gradients) in zip(KINDS, found, strict=True):
            self.adopt(self.state_of(parameters), [(layer, beginning, parameters)])
            self.update(parameters, gradients)

    def post_update_params(self) -> None:
        """After a step: count it."""
        self.iterations += 1

    def adopt(self, state: base.State, pieces: Iterable[tuple[Any, str, Floats]]) -> None:
        """Let layers keep their averages in `state`, whose arrays hold those of all `pieces`.

        (layer, beginning of the names, parameters) are the pieces, in order. Averages that a
        layer has already are copied; the others start as zeros.
        """
        state.iterations, start = self.iterations, 0
        for layer, beginning, parameters in pieces:
            end = start + parameters.size
            kept: list[Any] = [getattr(layer, beginning + name, None) for name in self.averages]
            fit = all(np.shape(array) == parameters.shape for array in kept)
            for name, array, row in zip(self.averages, kept, state.arrays, strict=True):
                view = row[start:end].reshape(parameters.shape)
                if not (fit and np.may_share_memory(array, view)):
                    view[...] = array if fit else 0
                setattr(layer, beginning + name, view)
            start = end


def _gradients_of(layer: Any, name: str) -> Array:
    """Return the gradients of `weights` or `biases`, as `p -= rate * gradients` would take them."""
    parameters, gradients = getattr(layer, name), getattr(layer, "d" + name)
    if gradients is None:
        raise RuntimeError(f"d{name} is None, expected backward() before update_params()")
    array = as_array(gradients, "d" + name).astype(parameters.dtype, copy=False)
    return np.broadcast_to(array, parameters.shape)


class Optimizer_SGD(Optimizer, optimizers.SGD):
    """Stochastic gradient descent; momentum changes a velocity v, which changes the parameters.

    v = momentum * v - rate * gradients, parameters += v.

    Parameters
    ----------
    learning_rate : float
        Above 0.
    decay : float
        At least 0.
    momentum : float
        At least 0 and below 1. Velocities are `weight_momentums` and `bias_momentums`.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> layer, optimizer = nnfs.Layer_Dense(1, 1), nnfs.Optimizer_SGD(learning_rate=1.0)
    >>> layer.weights, layer.dweights, layer.dbiases = [[2.0]], [[0.5]], [[0.0]]
    >>> optimizer.pre_update_params()
    >>> optimizer.update_params(layer)
    >>> optimizer.post_update_params()
    >>> layer.weights.round(4)
    array([[1.5]])
    """

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, momentum: float = 0.0
    ) -> None:
        super().__init__(learning_rate, momentum)
        self._start(decay)

    @property
    def rule(self) -> int:  # type: ignore[override]  # read-only here
        """The rule of the kernels."""
        return Rule.VELOCITY if self.momentum else Rule.DESCENT

    @property
    def averages(self) -> tuple[str, ...]:  # type: ignore[override]  # read-only here
        """How the names of the averages end."""
        return ("momentums",) if self.momentum else ()


class Optimizer_Adagrad(Optimizer, optimizers.AdaGrad):
    """c += gradients**2, parameters -= rate * gradients / (sqrt(c) + epsilon).

    Parameters
    ----------
    learning_rate, decay
        As in :class:`Optimizer_SGD`.
    epsilon : float
        At least 0. Sums c are `weight_cache` and `bias_cache`.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> layer, optimizer = nnfs.Layer_Dense(1, 1), nnfs.Optimizer_Adagrad()
    >>> layer.weights, layer.dweights, layer.dbiases = [[2.0]], [[0.5]], [[0.0]]
    >>> optimizer.pre_update_params()
    >>> optimizer.update_params(layer)
    >>> optimizer.post_update_params()
    >>> layer.weights.round(4)
    array([[1.]])
    """

    averages = ("cache",)

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate, epsilon)
        self._start(decay)


class Optimizer_RMSprop(Optimizer, optimizers.RMSprop):
    """As :class:`Optimizer_Adagrad` with c = rho * c + (1 - rho) * gradients**2.

    Parameters
    ----------
    learning_rate, decay, epsilon
        As in :class:`Optimizer_Adagrad`.
    rho : float
        At least 0 and below 1.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> layer, optimizer = nnfs.Layer_Dense(1, 1), nnfs.Optimizer_RMSprop()
    >>> layer.weights, layer.dweights, layer.dbiases = [[2.0]], [[0.5]], [[0.0]]
    >>> optimizer.pre_update_params()
    >>> optimizer.update_params(layer)
    >>> optimizer.post_update_params()
    >>> layer.weights.round(4)
    array([[1.9968]])
    """

    averages = ("cache",)

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        rho: float = 0.9,
    ) -> None:
        super().__init__(learning_rate, rho, epsilon)
        self._start(decay)


class Optimizer_Adam(Optimizer, optimizers.Adam):
    """parameters -= rate * m / (sqrt(c) + epsilon), with the means corrected for their start.

    m = beta_1 * m + (1 - beta_1) * gradients and c = beta_2 * c + (1 - beta_2) * gradients**2,
    divided by 1 - beta**(iterations + 1).

    Parameters
    ----------
    learning_rate, decay, epsilon
        As in :class:`Optimizer_Adagrad`.
    beta_1, beta_2 : float
        At least 0 and below 1. Means are `weight_momentums`, `bias_momentums`, `weight_cache`
        and `bias_cache`.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> layer, optimizer = nnfs.Layer_Dense(1, 1), nnfs.Optimizer_Adam(learning_rate=0.05)
    >>> layer.weights, layer.dweights, layer.dbiases = [[2.0]], [[0.5]], [[0.0]]
    >>> optimizer.pre_update_params()
    >>> optimizer.update_params(layer)
    >>> optimizer.post_update_params()
    >>> layer.weights.round(4)
    array([[1.95]])
    """

    averages = ("momentums", "cache")

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon)
        self._start(decay)
