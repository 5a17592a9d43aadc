"""Compile on request, so that the first real call does not have to."""

from __future__ import annotations

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


def warmup(dtype: DTypeLike = np.float32, *, plain: bool = False) -> None:
    """Compile, or load from the cache, all that training, prediction and layers need.

    Takes some seconds for each dtype the first time, and some tenths later.

    Parameters
    ----------
    dtype : float32 or float64
    plain : bool
        Only what classifiers of dense layers and ReLU need with plain gradient descent.

    Raises
    ------
    TypeError
        For another dtype.
    """
    layers = [Dense(2, 3, dtype=dtype, rng=0), ReLU(), Dense(3, 2, dtype=dtype, rng=1)]
    model = Sequential([*layers, Softmax()])
    # More rows than go one by one, so that both ways to predict are compiled.
    n_rows = FEW_ROWS + 1
    X, labels = np.full((n_rows, 2), 0.5, dtype), np.arange(n_rows) % 2
    rows = np.full((n_rows, 2), 0.5, dtype)
    model.fit(X, labels, validation_data=(X, labels), verbose=False)
    model.evaluate(X, rows)
    model.predict(X[:1])
    model.backward(model.forward(X))
    for y in (labels, rows):
        head, loss = SoftmaxCrossEntropy(), CategoricalCrossEntropy()
        head.forward(X, y)
        head.backward(head.output, y)
        loss.forward(X, y)
        loss.backward(X, y)
    if plain:
        return
    # What other optimizers, losses and activations need comes in one piece.
    layers = [Dense(2, 2, dtype=dtype, rng=0), Tanh(), Dense(2, 2, dtype=dtype, rng=1)]
    other = Sequential(layers, loss=MeanSquaredError())
    other.fit(X, rows, optimizer=Adam(), validation_data=(X, rows), verbose=False)
    other.predict(X[:1])
    other.backward(other.loss.backward(other.forward(X), rows))
    other.loss.forward(X, rows)
    Adam().update(other.parameters, other.gradients)
    # And so does what dropout and normalization need.
    layers[1:1] = [BatchNorm(2, dtype=dtype), Dropout(0.5, rng=0), LayerNorm(2, dtype=dtype)]
    normal = Sequential(copy.deepcopy(layers))
    normal.fit(X, labels, verbose=False)
    normal.forward(X)
    normal.backward(normal.forward(X, training=True))
