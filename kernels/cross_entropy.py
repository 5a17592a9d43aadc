"""Categorical cross-entropy: from probabilities, and fused with softmax from logits.

`targets` is either labels (B,) of int64 or rows (B, C) of the dtype of the other arrays: one-hot
or soft. Losses are per sample, in float64 inside a kernel; gradients are those of their mean
over the batch, so 1/B stands in the gradient and nowhere else.
"""

import numpy as np

from .elementary import exp, log
from .float_bits import cut
from .jit import inner, kernel
from .pointers import element, get, pointer, put
from .simd import (
    broadcast,
    first_lane,
    first_true,
    fma,
    lanes,
    load,
    load_part,
    max_lanes,
    one_hot_lanes,
    select,
    splat,
    store,
    store_part,
    sum_lanes,
)
from .softmax import exp_row, row_max, scale_row


@inner
def clip(probability, epsilon):
    """Return the probability moved into [epsilon, 1 - epsilon]; NaN stays."""
    if probability < epsilon:
        return epsilon
    if probability > 1.0 - epsilon:
        return 1.0 - epsilon
    return probability


@kernel
def cross_entropy_forward(losses, probabilities, targets, epsilon):
    """losses (B,) = -sum(targets * log(clip(probabilities (B, C), epsilon))) over each row."""
    rows, classes = probabilities.shape
    for i in range(rows):
        if targets.ndim == 1:
            losses[i] = -log_number(clip(np.float64(probabilities[i, targets[i]]), epsilon))
        else:
            total = 0.0
            for j in range(classes):
                if targets[i, j] != 0.0:
                    p = clip(np.float64(probabilities[i, j]), epsilon)
                    total -= targets[i, j] * log_number(p)
            losses[i] = total


@kernel
def cross_entropy_backward(dprobabilities, probabilities, targets, epsilon):
    """dprobabilities (B, C) = -targets / clip(probabilities (B, C), epsilon) / B.

    The gradient of losses = -sum(targets * log(clip(probabilities))). A clipped probability has the
    slope at the bound, not 0, so that a certain but wrong answer is still corrected.
    """
    rows, classes = probabilities.shape
    for i in range(rows):
        if targets.ndim == 1:
            p = clip(np.float64(probabilities[i, targets[i]]), epsilon)
            for j in range(classes):
                dprobabilities[i, j] = 0.0
            dprobabilities[i, targets[i]] = -1.0 / p / rows
        else:
            for j in range(classes):
                p = clip(np.float64(probabilities[i, j]), epsilon)
                dprobabilities[i, j] = -targets[i, j] / p / rows


@inner
def is_first_max(logits, label, largest):
    """Return whether the logit of `label` is `largest`, and none before it is."""
    if not get(logits + label) >= largest:
        return False
    step = lanes(logits)
    for j in range(0, label, step):
        if max_lanes(load_part(logits + j, min(step, label - j), -np.inf)) >= largest:
            return False
    return True


@inner
def label_row(gradient, logits, size, label, scale):
    """gradient = (softmax(logits) - one_hot(label)) * scale; `gradient` may be `logits`.

    Return (gap, total, right): the loss is log(total) + gap, where total = sum(exp(logits - max))
    and gap = max - logits[label]: finite where log(softmax) is not. `right` is whether the label
    has the largest logit, the first of equals.
    """
    target = get(logits + label)
    if size <= lanes(logits):
        # In registers: reading back what a masked store has just written would stall.
        x = load_part(logits, size, -np.inf)
        largest = max_lanes(x)
        right = first_true(x == largest) == label
        e = exp(x - largest)
        total = sum_lanes(e)
        p = cut(e * (1.0 / total))
        store_part(gradient, cut((p - one_hot_lanes(p, label)) * scale), size)
    else:
        largest = row_max(logits, size)
        right = is_first_max(logits, label, largest)
        total = exp_row(gradient, logits, size, largest)
        label_gradient_row(gradient, gradient, size, total, label, scale)
    return np.float64(largest) - np.float64(target), np.float64(total), right


@inner
def smooth_row(gradient, logits, size, label, smoothing, scale):
    """As `label_row`, for (1 - smoothing) * one_hot(label) + smoothing / size.

    Szegedy and others, "Rethinking the Inception Architecture" (2016), section 7.
    """
    largest = row_max(logits, size)
    right = is_first_max(logits, label, largest)
    step = lanes(logits)
    gaps = splat(logits, 0.0)
    for j in range(0, size, step):
        rest = min(step, size - j)
        gaps = gaps + (largest - load_part(logits + j, rest, largest))
    gap = np.float64(largest) - np.float64(get(logits + label))
    gap = (1.0 - smoothing) * gap + smoothing / size * np.float64(sum_lanes(gaps))
    total = exp_row(gradient, logits, size, largest)
    factor = 1.0 / total
    for j in range(0, size, step):
        rest = min(step, size - j)
        p = load_part(gradient + j, rest, 0.0) * factor
        store_part(gradient + j, (p - smoothing / size) * scale, rest)
    put(gradient + label, get(gradient + label) - element(logits, (1.0 - smoothing) * scale))
    return gap, np.float64(total), right


