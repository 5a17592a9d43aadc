"""LAYER_NORM and BATCH_NORM of a table: their part in the passes, and in the weights phase.

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
from .table import (
    BIASES,
    BLOCK,
    DBIASES,
    DOUTPUTS,
    DWEIGHTS,
    FIRST_SUM,
    INPUT_ROW,
    INPUTS,
    KEPT,
    MOMENTS,
    MOMENTUM_NUMBER,
    N_OUTPUTS,
    NUMBER,
    OPERATION,
    OUTPUT_ROW,
    OUTPUTS,
    RUNNING_MEAN,
    RUNNING_VARIANCE,
    SCALES,
    SUMS,
    TRAINS,
    WEIGHTS,
)
from .threads import share, wait
from .tile import tile_lanes, tile_rows
from .update import follow

# ------------------------------------------------------------------------------ prediction


@inner
def fold_norms(table, coefficients, parameters, workspace):
    """Keep center, scale and shift of every BATCH_NORM."""
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] == Operation.BATCH_NORM:
            size, scales = step[N_OUTPUTS], workspace + step[SCALES]
            for j in range(0, size, lanes(workspace)):
                count = min(lanes(workspace), size - j)
                center, scale, shift = fold(
                    parameters + (step[WEIGHTS] + j), parameters + (step[BIASES] + j),
                    parameters + (step[RUNNING_MEAN] + j),
                    parameters + (step[RUNNING_VARIANCE] + j),
                    count, coefficients[layer, NUMBER],
                )  # fmt: skip
                store_part(scales + j, center, count)
                store_part(scales + (step[OUTPUT_ROW] + j), scale, count)
                store_part(scales + (2 * step[OUTPUT_ROW] + j), shift, count)


@inner
def predict_norm_rows(step, epsilon, parameters, workspace, inputs, input_row, first, rows):
    """Normalise the rows [first, first + rows), `inputs` a pointer to their first."""
    size, row = step[N_OUTPUTS], step[OUTPUT_ROW]
    outputs, scales = workspace + (step[OUTPUTS] + first * row), workspace + step[SCALES]
    weights, biases = parameters + step[WEIGHTS], parameters + step[BIASES]
    for i in range(rows):
        a, b = inputs + i * input_row, outputs + i * row
        if step[OPERATION] == Operation.LAYER_NORM:
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
def predict_norm_row(result, values, step, epsilon, parameters):
    """Normalise one row, at pointers, with the bits of `predict_norm_rows`."""
    size = step[N_OUTPUTS]
    weights, biases = parameters + step[WEIGHTS], parameters + step[BIASES]
    if step[OPERATION] == Operation.LAYER_NORM:
        layer_norm_row(result, null(result), values, weights, biases, size, epsilon)
    else:
        mean, variance = parameters + step[RUNNING_MEAN], parameters + step[RUNNING_VARIANCE]
        fold_row(result, values, weights, biases, mean, variance, size, epsilon)


# -------------------------------------------------------------------------- the rows phase


@inner
def rows_unit(table, like):
    """Return how many rows a thread takes at a time: whole tiles, and whole blocks of columns."""
    for layer in range(len(table)):
        if table[layer, OPERATION] == Operation.BATCH_NORM:
            rows = BLOCK
            while rows % tile_rows(like) != 0:
                rows += BLOCK
            return rows
    return tile_rows(like)


@inner
def layer_norm_rows(step, epsilon, parameters, workspace, inputs, first, rows):
    """Normalise the rows [first, first + rows), `inputs` a pointer to their first."""
    weights, biases = parameters + step[WEIGHTS], parameters + step[BIASES]
    for i in range(rows):
        at = (first + i) * step[OUTPUT_ROW]
        scale = layer_norm_row(
            workspace + (step[OUTPUTS] + at), workspace + (step[KEPT] + at),
            inputs + i * step[INPUT_ROW], weights, biases, step[N_OUTPUTS], epsilon,
        )  # fmt: skip
        put(workspace + (step[SCALES] + first + i), scale)


@inner
def layer_norm_rows_back(step, parameters, workspace, dinputs, doutputs, first, rows):
    """Take the gradient of the rows [first, first + rows), at pointers to their first, back."""
    row = step[OUTPUT_ROW]
    kept = workspace + (step[KEPT] + first * row)
    for i in range(rows):
        layer_norm_back(
            dinputs + i * step[INPUT_ROW], doutputs + i * row, kept + i * row,
            parameters + step[WEIGHTS], step[N_OUTPUTS],
            get(workspace + (step[SCALES] + first + i)),
        )  # fmt: skip


@inner
def batch_norm_rows(
    step, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads
):
    """Normalise the rows [first, first + rows) by the columns of all rows of the batch.

    Each thread keeps the moments of its own blocks of rows, and merges those of all: that is a
    part in `BLOCK` of the work, and saves a second barrier. False where the barrier says so.
    The thread with the first row leaves what it found for the way back, behind the next barrier.
    """
    size, row = step[N_OUTPUTS], step[OUTPUT_ROW]
    scales = workspace + step[SCALES]
    keep_moments(workspace + step[MOMENTS], inputs, step[INPUT_ROW], first, rows, row, size)
    if not wait(gate, threads):
        return False
    for j in range(0, size, lanes(inputs)):
        count, at = min(lanes(inputs), size - j), first * row + j
        mean, variance = kept_moments(workspace + (step[MOMENTS] + j), row, batch, count)
        # Of all rows: nobody writes to the inputs before the batch ends.
        shift, variance, scale = column_scale(
            workspace + (step[INPUTS] + j), step[INPUT_ROW], batch, count, mean, variance, epsilon
        )
        if first == 0 and rows > 0:
            store_part(scales + j, mean + shift, count)
            store_part(scales + (row + j), variance, count)
            store_part(scales + (2 * row + j), scale, count)
        normalize_columns(
            workspace + (step[OUTPUTS] + at), workspace + (step[KEPT] + at), inputs + j,
            row, step[INPUT_ROW], rows, count, mean, shift, scale,
            parameters + (step[WEIGHTS] + j), parameters + (step[BIASES] + j),
        )  # fmt: skip
    return True


@inner
def batch_norm_rows_back(
    step, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads
):
    """Take the gradient of the rows [first, first + rows), at pointers to their first, back."""
    size, row = step[N_OUTPUTS], step[OUTPUT_ROW]
    kept = workspace + (step[KEPT] + first * row)
    keep_sums(workspace + step[SUMS], doutputs, kept, first, rows, row, size)
    if not wait(gate, threads):
        return False
    for j in range(0, size, lanes(doutputs)):
        count = min(lanes(doutputs), size - j)
        scale = load_part(workspace + (step[SCALES] + 2 * row + j), count, 0.0)
        sums, products = kept_sums(workspace + (step[SUMS] + j), row, batch, count)
        columns_back(
            dinputs + j, doutputs + j, kept + j, step[INPUT_ROW], row, rows, count, batch,
            sums, products, scale, parameters + (step[WEIGHTS] + j),
        )  # fmt: skip
    return True


# ----------------------------------------------------------------------- the weights phase


@inner
def form_norms(table, workspace, sums, rows, thread, threads):
    """Form this thread's columns of the gradients, and keep their squares where there is room."""
    for layer in range(len(table)):
        step = table[layer]
        if not is_norm(step[OPERATION]) or step[TRAINS] == 0:
            continue
        size, row = step[N_OUTPUTS], step[OUTPUT_ROW]
        begin, end = share(size, 4 * tile_lanes(workspace), thread, threads)
        dweights, dbiases = workspace + step[DWEIGHTS], workspace + step[DBIASES]
        column_gradients(
            dweights + begin, dbiases + begin, workspace + (step[DOUTPUTS] + begin),
            workspace + (step[KEPT] + begin), row, rows, end - begin,
        )  # fmt: skip
        if sums.shape[1] > 0:
            for j in range(begin, end):
                w, b = np.float64(get(dweights + j)), np.float64(get(dbiases + j))
                sums[SumRow.SQUARES, step[FIRST_SUM] + j] = w * w
                sums[SumRow.SQUARES, step[FIRST_SUM] + size + j] = b * b


