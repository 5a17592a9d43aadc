"""Elementary functions on vectors: numba has none, and a library call a lane is five times slower.

Sources: argument reduction with a constant in two parts, Cody and Waite, "Software Manual for
the Elementary Functions" (1980), chapter 6. The polynomial is the Taylor series of e**r, cut
where the next term is below a tenth of the rounding error for |r| <= ln(2) / 2.
"""

import math

from numba import types
from numba.core import errors
from numba.extending import overload

from .simd import Vector, fma, polynomial, scale_by_power_of_two, select, splat

_LOG2_E = 1.0 / math.log(2.0)


def _taylor_exp(degree):
    return polynomial(*(1.0 / math.factorial(k) for k in range(degree, -1, -1)))


def exp(x):
    """Return e**x for each lane of the vector `x` (jitted code only)."""
    raise NotImplementedError("kernels.elementary.exp runs in jitted code only")


@overload(exp)
def _exp(x):
    if not isinstance(x, Vector):
        raise errors.TypingError(f"exp takes a vector, got {x}")
    if x.dtype == types.float32:
        # ln 2 = high + low, with enough zeros at the end of `high` that n * high is exact.
        smallest, largest, magic = -104.0, 89.0, 1.5 * 2.0**23
        high, low, series = 0.693359375, -2.12194440054690583e-4, _taylor_exp(7)
    else:
        smallest, largest, magic = -746.0, 710.0, 1.5 * 2.0**52
        high, low = 0.693147180369123816490, 1.90821492927058770002e-10
        series = _taylor_exp(13)

    def exp_vector(x):
        # The bounds give 0 and inf; both comparisons are false for NaN, which stays.
        x = select(x < smallest, splat(x, smallest), x)
        x = select(x > largest, splat(x, largest), x)
        shifted = fma(x, splat(x, _LOG2_E), splat(x, magic))  # rounds x / ln 2 to an integer n
        n = shifted - magic
        rest = fma(n, splat(x, -low), fma(n, splat(x, -high), x))
        return scale_by_power_of_two(series(rest), shifted)

    return exp_vector
