"""The FMA peak of this machine, measured: multiply-adds that wait for nothing but each other.

    python benchmarks/peak.py

A matrix product cannot be faster than this, so products are judged by their fraction of it.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from worker import usable_cpus

from fastnn.kernels import target
from fastnn.kernels.jit import inner
from fastnn.kernels.pointers import pointer
from fastnn.kernels.simd import fma, lanes, load, splat, sum_lanes

# A CPU starts two multiply-adds a cycle and takes four or five cycles for each: ten must be on
# their way at any time, each in a chain of its own, and none may be spilled from the registers.
_CHAINS = 12


@inner
def _advance(chains, factor, term):
    a, b, c, d, e, f = chains
    return (
        fma(a, factor, term),
        fma(b, factor, term),
        fma(c, factor, term),
        fma(d, factor, term),
        fma(e, factor, term),
        fma(f, factor, term),
    )


@inner
def _six(start):
    step = lanes(start)
    return (
        load(start),
        load(start + step),
        load(start + 2 * step),
        load(start + 3 * step),
        load(start + 4 * step),
        load(start + 5 * step),
    )


@inner
def _total(chains):
    a, b, c, d, e, f = chains
    return sum_lanes((a + b) + (c + d) + (e + f))


@numba.njit(nogil=True)
def _twelve_chains(values, rounds):
    """Take `rounds` steps of 12 chains, for registers as wide as a vector."""
    start = pointer(values)
    factor, term = splat(start, 0.5), splat(start, 1.0)
    low, high = _six(start), _six(start + 6 * lanes(start))
    for _ in range(rounds):
        low, high = _advance(low, factor, term), _advance(high, factor, term)
    return _total(low) + _total(high)


@numba.njit(nogil=True)
def _six_chains(values, rounds):
    """Likewise 6 chains, for narrower registers: a vector fills two of them, or four."""
    start = pointer(values)
    factor, term = splat(start, 0.5), splat(start, 1.0)
    chains = _six(start)
    for _ in range(rounds):
        chains = _advance(chains, factor, term)
    return _total(chains)


def measure(threads, seconds, dtype=np.float32):
    """Return the operations a second (two for a multiply-add) of `threads` threads together."""
    wide = target.current().vector_bytes == 64
    work, chains = (_twelve_chains, 12) if wide else (_six_chains, 6)
    # Chains that start alike would be merged into one by the compiler.
    values = np.arange(16 * _CHAINS).astype(dtype)
    terms = chains * (64 // values.itemsize)

    def run(rounds):
        begin = time.perf_counter()
        totals = list(pool.map(work, [values] * threads, [rounds] * threads))
        elapsed = time.perf_counter() - begin
        # x / 2 + 1 tends to 2 in every lane, so the totals show that the work was done.
        if totals != [2.0 * terms] * threads:
            raise RuntimeError(f"wrong totals: {totals}, expected {2.0 * terms} from each thread")
        return elapsed

    with ThreadPoolExecutor(threads) as pool:
        run(1000)  # compiles
        rounds = 1_000_000
        rounds = max(1000, int(rounds * seconds / run(rounds)))
        return 2 * terms * rounds * threads / run(rounds)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for dtype in (np.float32, np.float64):
        for threads in dict.fromkeys((1, usable_cpus())):
            rate = max(measure(threads, 0.5, dtype) for _ in range(5))
            print(f"{np.dtype(dtype)}, {threads} thread(s): {rate / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
