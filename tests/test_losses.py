"""Losses against NumPy in float64: cross-entropies of labels, one-hot and soft rows; of counts."""

import decimal
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastnn
from fastnn import CategoricalCrossEntropy, Softmax, SoftmaxCrossEntropy
from fastnn.nn.loss import Loss

DTYPES = (np.float32, np.float64)
SHAPES = [(1, 1), (1, 3), (5, 2), (7, 10), (33, 49)]  # B, C

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_kind = pytest.mark.parametrize("kind", ["labels", "one-hot", "soft"])


def make_targets(kind, shape):
    """Return targets, and the rows that they stand for."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, shape[1], shape[0])
    rows = np.eye(shape[1])[labels]
    if kind == "soft":
        rows = rng.dirichlet(np.full(shape[1], 1.0), shape[0])
        rows[:, 0] += rows[:, -1] * (shape[1] > 1)
        rows[:, -1] *= shape[1] == 1  # a class that takes no part
    return labels if kind == "labels" else rows, rows


def make_logits(shape, dtype):
    return (3 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def rounding(shape, dtype):
    """Return a bound for relative errors: of exp, log, and sums of C and of B terms."""
    return (16 + sum(shape)) * np.finfo(dtype).eps


# ----------------------------------------------------------------- from probabilities


@every_shape
@every_kind
@pytest.mark.parametrize("epsilon", [1e-7, None])
@every_dtype
def test_categorical_cross_entropy(shape, kind, epsilon, dtype):
    epsilon = epsilon or float(np.finfo(dtype).eps)
    targets, rows = make_targets(kind, shape)
    p = softmax(make_logits(shape, np.float64)).astype(dtype)
    p[0, 0], p[-1, -1] = 0, 1  # both ends are clipped
    clipped = np.clip(p.astype(np.float64), epsilon, 1 - epsilon)
    loss = CategoricalCrossEntropy(epsilon=epsilon)
    before = p.tobytes(), targets.tobytes()
    losses = loss.forward(p, targets)
    assert losses.shape == (shape[0],)
    assert losses.dtype == dtype
    # The logarithm turns the relative error of a probability into an absolute one.
    terms = rows * np.abs(np.log(clipped))
    assert_allclose(losses, terms.sum(axis=1), rtol=rounding(shape, dtype), atol=1e-15)
    mean = loss.calculate(p, targets)
    assert mean == np.mean(losses)
    gradient = loss.backward(p, targets)
    assert gradient is loss.dinputs
    assert gradient.dtype == dtype
    assert_allclose(gradient, -rows / clipped / shape[0], rtol=rounding(shape, dtype))
    assert (p.tobytes(), targets.tobytes()) == before


def test_epsilon_bounds_the_loss_of_a_sure_and_wrong_answer():
    for epsilon in (1e-7, 1e-3, float(np.finfo(np.float64).eps)):
        loss = CategoricalCrossEntropy(epsilon=epsilon)
        assert_allclose(loss.forward([[1.0, 0.0]], [1]), [-math.log(epsilon)], rtol=1e-15)
        assert_allclose(loss.forward([[1.0, 0.0]], [0]), [-math.log(1 - epsilon)], rtol=1e-15)
        assert_allclose(loss.backward([[1.0, 0.0]], [1]), [[0, -1 / epsilon]], rtol=1e-15)
    assert CategoricalCrossEntropy().epsilon == 1e-7
    assert repr(CategoricalCrossEntropy(epsilon=0.001)) == "CategoricalCrossEntropy(epsilon=0.001)"


@every_kind
def test_gradient_of_the_mean_loss_by_central_differences(kind):
    targets, _ = make_targets(kind, (5, 4))
    p, loss, step = softmax(make_logits((5, 4), np.float64)), CategoricalCrossEntropy(), 1e-6
    gradient = loss.backward(p, targets)
    for index in np.ndindex(p.shape):
        shift = np.zeros_like(p)
        shift[index] = step
        above, below = (loss.calculate(p + s, targets) for s in (shift, -shift))
        # Truncation: step**2 / p**2 / 3 of the slope, with p above 0.001; rounding: eps / step.
        assert_allclose(gradient[index], (above - below) / (2 * step), rtol=1e-6, atol=1e-8)


def test_calculate_is_the_mean_of_what_a_subclass_returns():
    class Squares(Loss):
        def forward(self, y_pred, y_true):
            return (np.asarray(y_pred) - y_true) ** 2

    assert Squares().calculate([1.0, 2.0, 4.0], 1.0) == 10 / 3


# ---------------------------------------------------------------------- from logits


@every_shape
@every_kind
@every_dtype
def test_softmax_cross_entropy(shape, kind, dtype):
    targets, rows = make_targets(kind, shape)
    logits = make_logits(shape, dtype)
    before = logits.tobytes(), targets.tobytes()
    z = logits.astype(np.float64)
    p, head = softmax(z), SoftmaxCrossEntropy()
    log_sum = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    expected = (rows * (log_sum + z.max(axis=1, keepdims=True) - z)).sum(axis=1).mean()
    loss = head.forward(logits, targets)
    eps = rounding(shape, dtype)
    assert_allclose(loss, expected, rtol=eps, atol=eps)
    assert loss.dtype == dtype
    assert head.output.dtype == dtype
    assert_allclose(head.output, p, rtol=eps)
    output = head.output.tobytes()
    gradient = head.backward(head.output, targets)
    assert gradient is head.dinputs
    assert gradient.dtype == dtype
    assert_allclose(gradient, (p - rows) / shape[0], rtol=eps, atol=eps / shape[0])
    assert (logits.tobytes(), targets.tobytes(), head.output.tobytes()) == (*before, output)


@every_kind
@every_dtype
def test_both_losses_agree(kind, dtype):
    shape, eps = (7, 10), rounding((7, 10), dtype)
    targets, _ = make_targets(kind, shape)
    logits, activation, loss = make_logits(shape, dtype), Softmax(), CategoricalCrossEntropy()
    probabilities, head = activation.forward(logits), SoftmaxCrossEntropy()
    mean, separate = head.forward(logits, targets), loss.calculate(probabilities, targets)
    assert_allclose(mean, separate, rtol=eps, atol=eps)
    assert np.array_equal(head.output, probabilities)
    slope = activation.backward(loss.backward(probabilities, targets))
    assert_allclose(head.backward(head.output, targets), slope, rtol=eps, atol=eps)


@every_dtype
def test_loss_is_exact_for_logits_of_any_size(dtype):
    head = SoftmaxCrossEntropy()
    logits = np.array([[1000, 0], [0, 1000], [-1e4, 1e4]], dtype)
    for targets in ([1, 0, 0], [[0, 1], [1, 0], [1, 0]]):
        assert head.forward(logits, targets) == dtype(22000 / 3)
        assert np.array_equal(head.backward(head.output, targets) * 3, [[1, -1], [-1, 1], [-1, 1]])


def test_backward_does_not_need_forward():
    """Scripts hand in the probabilities that they have."""
    gradient = SoftmaxCrossEntropy().backward([[0.7, 0.1, 0.2]], [0])
    assert_allclose(gradient, [[-0.3, 0.1, 0.2]], rtol=1e-15)
    assert repr(SoftmaxCrossEntropy()) == "SoftmaxCrossEntropy()"


def test_rows_that_sum_to_one_but_for_rounding_are_weighted_by_their_sum():
    """The loss that is returned is the one that the gradient differentiates."""
    head, step = SoftmaxCrossEntropy(), 1e-5
    logits, rows = make_logits((3, 4), np.float64), make_targets("soft", (3, 4))[1]
    rows *= np.array([[1.0009], [0.9991], [1.0]])
    head.forward(logits, rows)
    gradient = head.backward(head.output, rows)
    for index in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[index] = step
        above, below = (head.forward(logits + s, rows) for s in (shift, -shift))
        assert_allclose(gradient[index], (above - below) / (2 * step), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", [fastnn.CategoricalCrossEntropy, fastnn.SoftmaxCrossEntropy])
def test_labels_of_any_kind(loss):
    y_pred, labels = softmax(make_logits((6, 2), np.float64)), np.array([0, 1, 1, 0, 1, 0])
    expected = loss().forward(y_pred, labels)
    for dtype in (bool, np.uint8, np.int16, np.uint64, np.float16, np.float64, ">i2"):
        assert np.array_equal(loss().forward(y_pred, labels.astype(dtype)), expected)
    assert np.array_equal(loss().forward(y_pred.tolist(), labels.tolist()), expected)
    for dtype in (bool, np.int64, np.float16, np.float32):
        rows = np.eye(2)[labels].astype(dtype)
        assert_allclose(loss().forward(y_pred, rows), expected, rtol=1e-14)


# ---------------------------------------------------------------------------- of counts


def half_deviance(z, y):
    """Return y log(y) - y z - y + e**z, in decimals of 60 digits."""
    with decimal.localcontext(prec=60):
        z, y = decimal.Decimal(float(z)), decimal.Decimal(float(y))
        return float((y * y.ln() - y * z - y if y else 0) + z.exp())


def make_counts(shape, dtype):
    """Return logarithms of rates, and counts of which some are 0, some as expected, some large."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-3, 9, shape).astype(dtype)
    y = rng.poisson(np.exp(z.astype(np.float64)))
    y.ravel()[::5] = rng.integers(0, 20000, y.ravel()[::5].shape)
    y.ravel()[::7] = 0
    return z, y


