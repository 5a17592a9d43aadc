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
from .cross_entropy import label_row, target_row
from .elementary import log
from .gemm import (
    column_sums,
    matmul_packed,
    matmul_panel,
    pack,
    pack_transposed,
    panel_width,
    tile_columns,
    tile_lanes,
    tile_rows,
)
from .jit import inner, kernel
from .relu import relu_gradients, relu_values
from .simd import lanes, load_part, null, pointer, store_part
from .softmax import softmax_gradient_row, softmax_row
from .table import (
    BACKWARD_FINISH,
    BIASES,
    DBIASES,
    DENSE,
    DINPUTS,
    DOUTPUTS,
    FINISH,
    FINISH_DESCEND,
    INPUT_ROW,
    INPUTS,
    LOSS,
    N_INPUTS,
    N_OUTPUTS,
    OPERATION,
    OUTPUT_ROW,
    OUTPUTS,
    PANELS,
    RELU,
    RIGHT,
    TOTAL,
    TRANSPOSED_PANELS,
    WEIGHT,
    WEIGHTS,
)
from .threads import wait
from .update import descend

# Rows of a weight matrix whose gradient is formed, and repacked, in one go: few enough that they
# and their inputs stay in the L2 cache, enough to use each panel of output gradients often.
_STRIP = 96


@inner
def share(count, unit, thread, threads):
    """Return this thread's part [begin, end) of `count`, in whole units."""
    units = (count + unit - 1) // unit
    begin = units * thread // threads * unit
    end = units * (thread + 1) // threads * unit
    return min(begin, count), min(end, count)


@inner
def pack_weights(table, parameters, workspace, thread, threads):
    """Pack this thread's slices of all weights, for the forward pass and for the gradients."""
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] == DENSE:
            begin, end = share_weights(step, workspace, thread, threads)
            copy_weights(step, parameters, workspace, begin, end, True)
            transpose_weights(step, workspace, begin, end)


@inner
def unpack_weights(table, parameters, workspace, thread, threads):
    """Write this thread's slices of all weights back into the parameter buffer."""
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] == DENSE:
            begin, end = share_weights(step, workspace, thread, threads)
            copy_weights(step, parameters, workspace, begin, end, False)


@inner
def share_weights(step, workspace, thread, threads):
    """Return the rows [begin, end) of a layer's weights that are this thread's.

    Whole blocks, so that no two threads write to one block of the panels.
    """
    block = max(tile_rows(workspace), tile_lanes(workspace))
    return share(step[N_INPUTS], block, thread, threads)


@inner
def copy_weights(step, parameters, workspace, begin, end, into_panels):
    """Copy the rows [begin, end) of a layer's weights into its panels, or back."""
    n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
    width = tile_columns(workspace)
    for column in range(0, n_outputs, width):
        taken = min(width, n_outputs - column)
        padded = panel_width(workspace, n_outputs - column)
        panel = workspace + (step[PANELS] + column * n_inputs + begin * padded)
        weights = parameters + (step[WEIGHTS] + begin * n_outputs + column)
        if into_panels:
            pack(panel, padded, weights, n_outputs, taken, end - begin)
        else:
            for row in range(end - begin):
                copy_row(weights + row * n_outputs, panel + row * padded, taken)


@inner
def transpose_weights(step, workspace, begin, end):
    """Pack the transpose of the rows [begin, end) of a layer's panels, in whole blocks."""
    if step[TRANSPOSED_PANELS] < 0:
        return
    n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
    width, block = tile_columns(workspace), tile_lanes(workspace)
    for row in range(begin, end, block):
        first = row // width * width
        result_row = panel_width(workspace, n_inputs - first)
        result = workspace + (step[TRANSPOSED_PANELS] + first * n_outputs + (row - first))
        for column in range(0, n_outputs, width):
            taken = min(width, n_outputs - column)
            padded = panel_width(workspace, n_outputs - column)
            panel = workspace + (step[PANELS] + column * n_inputs + row * padded)
            place = result + column * result_row
            pack_transposed(place, result_row, panel, padded, min(block, end - row), taken)


@inner
def forward_rows(table, parameters, workspace, source, source_row, first, rows):
    """Run the rows [first, first + rows) of `source` forward through all layers."""
    for layer in range(len(table)):
        step = table[layer]
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        inputs, input_row = workspace + step[INPUTS], step[INPUT_ROW]
        if layer == 0:
            inputs, input_row = source, source_row
        inputs = inputs + first * input_row
        output_row = step[OUTPUT_ROW]
        outputs = workspace + (step[OUTPUTS] + first * output_row)
        if step[OPERATION] == DENSE:
            matmul_packed(
                outputs, output_row,
                inputs, input_row,
                workspace + step[PANELS],
                rows, n_outputs, n_inputs,
                parameters + step[BIASES], 0,
                step[FINISH], outputs, 0,
            )  # fmt: skip
        elif step[OPERATION] == RELU:
            for i in range(rows):
                relu_values(outputs + i * output_row, inputs + i * input_row, n_inputs)
        else:
            for i in range(rows):
                softmax_row(outputs + i * output_row, inputs + i * input_row, n_inputs)


