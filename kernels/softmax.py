"""Softmax over the rows: probabilities = exp(logits - max) / sum(exp(logits - max))."""

import numpy as np

from .elementary import exp
from .float_bits import cut
from .jit import inner, kernel
from .pointers import get, pointer
from .simd import (
    fma,
    lanes,
    load,
    load_part,
    max_lanes,
    select,
    splat,
    store,
    store_part,
    sum_lanes,
)


@inner
def row_max(row, size):
    """Return the largest of `size` elements."""
    step = lanes(row)
    first = get(row)
    largest = splat(row, first)
    whole = size - size % step
    for j in range(0, whole, step):
        x = load(row + j)
        largest = select(x > largest, x, largest)
    if whole < size:
        x = load_part(row + whole, size - whole, first)
        largest = select(x > largest, x, largest)
    return max_lanes(largest)


@inner
def exp_row(result, row, size, shift):
    """result = exp(row - shift); return the sum. `result` may be `row`."""
    step = lanes(row)
    total = splat(row, 0.0)
    whole = size - size % step
    for j in range(0, whole, step):
        e = exp(load(row + j) - shift)
        total = total + e
        store(result + j, e)
    if whole < size:
        e = exp(load_part(row + whole, size - whole, -np.inf) - shift)
        total = total + e
        store_part(result + whole, e, size - whole)
    return sum_lanes(total)


@inner
def scale_row(row, size, factor):
    """row = row * factor, in place, with zeros for subnormal numbers."""
    step = lanes(row)
    whole = size - size % step
    for j in range(0, whole, step):
        store(row + j, cut(load(row + j) * factor))
    if whole < size:
        rest = size - whole
        store_part(row + whole, cut(load_part(row + whole, rest, 0.0) * factor), rest)


@inner
def softmax_row(result, row, size):
    """result = softmax(row) at two pointers, which may be equal."""
    if size <= lanes(row):
        # In registers: reading back what a masked store has just written would stall.
        x = load_part(row, size, -np.inf)
        e = exp(x - max_lanes(x))
        store_part(result, cut(e * (1.0 / sum_lanes(e))), size)
    else:
        total = exp_row(result, row, size, row_max(row, size))
        scale_row(result, size, 1.0 / total)


@inner
def softmax_gradient_row(dinputs, doutputs, outputs, size):
    """dinputs = outputs * (doutputs - sum(doutputs * outputs)) at three pointers."""
    step = lanes(outputs)
    total = splat(outputs, 0.0)
    whole = size - size % step
    rest = size - whole
    for j in range(0, whole, step):
        total = fma(load(doutputs + j), load(outputs + j), total)
    if rest > 0:
        s = load_part(outputs + whole, rest, 0.0)
        total = fma(load_part(doutputs + whole, rest, 0.0), s, total)
    mean = sum_lanes(total)
    for j in range(0, whole, step):
        store(dinputs + j, cut(load(outputs + j) * (load(doutputs + j) - mean)))
    if rest > 0:
        d = load_part(doutputs + whole, rest, 0.0)
        store_part(dinputs + whole, cut(load_part(outputs + whole, rest, 0.0) * (d - mean)), rest)


@kernel
def softmax_forward(outputs, inputs):
    """outputs (B, C) = softmax over each row of inputs (B, C)."""
    rows, classes = inputs.shape
    for i in range(rows):
        softmax_row(pointer(outputs) + i * classes, pointer(inputs) + i * classes, classes)


@kernel
def softmax_backward(dinputs, doutputs, outputs):
    """dinputs (B, C) = outputs * (doutputs - sum(doutputs * outputs)), the sum over each row.

    The gradient of outputs = softmax(inputs): the product of doutputs (B, C) with the Jacobian
    diag(s) - s s^T of every row s of outputs (B, C), which is never built.
    """
    rows, classes = outputs.shape
    for i in range(rows):
        at = i * classes
        softmax_gradient_row(
            pointer(dinputs) + at, pointer(doutputs) + at, pointer(outputs) + at, classes
        )
