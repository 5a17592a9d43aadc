"""The weights phase of a step: each gradient over the whole batch, and the step along it.

Threads share the rows of every weight matrix. A thread forms their gradient piece by piece and
applies the optimizer to the panels (`packing.py`) while the piece is in the cache: plain gradient
descent has no gradient array at all. A piece is a block of the phase (`threads.py`), and so is the
part of the biases that lies in a share.
"""

import math

import numpy as np

from .catalogue import Operation
from .codes import Epilogue, SumRow
from .jit import inner
from .operands import left_operand, operand_height, right_operand
from .packing import panel_width, panels_size
from .panels import (
    panel_columns,
    panel_row,
    share_weights,
    transpose_back,
    transpose_weights,
    weights_unit,
)
from .pointers import get, null, pointer
from .products import add_piece, clear, column_sums, matmul_panel
from .reduced import form_reduced_piece, is_reduced
from .table import SUM_ROWS
from .table_updates import count_tables, keep_tables, keep_wide_tables, update_tables
from .threads import complete, count_shares, next_share, share, take
from .tile import (
    Descend,
    Extent,
    Rows,
    piece_rows,
    stack_piece,
    tile_block,
    tile_columns,
    tile_lanes,
)
from .update import (
    add_slopes,
    descend,
    follow,
    is_penalized,
    penalty_of,
    sum_squares,
    wide_square,
)


@inner
def share_biases(layer, workspace, owner, shares):
    """Return the biases [begin, end) of a layer that are in a share; of a norm, its columns."""
    return share(layer.n_outputs, 4 * tile_lanes(workspace), owner, shares)


@inner
def count_blocks(columns, layers, workspace, tiles, threads):
    """Return how many blocks all shares of weights and biases have together."""
    shares = count_shares(threads)
    total = count_tables(columns, layers, shares)
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.DENSE:
            most = piece_height(layer, workspace, tiles)
            for owner in range(shares):
                begin, end = share_weights(layer, workspace, tiles, owner, shares)
                total += (end - begin + most - 1) // most + 1
    return total


@inner
def descend_weights(layers, parameters, workspace, rows, rate, phase):
    """Form the gradients over the whole batch, and step down them, one block after the other.

    A block is a piece of the weights of a layer, or a part of its biases. What `update_weights`
    does in the plain case, in a loop of its own: choosing inside of that one cost a small network
    10 % of its step. Return whether this thread has completed the phase.
    """
    last, shares = False, count_shares(phase.threads)
    for turn in range(shares):
        if last:
            break
        owner = next_share(phase, turn)
        block, first = take(phase, owner, -1), 0
        for index in range(len(layers)):
            layer = layers[index]
            if layer.operation != Operation.DENSE:
                continue
            most = piece_height(layer, workspace, None)
            begin, end = share_weights(layer, workspace, None, owner, shares)
            bias_block = first + (end - begin + most - 1) // most
            while block < bias_block:
                row = begin + (block - first) * most
                descend_piece(layer, workspace, rows, rate, row, min(row + most, end))
                last, block = complete(phase), take(phase, owner, block)
            if block == bias_block:
                begin, end = share_biases(layer, workspace, owner, shares)
                sum_biases(layer, workspace, rows, begin, end)
                dbiases = workspace + (layer.dbiases + begin)
                descend(parameters + (layer.biases + begin), dbiases, end - begin, rate)
                last, block = complete(phase), take(phase, owner, block)
            first = bias_block + 1
    return last


@inner
def descend_piece(layer, workspace, rows, rate, row, end):
    """Step down the gradient of the weights of the inputs [row, end) of a layer."""
    width = tile_columns(workspace)
    top, bottom, first, last = trained_part(layer, row, end)
    most = operand_height(layer, workspace, bottom - top)
    for column in range(first, last, width):
        padded = panel_width(workspace, layer.columns - column)
        right = right_operand(layer, workspace, column, 0)
        for part in range(top, bottom, most):
            panel = workspace + (layer.trained_panels + column * layer.rows + part * padded)
            matmul_panel(
                Rows(panel, padded),
                left_operand(layer, workspace, part, 0),
                right, right.pointer,
                Extent(min(most, bottom - part), min(width, layer.columns - column), rows),
                Rows(null(panel), 0),
                Descend(Epilogue.DESCENT, rate),
            )  # fmt: skip
    copy_weights_over(layer, workspace, None, row, end)


