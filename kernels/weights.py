"""The weights phase of a step: each gradient over the whole batch, and the step along it.

A thread owns slices of every weight matrix. It forms their gradient piece by piece and applies the
optimizer to the panels (`packing.py`) while the piece is in the cache: plain gradient descent
has no gradient array at all.
"""

import math

import numpy as np

from .catalogue import Operation
from .codes import Epilogue, SumRow
from .jit import inner
from .packing import panel_width, panels_size
from .panels import share_weights, transpose_back, transpose_weights
from .pointers import get, null, pointer
from .products import add_piece, clear, column_sums, matmul_panel
from .simd import by_dtype
from .table import SUM_ROWS
from .threads import share
from .tile import (
    Columns,
    Descend,
    Extent,
    Rows,
    piece_rows,
    stack_piece,
    tile_block,
    tile_columns,
    tile_lanes,
)
from .update import add_slopes, descend, follow, penalty_of, sum_squares


@inner
def descend_weights(layers, parameters, workspace, rows, rate, thread, threads):
    """Form this thread's slices of every gradient over the whole batch, and step down them.

    What `update_weights` does in the plain case, in a loop of its own: choosing inside of that one
    cost a small network 10 % of its step.
    """
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    most = piece_rows(workspace)
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation != Operation.DENSE:
            continue
        n_outputs, rights = layer.n_outputs, workspace + layer.right
        begin, end, first, last = share_matrix(layer, workspace, thread, threads)
        for row in range(begin, end, most):
            height = min(most, end - row)
            for column in range(first, last, width):
                padded = panel_width(workspace, layer.columns - column)
                panel = workspace + (layer.trained_panels + column * layer.rows + row * padded)
                matmul_panel(
                    Rows(panel, padded),
                    Columns(workspace + (layer.left + row), layer.left_row),
                    Rows(rights + column, layer.right_row), rights,
                    Extent(height, min(width, layer.columns - column), rows),
                    Rows(null(panel), 0),
                    Descend(Epilogue.DESCENT, rate),
                )  # fmt: skip
            if layer.trains_transposed:
                transpose_back(layer, workspace, first, last)
            else:
                transpose_weights(layer, workspace, row, row + height)
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        sum_biases(layer, workspace, rows, begin, end)
        dbiases = workspace + (layer.dbiases + begin)
        descend(parameters + (layer.biases + begin), dbiases, end - begin, rate)


@inner
def share_matrix(layer, workspace, thread, threads):
    """Return the rows [begin, end) and the columns [first, last) of the weights as they train.

    They belong to the same inputs of the layer: its weights, or whole transposed panels.
    """
    if layer.trains_transposed:
        first, last = share(layer.n_inputs, tile_columns(workspace), thread, threads)
        return 0, layer.n_outputs, first, last
    begin, end = share_weights(layer, workspace, thread, threads)
    return begin, end, 0, layer.n_outputs


@inner
def form_piece(layer, workspace, piece, row, height, column, rows):
    """piece = gradient of the rows [row, row + height) of the panel at `column`.

    The panel is one of those that train. Zeros stand where it is wider than its columns.
    """
    columns = layer.columns - column
    padded = panel_width(workspace, columns)
    size = height * padded
    fill_padding(piece, size, columns, padded)
    form_block(layer, workspace, piece, row, height, column, 0, min(rows, SUM_ROWS))
    if rows > SUM_ROWS:
        part, lost = stack_piece(workspace), stack_piece(workspace)
        clear(lost, size)
        clear(part, size)
        for first in range(SUM_ROWS, rows, SUM_ROWS):
            count = min(SUM_ROWS, rows - first)
            form_block(layer, workspace, part, row, height, column, first, count)
            add_piece(piece, lost, part, size)


@inner
def form_block(layer, workspace, piece, row, height, column, first, rows):
    """piece = what the rows [first, first + rows) of the batch add to a piece of the gradient."""
    columns = layer.columns - column
    rights = workspace + (layer.right + first * layer.right_row)
    matmul_panel(
        Rows(piece, panel_width(workspace, columns)),
        Columns(workspace + (layer.left + first * layer.left_row + row), layer.left_row),
        Rows(rights + column, layer.right_row), rights,
        Extent(height, min(tile_columns(workspace), columns), rows),
        Rows(null(piece), 0),
        Descend(Epilogue.STORE, 0.0),
    )  # fmt: skip


