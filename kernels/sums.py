"""Sums over many rows, whose error does not grow with the number of rows.

A batch is taken in blocks of `SUM_ROWS` rows. Within one a sum goes from the first row to the
last, and the sums of the blocks are added with what each addition has rounded away: Kahan,
"Further Remarks on Reducing Truncation Errors" (1965). So the bits are those of one plain sum up
to the first block, and depend neither on threads nor on vectors behind it.
"""

from .jit import inner


@inner
def add_block(total, lost, value):
    """Return (total, lost) with the sum of a block added; both are zeros before the first one.

    `total - lost` is the sum of all blocks. One that is infinite makes the sums behind it NaN.
    """
    value = value - lost
    following = total + value
    return following, (following - total) - value
