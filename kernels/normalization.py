"""Normalisation to mean 0 and variance 1: of each row (layer), or of each column over a batch.

outputs = normalized * weights + biases, where normalized = (inputs - mean) * scale and scale =
1 / sqrt(variance + epsilon), with the variance that divides by the count.
Ba, Kiros, Hinton, "Layer Normalization" (2016), equation 4; Ioffe, Szegedy, "Batch Normalization"
(2015), algorithms 1 and 2.

Sums over a batch have one order, whoever forms them: within each block of `BLOCK` rows from first
to last, then over the blocks of `SUM_ROWS` rows, and then over these. So threads that own whole
blocks can share the work. Means and sums of squares of blocks are merged as in Chan, Golub,
LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979),
equation 2.1.

A rounded mean is not good enough for values that are far from 0 and close together: 37 times
123456.789 in float32 gave 0.93 each. Where that shows, the sums are formed again from differences
to the rounded mean, which are exact, and the rest of the mean (`shift`) is subtracted too.
"""

from .float_bits import flushed
from .jit import inner, kernel
from .pointers import is_null, pointer, put
from .simd import (
    by_dtype,
    first_lane,
    first_true,
    fma,
    keep,
    lanes,
    load_part,
    select,
    splat,
    sqrt,
    store_part,
    sum_lanes,
)
from .sums import add_block
from .table import BLOCK, SUM_ROWS

# ------------------------------------------------------------------------- when more is needed


# How far the rest of a row's mean may move a normalised value: 256 roundings of 1. Sums of values
# around 0 stay far below it.
_most_shift = by_dtype(2.0**-16, 2.0**-45)

# How many deviations a column's mean may be away from 0: its rounding error, of a few units in the
# last place, is then at most about 1e-4 (1e-9 in float64) of the deviation.
_most_distance = by_dtype(2.0**8, 2.0**20)

# The same for predictions, where another way takes no longer.
_MOST_FOLDED = 2.0**8

# Rows with a value above `_widest` are multiplied by `_shrink` first. So no sum of squares
# overflows, nor does one become subnormal: the largest value of such a row is far above its last
# digit.
_widest = by_dtype(2.0**50, 2.0**490)
_shrink = by_dtype(2.0**-80, 2.0**-540)

# ------------------------------------------------------------------------------ rows


@inner
def layer_norm_row(outputs, normalized, inputs, weights, biases, size, epsilon):
    """Normalise a row at pointers; return its scale. `normalized` may be null."""
    step = lanes(inputs)
    total = rests = squares = splat(inputs, 0.0)
    for j in range(0, size, step):
        total = total + load_part(inputs + j, min(step, size - j), 0.0)
    mean = splat(inputs, sum_lanes(total)) / float(max(size, 1))
    for j in range(0, size, step):
        d = load_part(inputs + j, min(step, size - j), first_lane(mean)) - mean
        squares = fma(d, d, squares)
        rests = rests + d
    variance = splat(inputs, sum_lanes(squares)) / float(max(size, 1))
    scale = splat(inputs, 1.0) / sqrt(variance + epsilon)
    shift = splat(inputs, sum_lanes(rests)) / float(max(size, 1))
    # Also where the scale is 0, or anything is NaN: there squares overflow.
    if not (first_lane(scale) > 0.0 and abs(first_lane(shift * scale)) <= _most_shift(inputs)):
        return wide_row(outputs, normalized, inputs, weights, biases, size, epsilon)
    for j in range(0, size, step):
        rest = min(step, size - j)
        x = (load_part(inputs + j, rest, 0.0) - mean) * scale
        if not is_null(normalized):
            store_part(normalized + j, x, rest)
        w, b = load_part(weights + j, rest, 0.0), load_part(biases + j, rest, 0.0)
        store_part(outputs + j, fma(x, w, b), rest)
    return first_lane(scale)


