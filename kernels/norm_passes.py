"""LAYER_NORM and BATCH_NORM of a network: their part in the passes, and in the weights phase.

The SCALES of a BATCH_NORM are three rows: center, scale and shift in a prediction; mean, variance
and scale of the batch in training.
"""

import numpy as np

from .batch_norm import (
    column_scale,
    columns_back,
    fold,
    fold_row,
    follow_moments,
    keep_moments,
    keep_sums,
    kept_moments,
    kept_sums,
    normalize_columns,
)
from .catalogue import Operation, Rule
from .codes import SumRow
from .groups import is_norm
from .jit import inner
from .layer_norm import (
    layer_norm_back,
    layer_norm_row,
)
from .norm_sums import (
    column_gradients,
)
from .pointers import get, null, put
from .simd import fma, lanes, load_part, store_part
from .table import BLOCK
from .threads import share, wait
from .tile import tile_lanes, tile_rows
from .update import follow

# ------------------------------------------------------------------------------ prediction


@inner
def fold_norms(layers, parameters, workspace):
    """Keep center, scale and shift of every BATCH_NORM."""
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.BATCH_NORM:
            size, scales = layer.n_outputs, workspace + layer.scales
            for j in range(0, size, lanes(workspace)):
                count = min(lanes(workspace), size - j)
                center, scale, shift = fold(
                    parameters + (layer.weights + j), parameters + (layer.biases + j),
                    parameters + (layer.running_mean + j),
                    parameters + (layer.running_variance + j),
                    count, layer.parameter,
                )  # fmt: skip
                store_part(scales + j, center, count)
                store_part(scales + (layer.output_row + j), scale, count)
                store_part(scales + (2 * layer.output_row + j), shift, count)


@inner
def predict_norm_rows(layer, epsilon, parameters, workspace, inputs, input_row, first, rows):
    """Normalise the rows [first, first + rows), `inputs` a pointer to their first."""
    size, row = layer.n_outputs, layer.output_row
    outputs, scales = workspace + (layer.outputs + first * row), workspace + layer.scales
    weights, biases = parameters + layer.weights, parameters + layer.biases
    for i in range(rows):
        a, b = inputs + i * input_row, outputs + i * row
        if layer.operation == Operation.LAYER_NORM:
            layer_norm_row(b, null(b), a, weights, biases, size, epsilon)
        else:
            for j in range(0, size, lanes(a)):
                count = min(lanes(a), size - j)
                center = load_part(scales + j, count, 0.0)
                scale = load_part(scales + (row + j), count, 0.0)
                shift = load_part(scales + (2 * row + j), count, 0.0)
                x = load_part(a + j, count, 0.0) - center
                store_part(b + j, fma(x, scale, shift), count)


@inner
def predict_norm_row(result, values, layer, epsilon, parameters):
    """Normalise one row, at pointers, with the bits of `predict_norm_rows`."""
    size = layer.n_outputs
    weights, biases = parameters + layer.weights, parameters + layer.biases
    if layer.operation == Operation.LAYER_NORM:
        layer_norm_row(result, null(result), values, weights, biases, size, epsilon)
    else:
        mean, variance = parameters + layer.running_mean, parameters + layer.running_variance
        fold_row(result, values, weights, biases, mean, variance, size, epsilon)


# -------------------------------------------------------------------------- the rows phase


@inner
def rows_unit(layers, like):
    """Return how many rows a thread takes at a time: whole tiles, and whole blocks of columns."""
    for index in range(len(layers)):
        if layers[index].operation == Operation.BATCH_NORM:
            rows = BLOCK
            while rows % tile_rows(like) != 0:
                rows += BLOCK
            return rows
    return tile_rows(like)


@inner
def layer_norm_rows(layer, epsilon, parameters, workspace, inputs, first, rows):
    """Normalise the rows [first, first + rows), `inputs` a pointer to their first."""
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
    """Take the gradient of the rows [first, first + rows), at pointers to their first, back."""
    row = layer.output_row
    kept = workspace + (layer.normalized + first * row)
    for i in range(rows):
        layer_norm_back(
            dinputs + i * layer.input_row, doutputs + i * row, kept + i * row,
            parameters + layer.weights, layer.n_outputs,
            get(workspace + (layer.scales + first + i)),
        )  # fmt: skip


