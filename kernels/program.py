"""The whole-epoch program: any network, many steps, one compiled call that allocates nothing.

A step has two phases. In the rows phase a thread takes some rows of the shuffled batch through
forward pass, loss and input gradients; it needs no other thread. In the weights phase a thread
owns slices of every weight matrix, forms their gradient over the whole batch and applies the
optimizer while the sums are in registers: plain gradient descent has no gradient array. So two
barriers a step, whatever the depth, and the same sums in the same order for any number of threads.

The products read weights from packed panels (`gemm.py`), and the weights phase updates the panels:
the parameter buffer itself is read when a call begins and written when it ends, so that a step
writes each weight once. (It took no less time than keeping both, but is simpler.)
"""

import math

import numpy as np

from .batches import cut_row
from .conversion import convert_row
from .gemm import (
    PIECE_ROWS,
    PIECE_SIZE,
    add_piece,
    clear,
    column_sums,
    matmul_panel,
    panel_width,
    panels_size,
    tile_columns,
    tile_lanes,
    tile_rows,
)
from .jit import inner, kernel
from .norm_passes import follow_norms, form_norms, rows_unit
from .panels import (
    exchange_states,
    pack_weights,
    share,
    share_weights,
    transpose_weights,
    unpack_weights,
)
from .passes import backward_rows, batch_weight, loss_rows, train_forward
from .simd import by_dtype, element, get, null, pointer, retyped, scratch
from .table import (
    BIASES,
    BIASES_L1,
    BIASES_L2,
    CLIP_NORM,
    DBIASES,
    DENSE,
    DOUTPUTS,
    DWEIGHTS,
    FINISH_DESCEND,
    FIRST_SUM,
    FUSED_DESCENT,
    GRADIENTS,
    HAS_BIASES,
    INPUT_ROW,
    INPUTS,
    LOSS,
    N_INPUTS,
    N_OUTPUTS,
    OPERATION,
    OUTPUT_ROW,
    PANELS,
    PENALTY,
    PER_SAMPLE,
    RATE,
    RIGHT,
    SQUARES,
    STATES,
    STORE,
    SUM_ROWS,
    TOTAL_LOSS,
    TOTAL_PENALTY,
    TOTAL_RIGHT,
    TOTAL_STEPS,
    TOTAL_WEIGHT,
    TRAINS,
    WEIGHTS_L1,
    WEIGHTS_L2,
)
from .threads import wait
from .update import add_slopes, descend, follow, penalty_of, sum_squares

# Rows of a weight matrix whose gradient is formed, and repacked, in one go: few enough that they
# and their inputs stay in the L2 cache, enough to use each panel of output gradients often. A strip
# by a whole panel is a piece.
_STRIP = PIECE_ROWS


@inner
def descend_weights(table, parameters, workspace, rows, rate, thread, threads):
    """Form this thread's slices of every gradient over the whole batch, and step down them.

    What `update_weights` does in the plain case, in a loop of its own: choosing inside of that one
    cost a small network 10 % of its step.
    """
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    piece = scratch(workspace, PIECE_SIZE)
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] != DENSE:
            continue
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        inputs, input_row = workspace + step[INPUTS], step[INPUT_ROW]
        doutputs, output_row = workspace + step[DOUTPUTS], step[OUTPUT_ROW]
        begin, end = share_weights(step, workspace, thread, threads)
        for row in range(begin, end, _STRIP):
            height = min(_STRIP, end - row)
            for column in range(0, n_outputs, width):
                padded = panel_width(workspace, n_outputs - column)
                panel = workspace + (step[PANELS] + column * n_inputs + row * padded)
                if rows > SUM_ROWS:
                    form_piece(step, workspace, piece, row, height, column, rows)
                    descend(panel, piece, height * padded, rate)
                    continue
                matmul_panel(
                    panel, padded,
                    inputs + row, 1, input_row,
                    doutputs + column, output_row, doutputs,
                    height, min(width, n_outputs - column), rows,
                    null(panel), 0,
                    FINISH_DESCEND, panel, 0, rate,
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
        part, lost = scratch(workspace, PIECE_SIZE), scratch(workspace, PIECE_SIZE)
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
        piece, panel_width(workspace, n_outputs - column),
        workspace + (step[INPUTS] + first * step[INPUT_ROW] + row), 1, step[INPUT_ROW],
        doutputs + column, output_row, doutputs,
        height, min(tile_columns(workspace), n_outputs - column), rows,
        null(piece), 0,
        STORE, piece, 0, 0.0,
    )  # fmt: skip