@inner
def wide_row(outputs, normalized, inputs, weights, biases, size, epsilon):
    """As `layer_norm_row`, of values far from 0 or so far apart that their squares overflow."""
    step, count = lanes(inputs), float(max(size, 1))
    zero = splat(inputs, 0.0)
    most = zero
    for j in range(0, size, step):
        x = load_part(inputs + j, min(step, size - j), 0.0)
        x = select(x < 0.0, zero - x, x)
        most = select(x > most, x, most)
    factor = splat(inputs, 1.0)
    if first_true(most > _widest(inputs)) < step:
        factor = factor * _shrink(inputs)
    total = rests = squares = zero
    for j in range(0, size, step):
        total = total + load_part(inputs + j, min(step, size - j), 0.0) * factor
    mean = splat(inputs, sum_lanes(total)) / count
    for j in range(0, size, step):
        rest = min(step, size - j)
        rests = rests + keep(load_part(inputs + j, rest, 0.0) * factor - mean, rest)
    shift = splat(inputs, sum_lanes(rests)) / count
    for j in range(0, size, step):
        rest = min(step, size - j)
        d = keep((load_part(inputs + j, rest, 0.0) * factor - mean) - shift, rest)
        squares = fma(d, d, squares)
    variance = splat(inputs, sum_lanes(squares)) / count
    # Of equal values only epsilon is left, and its product with the square of a factor may be 0.
    alone = sqrt(splat(inputs, epsilon)) * factor
    spread = sqrt(variance + splat(inputs, epsilon) * factor * factor)
    scale = splat(inputs, 1.0) / select(variance == 0.0, alone, spread)
    for j in range(0, size, step):
        rest = min(step, size - j)
        x = ((load_part(inputs + j, rest, 0.0) * factor - mean) - shift) * scale
        if not is_null(normalized):
            store_part(normalized + j, x, rest)
        w, b = load_part(weights + j, rest, 0.0), load_part(biases + j, rest, 0.0)
        store_part(outputs + j, fma(x, w, b), rest)
    return first_lane(scale * factor)


@inner
def layer_norm_back(dinputs, doutputs, normalized, weights, size, scale):
    """dinputs = (g - mean(g) - normalized * mean(g * normalized)) * scale, g = doutputs * weights.

    At pointers; `scale` is what `layer_norm_row` returned.
    """
    step = lanes(weights)
    sums = products = splat(weights, 0.0)
    for j in range(0, size, step):
        rest = min(step, size - j)
        g = load_part(doutputs + j, rest, 0.0) * load_part(weights + j, rest, 0.0)
        sums = sums + g
        products = fma(g, load_part(normalized + j, rest, 0.0), products)
    mean = splat(weights, sum_lanes(sums)) / float(max(size, 1))
    back = splat(weights, 0.0) - splat(weights, sum_lanes(products)) / float(max(size, 1))
    for j in range(0, size, step):
        rest = min(step, size - j)
        g = load_part(doutputs + j, rest, 0.0) * load_part(weights + j, rest, 0.0)
        g = fma(load_part(normalized + j, rest, 0.0), back, g - mean)
        store_part(dinputs + j, g * scale, rest)


# ------------------------------------------------------- columns, a vector of them at a time


@inner
def block_moments(inputs, row, rows, count):
    """Return (mean, sum of squares around it) of a block of rows, `row` apart, at a pointer."""
    zero = splat(inputs, 0.0)
    mean = squares = zero
    for i in range(rows):
        mean = mean + load_part(inputs + i * row, count, 0.0)
    mean = mean / float(rows)
    for i in range(rows):
        d = load_part(inputs + i * row, count, 0.0) - mean
        squares = fma(d, d, squares)
    return mean, squares


@inner
def merge_moments(before, mean, squares, rows, block_mean, block_squares):
    """Return the moments of `before` rows and of the block of `rows` behind them, together."""
    if before == 0:
        return block_mean, block_squares
    share = rows / (before + rows)
    gap = block_mean - mean
    squares = fma(gap * gap, splat(gap, before * share), squares + block_squares)
    return fma(gap, splat(gap, share), mean), squares


@inner
def join_moments(before, sums, rows, mean, squares):
    """As `merge_moments`, of blocks of SUM_ROWS rows: `sums` has mean and squares, and their lost.

    The four are what `add_block` takes and gives.
    """
    share = rows / (before + rows)
    gap = (mean - sums[0]) + sums[1]
    spread = fma(gap * gap, splat(gap, before * share), squares) if before > 0 else squares
    mean, lost = add_block(sums[0], sums[1], gap * share)
    squares, missing = add_block(sums[2], sums[3], spread)
    return mean, lost, squares, missing


@inner
def column_moments(inputs, row, rows, count):
    """Return (mean, variance) of the columns at a pointer."""
    zero = splat(inputs, 0.0)
    sums = zero, zero, zero, zero
    for start in range(0, rows, SUM_ROWS):
        size = min(SUM_ROWS, rows - start)
        mean = squares = zero
        for first in range(0, size, BLOCK):
            taken = min(BLOCK, size - first)
            m, s = block_moments(inputs + (start + first) * row, row, taken, count)
            mean, squares = merge_moments(first, mean, squares, taken, m, s)
        sums = join_moments(start, sums, size, mean, squares)
    return sums[0], sums[2] / float(max(rows, 1))


