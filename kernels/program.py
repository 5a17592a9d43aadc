"""The whole-epoch program: any network, many steps, one compiled call that allocates nothing.

A step has two phases. In the rows phase a thread takes some rows of the shuffled batch through
forward pass, loss and input gradients; it needs no other thread. In the weights phase a thread
owns slices of every weight matrix, forms their gradient over the whole batch and applies the
optimizer while the sums are in registers: plain gradient descent has no gradient array.
"""

import math

from .batches import copy_row
from .cross_entropy import (
    is_first_max,
    label_gradient_row,
    label_loss_row,
    sum_row,
    target_gradient_row,
    target_loss_row,
)
from .gemm import column_sums, matmul, matmul_transposed, tile_rows
from .jit import inner, kernel
from .relu import relu_gradients, relu_values
from .simd import null, pointer
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
    N_INPUTS,
    N_OUTPUTS,
    OPERATION,
    OUTPUT_ROW,
    OUTPUTS,
    RELU,
    WEIGHTS,
)
from .update import descend


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
            matmul(
                outputs, output_row,
                inputs, input_row, 1,
                parameters + step[WEIGHTS], n_outputs,
                rows, n_outputs, n_inputs,
                parameters + step[BIASES], 0,
                step[FINISH], outputs, 0, 0.0,
            )  # fmt: skip
        elif step[OPERATION] == RELU:
            for i in range(rows):
                relu_values(outputs + i * output_row, inputs + i * input_row, n_inputs)
        else:
            for i in range(rows):
                softmax_row(outputs + i * output_row, inputs + i * input_row, n_inputs)


@inner
def backward_rows(table, parameters, workspace, first, rows):
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
            matmul_transposed(
                dinputs, input_row,
                doutputs, output_row, 1,
                parameters + step[WEIGHTS], n_outputs,
                rows, n_inputs, n_outputs,
                step[BACKWARD_FINISH], inputs, input_row, 0.0,
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
    height = tile_rows(workspace)
    for layer in range(len(table)):
        step = table[layer]
        if step[OPERATION] != DENSE:
            continue
        n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
        doutputs, output_row = workspace + step[DOUTPUTS], step[OUTPUT_ROW]
        # Whole tiles to each thread: the bits do not depend on who sums them.
        tiles = (n_inputs + height - 1) // height
        begin = tiles * thread // threads * height
        end = min(tiles * (thread + 1) // threads * height, n_inputs)
        weights = parameters + (step[WEIGHTS] + begin * n_outputs)
        matmul(
            weights, n_outputs,
            workspace + (step[INPUTS] + begin), 1, step[INPUT_ROW],
            doutputs, output_row,
            end - begin, n_outputs, rows,
            null(weights), -1,
            FINISH_DESCEND, weights, 0, rate,
        )  # fmt: skip
        if thread == 0:
            dbiases = workspace + step[DBIASES]
            column_sums(dbiases, doutputs, output_row, rows, n_outputs)
            descend(parameters + step[BIASES], dbiases, n_outputs, rate)


@kernel
def train_steps(
    parameters, workspace, table, inputs, labels, targets, order,
    first_step, last_step, batch_size, learning_rate, totals,
):  # fmt: skip
    """Take the steps [first_step, last_step) of an epoch of gradient descent.

    parameters (P,): updated in place. workspace: as large as `table` says, contents unused.
    table (layers, N_COLUMNS) int64: see `table.py`; its first operation is DENSE.
    inputs (N, I), labels (N,) int64, targets (N, C) or (0, C) where the labels say all.
    order (M,) int64: step s takes the samples order[s * batch_size : (s + 1) * batch_size].
    totals (2,) float64: the sum of losses and the count of right answers are added here.

    Return last_step, or the step whose loss is not finite: nothing of that step is applied.
    """
    p, w = pointer(parameters), pointer(workspace)
    head, tail = table[0], table[len(table) - 1]
    n_inputs, classes = head[N_INPUTS], tail[N_OUTPUTS]
    batch, batch_row = w + head[INPUTS], head[INPUT_ROW]
    for step in range(first_step, last_step):
        start = step * batch_size
        rows = min(batch_size, len(order) - start)
        for i in range(rows):
            source = pointer(inputs) + order[start + i] * n_inputs
            copy_row(batch + i * batch_row, source, n_inputs)
        forward_rows(table, p, w, batch, batch_row, 0, rows)
        scale = 1.0 / rows
        loss, right = 0.0, 0
        for i in range(rows):
            sample = order[start + i]
            label = labels[sample]
            logits = w + (tail[OUTPUTS] + i * tail[OUTPUT_ROW])
            dlogits = w + (tail[DOUTPUTS] + i * tail[OUTPUT_ROW])
            right += is_first_max(logits, classes, label)
            if len(targets) == 0:
                row_loss, total = label_loss_row(dlogits, logits, classes, label)
                label_gradient_row(dlogits, dlogits, classes, total, label, scale)
            else:
                wanted = pointer(targets) + sample * classes
                weight = sum_row(wanted, classes)
                row_loss, total = target_loss_row(dlogits, logits, classes, wanted, weight)
                target_gradient_row(dlogits, dlogits, classes, total, wanted, weight, scale)
            loss += row_loss
        if not math.isfinite(loss):
            return step
        totals[0] += loss
        totals[1] += right
        backward_rows(table, p, w, 0, rows)
        descend_weights(table, p, w, rows, learning_rate, 0, 1)
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
