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
from .panels import share_weights, transpose_weights
from .pointers import get, null
from .products import add_piece, clear, column_sums, matmul_panel
from .simd import by_dtype
from .table import (
    BIASES,
    BIASES_L1,
    BIASES_L2,
    DBIASES,
    DOUTPUTS,
    DWEIGHTS,
    FIRST_SUM,
    GRADIENTS,
    HAS_BIASES,
    INPUT_ROW,
    INPUTS,
    N_INPUTS,
    N_OUTPUTS,
    OPERATION,
    OUTPUT_ROW,
    PANELS,
    STATES,
    SUM_ROWS,
    TRAINS,
    WEIGHTS_L1,
    WEIGHTS_L2,
)
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
def descend_weights(table, parameters, workspace, rows, rate, thread, threads):
    """Form this thread's slices of every gradient over the whole batch, and step down them.

    What `update_weights` does in the plain case, in a loop of its own: choosing inside of that one
    cost a small network 10 % of its step.
    """
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    most = piece_rows(workspace)
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] != Operation.DENSE:
            continue
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        inputs, input_row = workspace + step[INPUTS], step[INPUT_ROW]
        doutputs, output_row = workspace + step[DOUTPUTS], step[OUTPUT_ROW]
        begin, end = share_weights(step, workspace, thread, threads)
        for row in range(begin, end, most):
            height = min(most, end - row)
            for column in range(0, n_outputs, width):
                padded = panel_width(workspace, n_outputs - column)
                panel = workspace + (step[PANELS] + column * n_inputs + row * padded)
                matmul_panel(
                    Rows(panel, padded),
                    Columns(inputs + row, input_row),
                    Rows(doutputs + column, output_row), doutputs,
                    Extent(height, min(width, n_outputs - column), rows),
                    Rows(null(panel), 0),
                    Descend(Epilogue.DESCENT, rate),
                )  # fmt: skip
            transpose_weights(step, workspace, row, row + height)
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        sum_biases(step, workspace, rows, begin, end)
        dbiases = workspace + (step[DBIASES] + begin)
        descend(parameters + (step[BIASES] + begin), dbiases, end - begin, rate)


@inner
def form_piece(step, workspace, piece, row, height, column, rows):
    """piece = gradient of the weights [row, row + height) of the panel at `column`.

    Zeros stand where the panel is wider than its columns.
    """
    padded = panel_width(workspace, step[N_OUTPUTS] - column)
    size = height * padded
    fill_padding(piece, size, step[N_OUTPUTS] - column, padded)
    form_block(step, workspace, piece, row, height, column, 0, min(rows, SUM_ROWS))
    if rows > SUM_ROWS:
        part, lost = stack_piece(workspace), stack_piece(workspace)
        clear(lost, size)
        clear(part, size)
        for first in range(SUM_ROWS, rows, SUM_ROWS):
            count = min(SUM_ROWS, rows - first)
            form_block(step, workspace, part, row, height, column, first, count)
            add_piece(piece, lost, part, size)


@inner
def form_block(step, workspace, piece, row, height, column, first, rows):
    """piece = what the rows [first, first + rows) of the batch add to a piece of the gradient."""
    n_outputs, output_row = step[N_OUTPUTS], step[OUTPUT_ROW]
    doutputs = workspace + (step[DOUTPUTS] + first * output_row)
    matmul_panel(
        Rows(piece, panel_width(workspace, n_outputs - column)),
        Columns(workspace + (step[INPUTS] + first * step[INPUT_ROW] + row), step[INPUT_ROW]),
        Rows(doutputs + column, output_row), doutputs,
        Extent(height, min(tile_columns(workspace), n_outputs - column), rows),
        Rows(null(piece), 0),
        Descend(Epilogue.STORE, 0.0),
    )  # fmt: skip