@every_shape
@every_dtype
def test_poisson(shape, dtype):
    (z, y), loss = make_counts(shape, dtype), fastnn.Poisson()
    before = z.tobytes(), y.tobytes()
    found, gradient = loss.forward(z, y), loss.backward(z, y)
    assert found.dtype == gradient.dtype == dtype
    wide, rate = z.astype(np.float64), np.exp(z.astype(np.float64))
    expected = np.vectorize(half_deviance)(wide, y)
    # The logarithm of the count is rounded, which moves a loss by |rate - y| times as much.
    eps, size = np.finfo(dtype).eps, expected + np.abs(rate - y) * (1 + np.abs(wide))
    assert_allclose(found, expected.mean(axis=1), rtol=0, atol=(16 * eps * size).max())
    assert (np.abs(found - expected.mean(axis=1)) <= 16 * eps * size.mean(axis=1)).all()
    assert (np.abs(gradient * y.size - (rate - y)) <= 4 * eps * (rate + y)).all()
    assert (z.tobytes(), y.tobytes()) == before
    assert loss.calculate(z, y) == np.mean(found)


@every_dtype
def test_the_loss_of_the_right_rate_is_zero_to_the_last_bits(dtype):
    """Where y log(y) - y z - y + e**z cancels: of a million, in float32, all digits."""
    loss = fastnn.Poisson()
    for count in (1, 7, 1000, 1_000_000):
        z = np.array([[math.log(count)]], dtype)
        assert 0 <= loss.forward(z, [count])[0] <= count * (20 * np.finfo(dtype).eps) ** 2
    assert loss.forward([[-1e4]], [0]) == [0]


