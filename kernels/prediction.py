"""Prediction: the outputs of a whole network in one compiled call that allocates nothing.

Both kernels scan a block of rows for NaN and infinity just before they use it: a separate scan
would read all data twice. If a block has subnormal numbers, they use a copy with zeros in their
place, as arithmetic on subnormal numbers is slow.
"""

import math

from .activations import activate
from .batch_norm import fold_batch_norms
from .batches import copy_row, cut_row, fill_row, scan
from .catalogue import Operation
from .codes import Epilogue
from .columns import columns_of
from .embedding import embedding_row, has_codes
from .groups import is_norm, is_residual
from .jit import inner, kernel
from .norm_passes import predict_norm_row
from .panels import pack_weights
from .passes import forward_rows
from .pointers import pointer
from .products import row_product
from .reduced import unit_of
from .relu import relu_values
from .residual import residual_row
from .softmax import softmax_row
from .units import configure_tiles, release_tiles


@inner
def finish_row(result, values, size, finish):
    """result = `finish`, an activation such as SOFTMAX, of a row of outputs."""
    if finish == Operation.SOFTMAX:
        softmax_row(result, values, size)
    elif finish == Operation.SIGMOID or finish == Operation.EXP:
        activate(result, values, size, finish, 0.0)
    elif finish == Operation.IDENTITY:
        copy_row(result, values, size)
    else:
        fill_row(result, size, math.nan)


@kernel
def pack_network(panels, layers, tiles, parameters):
    """panels = all weights of the network, packed for `predict_rows`, which describes `tiles`."""
    pack_weights(layers, pointer(parameters), pointer(panels), tiles, 0, 1)


@kernel
def predict_rows(
    outputs, workspace, panels, layers, extended, tiles, parameters, inputs, block, finish
):
    """outputs (N, O) = `finish` (IDENTITY, SOFTMAX, SIGMOID, EXP) of the network on inputs (N, I).

    `block` rows at a time go through all layers while they are in cache; `layers` are laid out for
    at least that many. `extended` is None if all operations are basic (`catalogue.is_basic`), so
    that only their code is compiled; else it is True. `tiles` is a tuple (weights, operands) of
    uint16, on lines of the cache: the packed weights, and memory for packed operands, of layers
    whose products have operands in bfloat16 (`reduced.py`); or None. Return N, or the first row of
    the first block that is not finite: its outputs are not computed.
    """
    if tiles is None:
        return predict_blocks(
            outputs, workspace, panels, layers, extended, None, parameters, inputs, block, finish
        )
    unit = unit_of(layers)
    configure_tiles(unit)
    n_predicted = predict_blocks(
        outputs, workspace, panels, layers, extended, tiles, parameters, inputs, block, finish
    )
    release_tiles(unit)
    return n_predicted


@inner
def predict_blocks(
    outputs, workspace, panels, layers, extended, tiles, parameters, inputs, block, finish
):
    """As `predict_rows`, where the tiles of AMX are ready if they are needed."""
    p, w = pointer(parameters), pointer(workspace)
    tail, columns = layers[len(layers) - 1], columns_of(extended)
    n_inputs, n_outputs = layers[0].n_inputs, tail.n_outputs
    if extended is not None:
        fold_batch_norms(layers, p, w)
    for start in range(0, len(inputs), block):
        rows = min(block, len(inputs) - start)
        source = pointer(inputs) + start * n_inputs
        finite, tails = scan(source, rows * n_inputs)
        if not finite or not has_codes(columns, source, n_inputs, rows):
            return start
        row = n_inputs
        if tails:
            copy, row = w + layers[0].inputs, layers[0].input_row
            for i in range(rows):
                cut_row(copy + i * row, source + i * n_inputs, n_inputs)
            source = copy
        forward_rows(layers, extended, p, pointer(panels), w, tiles, source, row, 0, rows)
        for i in range(rows):
            values = w + (tail.outputs + i * tail.output_row)
            finish_row(pointer(outputs) + (start + i) * n_outputs, values, n_outputs, finish)
    return len(inputs)


@kernel
def predict_few(outputs, workspace, layers, extended, parameters, inputs, finish):
    """As `predict_rows`, with the same bits, one row at a time and without packed weights.

    Packing a matrix of weights takes as long as multiplying a few rows by it. `workspace`
    has twice the size of the widest inputs or outputs of a layer, plus those of each BRANCH.
    """
    p, w = pointer(parameters), pointer(workspace)
    half, columns = len(workspace) // 2, columns_of(extended)
    n_inputs, n_outputs = layers[0].n_inputs, layers[len(layers) - 1].n_outputs
    for i in range(len(inputs)):
        values = pointer(inputs) + i * n_inputs
        finite, tails = scan(values, n_inputs)
        if not finite or not has_codes(columns, values, n_inputs, 1):
            return i
        if tails:
            cut_row(w + half, values, n_inputs)  # the first layer writes to the other half
            values = w + half
        for index in range(len(layers)):
            layer = layers[index]
            size = layer.n_outputs
            result = w + index % 2 * half
            if layer.operation == Operation.DENSE:
                weights, biases = p + layer.weights, p + layer.biases
                row_product(result, values, weights, biases, size, layer.n_inputs)
                if layer.epilogue == Epilogue.RELU:
                    relu_values(result, result, size)
            elif layer.operation == Operation.RELU:
                relu_values(result, values, size)
            elif layer.operation == Operation.SOFTMAX:
                softmax_row(result, values, size)
            elif extended is not None:
                if is_norm(layer.operation):
                    predict_norm_row(result, values, layer, p)
                elif is_residual(layer.operation):
                    residual_row(result, values, layer, w)
                elif layer.operation == Operation.EMBEDDING:
                    embedding_row(columns, layer, p, result, values)
                else:
                    activate(result, values, size, layer.operation, layer.parameter)
            else:
                fill_row(result, size, math.nan)
            values = result
        finish_row(pointer(outputs) + i * n_outputs, values, n_outputs, finish)
    return len(inputs)