@inner
def update_weights(
    layers, parameters, states, workspace, sums, rows, rule, now,
    scale, strength, thread, threads,
):  # fmt: skip
    """Form this thread's slices of every gradient over the whole batch, and step down them.

    `now` is a record, STEP. `scale` multiplies the gradients, `strength` the penalties.
    """
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    most = piece_rows(workspace)
    scratch_piece = stack_piece(workspace)
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation != Operation.DENSE or layer.trains == 0:
            continue
        n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
        l1 = strength * layer.weights_l1
        l2 = strength * layer.weights_l2
        b1 = strength * layer.biases_l1
        b2 = strength * layer.biases_l2
        formed = layer.gradients >= 0  # and with the slopes of the penalties
        penalized = l1 != 0.0 or l2 != 0.0 or b1 != 0.0 or b2 != 0.0
        distance = panels_size(workspace, layer.columns, layer.rows)
        begin, end, first, last = share_matrix(layer, workspace, thread, threads)
        if penalized:
            weigh_rows(layer, workspace, sums, begin, end, abs(l1), l2)
        for row in range(begin, end, most):
            height = min(most, end - row)
            for column in range(first, last, width):
                padded = panel_width(workspace, layer.columns - column)
                place = column * layer.rows + row * padded
                panel = workspace + (layer.trained_panels + place)
                piece = workspace + (layer.gradients + place)
                if not formed:
                    piece = scratch_piece
                    form_piece(layer, workspace, piece, row, height, column, rows)
                if formed:
                    l1, l2 = 0.0, 0.0
                follow(
                    panel, piece, workspace + (layer.states + place), distance, height * padded,
                    rule, now, scale, l1, l2,
                )  # fmt: skip
                if l1 < 0.0:
                    clear_padding(panel, height, n_outputs - column, padded)
            if layer.trains_transposed:
                transpose_back(layer, workspace, first, last)
            else:
                transpose_weights(layer, workspace, row, row + height)
        if layer.has_biases == 0:
            continue
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        biases, dbiases = parameters + (layer.biases + begin), workspace + (layer.dbiases + begin)
        if penalized:
            for j in range(begin, end):
                b = get(parameters + (layer.biases + j))
                sums[SumRow.PENALTY, layer.first_sum + n_inputs + j] = abs(b1) * abs(b) + b2 * b * b
        if not formed:
            sum_biases(layer, workspace, rows, begin, end)
        if formed:
            b1, b2 = 0.0, 0.0
        follow(
            biases, dbiases, pointer(states) + (layer.biases + begin), states.shape[1],
            end - begin,
            rule, now, scale, b1, b2,
        )  # fmt: skip


@inner
def sum_biases(layer, workspace, rows, begin, end):
    """Form the gradient of the biases [begin, end)."""
    doutputs = workspace + (layer.doutputs + begin)
    dbiases = workspace + (layer.dbiases + begin)
    column_sums(dbiases, doutputs, layer.output_row, rows, end - begin)


@inner
def fill_padding(piece, size, columns, padded):
    """Write zeros where a piece is wider than its columns: no product writes there."""
    if columns < padded:
        clear(piece, size)


@inner
def clear_padding(panel, rows, columns, padded):
    """Write zeros behind the `columns` of some rows of a panel, where it is wider.

    A penalty whose slope at 0 is not 0 moves them.
    """
    for i in range(rows):
        if columns < padded:
            clear(panel + (i * padded + columns), padded - columns)


@inner
def weigh_rows(layer, workspace, sums, begin, end, l1, l2):
    """Keep the penalty of the rows [begin, end) of the weights: of each block of rows one sum.

    The blocks are those of `share_weights`, so the sums are the same for any number of threads.
    """
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    width, block = tile_columns(workspace), tile_block(workspace)
    at = layer.first_sum
    for column in range(0, n_outputs, width):
        padded = panel_width(workspace, n_outputs - column)
        panel = workspace + (layer.panels + column * n_inputs)
        for row in range(begin, end, block):
            size = min(block, end - row) * padded  # the padding holds zeros
            penalty = penalty_of(panel + row * padded, size, l1, l2)
            before = sums[SumRow.PENALTY, at + row] if column > 0 else 0.0
            sums[SumRow.PENALTY, at + row] = penalty + before


