"""Layers and activations under the names of networks from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..nn.activations import Identity, Sigmoid
from ..nn.initializers import scaled_normal
from ..nn.layer import Layer
from ..nn.layers import Dense, ReLU, Softmax
from ..settings import Setting
from ..types import Array, Floats, Integers
from ..validation import as_gradient, as_number, as_positive, as_rows

REGULARIZERS = (
    "weight_regularizer_l1", "weight_regularizer_l2", "bias_regularizer_l1", "bias_regularizer_l2",
)  # fmt: skip


def _alias(name: str, other: str) -> property:
    """Return a property `name` that is the attribute `other` of :class:`Dense`."""

    def get(layer: Dense) -> Any:
        return getattr(layer, other)

    def put(layer: Dense, value: float) -> None:
        setattr(layer, other, as_number(value, name, 0))

    return property(get, put, doc=f"At least 0; `{other}` of :class:`Dense`.")


class LinkedLayer:
    """A layer with links to the one before and the one after it, which a :class:`Model` sets."""

    prev: Any = None
    next: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy has no links: `finalize` of the copied model sets them.
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("prev", "next")}


class Layer_Dense(LinkedLayer, Dense):
    """Dense layer whose weights start as 0.01 * `np.random.randn`, its biases as 0.

    The dtype is that of `np.random.randn`: float64, or float32 after `nnfs.init()`. `backward`
    adds the gradients of the penalties to `dweights` and `dbiases`; that of |p| at 0 is 1.

    Parameters
    ----------
    n_inputs : int
        The number of input features.
    n_neurons : int
        The number of outputs.
    weight_regularizer_l1 : float
        At least 0. The factor of sum(|weights|) in the loss.
    weight_regularizer_l2 : float
        At least 0. The factor of sum(weights**2) in the loss.
    bias_regularizer_l1 : float
        At least 0. The factor of sum(|biases|) in the loss.
    bias_regularizer_l2 : float
        At least 0. The factor of sum(biases**2) in the loss.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> np.random.seed(0)
    >>> layer = nnfs.Layer_Dense(4, 3)
    >>> layer.forward(np.ones((2, 4))).shape
    (2, 3)
    >>> layer.weights.dtype
    dtype('float64')
    """

    weight_regularizer_l1 = _alias("weight_regularizer_l1", "weights_l1")
    weight_regularizer_l2 = _alias("weight_regularizer_l2", "weights_l2")
    bias_regularizer_l1 = _alias("bias_regularizer_l1", "biases_l1")
    bias_regularizer_l2 = _alias("bias_regularizer_l2", "biases_l2")

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        weight_regularizer_l1: float = 0,
        weight_regularizer_l2: float = 0,
        bias_regularizer_l1: float = 0,
        bias_regularizer_l2: float = 0,
    ) -> None:
        # The zeros are replaced below: the numbers have to come from the global generator.
        super().__init__(n_inputs, n_neurons, init="zeros", rng=0)
        self.weight_regularizer_l1 = weight_regularizer_l1
        self.weight_regularizer_l2 = weight_regularizer_l2
        self.bias_regularizer_l1 = bias_regularizer_l1
        self.bias_regularizer_l2 = bias_regularizer_l2
        self._weights = 0.01 * np.random.randn(self.n_inputs, self.n_neurons)  # noqa: NPY002
        self._biases = self._biases.astype(self._weights.dtype)
        self.init = scaled_normal(0.01)  # of `reset_parameters`, which takes another generator

    def get_parameters(self) -> tuple[Floats, Floats]:
        """Return (weights, biases)."""
        return self.weights, self.biases

    def set_parameters(self, weights: ArrayLike, biases: ArrayLike) -> None:
        """Copy two arrays into the parameters, or neither of them if one does not fit."""
        before = self.weights.copy()
        self.weights = weights
        try:
            self.biases = biases
        except (TypeError, ValueError):
            self.weights = before
            raise

    @staticmethod
    def _sign(values: Floats) -> Floats:
        return np.where(values < 0, -1, 1).astype(values.dtype)

    def __repr__(self) -> str:
        factors = "".join(
            f", {name}={getattr(self, name)}" for name in REGULARIZERS if getattr(self, name, 0)
        )
        sizes = ", ".join(str(getattr(self, name, "?")) for name in ("n_inputs", "n_neurons"))
        return f"{type(self).__name__}({sizes}{factors})"


def _as_keep_rate(value: float, name: str) -> float:
    rate = as_positive(value, name)
    if rate > 1:
        raise ValueError(f"{name} is {value}, expected the fraction kept, at most 1")
    return rate


class Layer_Dropout(LinkedLayer, Layer):
    """Sets random values to 0 in training, and scales the others up, so that the mean stays.

    Srivastava and others, "Dropout" (2014), section 10.

    Parameters
    ----------
    rate : float
        At least 0 and below 1: the fraction of values that become 0.

    Attributes
    ----------
    rate : float
        The fraction of values that are kept, 1 minus the argument `rate`.
    binary_mask : ndarray of shape (B, I)
        The mask of the last `forward`: `np.random.binomial(1, rate, (B, I)) / rate`.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> np.random.seed(0)
    >>> dropout = nnfs.Layer_Dropout(0.5)
    >>> dropout.forward(np.ones((2, 4)))
    array([[2., 2., 2., 2.],
           [0., 2., 0., 2.]])
    """

    binary_mask = None

    rate = Setting(_as_keep_rate)

    def __init__(self, rate: float) -> None:
        self.rate = 1 - as_number(rate, "rate", 0, 1)

    def forward(self, inputs: ArrayLike, training: bool = True) -> Floats:
        """Return `inputs` (B, I) times a mask; without `training`, a copy of the inputs."""
        self.inputs = as_rows(inputs, "inputs")
        if training:
            is_kept = np.random.binomial(1, self.rate, size=self.inputs.shape)  # noqa: NPY002
            self.binary_mask = is_kept / self.rate
            self.output = (self.inputs * self.binary_mask).astype(self.inputs.dtype)
        else:
            self.output = self.inputs.copy()
        return self.output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return `dvalues` (B, I) times the mask of the last `forward` in training."""
        mask = self.pass_array("binary_mask")
        dvalues = as_gradient(dvalues, "dvalues", mask.shape, self.inputs.dtype)
        self.dinputs = (dvalues * mask).astype(dvalues.dtype)
        return self.dinputs

    def __repr__(self) -> str:
        rate = f"{1 - self.rate:.12g}" if "rate" in vars(self) else "?"
        return f"{type(self).__name__}({rate})"


