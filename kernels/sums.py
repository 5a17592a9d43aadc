"""Sums over many rows, whose error does not grow with the number of rows.

A batch is divided into blocks of `SUM_ROWS` rows. Within a block, rows are added from first to
last. The sums of the blocks are added with compensation for rounding errors: Kahan, "Further
Remarks on Reducing Truncation Errors" (1965). So a batch of one block has the bits of a plain sum,
and no result depends on threads or the width of vectors.
"""

from .jit import inner


@inner
def add_block(total, lost, value):
    """Add the sum of a block; return the new (total, lost). Both are 0 before the first block.

    `lost` is the rounding error: `total - lost` is the sum of all blocks. After an infinite block,
    the sums are NaN.
    """
    value = value - lost
    following = total + value
    return following, (following - total) - value