@inner
def keep_gradients(layers, parameters, workspace, sums, rows, strength, thread, threads):
    """Form this thread's slices of every gradient, penalties included, and keep their squares."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    most = piece_rows(workspace)
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation != Operation.DENSE or layer.trains == 0:
            continue
        n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
        l1 = strength * layer.weights_l1
        l2 = strength * layer.weights_l2
        begin, end = share_weights(layer, workspace, thread, threads)
        for row in range(begin, end, most):
            height = min(most, end - row)
            for column in range(0, n_outputs, width):
                padded = panel_width(workspace, n_outputs - column)
                place = column * n_inputs + row * padded
                piece = workspace + (layer.gradients + place)
                form_piece(layer, workspace, piece, row, height, column, rows)
                add_slopes(piece, workspace + (layer.panels + place), height * padded, l1, l2)
                if l1 < 0.0:
                    clear_padding(piece, height, n_outputs - column, padded)
                for i in range(height):
                    squares = sum_squares(piece + i * padded, padded)
                    at = layer.first_sum + row + i
                    before = sums[SumRow.SQUARES, at] if column > 0 else 0.0
                    sums[SumRow.SQUARES, at] = squares + before
        if layer.has_biases == 0:
            continue
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        sum_biases(layer, workspace, rows, begin, end)
        add_slopes(
            workspace + (layer.dbiases + begin), parameters + (layer.biases + begin), end - begin,
            strength * layer.biases_l1,
            strength * layer.biases_l2,
        )  # fmt: skip
        for j in range(begin, end):
            d = np.float64(get(workspace + (layer.dbiases + j)))
            sums[SumRow.SQUARES, layer.first_sum + n_inputs + j] = d * d


# Gradients whose squares overflow are multiplied by this, in float64, before they are squared.
wide_unit = by_dtype(1.0, 2.0**-540)


@inner
def keep_wide_squares(layers, workspace, sums, thread, threads):
    """Keep the squares of this thread's slices of every gradient, times `wide_unit`, anew."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    for index in range(len(layers)):
        layer = layers[index]
        if layer.trains <= 0:
            continue
        n_inputs, n_outputs, at = layer.n_inputs, layer.n_outputs, layer.first_sum
        if layer.operation == Operation.DENSE:
            begin, end = share_weights(layer, workspace, thread, threads)
            for row in range(begin, end):
                squares = 0.0
                for column in range(0, n_outputs, width):
                    padded = panel_width(workspace, n_outputs - column)
                    piece = workspace + (layer.gradients + column * n_inputs + row * padded)
                    for j in range(padded):
                        squares += wide_square(piece + j)
                sums[SumRow.SQUARES, at + row] = squares
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        for j in range(begin, end):
            if layer.operation != Operation.DENSE:
                sums[SumRow.SQUARES, at + j] = wide_square(workspace + (layer.dweights + j))
            if layer.has_biases != 0:
                slope = workspace + (layer.dbiases + j)
                sums[SumRow.SQUARES, at + n_inputs + j] = wide_square(slope)


@inner
def wide_square(place):
    """Return the square of the number at `place` times `wide_unit`."""
    value = np.float64(get(place)) * wide_unit(place)
    return value * value


@inner
def clip_factor(squares, unit, limit):
    """Return what brings the gradient to the length `limit`, at most 1.

    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks" (2013),
    algorithm 1; the small number in the denominator is PyTorch's. `squares`: the sum of those of
    the gradient times `unit`. Those that became 0 do not count beside the small number.
    """
    return min(1.0, limit / (math.sqrt(squares) + 1e-6 * unit) * unit)


@inner
def total_squares(sums):
    """Return the sum of all squares, in one order."""
    total = 0.0
    for i in range(sums.shape[1]):
        total += sums[SumRow.SQUARES, i]
    return total
