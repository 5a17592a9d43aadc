"""Elementary functions on vectors. Numba has none, and library calls for lanes are 5 times slower.

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

from .float_bits import scale_by_power_of_two, split_power_of_two
from .simd import Vector, fma, polynomial, select, splat

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
        # Comparisons are false for NaN, so it stays. Lanes whose result is 0 get 0 before the
        # arithmetic, since underflow takes 150 cycles on Intel's CPUs (as with -inf as padding).
        vanishes = x < smallest
        x = select(vanishes, splat(x, 0.0), x)
        x = select(x > largest, splat(x, largest), x)
        shifted = fma(x, splat(x, _LOG2_E), splat(x, magic))  # rounds x / ln 2 to an integer n
        n = shifted - magic
        rest = fma(n, splat(x, -low), fma(n, splat(x, -high), x))
        result = scale_by_power_of_two(series(rest), shifted)
        return select(vanishes, splat(x, 0.0), result)

    return exp_vector


def _taylor_expm1(degree):
    """Return (e**r - 1) / r."""
    return polynomial(*(1.0 / math.factorial(k) for k in range(degree, 0, -1)))


def expm1(x):
    """Return e**x - 1 for each lane of the vector `x` (jitted code only)."""
    raise NotImplementedError("kernels.elementary.expm1 runs in jitted code only")


@overload(expm1)
def _expm1(x):
    if not isinstance(x, Vector):
        raise errors.TypingError(f"expm1 takes a vector, got {x}")
    if x.dtype == types.float32:
        smallest, largest, magic = -20.0, 89.0, 1.5 * 2.0**23
        high, low, series = 0.693359375, -2.12194440054690583e-4, _taylor_expm1(8)
    else:
        smallest, largest, magic = -40.0, 710.0, 1.5 * 2.0**52
        high, low = 0.693147180369123816490, 1.90821492927058770002e-10
        series = _taylor_expm1(14)

    def expm1_vector(x):
        # Below `smallest` the result is -1 to the last bit.
        x = select(x < smallest, splat(x, smallest), x)
        x = select(x > largest, splat(x, largest), x)
        shifted = fma(x, splat(x, _LOG2_E), splat(x, magic))
        n = shifted - magic
        rest = fma(n, splat(x, -low), fma(n, splat(x, -high), x))
        # 2**n (e**rest - 1) + (2**n - 1): exact but for the first term where n is 0.
        power = scale_by_power_of_two(splat(x, 1.0), shifted) - 1.0
        grown = rest * series(rest)
        # For large x the result is e**x; 2**n alone would overflow.
        large = scale_by_power_of_two(grown + 1.0, shifted)
        return select(x > -smallest, large, scale_by_power_of_two(grown, shifted) + power)

    return expm1_vector


def sigmoid(x):
    """Return 1 / (1 + e**-x) for each lane of the vector `x` (jitted code only)."""
    raise NotImplementedError("kernels.elementary.sigmoid runs in jitted code only")


@overload(sigmoid)
def _sigmoid(x):
    if not isinstance(x, Vector):
        raise errors.TypingError(f"sigmoid takes a vector, got {x}")

    def sigmoid_vector(x):
        e = exp(select(x > 0.0, splat(x, 0.0) - x, x))  # at most 1: nothing overflows
        return select(x > 0.0, splat(x, 1.0), e) / (e + 1.0)

    return sigmoid_vector


def tanh(x):
    """Return the hyperbolic tangent of each lane of the vector `x` (jitted code only)."""
    raise NotImplementedError("kernels.elementary.tanh runs in jitted code only")


@overload(tanh)
def _tanh(x):
    if not isinstance(x, Vector):
        raise errors.TypingError(f"tanh takes a vector, got {x}")

    def tanh_vector(x):
        size = select(x < 0.0, splat(x, 0.0) - x, x)
        size = select(size > 20.0, splat(x, 20.0), size)  # there it is 1 to the last bit
        e = expm1(size + size)
        t = e / (e + 2.0)
        return select(x < 0.0, splat(x, 0.0) - t, t)

    return tanh_vector


# erfc(z) e**(z*z) / t for t = 2 / (2 + z) and z >= 0, as a polynomial of 2 t - 1: interpolated at
# Chebyshev's points with 50 digits, its error is 2.6e-8 (degree 10) and 1.2e-17 (degree 27). The
# substitution is that of Numerical Recipes (3rd edition, 6.2.2).
_ERFC_FLOAT32 = polynomial(
    4.428841467145517e-05,
    -3.676436163571195e-05,
    -0.0003047190864122867,
    0.0004310400216422833,
    0.0015338470443377152,
    -0.003243733067797946,
    -0.010753310882746258,
    0.01822174911458144,
    0.13973594579655535,
    0.3435803125493544,
    0.5107913526210115,
)
ERFC_FLOAT64 = (
    -3.98636294277478e-10,
    1.2098746244203231e-09,
    1.6323398807169344e-09,
    -9.775556667111567e-09,
    5.140345918956905e-09,
    2.9131155308487508e-08,
    -5.546587044211434e-08,
    -1.848669368762183e-09,
    1.6246994987174998e-07,
    -2.853844774555098e-07,
    -1.157247380519068e-09,
    1.0007982351303053e-06,
    -1.8218361427008817e-06,
    -5.627559192378118e-07,
    8.060426963858187e-06,
    -1.084807828833205e-05,
    -1.7074435930768933e-05,
    7.223535548997429e-05,
    -1.718572067691969e-05,
    -0.0003315367483461889,
    0.00041864803150011776,
    0.0015453060291222003,
    -0.003239592533879013,
    -0.010755330944719348,
    0.0182211157534395,
    0.13973604627802694,
    0.3435803422069053,
    0.5107913526210115,
)


def erfc(x):
    """Return 1 - erf(x) for each lane of the vector `x` (jitted code only)."""
    raise NotImplementedError("kernels.elementary.erfc runs in jitted code only")


@overload(erfc)
def _erfc(x):
    if not isinstance(x, Vector):
        raise errors.TypingError(f"erfc takes a vector, got {x}")
    if x.dtype == types.float32:
        largest, magic, series = 11.0, 1.5 * 2.0**19, _ERFC_FLOAT32
    else:
        largest, magic, series = 28.0, 1.5 * 2.0**48, polynomial(*ERFC_FLOAT64)

    def erfc_vector(x):
        z = select(x < 0.0, splat(x, 0.0) - x, x)
        z = select(z > largest, splat(x, largest), z)  # erfc is 0 there
        # z = near + rest with near a multiple of 1/16, whose square is exact.
        near = (z + magic) - magic
        rest = z - near
        zero = splat(x, 0.0)
        decay = exp(zero - near * near) * exp(zero - rest * (z + near))
        t = 2.0 / (z + 2.0)
        result = t * series(t + t - 1.0) * decay
        return select(x < 0.0, 2.0 - result, result)

    return erfc_vector


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
        # f - half is the start of the series. The rest is small, and so are its rounding errors.
        rest = fma(s, fma(z, series(z), half), n * low)
        result = fma(n, splat(x, high), f - (half - rest))
        result = select(x == 0.0, splat(x, -math.inf), result)
        result = select(x < 0.0, splat(x, math.nan), result)
        # inf and NaN are their own logarithms.
        return select(x <= largest, result, x)

    return log_vector
