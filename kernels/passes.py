"""The passes of some rows through a whole network: forward, loss, backward."""

import math

from .activations import activate, activate_back
from .batches import fill_row
from .catalogue import MASKED, Loss, Operation
from .codes import ScoreRow
from .columns import columns_of
from .cross_entropy import label_row, smooth_row, target_row
from .dropout import drop_rows, drop_rows_back
from .elementary import log
from .embedding import embedding_rows
from .groups import depends_on_mode, is_norm, is_residual
from .jit import inner
from .label_blocks import LEAST_ROWS, label_block, stack_block
from .layer_norm import layer_norm_rows, layer_norm_rows_back
from .losses import count_answers, count_targets, loss_run, next_run
from .norm_passes import predict_norm_rows
from .packing import pack_rows
from .pointers import element, null, pointer, put
from .products import matmul_packed
from .reduced import keep_gradients_of, keep_inputs, reduced_backward, reduced_forward
from .relu import relu_gradients, relu_values
from .residual import residual_rows, residual_rows_back
from .shared_norms import norm_rows, norm_rows_back
from .simd import lanes, load_part, select, splat, store_part
from .softmax import softmax_gradient_row, softmax_row
from .tile import Activate, Extent, Rows


@inner
def forward_rows(
    layers, extended, parameters, panels, workspace, tiles, source, source_row, first, rows
):
    """Predict: run the rows [first, first + rows) of `source` through all layers."""
    for index in range(len(layers)):
        layer = layers[index]
        inputs, input_row = workspace + layer.inputs, layer.input_row
        if index == 0:
            inputs, input_row = source, source_row
        inputs = inputs + first * input_row
        if extended is not None:
            if is_norm(layer.operation):
                predict_norm_rows(layer, parameters, workspace, inputs, input_row, first, rows)
                continue
        forward_layer(
            layer, extended, parameters, panels, workspace, tiles, inputs, input_row, first, rows
        )


@inner
def train_forward(
    layers, extended, parameters, workspace, tiles, keys, place, first, rows,
    batch, gate, threads,
):  # fmt: skip
    """Run the rows [first, first + rows) of a batch through all layers.

    `place` is a tuple of the epoch and the number of the batch in it. `batch` is the number of its
    rows, or the `Runs` of them that a rank has, if several share the batch (`shared_norms.py`).

    Return False where the threads are told to leave at a barrier on the way.
    """
    epoch, number = place
    for index in range(len(layers)):
        layer = layers[index]
        input_row = layer.input_row
        inputs = workspace + (layer.inputs + first * input_row)
        if keys is not None:
            if depends_on_mode(layer.operation):
                factor = layer.parameter
                if layer.operation == Operation.DROPOUT:
                    batch_number = keys[epoch, 1] + number
                    drop_rows(
                        layer, factor, workspace, keys[epoch, 0], batch_number, inputs, first, rows
                    )
                elif layer.operation == Operation.LAYER_NORM:
                    layer_norm_rows(layer, factor, parameters, workspace, inputs, first, rows)
                elif not norm_rows(
                    layer, factor, parameters, workspace, inputs, first, rows, batch, gate, threads
                ):
                    return False
                continue
        if tiles is not None:
            if layer.parts > 0 and layer.trains:
                keep_inputs(layer, tiles, inputs, first, rows)
        if layer.packs_left:
            pack_rows(
                workspace + layer.left, layer.operand_rows, inputs, input_row,
                first, rows, layer.n_inputs,
            )  # fmt: skip
        forward_layer(
            layer, extended, parameters, workspace, workspace, tiles, inputs, input_row,
            first, rows,
        )  # fmt: skip
    return True


