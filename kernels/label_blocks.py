"""Cross-entropy of labels, for as many rows together as a vector has lanes.

With few classes most lanes of a row are empty, and its maximum and its sum wait for one lane after
another. Here each lane holds another row: a step of 2-64-3 lost a fifth of its time.
"""

from numba.extending import intrinsic

from .codes import ScoreRow
from .elementary import exp
from .emit import emit_stack
from .float_bits import cut
from .jit import inner
from .packing import pack_transposed, panel_width
from .pointers import put
from .simd import (
    VECTOR_BYTES,
    lanes,
    load,
    select,
    splat,
    store,
    store_difference,
)

LEAST_ROWS = 4
"""A block of fewer rows takes longer than `cross_entropy.label_row` for each of them."""


@intrinsic
def stack_block(typingctx, like):
    """Return a pointer to the memory that `label_block` works in, valid until the caller returns.

    It is two squares of vectors and a vector.
    """
    size = VECTOR_BYTES * 8 // like.dtype.bitwidth

    def codegen(context, builder, sig, args):
        return emit_stack(context, builder, like, (2 * size + 1) * size)

    return like(like), codegen


@inner
def label_block(
    block, sheet, width, gradient, logits, distance, rows, size, labels, indices, first, scale,
):  # fmt: skip
    """As `cross_entropy.label_row`, with the same bits, for `rows` rows, at most a vector of them.

    They are the samples `indices[first : first + rows]`, the labels those of all samples.
    Rows of `logits` and of `gradient`, which may be the same memory, lie at `distance`, a whole
    number of vectors. Zeros are written behind their `size` columns, at most a vector.
    sheet : pointer to the first score of these rows; the next kind lies `width` behind.
    """
    step = lanes(block)
    sums, chosen = block + step * step, block + 2 * step * step
    for i in range(rows):
        put(chosen + i, labels[indices[first + i]])
    wanted = load(chosen)
    one, zero = splat(block, 1.0), splat(block, 0.0)
    # The classes are now rows, and the rows lanes.
    pack_transposed(block, step, logits, distance, rows, size)
    largest = load(block)
    target, best = largest, zero
    for c in range(1, size):
        x = load(block + c * step)
        best = select(x > largest, splat(x, float(c)), best)
        largest = select(x > largest, x, largest)
        target = select(wanted == float(c), x, target)
    for c in range(size):
        e = exp(load(block + c * step) - largest)
        store(block + c * step, e)
        store(sums + c * step, e)
    # In the order of `sum_lanes`: each half of the classes is added to the one before it.
    half = step // 2
    while half > 0:
        for c in range(min(half, size - half)):
            place = sums + c * step
            store(place, load(place) + load(place + half * step))
        half //= 2
    total = load(sums)
    factor = 1.0 / total
    for c in range(size):
        p = cut(load(block + c * step) * factor)
        p = p - select(wanted == float(c), one, zero)
        store(block + c * step, cut(p * scale))
    columns = panel_width(block, size)
    for c in range(size, columns):
        store(block + c * step, zero)
    pack_transposed(gradient, distance, block, step, columns, rows)
    store_difference(sheet + ScoreRow.LOSS * width, largest, target, rows)
    store_difference(sheet + ScoreRow.RIGHT * width, select(best == wanted, one, zero), zero, rows)
    store_difference(sheet + ScoreRow.TOTAL * width, total, zero, rows)
    store_difference(sheet + ScoreRow.WEIGHT * width, one, zero, rows)
