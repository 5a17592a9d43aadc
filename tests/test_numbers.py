"""Numbers far from 0, of any size, and very many of them: right, or an error."""

import re
from fractions import Fraction

import catalogue_cases
import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_training import SlowDense

import fastnn
from fastnn import kernels
from fastnn.kernels import reference_program
from fastnn.kernels import table as t

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_norm = pytest.mark.parametrize("norm", [fastnn.LayerNorm, fastnn.BatchNorm])


def normalize(values, epsilon=1e-5):
    """Return the normalized values of a 1-D array, formed without rounding up to the root."""
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
    """Return the normalized values of a 1-D array, as one row or as one column."""
    size = len(values) if norm is fastnn.LayerNorm else 1
    layer = norm(size, dtype=dtype)
    rows = np.reshape(values, (-1, size)).astype(dtype)
    return layer, layer.forward(rows, training=training)


# ----------------------------------------------------------------------- normalization


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
    assert_allclose(outputs.ravel(), normalize(values), rtol=0, atol=tolerance)
    gradient = np.random.default_rng(0).normal(size=outputs.shape).astype(dtype)
    shifted, near = layer.backward(gradient), forward(norm, values - dtype(distance), dtype)[0]
    near.forward(values.reshape(outputs.shape) - dtype(distance), training=True)
    assert_allclose(shifted, near.backward(gradient), rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(np.float32, size) for size in (1e15, 1e19, 1e30, 1e38)]
    + [(np.float64, size) for size in (1e30, 1e150, 1e160, 1e300)],
)
def test_rows_whose_squares_overflow_are_normalized(dtype, size):
    """At 1e30 all were 0 in float32."""
    values = np.array([0.5, -3, 2, 2.5, 0, -0.25] * 7) * size
    if dtype is np.float32 and size == 1e38:
        values /= 2  # the mean of these is below the largest number, their sum is not
    layer, outputs = forward(fastnn.LayerNorm, values, dtype)
    wanted = normalize(values.astype(dtype))
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
        assert_allclose(outputs[0], normalize(values), rtol=0, atol=1e-6)


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
    before = model._network.buffer.copy()
    rows = np.array([[1.0, 1e30], [2.0, -1e30], [3.0, 1e30], [4.0, 2e30]], np.float32)
    with pytest.raises(fastnn.NonFiniteLossError):
        model.fit(rows, [0, 1, 0, 1], epochs=2, batch_size=4, verbose=False)
    assert np.array_equal(model._network.buffer, before)


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
        found.append(model._network.buffer.copy())
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
    monkeypatch.setattr(kernels, "train_steps", reference_program.train_steps)
    monkeypatch.setattr(kernels, "unpack_states", reference_program.unpack_states)
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


def long_case(rows, dtype, n_inputs=5, n_outputs=49):
    """Return doutputs, inputs and weights of a dense layer, with sums far from 0."""
    rng = np.random.default_rng(0)
    doutputs = rng.uniform(0, 1, (rows, n_outputs)).astype(dtype)
    inputs = rng.uniform(-0.5, 1, (rows, n_inputs)).astype(dtype)
    return doutputs, inputs, rng.normal(size=(n_inputs, n_outputs)).astype(dtype)


def plain_sums(terms):
    """Return the sums over the rows in the order of `sums.py`."""
    total = lost = np.zeros_like(terms[0])
    for first in range(0, len(terms), t.SUM_ROWS):
        part = np.add.accumulate(terms[first : first + t.SUM_ROWS], axis=0)[-1] - lost
        following = total + part
        total, lost = following, (following - total) - part
    return total


@every_dtype
@pytest.mark.parametrize("extra", [-1, 0, 1, 17, 4096, 4097])
def test_sums_go_by_blocks_of_rows(dtype, extra):
    """Up to the first block they are plain sums; poisoned memory behind is never read."""
    rows = t.SUM_ROWS + extra
    doutputs, inputs, weights = long_case(rows, dtype)
    for fill in (0.0, np.nan):
        gradients = [np.full(shape, fill, dtype) for shape in ((rows, 5), (5, 49), (1, 49))]
        kernels.dense_backward(*gradients, doutputs, inputs, weights)
        assert np.array_equal(gradients[2][0], plain_sums(doutputs))
        if extra <= 0:
            zeros, product = np.zeros((1, 49), dtype), np.empty((5, 49), dtype)
            kernels.dense_forward(product, inputs.T.copy(), doutputs, zeros)
            assert np.array_equal(gradients[1], product)
        exact = inputs.T.astype(np.float64) @ doutputs.astype(np.float64)
        assert_allclose(gradients[1], exact, rtol=2e-5 if dtype is np.float32 else 1e-13)
        alone = np.full((5, 49), fill, dtype)
        kernels.dense_backward(None, alone, None, doutputs, inputs, weights)
        assert np.array_equal(alone, gradients[1])


