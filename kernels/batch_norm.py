"""BATCH_NORM: normalize each column to mean 0 and variance 1 over a batch.

outputs = normalized * weights + biases, where normalized = (inputs - mean) * scale and scale =
1 / sqrt(variance + epsilon), with the variance that is divided by the number of rows. Ioffe,
Szegedy, "Batch Normalization" (2015), algorithms 1 and 2.

The order of a sum over a batch does not depend on the threads: rows are added from first to last
within each block of `BLOCK` rows, then the blocks within `SUM_ROWS` rows, and then these. So each
thread can sum whole blocks. Means and sums of squares of blocks are merged as in Chan, Golub,
LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979),
equation 2.1.

A rounded mean is too inexact for values that are far from 0 and close together: see
`layer_norm.py`.

The `scales` of a layer of the program are three rows: center, scale and shift in a prediction;
mean, variance and scale of the batch in training.
"""

from .catalogue import Operation
from .float_bits import flushed
from .jit import inner, kernel
from .norm_sums import block_sums, column_gradients
from .pointers import pointer
from .simd import by_dtype, first_true, fma, lanes, load_part, select, splat, sqrt, store_part
from .sums import add_block
from .table import BLOCK, SUM_ROWS
from .threads import wait

# The largest distance of a column's mean from 0, in standard deviations. The rounding error of such
# a mean is at most about 1e-4 (1e-9 in float64) of the standard deviation.
_most_distance = by_dtype(2.0**8, 2.0**20)

# The same for predictions, in both dtypes: subtracting the mean there takes no longer.
_MOST_FOLDED = 2.0**8


@inner
def block_moments(inputs, row, rows, count):
    """Return (mean, sum of squared differences from it) of a block of rows, `row` apart."""
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
    """Return the moments of `before` rows and the next block of `rows` together."""
    if before == 0:
        return block_mean, block_squares
    share = rows / (before + rows)
    gap = block_mean - mean
    squares = fma(gap * gap, splat(gap, before * share), squares + block_squares)
    return fma(gap, splat(gap, share), mean), squares


@inner
def join_moments(before, sums, rows, mean, squares):
    """As `merge_moments`, for blocks of SUM_ROWS rows.

    `sums` has the mean and the squares, each with the rounding error that `add_block` keeps.
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
            block_rows = min(BLOCK, size - first)
            m, s = block_moments(inputs + (start + first) * row, row, block_rows, count)
            mean, squares = merge_moments(first, mean, squares, block_rows, m, s)
        sums = join_moments(start, sums, size, mean, squares)
    return sums[0], sums[2] / float(max(rows, 1))


@inner
def moments_of_blocks(parts, row, rows, count):
    """As `column_moments`, from the moments of all blocks that `keep_moments` has stored."""
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
    """Store the moments of the blocks of rows [first, first + rows); `inputs` points to `first`."""
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

    The shift is 0 and the variance is returned unchanged, unless the mean is so far from 0 that its
    rounding error matters, or the squares are not finite.
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
def normalize_columns(
    outputs, normalized, inputs, output_row, input_row, rows, count, mean, shift, scale, weights,
    biases,
):  # fmt: skip
    """Normalize columns; `mean`, `shift` and `scale` have a lane for each."""
    w, b = load_part(weights, count, 0.0), load_part(biases, count, 0.0)
    for i in range(rows):
        x = ((load_part(inputs + i * input_row, count, 0.0) - mean) - shift) * scale
        store_part(normalized + i * output_row, x, count)
        store_part(outputs + i * output_row, fma(x, w, b), count)


@inner
def keep_sums(parts, doutputs, normalized, first, rows, row, size):
    """Store the sums of the blocks of rows [first, first + rows), at pointers to `first`."""
    for start in range(0, rows, BLOCK):
        part = parts + (first + start) // BLOCK * 2 * row
        for j in range(0, size, lanes(doutputs)):
            at, count = start * row + j, min(lanes(doutputs), size - j)
            block_rows = min(BLOCK, rows - start)
            sums, products = block_sums(doutputs + at, normalized + at, row, block_rows, count)
            store_part(part + j, sums, count)
            store_part(part + (row + j), products, count)


@inner
def sums_of_blocks(parts, row, rows, count):
    """Return (dbiases, dweights) of columns, from the sums of blocks that `keep_sums` stored."""
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
    """Return (center, scale, shift) of columns: a prediction is (inputs - center) * scale + shift.

    The center is 0, and the mean is a part of the shift, unless the mean is so far from 0 that its
    product with the scale would lose the digits in which inputs differ.
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
    """outputs = a row of inputs, at pointers, normalized with the running moments."""
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
    old, new = 1.0 - momentum, splat(mean, momentum)
    # The moments of a feature that stays at 0 would become subnormal.
    store_part(running_mean, flushed(fma(mean, new, m * old)), count)
    store_part(running_variance, flushed(fma(unbiased, new, v * old)), count)


# ------------------------------------------------------------------ a layer of the program