@every_dtype
def test_rates_at_the_ends_of_what_a_number_can_be(dtype):
    loss, most = fastnn.Poisson(), float(np.log(np.finfo(dtype).max))
    last = dtype(most - 0.01)  # e**last is a number, and of last + 1 it is not
    least = float(np.finfo(dtype).tiny)
    for y in (0.0, least, 1.0, 1000.0):
        assert_allclose(loss.forward([[last]], [y]), [half_deviance(last, y)], rtol=1e-4)
        with np.errstate(over="ignore"):
            assert loss.forward([[last + dtype(1)]], [y]) == [np.inf]
        low = loss.forward(np.array([[-200]], dtype), [y])
        assert_allclose(low, [half_deviance(-200, y)], rtol=1e-6, atol=1e-45)


def test_the_gradient_of_counts_is_central_differences():
    loss, step, weights = fastnn.Poisson(), 1e-6, [1.0, 0.0, 2.0, 0.5]
    z, y = np.random.default_rng(0).uniform(-1, 2, (4, 3)), np.arange(12.0).reshape(4, 3) % 5
    for given in (None, weights):
        loss.backward(z, y, sample_weight=given)
        for at in np.ndindex(z.shape):
            shift = np.zeros_like(z)
            shift[at] = step
            above, below = (loss.calculate(z + s, y, sample_weight=given) for s in (shift, -shift))
            slope = (above - below) / (2 * step)
            assert_allclose(loss.dinputs[at], slope, rtol=1e-6, atol=1e-8)


def test_counts_are_not_below_zero():
    for method in ("forward", "backward"):
        with pytest.raises(ValueError, match=r"^y_true\[1, 0\] is -2.0, expected numbers of at le"):
            getattr(fastnn.Poisson(), method)([[0.0], [1.0]], [1, -2])
    assert repr(fastnn.Poisson()) == "Poisson()"
