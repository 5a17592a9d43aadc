"""The whole-epoch program and predictions again, in plain NumPy: the oracle of their tests."""

import itertools
import math

import numpy as np

from . import table as t
from .catalogue import MASKED, Loss, Operation, is_norm
from .codes import Epilogue, ScoreRow
from .reference import (
    _flush,
    _have_codes,
    _slope,
    activation_backward,
    activation_forward,
    all_finite,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_predict,
    convert_rows,
    dense_backward,
    dense_forward,
    dropout_backward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
    layer_norm_backward,
    layer_norm_forward,
    loss_backward,
    loss_forward,
    optimizer_update,
    relu_backward,
    relu_forward,
    running_update,
    softmax_backward,
    softmax_cross_entropy,
    softmax_forward,
)
from .reference_bfloat16 import reduced_product


def _dense_views(layer, parameters):
    """Return the weights (I, O) and biases (1, O) of a layer, as views."""
    n_inputs, n_outputs = layer["n_inputs"], layer["n_outputs"]
    weights = parameters[layer["weights"] :][: n_inputs * n_outputs].reshape(n_inputs, n_outputs)
    return weights, parameters[layer["biases"] :][:n_outputs].reshape(1, n_outputs)


def _dense_forward(outputs, inputs, layer, parameters):
    """Compute dense_forward, with operands in bfloat16 where a layer has them."""
    weights, biases = _dense_views(layer, parameters)
    dense_forward(outputs, inputs, weights, biases)
    if parts := int(layer["parts"]):
        outputs[...] = reduced_product(inputs, weights, parts) + biases


def _tables(layer, parameters):
    """Return all tables (1, W) of an EMBEDDING, as a view."""
    return parameters[layer["weights"] :][: layer["table_size"]].reshape(1, -1)


def columns_of(extended):
    """Return the columns, of COLUMN, in what a kernel gets as `extended`; None if it has none."""
    if isinstance(extended, tuple):
        return extended[3] if len(extended) > 3 else None
    return extended if isinstance(extended, np.ndarray) else None


def _norm_views(layer, parameters):
    """Return weights, biases and running moments (1, O) of a layer, as views."""
    names = "weights", "biases", "running_mean", "running_variance"
    places = [layer[name] for name in names if layer[name] >= 0]
    return [parameters[place:][: layer["n_outputs"]].reshape(1, -1) for place in places]


def _forward(layers, parameters, batch, columns=None, key=None, number=0):
    """Return the inputs of every layer, the outputs of the last, and what they keep.

    `columns` are those of EMBEDDING. `key` and `number`, of the batch in the epoch, are those of
    training.
    """
    values, kept, branches = [batch], [], []
    for layer in layers:
        outputs = np.empty((len(batch), layer["n_outputs"]), batch.dtype)
        kept.append([np.empty_like(outputs)])
        if layer["operation"] == Operation.DENSE:
            _dense_forward(outputs, values[-1], layer, parameters)
            if layer["epilogue"] == Epilogue.RELU:
                relu_forward(outputs, outputs)
        elif layer["operation"] == Operation.EMBEDDING:
            embedding_forward(outputs, values[-1], _tables(layer, parameters), columns)
        elif layer["operation"] == Operation.RELU:
            relu_forward(outputs, values[-1])
        elif layer["operation"] == Operation.SOFTMAX:
            softmax_forward(outputs, values[-1])
        elif layer["operation"] == Operation.BRANCH:
            outputs[...] = values[-1]
            branches.append(outputs)
        elif layer["operation"] == Operation.ADD:
            outputs[...] = values[-1] + branches.pop()
        elif layer["operation"] == Operation.DROPOUT:
            rate, draw = layer["parameter"], layer["dropout_index"]
            dropout_forward(outputs, kept[-1][0], values[-1], rate, key, draw, number)
        elif layer["operation"] == Operation.LAYER_NORM:
            kept[-1] = [np.empty_like(outputs), np.empty(len(batch), batch.dtype)]
            weights, biases = _norm_views(layer, parameters)[:2]
            layer_norm_forward(outputs, *kept[-1], values[-1], weights, biases, layer["parameter"])
        elif layer["operation"] == Operation.BATCH_NORM:
            weights, biases, *running = _norm_views(layer, parameters)
            if key is None:
                batch_norm_predict(
                    outputs, values[-1], weights, biases, *running, layer["parameter"]
                )
            else:
                kept[-1] = [np.empty_like(outputs), *(np.empty_like(weights) for _ in range(3))]
                batch_norm_forward(
                    outputs, *kept[-1], values[-1], weights, biases, layer["parameter"]
                )
        else:
            activation_forward(outputs, values[-1], layer["operation"], layer["parameter"])
        values.append(outputs)
    return values, kept


