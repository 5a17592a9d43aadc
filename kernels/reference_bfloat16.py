"""Products with operands in bfloat16 again, in plain NumPy: the oracle of the units' tests."""

import numpy as np

from .reference import _flush
from .target import BF16_TILE_DEPTH


def round_bfloat16(values):
    """Return float32 numbers rounded to bfloat16: 8 bits, to nearest, ties to even."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    rounded = np.where(np.isnan(values), bits | np.uint32(1 << 22), rounded)
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def bfloat16_parts(values, parts):
    """Return one or two bfloat16 numbers for each number, whose sum is nearest to it."""
    first = round_bfloat16(values)
    if parts == 1:
        return [first]
    with np.errstate(invalid="ignore"):
        rest = np.where(np.isfinite(first), values - first, np.float32(0))
    return [first, round_bfloat16(rest)]


def reduced_product(left, right, parts):
    """Return left (M, K) @ right (K, N), with operands of 1 or 2 bfloat16 parts and float32 sums.

    The order of the sums and the treatment of subnormal numbers are those of AMX: for each 32 terms
    the sum of the products of even terms, and that of odd ones; the sum of the two is added to
    the result.
    """
    (first, *second), (other, *other_second) = (
        bfloat16_parts(operand.astype(np.float32), parts) for operand in (left, right)
    )
    pairs = [(first, other)]
    if second:
        pairs += [(first, other_second[0]), (second[0], other)]
    total = np.zeros((len(left), right.shape[1]), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, left.shape[1], BF16_TILE_DEPTH):
            terms = slice(start, start + BF16_TILE_DEPTH)
            for a, b in pairs:
                both = [_sum_terms(a[:, terms][:, i::2], b[terms][i::2]) for i in (0, 1)]
                total = _flushed(total + _flushed(both[0] + both[1]))
    return total


def _sum_terms(left, right):
    """Return the sum of products, term by term; the product of two bfloat16 numbers is exact."""
    left, right = _flushed(left.copy()), _flushed(right.copy())
    total = np.zeros((len(left), right.shape[1]), np.float32)
    for k in range(left.shape[1]):
        # In float64, where it is exact: in float32 a huge or tiny product is not.
        product = np.multiply.outer(left[:, k], right[k], dtype=np.float64)
        total = _rounded_once(total + product)
    return total


def _rounded_once(sums):
    rounded = sums.astype(np.float32)
    # Hardware asks whether a sum is subnormal before its bits are cut to those of such a number.
    rounded[np.abs(sums) < np.finfo(np.float32).tiny * (1 - 2.0**-25)] = 0
    return rounded


def _flushed(values):
    _flush(values)
    return values
