"""Rectified linear unit: output = max(input, 0)."""

from .jit import inner, kernel
from .pointers import pointer
from .simd import lanes, load, load_part, select, splat, store, store_part


@inner
def relu_values(outputs, inputs, size):
    """outputs = inputs where > 0 (or NaN), else 0, over `size` elements at two pointers."""
    step = lanes(inputs)
    zero = splat(inputs, 0.0)
    whole = size - size % step
    for i in range(0, whole, step):
        x = load(inputs + i)
        store(outputs + i, select(x <= 0.0, zero, x))
    if whole < size:
        x = load_part(inputs + whole, size - whole, 0.0)
        store_part(outputs + whole, select(x <= 0.0, zero, x), size - whole)


@inner
def relu_gradients(dinputs, doutputs, inputs, size):
    """dinputs = doutputs where inputs > 0 (or NaN), else 0, over `size` elements at pointers."""
    step = lanes(inputs)
    zero = splat(inputs, 0.0)
    whole = size - size % step
    for i in range(0, whole, step):
        store(dinputs + i, select(load(inputs + i) <= 0.0, zero, load(doutputs + i)))
    if whole < size:
        rest = size - whole
        mask = load_part(inputs + whole, rest, 0.0) <= 0.0
        values = select(mask, zero, load_part(doutputs + whole, rest, 0.0))
        store_part(dinputs + whole, values, rest)


@kernel
def relu_forward(outputs, inputs):
    """outputs (B, I) = max(inputs (B, I), 0)."""
    relu_values(pointer(outputs), pointer(inputs), inputs.size)


@kernel
def relu_backward(dinputs, doutputs, inputs):
    """dinputs (B, I) = doutputs (B, I) where inputs (B, I) > 0, else 0.

    The gradient of outputs = max(inputs, 0). `inputs` may also be the outputs.
    """
    relu_gradients(pointer(dinputs), pointer(doutputs), pointer(inputs), inputs.size)
