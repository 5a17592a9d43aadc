"""Every kernel again, in plain NumPy: the oracle of the tests, the shortest documentation, and
what runs where numba cannot (environment variable FASTNN_REFERENCE=1).

Same names, same parameters, same results to rounding. Matrix products are written with `@`, and
no NumPy function is used that `nnfs.init()` replaces.
"""

import numpy as np

from . import table as t


def dense_forward(outputs, inputs, weights, biases):
    """outputs (B, O) = inputs (B, I) @ weights (I, O) + biases (1, O)."""
    outputs[...] = inputs @ weights + biases


def dense_backward(dinputs, dweights, dbiases, doutputs, inputs, weights):
    """Gradients of a dense layer; an output that is None is not computed."""
    if dinputs is not None:
        dinputs[...] = doutputs @ weights.T
    if dweights is not None:
        dweights[...] = inputs.T @ doutputs
    if dbiases is not None:
        dbiases[...] = doutputs.sum(axis=0, keepdims=True)


def relu_forward(outputs, inputs):
    """outputs (B, I) = max(inputs (B, I), 0)."""
    outputs[...] = np.where(inputs <= 0, 0, inputs)


def relu_backward(dinputs, doutputs, inputs):
    """dinputs (B, I) = doutputs (B, I) where inputs (B, I) > 0, else 0."""
    dinputs[...] = np.where(inputs <= 0, 0, doutputs)


def softmax_forward(outputs, inputs):
    """outputs (B, C) = softmax over each row of inputs (B, C)."""
    e = np.exp(inputs - inputs.max(axis=1, keepdims=True))
    outputs[...] = e / e.sum(axis=1, keepdims=True)


def softmax_backward(dinputs, doutputs, outputs):
    """dinputs (B, C) = outputs * (doutputs - sum(doutputs * outputs)), the sum over each row."""
    dinputs[...] = outputs * (doutputs - (doutputs * outputs).sum(axis=1, keepdims=True))


def _rows(targets, like):
    """Return `targets`, labels or rows, as rows (B, C)."""
    if targets.ndim == 2:
        return targets
    return (targets[:, None] == np.arange(like.shape[1])).astype(like.dtype)


def cross_entropy_forward(losses, probabilities, targets, epsilon):
    """losses (B,) = -sum(targets * log(clip(probabilities (B, C), epsilon))) over each row."""
    p = np.clip(probabilities.astype(np.float64), epsilon, 1 - epsilon)
    losses[...] = -(_rows(targets, p) * np.log(p)).sum(axis=1)


def cross_entropy_backward(dprobabilities, probabilities, targets, epsilon):
    """dprobabilities (B, C) = -targets / clip(probabilities (B, C), epsilon) / B."""
    p = np.clip(probabilities.astype(np.float64), epsilon, 1 - epsilon)
    dprobabilities[...] = -_rows(targets, p) / p / len(p)


