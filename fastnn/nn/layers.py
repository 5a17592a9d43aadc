"""Dense, ReLU and Softmax: thin classes that check arrays and pass them to kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import kernels
from ..settings import Setting, known, non_negative
from ..types import Floats, Init, Seed, Shape
from ..validation import (
    as_count,
    as_dtype,
    as_flag,
    as_generator,
    as_gradient,
    as_rows,
    unlocked,
)
from .initializers import as_init, make_weights
from .layer import Layer, ParameterLayer
from .runs import RunGradients, Runs


class Dense(ParameterLayer):
    """Fully connected layer: output = inputs @ weights + biases.

    Parameters
    ----------
    n_inputs : int
        I, the number of input features.
    n_neurons : int
        O, the number of outputs.
    dtype : float32 or float64
        Of the parameters and of all results.
    rng : None, int or numpy.random.Generator
        Draws the initial weights; an int gives the same weights every time.
    init : str or callable
        The initial weights; the biases start at 0. Normal with the variance 2 / I ("he"),
        2 / (I + O) ("glorot") or 1 / I ("lecun"), uniform with these variances ("he_uniform",
        ...), "zeros", or a callable of (rng, (I, O)) such as `scaled_normal(0.01)`.
    weights_l1 : float
        At least 0. `fit` adds weights_l1 * sum(|weights|) to the loss, and `backward` its slope to
        the gradients while the layer is trainable.
    weights_l2 : float
        At least 0. Likewise for weights_l2 * sum(weights**2).
    biases_l1 : float
        At least 0. Likewise for biases_l1 * sum(|biases|).
    biases_l2 : float
        At least 0. Likewise for biases_l2 * sum(biases**2).
    use_bias : bool
        False: the biases are zeros and stay so.
    trainable : bool
        False: `fit` leaves the parameters as they are.

    Attributes
    ----------
    weights : ndarray of shape (I, O)
        Assignment copies values into the existing array, which may be a part of a model's flat
        buffer. The same holds for the biases and the gradients.
    biases : ndarray of shape (1, O)
        One for each output.
    inputs : ndarray of shape (B, I)
        The argument of the last `forward`; None before the first.
    output : ndarray of shape (B, O)
        The result of the last `forward`; None before the first.
    dweights : ndarray of shape (I, O)
        The gradient of the weights from the last `backward`; None before the first.
    dbiases : ndarray of shape (1, O)
        The gradient of the biases from the last `backward`; None before the first.
    dinputs : ndarray of shape (B, I)
        The gradient of the inputs from the last `backward`; None before the first.

    Raises
    ------
    TypeError, ValueError
        For sizes below 1, another dtype, an unknown `init`; in `forward` for inputs that are not
        (B, I) finite numbers; in `backward` for `dvalues` unlike the output.
    RuntimeError
        In `backward` before `forward`.

    Examples
    --------
    >>> layer = fastnn.Dense(3, 2, rng=0)
    >>> layer.forward([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    >>> layer.backward([[1.0, -1.0]]).shape
    (1, 3)
    >>> layer.dweights
    array([[ 1., -1.],
           [ 2., -2.],
           [ 3., -3.]], dtype=float32)
    """

    weights_l1, weights_l2 = Setting(non_negative), Setting(non_negative)
    biases_l1, biases_l2 = Setting(non_negative), Setting(non_negative)
    use_bias, init = Setting(as_flag), Setting(as_init)

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        *,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: Init = "he",
        weights_l1: float = 0.0,
        weights_l2: float = 0.0,
        biases_l1: float = 0.0,
        biases_l2: float = 0.0,
        use_bias: bool = True,
        trainable: bool = True,
    ) -> None:
        shape = as_count(n_inputs, "n_inputs"), as_count(n_neurons, "n_neurons")
        dtype = as_dtype(dtype)
        self.weights_l1, self.weights_l2 = weights_l1, weights_l2
        self.biases_l1, self.biases_l2 = biases_l1, biases_l2
        self.use_bias, self.trainable, self.init = use_bias, trainable, init
        self._weights = make_weights(init, as_generator(rng), shape, dtype)
        self._biases = np.full((1, self.n_neurons), 0, dtype)

    @classmethod
    def stored_shapes(cls, arguments: Mapping[str, Any]) -> dict[str, Shape]:
        """Return {name: shape} of the parameters for a dict of all arguments."""
        n_inputs, n_neurons = (as_count(arguments[n], n) for n in ("n_inputs", "n_neurons"))
        return {"weights": (n_inputs, n_neurons), "biases": (1, n_neurons)}

    def reset_parameters(self, rng: Seed = None) -> None:
        """Draw new weights as `init` says, and set the biases to 0."""
        self._weights[...] = make_weights(
            self.init, as_generator(rng), self._weights.shape, self.dtype
        )
        self._biases[...] = 0
        self._exposed = True

    @property
    def penalties(self) -> tuple[float, float, float, float]:
        """The factors of the four penalties."""
        return self.weights_l1, self.weights_l2, self.biases_l1, self.biases_l2

    @property
    def n_inputs(self) -> int:
        """I, the number of input features."""
        return self._weights.shape[0]

    @property
    def n_neurons(self) -> int:
        """O, the number of outputs."""
        return self._weights.shape[1]

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return inputs (B, I) @ weights + biases, of shape (B, O)."""
        n_inputs, n_neurons = self._weights.shape  # a subclass may replace the properties
        inputs = as_rows(inputs, "inputs", n_features=n_inputs, dtype=self._weights.dtype)
        output = np.empty((len(inputs), n_neurons), self._weights.dtype)
        kernels.dense_forward(output, unlocked(inputs), self._weights, self._biases)
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return the gradient with respect to the inputs, (B, I); keep those of the parameters."""
        inputs, dvalues = self._as_passes(dvalues)
        self._prepare_gradients()
        dinputs = np.empty_like(inputs)
        kernels.dense_backward(
            dinputs,
            self._dweights,
            self._dbiases,
            unlocked(dvalues),
            unlocked(inputs),
            self._weights,
        )
        if self.trainable and any(self.penalties):
            self._add_slopes()
        self.dinputs = dinputs
        return dinputs

    def backward_runs(
        self, dvalues: Floats, gradients: Sequence[RunGradients], runs: Runs
    ) -> Floats:
        """Return the gradient of the inputs; write those of the parameters for each run of rows."""
        inputs, dvalues = self._as_passes(dvalues)
        dinputs = np.empty_like(inputs)
        for rows, dweights, dbiases in gradients:
            kernels.dense_backward(
                dinputs[rows], dweights, dbiases, unlocked(dvalues)[rows], unlocked(inputs)[rows],
                self._weights,
            )  # fmt: skip
        self.dinputs = dinputs
        return dinputs

    def _as_passes(self, dvalues: ArrayLike) -> tuple[Floats, Floats]:
        """Return the inputs of the last `forward`, and `dvalues` checked."""
        (n_inputs, n_neurons), dtype = self._weights.shape, self._weights.dtype
        inputs = self.pass_array("inputs", n_features=n_inputs, dtype=dtype)
        return inputs, as_gradient(dvalues, "dvalues", (len(inputs), n_neurons), dtype)

    def _add_slopes(self) -> None:
        """Add the slopes of the penalties to the gradients."""
        for values, slopes, l1, l2 in (
            (self._weights, self._dweights, self.weights_l1, self.weights_l2),
            (self._biases, self._dbiases, self.biases_l1, self.biases_l2),
        ):
            l1, l2 = l1 * self._penalty_part, l2 * self._penalty_part
            slopes += l1 * self._sign(values) + 2 * l2 * values

    @staticmethod
    def _sign(values: Floats) -> Floats:
        return np.sign(values)

    def __repr__(self) -> str:
        usual = {"use_bias": True, "trainable": True, "init": "he"}
        usual |= dict.fromkeys(("weights_l1", "weights_l2", "biases_l1", "biases_l2"), 0)
        special = "".join(
            f", {name}={getattr(self, name)!r}"
            for name, value in usual.items()
            if known(self, name, value) != value
        )
        sizes, names = "{}, {}, dtype={}", ("n_inputs", "n_neurons", "dtype")
        sizes = sizes.format(*(known(self, name) for name in names))
        return f"{type(self).__name__}({sizes}{special})"


class ReLU(Layer):
    """Rectified linear unit: output = max(inputs, 0).

    The gradient passes where an input is above 0. Input is (B, I), float32 or float64; other
    numbers become one of the two. Errors as in :class:`Dense`.

    Examples
    --------
    >>> relu = fastnn.ReLU()
    >>> relu.forward([[-1.0, 2.0]])
    array([[0., 2.]])
    >>> relu.backward([[5.0, 5.0]])
    array([[0., 5.]])
    """

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return max(inputs (B, I), 0)."""
        inputs = as_rows(inputs, "inputs")
        output = np.empty_like(inputs)
        kernels.relu_forward(output, unlocked(inputs))
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return `dvalues` (B, I) where the inputs were above 0, else 0."""
        inputs = self.pass_array("inputs")
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, inputs.dtype)
        dinputs = np.empty_like(inputs)
        kernels.relu_backward(dinputs, unlocked(dvalues), unlocked(inputs))
        self.dinputs = dinputs
        return dinputs


class Softmax(Layer):
    """Probabilities from logits: exp(inputs), normalized to sum to 1 over each row.

    Row maxima are subtracted first, so large logits do not overflow. Input is (B, C), float32 or
    float64; other numbers become one of the two. Errors as in :class:`Dense`.

    Examples
    --------
    >>> fastnn.Softmax().forward([[0.0, 0.0], [0.0, 1000.0]])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return the probabilities (B, C)."""
        inputs = as_rows(inputs, "inputs")
        output = np.empty_like(inputs)
        kernels.softmax_forward(output, unlocked(inputs))
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return output * (dvalues - sum(dvalues * output)), the sum over each row."""
        output = self.pass_array("output")
        dvalues = as_gradient(dvalues, "dvalues", output.shape, output.dtype)
        dinputs = np.empty_like(output)
        kernels.softmax_backward(dinputs, unlocked(dvalues), unlocked(output))
        self.dinputs = dinputs
        return dinputs
