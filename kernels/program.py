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

from .batches import copy_row
from .gemm import column_sums, matmul_panel, panel_width, tile_columns, tile_lanes, tile_rows
from .jit import inner, kernel
from .panels import pack_weights, share, share_weights, transpose_weights, unpack_weights
from .passes import backward_rows, forward_rows, loss_rows
from .simd import null, pointer
from .table import (
    BIASES,
    DBIASES,
    DENSE,
    DOUTPUTS,
    FINISH_DESCEND,
    INPUT_ROW,
    INPUTS,
    LOSS,
    N_INPUTS,
    N_OUTPUTS,
    OPERATION,
    OUTPUT_ROW,
    PANELS,
    RIGHT,
)
from .threads import wait
from .update import descend

# Rows of a weight matrix whose gradient is formed, and repacked, in one go: few enough that they
# and their inputs stay in the L2 cache, enough to use each panel of output gradients often.
_STRIP = 96


@inner
def descend_weights(table, parameters, workspace, rows, rate, thread, threads):
    """Form this thread's slices of every gradient over the whole batch, and step down them."""
    width, lanes = tile_columns(workspace), tile_lanes(workspace)
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
        dbiases = workspace + (step[DBIASES] + begin)
        column_sums(dbiases, doutputs + begin, output_row, rows, end - begin)
        descend(parameters + (step[BIASES] + begin), dbiases, end - begin, rate)


@kernel
def train_steps(
    parameters, workspace, scores, barrier, table, inputs, labels, targets, order,
    first_step, last_step, batch_size, learning_rate, totals, repack, thread, threads,
):  # fmt: skip
    """Take the steps [first_step, last_step) of an epoch of gradient descent.

    parameters (P,): updated in place. table (layers, N_COLUMNS) int64: see `table.py`.
    workspace: as large as `table` says, zeros before the first call; weights stay packed in it
    from one call to the next, and `repack` packs them anew.
    inputs (N, I), labels (N,) int64, targets (N, C) or (0, C) where the labels say all.
    order (M,) int64: step s takes the samples order[s * batch_size : (s + 1) * batch_size].
    totals (2,) float64: the sum of losses and the count of right answers are added here.
    scores (SCORES, batch_size) float64: contents unused.
    `threads` threads make the same call, with `thread` from 0 and one `barrier`
    (BARRIER_SIZE,) int64, zeros before the first call.

    Return last_step, or the step whose loss is not finite: nothing of that step is applied.
    """
    p, w, gate = pointer(parameters), pointer(workspace), pointer(barrier)
    head = table[0]
    n_inputs = head[N_INPUTS]
    samples, sample_row = w + head[INPUTS], head[INPUT_ROW]
    if repack:
        pack_weights(table, p, w, thread, threads)
        if not wait(gate, threads):
            return first_step
    for step in range(first_step, last_step):
        start = step * batch_size
        batch = min(batch_size, len(order) - start)
        first, end = share(batch, tile_rows(w), thread, threads)
        for i in range(first, end):
            source = pointer(inputs) + order[start + i] * n_inputs
            copy_row(samples + i * sample_row, source, n_inputs)
        forward_rows(table, p, w, w, samples, sample_row, first, end - first)
        loss_rows(table, w, scores, labels, targets, order, start, batch, first, end - first)
        backward_rows(table, w, w, first, end - first)
        if not wait(gate, threads):
            return step
        # Each thread adds up all scores, so that all see the same sum and stop at the same step.
        loss, right = 0.0, 0.0
        for i in range(batch):
            loss += scores[LOSS, i]
            right += scores[RIGHT, i]
        if not math.isfinite(loss):
            unpack_weights(table, p, w, thread, threads)
            return step
        if thread == 0:
            totals[0] += loss
            totals[1] += right
        descend_weights(table, p, w, batch, learning_rate, thread, threads)
        if not wait(gate, threads):
            return step
    unpack_weights(table, p, w, thread, threads)
    return last_step
