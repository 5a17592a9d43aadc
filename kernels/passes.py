"""The passes of some rows through a whole network: forward, loss, backward."""

import math

from .activations import activate, activate_back
from .batches import fill_row
from .catalogue import Loss, Operation
from .codes import ScoreRow
from .cross_entropy import label_row, smooth_row, target_row
from .dropout import drop_back, drop_row
from .elementary import log
from .groups import depends_on_mode, is_norm
from .jit import inner
from .losses import count_answers, loss_row
from .norm_passes import (
    batch_norm_rows,
    batch_norm_rows_back,
    layer_norm_rows,
    layer_norm_rows_back,
    predict_norm_rows,
)
from .pointers import null, pointer
from .products import matmul_packed
from .relu import relu_gradients, relu_values
from .simd import lanes, load_part, select, splat, store_part
from .softmax import softmax_gradient_row, softmax_row
from .table import (
    BACKWARD_FINISH,
    BIASES,
    DINPUTS,
    DOUTPUTS,
    DRAW,
    FINISH,
    INPUT_ROW,
    INPUTS,
    KEPT,
    N_INPUTS,
    N_OUTPUTS,
    NUMBER,
    OPERATION,
    OUTPUT_ROW,
    OUTPUTS,
    PANELS,
    TRANSPOSED_PANELS,
)
from .tile import Activate, Extent, Rows


@inner
def forward_rows(
    table, coefficients, parameters, panels, workspace, source, source_row, first, rows
):
    """Predict: run the rows [first, first + rows) of `source` through all layers."""
    for layer in range(len(table)):
        step = table[layer]
        inputs, input_row = workspace + step[INPUTS], step[INPUT_ROW]
        if layer == 0:
            inputs, input_row = source, source_row
        inputs = inputs + first * input_row
        if coefficients is not None:
            if is_norm(step[OPERATION]):
                predict_norm_rows(
                    step, coefficients[layer, NUMBER], parameters, workspace, inputs, input_row,
                    first, rows,
                )  # fmt: skip
                continue
        forward_layer(
            step, layer, coefficients, parameters, panels, workspace, inputs, input_row, first, rows
        )


@inner
def train_forward(
    table, coefficients, parameters, workspace, keys, epoch, number, first, rows,
    batch, gate, threads,
):  # fmt: skip
    """Run the rows [first, first + rows) of the batch `number` of an epoch through all layers.

    Return False where a barrier on the way lets everybody go.
    """
    for layer in range(len(table)):
        step = table[layer]
        input_row = step[INPUT_ROW]
        inputs = workspace + (step[INPUTS] + first * input_row)
        if keys is not None:
            if depends_on_mode(step[OPERATION]):
                factor = coefficients[layer, NUMBER]
                if step[OPERATION] == Operation.DROPOUT:
                    batch_number = keys[epoch, 1] + number
                    drop_rows(
                        step, factor, workspace, keys[epoch, 0], batch_number, inputs, first, rows
                    )
                elif step[OPERATION] == Operation.LAYER_NORM:
                    layer_norm_rows(step, factor, parameters, workspace, inputs, first, rows)
                elif not batch_norm_rows(
                    step, factor, parameters, workspace, inputs, first, rows, batch, gate, threads
                ):
                    return False
                continue
        forward_layer(
            step, layer, coefficients, parameters, workspace, workspace, inputs, input_row,
            first, rows,
        )  # fmt: skip
    return True


@inner
def drop_rows(step, rate, workspace, key, number, inputs, first, rows):
    """Drop values of the rows [first, first + rows), `inputs` a pointer to their first."""
    for i in range(rows):
        at = (first + i) * step[OUTPUT_ROW]
        drop_row(
            workspace + (step[OUTPUTS] + at), workspace + (step[KEPT] + at),
            inputs + i * step[INPUT_ROW], step[N_OUTPUTS],
            rate, key, step[DRAW], number, first + i,
        )  # fmt: skip