@inner
def fold_batch_norms(layers, parameters, workspace):
    """Store center, scale and shift of every BATCH_NORM for a prediction."""
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.BATCH_NORM:
            size, scales = layer.n_outputs, workspace + layer.scales
            for j in range(0, size, lanes(workspace)):
                count = min(lanes(workspace), size - j)
                center, scale, shift = fold(
                    parameters + (layer.weights + j), parameters + (layer.biases + j),
                    parameters + (layer.running_mean + j),
                    parameters + (layer.running_variance + j),
                    count, layer.parameter,
                )  # fmt: skip
                store_part(scales + j, center, count)
                store_part(scales + (layer.output_row + j), scale, count)
                store_part(scales + (2 * layer.output_row + j), shift, count)


@inner
def predict_batch_norm_rows(layer, workspace, inputs, input_row, first, rows):
    """Normalize the rows [first, first + rows), `inputs` a pointer to their first."""
    row = layer.output_row
    outputs, scales = workspace + (layer.outputs + first * row), workspace + layer.scales
    for i in range(rows):
        a, b = inputs + i * input_row, outputs + i * row
        for j in range(0, layer.n_outputs, lanes(a)):
            count = min(lanes(a), layer.n_outputs - j)
            center = load_part(scales + j, count, 0.0)
            scale = load_part(scales + (row + j), count, 0.0)
            shift = load_part(scales + (2 * row + j), count, 0.0)
            x = load_part(a + j, count, 0.0) - center
            store_part(b + j, fma(x, scale, shift), count)


@inner
def predict_batch_norm_row(result, values, layer, parameters):
    """Normalize one row, at pointers, with the bits of `predict_batch_norm_rows`."""
    fold_row(
        result, values, parameters + layer.weights, parameters + layer.biases,
        parameters + layer.running_mean, parameters + layer.running_variance,
        layer.n_outputs, layer.parameter,
    )  # fmt: skip


@inner
def batch_norm_rows(
    layer, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads
):
    """Normalize the rows [first, first + rows) by the columns of all rows of the batch.

    Each thread stores the moments of its own blocks of rows, and then merges those of all threads.
    The merge is 1 / `BLOCK` of the work, and saves a second barrier. The thread with the first row
    stores the moments of the batch for the backward pass. Return False if the barrier does.
    """
    size, row = layer.n_outputs, layer.output_row
    scales = workspace + layer.scales
    keep_moments(workspace + layer.moments, inputs, layer.input_row, first, rows, row, size)
    if not wait(gate, threads):
        return False
    for j in range(0, size, lanes(inputs)):
        count, at = min(lanes(inputs), size - j), first * row + j
        mean, variance = moments_of_blocks(workspace + (layer.moments + j), row, batch, count)
        # It may read the inputs of other threads: no thread writes to them before the batch ends.
        shift, variance, scale = column_scale(
            workspace + (layer.inputs + j), layer.input_row, batch, count, mean, variance, epsilon
        )
        if first == 0 and rows > 0:
            store_part(scales + j, mean + shift, count)
            store_part(scales + (row + j), variance, count)
            store_part(scales + (2 * row + j), scale, count)
        normalize_columns(
            workspace + (layer.outputs + at), workspace + (layer.normalized + at), inputs + j,
            row, layer.input_row, rows, count, mean, shift, scale,
            parameters + (layer.weights + j), parameters + (layer.biases + j),
        )  # fmt: skip
    return True


@inner
def batch_norm_rows_back(
    layer, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads
):
    """Form dinputs of the rows [first, first + rows), at pointers to `first`."""
    size, row = layer.n_outputs, layer.output_row
    normalized = workspace + (layer.normalized + first * row)
    keep_sums(workspace + layer.sums, doutputs, normalized, first, rows, row, size)
    if not wait(gate, threads):
        return False
    for j in range(0, size, lanes(doutputs)):
        count = min(lanes(doutputs), size - j)
        scale = load_part(workspace + (layer.scales + 2 * row + j), count, 0.0)
        sums, products = sums_of_blocks(workspace + (layer.sums + j), row, batch, count)
        columns_back(
            dinputs + j, doutputs + j, normalized + j, layer.input_row, row, rows, count, batch,
            sums, products, scale, parameters + (layer.weights + j),
        )  # fmt: skip
    return True


@inner
def follow_batch_moments(layer, parameters, workspace, begin, end, rows):
    """Update the running moments of the columns [begin, end) with those of a batch of `rows`."""
    for j in range(begin, end, lanes(workspace)):
        count = min(lanes(workspace), end - j)
        moments = workspace + (layer.scales + j)
        mean = load_part(moments, count, 0.0)
        variance = load_part(moments + layer.output_row, count, 0.0)
        follow_moments(
            parameters + (layer.running_mean + j), parameters + (layer.running_variance + j),
            mean, variance, count, rows, layer.momentum,
        )  # fmt: skip


# ------------------------------------------------------------------------ kernels on arrays


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
        normalize_columns(
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

    New are the means of a batch of `rows`, and its variances times rows / (rows - 1).
    """
    size = means.size
    for j in range(0, size, lanes(pointer(means))):
        count = min(lanes(pointer(means)), size - j)
        follow_moments(
            pointer(running_mean) + j, pointer(running_variance) + j,
            load_part(pointer(means) + j, count, 0.0),
            load_part(pointer(variances) + j, count, 0.0), count, rows, momentum,
        )  # fmt: skip
