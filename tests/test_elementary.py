"""The elementary functions of the activations, in units in the last place, over the whole range."""

import math

import numba
import numpy as np
import pytest

from fastnn.kernels import elementary
from fastnn.kernels.pointers import pointer
from fastnn.kernels.simd import lanes, load_part, store_part

INF = math.inf


def sigmoid(x):
    e = math.exp(-abs(x))
    return (1 if x > 0 else e) / (1 + e)


def expm1(x):
    return math.expm1(x) if x < 709.7 else INF


# Each with its reference, whose error is at most about one unit of float64, the worst error found
# in float32 and in float64, and its values at the ends.
FUNCTIONS = {
    "expm1": (expm1, 1.8, 3.1, {-INF: -1, INF: INF}),
    "sigmoid": (sigmoid, 2.2, 3.1, {-INF: 0, INF: 1}),
    "tanh": (math.tanh, 2.7, 3.4, {-INF: -1, INF: 1}),
    "erfc": (math.erfc, 5.2, 6.1, {-INF: 2, INF: 0}),
}

every_function = pytest.mark.parametrize("name", FUNCTIONS)


def evaluate(name, values):
    """Return what the vectorized function gives for an array."""
    function, results = getattr(elementary, name), np.empty_like(values)

    @numba.njit
    def run(results, values):
        result, value = pointer(results), pointer(values)
        for i in range(0, len(values), lanes(value)):
            rest = min(lanes(value), len(values) - i)
            store_part(result + i, function(load_part(value + i, rest, 0.0)), rest)

    run(results, values)
    return results


def errors(name, values):
    """Return the errors in units in the last place of results that are normal numbers."""
    reference = FUNCTIONS[name][0]
    expected = np.array([reference(float(x)) for x in values])
    results = evaluate(name, values).astype(np.float64)
    limits = np.finfo(values.dtype)
    usual = (np.abs(expected) >= limits.tiny) & (np.abs(expected) <= limits.max)
    assert usual.sum() > 1000
    ulp = np.spacing(np.abs(expected[usual]).astype(values.dtype)).astype(np.float64)
    # What is below the normal numbers is right to their last place.
    tiny = np.abs(expected) < limits.tiny
    assert (np.abs(results[tiny] - expected[tiny]) <= 8 * limits.smallest_subnormal).all()
    return np.abs(results[usual] - expected[usual]) / ulp


@every_function
def test_float32(name):
    every = np.arange(0, 2**32, 20_011, dtype=np.uint64).astype(np.uint32).view(np.float32)
    rng = np.random.default_rng(0)
    usual = np.concatenate([rng.uniform(-12, 12, 50_000), rng.normal(0, 1, 50_000)])
    values = np.concatenate([every[np.isfinite(every)], usual.astype(np.float32)])
    assert errors(name, values).max() <= FUNCTIONS[name][1]


@every_function
def test_float64(name):
    rng = np.random.default_rng(0)
    values = np.concatenate([
        rng.uniform(-750, 712, 20_000), rng.uniform(-30, 30, 50_000), rng.normal(0, 1, 50_000),
        np.ldexp(rng.uniform(-1, 1, 20_000), rng.integers(-1020, 0, 20_000)),
    ])  # fmt: skip
    assert errors(name, values).max() <= FUNCTIONS[name][2]


@every_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends(name, dtype):
    ends = FUNCTIONS[name][3]
    largest = {-np.finfo(dtype).max: ends[-INF], np.finfo(dtype).max: ends[INF]}
    table = {**ends, **largest, np.nan: np.nan}
    values = np.array([*table] * 16, dtype)
    np.testing.assert_array_equal(evaluate(name, values), np.array([*table.values()] * 16, dtype))


@pytest.mark.parametrize("name", ["expm1", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_and_the_smallest_numbers_stay(name, dtype):
    info = np.finfo(dtype)
    values = np.array([0.0, info.tiny, info.smallest_subnormal] * 16, dtype)
    np.testing.assert_array_equal(evaluate(name, values), values)
    np.testing.assert_array_equal(evaluate(name, -values), -values)