@inner
def forward_layer(
    step, layer, coefficients, parameters, panels, workspace, inputs, input_row, first, rows
):
    """Run some rows, whose inputs begin at a pointer, through a layer that knows no training."""
    n_inputs, n_outputs = step[N_INPUTS], step[N_OUTPUTS]
    output_row = step[OUTPUT_ROW]
    outputs = workspace + (step[OUTPUTS] + first * output_row)
    if step[OPERATION] == Operation.DENSE:
        matmul_packed(
            Rows(outputs, output_row),
            Rows(inputs, input_row),
            panels + step[PANELS],
            Extent(rows, n_outputs, n_inputs),
            Rows(parameters + step[BIASES], 0),
            Activate(step[FINISH], Rows(outputs, 0)),
        )  # fmt: skip
    elif step[OPERATION] == Operation.RELU:
        for i in range(rows):
            relu_values(outputs + i * output_row, inputs + i * input_row, n_inputs)
    elif step[OPERATION] == Operation.SOFTMAX:
        for i in range(rows):
            softmax_row(outputs + i * output_row, inputs + i * input_row, n_inputs)
    elif coefficients is not None:
        number = coefficients[layer, NUMBER]
        for i in range(rows):
            a, b = inputs + i * input_row, outputs + i * output_row
            activate(b, a, n_inputs, step[OPERATION], number)
    else:
        for i in range(rows):
            fill_row(outputs + i * output_row, n_outputs, math.nan)


@inner
def loss_rows(
    table, workspace, scores, labels, targets, sample_weights, indices, first, rows,
    loss, number, smoothing,
):  # fmt: skip
    """Turn the outputs of the rows [first, first + rows) into the gradient of the mean loss.

    Keep the scores. The mean is the weighted one: sum of weight * loss over sum of weight.
    """
    if sample_weights is None:
        label_scores(table, workspace, scores, labels, indices, first, rows)
    else:
        output_scores(
            table, workspace, scores, labels, targets, sample_weights, indices,
            first, rows, loss, number, smoothing,
        )  # fmt: skip
    # All logarithms together: a vector of them takes the time of one.
    width = scores.shape[1]
    sheet = pointer(scores)
    for i in range(first, first + rows, lanes(sheet)):
        count = min(lanes(sheet), first + rows - i)
        total = load_part(sheet + (ScoreRow.TOTAL * width + i), count, 1.0)
        weight = load_part(sheet + (ScoreRow.WEIGHT * width + i), count, 0.0)
        value = weight * log(total) + load_part(sheet + (ScoreRow.LOSS * width + i), count, 0.0)
        if sample_weights is not None and loss == Loss.SOFTMAX_CROSS_ENTROPY and number > 0.0:
            value = clip_losses(value, number)
        store_part(sheet + (ScoreRow.LOSS * width + i), value, count)


@inner
def clip_losses(losses, epsilon):
    """Return the cross-entropies of probabilities moved into [epsilon, 1 - epsilon].

    What is not finite stays, so that it is seen.
    """
    least, most = splat(losses, -math.log1p(-epsilon)), splat(losses, -math.log(epsilon))
    highest = select(losses < math.inf, most, losses)
    return select(losses < least, least, select(losses > most, highest, losses))


@inner
def label_scores(table, workspace, scores, labels, indices, first, rows):
    """Turn logits into the gradient of the mean cross-entropy of labels; keep the scores."""
    tail = table[len(table) - 1]
    scale = 1.0 / len(indices)
    for i in range(first, first + rows):
        logits = workspace + (tail[OUTPUTS] + i * tail[OUTPUT_ROW])
        dlogits = workspace + (tail[DOUTPUTS] + i * tail[OUTPUT_ROW])
        label = labels[indices[i]]
        gap, total, right = label_row(dlogits, logits, tail[N_OUTPUTS], label, scale)
        scores[ScoreRow.LOSS, i], scores[ScoreRow.RIGHT, i] = gap, right
        scores[ScoreRow.TOTAL, i], scores[ScoreRow.WEIGHT, i] = total, 1.0