@inner
def kept_moments(parts, row, rows, count):
    """As `column_moments`, from what `keep_moments` kept of all blocks."""
    zero = splat(parts, 0.0)
    sums = zero, zero, zero, zero
    for start in range(0, rows, SUM_ROWS):
        size = min(SUM_ROWS, rows - start)
        mean = squares = zero
        for first in range(0, size, BLOCK):
            part = parts + (start + first) // BLOCK * 2 * row
            m, s = load_part(part, count, 0.0), load_part(part + row, count, 0.0)
            mean, squares = merge_moments(first, mean, squares, min(BLOCK, size - first), m, s)
        sums = join_moments(start, sums, size, mean, squares)
    return sums[0], sums[2] / float(max(rows, 1))


@inner
def keep_moments(parts, inputs, input_row, first, rows, row, size):
    """Keep the moments of the blocks of the rows [first, first + rows), `inputs` their first."""
    for start in range(0, rows, BLOCK):
        part = parts + (first + start) // BLOCK * 2 * row
        for j in range(0, size, lanes(inputs)):
            count = min(lanes(inputs), size - j)
            place = inputs + (start * input_row + j)
            mean, squares = block_moments(place, input_row, min(BLOCK, rows - start), count)
            store_part(part + j, mean, count)
            store_part(part + (row + j), squares, count)


@inner
def column_scale(inputs, row, rows, count, mean, variance, epsilon):
    """Return (shift, variance, scale) of the columns at a pointer; their mean is mean + shift.

    The moments given stay, with a shift of 0, but where the mean is so far away that its rounding
    error matters, or the squares are not finite.
    """
    scale = scale_of(variance, epsilon)
    one, zero = splat(mean, 1.0), splat(mean, 0.0)
    far = mean * scale
    far = select(far < 0.0, zero - far, far)
    near = select(scale > 0.0, select(far <= _most_distance(inputs), one, zero), zero)
    if first_true(near < 0.5) >= count:
        return zero, variance, scale
    shift = sum_differences(inputs, row, rows, count, mean, zero, False)
    shift = shift / float(max(rows, 1))
    squares = sum_differences(inputs, row, rows, count, mean, shift, True)
    shift = select(near > 0.5, zero, shift)
    variance = select(near > 0.5, variance, squares / float(max(rows, 1)))
    return shift, variance, scale_of(variance, epsilon)


@inner
def sum_differences(inputs, row, rows, count, mean, shift, squared):
    """Return the sum of inputs - mean - shift over the rows, or of its squares."""
    total = lost = splat(inputs, 0.0)
    for start in range(0, rows, SUM_ROWS):
        part = splat(inputs, 0.0)
        for i in range(start, min(start + SUM_ROWS, rows)):
            d = (load_part(inputs + i * row, count, 0.0) - mean) - shift
            part = fma(d, d, part) if squared else part + d
        total, lost = add_block(total, lost, part)
    return total


@inner
def scale_of(variance, epsilon):
    """Return 1 / sqrt(variance + epsilon)."""
    return splat(variance, 1.0) / sqrt(variance + epsilon)


@inner
def normalise_columns(
    outputs, normalized, inputs, output_row, input_row, rows, count, mean, shift, scale, weights,
    biases,
):  # fmt: skip
    """Normalise the columns at pointers, all with vectors of their own."""
    w, b = load_part(weights, count, 0.0), load_part(biases, count, 0.0)
    for i in range(rows):
        x = ((load_part(inputs + i * input_row, count, 0.0) - mean) - shift) * scale
        store_part(normalized + i * output_row, x, count)
        store_part(outputs + i * output_row, fma(x, w, b), count)


@inner
def block_sums(doutputs, normalized, row, rows, count):
    """Return (sum of doutputs, sum of doutputs * normalized) of a block of rows, at pointers."""
    sums = products = splat(doutputs, 0.0)
    for i in range(rows):
        d = load_part(doutputs + i * row, count, 0.0)
        sums = sums + d
        products = fma(d, load_part(normalized + i * row, count, 0.0), products)
    return sums, products


@inner
def column_gradients(dweights, dbiases, doutputs, normalized, row, rows, size):
    """dbiases = sum of doutputs, dweights = sum of doutputs * normalized, of `size` columns."""
    for j in range(0, size, lanes(doutputs)):
        count = min(lanes(doutputs), size - j)
        zero = splat(doutputs, 0.0)
        all_sums = all_products = lost = missing = zero
        for start in range(0, rows, SUM_ROWS):
            sums = products = zero
            stop = min(rows, start + SUM_ROWS)
            for first in range(start, stop, BLOCK):
                at, taken = first * row + j, min(BLOCK, stop - first)
                s, p = block_sums(doutputs + at, normalized + at, row, taken, count)
                sums, products = sums + s, products + p
            all_sums, lost = add_block(all_sums, lost, sums)
            all_products, missing = add_block(all_products, missing, products)
        store_part(dbiases + j, all_sums, count)
        store_part(dweights + j, all_products, count)