@inner
def trained_part(layer, row, end):
    """Return the rows [top, bottom) and columns [first, last) in which some inputs train."""
    if layer.trains_transposed:
        return 0, layer.rows, row, end
    return row, end, 0, layer.columns


@inner
def copy_weights_over(layer, workspace, tiles, row, end):
    """Copy the weights of some inputs from the panels in which they train to the others."""
    if layer.trains_transposed:
        transpose_back(layer, workspace, row, end)
    else:
        transpose_weights(layer, workspace, tiles, row, end)


@inner
def form_piece(layer, workspace, tiles, piece, row, height, column, rows):
    """piece = gradient of the rows [row, row + height) of the panel at `column`.

    The panel is one of those that train. Zeros stand where it is wider than its columns.
    """
    padded = trained_row(layer, workspace, tiles, column)
    fill_padding(piece, height * padded, layer.columns - column, padded)
    if tiles is not None:
        if layer.parts > 0:
            form_reduced_piece(layer, tiles, piece, row, height, rows)
            return
    form_float_piece(layer, workspace, piece, row, height, column, rows)


@inner
def trained_row(layer, workspace, tiles, column):
    """Return the distance between two rows of the panel at `column` in which weights train."""
    if layer.trains_transposed:
        return panel_width(workspace, layer.columns - column)
    return panel_row(layer, workspace, tiles, column)


@inner
def form_float_piece(layer, workspace, piece, row, height, column, rows):
    """As `form_piece`, with operands of the dtype of the network."""
    size = height * panel_width(workspace, layer.columns - column)
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
    padded = panel_width(workspace, columns)
    right = right_operand(layer, workspace, column, first)
    most = operand_height(layer, workspace, height)
    for part in range(0, height, most):
        matmul_panel(
            Rows(piece + part * padded, padded),
            left_operand(layer, workspace, row + part, first),
            right, right.pointer,
            Extent(min(most, height - part), min(tile_columns(workspace), columns), rows),
            Rows(null(piece), 0),
            Descend(Epilogue.STORE, 0.0),
        )  # fmt: skip


@inner
def update_weights(
    columns, layers, memory, states, tiles, rows, rule, now, scale, strength, phase,
):  # fmt: skip
    """Form the gradients over the whole batch, and step down them, as `descend_weights`.

    `memory` and `tiles` are those of `train_steps`, `now` is a record, STEP. `scale` multiplies the
    gradients, `strength` the penalties. Return whether this thread has completed the phase.
    """
    parameters, workspace, sums = pointer(memory[0]), pointer(memory[1]), memory[3]
    scratch = stack_piece(workspace)
    last, shares = False, count_shares(phase.threads)
    for turn in range(shares):
        if last:
            break
        owner = next_share(phase, turn)
        block = take(phase, owner, -1)
        last, block, first = update_tables(
            columns, layers, memory, states, rows, rule, now, (scale, strength), phase, owner, block
        )
        for index in range(len(layers)):
            layer = layers[index]
            if layer.operation != Operation.DENSE:
                continue
            most = piece_height(layer, workspace, tiles)
            begin, end = share_weights(layer, workspace, tiles, owner, shares)
            bias_block = first + (end - begin + most - 1) // most
            while block < bias_block:
                row = begin + (block - first) * most
                if layer.trains != 0:
                    update_piece(
                        layer, workspace, tiles, scratch, sums, rows, rule, now,
                        (scale, strength), row, min(row + most, end),
                    )  # fmt: skip
                last, block = complete(phase), take(phase, owner, block)
            if block == bias_block:
                begin, end = share_biases(layer, workspace, owner, shares)
                if layer.trains != 0 and layer.has_biases != 0:
                    update_biases(
                        layer, parameters, states, workspace, sums, rows, rule, now,
                        scale, strength, begin, end,
                    )  # fmt: skip
                last, block = complete(phase), take(phase, owner, block)
            first = bias_block + 1
    return last


