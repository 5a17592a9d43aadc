"""LAYER_NORM: normalize each row to mean 0 and variance 1.

outputs = normalized * weights + biases, where normalized = (inputs - mean) * scale and scale =
1 / sqrt(variance + epsilon), with the variance that is divided by the number of features. Ba,
Kiros, Hinton, "Layer Normalization" (2016), equation 4.

A rounded mean is too inexact for values that are far from 0 and close together: 37 values of
123456.789 in float32 became 0.93 instead of 0. Such rows are summed again, as differences to the
rounded mean, which are exact. Their mean (`shift`) is then subtracted too.
"""

from .jit import inner, kernel
from .norm_sums import column_gradients
from .pointers import get, is_null, null, pointer, put
from .simd import (
    by_dtype,
    first_lane,
    first_true,
    fma,
    keep,
    lanes,
    load_part,
    select,
    splat,
    sqrt,
    store_part,
    sum_lanes,
)

# The largest change of a normalized value by the shift that is ignored: 256 roundings of 1. Rows
# with values around 0 stay far below it.
_most_shift = by_dtype(2.0**-16, 2.0**-45)

# Rows with a value above `_widest` are multiplied by `_shrink` first. So no sum of squares
# overflows, nor does one become subnormal: the largest value of such a row is far above its last
# digit.
_widest = by_dtype(2.0**50, 2.0**490)
_shrink = by_dtype(2.0**-80, 2.0**-540)


@inner
def layer_norm_row(outputs, normalized, inputs, weights, biases, size, epsilon):
    """Normalize a row at pointers; return its scale. `normalized` may be null."""
    step = lanes(inputs)
    total = rests = squares = splat(inputs, 0.0)
    for j in range(0, size, step):
        total = total + load_part(inputs + j, min(step, size - j), 0.0)
    mean = splat(inputs, sum_lanes(total)) / float(max(size, 1))
    for j in range(0, size, step):
        d = load_part(inputs + j, min(step, size - j), first_lane(mean)) - mean
        squares = fma(d, d, squares)
        rests = rests + d
    variance = splat(inputs, sum_lanes(squares)) / float(max(size, 1))
    scale = splat(inputs, 1.0) / sqrt(variance + epsilon)
    shift = splat(inputs, sum_lanes(rests)) / float(max(size, 1))
    # Also where the scale is 0, or anything is NaN: there squares overflow.
    if not (first_lane(scale) > 0.0 and abs(first_lane(shift * scale)) <= _most_shift(inputs)):
        return wide_row(outputs, normalized, inputs, weights, biases, size, epsilon)
    for j in range(0, size, step):
        rest = min(step, size - j)
        x = (load_part(inputs + j, rest, 0.0) - mean) * scale
        if not is_null(normalized):
            store_part(normalized + j, x, rest)
        w, b = load_part(weights + j, rest, 0.0), load_part(biases + j, rest, 0.0)
        store_part(outputs + j, fma(x, w, b), rest)
    return first_lane(scale)


@inner
def wide_row(outputs, normalized, inputs, weights, biases, size, epsilon):
    """As `layer_norm_row`, for values far from 0, or so far apart that their squares overflow."""
    step, count = lanes(inputs), float(max(size, 1))
    zero = splat(inputs, 0.0)
    most = zero
    for j in range(0, size, step):
        x = load_part(inputs + j, min(step, size - j), 0.0)
        x = select(x < 0.0, zero - x, x)
        most = select(x > most, x, most)
    factor = splat(inputs, 1.0)
    if first_true(most > _widest(inputs)) < step:
        factor = factor * _shrink(inputs)
    total = rests = squares = zero
    for j in range(0, size, step):
        total = total + load_part(inputs + j, min(step, size - j), 0.0) * factor
    mean = splat(inputs, sum_lanes(total)) / count
    for j in range(0, size, step):
        rest = min(step, size - j)
        rests = rests + keep(load_part(inputs + j, rest, 0.0) * factor - mean, rest)
    shift = splat(inputs, sum_lanes(rests)) / count
    for j in range(0, size, step):
        rest = min(step, size - j)
        d = keep((load_part(inputs + j, rest, 0.0) * factor - mean) - shift, rest)
        squares = fma(d, d, squares)
    variance = splat(inputs, sum_lanes(squares)) / count
    # If all values are equal, the variance is 0, and epsilon * factor**2 may underflow to 0.
    constant = sqrt(splat(inputs, epsilon)) * factor
    spread = sqrt(variance + splat(inputs, epsilon) * factor * factor)
    scale = splat(inputs, 1.0) / select(variance == 0.0, constant, spread)
    for j in range(0, size, step):
        rest = min(step, size - j)
        x = ((load_part(inputs + j, rest, 0.0) * factor - mean) - shift) * scale
        if not is_null(normalized):
            store_part(normalized + j, x, rest)
        w, b = load_part(weights + j, rest, 0.0), load_part(biases + j, rest, 0.0)
        store_part(outputs + j, fma(x, w, b), rest)
    return first_lane(scale * factor)


