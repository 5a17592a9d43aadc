"""Categorical cross-entropy: from probabilities, and fused with softmax from logits.

`targets` is either labels (B,) of int64 or rows (B, C) of the dtype of the other arrays: one-hot
or soft. Losses are per sample, in float64 inside a kernel; gradients are those of their mean
over the batch, so 1/B stands in the gradient and nowhere else.
"""

import math

import numpy as np

from .jit import inner, kernel
from .simd import (
    element,
    fma,
    get,
    lanes,
    load,
    load_part,
    max_lanes,
    pointer,
    put,
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
            losses[i] = -math.log(clip(np.float64(probabilities[i, targets[i]]), epsilon))
        else:
            total = 0.0
            for j in range(classes):
                if targets[i, j] != 0.0:
                    p = clip(np.float64(probabilities[i, j]), epsilon)
                    total -= targets[i, j] * math.log(p)
            losses[i] = total


@kernel
def cross_entropy_backward(dprobabilities, probabilities, targets, epsilon):
    """dprobabilities (B, C) = -targets / clip(probabilities (B, C), epsilon) / B.

    Inverts losses = -sum(targets * log(clip(probabilities))). Where clipping holds a probability
    fixed, the slope at the bound is kept, so that a sure and wrong answer is still corrected.
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
def label_loss_row(result, logits, size, label):
    """result = exp(logits - max); return (loss of `label`, sum of result).

    loss = log(sum(exp(logits - max))) + max - logits[label]: finite where log(softmax) is not.
    The target's logit is read before the row is written: `result` may be `logits`.
    """
    largest = row_max(logits, size)
    target = get(logits + label)
    total = exp_row(result, logits, size, largest)
    return math.log(np.float64(total)) + (np.float64(largest) - np.float64(target)), total


@inner
def target_loss_row(result, logits, size, targets, weight):
    """result = exp(logits - max); return (loss of the row `targets`, sum of result).

    loss = sum(targets * (log(sum(exp(logits - max))) + max - logits)); `weight` = sum(targets).
    """
    largest = row_max(logits, size)
    step = lanes(logits)
    zero = splat(logits, 0.0)
    gaps = zero
    for j in range(0, size, step):
        rest = min(step, size - j)
        t = load_part(targets + j, rest, 0.0)
        # A target of 0 takes no part, even where its logit is -inf.
        gaps = fma(t, select(t > 0.0, load_part(logits + j, rest, 0.0) - largest, zero), gaps)
    gap = np.float64(sum_lanes(gaps))
    total = exp_row(result, logits, size, largest)
    return weight * math.log(np.float64(total)) - gap, total


@inner
def label_gradient_row(gradient, row, size, total, label, scale):
    """gradient = (row / total - one_hot(label)) * scale; `gradient` may be `row`.

    The probability is rounded before the rest, so the bits are those of a softmax that was kept
    and then differentiated (test_training.py: layers one by one give the bits of the epoch).
    """
    step = lanes(row)
    factor = element(row, 1.0 / total)
    wanted = get(row + label) * factor
    whole = size - size % step
    for j in range(0, whole, step):
        store(gradient + j, load(row + j) * factor * scale)
    if whole < size:
        rest = size - whole
        store_part(gradient + whole, load_part(row + whole, rest, 0.0) * factor * scale, rest)
    put(gradient + label, (wanted - 1.0) * scale)


@inner
def target_gradient_row(gradient, row, size, total, targets, weight, scale):
    """gradient = (row / total * weight - targets) * scale; `gradient` may be `row`."""
    step = lanes(row)
    factor = 1.0 / total
    for j in range(0, size, step):
        rest = min(step, size - j)
        p = load_part(row + j, rest, 0.0) * factor
        store_part(gradient + j, (p * weight - load_part(targets + j, rest, 0.0)) * scale, rest)


@inner
def sum_row(row, size):
    """Return the sum of `size` elements."""
    step = lanes(row)
    total = splat(row, 0.0)
    for j in range(0, size, step):
        total = total + load_part(row + j, min(step, size - j), 0.0)
    return np.float64(sum_lanes(total))


@inner
def is_first_max(logits, size, label):
    """Return whether `label` is the index of the largest logit, the first of equals."""
    target = get(logits + label)
    if not target >= row_max(logits, size):
        return False
    step = lanes(logits)
    for j in range(0, label, step):
        if max_lanes(load_part(logits + j, min(step, label - j), -np.inf)) >= target:
            return False
    return True


@kernel
def softmax_cross_entropy_forward(losses, probabilities, logits, targets):
    """losses (B,), probabilities (B, C) = softmax(logits (B, C)).

    losses = -sum(targets * log(probabilities)), formed as logsumexp(logits) - logits[target].
    """
    rows, classes = logits.shape
    for i in range(rows):
        row, result = pointer(logits) + i * classes, pointer(probabilities) + i * classes
        if targets.ndim == 1:
            losses[i], total = label_loss_row(result, row, classes, targets[i])
        else:
            wanted = pointer(targets) + i * classes
            weight = sum_row(wanted, classes)
            losses[i], total = target_loss_row(result, row, classes, wanted, weight)
        scale_row(result, classes, 1.0 / total)


@kernel
def softmax_cross_entropy_backward(dlogits, probabilities, targets):
    """dlogits (B, C) = (probabilities (B, C) * sum(targets) - targets) / B.

    Inverts losses = -sum(targets * log(softmax(logits))); the sum over a row of targets is 1 for
    labels and distributions.
    """
    rows, classes = probabilities.shape
    scale = 1.0 / rows
    for i in range(rows):
        row, result = pointer(probabilities) + i * classes, pointer(dlogits) + i * classes
        if targets.ndim == 1:
            label_gradient_row(result, row, classes, 1.0, targets[i], scale)
        else:
            wanted = pointer(targets) + i * classes
            weight = sum_row(wanted, classes)
            target_gradient_row(result, row, classes, 1.0, wanted, weight, scale)


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
            losses[i], total = label_loss_row(result, row, classes, targets[i])
            label_gradient_row(result, result, classes, total, targets[i], scale)
        else:
            wanted = pointer(targets) + i * classes
            weight = sum_row(wanted, classes)
            losses[i], total = target_loss_row(result, row, classes, wanted, weight)
            target_gradient_row(result, result, classes, total, wanted, weight, scale)