@inner
def update_piece(layer, workspace, tiles, scratch, sums, rows, rule, now, factors, row, end):
    """Step down the gradient of the weights of the inputs [row, end) of a layer.

    `factors` are `scale` and `strength` of `update_weights`.
    """
    width, (scale, strength) = panel_columns(layer, workspace, tiles), factors
    l1 = strength * layer.weights_l1
    l2 = strength * layer.weights_l2
    formed = layer.gradients >= 0  # and with the slopes of the penalties
    distance = panels_size(workspace, layer.columns, layer.rows)
    if is_penalized(layer, strength):
        weigh_rows(layer, workspace, tiles, sums, row, end, abs(l1), l2)
    top, bottom, begin, last = trained_part(layer, row, end)
    height = bottom - top
    for column in range(begin, last, width):
        padded = trained_row(layer, workspace, tiles, column)
        place = column * layer.rows + top * padded
        panel = workspace + (layer.trained_panels + place)
        piece = workspace + (layer.gradients + place)
        if not formed:
            piece = scratch
            if is_reduced(layer, tiles):
                piece = workspace + (layer.pieces + place)
            form_piece(layer, workspace, tiles, piece, top, height, column, rows)
        if formed:
            l1, l2 = 0.0, 0.0
        follow(
            panel, piece, workspace + (layer.states + place), distance, height * padded,
            rule, now, scale, l1, l2, False,
        )  # fmt: skip
        if l1 < 0.0:
            clear_padding(panel, height, layer.columns - column, padded)
    copy_weights_over(layer, workspace, tiles, row, end)


