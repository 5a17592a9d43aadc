"""Samples as columns, the bias as the last column of the weights; the `?` cells filled in.

Bugs of the notebook that are done right here: the training loop takes the same batch in every
iteration of an epoch, lets the loss add up from one epoch to the next, and leaves `cce`,
`cce_gradient` and the passes of Softmax and Dense open.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastnn
from fastnn import columnwise

N_FEATURES, N_SAMPLES, N_LABELS, BATCH = 5, 64, 3, 16


@pytest.fixture
def data():
    """Return X (5, 64) of whole numbers from 3 to 9, and one-hot columns y (3, 64)."""
    rng = np.random.default_rng(6)
    X = rng.integers(3, 10, (N_FEATURES, N_SAMPLES))
    return X, fastnn.one_hot(rng.integers(0, N_LABELS, N_SAMPLES), dtype=np.float64)[0].T


def reference_step(weights, X, y, learning_rate):
    """Return the loss and the weights after one step, in plain NumPy."""
    stacked = np.vstack([X, np.full(X.shape[1], 1.0)])
    z = weights @ stacked
    e = np.exp(z - z.max(axis=0))
    a = e / e.sum(axis=0)
    gradient = (a - y) / X.shape[1]
    return -(y * np.log(a)).sum(), weights - learning_rate * gradient @ stacked.T, gradient


def test_weights_hold_the_biases_in_the_last_column():
    layer = columnwise.Dense(N_FEATURES, N_LABELS, rng=0)
    assert layer.weights.shape == (N_LABELS, N_FEATURES + 1)
    assert (layer.weights[:, -1] == 0.01).all()
    assert isinstance(layer, columnwise.Layer)


def test_one_step_is_the_one_of_plain_numpy(data):
    X, y = data[0][:, :BATCH], data[1][:, :BATCH]
    layer, softmax = columnwise.Dense(N_FEATURES, N_LABELS, rng=1), columnwise.Softmax()
    start = layer.weights.copy()
    output = softmax.forward(layer.forward(X))
    assert output.shape == (N_LABELS, BATCH)
    assert_allclose(output.sum(axis=0), np.full(BATCH, 1.0), rtol=1e-15)
    gradient = softmax.backward(columnwise.cce_gradient(y, output))
    held = layer.weights
    dinput = layer.backward(gradient / BATCH, 1e-2)
    loss, weights, dscores = reference_step(start, X, y, 1e-2)
    assert_allclose(columnwise.cce(y, output), loss, rtol=1e-13)
    assert_allclose(layer.weights, weights, rtol=1e-12)
    assert held is layer.weights  # updated in place
    # The gradient of the input comes from the weights before the update, without the bias row.
    assert dinput.shape == X.shape
    assert_allclose(dinput, start[:, :-1].T @ dscores, atol=1e-15)


def test_the_gradients_are_those_of_the_loss(data):
    X, y = data[0][:, :7].astype(float) / 10, data[1][:, :7]
    softmax, step = columnwise.Softmax(), 1e-6
    layer = columnwise.Dense(N_FEATURES, N_LABELS, rng=2)
    start = layer.weights.copy()
    gradient = softmax.backward(columnwise.cce_gradient(y, softmax.forward(layer.forward(X))))
    layer.backward(gradient, 1.0)
    found = start - layer.weights
    for at in np.ndindex(start.shape):
        losses = []
        for sign in (1, -1):
            layer.weights = start
            layer.weights[at] += sign * step
            losses.append(columnwise.cce(y, softmax.forward(layer.forward(X))))
        assert_allclose(found[at], (losses[0] - losses[1]) / (2 * step), atol=1e-7)


def test_batches_hold_every_sample_once():
    batches = columnwise.generate_batch_indices(N_SAMPLES, BATCH, rng=0)
    assert [len(batch) for batch in batches] == [16, 16, 16, 16]
    assert sorted(np.concatenate(batches)) == list(range(N_SAMPLES))
    assert [len(b) for b in columnwise.generate_batch_indices(10, 4)] == [4, 4, 2]


def test_the_training_loop_lowers_the_loss(data):
    X, y = data
    rng = np.random.default_rng(0)
    layer, softmax = columnwise.Dense(N_FEATURES, N_LABELS, rng=rng), columnwise.Softmax()
    losses = []
    for _ in range(100):
        loss = 0
        for batch in columnwise.generate_batch_indices(N_SAMPLES, BATCH, rng):
            output = softmax.forward(layer.forward(X[:, batch]))
            loss += columnwise.cce(y[:, batch], output)
            gradient = softmax.backward(columnwise.cce_gradient(y[:, batch], output))
            layer.backward(gradient / len(batch), 1e-2)
        losses.append(loss / N_SAMPLES)
    assert losses[-1] < 0.5 * losses[0]
    assert max(losses[80:]) < min(losses[:5])


def test_columns_and_rows_train_alike(data):
    """The same batches through `Sequential`, whose samples are rows, end in the same weights."""
    X, y = data
    layer, softmax = columnwise.Dense(N_FEATURES, N_LABELS, rng=4), columnwise.Softmax()
    rows = fastnn.Dense(N_FEATURES, N_LABELS, dtype=np.float64)
    rows.weights, rows.biases = layer.weights[:, :-1].T, layer.weights[:, -1:].T
    model = fastnn.Sequential([rows])
    model.fit(X.T, y.T, epochs=3, batch_size=BATCH, optimizer=fastnn.SGD(1e-3), seed=9)
    rng = np.random.default_rng(9)
    for _ in range(3):
        for batch in columnwise.generate_batch_indices(N_SAMPLES, BATCH, rng):
            gradient = columnwise.cce_gradient(
                y[:, batch], softmax.forward(layer.forward(X[:, batch]))
            )
            layer.backward(softmax.backward(gradient) / BATCH, 1e-3)
    assert_allclose(rows.weights, layer.weights[:, :-1].T, rtol=1e-11)
    assert_allclose(rows.biases, layer.weights[:, -1:].T, rtol=1e-11)


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda d: d.forward(np.full((4, 2), 1.0)), ValueError, r"input has shape \(4, 2\)"),
        (lambda d: d.backward(np.full((3, 2), 1.0), 0.1), RuntimeError, "before forward"),
        (lambda d: setattr(d, "weights", np.full((3, 5), 1.0)), ValueError, r"\(3, 6\)"),
        (lambda d: columnwise.cce([[1, 0]], [[0.5], [0.5]]), ValueError, "y has shape"),
        (lambda d: columnwise.cce([[0.7], [0.7]], [[0.5], [0.5]]), ValueError, "sum to 1"),
    ],
)
def test_bad_input(action, error, words):
    with pytest.raises(error, match=words):
        action(columnwise.Dense(N_FEATURES, N_LABELS, rng=0))


def test_bad_gradient_leaves_the_weights():
    layer = columnwise.Dense(N_FEATURES, N_LABELS, rng=0)
    layer.forward(np.full((N_FEATURES, 2), 1.0))
    before = layer.weights.copy()
    for gradient, rate in ((np.full((3, 3), 1.0), 0.1), (np.full((3, 2), 1.0), -1)):
        with pytest.raises(ValueError, match="expected"):
            layer.backward(gradient, rate)
    assert np.array_equal(layer.weights, before)
