"""Numbers far from 0, of any size, and very many of them: right, or an error."""

import re
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_training import SlowDense

import fastnn
from fastnn import kernels
from fastnn.kernels import reference

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_norm = pytest.mark.parametrize("norm", [fastnn.LayerNorm, fastnn.BatchNorm])


def normalise(values, epsilon=1e-5):
    """Return the normalised values of a 1-D array, formed without rounding up to the root."""
    exact = [Fraction(float(value)) for value in values]
    mean = sum(exact) / len(exact)
    distances = [value - mean for value in exact]
    variance = sum(d * d for d in distances) / len(exact) + Fraction(epsilon)
    # Both are divided by a power of two near the deviation, so that floats hold them.
    size = Fraction(2) ** (
        (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2
    )
    return np.array([float(d / size) for d in distances]) / float(variance / size**2) ** 0.5


def forward(norm, values, dtype, training=True):
    """Return the normalised values of a 1-D array, as one row or as one column."""
    size = len(values) if norm is fastnn.LayerNorm else 1
    layer = norm(size, dtype=dtype)
    rows = np.reshape(values, (-1, size)).astype(dtype)
    return layer, layer.forward(rows, training=training)


# ----------------------------------------------------------------------- normalisation


@every_norm
@every_dtype
@pytest.mark.parametrize("value", [123456.789, -123456.789, 0.1, 2024, 1e15, -1e30])
@pytest.mark.parametrize("count", [2, 16, 17, 37, 300])
def test_equal_values_have_no_variance(norm, dtype, value, count):
    """37 times 123456.789 gave 0.93 and 0.99 in float32."""
    layer, outputs = forward(norm, np.full(count, value), dtype)
    # A mean that is a rounding error off stays where it is no more than that.
    assert_allclose(outputs, 0, atol=1e-4 if dtype is np.float32 else 1e-12)
    if abs(value) > 1e3:
        assert not outputs.any()
    gradient = np.linspace(-1, 1, outputs.size, dtype=dtype).reshape(outputs.shape)
    assert np.isfinite(layer.backward(gradient)).all()


@every_norm
@every_dtype
@pytest.mark.parametrize("distance", [0, 1e2, 1e4, 1e6, 1e7])
@pytest.mark.parametrize("count", [7, 33, 500, 5000])
def test_values_far_from_zero(norm, dtype, distance, count):
    values = (distance + np.random.default_rng(count).normal(0, 1, count)).astype(dtype)
    layer, outputs = forward(norm, values, dtype)
    # Below the distances at which the mean is corrected its rounding error counts in full.
    tolerance = 2e-4 if dtype is np.float32 else 1e-9
    assert_allclose(outputs.ravel(), normalise(values), rtol=0, atol=tolerance)
    gradient = np.random.default_rng(0).normal(size=outputs.shape).astype(dtype)
    shifted, near = layer.backward(gradient), forward(norm, values - dtype(distance), dtype)[0]
    near.forward(values.reshape(outputs.shape) - dtype(distance), training=True)
    assert_allclose(shifted, near.backward(gradient), rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(np.float32, size) for size in (1e15, 1e19, 1e30, 1e38)]
    + [(np.float64, size) for size in (1e30, 1e150, 1e160, 1e300)],
)
def test_rows_whose_squares_overflow_are_normalised(dtype, size):
    """At 1e30 all were 0 in float32."""
    values = np.array([0.5, -3, 2, 2.5, 0, -0.25] * 7) * size
    if dtype is np.float32 and size == 1e38:
        values /= 2  # the mean of these is below the largest number, their sum is not
    layer, outputs = forward(fastnn.LayerNorm, values, dtype)
    wanted = normalise(values.astype(dtype))
    assert_allclose(outputs[0], wanted, rtol=0, atol=100 * np.finfo(dtype).eps)
    gradient = np.random.default_rng(0).normal(size=outputs.shape).astype(dtype)
    small, _ = forward(fastnn.LayerNorm, values / size, np.float64)
    small.epsilon = 1e-300
    small.forward(values[np.newaxis] / size)
    assert_allclose(layer.backward(gradient) * size, small.backward(gradient), rtol=0, atol=1e-4)


