"""What the estimators' parameters may be, and the layers that they stand for."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import Interval, Options, StrOptions

from ..nn import classes
from ..nn.activations import Activation, Identity, Sigmoid, Tanh
from ..nn.dropout import Dropout
from ..nn.layer import Layer
from ..nn.layers import Dense, ReLU
from ..program.precision import PRECISIONS
from ..types import DType

ActivationLike: TypeAlias = str | Activation | ReLU
"""The activation of a hidden layer: a name, or a layer."""

# Those of scikit-learn come first, under its names.
_SCIKIT = {"identity": Identity, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}
ACTIVATIONS: dict[str, type[Layer]] = _SCIKIT | {
    name: kind for name, kind in classes.ACTIVATIONS.items() if kind not in _SCIKIT.values()
}

# In scikit-learn's notation. Parameters that only one estimator has are in its class.
CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(ACTIVATIONS)), list, tuple, Activation, ReLU],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {math.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "metric": [StrOptions({"loss", *get_scorer_names()}), callable, None],
    "callbacks": [list, tuple, None],
    "threads": [Interval(Integral, 1, None, closed="left"), None],
    "precision": [StrOptions(set(PRECISIONS)), None],
    "dtype": [
        StrOptions({"float32", "float64"}),
        Options(type, {np.float32, np.float64}),
        None,
    ],
}


def read_hidden_layers(
    hidden_layer_sizes: int | Sequence[int], activation: ActivationLike | Sequence[ActivationLike]
) -> tuple[list[int], list[ActivationLike]]:
    """Return the sizes of the hidden layers and the activation of each, checked."""
    sizes: list[Any] = [hidden_layer_sizes]
    if np.iterable(hidden_layer_sizes):
        sizes = list(hidden_layer_sizes)
    if any(size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    if not all(isinstance(size, Integral) for size in sizes):
        raise TypeError(f"hidden_layer_sizes is {hidden_layer_sizes!r}, expected whole numbers")
    activations: list[Any] = [activation] * len(sizes)
    if isinstance(activation, list | tuple):
        activations = list(activation)
    if len(activations) != len(sizes):
        raise ValueError(
            f"activation has {len(activations)} entries, expected {len(sizes)}, one a hidden layer"
        )
    for each in activations:
        if not isinstance(each, Activation | ReLU) and each not in ACTIVATIONS:
            raise ValueError(
                f"activation is {each!r}, expected one of {', '.join(ACTIVATIONS)} or an "
                "activation of fastnn"
            )
    return sizes, activations


def make_layers(
    sizes: Sequence[int],
    activations: Sequence[ActivationLike],
    dropout: float,
    dtype: DType,
    random_state: np.random.RandomState,
) -> list[Layer]:
    """Return the layers of a network with scikit-learn's first weights.

    `sizes` are those of the inputs, the hidden layers and the outputs. Glorot, Bengio,
    "Understanding the difficulty of training deep feedforward neural networks" (2010), equation
    16; biases likewise.
    """
    layers: list[Layer] = []
    for i, (n_inputs, n_outputs) in enumerate(itertools.pairwise(sizes)):
        # The bound of the output layer is the one of the last hidden layer's activation.
        activation = activations[min(i, len(activations) - 1)] if activations else None
        factor = 2.0 if activation == "logistic" or isinstance(activation, Sigmoid) else 6.0
        bound = math.sqrt(factor / (n_inputs + n_outputs))
        dense = Dense(n_inputs, n_outputs, dtype=dtype, rng=0, init="zeros")
        dense.weights = random_state.uniform(-bound, bound, (n_inputs, n_outputs))
        dense.biases = random_state.uniform(-bound, bound, n_outputs).reshape(1, -1)
        layers.append(dense)
        if i == len(activations):
            break
        if isinstance(activation, str):
            if activation != "identity":
                layers.append(ACTIVATIONS[activation]())
        elif activation is not None:
            layers.append(copy.deepcopy(activation))
        if dropout:
            layers.append(Dropout(dropout, rng=0))
    return layers
