"""Losses of single outputs: regression, and yes-or-no questions side by side.

The loss of a sample is the mean over its O outputs. One loop serves all kinds: the branch on the
kind is the same for every vector.
"""

import numpy as np

from .catalogue import Loss
from .elementary import exp, expm1, log
from .float_bits import cut
from .jit import inner, kernel
from .pointers import get, is_null, null, pointer
from .simd import fma, keep, lanes, load_part, select, splat, store_part, sum_lanes


@inner
def loss_vector(kind, z, t, number):
    """Return (loss, slope) of outputs z and targets t, lane by lane.

    The classes in `fastnn/nn/losses.py` have the formulas. `number` is the delta of Huber's loss,
    the q of a quantile, or the epsilon of probabilities.
    """
    zero, one = splat(z, 0.0), splat(z, 1.0)
    d = z - t
    if kind == Loss.BINARY_FROM_LOGITS:
        # log(1 + e**z) - t z, in a form that cannot overflow.
        size = select(z > 0.0, z, zero - z)
        e = exp(zero - size)
        u = e + 1.0
        loss = select(z > 0.0, z, zero) - z * t + (log(u) + (e - (u - 1.0)) / u)
        return loss, select(z > 0.0, one, e) / u - t
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
def loss_row(gradient, outputs, targets, size, kind, number, scale):
    """gradient = slopes of the mean loss of one sample, times `scale`; return the mean loss.

    `gradient` may be `outputs`, or null. NaN outputs give a NaN loss.
    """
    step = lanes(outputs)
    total = splat(outputs, 0.0)
    factor = scale / size
    for j in range(0, size, step):
        rest = min(step, size - j)
        # The lanes after the end hold 0.5, which is valid for every loss.
        z, t = load_part(outputs + j, rest, 0.5), load_part(targets + j, rest, 0.5)
        loss, slope = loss_vector(kind, z, t, number)
        if not is_null(gradient):
            store_part(gradient + j, cut(slope * factor), rest)
        total = total + keep(loss, rest)
    return np.float64(sum_lanes(total)) / size


@inner
def count_answers(outputs, targets, size, kind, number):
    """Return the fraction of one sample's answers that are right.

    With a squared or absolute error, those that are less than `number` away from the target.
    """
    right = 0
    if kind == Loss.SQUARED_ERROR or kind == Loss.ABSOLUTE_ERROR:
        for j in range(size):
            right += abs(np.float64(get(outputs + j)) - np.float64(get(targets + j))) < number
    else:
        threshold = 0.0 if kind == Loss.BINARY_FROM_LOGITS else 0.5
        for j in range(size):
            right += (get(outputs + j) > threshold) == (get(targets + j) > 0.5)
    return right / size


@kernel
def loss_forward(losses, outputs, targets, kind, number):
    """losses (B,) = mean over each row of the loss `kind` of outputs and targets (B, O)."""
    rows, size = outputs.shape
    for i in range(rows):
        at = i * size
        losses[i] = loss_row(
            null(pointer(outputs)),
            pointer(outputs) + at,
            pointer(targets) + at,
            size,
            kind,
            number,
            0.0,
        )


@kernel
def loss_backward(doutputs, outputs, targets, kind, number):
    """doutputs (B, O) = gradient of the mean of the losses (B,) of `loss_forward`."""
    rows, size = outputs.shape
    for i in range(rows):
        at = i * size
        loss_row(
            pointer(doutputs) + at,
            pointer(outputs) + at,
            pointer(targets) + at,
            size,
            kind,
            number,
            1.0 / rows,
        )