@inner
def batch_norm_rows(
    layer, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads
):
    """Normalise the rows [first, first + rows) by the columns of all rows of the batch.

    Each thread keeps the moments of its own blocks of rows, and merges those of all: that is a
    part in `BLOCK` of the work, and saves a second barrier. False where the barrier says so.
    The thread with the first row leaves what it found for the way back, behind the next barrier.
    """
    size, row = layer.n_outputs, layer.output_row
    scales = workspace + layer.scales
    keep_moments(workspace + layer.moments, inputs, layer.input_row, first, rows, row, size)
    if not wait(gate, threads):
        return False
    for j in range(0, size, lanes(inputs)):
        count, at = min(lanes(inputs), size - j), first * row + j
        mean, variance = kept_moments(workspace + (layer.moments + j), row, batch, count)
        # Of all rows: nobody writes to the inputs before the batch ends.
        shift, variance, scale = column_scale(
            workspace + (layer.inputs + j), layer.input_row, batch, count, mean, variance, epsilon
        )
        if first == 0 and rows > 0:
            store_part(scales + j, mean + shift, count)
            store_part(scales + (row + j), variance, count)
            store_part(scales + (2 * row + j), scale, count)
        normalize_columns(
            workspace + (layer.outputs + at), workspace + (layer.normalized + at), inputs + j,
            row, layer.input_row, rows, count, mean, shift, scale,
            parameters + (layer.weights + j), parameters + (layer.biases + j),
        )  # fmt: skip
    return True


@inner
def batch_norm_rows_back(
    layer, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads
):
    """Take the gradient of the rows [first, first + rows), at pointers to their first, back."""
    size, row = layer.n_outputs, layer.output_row
    kept = workspace + (layer.normalized + first * row)
    keep_sums(workspace + layer.sums, doutputs, kept, first, rows, row, size)
    if not wait(gate, threads):
        return False
    for j in range(0, size, lanes(doutputs)):
        count = min(lanes(doutputs), size - j)
        scale = load_part(workspace + (layer.scales + 2 * row + j), count, 0.0)
        sums, products = kept_sums(workspace + (layer.sums + j), row, batch, count)
        columns_back(
            dinputs + j, doutputs + j, kept + j, layer.input_row, row, rows, count, batch,
            sums, products, scale, parameters + (layer.weights + j),
        )  # fmt: skip
    return True


# ----------------------------------------------------------------------- the weights phase


@inner
def form_norms(layers, workspace, sums, rows, thread, threads):
    """Form this thread's columns of the gradients, and keep their squares where there is room."""
    for index in range(len(layers)):
        layer = layers[index]
        if not is_norm(layer.operation) or layer.trains == 0:
            continue
        size, row = layer.n_outputs, layer.output_row
        begin, end = share(size, 4 * tile_lanes(workspace), thread, threads)
        dweights, dbiases = workspace + layer.dweights, workspace + layer.dbiases
        column_gradients(
            dweights + begin, dbiases + begin, workspace + (layer.doutputs + begin),
            workspace + (layer.normalized + begin), row, rows, end - begin,
        )  # fmt: skip
        if sums.shape[1] > 0:
            for j in range(begin, end):
                w, b = np.float64(get(dweights + j)), np.float64(get(dbiases + j))
                sums[SumRow.SQUARES, layer.first_sum + j] = w * w
                sums[SumRow.SQUARES, layer.first_sum + size + j] = b * b


@inner
def follow_norms(
    layers, parameters, states, n_parameters, workspace, rows, rule, numbers, scale,
    thread, threads,
):  # fmt: skip
    """Step down the gradients of this thread's columns, and let what a run has seen follow."""
    rule = Rule.DESCENT if rule == Rule.FUSED_DESCENT else rule
    for index in range(len(layers)):
        layer = layers[index]
        if not is_norm(layer.operation):
            continue
        begin, end = share(layer.n_outputs, 4 * tile_lanes(workspace), thread, threads)
        if layer.trains != 0:
            for place, slopes in (
                (layer.weights, layer.dweights), (layer.biases, layer.dbiases)
            ):  # fmt: skip
                follow(
                    parameters + (place + begin), workspace + (slopes + begin),
                    states + (place + begin), n_parameters, end - begin,
                    rule, numbers, scale, 0.0, 0.0,
                )  # fmt: skip
        if layer.operation == Operation.BATCH_NORM:
            for j in range(begin, end, lanes(workspace)):
                count = min(lanes(workspace), end - j)
                moments = workspace + (layer.scales + j)
                mean = load_part(moments, count, 0.0)
                variance = load_part(moments + layer.output_row, count, 0.0)
                follow_moments(
                    parameters + (layer.running_mean + j),
                    parameters + (layer.running_variance + j),
                    mean, variance, count, rows, layer.momentum,
                )  # fmt: skip
