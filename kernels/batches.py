"""Shuffled mini-batches, and the scan that guards what enters a network."""

from .jit import inner, kernel
from .simd import (
    cut,
    fma,
    lanes,
    load,
    load_part,
    pointer,
    select,
    splat,
    store,
    store_part,
    sum_lanes,
)


@inner
def copy_row(result, row, size):
    """result = row, over `size` elements at two pointers."""
    step = lanes(row)
    whole = size - size % step
    for j in range(0, whole, step):
        store(result + j, load(row + j))
    if whole < size:
        store_part(result + whole, load_part(row + whole, size - whole, 0.0), size - whole)


@inner
def cut_row(result, row, size):
    """result = row, with zeros for subnormal numbers; `result` may be `row`."""
    step = lanes(row)
    whole = size - size % step
    for j in range(0, whole, step):
        store(result + j, cut(load(row + j)))
    if whole < size:
        rest = size - whole
        store_part(result + whole, cut(load_part(row + whole, rest, 0.0)), rest)


@kernel
def gather_rows(rows, source, indices):
    """rows (B, I) = source (N, I)[indices (B,)]: the samples of one shuffled batch."""
    width = source.shape[1]
    for i in range(len(indices)):
        copy_row(pointer(rows) + i * width, pointer(source) + indices[i] * width, width)


@inner
def is_finite(start, size):
    """Return whether none of `size` elements at a pointer is NaN or infinite.

    The sum of values * 0 is 0 or NaN: one read of memory, and no temporary array, which NumPy
    would take a byte an element for (1.6 times as fast as its way on 100 MB).
    """
    step = lanes(start)
    zero = splat(start, 0.0)
    # Four sums, since one would wait for its own addition (4 cycles) at every step.
    a, b, c, d = zero, zero, zero, zero
    whole = size - size % (4 * step)
    for i in range(0, whole, 4 * step):
        a = fma(load(start + i), zero, a)
        b = fma(load(start + (i + step)), zero, b)
        c = fma(load(start + (i + 2 * step)), zero, c)
        d = fma(load(start + (i + 3 * step)), zero, d)
    for i in range(whole, size, step):
        a = fma(load_part(start + i, min(step, size - i), 0.0), zero, a)
    return sum_lanes((a + b) + (c + d)) == 0.0


@inner
def has_tails(start, size):
    """Return whether one of `size` finite elements at a pointer is subnormal."""
    step = lanes(start)
    found = splat(start, 0.0)
    one, zero = splat(start, 1.0), splat(start, 0.0)
    for i in range(0, size, step):
        x = load_part(start + i, min(step, size - i), 0.0)
        found = found + select(cut(x) == x, zero, one)
    return sum_lanes(found) > 0.0


@kernel
def all_finite(values):
    """Return whether no element of `values`, of any shape, is NaN or infinite."""
    return is_finite(pointer(values), values.size)
