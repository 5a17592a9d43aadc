"""The passes of some rows through a whole network: forward, loss, backward."""

from .cross_entropy import label_row, target_row
from .elementary import log
from .gemm import matmul_packed
from .jit import inner
from .relu import relu_gradients, relu_values
from .simd import lanes, load_part, null, pointer, store_part
from .softmax import softmax_gradient_row, softmax_row
from .table import (
    BACKWARD_FINISH,
    BIASES,
    DENSE,
    DINPUTS,
    DOUTPUTS,
    FINISH,
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
)


@inner
def forward_rows(table, parameters, panels, workspace, source, source_row, first, rows):
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
                panels + step[PANELS],
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
def backward_rows(table, panels, workspace, first, rows):
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
                panels + step[TRANSPOSED_PANELS],
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