@inner
def output_scores(
    table, workspace, scores, labels, targets, sample_weights, indices, first, rows,
    loss, number, smoothing,
):  # fmt: skip
    """Turn outputs into the gradient of the weighted mean of any loss; keep the scores."""
    tail = table[len(table) - 1]
    size = tail[N_OUTPUTS]
    mass = batch_weight(sample_weights, indices)
    for i in range(first, first + rows):
        sample = indices[i]
        scale, sample_weight = 1.0 / mass if mass > 0.0 else 0.0, 1.0
        if len(sample_weights) > 0:
            sample_weight = sample_weights[sample]
            scale *= sample_weight
        outputs = workspace + (tail[OUTPUTS] + i * tail[OUTPUT_ROW])
        doutputs = workspace + (tail[DOUTPUTS] + i * tail[OUTPUT_ROW])
        wanted = pointer(targets) + sample * size
        total, weight = 1.0, 1.0
        if loss != Loss.SOFTMAX_CROSS_ENTROPY:
            right = count_answers(outputs, wanted, size, loss, number)
            gap = loss_row(doutputs, outputs, wanted, size, loss, number, scale)
        elif len(targets) > 0:
            label = labels[sample]
            gap, total, hit, weight = target_row(doutputs, outputs, size, wanted, label, scale)
            right = 1.0 if hit else 0.0
        elif smoothing > 0.0:
            gap, total, hit = smooth_row(doutputs, outputs, size, labels[sample], smoothing, scale)
            right = 1.0 if hit else 0.0
        else:
            gap, total, hit = label_row(doutputs, outputs, size, labels[sample], scale)
            right = 1.0 if hit else 0.0
        scores[ScoreRow.LOSS, i] = gap * sample_weight
        scores[ScoreRow.RIGHT, i] = right * sample_weight
        scores[ScoreRow.TOTAL, i], scores[ScoreRow.WEIGHT, i] = total, weight * sample_weight


@inner
def batch_weight(sample_weights, indices):
    """Return the sum of the weights of a batch's samples, each of which is 1 by default."""
    if len(sample_weights) == 0:
        return float(len(indices))
    total = 0.0
    for i in indices:
        total += sample_weights[i]
    return total


@inner
def backward_rows(
    table, coefficients, parameters, workspace, keys, first, rows, batch, gate, threads
):
    """Take the gradient of the rows [first, first + rows) back to the first layer that trains.

    Return False as `train_forward` does.
    """
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
        if keys is not None:
            if depends_on_mode(step[OPERATION]):
                if step[OPERATION] == Operation.DROPOUT:
                    mask = workspace + (step[KEPT] + first * output_row)
                    for i in range(rows):
                        a, b = i * input_row, i * output_row
                        drop_back(dinputs + a, doutputs + b, mask + b, n_inputs)
                elif step[OPERATION] == Operation.LAYER_NORM:
                    layer_norm_rows_back(
                        step, parameters, workspace, dinputs, doutputs, first, rows
                    )
                elif not batch_norm_rows_back(
                    step, parameters, workspace, dinputs, doutputs,
                    first, rows, batch, gate, threads,
                ):  # fmt: skip
                    return False
                continue
        if step[OPERATION] == Operation.DENSE:
            matmul_packed(
                Rows(dinputs, input_row),
                Rows(doutputs, output_row),
                workspace + step[TRANSPOSED_PANELS],
                Extent(rows, n_inputs, n_outputs),
                Rows(null(dinputs), 0),
                Activate(step[BACKWARD_FINISH], Rows(inputs, input_row)),
            )  # fmt: skip
        elif step[OPERATION] == Operation.RELU:
            for i in range(rows):
                a, b = i * input_row, i * output_row
                relu_gradients(dinputs + a, doutputs + b, inputs + a, n_inputs)
        elif step[OPERATION] == Operation.SOFTMAX:
            for i in range(rows):
                a, b = i * input_row, i * output_row
                softmax_gradient_row(dinputs + a, doutputs + b, outputs + b, n_inputs)
        elif coefficients is not None:
            for i in range(rows):
                a, b = i * input_row, i * output_row
                activate_back(
                    dinputs + a, doutputs + b, inputs + a, outputs + b, n_inputs,
                    step[OPERATION], coefficients[layer, NUMBER],
                )  # fmt: skip
        else:
            for i in range(rows):
                fill_row(dinputs + i * input_row, n_inputs, math.nan)
    return True
