"""Layers for samples as columns, with the bias as the last column of the weights.

X is (features, samples). A row of ones is stacked under it, so that weights @ X includes the bias.
The kernels are those of samples as rows. Weights and samples change places there: then the product
of a forward pass is the same one, and so are both products of a backward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import kernels
from .nn.batches import generate_batch_indices
from .nn.optimizers import SGD
from .settings import shown
from .types import Array, Floats, MaybeNone, Seed
from .validation import (
    as_array,
    as_count,
    as_dtype,
    as_generator,
    as_gradient,
    as_rows,
    as_targets,
    unlocked,
)

__all__ = ["Dense", "Layer", "Softmax", "cce", "cce_gradient", "generate_batch_indices"]


class Layer:
    """Base of the layers in this module. `input` and `output` are those of the last `forward`.

    Examples
    --------
    >>> from fastnn import columnwise
    >>> isinstance(columnwise.Softmax(), columnwise.Layer)
    True
    """

    def __init__(self) -> None:
        self.input: ArrayLike | None = None
        self.output: Floats | MaybeNone = None

    def forward(self, input: ArrayLike) -> Floats:
        """Return the output (O, B) for an input (I, B)."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, output_gradient: ArrayLike, learning_rate: float | None = None) -> Floats:
        """Return the input gradient (I, B) for an output gradient (O, B)."""
        raise NotImplementedError(f"{type(self).__name__}.backward")

    def _stored(self, name: str) -> Floats:
        """Return an attribute that the last `forward` has stored, checked again."""
        value = getattr(self, name)
        if value is None:
            raise RuntimeError(f"{type(self).__name__}.backward was called before forward")
        return as_rows(value, name)


class Dense(Layer):
    """Dense layer: output (O, B) = weights (O, I + 1) @ [input (I, B); ones (1, B)].

    Parameters
    ----------
    input_size : int
        I, the number of input features.
    output_size : int
        O, the number of outputs.
    dtype : float32 or float64
        Of the parameters and of all results.
    rng : None, int or numpy.random.Generator
        Where the standard normal weights come from; the biases start at 0.01.

    Attributes
    ----------
    weights : ndarray of shape (O, I + 1)
        The biases are the last column. `backward` updates it in place.

    Raises
    ------
    TypeError, ValueError
        For bad sizes, inputs that are not (I, B) finite numbers, an output gradient of another
        shape than the output, or a learning rate that is not above 0.
    RuntimeError
        In `backward` before `forward`.

    Examples
    --------
    >>> from fastnn import columnwise
    >>> layer = columnwise.Dense(5, 3, rng=0)
    >>> layer.forward(np.ones((5, 4))).shape
    (3, 4)
    >>> layer.backward(np.ones((3, 4)), learning_rate=0.1).shape
    (5, 4)
    """

    def __init__(
        self, input_size: int, output_size: int, *, dtype: DTypeLike = np.float64, rng: Seed = None
    ) -> None:
        super().__init__()
        shape = as_count(output_size, "output_size"), as_count(input_size, "input_size") + 1
        weights = as_generator(rng).standard_normal(shape).astype(as_dtype(dtype))
        weights[:, -1] = 0.01
        self._weights = weights
        self._shown: dict[str, Any] = {}

    @property
    def weights(self) -> Floats:
        """The weights (O, I + 1), biases in the last column."""
        return shown(self._shown, "weights", self._weights)

    @weights.setter
    def weights(self, value: ArrayLike) -> None:
        weights = as_rows(value, "weights", dtype=self._weights.dtype)
        if weights.shape != self._weights.shape:
            raise ValueError(f"weights has shape {weights.shape}, expected {self._weights.shape}")
        self._weights[...] = weights

    def forward(self, input: ArrayLike) -> Floats:
        """Return the scores (O, B) of an input (I, B)."""
        dtype = self._weights.dtype
        columns = as_rows(input, "input", dtype=dtype)
        n_features = self._weights.shape[1] - 1
        if len(columns) != n_features:
            raise ValueError(f"input has shape {columns.shape}, expected ({n_features}, B)")
        width = columns.shape[1]
        stacked = np.concatenate([columns, np.full((1, width), 1, dtype)])
        output = np.empty((len(self._weights), width), dtype)
        # outputs = inputs @ weights + biases, where the weights are the inputs and biases are 0.
        kernels.dense_forward(output, self._weights, stacked, np.full((1, width), 0, dtype))
        self.input, self.output = stacked, output
        return output

    def backward(  # type: ignore[override]  # a layer with weights needs the rate
        self, output_gradient: ArrayLike, learning_rate: float
    ) -> Floats:
        """Update the weights in place; return the input gradient (I, B), without the bias row."""
        dtype, (n_outputs, n_stacked) = self._weights.dtype, self._weights.shape
        stacked = as_rows(self._stored("input"), "input", dtype=dtype)
        if len(stacked) != n_stacked:
            raise ValueError(f"input has shape {stacked.shape}, expected ({n_stacked}, B)")
        shape = n_outputs, stacked.shape[1]
        output_gradient = as_gradient(output_gradient, "output_gradient", shape, dtype)
        rate = SGD(learning_rate).rate_for(dtype)
        weights_gradient = np.empty_like(self._weights)
        input_gradient = np.empty_like(stacked)
        kernels.dense_backward(
            weights_gradient,
            input_gradient,
            None,
            unlocked(output_gradient),
            self._weights,
            unlocked(stacked),
        )
        kernels.sgd_update(self._weights, weights_gradient, rate)
        return input_gradient[:-1]


