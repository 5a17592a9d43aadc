"""BATCH_NORM over a batch of which several ranks have the rows: see `shards.py`.

The mean and the variance are those of the whole batch. Each rank forms sums in float64 over the
rows of each of its shards, from the first row to the last, and they are added as gradients are. So
the bits depend on the number of shards alone. The variance takes the differences from the mean: the
ranks exchange sums twice on the way forward, and once on the way back.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from .batch_norm import batch_norm_rows, batch_norm_rows_back, follow_batch_moments
from .codes import Note
from .doors import call_door
from .jit import inner
from .pointers import Pointer, get, put
from .simd import lanes, load_part, store_part
from .threads import share, wait


class Runs(NamedTuple):
    """The shards of a rank in a batch, as one of its threads sees them."""

    gradients: Pointer  # (S, P)
    distance: int  # from the gradient of a shard to the next, in elements
    nodes: Pointer  # to pairs of int64: the subtrees [begin, end) that these shards make up
    n_nodes: int
    first_shard: int
    n_shards: int  # of this rank
    length: int  # the rows of a shard; the last ones may have less
    batch: int
    moments: Pointer  # (S + 3, M) float64: sums of the shards, and three rows for a layer
    width: int  # M
    notes: Pointer  # as in `train_shards`
    door: int
    thread: int


# As many columns of float64 lie on a cache line: no two threads write to one.
_LINE = 8


@inner
def rows_of(runs, shard):
    """Return the first row in the batch of a shard of this rank, and how many it has."""
    begin = min((runs.first_shard + shard) * runs.length, runs.batch)
    return begin, min(begin + runs.length, runs.batch) - begin


@inner
def add_subtrees(runs, values, distance, size):
    """Add `size` values of each shard in the tree, in place; those of a shard begin `distance` on.

    The first shard of each subtree gets the sum.
    """
    for node in range(runs.n_nodes):
        begin = get(runs.nodes + 2 * node) - runs.first_shard
        end = get(runs.nodes + (2 * node + 1)) - runs.first_shard
        span = 1
        while span < end - begin:
            for shard in range(begin, end - span, 2 * span):
                a = values + shard * distance
                b = values + (shard + span) * distance
                for i in range(0, size, lanes(a)):
                    count = min(lanes(a), size - i)
                    added = load_part(a + i, count, 0.0) + load_part(b + i, count, 0.0)
                    store_part(a + i, added, count)
            span *= 2


def norm_rows(layer, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads):
    """Normalize some rows of a batch, a number of rows or `Runs` (jitted code only)."""
    raise NotImplementedError("kernels.shared_norms.norm_rows runs in jitted code only")


@overload(norm_rows)
def _norm_rows(layer, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads):
    function = batch_norm_rows if isinstance(batch, types.Integer) else shared_rows

    def call(layer, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads):
        return function(
            layer, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads
        )

    return call


def norm_rows_back(
    layer, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads
):
    """Form dinputs of some rows, as `norm_rows` (jitted code only)."""
    raise NotImplementedError("kernels.shared_norms.norm_rows_back runs in jitted code only")


@overload(norm_rows_back)
def _norm_rows_back(
    layer, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads
):
    function = batch_norm_rows_back if isinstance(batch, types.Integer) else shared_rows_back

    def call(layer, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads):
        return function(
            layer, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads
        )

    return call


@inner
def shared_rows(layer, epsilon, parameters, workspace, inputs, first, rows, batch, gate, threads):
    """As `batch_norm_rows`, where the `batch` is `Runs`."""
    runs, size, row = batch, layer.n_outputs, layer.input_row
    count = float(runs.batch)
    values = workspace + layer.inputs
    means = runs.moments + runs.n_shards * runs.width
    shifts, factors = means + runs.width, means + 2 * runs.width
    begin, end = share(size, _LINE, runs.thread, threads)
    if not wait(gate, threads):
        return False
    sum_columns(runs, values, row, begin, end)
    if not add_moments(runs, size, size, begin, end, gate, threads):
        return False
    for j in range(begin, end):
        put(means + j, get(runs.moments + j) / count)
    sum_differences(runs, values, row, means, size, begin, end)
    if not add_moments(runs, 2 * size, size, begin, end, gate, threads):
        return False
    scales = workspace + layer.scales
    for j in range(begin, end):
        mean, shift = get(means + j), get(runs.moments + j) / count  # the mean was rounded
        variance = get(runs.moments + (size + j)) / count - shift * shift
        if variance < 0.0:
            variance = 0.0
        scale = 1.0 / math.sqrt(variance + epsilon)
        put(shifts + j, shift)
        put(factors + j, scale)
        put(scales + j, mean + shift)
        put(scales + (layer.output_row + j), variance)
        put(scales + (2 * layer.output_row + j), scale)
        if not math.isfinite(get(scales + (layer.output_row + j))):
            put(runs.notes + Note.OVERFLOWN, 1.0)
    if not wait(gate, threads):
        return False
    weights, biases = parameters + layer.weights, parameters + layer.biases
    outputs = workspace + (layer.outputs + first * layer.output_row)
    normalized = workspace + (layer.normalized + first * layer.output_row)
    for i in range(rows):
        at = i * layer.output_row
        for j in range(size):
            gap = np.float64(get(inputs + (i * row + j))) - get(means + j) - get(shifts + j)
            put(normalized + (at + j), gap * get(factors + j))
            scaled = get(normalized + (at + j)) * get(weights + j)
            put(outputs + (at + j), scaled + get(biases + j))
    return True


@inner
def shared_rows_back(
    layer, parameters, workspace, dinputs, doutputs, first, rows, batch, gate, threads
):
    """As `batch_norm_rows_back`, where the `batch` is `Runs`."""
    runs, size, row = batch, layer.n_outputs, layer.output_row
    count = float(runs.batch)
    begin, end = share(size, _LINE, runs.thread, threads)
    if not wait(gate, threads):
        return False
    sum_slopes(layer, workspace, runs, begin, end)
    if not add_moments(runs, 2 * size, size, begin, end, gate, threads):
        return False
    weights = parameters + layer.weights
    scales = workspace + (layer.scales + 2 * row)
    normalized = workspace + (layer.normalized + first * row)
    for i in range(rows):
        for j in range(size):
            mean, slope = get(runs.moments + j) / count, get(runs.moments + (size + j)) / count
            x = np.float64(get(normalized + (i * row + j)))
            gap = np.float64(get(doutputs + (i * row + j))) - (mean + x * slope)
            factor = np.float64(get(weights + j) * get(scales + j))
            put(dinputs + (i * layer.input_row + j), gap * factor)
    return True


@inner
def sum_columns(runs, values, row, begin, end):
    """Sum the columns [begin, end) over the rows of each shard, from the first row to the last."""
    for shard in range(runs.n_shards):
        first, rows = rows_of(runs, shard)
        sums = runs.moments + shard * runs.width
        for j in range(begin, end):
            put(sums + j, 0.0)
        for i in range(first, first + rows):
            for j in range(begin, end):
                put(sums + j, get(sums + j) + np.float64(get(values + (i * row + j))))


@inner
def sum_differences(runs, values, row, means, size, begin, end):
    """As `sum_columns`, of the differences from the means; their squares follow `size` on."""
    for shard in range(runs.n_shards):
        first, rows = rows_of(runs, shard)
        sums = runs.moments + shard * runs.width
        squares = sums + size
        for j in range(begin, end):
            put(sums + j, 0.0)
            put(squares + j, 0.0)
        for i in range(first, first + rows):
            for j in range(begin, end):
                gap = np.float64(get(values + (i * row + j))) - get(means + j)
                put(sums + j, get(sums + j) + gap)
                put(squares + j, get(squares + j) + gap * gap)


@inner
def sum_slopes(layer, workspace, runs, begin, end):
    """As `sum_columns`, of doutputs; the sums of doutputs * normalized follow n_outputs on."""
    row = layer.output_row
    for shard in range(runs.n_shards):
        first, rows = rows_of(runs, shard)
        sums = runs.moments + shard * runs.width
        products = sums + layer.n_outputs
        for j in range(begin, end):
            put(sums + j, 0.0)
            put(products + j, 0.0)
        for i in range(first, first + rows):
            for j in range(begin, end):
                d = np.float64(get(workspace + (layer.doutputs + i * row + j)))
                x = np.float64(get(workspace + (layer.normalized + i * row + j)))
                put(sums + j, get(sums + j) + d)
                put(products + j, get(products + j) + d * x)


@inner
def add_moments(runs, count, size, begin, end, gate, threads):
    """Add the first `count` sums of all shards of all ranks; the first shard gets the result.

    This thread adds the columns [begin, end) of its own runs, of every `size` columns. Return
    whether the step goes on.
    """
    for column in range(0, count, size):
        add_subtrees(runs, runs.moments + (column + begin), runs.width, end - begin)
    if runs.door == 0:
        return wait(gate, threads)
    if not wait(gate, threads):
        return False
    if runs.thread == 0:
        put(runs.notes + Note.STATUS, 1.0)
        call_door(runs.door, -count)
    if not wait(gate, threads):
        return False
    return get(runs.notes + Note.STATUS) == 0.0


@inner
def form_norm_gradients(layer, workspace, runs, begin, end):
    """Form the gradients of the columns [begin, end) of a layer, for each shard."""
    sum_slopes(layer, workspace, runs, begin, end)
    for shard in range(runs.n_shards):
        sums = runs.moments + shard * runs.width
        slopes = runs.gradients + shard * runs.distance
        for j in range(begin, end):
            put(slopes + (layer.biases + j), get(sums + j))
            put(slopes + (layer.weights + j), get(sums + (layer.n_outputs + j)))


@inner
def follow_running_moments(layer, parameters, workspace, runs, threads):
    """Update a thread's share of the running moments with those of the batch."""
    begin, end = share(layer.n_outputs, 4 * lanes(workspace), runs.thread, threads)
    follow_batch_moments(layer, parameters, workspace, begin, end, runs.batch)