@inner
def keep_sums(parts, doutputs, normalized, first, rows, row, size):
    """Keep the sums of the blocks of the rows [first, first + rows), at pointers to their first."""
    for start in range(0, rows, BLOCK):
        part = parts + (first + start) // BLOCK * 2 * row
        for j in range(0, size, lanes(doutputs)):
            at, count = start * row + j, min(lanes(doutputs), size - j)
            taken = min(BLOCK, rows - start)
            sums, products = block_sums(doutputs + at, normalized + at, row, taken, count)
            store_part(part + j, sums, count)
            store_part(part + (row + j), products, count)


@inner
def kept_sums(parts, row, rows, count):
    """Return (dbiases, dweights) of the columns at a pointer, of what `keep_sums` kept."""
    zero = splat(parts, 0.0)
    all_sums = all_products = lost = missing = zero
    for start in range(0, rows, SUM_ROWS):
        sums = products = zero
        for first in range(start, min(rows, start + SUM_ROWS), BLOCK):
            part = parts + first // BLOCK * 2 * row
            sums = sums + load_part(part, count, 0.0)
            products = products + load_part(part + row, count, 0.0)
        all_sums, lost = add_block(all_sums, lost, sums)
        all_products, missing = add_block(all_products, missing, products)
    return all_sums, all_products


@inner
def columns_back(
    dinputs, doutputs, normalized, input_row, output_row, rows, count, batch, sums, products,
    scale, weights,
):  # fmt: skip
    """dinputs = (doutputs - (dbiases + normalized * dweights) / batch) * (weights * scale)."""
    factor = load_part(weights, count, 0.0) * scale
    mean = sums / float(max(batch, 1))
    back = splat(sums, 0.0) - products / float(max(batch, 1))
    for i in range(rows):
        d = load_part(doutputs + i * output_row, count, 0.0) - mean
        d = fma(load_part(normalized + i * output_row, count, 0.0), back, d)
        store_part(dinputs + i * input_row, d * factor, count)


@inner
def fold(weights, biases, running_mean, running_variance, count, epsilon):
    """Return (center, scale, shift) of columns: of a prediction, (inputs - center) * scale + shift.

    At pointers. The center is 0, and the mean a part of the shift, but where the mean is so far
    away that its product with the scale would lose the digits in which inputs differ.
    """
    unit = scale_of(load_part(running_variance, count, 1.0), epsilon)
    scale = load_part(weights, count, 0.0) * unit
    mean, shift = load_part(running_mean, count, 0.0), load_part(biases, count, 0.0)
    zero = splat(scale, 0.0)
    far = mean * unit
    far = select(far < 0.0, zero - far, far)
    near = far <= _MOST_FOLDED
    return (
        select(near, zero, mean), scale,
        select(near, fma(zero - mean, scale, shift), shift),
    )  # fmt: skip


@inner
def fold_row(outputs, inputs, weights, biases, running_mean, running_variance, size, epsilon):
    """outputs = a row of inputs, at pointers, normalised with what a run has seen."""
    for j in range(0, size, lanes(inputs)):
        count = min(lanes(inputs), size - j)
        center, scale, shift = fold(
            weights + j, biases + j, running_mean + j, running_variance + j, count, epsilon
        )
        x = load_part(inputs + j, count, 0.0) - center
        store_part(outputs + j, fma(x, scale, shift), count)


@inner
def follow_moments(running_mean, running_variance, mean, variance, count, rows, momentum):
    """running = (1 - momentum) * running + momentum * new, of columns at pointers."""
    m, v = load_part(running_mean, count, 0.0), load_part(running_variance, count, 0.0)
    unbiased = variance * (rows / max(rows - 1, 1))
    left, factor = 1.0 - momentum, splat(mean, momentum)
    # Those of a feature that stays at 0 fade away.
    store_part(running_mean, flushed(fma(mean, factor, m * left)), count)
    store_part(running_variance, flushed(fma(unbiased, factor, v * left)), count)


# ------------------------------------------------------------------------ kernels on arrays


@kernel
def layer_norm_forward(outputs, normalized, scales, inputs, weights, biases, epsilon):
    """outputs (B, I) = normalized * weights (1, I) + biases (1, I), each row normalised by itself.

    normalized (B, I) = (inputs - mean) * scales, scales (B,) = 1 / sqrt(variance + epsilon).
    """
    rows, size = inputs.shape
    for i in range(rows):
        at = i * size
        scale = layer_norm_row(
            pointer(outputs) + at, pointer(normalized) + at, pointer(inputs) + at,
            pointer(weights), pointer(biases), size, epsilon,
        )  # fmt: skip
        put(pointer(scales) + i, scale)