@pytest.mark.parametrize("sizes", [(1, 1), (97, 3), (100, 60)])
def test_pieces_of_a_long_gradient(sizes):
    """Pieces at the edges of 96 rows and of panels."""
    doutputs, inputs, weights = long_case(t.SUM_ROWS + 300, np.float32, *sizes)
    dweights = np.full(sizes, np.nan, np.float32)
    kernels.dense_backward(None, dweights, None, doutputs, inputs, weights)
    exact = inputs.T.astype(np.float64) @ doutputs.astype(np.float64)
    assert_allclose(dweights, exact, rtol=1e-4)


def test_the_gradients_of_a_very_long_batch(column):
    """The bias gradient of 30 million rows was 4 % off, of equal numbers sooner."""
    equal = np.full((MANY, 1), 0.1, np.float32)
    dweights, dbiases = (np.empty((1, 1), np.float32) for _ in range(2))
    kernels.dense_backward(None, dweights, dbiases, equal, column, dweights)
    exact = float(np.float32(0.1))
    # The bound of a block is 2.4e-4; its additions of equal numbers all err to one side.
    assert_allclose(dbiases, exact * MANY, rtol=1e-4)
    assert_allclose(dweights, exact * column.sum(dtype=np.float64), rtol=1e-4)


OPTIMIZERS = {
    "plain": lambda: fastnn.SGD(1e-3),
    "momentum": lambda: fastnn.SGD(1e-3, 0.9),
    "clipped": lambda: fastnn.SGD(1e-3, clip_norm=0.1),
    "Adam": lambda: fastnn.Adam(1e-3),
}


@every_dtype
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_a_batch_of_several_blocks_trains_with_the_same_bits_in_every_way(optimizer, dtype):
    """And one of a single block with those of its plain sums, whatever the rule."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * t.SUM_ROWS + 100, 6)).astype(dtype)
    y = (X.sum(axis=1) > 0).astype(int)

    def make(kind=fastnn.Dense):
        layers = [kind(6, 100, rng=0, dtype=dtype), fastnn.ReLU()]
        layers += [fastnn.BatchNorm(100, dtype=dtype), fastnn.LayerNorm(100, dtype=dtype)]
        return fastnn.Sequential([*layers, kind(100, 2, rng=1, dtype=dtype)])

    found = []
    for threads, kind in ((1, fastnn.Dense), (2, fastnn.Dense), (3, fastnn.Dense), (1, SlowDense)):
        model = make(kind)
        model.fit(
            X, y, epochs=2, batch_size=len(X), seed=0, threads=threads, verbose=False,
            optimizer=OPTIMIZERS[optimizer](),
        )  # fmt: skip
        found.append([getattr(each, name) for each in model.layers
                      for name in getattr(each, "stored", ())])  # fmt: skip
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            if optimizer == "clipped" and other is found[-1]:  # its length has other roundings
                assert_allclose(a, b, rtol=1e-5, atol=1e-7)
            else:
                assert np.array_equal(a, b)


# --------------------------------------------------------------------------- clip_norm


@every_dtype
@pytest.mark.parametrize("size", [1e-30, 1e10, 1e25, 3e38, 1e160, 1e300])
def test_update_clips_a_gradient_of_any_length(dtype, size):
    """A float32 gradient longer than 1.8e19 gave a step of 0, float64 from 1e160."""
    if dtype is np.float32 and size > 1e39:
        size = 1e38
    gradient = np.array([3, -4, 0, 12], dtype) / dtype(13) * dtype(size)
    for momentum in (0.0, 0.9):
        for limit in (1.0, 1e-6):
            parameters = np.zeros(4, dtype)
            fastnn.SGD(0.5, momentum, clip_norm=limit).update(parameters, gradient)
            factor = min(1, limit / (size + 1e-6))
            wanted = -0.5 * gradient.astype(np.longdouble) * factor
            assert_allclose(parameters, wanted.astype(np.float64), rtol=1e-5)


@every_dtype
def test_a_gradient_longer_than_any_number_is_clipped(dtype):
    most = float(np.finfo(dtype).max)
    parameters = np.zeros(100, dtype)
    fastnn.SGD(1.0, clip_norm=1.0).update(parameters, np.full(100, most, dtype))
    assert_allclose(parameters, -0.1, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float32, 1e12), (np.float32, 1e25), (np.float64, 1e100),
                        (np.float64, 1e200)],
)  # fmt: skip
@pytest.mark.parametrize("norm", [None, fastnn.LayerNorm])
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_fit_clips_a_gradient_of_any_length(dtype, size, norm, monkeypatch):
    """The same step compiled with any threads, layer by layer, in NumPy, and of a short one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 30)).astype(dtype)
    y = rng.choice([-1.0, 1.0], (40, 3)).astype(dtype)

    def trained(scale, kind=fastnn.Dense, threads=1):
        # Of absolute errors the gradient is of the size of the inputs and the weights.
        last = kind(70, 3, rng=1, dtype=dtype)
        last.weights = last.weights * dtype(scale)
        middle = [norm(70, dtype=dtype)] if norm else []
        layers = [kind(30, 70, rng=0, dtype=dtype), fastnn.Tanh(), *middle, last]
        model = fastnn.Sequential(layers, loss=fastnn.MeanAbsoluteError())
        before = [layer.weights.astype(np.float64) for layer in layers if hasattr(layer, "weights")]
        model.fit(
            X, y, epochs=1, batch_size=40, seed=0, verbose=False, threads=threads,
            optimizer=fastnn.SGD(0.5, clip_norm=1.0),
        )  # fmt: skip
        after = [layer.weights for layer in layers if hasattr(layer, "weights")]
        return [b - a for a, b in zip(before, after, strict=True)]

    first = trained(size)
    assert any(each.any() for each in first)
    assert np.abs(np.concatenate([each.ravel() for each in first])).max() > 1e-3
    for threads in (2, 3):
        again = trained(size, threads=threads)
        assert all(map(np.array_equal, first, again))
    ways = [trained(size, SlowDense)]
    monkeypatch.setattr(kernels, "train_steps", reference_program.train_steps)
    monkeypatch.setattr(kernels, "unpack_states", reference_program.unpack_states)
    ways.append(trained(size))
    for way in ways:
        for a, b in zip(first[:-1], way[:-1], strict=True):
            assert_allclose(a, b, rtol=0, atol=1e-5 if dtype is np.float32 else 1e-12)


