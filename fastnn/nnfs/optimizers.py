"""Optimizers under the names of networks from scratch, with the formulas of the book.

Their averages are attributes of the layers: `weight_momentums`, `bias_momentums`, `weight_cache`
and `bias_cache`.
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

# (parameters of a layer, prefix of the names of their averages)
KINDS = (("weights", "weight_"), ("biases", "bias_"))


class Optimizer(base.Optimizer):
    """The base class of the optimizers.

    Attributes
    ----------
    learning_rate : float
        The initial learning rate.
    current_learning_rate : float
        The learning rate of the current step.
    decay : float
        At least 0. The rate of a step is learning_rate / (1 + decay * iterations).
    iterations : int
        The number of steps that have been taken.
    """

    learning_rate: Any
    averages: tuple[str, ...] = ()  # suffixes of the names of the averages

    def _start(self, decay: float) -> None:
        self.decay = as_number(decay, "decay", 0)
        self.current_learning_rate: float = self.learning_rate
        self.iterations = 0

    def rate_at(self, step: int) -> float:
        """Return the learning rate that `pre_update_params` sets for a step."""
        if not self.decay:
            return self.current_learning_rate
        rate: float = self.learning_rate * (1.0 / (1.0 + self.decay * step))
        return rate

    def rates(self, first: int, count: int, dtype: DType) -> Floats:
        """Return the learning rates of some steps; that of the next step is the current one."""
        self.rate_for(dtype)
        as_positive(self.current_learning_rate, "current_learning_rate")
        rates = np.array([self.rate_at(first + i) for i in range(count)], np.float64)
        if first == self.iterations:
            rates[0] = self.current_learning_rate
        return rates

    def pre_update_params(self) -> None:
        """Set the learning rate; called before a step."""
        self.current_learning_rate = self.rate_at(self.iterations)

    def update_params(self, layer: Any) -> None:
        """Update `weights` and `biases` of a layer by its `dweights` and `dbiases`."""
        arrays = [(getattr(layer, name), _gradients_of(layer, name)) for name, _ in KINDS]
        for (name, prefix), (parameters, gradients) in zip(KINDS, arrays, strict=True):
            self.adopt(self.state_of(parameters), [(layer, prefix, parameters)])
            options = {"biases": name == "biases"} if self.decays_in_part else {}
            self.update(parameters, gradients, **options)

    def post_update_params(self) -> None:
        """Count the step; called after it."""
        self.iterations += 1

    def adopt(self, state: base.State, pieces: Iterable[tuple[Any, str, Floats]]) -> None:
        """Make the averages of layers views of `state`, whose arrays hold those of all `pieces`.

        `pieces` are (layer, prefix of the names, parameters), in order. Averages that a layer has
        already are copied; others start as zeros.
        """
        state.iterations, start = self.iterations, 0
        for layer, prefix, parameters in pieces:
            end = start + parameters.size
            averages: list[Any] = [getattr(layer, prefix + name, None) for name in self.averages]
            fit = all(np.shape(array) == parameters.shape for array in averages)
            for name, array, row in zip(self.averages, averages, state.arrays, strict=True):
                view = row[start:end].reshape(parameters.shape)
                if not (fit and np.may_share_memory(array, view)):
                    view[...] = array if fit else 0
                setattr(layer, prefix + name, view)
            start = end


def _gradients_of(layer: Any, name: str) -> Array:
    """Return the gradients of `weights` or `biases`, broadcast to their shape."""
    parameters, gradients = getattr(layer, name), getattr(layer, "d" + name)
    if gradients is None:
        raise RuntimeError(f"d{name} is None, expected backward() before update_params()")
    array = as_array(gradients, "d" + name).astype(parameters.dtype, copy=False)
    return np.broadcast_to(array, parameters.shape)


class Optimizer_SGD(Optimizer, optimizers.SGD):
    """Stochastic gradient descent with momentum.

    v = momentum * v - rate * gradients, parameters += v.

    Parameters
    ----------
    learning_rate : float
        Above 0.
    decay : float
        At least 0.
    momentum : float
        At least 0 and below 1. v is in `weight_momentums` and `bias_momentums`.

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
        """The suffixes of the names of the averages."""
        return ("momentums",) if self.momentum else ()


class Optimizer_Adagrad(Optimizer, optimizers.AdaGrad):
    """c += gradients**2, parameters -= rate * gradients / (sqrt(c) + epsilon).

    Parameters
    ----------
    learning_rate : float
        As in :class:`Optimizer_SGD`.
    decay : float
        As in :class:`Optimizer_SGD`.
    epsilon : float
        At least 0. c is in `weight_cache` and `bias_cache`.

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
    learning_rate : float
        As in :class:`Optimizer_Adagrad`.
    decay : float
        As in :class:`Optimizer_Adagrad`.
    epsilon : float
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
    """parameters -= rate * m / (sqrt(c) + epsilon), with bias-corrected means m and c.

    m = beta_1 * m + (1 - beta_1) * gradients and c = beta_2 * c + (1 - beta_2) * gradients**2,
    divided by 1 - beta**(iterations + 1).

    Parameters
    ----------
    learning_rate : float
        As in :class:`Optimizer_Adagrad`.
    decay : float
        As in :class:`Optimizer_Adagrad`.
    epsilon : float
        As in :class:`Optimizer_Adagrad`.
    beta_1 : float
        At least 0 and below 1. m is in `weight_momentums` and `bias_momentums`.
    beta_2 : float
        At least 0 and below 1. c is in `weight_cache` and `bias_cache`.

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