@kernel
def layer_norm_backward(dinputs, dweights, dbiases, doutputs, normalized, scales, weights):
    """Gradients of `layer_norm_forward`, given doutputs (B, I).

    dinputs (B, I) = (g - mean(g) - normalized * mean(g * normalized)) * scales,
    g = doutputs * weights, means over each row; dweights (1, I) = sum of doutputs * normalized,
    dbiases (1, I) = sum of doutputs.
    """
    rows, size = doutputs.shape
    for i in range(rows):
        at = i * size
        layer_norm_back(
            pointer(dinputs) + at, pointer(doutputs) + at, pointer(normalized) + at,
            pointer(weights), size, scales[i],
        )  # fmt: skip
    column_gradients(
        pointer(dweights), pointer(dbiases), pointer(doutputs), pointer(normalized),
        size, rows, size,
    )  # fmt: skip


@kernel
def batch_norm_forward(
    outputs, normalized, scales, means, variances, inputs, weights, biases, epsilon
):
    """outputs (B, I) = normalized * weights (1, I) + biases (1, I), each column by itself.

    normalized (B, I) = (inputs - means) * scales, scales (1, I) = 1 / sqrt(variances + epsilon),
    with the means (1, I) and variances (1, I) over the batch.
    """
    rows, size = inputs.shape
    for j in range(0, size, lanes(pointer(inputs))):
        count = min(lanes(pointer(inputs)), size - j)
        mean, variance = column_moments(pointer(inputs) + j, size, rows, count)
        shift, variance, scale = column_scale(
            pointer(inputs) + j, size, rows, count, mean, variance, epsilon
        )
        store_part(pointer(means) + j, mean + shift, count)
        store_part(pointer(variances) + j, variance, count)
        store_part(pointer(scales) + j, scale, count)
        normalise_columns(
            pointer(outputs) + j, pointer(normalized) + j, pointer(inputs) + j, size, size,
            rows, count, mean, shift, scale, pointer(weights) + j, pointer(biases) + j,
        )  # fmt: skip


@kernel
def batch_norm_backward(dinputs, dweights, dbiases, doutputs, normalized, scales, weights):
    """Gradients of `batch_norm_forward`, given doutputs (B, I).

    dinputs (B, I) = (doutputs - (dbiases + normalized * dweights) / B) * weights * scales,
    dweights (1, I) = sum of doutputs * normalized, dbiases (1, I) = sum of doutputs.
    """
    rows, size = doutputs.shape
    column_gradients(
        pointer(dweights), pointer(dbiases), pointer(doutputs), pointer(normalized),
        size, rows, size,
    )  # fmt: skip
    for j in range(0, size, lanes(pointer(weights))):
        count = min(lanes(pointer(weights)), size - j)
        columns_back(
            pointer(dinputs) + j, pointer(doutputs) + j, pointer(normalized) + j, size, size,
            rows, count, rows, load_part(pointer(dbiases) + j, count, 0.0),
            load_part(pointer(dweights) + j, count, 0.0),
            load_part(pointer(scales) + j, count, 0.0), pointer(weights) + j,
        )  # fmt: skip


@kernel
def batch_norm_predict(outputs, inputs, weights, biases, running_mean, running_variance, epsilon):
    """outputs (B, I) = (inputs - running_mean) * scale + biases, with moments (1, I) of a run.

    scale = weights / sqrt(running_variance + epsilon).
    """
    rows, size = inputs.shape
    for i in range(rows):
        at = i * size
        fold_row(
            pointer(outputs) + at, pointer(inputs) + at, pointer(weights), pointer(biases),
            pointer(running_mean), pointer(running_variance), size, epsilon,
        )  # fmt: skip


@kernel
def running_update(running_mean, running_variance, means, variances, rows, momentum):
    """running = (1 - momentum) * running + momentum * new, in place, arrays (1, I).

    New are the means and variances of a batch of `rows`, and of these rows / (rows - 1) times.
    """
    size = means.size
    for j in range(0, size, lanes(pointer(means))):
        count = min(lanes(pointer(means)), size - j)
        follow_moments(
            pointer(running_mean) + j, pointer(running_variance) + j,
            load_part(pointer(means) + j, count, 0.0),
            load_part(pointer(variances) + j, count, 0.0), count, rows, momentum,
        )  # fmt: skip
