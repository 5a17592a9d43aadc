"""Every kernel again, in plain NumPy: the oracle of the tests, the shortest documentation, and
what runs where numba cannot (environment variable FASTNN_REFERENCE=1).

Same names, same parameters, same results to rounding. Matrix products are written with `@`, and
no NumPy function is used that `nnfs.init()` replaces.
"""

import numpy as np

from .catalogue import (
    LOSS_OF,
    MASKED,
    OPERATION_OF,
    RULE_OF,
    Loss,
    Rule,
    StepNumbers,
)
from .codes import SampleType


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
        dbiases[...] = _sum(doutputs)


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
    _flush(outputs)


def softmax_backward(dinputs, doutputs, outputs):
    """dinputs (B, C) = outputs * (doutputs - sum(doutputs * outputs)), the sum over each row."""
    dinputs[...] = outputs * (doutputs - (doutputs * outputs).sum(axis=1, keepdims=True))
    _flush(dinputs)


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
    _flush(dlogits)


def softmax_cross_entropy(losses, dlogits, logits, targets):
    """losses (B,) and dlogits (B, C), the gradient of their mean, from logits (B, C)."""
    probabilities = np.empty_like(logits)
    softmax_cross_entropy_forward(losses, probabilities, logits, targets)
    softmax_cross_entropy_backward(dlogits, probabilities, targets)


def philox(key, *counter):
    """Return the four words of random bits of counters of four words, arrays of one shape.

    Philox4x32-10; see `philox.py`. key: 64 bits, the low word first.
    """
    a, b, c, d = (np.asarray(word, np.uint64) & np.uint64(0xFFFFFFFF) for word in counter)
    low, high = int(key) & 0xFFFFFFFF, int(key) >> 32 & 0xFFFFFFFF
    for turn in range(10):
        x, y = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        first = np.uint64(low + turn * 0x9E3779B9 & 0xFFFFFFFF)
        second = np.uint64(high + turn * 0xBB67AE85 & 0xFFFFFFFF)
        a, b = (y >> np.uint64(32)) ^ b ^ first, y & np.uint64(0xFFFFFFFF)
        c, d = (x >> np.uint64(32)) ^ d ^ second, x & np.uint64(0xFFFFFFFF)
    return a, b, c, d