@inner
def forward_layer(
    layer, extended, parameters, panels, workspace, tiles, inputs, input_row, first, rows
):
    """Run some rows, whose inputs begin at a pointer, through a layer that knows no training."""
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    output_row = layer.output_row
    outputs = workspace + (layer.outputs + first * output_row)
    if tiles is not None:
        if layer.parts > 0:
            reduced_forward(layer, parameters, tiles, inputs, input_row, outputs, first, rows)
            return
    if layer.operation == Operation.DENSE:
        matmul_packed(
            Rows(outputs, output_row),
            Rows(inputs, input_row),
            panels + layer.panels,
            Extent(rows, n_outputs, n_inputs),
            Rows(parameters + layer.biases, 0),
            Activate(layer.epilogue, Rows(outputs, 0)),
        )  # fmt: skip
    elif layer.operation == Operation.RELU:
        for i in range(rows):
            relu_values(outputs + i * output_row, inputs + i * input_row, n_inputs)
    elif layer.operation == Operation.SOFTMAX:
        for i in range(rows):
            softmax_row(outputs + i * output_row, inputs + i * input_row, n_inputs)
    elif extended is not None:
        if is_residual(layer.operation):
            residual_rows(layer, workspace, outputs, inputs, input_row, first, rows)
            return
        if layer.operation == Operation.EMBEDDING:
            columns = columns_of(extended)
            embedding_rows(columns, layer, parameters, outputs, inputs, input_row, rows)
            return
        number = layer.parameter
        for i in range(rows):
            a, b = inputs + i * input_row, outputs + i * output_row
            activate(b, a, n_inputs, layer.operation, number)
    else:
        for i in range(rows):
            fill_row(outputs + i * output_row, n_outputs, math.nan)


@inner
def loss_rows(
    layers, workspace, scores, extended, answers, indices, first, rows, job,
):  # fmt: skip
    """Turn the outputs of the rows [first, first + rows) into the gradient of the mean loss.

    Keep the scores. The mean is the weighted one: sum of weight * loss over sum of weight.
    `extended` and `answers` are those of `train_steps`, `job` is a record, JOB.
    """
    if extended is None:
        label_scores(layers, workspace, scores, answers[0], indices, first, rows)
    else:
        labels, targets = answers
        sample_weights = extended[2]
        weighs = len(targets) > 0 or len(sample_weights) > 0 or job.smoothing > 0.0
        if job.loss == Loss.SOFTMAX_CROSS_ENTROPY and not weighs:
            label_scores(layers, workspace, scores, labels, indices, first, rows)
        else:
            output_scores(
                layers, workspace, scores, answers, sample_weights, indices, first, rows, job
            )
    # All logarithms together: a vector of them takes the time of one.
    width = scores.shape[1]
    sheet = pointer(scores)
    for i in range(first, first + rows, lanes(sheet)):
        count = min(lanes(sheet), first + rows - i)
        total = load_part(sheet + (ScoreRow.TOTAL * width + i), count, 1.0)
        weight = load_part(sheet + (ScoreRow.WEIGHT * width + i), count, 0.0)
        value = weight * log(total) + load_part(sheet + (ScoreRow.LOSS * width + i), count, 0.0)
        if extended is not None:
            if job.loss == Loss.SOFTMAX_CROSS_ENTROPY and job.loss_parameter > 0.0:
                value = clip_losses(value, job.loss_parameter)
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
def label_scores(layers, workspace, scores, labels, indices, first, rows):
    """Turn logits into the gradient of the mean cross-entropy of labels; keep the scores."""
    tail = layers[len(layers) - 1]
    size, row = tail.n_outputs, tail.output_row
    logits, dlogits = workspace + tail.outputs, workspace + tail.doutputs
    scale = 1.0 / len(indices)
    step, width, end = lanes(workspace), scores.shape[1], first + rows
    if size <= step:
        block = stack_block(workspace)
        while end - first >= LEAST_ROWS:
            count = min(step, end - first)
            label_block(
                block, pointer(scores) + first, width, dlogits + first * row, logits + first * row,
                row, count, size, labels, indices, first, scale,
            )  # fmt: skip
            first += count
    for i in range(first, end):
        label = labels[indices[i]]
        gap, total, right = label_row(dlogits + i * row, logits + i * row, size, label, scale)
        scores[ScoreRow.LOSS, i], scores[ScoreRow.RIGHT, i] = gap, right
        scores[ScoreRow.TOTAL, i], scores[ScoreRow.WEIGHT, i] = total, 1.0