class Softmax(Layer):
    """Softmax over each column.

    Examples
    --------
    >>> from fastnn import columnwise
    >>> columnwise.Softmax().forward([[0.0, 1.0], [0.0, 1.0]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """

    def forward(self, input: ArrayLike) -> Floats:
        """Return the probabilities (C, B) of scores (C, B)."""
        rows = _transposed(as_rows(input, "input", allow_empty=False))
        output = np.empty_like(rows)
        kernels.softmax_forward(output, rows)
        self.input, self.output = input, output.T
        return self.output

    def backward(self, output_gradient: ArrayLike, learning_rate: float | None = None) -> Floats:
        """Return the gradient (C, B) with respect to the scores. `learning_rate` is not used."""
        output = self._stored("output")
        gradient = as_gradient(output_gradient, "output_gradient", output.shape, output.dtype)
        dinputs = np.empty(output.T.shape, output.dtype)
        kernels.softmax_backward(dinputs, _transposed(gradient), _transposed(output))
        return dinputs.T


def cce(y: ArrayLike, yhat: ArrayLike) -> float:
    """Return the categorical cross-entropy -sum(y * log(yhat)), summed over the samples.

    Parameters
    ----------
    y : array-like of shape (C, B)
        One-hot or soft columns.
    yhat : array-like of shape (C, B)
        Probabilities, clipped at the smallest step of the dtype.

    Returns
    -------
    float
        The loss whose gradient `cce_gradient` is: divide both by B for the mean.

    Raises
    ------
    TypeError, ValueError
        For two different shapes, numbers that are not finite, and columns of `y` that are not
        distributions.

    Examples
    --------
    >>> from fastnn import columnwise
    >>> round(columnwise.cce([[1, 0], [0, 1]], [[0.7, 0.5], [0.3, 0.5]]), 4)
    1.0498
    """
    targets, probabilities = _check_columns(y, yhat)
    losses = np.empty(len(probabilities))
    epsilon = float(np.finfo(probabilities.dtype).eps)
    kernels.cross_entropy_forward(losses, probabilities, targets, epsilon)
    return float(losses.sum())


def cce_gradient(y: ArrayLike, yhat: ArrayLike) -> Floats:
    """Return -y / yhat, of shape (C, B): the gradient of `cce` with respect to `yhat`.

    Parameters and errors are those of `cce`.

    Examples
    --------
    >>> from fastnn import columnwise
    >>> columnwise.cce_gradient([[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]]) + 0.0
    array([[-2.,  0.],
           [ 0., -2.]])
    """
    targets, probabilities = _check_columns(y, yhat)
    gradient = np.empty_like(probabilities)
    epsilon = float(np.finfo(probabilities.dtype).eps)
    kernels.cross_entropy_backward(gradient, probabilities, targets, epsilon)
    # The kernel gives the gradient of the mean.
    return gradient.T * len(probabilities)


def _transposed(columns: Floats) -> Floats:
    """Return a copy (B, C) of columns (C, B)."""
    return np.array(columns.T, order="C")


def _check_columns(y: ArrayLike, yhat: ArrayLike) -> tuple[Array, Floats]:
    """Return targets and probabilities as rows (B, C)."""
    probabilities = _transposed(as_rows(yhat, "yhat"))
    columns = as_array(y, "y")
    if columns.shape != probabilities.T.shape:
        raise ValueError(f"y has shape {columns.shape}, expected {probabilities.T.shape}, as yhat")
    n_rows, n_classes = probabilities.shape
    targets = as_targets(columns.T, "y.T", n_rows, n_classes, probabilities.dtype)
    return unlocked(targets), probabilities