class Layer_Input(LinkedLayer, Layer):
    """The layer before the first one of a :class:`Model`: its output is its input.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> nnfs.Layer_Input().forward(np.array([[1.0, 2.0]]))
    array([[1., 2.]])
    """

    def forward(self, inputs: Any, training: bool = False) -> Any:
        """Return `inputs`."""
        self.output = inputs
        return inputs


class Activation_ReLU(LinkedLayer, ReLU):
    """Rectified linear unit.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> relu = nnfs.Activation_ReLU()
    >>> relu.forward([[-1.0, 2.0]])
    array([[0., 2.]])
    >>> relu.backward([[5.0, 5.0]])
    array([[0., 5.]])
    """

    def predictions(self, outputs: Floats) -> Floats:
        """Return `outputs`."""
        return outputs


class Activation_Softmax(LinkedLayer, Softmax):
    """Softmax over each row.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> softmax = nnfs.Activation_Softmax()
    >>> softmax.forward([[4.8, 1.21, 2.385]]).round(2)
    array([[0.9 , 0.02, 0.08]])
    >>> softmax.predictions(softmax.output)
    array([0])
    """

    def predictions(self, outputs: Floats) -> Integers:
        """Return the classes (B,) of probabilities (B, C)."""
        classes: Integers = np.argmax(outputs, axis=1)
        return classes


class Activation_Sigmoid(LinkedLayer, Sigmoid):
    """Logistic function.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> nnfs.Activation_Sigmoid().forward([[-1.0, 2.0]]).round(2)
    array([[0.27, 0.88]])
    """

    def predictions(self, outputs: Floats) -> Array:
        """Return the answers (B, O), 0 or 1, of probabilities (B, O)."""
        return (outputs > 0.5) * 1


class Activation_Linear(LinkedLayer, Identity):
    """output = inputs.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> nnfs.Activation_Linear().forward([[-1.0, 2.0]])
    array([[-1.,  2.]])
    """

    def predictions(self, outputs: Floats) -> Floats:
        """Return `outputs`."""
        return outputs