@every_dtype
def test_a_row_of_the_largest_numbers(dtype):
    most = float(np.finfo(dtype).max)
    for values in ([most, -most, 0.0], [most] * 37, [most, most, -most] * 100):
        _, outputs = forward(fastnn.LayerNorm, values, dtype)
        assert_allclose(outputs[0], normalise(values), rtol=0, atol=1e-6)


@every_dtype
def test_a_column_whose_variance_overflows_is_refused(dtype):
    """At 1e30 the outputs were NaN, without an error."""
    size = 1e30 if dtype is np.float32 else 1e300
    layer = fastnn.BatchNorm(2, dtype=dtype)
    moments = layer.running_mean.copy(), layer.running_variance.copy()
    rows = np.array([[1.0, size], [2.0, -size], [3.0, size]])
    with pytest.raises(ValueError, match="inputs has a variance in column 1 that is too large"):
        layer.forward(rows, training=True)
    assert np.array_equal([layer.running_mean, layer.running_variance], moments)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_training_on_a_column_whose_variance_overflows_is_undone(slow):
    kind = SlowDense if slow else fastnn.Dense
    model = fastnn.Sequential([fastnn.BatchNorm(2), kind(2, 2, rng=0)])
    before = model._buffer.copy()
    rows = np.array([[1.0, 1e30], [2.0, -1e30], [3.0, 1e30], [4.0, 2e30]], np.float32)
    with pytest.raises(fastnn.NonFiniteLossError):
        model.fit(rows, [0, 1, 0, 1], epochs=2, batch_size=4, verbose=False)
    assert np.array_equal(model._buffer, before)


def make_far(n=203):
    """Return samples far from 0 and labels, and the samples moved to 0."""
    rng = np.random.default_rng(0)
    near = rng.normal(0, 1, (n, 5)).astype(np.float32).round(2)
    return (near + np.float32(2**17)), (near.sum(axis=1) > 0).astype(int)


def make_network(norm, dtype=np.float32, dense=fastnn.Dense):
    layers = [
        norm(5, dtype=dtype),
        dense(5, 8, dtype=dtype, rng=0),
        fastnn.Tanh(),
        norm(8, dtype=dtype),
        dense(8, 2, dtype=dtype, rng=1),
    ]
    return fastnn.Sequential(layers)


@every_norm
@every_dtype
def test_a_network_of_values_far_from_zero_in_every_way(norm, dtype, monkeypatch):
    """Compiled with any threads and layer by layer: the same bits. NumPy: the same numbers."""
    X, y = make_far()
    X[:, 0] = 123456.789
    options = {"epochs": 3, "batch_size": 64, "seed": 0, "verbose": False}
    options |= {"drop_last": True, "optimizer": fastnn.SGD(0.1)}
    found = []
    for threads in (1, 2, 5):
        model = make_network(norm, dtype)
        model.fit(X, y, threads=threads, **options)
        found.append(model._buffer.copy())
    slow = make_network(norm, dtype, SlowDense)
    with pytest.warns(fastnn.SlowTrainingWarning):
        slow.fit(X, y, **options)
    layers = [layer for layer in slow.layers if hasattr(layer, "stored")]
    kept = [getattr(layer, name) for name in ("weights", "running_mean") for layer in layers
            if name in layer.stored]  # fmt: skip
    fast = [layer for layer in model.layers if hasattr(layer, "stored")]
    same = [getattr(layer, name) for name in ("weights", "running_mean") for layer in fast
            if name in layer.stored]  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(kept, same, strict=True))
    assert all(np.array_equal(each, found[0]) for each in found)
    few, many = model.predict_proba(X[:3]), model.predict_proba(X)[:3]
    assert np.array_equal(few, many)
    assert_allclose(many, slow.predict_proba(X)[:3], rtol=1e-5)
    monkeypatch.setattr(kernels, "train_steps", reference.train_steps)
    monkeypatch.setattr(kernels, "unpack_states", reference.unpack_states)
    plain = make_network(norm, dtype)
    plain.fit(X, y, **options)
    tolerance = 2e-3 if dtype is np.float32 else 1e-9
    assert_allclose(found[0][: plain.parameters.size], plain.parameters, rtol=0, atol=tolerance)