@inner
def update_weights(
    table, coefficients, parameters, states, n_parameters, workspace, sums, rows, rule, numbers,
    scale, strength, thread, threads,
):  # fmt: skip
    """Form this thread's slices of every gradient over the whole batch, and step down them."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    most = piece_rows(workspace)
    scratch_piece = stack_piece(workspace)
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] != Operation.DENSE or step[TRAINS] == 0:
            continue
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        l1 = strength * coefficients[layer, WEIGHTS_L1]
        l2 = strength * coefficients[layer, WEIGHTS_L2]
        b1 = strength * coefficients[layer, BIASES_L1]
        b2 = strength * coefficients[layer, BIASES_L2]
        formed = step[GRADIENTS] >= 0  # and with the slopes of the penalties
        penalized = l1 != 0.0 or l2 != 0.0 or b1 != 0.0 or b2 != 0.0
        distance = panels_size(workspace, n_outputs, n_inputs)
        begin, end = share_weights(step, workspace, thread, threads)
        if penalized:
            weigh_rows(step, workspace, sums, begin, end, abs(l1), l2)
        for row in range(begin, end, most):
            height = min(most, end - row)
            for column in range(0, n_outputs, width):
                padded = panel_width(workspace, n_outputs - column)
                place = column * n_inputs + row * padded
                panel = workspace + (step[PANELS] + place)
                piece = workspace + (step[GRADIENTS] + place)
                if not formed:
                    piece = scratch_piece
                    form_piece(step, workspace, piece, row, height, column, rows)
                if formed:
                    l1, l2 = 0.0, 0.0
                follow(
                    panel, piece, workspace + (step[STATES] + place), distance, height * padded,
                    rule, numbers, scale, l1, l2,
                )  # fmt: skip
                if l1 < 0.0:
                    clear_padding(panel, height, n_outputs - column, padded)
            transpose_weights(step, workspace, row, row + height)
        if step[HAS_BIASES] == 0:
            continue
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        biases, dbiases = parameters + (step[BIASES] + begin), workspace + (step[DBIASES] + begin)
        if penalized:
            for j in range(begin, end):
                b = get(parameters + (step[BIASES] + j))
                sums[SumRow.PENALTY, step[FIRST_SUM] + n_inputs + j] = abs(b1) * abs(b) + b2 * b * b
        if not formed:
            sum_biases(step, workspace, rows, begin, end)
        if formed:
            b1, b2 = 0.0, 0.0
        follow(
            biases, dbiases, states + (step[BIASES] + begin), n_parameters, end - begin,
            rule, numbers, scale, b1, b2,
        )  # fmt: skip


@inner
def sum_biases(step, workspace, rows, begin, end):
    """Form the gradient of the biases [begin, end)."""
    doutputs = workspace + (step[DOUTPUTS] + begin)
    dbiases = workspace + (step[DBIASES] + begin)
    column_sums(dbiases, doutputs, step[OUTPUT_ROW], rows, end - begin)


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
def weigh_rows(step, workspace, sums, begin, end, l1, l2):
    """Keep the penalty of the rows [begin, end) of the weights: of each block of rows one sum.

    The blocks are those of `share_weights`, so the sums are the same for any number of threads.
    """
    n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
    width, block = tile_columns(workspace), tile_block(workspace)
    at = step[FIRST_SUM]
    for column in range(0, n_outputs, width):
        padded = panel_width(workspace, n_outputs - column)
        panel = workspace + (step[PANELS] + column * n_inputs)
        for row in range(begin, end, block):
            size = min(block, end - row) * padded  # the padding holds zeros
            penalty = penalty_of(panel + row * padded, size, l1, l2)
            before = sums[SumRow.PENALTY, at + row] if column > 0 else 0.0
            sums[SumRow.PENALTY, at + row] = penalty + before


@inner
def keep_gradients(
    table, coefficients, parameters, workspace, sums, rows, strength, thread, threads
):
    """Form this thread's slices of every gradient, penalties included, and keep their squares."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    most = piece_rows(workspace)
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] != Operation.DENSE or step[TRAINS] == 0:
            continue
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        l1 = strength * coefficients[layer, WEIGHTS_L1]
        l2 = strength * coefficients[layer, WEIGHTS_L2]
        begin, end = share_weights(step, workspace, thread, threads)
        for row in range(begin, end, most):
            height = min(most, end - row)
            for column in range(0, n_outputs, width):
                padded = panel_width(workspace, n_outputs - column)
                place = column * n_inputs + row * padded
                piece = workspace + (step[GRADIENTS] + place)
                form_piece(step, workspace, piece, row, height, column, rows)
                add_slopes(piece, workspace + (step[PANELS] + place), height * padded, l1, l2)
                if l1 < 0.0:
                    clear_padding(piece, height, n_outputs - column, padded)
                for i in range(height):
                    squares = sum_squares(piece + i * padded, padded)
                    at = step[FIRST_SUM] + row + i
                    before = sums[SumRow.SQUARES, at] if column > 0 else 0.0
                    sums[SumRow.SQUARES, at] = squares + before
        if step[HAS_BIASES] == 0:
            continue
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        sum_biases(step, workspace, rows, begin, end)
        add_slopes(
            workspace + (step[DBIASES] + begin), parameters + (step[BIASES] + begin), end - begin,
            strength * coefficients[layer, BIASES_L1],
            strength * coefficients[layer, BIASES_L2],
        )  # fmt: skip
        for j in range(begin, end):
            d = np.float64(get(workspace + (step[DBIASES] + j)))
            sums[SumRow.SQUARES, step[FIRST_SUM] + n_inputs + j] = d * d


# Gradients whose squares overflow are multiplied by this, in float64, before they are squared.
wide_unit = by_dtype(1.0, 2.0**-540)


@inner
def keep_wide_squares(table, workspace, sums, thread, threads):
    """Keep the squares of this thread's slices of every gradient, times `wide_unit`, anew."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    for layer in range(len(table)):
        step = table[layer]
        if step[TRAINS] <= 0:
            continue
        n_inputs, n_outputs, at = step[N_INPUTS], step[N_OUTPUTS], step[FIRST_SUM]
        if step[OPERATION] == Operation.DENSE:
            begin, end = share_weights(step, workspace, thread, threads)
            for row in range(begin, end):
                squares = 0.0
                for column in range(0, n_outputs, width):
                    padded = panel_width(workspace, n_outputs - column)
                    piece = workspace + (step[GRADIENTS] + column * n_inputs + row * padded)
                    for j in range(padded):
                        squares += wide_square(piece + j)
                sums[SumRow.SQUARES, at + row] = squares
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        for j in range(begin, end):
            if step[OPERATION] != Operation.DENSE:
                sums[SumRow.SQUARES, at + j] = wide_square(workspace + (step[DWEIGHTS] + j))
            if step[HAS_BIASES] != 0:
                slope = workspace + (step[DBIASES] + j)
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