@inner
def output_scores(layers, workspace, scores, answers, sample_weights, indices, first, rows, job):
    """Turn outputs into the gradient of the weighted mean of any loss; keep the scores."""
    labels, targets = answers
    loss, number, smoothing = job.loss, job.loss_parameter, job.smoothing
    masks, code = loss >= MASKED, loss % MASKED
    tail = layers[len(layers) - 1]
    size = tail.n_outputs
    mass = batch_weight(sample_weights, indices)
    for i in range(first, first + rows):
        sample = indices[i]
        scale, sample_weight = 1.0 / mass if mass > 0.0 else 0.0, 1.0
        if len(sample_weights) > 0:
            sample_weight = sample_weights[sample]
            scale *= sample_weight
        outputs = workspace + (tail.outputs + i * tail.output_row)
        doutputs = workspace + (tail.doutputs + i * tail.output_row)
        wanted = pointer(targets) + sample * size
        total, weight = 1.0, 1.0
        if loss != Loss.SOFTMAX_CROSS_ENTROPY:
            right = count_answers(outputs, wanted, size, loss, number)
            gap, j = 0.0, 0
            factor = scale / count_targets(wanted, size, masks)
            while j < size:
                run = next_run(wanted + j, size - j, masks)
                if run > 0:
                    gap += loss_run(
                        doutputs + j, outputs + j, wanted + j, run, code, number, factor
                    )
                else:
                    put(doutputs + j, element(workspace, 0.0))
                j += max(run, 1)
            gap /= count_targets(wanted, size, masks)
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
    layers, extended, parameters, workspace, tiles, keys, first, rows, batch, gate, threads
):
    """Take the gradient of the rows [first, first + rows) back to the first layer that trains.

    Return False as `train_forward` does.
    """
    for index in range(len(layers) - 1, -1, -1):
        layer = layers[index]
        n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
        input_row, output_row = layer.input_row, layer.output_row
        if tiles is not None:
            if layer.parts > 0 and layer.trains:
                slopes = workspace + (layer.doutputs + first * output_row)
                keep_gradients_of(layer, tiles, slopes, first, rows)
        if layer.packs_right:
            pack_rows(
                workspace + layer.right, layer.operand_rows,
                workspace + (layer.doutputs + first * output_row), output_row,
                first, rows, n_outputs,
            )  # fmt: skip
        if layer.dinputs < 0:
            break
        inputs = workspace + (layer.inputs + first * input_row)
        dinputs = workspace + (layer.dinputs + first * input_row)
        outputs = workspace + (layer.outputs + first * output_row)
        doutputs = workspace + (layer.doutputs + first * output_row)
        if keys is not None:
            if depends_on_mode(layer.operation):
                if layer.operation == Operation.DROPOUT:
                    drop_rows_back(layer, workspace, dinputs, doutputs, first, rows)
                elif layer.operation == Operation.LAYER_NORM:
                    layer_norm_rows_back(
                        layer, parameters, workspace, dinputs, doutputs, first, rows
                    )
                elif not norm_rows_back(
                    layer, parameters, workspace, dinputs, doutputs,
                    first, rows, batch, gate, threads,
                ):  # fmt: skip
                    return False
                continue
        if tiles is not None:
            if layer.parts > 0:
                reduced_backward(layer, tiles, dinputs, doutputs, inputs, first, rows)
                continue
        if layer.operation == Operation.DENSE:
            matmul_packed(
                Rows(dinputs, input_row),
                Rows(doutputs, output_row),
                workspace + layer.transposed_panels,
                Extent(rows, n_inputs, n_outputs),
                Rows(null(dinputs), 0),
                Activate(layer.backward_epilogue, Rows(inputs, input_row)),
            )  # fmt: skip
        elif layer.operation == Operation.RELU:
            for i in range(rows):
                a, b = i * input_row, i * output_row
                relu_gradients(dinputs + a, doutputs + b, inputs + a, n_inputs)
        elif layer.operation == Operation.SOFTMAX:
            for i in range(rows):
                a, b = i * input_row, i * output_row
                softmax_gradient_row(dinputs + a, doutputs + b, outputs + b, n_inputs)
        elif extended is not None:
            if is_residual(layer.operation):
                residual_rows_back(layer, workspace, dinputs, doutputs, first, rows)
                continue
            for i in range(rows):
                a, b = i * input_row, i * output_row
                activate_back(
                    dinputs + a, doutputs + b, inputs + a, outputs + b, n_inputs,
                    layer.operation, layer.parameter,
                )  # fmt: skip
        else:
            for i in range(rows):
                fill_row(dinputs + i * input_row, n_inputs, math.nan)
    return True