@inner
def layer_norm_back(dinputs, doutputs, normalized, weights, size, scale):
    """dinputs = (g - mean(g) - normalized * mean(g * normalized)) * scale, g = doutputs * weights.

    At pointers; `scale` is what `layer_norm_row` returned.
    """
    step = lanes(weights)
    sums = products = splat(weights, 0.0)
    for j in range(0, size, step):
        rest = min(step, size - j)
        g = load_part(doutputs + j, rest, 0.0) * load_part(weights + j, rest, 0.0)
        sums = sums + g
        products = fma(g, load_part(normalized + j, rest, 0.0), products)
    mean = splat(weights, sum_lanes(sums)) / float(max(size, 1))
    back = splat(weights, 0.0) - splat(weights, sum_lanes(products)) / float(max(size, 1))
    for j in range(0, size, step):
        rest = min(step, size - j)
        g = load_part(doutputs + j, rest, 0.0) * load_part(weights + j, rest, 0.0)
        g = fma(load_part(normalized + j, rest, 0.0), back, g - mean)
        store_part(dinputs + j, g * scale, rest)


# ------------------------------------------------------------------ a layer of the program


@inner
def predict_layer_norm_rows(layer, parameters, workspace, inputs, input_row, first, rows):
    """Normalize the rows [first, first + rows), `inputs` a pointer to their first."""
    outputs = workspace + (layer.outputs + first * layer.output_row)
    for i in range(rows):
        predict_layer_norm_row(
            outputs + i * layer.output_row, inputs + i * input_row, layer, parameters
        )


@inner
def predict_layer_norm_row(result, values, layer, parameters):
    """Normalize one row, at pointers."""
    layer_norm_row(
        result, null(result), values, parameters + layer.weights, parameters + layer.biases,
        layer.n_outputs, layer.parameter,
    )  # fmt: skip


@inner
def layer_norm_rows(layer, epsilon, parameters, workspace, inputs, first, rows):
    """Normalize the rows [first, first + rows), `inputs` a pointer to their first."""
    weights, biases = parameters + layer.weights, parameters + layer.biases
    for i in range(rows):
        at = (first + i) * layer.output_row
        scale = layer_norm_row(
            workspace + (layer.outputs + at), workspace + (layer.normalized + at),
            inputs + i * layer.input_row, weights, biases, layer.n_outputs, epsilon,
        )  # fmt: skip
        put(workspace + (layer.scales + first + i), scale)


@inner
def layer_norm_rows_back(layer, parameters, workspace, dinputs, doutputs, first, rows):
    """Form dinputs of the rows [first, first + rows), at pointers to `first`."""
    row = layer.output_row
    normalized = workspace + (layer.normalized + first * row)
    for i in range(rows):
        layer_norm_back(
            dinputs + i * layer.input_row, doutputs + i * row, normalized + i * row,
            parameters + layer.weights, layer.n_outputs,
            get(workspace + (layer.scales + first + i)),
        )  # fmt: skip


# ------------------------------------------------------------------------ kernels on arrays


@kernel
def layer_norm_forward(outputs, normalized, scales, inputs, weights, biases, epsilon):
    """outputs (B, I) = normalized * weights (1, I) + biases (1, I), each row normalized by itself.

    normalized (B, I) = (inputs - mean) * scales, scales (B,) = 1 / sqrt(variance + epsilon).
    """
    rows, size = inputs.shape
    for i in range(rows):
        at = i * size
        scale = layer_norm_row(
            pointer(outputs) + at, pointer(normalized) + at, pointer(inputs) + at,
            pointer(weights), pointer(biases), size, epsilon,
        )  # fmt: skip
        put(pointer(scales) + i, scale)


@kernel
def layer_norm_backward(dinputs, dweights, dbiases, doutputs, normalized, scales, weights):
    """Gradients of `layer_norm_forward`, given doutputs (B, I).

    dinputs (B, I) = (g - mean(g) - normalized * mean(g * normalized)) * scales,
    g = doutputs * weights, means over each row; dweights (1, I) = sum of doutputs * normalized,
    dbiases (1, I) = sum of doutputs.
    """
    rows, size = doutputs.shape
    for i in range(rows):
        at = i * size
        layer_norm_back(
            pointer(dinputs) + at, pointer(doutputs) + at, pointer(normalized) + at,
            pointer(weights), size, scales[i],
        )  # fmt: skip
    column_gradients(
        pointer(dweights), pointer(dbiases), pointer(doutputs), pointer(normalized),
        size, rows, size,
    )  # fmt: skip