@every_dtype
@pytest.mark.parametrize("wrong", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_is_not_clipped_in_silence(dtype, wrong):
    parameters = np.ones(3, dtype)
    fastnn.SGD(0.5, clip_norm=1.0).update(parameters, np.array([1, wrong, 1], dtype))
    assert not np.isfinite(parameters[1])


# --------------------------------------------------------------------------- subnormal numbers


def count_subnormal(*arrays):
    return sum(int(((a != 0) & (np.abs(a) < np.finfo(a.dtype).tiny)).sum()) for a in arrays)


DECAYS = {
    "SGD, weight decay": (lambda: fastnn.SGD(0.1, weight_decay=3.0), {}),
    "SGD, penalty": (lambda: fastnn.SGD(0.1), {"weights_l2": 1.5, "biases_l2": 1.5}),
    "momentum": (lambda: fastnn.SGD(0.1, 0.3, weight_decay=3.0), {}),
    "Nesterov": (lambda: fastnn.SGD(0.1, 0.3, nesterov=True, weight_decay=3.0), {}),
    "clipped": (lambda: fastnn.SGD(0.1, weight_decay=3.0, clip_norm=1.0), {}),
    "AdamW": (lambda: fastnn.AdamW(0.1, weight_decay=3.0), {}),
    "AMSGrad": (lambda: fastnn.AdamW(0.1, weight_decay=3.0, amsgrad=True), {}),
}


@every_dtype
@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_weights_that_decay_become_zero_and_never_subnormal(name, dtype, slow):
    """15,893 of them made a fit 59 times slower, and its predictions 99 times."""
    make, penalties = DECAYS[name]
    kind, optimizer = SlowDense if slow else fastnn.Dense, make()
    rng = np.random.default_rng(0)
    X, y = np.zeros((16, 20), dtype), rng.integers(0, 3, 16)
    X[:, :4] = rng.normal(size=(16, 4))
    first = kind(20, 30, rng=0, dtype=dtype, **penalties)
    model = fastnn.Sequential([first, fastnn.Tanh(), kind(30, 3, rng=1, dtype=dtype)])
    seen = 0
    for _ in range(16 if dtype is np.float32 else 120):
        model.fit(X, y, epochs=20, batch_size=16, seed=0, optimizer=optimizer, verbose=False)
        arrays = [
            array for layer in model._network.parametric for array in (layer.weights, layer.biases)
        ]
        states = [state.arrays for _, state in optimizer._states.values()]
        assert count_subnormal(*arrays, *states) == 0
        seen += 1
        if not first.weights[4:].any():
            break
    assert not first.weights[4:].any(), "the weights have not decayed yet"
    assert seen > 1


@every_dtype
@pytest.mark.parametrize("fused", [True, False])
def test_plain_descent_to_zero_leaves_no_subnormal_weights(fused, dtype):
    """Targets of 0 shrink weights by a factor a step, without any decay."""
    dense = fastnn.Dense(1, 40, dtype=dtype, rng=0, use_bias=fused)
    model = fastnn.Sequential([dense], loss=fastnn.MeanSquaredError())
    X, y = np.array([[1], [-1]] * 4, dtype), np.zeros((8, 40), dtype)
    optimizer = fastnn.SGD(5.0)
    for _ in range(24 if dtype is np.float32 else 180):
        model.fit(X, y, epochs=20, batch_size=8, seed=0, optimizer=optimizer, verbose=False)
        assert count_subnormal(dense.weights, dense.biases) == 0
    # The gradient of a mean over 8 samples and 40 outputs is 0 before the weights are.
    assert np.abs(dense.weights).max() < 1000 * np.finfo(dtype).tiny


@every_dtype
def test_an_update_leaves_no_subnormal_parameters(dtype):
    tiny = np.finfo(dtype).tiny
    before = np.array([1.0, 1.5, -1.5, 0.0, 3.0] * 9, dtype) * tiny
    kernels.sgd_update(halved := before.copy(), before, dtype(0.5))
    optimized = before.copy()
    fastnn.SGD(0.5).update(optimized, before)
    for result in (halved, optimized):
        assert np.array_equal(result, np.where(np.abs(before) < 2 * tiny, 0, before / 2))


@every_dtype
@pytest.mark.parametrize(
    "layer", sorted(catalogue_cases.ACTIVATIONS.keys() - {"ReLU", "Softmax", "Identity"})
)
def test_activations_have_no_subnormal_tails(layer, dtype):
    low = -110 if dtype is np.float32 else -760
    tiny = np.finfo(dtype).tiny
    x = np.concatenate([np.linspace(low, 0, 20_001), [-3 * tiny, 3 * tiny]]).astype(dtype)[None]
    layer = catalogue_cases.ACTIVATIONS[layer]()
    outputs = layer.forward(x)
    assert outputs.any()
    assert count_subnormal(outputs, layer.backward(np.full_like(x, 1e-3))) == 0
    assert np.isfinite(outputs).all()


@every_dtype
@pytest.mark.parametrize("classes", [5, 70])
def test_softmax_and_the_gradients_of_losses_have_no_subnormal_tails(classes, dtype):
    low = -110 if dtype is np.float32 else -760
    logits = np.random.default_rng(0).uniform(low, 0, (400, classes)).astype(dtype)
    logits[:, 1] = 0
    labels = np.tile(np.arange(4), 100)
    rows = np.eye(classes, dtype=dtype)[labels]
    softmax, head = fastnn.Softmax(), fastnn.SoftmaxCrossEntropy()
    found = [softmax.forward(logits), softmax.backward(np.full_like(logits, 1e-3) * logits)]
    for targets in (labels, rows):
        head.forward(logits, targets)
        found += [head.output, head.backward(head.output, targets)]
        losses, dlogits = np.empty(400), np.empty_like(logits)
        kernels.softmax_cross_entropy(losses, dlogits, logits, targets)
        assert np.array_equal(dlogits, found[-1])
    answers = fastnn.BinaryCrossEntropy()
    answers.forward(logits, rows)
    found.append(answers.backward(logits, rows))
    assert count_subnormal(*found) == 0


@every_dtype
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_subnormal_inputs_count_as_zero(dtype):
    """In training and in predictions: half of them made a fit 140 times slower."""
    tiny = np.finfo(dtype).tiny
    X = np.random.default_rng(0).uniform(-0.9, 0.9, (140, 20)).astype(dtype) * tiny
    y = np.arange(140) % 3
    X[::2, 0] = 1
    zeros = np.where(np.abs(X) < tiny, 0, X).astype(dtype)
    given, wide = X.copy(), X.astype(np.float64)[:, ::-1]

    def outputs(rows, kind):
        layers = [kind(20, 30, rng=0, dtype=dtype), fastnn.ReLU(), kind(30, 3, rng=1, dtype=dtype)]
        model = fastnn.Sequential(layers)
        model.fit(
            rows, y, epochs=2, batch_size=32, seed=0, verbose=False, optimizer=fastnn.SGD(0.1)
        )
        return [layers[0].weights, layers[2].weights, model.predict_proba(rows[:3])]

    for kind in (fastnn.Dense, SlowDense):
        for a, b in zip(outputs(X, kind), outputs(zeros, kind), strict=True):
            assert np.array_equal(a, b)
    assert np.array_equal(X, given)
    flat = fastnn.Dense(20, 8, dtype=dtype, rng=0)
    flat.weights = np.full((20, 8), 1e3)
    model = fastnn.Sequential([flat], loss=fastnn.MeanSquaredError())
    for n in (1, 8, 9, 140):
        assert not model.predict(X[1 : n + 1 : 2]).any()
        assert not model.predict(wide[1 : n + 1 : 2]).any()
    assert not model.compiled().predict(np.ascontiguousarray(X[1])).any()