@every_dtype
def test_predictions_far_from_the_running_mean_of_zero(dtype):
    """inputs * scale + (biases - mean * scale) lost the digits in which inputs differ."""
    norm = fastnn.BatchNorm(3, dtype=dtype)
    norm.running_mean = [[123456.789, -5e5, 0.25]]
    norm.running_variance = [[0, 4, 1]]
    norm.weights, norm.biases = [[2, 3, 0.5]], [[1, -1, 0.25]]
    inputs = np.array([[123456.789, -5e5 + 1, 0.5], [123456.789, -5e5 - 2, 0.25]], dtype)
    wanted = [[1, 0.5, 0.375], [1, -4, 0.25]]
    # Of the epsilon in the scale, and of the running mean's last digit.
    assert_allclose(norm.forward(inputs), wanted, rtol=2e-5)
    dense = fastnn.Dense(3, 3, dtype=dtype)
    dense.weights = np.eye(3)
    model = fastnn.Sequential([norm, dense], loss=fastnn.MeanSquaredError())
    assert np.array_equal(model.predict(inputs), norm.forward(inputs))
    assert np.array_equal(model.predict(np.tile(inputs, (40, 1)))[:2], norm.forward(inputs))
    assert np.array_equal(model.compiled().predict(inputs)[0], norm.forward(inputs)[0])


@every_norm
@every_dtype
def test_an_epsilon_that_the_dtype_does_not_hold_is_refused(norm, dtype):
    """Equal values were NaN where it became 0, and all values 0 where it became infinite."""
    for epsilon in (1e-50, 1e50) if dtype is np.float32 else (5e-324,):
        with pytest.raises(
            ValueError, match=f"epsilon is {re.escape(str(epsilon))}, .* of {np.dtype(dtype)}"
        ):
            norm(3, epsilon=epsilon, dtype=dtype)


# ------------------------------------------------------------------------- long batches

MANY = 10_000_000


@pytest.fixture(scope="module")
def column():
    """Return ten million rows of one number of both halves of [1, 2]: their mean is 1.5."""
    values = np.random.default_rng(0).uniform(1, 2, (MANY, 1)).astype(np.float32)
    return values


def test_the_moments_of_a_very_long_batch(column):
    """The mean of 10 million rows was 1 % off."""
    outputs, normalized = np.empty_like(column), np.empty_like(column)
    scales, means, variances = (np.empty((1, 1), np.float32) for _ in range(3))
    weights, biases = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    kernels.batch_norm_forward(
        outputs, normalized, scales, means, variances, column, weights, biases, 1e-5
    )
    assert_allclose(means, column.mean(dtype=np.float64), rtol=1e-6)
    assert_allclose(variances, column.var(dtype=np.float64), rtol=1e-5)
    dinputs, dweights, dbiases = np.empty_like(column), weights.copy(), weights.copy()
    kernels.batch_norm_backward(dinputs, dweights, dbiases, column, column, scales, weights)
    assert_allclose(dbiases, column.sum(dtype=np.float64), rtol=1e-6)
    assert_allclose(dweights, np.square(column, dtype=np.float64).sum(), rtol=1e-6)
    layer = fastnn.BatchNorm(1)
    layer.forward(column)
    layer.backward(column)
    assert_allclose(layer.dbiases, column.sum(dtype=np.float64), rtol=1e-6)
