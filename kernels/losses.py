"""Losses of single outputs: regression, and yes-or-no questions side by side.

The loss of a sample is the mean over its O outputs. One loop serves all kinds: the branch on the
kind is the same for every vector.
"""

import numpy as np

from .catalogue import MASKED, Loss
from .elementary import exp, expm1, log
from .float_bits import cut
from .jit import inner, kernel
from .pointers import element, get, is_null, null, pointer, put
from .simd import fma, keep, lanes, load_part, select, splat, store_part, sum_lanes


@inner
def loss_vector(kind, z, t, number):
    """Return (loss, slope) of outputs z and targets t, lane by lane.

    The classes in `fastnn/nn/losses.py` have the formulas. `number` is the delta of Huber's loss,
    the q of a quantile, the epsilon of probabilities, or the weight of a yes to logits, where 0
    means 1.
    """
    zero, one = splat(z, 0.0), splat(z, 1.0)
    d = z - t
    if kind == Loss.BINARY_FROM_LOGITS:
        # log(1 + e**z) - t z, in a form that cannot overflow.
        size = select(z > 0.0, z, zero - z)
        e = exp(zero - size)
        u = e + 1.0
        rest = log(u) + (e - (u - 1.0)) / u
        loss = select(z > 0.0, z, zero) - z * t + rest
        slope = select(z > 0.0, one, e) / u - t
        if number > 0.0:
            # A part t of the answer is yes, and costs log(1 + e**-z) more, `number` - 1 times.
            more = t * (number - 1.0)
            loss = fma(more, select(z > 0.0, zero, zero - z) + rest, loss)
            slope = fma(more, zero - select(z > 0.0, e, one) / u, slope)
        return loss, slope
    if kind == Loss.BINARY_FROM_PROBABILITIES:
        p = select(z < number, splat(z, number), z)
        p = select(p > 1.0 - number, splat(z, 1.0 - number), p)
        loss = zero - fma(t, log(p), (one - t) * log(one - p))
        return loss, (p - t) / (p * (one - p))
    if kind == Loss.SQUARED_ERROR:
        return d * d, d * 2.0
    if kind == Loss.POISSON:
        # e**z - t - t d with d = z - log(t). Near d = 0 the terms cancel, and t (e**d - 1 - d) has
        # the digits; far from it e**d may overflow where e**z does not.
        rate = exp(z)
        d = z - log(select(t > 0.0, t, one))
        near = t * (expm1(select(d > 1.0, zero, d)) - d)
        loss = select(d > 1.0, rate - t - t * d, near)
        return select(t > 0.0, loss, rate), rate - t
    sign = select(d > 0.0, one, select(d < 0.0, zero - one, zero))
    size = d * sign
    if kind == Loss.ABSOLUTE_ERROR:
        return size, sign
    if kind == Loss.HUBER:
        inside = size <= number
        return (
            select(inside, d * d * 0.5, (size - 0.5 * number) * number),
            select(inside, d, sign * number),
        )
    if kind == Loss.QUANTILE:  # an answer too low costs q, one too high 1 - q
        slope = select(d > 0.0, splat(z, 1.0 - number), select(d < 0.0, splat(z, -number), zero))
        return d * slope, slope
    return splat(z, np.nan), splat(z, np.nan)  # no such loss


@inner
def loss_run(gradient, outputs, targets, size, kind, number, factor):
    """gradient = slopes of the losses of some outputs, times `factor`; return the sum of losses.

    `gradient` may be `outputs`, or null. NaN outputs give a NaN loss. No target is left out: the
    kernels take a sample run by run, see `next_run`. With a branch for that in here, LLVM does not
    inline the function, which takes 5 ns a sample.
    """
    step = lanes(outputs)
    total = splat(outputs, 0.0)
    for j in range(0, size, step):
        rest = min(step, size - j)
        # The lanes after the end hold 0.5, which is valid for every loss.
        z, t = load_part(outputs + j, rest, 0.5), load_part(targets + j, rest, 0.5)
        loss, slope = loss_vector(kind, z, t, number)
        if not is_null(gradient):
            store_part(gradient + j, cut(slope * factor), rest)
        total = total + keep(loss, rest)
    return np.float64(sum_lanes(total))


@inner
def next_run(targets, size, masks):
    """Return how many of the first targets count: all, or those before the first NaN."""
    if masks:
        for j in range(size):
            if get(targets + j) != get(targets + j):
                return j
    return size


@inner
def count_targets(targets, size, masks):
    """Return over how many targets of one sample the mean is: at least 1."""
    if not masks:
        return size
    known = 0
    for j in range(size):
        known += get(targets + j) == get(targets + j)
    return max(known, 1)


@inner
def count_answers(outputs, targets, size, kind, number):
    """Return the fraction of one sample's answers that are right.

    With a squared or absolute error, those that are less than `number` away from the target. For a
    kind with MASKED the fraction is that of the targets that are not NaN, and 0 without one.
    """
    right, masks, count = 0, kind >= MASKED, size
    if masks:
        kind, count = kind - MASKED, count_targets(targets, size, masks)
    if kind == Loss.SQUARED_ERROR or kind == Loss.ABSOLUTE_ERROR:
        for j in range(size):
            right += abs(np.float64(get(outputs + j)) - np.float64(get(targets + j))) < number
    else:
        threshold = 0.0 if kind == Loss.BINARY_FROM_LOGITS else 0.5
        for j in range(size):
            is_known = not masks or get(targets + j) == get(targets + j)
            right += is_known and (get(outputs + j) > threshold) == (get(targets + j) > 0.5)
    return right / count


@kernel
def loss_forward(losses, outputs, targets, kind, number):
    """losses (B,) = mean over each row of the loss `kind` of outputs and targets (B, O).

    With MASKED added to `kind`, the mean over the targets that are not NaN, and 0 without one.
    """
    rows, size = outputs.shape
    masks, code = kind >= MASKED, kind % MASKED
    for i in range(rows):
        z, t = pointer(outputs) + i * size, pointer(targets) + i * size
        total, j = 0.0, 0
        while j < size:
            run = next_run(t + j, size - j, masks)
            if run > 0:
                total += loss_run(null(z), z + j, t + j, run, code, number, 0.0)
            j += max(run, 1)
        losses[i] = total / count_targets(t, size, masks)


@kernel
def loss_backward(doutputs, outputs, targets, kind, number):
    """doutputs (B, O) = gradient of the mean of the losses (B,) of `loss_forward`."""
    rows, size = outputs.shape
    masks, code = kind >= MASKED, kind % MASKED
    for i in range(rows):
        z, t = pointer(outputs) + i * size, pointer(targets) + i * size
        gradient = pointer(doutputs) + i * size
        factor, j = 1.0 / rows / count_targets(t, size, masks), 0
        while j < size:
            run = next_run(t + j, size - j, masks)
            if run > 0:
                loss_run(gradient + j, z + j, t + j, run, code, number, factor)
            else:
                put(gradient + j, element(z, 0.0))
            j += max(run, 1)
