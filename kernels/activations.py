"""Activations: element-wise, forward and backward, one loop for all kinds.

The branch on the kind is the same for every vector, so it costs nothing beside the arithmetic.
The classes in `fastnn/nn/activations.py` have the formulas and their sources.
"""

import math

from .catalogue import Operation
from .elementary import erfc, exp, expm1, log, sigmoid, tanh
from .float_bits import cut
from .jit import inner, kernel
from .pointers import pointer
from .simd import fma, lanes, load_part, select, splat, store_part

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)  # of the normal distribution, at 0
_SLOPE, _CUBE = math.sqrt(2.0 / math.pi), 0.044715  # of GELU's approximation


@inner
def bend(x):
    """Return v with (1 + tanh(v / 2)) / 2 = sigmoid(v), which is exact in the tail too."""
    return x * fma(splat(x, 2.0 * _SLOPE * _CUBE), x * x, splat(x, 2.0 * _SLOPE))


@inner
def softplus(x):
    """Return log(1 + e**x), exact to a few roundings for any x."""
    zero = splat(x, 0.0)
    e = exp(select(x > 0.0, zero - x, x))
    u = e + 1.0
    return select(x > 0.0, x, zero) + (log(u) + (e - (u - 1.0)) / u)


@inner
def activation_vector(kind, x, number):
    """Return the activation of x; `number` is its negative slope or alpha, if it has one."""
    if kind == Operation.IDENTITY:
        return x
    if kind == Operation.LEAKY_RELU:
        return select(x > 0.0, x, x * number)
    if kind == Operation.ELU:
        return select(x > 0.0, x, expm1(select(x > 0.0, splat(x, 0.0), x)) * number)
    if kind == Operation.SIGMOID:
        return sigmoid(x)
    if kind == Operation.SILU:
        return x * sigmoid(x)
    if kind == Operation.GELU:
        return x * 0.5 * erfc(x * -_ROOT_HALF)
    if kind == Operation.GELU_TANH:
        return x * sigmoid(bend(x))
    if kind == Operation.SOFTPLUS:
        return softplus(x)
    if kind == Operation.EXP:
        return exp(x)
    if kind == Operation.TANH:
        return tanh(x)
    return splat(x, math.nan)  # no such activation


@inner
def slope_vector(kind, x, y, number):
    """Return the derivative of the activation at x, where its value is y."""
    one = splat(x, 1.0)
    if kind == Operation.IDENTITY:
        return one
    if kind == Operation.EXP:
        return y
    if kind == Operation.LEAKY_RELU:
        return select(x > 0.0, one, splat(x, number))
    if kind == Operation.ELU:
        return select(x > 0.0, one, y + number)
    if kind == Operation.SIGMOID:
        return y * (one - y)
    if kind == Operation.SOFTPLUS:
        return sigmoid(x)
    if kind == Operation.SILU:
        s = sigmoid(x)
        return s * fma(x, one - s, one)
    if kind == Operation.GELU:
        density = exp(x * x * -0.5) * _DENSITY
        return fma(x, density, erfc(x * -_ROOT_HALF) * 0.5)
    if kind == Operation.GELU_TANH:
        s = sigmoid(bend(x))
        return fma(
            x * s, (one - s) * fma(splat(x, 6.0 * _CUBE * _SLOPE), x * x, one * (2.0 * _SLOPE)), s
        )
    if kind == Operation.TANH:
        return one - y * y
    return splat(x, math.nan)


@inner
def activate(outputs, inputs, size, kind, number):
    """outputs = activation of `size` inputs, at two pointers."""
    step = lanes(inputs)
    for i in range(0, size, step):
        rest = min(step, size - i)
        x = load_part(inputs + i, rest, 0.0)
        store_part(outputs + i, cut(activation_vector(kind, x, number)), rest)


@inner
def activate_back(dinputs, doutputs, inputs, outputs, size, kind, number):
    """dinputs = doutputs * derivative of the activation, at pointers."""
    step = lanes(inputs)
    for i in range(0, size, step):
        rest = min(step, size - i)
        x, y = load_part(inputs + i, rest, 0.0), load_part(outputs + i, rest, 0.0)
        slope = slope_vector(kind, x, y, number)
        store_part(dinputs + i, cut(load_part(doutputs + i, rest, 0.0) * slope), rest)


@kernel
def activation_forward(outputs, inputs, kind, number):
    """outputs = activation `kind` (see `codes.py`) of inputs, arrays of one shape."""
    activate(pointer(outputs), pointer(inputs), inputs.size, kind, number)


@kernel
def activation_backward(dinputs, doutputs, inputs, outputs, kind, number):
    """dinputs = doutputs * derivative at inputs, where the activation gave outputs."""
    activate_back(
        pointer(dinputs), pointer(doutputs), pointer(inputs), pointer(outputs), inputs.size,
        kind, number,
    )  # fmt: skip
