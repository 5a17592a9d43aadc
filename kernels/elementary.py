"""Elementary functions on vectors: numba has none, and a library call a lane is five times slower.

Sources: argument reduction with a constant in two parts, Cody and Waite, "Software Manual for
the Elementary Functions" (1980), chapters 5 and 6. The polynomials are Taylor series, cut where
the next term is below a tenth of the rounding error on the reduced interval: of e**r for
|r| <= ln(2) / 2, and of log((1 + s) / (1 - s)) = 2 (s + s**3 / 3 + s**5 / 5 + ...) for
|s| <= (sqrt(2) - 1) / (sqrt(2) + 1) = 0.172.
"""

import math

from numba import types
from numba.core import errors
from numba.extending import overload

from .simd import (
    Vector,
    fma,
    polynomial,
    scale_by_power_of_two,
    select,
    splat,
    split_power_of_two,
)

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
        # Comparisons are false for NaN, which stays. A lane that ends as 0 is set aside, since
        # arithmetic that underflows takes Intel 150 cycles: the -inf behind the end of a row did.
        vanishes = x < smallest
        x = select(vanishes, splat(x, 0.0), x)
        x = select(x > largest, splat(x, largest), x)
        shifted = fma(x, splat(x, _LOG2_E), splat(x, magic))  # rounds x / ln 2 to an integer n
        n = shifted - magic
        rest = fma(n, splat(x, -low), fma(n, splat(x, -high), x))
        result = scale_by_power_of_two(series(rest), shifted)
        return select(vanishes, splat(x, 0.0), result)

    return exp_vector


def _taylor_log(terms):
    """Return 2 (z / 3 + z**2 / 5 + ...) / z as a polynomial of z."""
    return polynomial(*(2.0 / (2 * k + 1) for k in range(terms, 0, -1)))


def log(x):
    """Return the natural logarithm of each lane of the vector `x` (jitted code only)."""
    raise NotImplementedError("kernels.elementary.log runs in jitted code only")


@overload(log)
def _log(x):
    if not isinstance(x, Vector):
        raise errors.TypingError(f"log takes a vector, got {x}")
    if x.dtype == types.float32:
        smallest, largest = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
        lift, lifted = 2.0**24, 24.0
        # ln 2 = high + low, with enough zeros at the end of `high` that n * high is exact.
        high, low, series = 0.693359375, -2.12194440054690583e-4, _taylor_log(5)
    else:
        smallest, largest = 2.0**-1022, (2.0 - 2.0**-52) * 2.0**1023
        lift, lifted = 2.0**54, 54.0
        high, low = 0.693147180369123816490, 1.90821492927058770002e-10
        series = _taylor_log(11)

    def log_vector(x):
        tiny = x < smallest  # subnormal, zero or negative
        m, n = split_power_of_two(select(tiny, x * lift, x))
        n = select(tiny, n - lifted, n)
        f = m - 1.0
        s = f / (f + 2.0)
        z = s * s
        half = f * f * 0.5
        # f - half is the start of the series; what it leaves is small, and so are its errors.
        rest = fma(s, fma(z, series(z), half), n * low)
        result = fma(n, splat(x, high), f - (half - rest))
        result = select(x == 0.0, splat(x, -math.inf), result)
        result = select(x < 0.0, splat(x, math.nan), result)
        # inf and NaN are their own logarithms.
        return select(x <= largest, result, x)

    return log_vector