def dropout_forward(outputs, mask, inputs, rate, key, layer, step):
    """outputs (B, I) = inputs * mask; mask (B, I) is 0 with the probability `rate`, else its scale.

    Column j takes word j % 64 // 16 of the bits of (j // 64 * 16 + j % 16, row, step, layer).
    """
    rows, j = np.arange(len(inputs))[:, None], np.arange(inputs.shape[1])
    bits = np.choose(j % 64 // 16, philox(key, j // 64 * 16 + j % 16 + 0 * rows, rows, step, layer))
    kept = bits >= int(min(rate * 2.0**32, 2.0**32 - 1))
    mask[...] = np.where(kept, 1 / (1 - rate), 0)
    outputs[...] = np.where(kept, inputs * inputs.dtype.type(1 / (1 - rate)), 0)


def dropout_backward(dinputs, doutputs, mask):
    """dinputs (B, I) = doutputs * mask."""
    dinputs[...] = np.where(mask > 0, doutputs * mask, 0)


def _scales(variances, epsilon):
    return 1 / np.sqrt(variances + variances.dtype.type(epsilon))


def _sum(values, axis=0):
    """Return the sum along an axis that is kept: along the first one NumPy adds row by row."""
    return values.sum(axis=axis, keepdims=True, dtype=np.float64)


def _center(values, axis):
    """Return (mean, values - mean) along an axis that is kept, of nothing zeros.

    What the rounded mean lacks is taken from differences, which are exact where it matters.
    """
    count = max(values.shape[axis], 1)
    mean = (_sum(values, axis) / count).astype(values.dtype)
    distances = values - mean
    shift = (_sum(distances, axis) / count).astype(values.dtype)
    return mean + shift, distances - shift


def layer_norm_forward(outputs, normalized, scales, inputs, weights, biases, epsilon):
    """outputs (B, I) = normalized * weights (1, I) + biases (1, I), each row by itself."""
    # Exact; squares of larger numbers may overflow.
    widest, shrink = (2.0**50, 2.0**-80) if inputs.itemsize == 4 else (2.0**490, 2.0**-540)
    most = np.abs(inputs).max(axis=1, keepdims=True, initial=0)
    factors = np.where(most > widest, shrink, 1).astype(inputs.dtype)
    _, distances = _center(inputs * factors, 1)
    variances = (_sum(np.square(distances), 1) / max(inputs.shape[1], 1)).astype(inputs.dtype)
    alone = np.sqrt(inputs.dtype.type(epsilon)) * factors
    spread = np.sqrt(variances + inputs.dtype.type(epsilon) * factors * factors)
    found = 1 / np.where(variances == 0, alone, spread)
    scales[...] = (found * factors)[:, 0]
    normalized[...] = distances * found
    outputs[...] = normalized * weights + biases


def layer_norm_backward(dinputs, dweights, dbiases, doutputs, normalized, scales, weights):
    """Gradients of `layer_norm_forward`, given doutputs (B, I)."""
    g, count = doutputs * weights, max(doutputs.shape[1], 1)
    dweights[...] = _sum(doutputs * normalized)
    dbiases[...] = _sum(doutputs)
    mean = g.sum(axis=1, keepdims=True) / count
    product = (g * normalized).sum(axis=1, keepdims=True) / count
    dinputs[...] = (g - mean - normalized * product) * scales[:, None]


def batch_norm_forward(
    outputs, normalized, scales, means, variances, inputs, weights, biases, epsilon
):
    """outputs (B, I) = normalized * weights (1, I) + biases (1, I), each column by itself."""
    means[...], distances = _center(inputs, 0)
    variances[...] = _sum(np.square(distances)) / max(len(inputs), 1)
    scales[...] = _scales(variances, epsilon)
    normalized[...] = distances * scales
    outputs[...] = normalized * weights + biases


def batch_norm_backward(dinputs, dweights, dbiases, doutputs, normalized, scales, weights):
    """Gradients of `batch_norm_forward`, given doutputs (B, I)."""
    dweights[...] = _sum(doutputs * normalized)
    dbiases[...] = _sum(doutputs)
    means = (dbiases + normalized * dweights) / max(len(doutputs), 1)
    dinputs[...] = (doutputs - means) * (weights * scales)


def batch_norm_predict(outputs, inputs, weights, biases, running_mean, running_variance, epsilon):
    """outputs (B, I) = (inputs - running_mean) * scale + biases, with moments (1, I) of a run."""
    scale = weights * _scales(running_variance, epsilon)
    outputs[...] = (inputs - running_mean) * scale + biases


def running_update(running_mean, running_variance, means, variances, rows, momentum):
    """running = (1 - momentum) * running + momentum * new, in place, arrays (1, I)."""
    running_mean[...] = (1 - momentum) * running_mean + momentum * means
    unbiased = variances * (rows / max(rows - 1, 1))
    running_variance[...] = (1 - momentum) * running_variance + momentum * unbiased
    _flush(running_mean, running_variance)


def gather_rows(rows, source, indices):
    """rows (B, I) = source (N, I)[indices (B,)]."""
    rows[...] = source[indices]


_DTYPES = {getattr(SampleType, name.upper()): np.dtype(name) for name in (
    "uint8", "int8", "float16", "float32", "float64"
)}  # fmt: skip


def convert_rows(rows, source, layout, indices):
    """rows (B, I) = those at indices (B,) of `source` (bytes), converted and then scaled."""
    (place,), dtype = layout, rows.dtype.type
    shape = max(indices, default=-1) + 1, rows.shape[1]
    strides = place["row_step"], place["column_step"]
    numbers = np.ndarray(shape, _DTYPES[place["type"]], source, place["start"], strides)
    with np.errstate(over="ignore"):
        rows[...] = numbers[indices]
        if place["scale"] != 1 or place["offset"] != 0:
            rows *= dtype(place["scale"])
            rows += dtype(place["offset"])


def all_finite(values):
    """Return whether no element of `values`, of any shape, is NaN or infinite."""
    return bool(np.isfinite(values).all())


def sgd_update(parameters, gradients, learning_rate):
    """parameters = parameters - learning_rate * gradients, in place."""
    parameters -= learning_rate * gradients
    _flush(parameters)


def _slope(p, l1):
    """Return the slope of |l1| |p|: at 0 it is 0, or |l1| where l1 is below 0."""
    return np.where(p == 0, max(-l1, 0.0), abs(l1) * np.sign(p))


def optimizer_update(parameters, states, gradients, rule, step, scale, l1, l2):
    """Take one step of the optimizer `rule`, in place: parameters (P,), states (S, P)."""
    if rule not in RULE_OF:
        raise ValueError(f"rule is {rule}, which is none of {Rule}")
    row, (now,) = RULE_OF[rule], step
    # In float64: a factor of a very long gradient is no number of float32.
    g = (gradients + _slope(parameters, l1) + 2 * l2 * parameters) * np.float64(scale)
    g = g.astype(parameters.dtype)
    g = np.clip(g, -now["clip"], now["clip"]) + now["decay"] * parameters
    parameters *= now["shrink"]
    factors = StepNumbers(
        now["learning_rate"], now["first"], now["second"], now["epsilon"], now["correction"]
    )
    row.formula(parameters, states, g, factors)
    _flush(parameters, *states[: row.n_states])
    if now["average"]:
        averages = states[row.n_states]
        averages += parameters.dtype.type(now["average"]) * (parameters - averages)
        _flush(averages)


def _flush(*arrays):
    """Put 0 for subnormal numbers, with which arithmetic takes many times as long."""
    for values in arrays:
        values[np.abs(values) < np.finfo(values.dtype).tiny] = 0


def activation_forward(outputs, inputs, kind, number):
    """outputs = activation `kind` of the catalogue, of inputs, arrays of one shape."""
    with np.errstate(over="ignore"):
        outputs[...] = _activation(kind).forward(inputs, number)
    _flush(outputs)


def activation_backward(dinputs, doutputs, inputs, outputs, kind, number):
    """dinputs = doutputs * derivative at inputs, where the activation gave outputs."""
    with np.errstate(over="ignore"):
        dinputs[...] = doutputs * _activation(kind).slope(inputs, outputs, number)
    _flush(dinputs)


def _activation(kind):
    row = OPERATION_OF[kind]
    if not row.is_activation:
        raise KeyError(f"kind is {row.name}, which is no activation")
    return row


def _losses_and_slopes(z, y, kind, number):
    """Return the loss and the slope of every output, and how many of a row count (B,) or O."""
    if kind >= MASKED:
        known = ~np.isnan(y)
        # 0.5 is a valid target of every loss.
        parts = _losses_and_slopes(z, np.where(known, y, 0.5), kind - MASKED, number)
        losses, slopes = (np.where(known, part, 0) for part in parts[:2])
        return losses, slopes, np.maximum(known.sum(axis=1), 1)
    if kind not in LOSS_OF or LOSS_OF[kind].formula is None:
        raise ValueError(f"kind is {kind}, expected a loss of single outputs, of {Loss}")
    return *LOSS_OF[kind].formula(z, y, number), z.shape[1]


def loss_forward(losses, outputs, targets, kind, number):
    """losses (B,) = mean over each row of the loss `kind` of outputs and targets (B, O)."""
    each, _, counts = _losses_and_slopes(outputs, targets, kind, number)
    losses[...] = each.sum(axis=1) / counts


def loss_backward(doutputs, outputs, targets, kind, number):
    """doutputs (B, O) = gradient of the mean of the losses (B,) of `loss_forward`."""
    _, slopes, counts = _losses_and_slopes(outputs, targets, kind, number)
    doutputs[...] = slopes / (len(outputs) * np.reshape(counts, (-1, 1)))
    _flush(doutputs)


def embedding_forward(outputs, inputs, weights, columns):
    """outputs (B, O) = inputs (B, I) with a row of a table for each code; columns: see COLUMN."""
    for values, column in zip(inputs.T, columns, strict=True):
        count, size, table, place = column.tolist()
        if not count:
            outputs[:, place] = values
            continue
        rows = weights.reshape(-1)[table : table + count * size].reshape(count, size)
        right = _are_codes(values, count)
        outputs[:, place : place + size] = np.nan
        outputs[right, place : place + size] = rows[values[right].astype(np.int64)]


def embedding_backward(dinputs, dweights, doutputs, inputs, columns):
    """Gradients of `embedding_forward`."""
    dinputs[...], dweights[...] = 0, 0
    for i, (values, column) in enumerate(zip(inputs.T, columns, strict=True)):
        count, size, table, place = column.tolist()
        if not count:
            dinputs[:, i] = doutputs[:, place]
            continue
        rows = dweights.reshape(-1)[table : table + count * size].reshape(count, size)
        right = _are_codes(values, count)
        np.add.at(rows, values[right].astype(np.int64), doutputs[right, place : place + size])


def _are_codes(values, count):
    """Return which of some numbers are codes of `count` categories."""
    with np.errstate(invalid="ignore"):
        return (values >= 0) & (values < count) & (values == np.floor(values))


def _have_codes(inputs, columns):
    """Return whether each column of codes has nothing but codes."""
    counts = [] if columns is None else columns["n_categories"].tolist()
    pairs = zip(inputs.T, counts, strict=columns is not None)
    return all(_are_codes(values, count).all() for values, count in pairs if count)
