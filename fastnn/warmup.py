"""Compile on request, so that the first real call does not have to."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
from numpy.typing import DTypeLike

from .kernels.target import FEW_ROWS
from .model import Sequential
from .nn.activations import Tanh
from .nn.dropout import Dropout
from .nn.layers import Dense, ReLU, Softmax
from .nn.losses import CategoricalCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from .nn.normalization import BatchNorm, LayerNorm
from .nn.optimizers import Adam
from .program.plan import LEAST_INPUTS, LEAST_OUTPUTS
from .program.precision import precision as set_for_calls
from .types import Precision


def warmup(
    dtype: DTypeLike = np.float32, *, plain: bool = False, precision: Precision | None = None
) -> None:
    """Compile, or load from the cache, all that training, prediction and layers need.

    Takes some seconds for each dtype the first time, and some tenths later.

    Parameters
    ----------
    dtype : float32 or float64
    plain : bool
        Only what classifiers of dense layers and ReLU need with plain gradient descent.
    precision : "highest", "high" or "medium", optional
        Compile for this precision, by default for that of `set_precision`. "high" and "medium"
        have the same machine code.

    Raises
    ------
    TypeError, ValueError
        For another dtype or precision.
    """
    with contextlib.nullcontext() if precision is None else set_for_calls(precision):
        _warm_up(dtype, plain)


def _warm_up(dtype: DTypeLike, plain: bool) -> None:
    # The least layer that has products in bfloat16.
    width, n_hidden = LEAST_INPUTS, LEAST_OUTPUTS
    layers = [Dense(width, n_hidden, dtype=dtype, rng=0), ReLU()]
    model = Sequential([*layers, Dense(n_hidden, 2, dtype=dtype, rng=1), Softmax()])
    # More rows than go one by one, so that both ways to predict are compiled.
    n_rows = FEW_ROWS + 1
    X, labels = np.full((n_rows, width), 0.5, dtype), np.arange(n_rows) % 2
    rows = np.full((n_rows, 2), 0.5, dtype)
    model.fit(X, labels, validation_data=(X, labels), verbose=False)
    model.evaluate(X, rows)
    model.predict(X[:1])
    model.backward(model.forward(X))
    for y in (labels, rows):
        head, loss = SoftmaxCrossEntropy(), CategoricalCrossEntropy()
        head.forward(rows, y)
        head.backward(head.output, y)
        loss.forward(rows, y)
        loss.backward(rows, y)
    if plain:
        return
    # What other optimizers, losses and activations need comes in one piece.
    layers = [Dense(width, n_hidden, dtype=dtype, rng=0), Tanh()]
    layers.append(Dense(n_hidden, 2, dtype=dtype, rng=1))
    other = Sequential(layers, loss=MeanSquaredError())
    other.fit(X, rows, optimizer=Adam(), validation_data=(X, rows), verbose=False)
    other.predict(X[:1])
    other.backward(other.loss.backward(other.forward(X), rows))
    other.loss.forward(rows, rows)
    Adam().update(other.parameters, other.gradients)
    # And so does what dropout and normalization need.
    normal = Sequential(
        [
            copy.deepcopy(layers[0]), BatchNorm(n_hidden, dtype=dtype), Dropout(0.5, rng=0),
            LayerNorm(n_hidden, dtype=dtype), *copy.deepcopy(layers[1:]),
        ]
    )  # fmt: skip
    normal.fit(X, labels, verbose=False)
    normal.forward(X)
    normal.backward(normal.forward(X, training=True))