@inner
def update_weights(
    table, coefficients, parameters, states, n_parameters, workspace, sums, rows, rule, numbers,
    scale, strength, thread, threads,
):  # fmt: skip
    """Form this thread's slices of every gradient over the whole batch, and step down them."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    scratch_piece = scratch(workspace, PIECE_SIZE)
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] != DENSE or step[TRAINS] == 0:
            continue
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        l1 = strength * coefficients[layer, WEIGHTS_L1]
        l2 = strength * coefficients[layer, WEIGHTS_L2]
        b1 = strength * coefficients[layer, BIASES_L1]
        b2 = strength * coefficients[layer, BIASES_L2]
        formed = step[GRADIENTS] >= 0  # and with the slopes of the penalties
        penalised = l1 != 0.0 or l2 != 0.0 or b1 != 0.0 or b2 != 0.0
        distance = panels_size(workspace, n_outputs, n_inputs)
        begin, end = share_weights(step, workspace, thread, threads)
        if penalised:
            weigh_rows(step, workspace, sums, begin, end, l1, l2)
        for row in range(begin, end, _STRIP):
            height = min(_STRIP, end - row)
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
            transpose_weights(step, workspace, row, row + height)
        if step[HAS_BIASES] == 0:
            continue
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        biases, dbiases = parameters + (step[BIASES] + begin), workspace + (step[DBIASES] + begin)
        if penalised:
            for j in range(begin, end):
                b = get(parameters + (step[BIASES] + j))
                sums[PENALTY, step[FIRST_SUM] + n_inputs + j] = abs(b1) * abs(b) + b2 * b * b
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
def weigh_rows(step, workspace, sums, begin, end, l1, l2):
    """Keep the penalty of the rows [begin, end) of the weights: of each block of rows one sum.

    The blocks are those of `share_weights`, so the sums are the same for any number of threads.
    """
    n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
    width, block = tile_columns(workspace), max(tile_rows(workspace), tile_lanes(workspace))
    at = step[FIRST_SUM]
    for column in range(0, n_outputs, width):
        padded = panel_width(workspace, n_outputs - column)
        panel = workspace + (step[PANELS] + column * n_inputs)
        for row in range(begin, end, block):
            size = min(block, end - row) * padded  # the padding holds zeros
            found = penalty_of(panel + row * padded, size, l1, l2)
            sums[PENALTY, at + row] = found + (sums[PENALTY, at + row] if column > 0 else 0.0)


@inner
def keep_gradients(
    table, coefficients, parameters, workspace, sums, rows, strength, thread, threads
):
    """Form this thread's slices of every gradient, penalties included, and keep their squares."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] != DENSE or step[TRAINS] == 0:
            continue
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        l1 = strength * coefficients[layer, WEIGHTS_L1]
        l2 = strength * coefficients[layer, WEIGHTS_L2]
        begin, end = share_weights(step, workspace, thread, threads)
        for row in range(begin, end, _STRIP):
            height = min(_STRIP, end - row)
            for column in range(0, n_outputs, width):
                padded = panel_width(workspace, n_outputs - column)
                place = column * n_inputs + row * padded
                piece = workspace + (step[GRADIENTS] + place)
                form_piece(step, workspace, piece, row, height, column, rows)
                add_slopes(piece, workspace + (step[PANELS] + place), height * padded, l1, l2)
                for i in range(height):
                    squares = sum_squares(piece + i * padded, padded)
                    at = step[FIRST_SUM] + row + i
                    sums[SQUARES, at] = squares + (sums[SQUARES, at] if column > 0 else 0.0)
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
            sums[SQUARES, step[FIRST_SUM] + n_inputs + j] = d * d


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
        if step[OPERATION] == DENSE:
            begin, end = share_weights(step, workspace, thread, threads)
            for row in range(begin, end):
                squares = 0.0
                for column in range(0, n_outputs, width):
                    padded = panel_width(workspace, n_outputs - column)
                    piece = workspace + (step[GRADIENTS] + column * n_inputs + row * padded)
                    for j in range(padded):
                        squares += wide_square(piece + j)
                sums[SQUARES, at + row] = squares
        begin, end = share(n_outputs, 4 * lanes, thread, threads)
        for j in range(begin, end):
            if step[OPERATION] != DENSE:
                sums[SQUARES, at + j] = wide_square(workspace + (step[DWEIGHTS] + j))
            if step[HAS_BIASES] != 0:
                slope = workspace + (step[DBIASES] + j)
                sums[SQUARES, at + n_inputs + j] = wide_square(slope)


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
        total += sums[SQUARES, i]
    return total