@inner
def target_row(gradient, logits, size, targets, label, scale):
    """gradient = (softmax(logits) * sum(targets) - targets) * scale; it may be `logits`.

    Return (gap, total, right, weight): the loss is weight * log(total) + gap, where weight =
    sum(targets) and gap = sum(targets * (max - logits)).
    """
    largest = row_max(logits, size)
    right = is_first_max(logits, label, largest)
    weight = sum_row(targets, size)
    gap = target_gap(logits, size, targets, largest)
    total = exp_row(gradient, logits, size, largest)
    target_gradient_row(gradient, gradient, size, total, targets, weight, scale)
    return gap, np.float64(total), right, weight


@inner
def target_gap(logits, size, targets, largest):
    """Return sum(targets * (largest - logits))."""
    step = lanes(logits)
    zero = splat(logits, 0.0)
    gaps = zero
    for j in range(0, size, step):
        rest = min(step, size - j)
        t = load_part(targets + j, rest, 0.0)
        # A target of 0 adds 0, even if its logit is -inf.
        gap = select(t > 0.0, largest - load_part(logits + j, rest, 0.0), zero)
        gaps = fma(t, gap, gaps)
    return np.float64(sum_lanes(gaps))


@inner
def label_gradient_row(gradient, row, size, total, label, scale):
    """gradient = (row / total - one_hot(label)) * scale; `gradient` may be `row`.

    Each operation is rounded to the dtype, so the bits are those of a softmax that is stored first
    and then differentiated (test_training.py: layers one by one give the bits of the epoch).
    """
    step = lanes(row)
    factor = element(row, 1.0 / total)
    difference = element(row, get(row + label) * factor - 1.0)
    whole = size - size % step
    for j in range(0, whole, step):
        store(gradient + j, cut(cut(load(row + j) * factor) * scale))
    if whole < size:
        rest = size - whole
        p = cut(load_part(row + whole, rest, 0.0) * factor)
        store_part(gradient + whole, cut(p * scale), rest)
    put(gradient + label, difference * element(row, scale))


@inner
def target_gradient_row(gradient, row, size, total, targets, weight, scale):
    """gradient = (row / total * weight - targets) * scale; `gradient` may be `row`."""
    step = lanes(row)
    factor = 1.0 / total
    for j in range(0, size, step):
        rest = min(step, size - j)
        p = cut(load_part(row + j, rest, 0.0) * factor)
        d = (p * weight - load_part(targets + j, rest, 0.0)) * scale
        store_part(gradient + j, cut(d), rest)


@inner
def sum_row(row, size):
    """Return the sum of `size` elements."""
    step = lanes(row)
    total = splat(row, 0.0)
    for j in range(0, size, step):
        total = total + load_part(row + j, min(step, size - j), 0.0)
    return np.float64(sum_lanes(total))


@inner
def log_number(x):
    """Return the natural logarithm of one float64, with the bits of `log` on a vector."""
    return first_lane(log(broadcast(x)))


@kernel
def softmax_cross_entropy_forward(losses, probabilities, logits, targets):
    """losses (B,), probabilities (B, C) = softmax(logits (B, C)).

    losses = -sum(targets * log(probabilities)), formed as logsumexp(logits) - logits[target].
    """
    rows, classes = logits.shape
    for i in range(rows):
        row, result = pointer(logits) + i * classes, pointer(probabilities) + i * classes
        largest = row_max(row, classes)
        if targets.ndim == 1:
            gap, weight = np.float64(largest) - np.float64(get(row + targets[i])), 1.0
        else:
            row_targets = pointer(targets) + i * classes
            gap = target_gap(row, classes, row_targets, largest)
            weight = sum_row(row_targets, classes)
        total = exp_row(result, row, classes, largest)
        losses[i] = weight * log_number(np.float64(total)) + gap
        scale_row(result, classes, 1.0 / total)


@kernel
def softmax_cross_entropy_backward(dlogits, probabilities, targets):
    """dlogits (B, C) = (probabilities (B, C) * sum(targets) - targets) / B.

    The gradient of losses = -sum(targets * log(softmax(logits))). The sum over a row of targets is
    1 for labels and distributions.
    """
    rows, classes = probabilities.shape
    scale = 1.0 / rows
    for i in range(rows):
        row, result = pointer(probabilities) + i * classes, pointer(dlogits) + i * classes
        if targets.ndim == 1:
            label_gradient_row(result, row, classes, 1.0, targets[i], scale)
        else:
            row_targets = pointer(targets) + i * classes
            weight = sum_row(row_targets, classes)
            target_gradient_row(result, row, classes, 1.0, row_targets, weight, scale)


@kernel
def softmax_cross_entropy(losses, dlogits, logits, targets):
    """losses (B,) and dlogits (B, C), the gradient of their mean, from logits (B, C) in one pass.

    dlogits = (softmax(logits) * sum(targets) - targets) / B. `dlogits` may be `logits`.
    """
    rows, classes = logits.shape
    scale = 1.0 / rows
    for i in range(rows):
        row, result = pointer(logits) + i * classes, pointer(dlogits) + i * classes
        if targets.ndim == 1:
            gap, total, _ = label_row(result, row, classes, targets[i], scale)
            weight = 1.0
        else:
            row_targets = pointer(targets) + i * classes
            gap, total, _, weight = target_row(result, row, classes, row_targets, 0, scale)
        losses[i] = weight * log_number(total) + gap
