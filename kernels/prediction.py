"""Prediction: rows through a whole network in one compiled call that allocates nothing.

Both kernels look for NaN and infinity in a block of rows just before they use it, when it has to
come into the cache anyway: a scan of its own would read all data twice. Where they find subnormal
numbers they take a copy of the block with zeros for these, which cost many times as much.
"""

import math

from .activations import activate
from .batches import copy_row, cut_row, fill_row, scan
from .catalogue import Operation
from .codes import Epilogue
from .groups import is_norm
from .jit import inner, kernel
from .norm_passes import fold_norms, predict_norm_row
from .panels import pack_weights
from .passes import forward_rows
from .pointers import pointer
from .products import row_product
from .relu import relu_values
from .softmax import softmax_row
from .table import (
    BIASES,
    FINISH,
    INPUT_ROW,
    INPUTS,
    N_INPUTS,
    N_OUTPUTS,
    NUMBER,
    OPERATION,
    OUTPUT_ROW,
    OUTPUTS,
    WEIGHTS,
)


@inner
def finish_row(result, values, size, finish):
    """result = what the user is to see of a row of outputs."""
    if finish == Operation.SOFTMAX:
        softmax_row(result, values, size)
    elif finish == Operation.SIGMOID or finish == Operation.EXP:
        activate(result, values, size, finish, 0.0)
    elif finish == Operation.IDENTITY:
        copy_row(result, values, size)
    else:
        fill_row(result, size, math.nan)


@kernel
def pack_network(panels, table, parameters):
    """panels = all weights of the network, as `predict_rows` reads them."""
    pack_weights(table, pointer(parameters), pointer(panels), 0, 1)


@kernel
def predict_rows(
    outputs, workspace, panels, table, coefficients, parameters, inputs, block, finish
):
    """outputs (N, O) = `finish` (IDENTITY, SOFTMAX, SIGMOID, EXP) of the network on inputs (N, I).

    `block` rows at a time go through all layers while they are in cache; `table` is laid out for
    at least that many. `coefficients` may be None where no activation stands alone. Return N, or
    the first row of the block that is not finite: nothing of it is computed.
    """
    p, w = pointer(parameters), pointer(workspace)
    tail = table[len(table) - 1]
    n_inputs, n_outputs = table[0, N_INPUTS], tail[N_OUTPUTS]
    if coefficients is not None:
        fold_norms(table, coefficients, p, w)
    for start in range(0, len(inputs), block):
        rows = min(block, len(inputs) - start)
        source = pointer(inputs) + start * n_inputs
        finite, tails = scan(source, rows * n_inputs)
        if not finite:
            return start
        row = n_inputs
        if tails:
            copy, row = w + table[0, INPUTS], table[0, INPUT_ROW]
            for i in range(rows):
                cut_row(copy + i * row, source + i * n_inputs, n_inputs)
            source = copy
        forward_rows(table, coefficients, p, pointer(panels), w, source, row, 0, rows)
        for i in range(rows):
            values = w + (tail[OUTPUTS] + i * tail[OUTPUT_ROW])
            finish_row(pointer(outputs) + (start + i) * n_outputs, values, n_outputs, finish)
    return len(inputs)


@kernel
def predict_few(outputs, workspace, table, coefficients, parameters, inputs, finish):
    """As `predict_rows`, with the same bits, one row at a time and without packing anything.

    To pack a matrix of weights takes as long as to multiply a few rows by it. workspace: twice the
    widest values, inputs or outputs of a layer, whatever the table is laid out for.
    """
    p, w = pointer(parameters), pointer(workspace)
    half = len(workspace) // 2
    n_inputs, n_outputs = table[0, N_INPUTS], table[len(table) - 1, N_OUTPUTS]
    for i in range(len(inputs)):
        values = pointer(inputs) + i * n_inputs
        finite, tails = scan(values, n_inputs)
        if not finite:
            return i
        if tails:
            cut_row(w + half, values, n_inputs)  # the first layer writes to the other half
            values = w + half
        for layer in range(len(table)):
            step = table[layer]
            size = step[N_OUTPUTS]
            result = w + layer % 2 * half
            if step[OPERATION] == Operation.DENSE:
                weights, biases = p + step[WEIGHTS], p + step[BIASES]
                row_product(result, values, weights, biases, size, step[N_INPUTS])
                if step[FINISH] == Epilogue.RELU:
                    relu_values(result, result, size)
            elif step[OPERATION] == Operation.RELU:
                relu_values(result, values, size)
            elif step[OPERATION] == Operation.SOFTMAX:
                softmax_row(result, values, size)
            elif coefficients is not None:
                number = coefficients[layer, NUMBER]
                if is_norm(step[OPERATION]):
                    predict_norm_row(result, values, step, number, p)
                else:
                    activate(result, values, size, step[OPERATION], number)
            else:
                fill_row(result, size, math.nan)
            values = result
        finish_row(pointer(outputs) + i * n_outputs, values, n_outputs, finish)
    return len(inputs)