def _backward(layers, parameters, columns, values, kept, gradient):
    """Return the gradients of all parameters, in their order.

    `gradient` is the one of the loss with respect to the outputs, `values` and `kept` what
    `_forward` gave.
    """
    found, branches = np.zeros_like(parameters), []
    rows = zip(layers, values[:-1], values[1:], kept, strict=True)
    for layer, inputs, outputs, own in reversed(list(rows)):
        dinputs = np.empty_like(inputs)
        if layer["operation"] == Operation.DENSE:
            slopes, weights = _dense_views(layer, found), _dense_views(layer, parameters)[0]
            dense_backward(dinputs, *slopes, gradient, inputs, weights)
            if parts := int(layer["parts"]):
                dinputs[...] = reduced_product(gradient, weights.T, parts)
                slopes[0][...] = reduced_product(inputs.T, gradient, parts)
            if layer["backward_epilogue"] == Epilogue.RELU_MASK:
                relu_backward(dinputs, dinputs, inputs)
        elif layer["operation"] == Operation.EMBEDDING:
            embedding_backward(dinputs, _tables(layer, found), gradient, inputs, columns)
        elif layer["operation"] == Operation.RELU:
            relu_backward(dinputs, gradient, inputs)
        elif layer["operation"] == Operation.SOFTMAX:
            softmax_backward(dinputs, gradient, outputs)
        elif layer["operation"] == Operation.ADD:
            dinputs[...] = gradient
            branches.append(gradient)
        elif layer["operation"] == Operation.BRANCH:
            dinputs[...] = gradient + branches.pop()
        elif layer["operation"] == Operation.DROPOUT:
            dropout_backward(dinputs, gradient, *own)
        elif is_norm(layer["operation"]):
            by_row = layer["operation"] == Operation.LAYER_NORM
            backward = layer_norm_backward if by_row else batch_norm_backward
            slopes, weights = _norm_views(layer, found)[:2], _norm_views(layer, parameters)[0]
            backward(dinputs, *slopes, gradient, *own[:2], weights)
        else:
            kind, number = layer["operation"], layer["parameter"]
            activation_backward(dinputs, gradient, inputs, outputs, kind, number)
        gradient = dinputs
    return found


def _pieces(layers):
    """Yield (slice of the parameters, l1, l2, is_bias) for all weights and biases that train.

    `is_bias`: whether weight decay may spare them.
    """
    for layer in layers:
        if layer["operation"] == Operation.DENSE and layer["trains"]:
            weights, biases, n_outputs = layer["weights"], layer["biases"], layer["n_outputs"]
            yield slice(weights, biases), layer["weights_l1"], layer["weights_l2"], False
            if layer["has_biases"]:
                place = slice(biases, biases + n_outputs)
                yield place, layer["biases_l1"], layer["biases_l2"], True
        elif is_norm(layer["operation"]) and layer["trains"]:
            yield slice(layer["weights"], layer["biases"] + layer["n_outputs"]), 0.0, 0.0, True
        elif layer["operation"] == Operation.EMBEDDING and layer["trains"]:
            place = slice(layer["weights"], layer["weights"] + layer["table_size"])
            yield place, layer["weights_l1"], layer["weights_l2"], False


def _clipped(epsilon):
    """Return the least and largest cross-entropy of probabilities in [epsilon, 1 - epsilon]."""
    return -math.log1p(-epsilon), -math.log(epsilon)