@inner
def piece_height(layer, like, tiles):
    """Return of how many inputs the gradient of the weights is formed in one go: whole blocks."""
    unit = weights_unit(layer, like, tiles)
    return max(piece_rows(like) // unit, 1) * unit


@inner
def update_biases(
    layer, parameters, states, workspace, sums, rows, rule, now,
    scale, strength, begin, end,
):  # fmt: skip
    """Step down the gradient of the biases [begin, end) of a layer."""
    b1 = strength * layer.biases_l1
    b2 = strength * layer.biases_l2
    biases, dbiases = parameters + (layer.biases + begin), workspace + (layer.dbiases + begin)
    if is_penalized(layer, strength):
        at = layer.first_sum + layer.n_inputs
        for j in range(begin, end):
            b = get(parameters + (layer.biases + j))
            sums[SumRow.PENALTY, at + j] = abs(b1) * abs(b) + b2 * b * b
    if layer.gradients >= 0:
        b1, b2 = 0.0, 0.0
    else:
        sum_biases(layer, workspace, rows, begin, end)
    follow(
        biases, dbiases, pointer(states) + (layer.biases + begin), states.shape[1],
        end - begin,
        rule, now, scale, b1, b2, True,
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
def weigh_rows(layer, workspace, tiles, sums, begin, end, l1, l2):
    """Keep the penalty of the rows [begin, end) of the weights: of each block of rows one sum.

    The blocks are those of `share_weights`, so the sums are the same for any number of threads.
    """
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    width, block = panel_columns(layer, workspace, tiles), tile_block(workspace)
    at = layer.first_sum
    for column in range(0, n_outputs, width):
        padded = panel_row(layer, workspace, tiles, column)
        panel = workspace + (layer.panels + column * n_inputs)
        for row in range(begin, end, block):
            size = min(block, end - row) * padded  # the padding holds zeros
            penalty = penalty_of(panel + row * padded, size, l1, l2)
            before = sums[SumRow.PENALTY, at + row] if column > 0 else 0.0
            sums[SumRow.PENALTY, at + row] = penalty + before


@inner
def keep_gradients(columns, layers, memory, tiles, rows, strength, phase):
    """Form the gradients, penalties included, block by block, and keep their squares.

    Return whether this thread has completed the phase.
    """
    parameters, workspace, sums = pointer(memory[0]), pointer(memory[1]), memory[3]
    last, shares = False, count_shares(phase.threads)
    for turn in range(shares):
        if last:
            break
        owner = next_share(phase, turn)
        block = take(phase, owner, -1)
        last, block, first = keep_tables(
            columns, layers, memory, rows, strength, phase, owner, block
        )
        for index in range(len(layers)):
            layer = layers[index]
            if layer.operation != Operation.DENSE:
                continue
            most = piece_height(layer, workspace, tiles)
            begin, end = share_weights(layer, workspace, tiles, owner, shares)
            bias_block = first + (end - begin + most - 1) // most
            while block < bias_block:
                row = begin + (block - first) * most
                if layer.trains != 0:
                    keep_piece(
                        layer, workspace, tiles, sums, rows, strength, row, min(row + most, end)
                    )
                last, block = complete(phase), take(phase, owner, block)
            if block == bias_block:
                begin, end = share_biases(layer, workspace, owner, shares)
                if layer.trains != 0 and layer.has_biases != 0:
                    keep_biases(layer, parameters, workspace, sums, rows, strength, begin, end)
                last, block = complete(phase), take(phase, owner, block)
            first = bias_block + 1
    return last


@inner
def keep_piece(layer, workspace, tiles, sums, rows, strength, row, end):
    """Keep the gradient of the weights [row, end) of a layer, and their squares."""
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    width = panel_columns(layer, workspace, tiles)
    l1 = strength * layer.weights_l1
    l2 = strength * layer.weights_l2
    height = end - row
    for column in range(0, n_outputs, width):
        padded = panel_row(layer, workspace, tiles, column)
        place = column * n_inputs + row * padded
        piece = workspace + (layer.gradients + place)
        form_piece(layer, workspace, tiles, piece, row, height, column, rows)
        add_slopes(piece, workspace + (layer.panels + place), height * padded, l1, l2)
        if l1 < 0.0:
            clear_padding(piece, height, n_outputs - column, padded)
        for i in range(height):
            squares = sum_squares(piece + i * padded, padded)
            at = layer.first_sum + row + i
            before = sums[SumRow.SQUARES, at] if column > 0 else 0.0
            sums[SumRow.SQUARES, at] = squares + before


@inner
def keep_biases(layer, parameters, workspace, sums, rows, strength, begin, end):
    """Keep the gradient of the biases [begin, end) of a layer, and their squares."""
    sum_biases(layer, workspace, rows, begin, end)
    dbiases = workspace + (layer.dbiases + begin)
    add_slopes(
        dbiases, parameters + (layer.biases + begin), end - begin,
        strength * layer.biases_l1,
        strength * layer.biases_l2,
    )  # fmt: skip
    at = layer.first_sum + layer.n_inputs + begin
    for j in range(end - begin):
        d = np.float64(get(dbiases + j))
        sums[SumRow.SQUARES, at + j] = d * d


@inner
def keep_wide_squares(columns, layers, workspace, tiles, sums, owner, shares):
    """Keep the squares of a share of every gradient, times `wide_unit`, anew."""
    keep_wide_tables(columns, layers, workspace, sums, owner, shares)
    for index in range(len(layers)):
        layer = layers[index]
        if layer.trains <= 0 or layer.operation == Operation.EMBEDDING:
            continue
        n_inputs, n_outputs, at = layer.n_inputs, layer.n_outputs, layer.first_sum
        if layer.operation == Operation.DENSE:
            width = panel_columns(layer, workspace, tiles)
            begin, end = share_weights(layer, workspace, tiles, owner, shares)
            for row in range(begin, end):
                squares = 0.0
                for column in range(0, n_outputs, width):
                    padded = panel_row(layer, workspace, tiles, column)
                    piece = workspace + (layer.gradients + column * n_inputs + row * padded)
                    for j in range(padded):
                        squares += wide_square(piece + j)
                sums[SumRow.SQUARES, at + row] = squares
        begin, end = share_biases(layer, workspace, owner, shares)
        for j in range(begin, end):
            if layer.operation != Operation.DENSE:
                sums[SumRow.SQUARES, at + j] = wide_square(workspace + (layer.dweights + j))
            if layer.has_biases != 0:
                slope = workspace + (layer.dbiases + j)
                sums[SumRow.SQUARES, at + n_inputs + j] = wide_square(slope)


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
