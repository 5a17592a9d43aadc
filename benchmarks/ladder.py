"""The ladder of optimization: one matrix product, written faster four times.

    python benchmarks/ladder.py [--size 1024]

Every rung is checked, then timed: GFLOP/s, and the fraction of the FMA peak measured beside it.
The rungs share one signature: result (M, N) = left (M, K) @ right (K, N), in float32 or float64.
"""

import argparse
import statistics
import time

import numba
import numpy as np
import peak

from fastnn.kernels import dense_forward

_BLOCK = 128  # 128 x 128 float32 are 64 KiB: a block of `right` stays in the L2 cache


@numba.njit(nogil=True)
def naive(result, left, right):
    """As the formula is written. The inner loop walks down a column of `right`."""
    for i in range(left.shape[0]):
        for j in range(right.shape[1]):
            total = result.dtype.type(0)
            for k in range(left.shape[1]):
                total += left[i, k] * right[k, j]
            result[i, j] = total


@numba.njit(nogil=True)
def reordered(result, left, right):
    """The loops over j and k exchanged: the inner loop walks along rows, so it is vectorized."""
    result[:] = 0
    for i in range(left.shape[0]):
        for k in range(left.shape[1]):
            factor = left[i, k]
            for j in range(right.shape[1]):
                result[i, j] += factor * right[k, j]


@numba.njit(nogil=True)
def blocked(result, left, right):
    """As `reordered`, on a block of `right` that stays in the cache for all rows of `left`."""
    result[:] = 0
    rows, depth = left.shape
    for k0 in range(0, depth, _BLOCK):
        for j0 in range(0, right.shape[1], _BLOCK):
            for i in range(rows):
                # Rows of a block, as arrays of their own, keep the inner loop vectorized.
                part = result[i, j0 : j0 + _BLOCK]
                for k in range(k0, min(k0 + _BLOCK, depth)):
                    factor, row = left[i, k], right[k, j0 : j0 + _BLOCK]
                    for j in range(len(part)):
                        part[j] += factor * row[j]


@numba.njit(nogil=True)
def register_tiled(result, left, right):
    """fastnn's own (`kernels/tile.py`): a tile of the result stays in registers."""
    dense_forward(result, left, right, np.zeros((1, right.shape[1]), right.dtype))


RUNGS = (naive, reordered, blocked, register_tiled)


def check(rung, shape, dtype):
    """Raise AssertionError unless `rung` is right, to rounding, on matrices of M, K, N."""
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, depth), dtype)
    right = rng.standard_normal((depth, columns), dtype)
    result = np.full((rows, columns), np.nan, dtype)
    rung(result, left, right)
    expected = left.astype(np.float64) @ right.astype(np.float64)
    bound = (depth + 1) * np.finfo(dtype).eps * (np.abs(left) @ np.abs(right))
    worst = np.abs(result - expected) - bound
    if not (worst <= 0).all():
        raise AssertionError(f"{rung.__name__} is wrong on {shape}, {np.dtype(dtype)}")


def rate(rung, size, rounds=9, patience=5.0):
    """Return operations a second on float32 matrices of size x size.

    The median of `rounds` calls, or of as many as begin within `patience` seconds. A call that is
    not timed comes first, so that each has another one just before it.
    """
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    result = np.empty_like(left)
    rung(result, left, right)
    seconds = []
    while len(seconds) < rounds and sum(seconds) < patience:
        begin = time.perf_counter()
        rung(result, left, right)
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="of the square matrices")
    size = parser.parse_args().size
    for rung in RUNGS:
        check(rung, (129, 300, 257), np.float32)  # and compiled
    print(f"{size} x {size} x {size}, float32, one core\n")
    print(f"{'':16}{'GFLOP/s':>10}{'of peak':>10}")
    for rung in RUNGS:
        reached, limit = rate(rung, size), peak.measure(threads=1, seconds=0.3)
        print(f"{rung.__name__:16}{reached / 1e9:10.1f}{reached / limit:10.0%}")


if __name__ == "__main__":
    main()
