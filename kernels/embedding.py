"""EMBEDDING: the codes of categories become rows of tables, and numbers pass through.

outputs = [x_0, table_1[x_1], x_2, ...], where COLUMN (`records.py`) says for each column of the
inputs whether it has numbers or codes. It is a product with one-hot rows that is not calculated:
Guo and Berkhahn, "Entity Embeddings of Categorical Variables" (2016), equation 5. The inputs are
those of the network, as no other layer has codes for outputs.

The gradient of a row of a table is the sum of the gradients of all samples with its code, from the
first to the last. Threads share the numbers of the tables, so their number does not change it.

A number that is no code of its column, such as -1 or 2.5, reads no memory: it gives NaN, and no
gradient. So the samples may change while a network trains on them.
"""

import numpy as np
from numba.extending import intrinsic

from .batches import copy_row, fill_row
from .emit import emit_stack
from .jit import inner, kernel
from .pointers import get, pointer, put
from .products import add_piece, clear
from .residual import add_row
from .table import SUM_ROWS, TABLE_PIECE
from .threads import share


@intrinsic
def stack_table(typingctx, like):
    """Return a pointer to TABLE_PIECE elements on the stack, valid until the caller returns."""

    def codegen(context, builder, sig, args):
        return emit_stack(context, builder, like, TABLE_PIECE)

    return like(like), codegen


@inner
def code_of(value, n_categories):
    """Return `value` as a code in [0, n_categories), or -1 where it is none."""
    if value >= 0.0 and value < n_categories:  # not NaN
        code = int(value)
        if code == value:
            return code
    return -1


@inner
def has_codes(columns, inputs, row, rows):
    """Return whether some rows at a pointer have a code in each column of codes."""
    if columns is not None:
        for j in range(len(columns)):
            count = columns[j].n_categories
            if count > 0:
                for i in range(rows):
                    if code_of(get(inputs + (i * row + j)), count) < 0:
                        return False
    return True


@inner
def look_up(result, values, columns, tables):
    """result = a row of `values` with a row of a table for each code, at pointers."""
    for j in range(len(columns)):
        column, value = columns[j], get(values + j)
        place, size = result + column.output, column.dimension
        if column.n_categories == 0:
            put(place, value)
        else:
            code = code_of(value, column.n_categories)
            if code < 0:
                fill_row(place, size, np.nan)
            else:
                copy_row(place, tables + (column.table + code * size), size)


@inner
def add_gradients(piece, begin, end, columns, inputs, input_row, doutputs, output_row, rows):
    """Add what some rows add to the gradient of the numbers [begin, end) of the tables.

    All are pointers: `piece` to the number `begin`, the other two to the first of the rows.
    """
    for j in range(len(columns)):
        column = columns[j]
        count, size, start = column.n_categories, column.dimension, column.table
        if count == 0 or start >= end or start + count * size <= begin:
            continue
        for i in range(rows):
            code = code_of(get(inputs + (i * input_row + j)), count)
            if code < 0:
                continue
            place = start + code * size
            first, last = max(place, begin), min(place + size, end)
            if first < last:
                sums = piece + (first - begin)
                slopes = doutputs + (i * output_row + column.output + (first - place))
                add_row(sums, sums, slopes, last - first)


@inner
def form_tables(piece, begin, end, columns, inputs, input_row, doutputs, output_row, rows):
    """piece = the gradient of the numbers [begin, end) of the tables, at most TABLE_PIECE.

    Arguments as of `add_gradients`. The order of the sums is that of `sums.py`.
    """
    size = end - begin
    clear(piece, size)
    add_gradients(
        piece, begin, end, columns, inputs, input_row, doutputs, output_row, min(rows, SUM_ROWS)
    )
    if rows > SUM_ROWS:
        part, lost = stack_table(piece), stack_table(piece)
        clear(lost, size)
        for first in range(SUM_ROWS, rows, SUM_ROWS):
            clear(part, size)
            add_gradients(
                part, begin, end, columns, inputs + first * input_row, input_row,
                doutputs + first * output_row, output_row, min(SUM_ROWS, rows - first),
            )  # fmt: skip
            add_piece(piece, lost, part, size)


# ------------------------------------------------------------------ a layer of the program


@inner
def embedding_rows(columns, layer, parameters, outputs, inputs, input_row, rows):
    """Run some rows at pointers through the layer; with NaN where there are no columns."""
    for i in range(rows):
        result = outputs + i * layer.output_row
        if columns is not None:
            look_up(result, inputs + i * input_row, columns, parameters + layer.weights)
        else:
            fill_row(result, layer.n_outputs, np.nan)


@inner
def embedding_row(columns, layer, parameters, result, values):
    """Run one row through the layer in a prediction of a few rows."""
    if columns is not None:
        look_up(result, values, columns, parameters + layer.weights)
    else:
        fill_row(result, layer.n_outputs, np.nan)


@inner
def form_layer_tables(columns, layer, piece, begin, end, workspace, first, rows):
    """As `form_tables`, of the rows [first, first + rows) of a batch."""
    form_tables(
        piece, begin, end, columns,
        workspace + (layer.inputs + first * layer.input_row), layer.input_row,
        workspace + (layer.doutputs + first * layer.output_row), layer.output_row, rows,
    )  # fmt: skip


@inner
def form_shard_tables(columns, layers, result, workspace, first, rows, thread, threads):
    """Form a thread's share of the gradient of all tables, in the order of the parameters."""
    if columns is not None:
        layer = layers[0]
        if layer.trains != 0:
            begin, end = share(layer.table_size, TABLE_PIECE, thread, threads)
            for at in range(begin, end, TABLE_PIECE):
                piece = result + (layer.weights + at)
                last = min(at + TABLE_PIECE, end)
                form_layer_tables(columns, layer, piece, at, last, workspace, first, rows)


# ------------------------------------------------------------------------ kernels on arrays


@kernel
def embedding_forward(outputs, inputs, weights, columns):
    """outputs (B, O) = inputs (B, I) with a row of a table for each code.

    columns (I,) of COLUMN say what is in each column of the inputs. weights (1, W): all tables, one
    after the other.
    """
    for i in range(len(inputs)):
        look_up(
            pointer(outputs) + i * outputs.shape[1], pointer(inputs) + i * inputs.shape[1],
            columns, pointer(weights),
        )  # fmt: skip


@kernel
def embedding_backward(dinputs, dweights, doutputs, inputs, columns):
    """Gradients of `embedding_forward`, given doutputs (B, O).

    dweights (1, W) = for each row of a table, the sum of the gradients of the samples with its
    code; dinputs (B, I) = doutputs of numbers, and 0 for codes.
    """
    n_inputs, n_outputs = inputs.shape[1], doutputs.shape[1]
    for i in range(len(inputs)):
        for j in range(n_inputs):
            is_number = columns[j].n_categories == 0
            slope = get(pointer(doutputs) + (i * n_outputs + columns[j].output))
            put(pointer(dinputs) + (i * n_inputs + j), slope if is_number else 0.0)
    for begin in range(0, dweights.size, TABLE_PIECE):
        form_tables(
            pointer(dweights) + begin, begin, min(begin + TABLE_PIECE, dweights.size), columns,
            pointer(inputs), n_inputs, pointer(doutputs), n_outputs, len(inputs),
        )  # fmt: skip
