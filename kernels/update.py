"""Optimizer steps: element-wise on flat buffers.

One loop serves all rules. The branch on the rule is the same for every vector, so it costs
nothing beside the loads and stores.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .catalogue import Rule
from .emit import emit_stack
from .float_bits import flushed
from .groups import is_adaptive, n_states_of
from .jit import inner, kernel
from .pointers import get, pointer
from .simd import (
    by_dtype,
    fma,
    lanes,
    load,
    load_part,
    select,
    splat,
    sqrt,
    store,
    store_part,
    sum_lanes,
)

SHAPED = 1024
"""How many gradients are shaped at a time: they stay in the L1 cache."""


@intrinsic
def stack_gradients(typingctx, like):
    """Return a pointer to SHAPED elements on the stack, valid until the caller returns."""

    def codegen(context, builder, sig, args):
        return emit_stack(context, builder, like, SHAPED)

    return like(like), codegen


@inner
def descend(parameters, gradients, size, rate):
    """parameters = parameters - rate * gradients, over `size` elements at two pointers."""
    step = lanes(parameters)
    factor = splat(parameters, -rate)
    whole = size - size % step
    for i in range(0, whole, step):
        p = fma(factor, load(gradients + i), load(parameters + i))
        store(parameters + i, flushed(p))
    if whole < size:
        rest = size - whole
        g = load_part(gradients + whole, rest, 0.0)
        p = load_part(parameters + whole, rest, 0.0)
        store_part(parameters + whole, flushed(fma(factor, g, p)), rest)


@inner
def slope_of(p, l1):
    """Return the slope of |l1| |p|: at 0 it is 0, or |l1| where l1 is below 0.

    The latter is the slope in networks from scratch. It moves the zeros that pad a panel of
    weights, too: whoever calls this writes them anew.
    """
    size = abs(l1)
    at_zero = splat(p, 0.5 * (size - l1))
    return select(p > 0.0, splat(p, size), select(p < 0.0, splat(p, -size), at_zero))


@inner
def sign_of(x):
    """Return 1, -1 or 0 for each lane of a vector; NaN stays."""
    one = splat(x, 1.0)
    return select(x > 0.0, one, select(x < 0.0, splat(x, -1.0), x))


class Factors(NamedTuple):
    """What `follow_vector` takes of a STEP."""

    learning_rate: float
    first: float
    second: float
    epsilon: float
    correction: float
    decay: float
    shrink: float
    clip: float


@inner
def shape_gradients(shaped, parameters, gradients, size, factors, scale, l1, l2):
    """shaped = gradients as the rule takes them: with penalties and decay, scaled and clipped.

    The parameters shrink in place. `scale`: two factors of the gradients.
    """
    step = lanes(parameters)
    for i in range(0, size, step):
        rest = min(step, size - i)
        p, g = load_part(parameters + i, rest, 0.0), load_part(gradients + i, rest, 0.0)
        zero = splat(p, 0.0)
        # The penalty l1 |p| + l2 p**2 is a part of the loss, so its slope comes before all else.
        slope = slope_of(p, l1)
        # A factor far below 1 comes in two parts: as one it would be subnormal, or 0, in float32.
        g = (fma(splat(p, 2.0 * l2), p, g) + slope) * scale[0] * scale[1]
        limit = splat(p, factors.clip)
        g = select(g > limit, limit, g)
        g = select(g < zero - limit, zero - limit, g)
        store_part(shaped + i, fma(splat(p, factors.decay), p, g), rest)
        store_part(parameters + i, p * factors.shrink, rest)


@inner
def follow_vector(rule, adaptive, factors, p, g, a, b, c):
    """Return (p, a, b, c): parameters after one step along gradients g, and their state.

    The formula of each rule, and its source, stands with its class in `fastnn/nn/optimizers.py`.
    """
    if adaptive:
        return adaptive_vector(rule, factors, p, g, a, b, c)
    p, a = plain_vector(rule, factors, p, g, a)
    return p, a, b, c


@inner
def plain_vector(rule, factors, p, g, a):
    """Return (p, a): as `follow_vector`, for the rules that have at most one state."""
    back, first = splat(p, -factors.learning_rate), splat(p, factors.first)
    if rule == Rule.DESCENT or rule == Rule.FUSED_DESCENT:
        return fma(back, g, p), a
    if rule == Rule.MOMENTUM or rule == Rule.NESTEROV:
        a = fma(first, a, g)
        if rule == Rule.NESTEROV:
            return fma(back, fma(first, a, g), p), a
        return fma(back, a, p), a
    if rule == Rule.VELOCITY or rule == Rule.LOOKAHEAD:
        a = fma(first, a, back * g)
        if rule == Rule.LOOKAHEAD:
            return fma(first, a, fma(back, g, p)), a
        return p + a, a
    if rule == Rule.LION:
        second = factors.second
        direction = sign_of(fma(first, a, g * (1.0 - factors.first)))
        return fma(back, direction, p), fma(splat(p, second), a, g * (1.0 - second))
    return splat(p, np.nan), a  # no such rule


@inner
def adaptive_vector(rule, factors, p, g, a, b, c):
    """Return (p, a, b, c): as `follow_vector`, for the rules of `is_adaptive`."""
    back, first, second = splat(p, -factors.learning_rate), splat(p, factors.first), factors.second
    g = squarable(g)
    if rule == Rule.ADAGRAD:
        a = fma(g, g, a)
        size, direction = a, g
    elif rule == Rule.RMSPROP:
        a = fma(splat(p, second), a, (g * g) * (1.0 - second))
        size, direction = a, g
    elif rule == Rule.ADAM or rule == Rule.AMSGRAD:
        a = fma(first, a, g * (1.0 - factors.first))
        b = fma(splat(p, second), b, (g * g) * (1.0 - second))
        size, direction = b, a
        if rule == Rule.AMSGRAD:
            c = select(b > c, b, c)
            size = c
    else:
        return splat(p, np.nan), a, b, c  # no such rule
    scale = fma(sqrt(size), splat(p, factors.correction), splat(p, factors.epsilon))
    return fma(back, direction / scale, p), a, b, c


def squarable(x):
    """Return the vector `x` with 0 for lanes whose square is subnormal (jitted code only).

    As `simd.flushed`: the penalty alone leaves such gradients, step after step.
    """
    raise NotImplementedError("kernels.update.squarable runs in jitted code only")


@overload(squarable)
def _squarable(x):
    smallest = 2.0**-63 if x.dtype == types.float32 else 2.0**-511

    def squarable_vector(x):
        zero = splat(x, 0.0)
        return select(select(x < zero, zero - x, x) < smallest, zero, x)

    return squarable_vector


@inner
def follow(
    parameters, gradients, states, distance, size, rule, now, scale, l1, l2, is_bias,
):  # fmt: skip
    """Take one step of an optimizer for `size` parameters.

    `states`: pointer to the first state of each; the next ones lie `distance` behind. `now` is a
    record, STEP. `scale` multiplies the gradients. `is_bias`: whether weight decay may spare them.
    """
    decay, shrink = now.decay, now.shrink
    if is_bias and now.spares_biases != 0.0:
        decay, shrink = 0.0, 1.0
    # As plain values: from the record they would be read again behind every store.
    factors = Factors(
        now.learning_rate, now.first, now.second, now.epsilon, now.correction,
        decay, shrink, now.clip,
    )  # fmt: skip
    if l1 == 0.0 and l2 == 0.0 and scale == 1.0 and is_bare(factors):
        follow_shaped(parameters, gradients, states, distance, size, rule, factors)
    else:
        parts = (2.0**-64, scale * 2.0**64) if scale < 2.0**-64 else (1.0, scale)
        shaped = stack_gradients(parameters)
        for i in range(0, size, SHAPED):
            count = min(SHAPED, size - i)
            p = parameters + i
            shape_gradients(shaped, p, gradients + i, count, factors, parts, l1, l2)
            follow_shaped(p, shaped, states + i, distance, count, rule, factors)
    if now.average != 0.0:
        average(states + n_states_of(rule) * distance, parameters, size, now.average)


@inner
def average(averages, parameters, size, part):
    """averages = averages + part * (parameters - averages), over `size` elements."""
    step = lanes(parameters)
    factor = splat(parameters, part)
    for i in range(0, size, step):
        rest = min(step, size - i)
        p, a = load_part(parameters + i, rest, 0.0), load_part(averages + i, rest, 0.0)
        store_part(averages + i, flushed(fma(factor, p - a, a)), rest)


@inner
def is_bare(factors):
    """Return whether a step takes gradients and parameters as they are."""
    return factors.decay == 0.0 and factors.shrink == 1.0 and factors.clip == np.inf


@inner
def follow_shaped(parameters, gradients, states, distance, size, rule, factors):
    """As `follow`, along gradients that `shape_gradients` gave, or that need nothing of it."""
    step = lanes(parameters)
    count = n_states_of(rule)
    whole = size - size % step
    # A loop for each group of rules: LLVM takes the choice of a rule out of a loop as long as there
    # are few. In one loop for all a step of Adam on 64-64-10 took 30 % longer.
    if is_adaptive(rule):
        for i in range(0, whole, step):  # the constant `step` makes plain loads of masked ones
            follow_lanes(
                parameters + i, gradients + i, states + i, distance, step, count,
                rule, True, factors,
            )  # fmt: skip
    else:
        for i in range(0, whole, step):
            follow_lanes(
                parameters + i, gradients + i, states + i, distance, step, count,
                rule, False, factors,
            )  # fmt: skip
    if whole < size:
        follow_lanes(
            parameters + whole, gradients + whole, states + whole, distance, size - whole, count,
            rule, is_adaptive(rule), factors,
        )  # fmt: skip


@inner
def follow_lanes(parameters, gradients, states, distance, rest, count, rule, adaptive, factors):
    """Take one step for `rest` parameters, at most a vector; each has `count` states."""
    p, g = load_part(parameters, rest, 0.0), load_part(gradients, rest, 0.0)
    # The gradient of a parameter that is not finite is NaN, as it is with any penalty or decay.
    g = fma(splat(p, 0.0), p, g)
    a = b = c = splat(parameters, 0.0)
    if count > 0:
        a = load_part(states, rest, 0.0)
    if count > 1:
        b = load_part(states + distance, rest, 0.0)
    if count > 2:
        c = load_part(states + 2 * distance, rest, 0.0)
    p, a, b, c = follow_vector(rule, adaptive, factors, p, g, a, b, c)
    if count > 0:
        store_part(states, flushed(a), rest)
    if count > 1:
        store_part(states + distance, flushed(b), rest)
    if count > 2:
        store_part(states + 2 * distance, flushed(c), rest)
    store_part(parameters, flushed(p), rest)


@inner
def add_slopes(gradients, parameters, size, l1, l2):
    """gradients = gradients + slopes of the penalty l1 |p| + l2 p**2."""
    if l1 == 0.0 and l2 == 0.0:
        return
    step = lanes(parameters)
    for i in range(0, size, step):
        rest = min(step, size - i)
        p, g = load_part(parameters + i, rest, 0.0), load_part(gradients + i, rest, 0.0)
        slope = slope_of(p, l1)
        store_part(gradients + i, fma(splat(p, 2.0 * l2), p, g) + slope, rest)


@inner
def penalty_of(parameters, size, l1, l2):
    """Return the sum of l1 |p| + l2 p**2 over `size` elements."""
    step = lanes(parameters)
    zero = splat(parameters, 0.0)
    total = zero
    for i in range(0, size, step):
        # Panels of narrow registers may end within a vector (test_targets.check_penalties).
        p = load_part(parameters + i, min(step, size - i), 0.0)
        p = select(p < 0.0, zero - p, p)
        total = fma(fma(splat(p, l2), p, splat(p, l1)), p, total)
    return np.float64(sum_lanes(total))


@inner
def sum_squares(values, size):
    """Return the sum of squares of `size` elements."""
    step = lanes(values)
    total = splat(values, 0.0)
    for i in range(0, size, step):
        x = load_part(values + i, min(step, size - i), 0.0)
        total = fma(x, x, total)
    return np.float64(sum_lanes(total))


# Gradients whose squares overflow are multiplied by this, in float64, before they are squared.
wide_unit = by_dtype(1.0, 2.0**-540)


@inner
def wide_square(place):
    """Return the square of the number at `place` times `wide_unit`."""
    value = np.float64(get(place)) * wide_unit(place)
    return value * value


@inner
def is_penalized(layer, strength):
    """Return whether a layer has a penalty in this step."""
    weights = layer.weights_l1 != 0.0 or layer.weights_l2 != 0.0
    return strength != 0.0 and (weights or layer.biases_l1 != 0.0 or layer.biases_l2 != 0.0)


@kernel
def optimizer_update(parameters, states, gradients, rule, step, scale, l1, l2):
    """Take one step of the optimizer `rule`, in place: parameters (P,), states (S, P).

    gradients (P,) are those of the data loss; l1 and l2 weigh the penalty l1 |p| + l2 p**2, and
    `scale` multiplies the gradient of both. step (1,) of STEP, see `records.py`: its weight decay
    is for all parameters. Rules: see `catalogue.py`.
    """
    size = parameters.size
    follow(
        pointer(parameters), pointer(gradients), pointer(states), size, size,
        rule, step[0], scale, l1, l2, False,
    )  # fmt: skip


@kernel
def sgd_update(parameters, gradients, learning_rate):
    """parameters = parameters - learning_rate * gradients, in place, arrays of one shape."""
    descend(pointer(parameters), pointer(gradients), parameters.size, learning_rate)