def softmax_cross_entropy_forward(losses, probabilities, logits, targets):
    """losses (B,), probabilities (B, C) = softmax(logits (B, C))."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    wanted = _rows(targets, logits)
    losses[...] = np.where(wanted > 0, wanted * (log_sum - shifted), 0).sum(axis=1)
    softmax_forward(probabilities, logits)


def softmax_cross_entropy_backward(dlogits, probabilities, targets):
    """dlogits (B, C) = (probabilities (B, C) * sum(targets) - targets) / B."""
    wanted = _rows(targets, probabilities)
    weight = wanted.sum(axis=1, keepdims=True)
    dlogits[...] = (probabilities * weight - wanted) / len(wanted)


def softmax_cross_entropy(losses, dlogits, logits, targets):
    """losses (B,) and dlogits (B, C), the gradient of their mean, from logits (B, C)."""
    probabilities = np.empty_like(logits)
    softmax_cross_entropy_forward(losses, probabilities, logits, targets)
    softmax_cross_entropy_backward(dlogits, probabilities, targets)


def gather_rows(rows, source, indices):
    """rows (B, I) = source (N, I)[indices (B,)]."""
    rows[...] = source[indices]


def all_finite(values):
    """Return whether no element of `values`, of any shape, is NaN or infinite."""
    return bool(np.isfinite(values).all())


def sgd_update(parameters, gradients, learning_rate):
    """parameters = parameters - learning_rate * gradients, in place."""
    parameters -= learning_rate * gradients


def _dense_views(step, parameters):
    """Return the weights (I, O) and biases (1, O) of a row of the table, as views."""
    n_inputs, n_outputs = step[t.N_INPUTS], step[t.N_OUTPUTS]
    weights = parameters[step[t.WEIGHTS] :][: n_inputs * n_outputs].reshape(n_inputs, n_outputs)
    return weights, parameters[step[t.BIASES] :][:n_outputs].reshape(1, n_outputs)


def _forward(table, parameters, batch):
    """Return the inputs of every step of the table, and the logits behind the last."""
    values = [batch]
    for step in table:
        outputs = np.empty((len(batch), step[t.N_OUTPUTS]), batch.dtype)
        if step[t.OPERATION] == t.DENSE:
            dense_forward(outputs, values[-1], *_dense_views(step, parameters))
            if step[t.FINISH] == t.FINISH_RELU:
                relu_forward(outputs, outputs)
        elif step[t.OPERATION] == t.RELU:
            relu_forward(outputs, values[-1])
        else:
            softmax_forward(outputs, values[-1])
        values.append(outputs)
    return values


def _backward(table, parameters, values, gradient):
    """Return (weights, dweights, biases, dbiases) of every dense step, from the last to the first.

    `gradient` is the one of the loss with respect to the logits, `values` what `_forward` gave.
    """
    found = []
    for step, inputs, outputs in reversed(list(zip(table, values[:-1], values[1:], strict=True))):
        dinputs = np.empty_like(inputs)
        if step[t.OPERATION] == t.DENSE:
            weights, biases = _dense_views(step, parameters)
            dweights, dbiases = np.empty_like(weights), np.empty_like(biases)
            dense_backward(dinputs, dweights, dbiases, gradient, inputs, weights)
            found.append((weights, dweights, biases, dbiases))
            if step[t.BACKWARD_FINISH] == t.FINISH_MASK:
                relu_backward(dinputs, dinputs, inputs)
        elif step[t.OPERATION] == t.RELU:
            relu_backward(dinputs, gradient, inputs)
        else:
            softmax_backward(dinputs, gradient, outputs)
        gradient = dinputs
    return found


def train_steps(
    parameters, workspace, scores, barrier, table, inputs, labels, targets, order,
    first_step, last_step, batch_size, learning_rate, totals, repack, thread, threads,
):  # fmt: skip
    """Take the steps [first_step, last_step) of an epoch of gradient descent, in thread 0."""
    if thread > 0:
        return last_step
    for step in range(first_step, last_step):
        indices = order[step * batch_size : (step + 1) * batch_size]
        wanted = targets[indices] if len(targets) else labels[indices]
        values = _forward(table, parameters, inputs[indices])
        logits = values[-1]
        losses, dlogits = np.empty(len(logits)), np.empty_like(logits)
        softmax_cross_entropy(losses, dlogits, logits, wanted)
        if not np.isfinite(losses.sum()):
            return step
        totals[0] += losses.sum()
        totals[1] += (logits.argmax(axis=1) == labels[indices]).sum()
        for weights, dweights, biases, dbiases in _backward(table, parameters, values, dlogits):
            sgd_update(weights, dweights, learning_rate)
            sgd_update(biases, dbiases, learning_rate)
    return last_step


def pack_network(panels, table, parameters):
    """Do nothing: NumPy reads weights where they are."""


def predict_rows(outputs, workspace, panels, table, parameters, inputs, block, normalise):
    """outputs (N, C) = the network's logits for inputs (N, I), or their softmax if `normalise`."""
    for start in range(0, len(inputs), block):
        rows = slice(start, start + block)
        if not all_finite(inputs[rows]):
            return start
        logits = _forward(table, parameters, inputs[rows])[-1]
        if normalise:
            softmax_forward(outputs[rows], logits)
        else:
            outputs[rows] = logits
    return len(inputs)


def predict_few(outputs, workspace, table, parameters, inputs, normalise):
    """outputs (N, C) = as `predict_rows`, a row at a time."""
    return predict_rows(outputs, workspace, None, table, parameters, inputs, 1, normalise)