@inner
def gather(samples, sample_row, inputs, layout, scaling, indices, first, end, n_inputs):
    """samples [first, end) = the inputs at `indices`, of which the first is sample 0.

    Subnormal numbers become 0: products of them take many times as long.
    """
    source = pointer(inputs)
    if layout is None:
        rows = retyped(samples, source)  # they are of this type, which the compiler cannot see
        for i in range(first, end):
            cut_row(samples + i * sample_row, rows + indices[i] * n_inputs, n_inputs)
    else:
        for i in range(first, end):
            result = samples + i * sample_row
            convert_row(result, source, layout, scaling, indices[i], n_inputs)
            cut_row(result, result, n_inputs)


@kernel
def train_steps(
    parameters, states, workspace, scores, sums, barrier, table, coefficients,
    inputs, layout, scaling, labels, targets, sample_weights, order,
    first_step, last_step, batch_size, keys,
    loss, loss_number, smoothing, rule, numbers, totals, repack, thread, threads,
):  # fmt: skip
    """Take the steps [first_step, last_step) of some epochs.

    parameters (P + R,), of which R are running moments, and the optimizer's states (S, P): updated
    in place. The weights' states stay in the workspace until `unpack_states`.
    `states`, `coefficients`, `layout`, `scaling` and `sample_weights` may be None, all five, for
    FUSED_DESCENT on a network of dense layers, ReLU and softmax, labels that weigh the same and
    are not smoothed, and inputs (N, I) of the dtype of the parameters. Then nothing is compiled
    that only others need: 5.0 seconds instead of 8.6.
    table (layers, N_COLUMNS) int64, coefficients (layers, N_COEFFICIENTS) float64: see `table.py`.
    workspace: as large as `table` says, zeros before the first call; weights stay packed in it
    from one call to the next, and `repack` packs them and the states anew.
    inputs: the bytes (uint8) in which the samples lie as layout (N_LAYOUT,) int64 says; scaling
    (N_SCALING,) float64 is applied to what they are in the dtype of the parameters.
    labels (N,) int64, targets (N, O) or (0, O) where the labels say all, sample_weights (N,)
    float64 or (0,) where all are 1.
    order (epochs, M) int64: the steps of an epoch are ceil(M / batch_size), and its step s takes
    the samples [s * batch_size, (s + 1) * batch_size) of its row.
    keys (epochs, 2) int64: 63 bits of each epoch's dropout, and the number of its first batch;
    None where no layer drops or normalises, and nothing is compiled that only those need.
    loss, loss_number, smoothing, rule: see `table.py`; numbers (last_step - first_step,
    N_NUMBERS) float64: what the optimizer needs to know for each step.
    totals (epochs, N_TOTALS) float64: what the steps of each epoch add up.
    scores (SCORES, batch_size) float64: contents unused. sums (N_SUMS, ...) float64: zeros.
    `threads` threads make the same call, with `thread` from 0 and one `barrier`
    (BARRIER_SIZE,) int64, zeros before the first call.

    Return last_step, or the step whose loss is not finite: nothing of that step is applied. When
    one thread returns, all have written what they write.
    """
    p, w, gate = pointer(parameters), pointer(workspace), pointer(barrier)
    head = table[0]
    n_inputs, unit = head[N_INPUTS], tile_rows(w)
    samples, sample_row = w + head[INPUTS], head[INPUT_ROW]
    if keys is not None:
        unit = rows_unit(table, w)
    if repack:
        pack_weights(table, p, w, thread, threads)
        if states is not None:
            exchange_states(
                table, pointer(states), w, len(states), states.shape[1], True, thread, threads
            )
        if not wait(gate, threads):
            return first_step
    n_samples = order.shape[1]
    epoch_steps = (n_samples + batch_size - 1) // batch_size
    for step in range(first_step, last_step):
        epoch = step // epoch_steps
        number = step - epoch * epoch_steps
        start = number * batch_size
        batch = min(batch_size, n_samples - start)
        indices = order[epoch, start : start + batch]
        first, end = share(batch, unit, thread, threads)
        gather(samples, sample_row, inputs, layout, scaling, indices, first, end, n_inputs)
        if not train_forward(
            table, coefficients, p, w, keys, epoch, number, first, end - first, batch, gate, threads
        ):
            return step
        loss_rows(
            table, w, scores, labels, targets, sample_weights, indices,
            first, end - first, loss, loss_number, smoothing,
        )  # fmt: skip
        if not backward_rows(
            table, coefficients, p, w, keys, first, end - first, batch, gate, threads
        ):
            return step
        if not wait(gate, threads):
            return step
        # Each thread adds up all scores, so that all see the same sum and stop at the same step.
        total, right = 0.0, 0.0
        for i in range(batch):
            total += scores[LOSS, i]
            right += scores[RIGHT, i]
        if not math.isfinite(total):
            unpack_weights(table, p, w, thread, threads)
            wait(gate, threads)
            return step
        if thread == 0:
            totals[epoch, TOTAL_LOSS] += total
            totals[epoch, TOTAL_RIGHT] += right
            if sample_weights is None:
                totals[epoch, TOTAL_WEIGHT] += batch
            else:
                totals[epoch, TOTAL_WEIGHT] += batch_weight(sample_weights, indices)
        now, scale = numbers[step - first_step], 1.0
        if keys is not None:
            form_norms(table, w, sums, batch, thread, threads)
        if rule == FUSED_DESCENT:
            descend_weights(table, p, w, batch, element(w, now[RATE]), thread, threads)
        elif states is not None:
            strength = 1.0
            if now[PER_SAMPLE] != 0.0:
                mass = batch_weight(sample_weights, indices)
                strength = 1.0 / mass if mass > 0.0 else 0.0
            if now[CLIP_NORM] != np.inf:
                keep_gradients(table, coefficients, p, w, sums, batch, strength, thread, threads)
                if not wait(gate, threads):
                    return step
                factor, squares = 1.0, total_squares(sums)
                if not math.isfinite(squares):  # they overflow, or a gradient is not finite itself
                    if not wait(gate, threads):
                        return step
                    factor = wide_unit(w)
                    keep_wide_squares(table, w, sums, thread, threads)
                    if not wait(gate, threads):
                        return step
                    squares = total_squares(sums)
                scale = clip_factor(squares, factor, now[CLIP_NORM])
            update_weights(
                table, coefficients, p, pointer(states), states.shape[1], w, sums, batch,
                rule, now, scale, strength, thread, threads,
            )  # fmt: skip
        if keys is not None:
            follow_norms(
                table, coefficients, p, pointer(states), states.shape[1], w, batch,
                rule, now, scale, thread, threads,
            )  # fmt: skip
        if not wait(gate, threads):
            return step
        if thread == 0:
            totals[epoch, TOTAL_STEPS] += 1.0
            totals[epoch, TOTAL_PENALTY] += batch * sums[PENALTY].sum()
    unpack_weights(table, p, w, thread, threads)
    # Nobody writes any more when one of the threads returns: Ctrl-C in the caller finds the
    # parameters as they stay (tests/test_interrupts.py).
    wait(gate, threads)
    return last_step


@kernel
def unpack_states(states, workspace, table):
    """states (S, P) = the optimizer's states that `train_steps` left in the workspace."""
    exchange_states(
        table, pointer(states), pointer(workspace), len(states), states.shape[1], False, 0, 1
    )