@inner
def follow_norms(
    table, coefficients, parameters, states, n_parameters, workspace, rows, rule, numbers, scale,
    thread, threads,
):  # fmt: skip
    """Step down the gradients of this thread's columns, and let what a run has seen follow."""
    rule = Rule.DESCENT if rule == Rule.FUSED_DESCENT else rule
    for layer in range(len(table)):
        step = table[layer]
        if not is_norm(step[OPERATION]):
            continue
        begin, end = share(step[N_OUTPUTS], 4 * tile_lanes(workspace), thread, threads)
        if step[TRAINS] != 0:
            for place, slopes in (
                (step[WEIGHTS], step[DWEIGHTS]), (step[BIASES], step[DBIASES])
            ):  # fmt: skip
                follow(
                    parameters + (place + begin), workspace + (slopes + begin),
                    states + (place + begin), n_parameters, end - begin,
                    rule, numbers, scale, 0.0, 0.0,
                )  # fmt: skip
        if step[OPERATION] == Operation.BATCH_NORM:
            for j in range(begin, end, lanes(workspace)):
                count = min(lanes(workspace), end - j)
                moments = workspace + (step[SCALES] + j)
                mean = load_part(moments, count, 0.0)
                variance = load_part(moments + step[OUTPUT_ROW], count, 0.0)
                follow_moments(
                    parameters + (step[RUNNING_MEAN] + j),
                    parameters + (step[RUNNING_VARIANCE] + j),
                    mean, variance, count, rows, coefficients[layer, MOMENTUM_NUMBER],
                )  # fmt: skip
