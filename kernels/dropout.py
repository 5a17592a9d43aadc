"""Dropout: each value is 0 with the probability `rate`, and else divided by 1 - rate.

Hinton and others, "Improving neural networks by preventing co-adaptation of feature detectors"
(2012). The values are scaled in training, so that predictions need no scaling.

Column j of a row takes word j % 64 // 16 of the random bits of the counter
(j // 64 * 16 + j % 16, row, step, layer). So the masks do not depend on the width of vectors, the
size of a batch or the number of threads.
"""

from .jit import inner, kernel
from .philox import WIDTH, at_least, philox
from .pointers import element, pointer
from .simd import lanes, load_part, select, splat, store_part


@inner
def drop_row(outputs, mask, inputs, size, rate, key, layer, step, row):
    """outputs = inputs * mask, and the mask: 0 or 1 / (1 - rate), at three pointers."""
    limit = int(min(rate * 4294967296.0, 4294967295.0))
    scale = element(inputs, 1.0 / (1.0 - rate))
    for group in range(0, size, 4 * WIDTH):
        a, b, c, d = philox(key, group // 4, row, step, layer)
        drop_words(outputs, mask, inputs, group, size, a, limit, scale)
        drop_words(outputs, mask, inputs, group + WIDTH, size, b, limit, scale)
        drop_words(outputs, mask, inputs, group + 2 * WIDTH, size, c, limit, scale)
        drop_words(outputs, mask, inputs, group + 3 * WIDTH, size, d, limit, scale)


@inner
def drop_words(outputs, mask, inputs, begin, size, words, limit, scale):
    """Drop values of the columns from `begin` on, one for each word."""
    zero, factor = splat(inputs, 0.0), splat(inputs, scale)
    for j in range(begin, min(begin + WIDTH, size), lanes(inputs)):
        rest = min(lanes(inputs), size - j)
        stays = at_least(inputs, words, j - begin, limit)
        store_part(mask + j, select(stays, factor, zero), rest)
        values = load_part(inputs + j, rest, 0.0) * scale
        store_part(outputs + j, select(stays, values, zero), rest)


@inner
def drop_back(dinputs, doutputs, mask, size):
    """dinputs = doutputs * mask, at three pointers."""
    zero = splat(mask, 0.0)
    for j in range(0, size, lanes(mask)):
        rest = min(lanes(mask), size - j)
        factor = load_part(mask + j, rest, 0.0)
        values = load_part(doutputs + j, rest, 0.0) * factor
        store_part(dinputs + j, select(factor > 0.0, values, zero), rest)


@inner
def drop_rows(layer, rate, workspace, key, step, inputs, first, rows):
    """Drop values of the rows [first, first + rows), `inputs` a pointer to their first."""
    for i in range(rows):
        at = (first + i) * layer.output_row
        drop_row(
            workspace + (layer.outputs + at), workspace + (layer.mask + at),
            inputs + i * layer.input_row, layer.n_outputs,
            rate, key, layer.dropout_index, step, first + i,
        )  # fmt: skip


@inner
def drop_rows_back(layer, workspace, dinputs, doutputs, first, rows):
    """Form dinputs of the rows [first, first + rows), at pointers to `first`."""
    row = layer.output_row
    mask = workspace + (layer.mask + first * row)
    for i in range(rows):
        drop_back(
            dinputs + i * layer.input_row, doutputs + i * row, mask + i * row, layer.n_outputs
        )


@kernel
def dropout_forward(outputs, mask, inputs, rate, key, layer, step):
    """outputs (B, I) = inputs * mask; mask (B, I) is 0 with the probability `rate`.

    Else the mask is 1 / (1 - rate). It depends on (key, layer, step): layer and step have 32 bits,
    key 63.
    """
    rows, size = inputs.shape
    for i in range(rows):
        at = i * size
        drop_row(
            pointer(outputs) + at, pointer(mask) + at, pointer(inputs) + at, size,
            rate, key, layer, step, i,
        )  # fmt: skip


@kernel
def dropout_backward(dinputs, doutputs, mask):
    """dinputs (B, I) = doutputs * mask: the gradient of outputs = inputs * mask."""
    drop_back(pointer(dinputs), pointer(doutputs), pointer(mask), mask.size)
