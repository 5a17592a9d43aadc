"""Optimizer steps: element-wise on flat buffers."""

from .jit import inner, kernel
from .simd import fma, lanes, load, load_part, pointer, splat, store, store_part


@inner
def descend(parameters, gradients, size, rate):
    """parameters = parameters - rate * gradients, over `size` elements at two pointers."""
    step = lanes(parameters)
    factor = splat(parameters, -rate)
    whole = size - size % step
    for i in range(0, whole, step):
        store(parameters + i, fma(factor, load(gradients + i), load(parameters + i)))
    if whole < size:
        rest = size - whole
        g = load_part(gradients + whole, rest, 0.0)
        p = load_part(parameters + whole, rest, 0.0)
        store_part(parameters + whole, fma(factor, g, p), rest)


@kernel
def sgd_update(parameters, gradients, learning_rate):
    """parameters = parameters - learning_rate * gradients, in place, arrays of one shape."""
    descend(pointer(parameters), pointer(gradients), parameters.size, learning_rate)
