"""Activations beside ReLU and Softmax: element-wise functions of a layer's inputs.

All take (B, I) of float32 or float64; other numbers become one of the two. Errors as in
:class:`Dense`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .. import kernels
from ..kernels.catalogue import OPERATION_OF, Operation
from ..settings import Guarded, Setting, known
from ..types import Floats
from ..validation import as_gradient, as_positive, as_rows, unlocked
from .layer import Layer

_Approximation: TypeAlias = Literal["none", "tanh"]


class Activation(Guarded, Layer):
    """Base class of activations. A subclass sets its `operation` in the compiled program."""

    _fixed = "operation", "number"
    operation = Operation.IDENTITY

    @property
    def number(self) -> float:
        """The parameter of the operation: a negative slope or an alpha, else 0."""
        name = OPERATION_OF[self.operation].number
        return getattr(self, name) if name else 0.0

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return the activation of `inputs` (B, I)."""
        inputs = as_rows(inputs, "inputs")
        output = np.empty_like(inputs)
        kernels.activation_forward(output, unlocked(inputs), self.operation, self.number)
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return `dvalues` (B, I) times the derivative at the inputs."""
        inputs = self.pass_array("inputs")
        output = as_gradient(self.output, "output", inputs.shape, inputs.dtype)
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, inputs.dtype)
        dinputs = np.empty_like(inputs)
        kernels.activation_backward(
            dinputs, unlocked(dvalues), unlocked(inputs), unlocked(output),
            self.operation, self.number,
        )  # fmt: skip
        self.dinputs = dinputs
        return dinputs


class Identity(Activation):
    """output = inputs.

    Examples
    --------
    >>> fastnn.Identity().forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[-1.,  0.,  2.]])
    """


class Sigmoid(Activation):
    """Logistic function: output = 1 / (1 + exp(-inputs)), in a form that does not overflow.

    Examples
    --------
    >>> fastnn.Sigmoid().forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[0.27, 0.5 , 0.88]])
    """

    operation = Operation.SIGMOID


class Tanh(Activation):
    """Hyperbolic tangent.

    Examples
    --------
    >>> fastnn.Tanh().forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[-0.76,  0.  ,  0.96]])
    """

    operation = Operation.TANH


class LeakyReLU(Activation):
    """output = inputs where above 0, else negative_slope * inputs.

    Maas, Hannun, Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models" (2013).

    Parameters
    ----------
    negative_slope : float
        Above 0.

    Examples
    --------
    >>> fastnn.LeakyReLU(0.1).forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[-0.1,  0. ,  2. ]])
    """

    operation = Operation.LEAKY_RELU
    negative_slope = Setting(as_positive, predicts=True)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def __repr__(self) -> str:
        return f"{type(self).__name__}(negative_slope={known(self, 'negative_slope')})"


class ELU(Activation):
    """Exponential linear unit: inputs where above 0, else alpha * (exp(inputs) - 1).

    Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential
    Linear Units" (2016), equation 16.

    Parameters
    ----------
    alpha : float
        Above 0.

    Examples
    --------
    >>> fastnn.ELU().forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[-0.63,  0.  ,  2.  ]])
    """

    operation = Operation.ELU
    alpha = Setting(as_positive, predicts=True)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={known(self, 'alpha')})"


def _as_approximation(value: _Approximation, name: str) -> _Approximation:
    if value not in ("none", "tanh"):
        raise ValueError(f'{name} is {value!r}, expected "none" or "tanh"')
    return value


class GELU(Activation):
    """Gaussian error linear unit: inputs * P(X <= inputs) for a standard normal X.

    Hendrycks, Gimpel, "Gaussian Error Linear Units" (2016), section 2.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "tanh": 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))), from the same section.

    Examples
    --------
    >>> fastnn.GELU().forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[-0.16,  0.  ,  1.95]])
    """

    approximate = Setting(_as_approximation, predicts=True)

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate = approximate

    @property
    def operation(self) -> int:  # type: ignore[override]  # read-only here
        """The operation of the compiled program."""
        return Operation.GELU_TANH if self.approximate == "tanh" else Operation.GELU

    def __repr__(self) -> str:
        return f"{type(self).__name__}(approximate={known(self, 'approximate')!r})"


class SiLU(Activation):
    """Sigmoid linear unit, also called swish: inputs * sigmoid(inputs).

    Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units" (2018), equation 7.

    Examples
    --------
    >>> fastnn.SiLU().forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[-0.27,  0.  ,  1.76]])
    """

    operation = Operation.SILU


class Softplus(Activation):
    """A smooth ReLU: output = log(1 + exp(inputs)), in a form that does not overflow.

    Its derivative is the sigmoid. Dugas, Bengio, Bélisle, Nadeau, Garcia, "Incorporating
    Second-Order Functional Knowledge for Better Option Pricing" (2001).

    Examples
    --------
    >>> fastnn.Softplus().forward([[-1.0, 0.0, 2.0]]).round(2)
    array([[0.31, 0.69, 2.13]])
    """

    operation = Operation.SOFTPLUS
