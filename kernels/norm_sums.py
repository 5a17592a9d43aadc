"""Sums over a batch for the gradients of a normalization, in an order that fits any threads."""

from .jit import inner
from .simd import fma, lanes, load_part, splat, store_part
from .sums import add_block
from .table import BLOCK, SUM_ROWS


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
                at, block_rows = first * row + j, min(BLOCK, stop - first)
                s, p = block_sums(doutputs + at, normalized + at, row, block_rows, count)
                sums, products = sums + s, products + p
            all_sums, lost = add_block(all_sums, lost, sums)
            all_products, missing = add_block(all_products, missing, products)
        store_part(dbiases + j, all_sums, count)
        store_part(dweights + j, all_products, count)