@inner
def loss_rows(table, workspace, scores, labels, targets, order, start, batch, first, rows):
    """Turn the logits of the rows [first, first + rows) into their gradient; keep the scores."""
    tail = table[len(table) - 1]
    classes = tail[N_OUTPUTS]
    scale = 1.0 / batch
    for i in range(first, first + rows):
        sample = order[start + i]
        label = labels[sample]
        logits = workspace + (tail[OUTPUTS] + i * tail[OUTPUT_ROW])
        dlogits = workspace + (tail[DOUTPUTS] + i * tail[OUTPUT_ROW])
        if len(targets) == 0:
            gap, total, right = label_row(dlogits, logits, classes, label, scale)
            weight = 1.0
        else:
            wanted = pointer(targets) + sample * classes
            gap, total, right, weight = target_row(dlogits, logits, classes, wanted, label, scale)
        scores[LOSS, i], scores[RIGHT, i] = gap, right
        scores[TOTAL, i], scores[WEIGHT, i] = total, weight
    # All logarithms together: a vector of them takes the time of one.
    width = scores.shape[1]
    sheet = pointer(scores)
    for i in range(first, first + rows, lanes(sheet)):
        count = min(lanes(sheet), first + rows - i)
        total = load_part(sheet + (TOTAL * width + i), count, 1.0)
        weight = load_part(sheet + (WEIGHT * width + i), count, 0.0)
        loss = weight * log(total) + load_part(sheet + (LOSS * width + i), count, 0.0)
        store_part(sheet + (LOSS * width + i), loss, count)


@inner
def backward_rows(table, workspace, first, rows):
    """Take the gradient of the rows [first, first + rows) back to the first layer that trains."""
    for layer in range(len(table) - 1, -1, -1):
        step = table[layer]
        if step[DINPUTS] < 0:
            break
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        input_row, output_row = step[INPUT_ROW], step[OUTPUT_ROW]
        inputs = workspace + (step[INPUTS] + first * input_row)
        dinputs = workspace + (step[DINPUTS] + first * input_row)
        outputs = workspace + (step[OUTPUTS] + first * output_row)
        doutputs = workspace + (step[DOUTPUTS] + first * output_row)
        if step[OPERATION] == DENSE:
            matmul_packed(
                dinputs, input_row,
                doutputs, output_row,
                workspace + step[TRANSPOSED_PANELS],
                rows, n_inputs, n_outputs,
                null(dinputs), 0,
                step[BACKWARD_FINISH], inputs, input_row,
            )  # fmt: skip
        elif step[OPERATION] == RELU:
            for i in range(rows):
                a, b = i * input_row, i * output_row
                relu_gradients(dinputs + a, doutputs + b, inputs + a, n_inputs)
        else:
            for i in range(rows):
                a, b = i * input_row, i * output_row
                softmax_gradient_row(dinputs + a, doutputs + b, outputs + b, n_inputs)


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
        forward_rows(table, p, w, samples, sample_row, first, end - first)
        loss_rows(table, w, scores, labels, targets, order, start, batch, first, end - first)
        backward_rows(table, w, first, end - first)
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


@kernel
def predict_rows(outputs, workspace, table, parameters, inputs, block, normalise):
    """outputs (N, C) = the network's logits for inputs (N, I), or their softmax if `normalise`.

    `block` rows at a time go through all layers while they are in cache; `table` is laid out for
    at least that many.
    """
    p, w = pointer(parameters), pointer(workspace)
    tail = table[len(table) - 1]
    n_inputs, classes = table[0, N_INPUTS], tail[N_OUTPUTS]
    pack_weights(table, p, w, 0, 1)
    for start in range(0, len(inputs), block):
        rows = min(block, len(inputs) - start)
        source = pointer(inputs) + start * n_inputs
        forward_rows(table, p, w, source, n_inputs, 0, rows)
        for i in range(rows):
            logits = w + (tail[OUTPUTS] + i * tail[OUTPUT_ROW])
            result = pointer(outputs) + (start + i) * classes
            if normalise:
                softmax_row(result, logits, classes)
            else:
                copy_row(result, logits, classes)