def _losses_and_gradient(outputs, labels, wanted, weights, job):
    """Return losses (B,), the gradient of their weighted mean, and the weight of right answers."""
    loss, number, smoothing = job["loss"], job["loss_parameter"], job["smoothing"]
    losses, gradient = np.empty(len(outputs)), np.empty_like(outputs)
    if loss == Loss.SOFTMAX_CROSS_ENTROPY:
        n_classes = outputs.shape[1]
        if not len(wanted):
            wanted = labels
            if smoothing:
                wanted = (1 - smoothing) * np.eye(n_classes)[labels] + smoothing / n_classes
        softmax_cross_entropy(losses, gradient, outputs, wanted)
        if number:
            losses = np.where(np.isfinite(losses), np.clip(losses, *_clipped(number)), losses)
        right = (outputs.argmax(axis=1) == labels).astype(np.float64)
    else:
        loss_forward(losses, outputs, wanted, loss, number)
        loss_backward(gradient, outputs, wanted, loss, number)
        known = np.ones(outputs.shape, bool)
        if loss >= MASKED:
            loss, known = loss - MASKED, ~np.isnan(wanted)
        if loss in (Loss.SQUARED_ERROR, Loss.ABSOLUTE_ERROR):
            answers = np.abs(outputs.astype(np.float64) - wanted) < number
        else:
            answers = (outputs > (0 if loss == Loss.BINARY_FROM_LOGITS else 0.5)) == (wanted > 0.5)
        right = (answers & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    if len(weights):
        gradient *= (weights * (len(weights) / max(weights.sum(), 1e-300)))[:, None]
        right = right * weights
    return losses, gradient, right.sum()


def train_steps(
    memory, layers, inputs, extended, tiles, answers, order, keys, task, totals, thread, threads
):
    """Take the steps of a job of some epochs, in thread 0."""
    parameters, (labels, targets), ((job,), steps) = memory[0], answers, task
    first_step, last_step = int(job["first_step"]), int(job["last_step"])
    batch_size = int(job["batch_size"])
    if thread > 0:
        return last_step
    states, layout, sample_weights = (extended or (np.empty((0, len(parameters))), None, ()))[:3]
    columns = columns_of(extended)
    for step in range(first_step, last_step):
        epoch, number = divmod(step, -(-order.shape[1] // batch_size))
        indices = order[epoch, number * batch_size : (number + 1) * batch_size]
        tally = totals[epoch]
        if layout is None:
            batch = inputs[indices]
        else:
            batch = np.empty((len(indices), layers[0]["n_inputs"]), parameters.dtype)
            convert_rows(batch, inputs, layout, indices)
        _flush(batch)
        key, first = (None, 0) if keys is None else keys[epoch].tolist()
        values, kept = _forward(layers, parameters, batch, columns, key, first + number)
        wanted = targets[indices] if len(targets) else targets
        weights = sample_weights[indices] if len(sample_weights) else sample_weights
        losses, gradient, right = _losses_and_gradient(
            values[-1], labels[indices], wanted, weights, job
        )
        if len(weights):
            losses = losses * weights
        if not np.isfinite(losses.sum()):
            return step
        tally[t.TOTAL_LOSS] += losses.sum()
        tally[t.TOTAL_RIGHT] += right
        tally[t.TOTAL_WEIGHT] += weights.sum() if len(weights) else len(indices)
        gradients = _backward(layers, parameters, columns, values, kept, gradient)
        tally[t.TOTAL_STEPS] += 1
        pieces, now, scale = list(_pieces(layers)), steps[step - first_step], 1.0
        if now["per_sample"]:
            mass = weights.sum() if len(weights) else len(indices)
            share = 1 / mass if mass > 0 else 0.0
            pieces = [(place, l1 * share, l2 * share, bias) for place, l1, l2, bias in pieces]
        squares, wide = 0.0, 0.0
        for place, l1, l2, _ in pieces:
            p = parameters[place]
            tally[t.TOTAL_PENALTY] += len(indices) * (abs(l1) * np.abs(p) + l2 * p * p).sum()
            g = (gradients[place] + _slope(p, l1) + 2 * l2 * p).astype(np.float64)
            with np.errstate(over="ignore"):
                squares += np.square(g).sum()
            wide += np.square(g * 2.0**-540).sum()
        if now["clip_norm"] < np.inf:
            root, unit = (np.sqrt(squares), 1.0) if squares < np.inf else (np.sqrt(wide), 2.0**-540)
            scale = min(1.0, now["clip_norm"] / (root + 1e-6 * unit) * unit)
        for place, l1, l2, is_bias in pieces:
            state, step_of_piece = states[:, place], np.array([now])
            if is_bias and now["spares_biases"]:
                step_of_piece["decay"], step_of_piece["shrink"] = 0, 1
            own = parameters[place], state, gradients[place]
            optimizer_update(*own, job["rule"], step_of_piece, scale, l1, l2)
        for layer, own in zip(layers, kept, strict=True):
            if layer["operation"] == Operation.BATCH_NORM:
                running = _norm_views(layer, parameters)[2:]
                running_update(*running, *own[2:], len(indices), layer["momentum"])
    return last_step


def shard_gradients(
    memory,
    layers,
    inputs,
    extended,
    answers,
    indices,
    keys,
    bounds,
    job,
    gradients,
    thread,
    threads,
):
    """Form the gradients of all runs of rows, in thread 0."""
    if thread > 0:
        return True
    (parameters, _, scores, _), (labels, targets) = memory, answers
    _, layout, sample_weights = (extended or (None, None, ()))[:3]
    columns = columns_of(extended)
    if layout is None:
        batch = inputs[indices]
    else:
        batch = np.empty((len(indices), layers[0]["n_inputs"]), parameters.dtype)
        convert_rows(batch, inputs, layout, indices)
    _flush(batch)
    key, number = (None, 0) if keys is None else keys[0].tolist()
    values, kept = _forward(layers, parameters, batch, columns, key, number)
    wanted = targets[indices] if len(targets) else targets
    weights = sample_weights[indices] if len(sample_weights) else np.ones(len(indices))
    labels, job = labels[indices], job[0]
    losses, gradient, _ = _losses_and_gradient(values[-1], labels, wanted, weights, job)
    for i in range(bounds[0], bounds[-1]):
        row = slice(i, i + 1)
        _, _, right = _losses_and_gradient(
            values[-1][row], labels[row], wanted[row], weights[row], job
        )
        scores[ScoreRow.LOSS, i] = losses[i] * weights[i]
        scores[ScoreRow.RIGHT, i] = right
    for shard, (begin, end) in enumerate(itertools.pairwise(bounds)):
        own = np.zeros_like(gradient)
        own[begin:end] = gradient[begin:end]
        found = _backward(layers, parameters, columns, values, kept, own)
        for place, *_ in _pieces(layers):
            gradients[shard, place] = found[place]
    return True


def unpack_states(states, workspace, layers, tiles):
    """Do nothing: NumPy keeps states where they are."""


def pack_network(panels, layers, tiles, parameters):
    """Do nothing: NumPy reads weights where they are."""


def predict_rows(
    outputs, workspace, panels, layers, extended, tiles, parameters, inputs, block, finish
):
    """outputs (N, O) = `finish` (IDENTITY, SOFTMAX, SIGMOID, EXP) of the network on (N, I)."""
    for start in range(0, len(inputs), block):
        rows = slice(start, start + block)
        columns = columns_of(extended)
        if not all_finite(inputs[rows]) or not _have_codes(inputs[rows], columns):
            return start
        batch = inputs[rows].copy()
        _flush(batch)
        values = _forward(layers, parameters, batch, columns)[0][-1]
        if finish == Operation.SOFTMAX:
            softmax_forward(outputs[rows], values)
        else:
            activation_forward(outputs[rows], values, finish, 0.0)
    return len(inputs)


def predict_few(outputs, workspace, layers, extended, parameters, inputs, finish):
    """outputs (N, O) = as `predict_rows`, a row at a time."""
    rest = parameters, inputs, 1, finish
    return predict_rows(outputs, workspace, None, layers, extended, None, *rest)
