"""A 3-4-2 network by hand: one-hot targets, forward, loss, every gradient, one update."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastnn

X = np.array([[1, 2, 3], [6, 7, 8], [7, 8, 9], [3, 4, 5], [4, 5, 6]])
TARGETS = np.array([False, True, True, False, False])


@pytest.fixture
def y():
    return fastnn.one_hot(TARGETS, dtype=np.float64)[0]


@pytest.fixture
def network():
    """Return the layers, after forward and backward pass, and the loss."""
    hidden = fastnn.Dense(3, 4, dtype=np.float64)
    hidden.weights = np.random.RandomState(10).uniform(-0.5, 0.5, (3, 4))
    relu = fastnn.ReLU()
    output = fastnn.Dense(4, 2, dtype=np.float64)
    output.weights = np.random.RandomState(100).uniform(-0.5, 0.5, (4, 2))
    return hidden, relu, output, fastnn.SoftmaxCrossEntropy()


def run(network, y):
    hidden, relu, output, head = network
    loss = head.forward(output.forward(relu.forward(hidden.forward(X))), y)
    hidden.backward(relu.backward(output.backward(head.backward(head.output, y))))
    return loss


def test_one_hot_of_booleans(y):
    rows, classes = fastnn.one_hot(TARGETS)
    assert classes.tolist() == [False, True]
    assert rows.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]]
    assert rows.dtype == np.float32
    assert y.dtype == np.float64


def test_first_weights_are_those_of_the_notebook(network):
    hidden, _, output, _ = network
    assert_allclose(
        hidden.weights,
        [
            [0.27132064, -0.47924805, 0.13364823, 0.24880388],
            [-0.00149299, -0.27520335, -0.30193714, 0.26053071],
            [-0.33088916, -0.41166019, 0.18535982, 0.45339335],
        ],
        atol=5e-9,
    )
    assert_allclose(
        output.weights,
        [
            [0.04340494, -0.22163061],
            [-0.07548241, 0.34477613],
            [-0.49528114, -0.37843088],
            [0.17074908, 0.32585276],
        ],
        atol=5e-9,
    )


def test_forward_pass(network, y):
    hidden, relu, output, head = network
    run(network, y)
    h1 = [
        [-0.72433282, -2.26463532, 0.08585342, 2.13004535],
        [-1.02964036, -8.09519327, 0.17120801, 6.94368505],
        [-1.09070187, -9.26130486, 0.18827893, 7.90641299],
        [-0.84645584, -4.5968585, 0.11999526, 4.05550123],
        [-0.90751735, -5.76297009, 0.13706617, 5.01822917],
    ]
    assert_allclose(hidden.output, h1, atol=5e-9)
    assert_allclose(relu.output, np.maximum(h1, 0), atol=5e-9)
    assert_allclose(
        output.output,
        [
            [0.32118171, 0.66159156],
            [1.10083177, 2.19782851],
            [1.25676178, 2.5050759],
            [0.63304174, 1.27608634],
            [0.78897175, 1.58333373],
        ],
        atol=5e-9,
    )
    assert_allclose(
        head.output,
        [
            [0.41570992, 0.58429008],
            [0.25030304, 0.74969696],
            [0.22299211, 0.77700789],
            [0.34455863, 0.65544137],
            [0.31123284, 0.68876716],
        ],
        atol=5e-9,
    )


def test_losses_of_the_samples(network, y):
    *_, head = network
    run(network, y)
    loss = fastnn.CategoricalCrossEntropy(epsilon=np.finfo(float).eps)
    losses = loss.forward(head.output, y)
    assert_allclose(losses, [0.87776756, 0.2880862, 0.25230477, 1.06549102, 1.16721398], atol=5e-9)
    assert_allclose(loss.calculate(head.output, y), 0.7301727079439226, rtol=1e-15)


def test_loss_to_the_last_digit(network, y):
    assert_allclose(run(network, y), 0.7301727079439226, rtol=2e-16)


def test_every_gradient(network, y):
    hidden, relu, output, head = network
    run(network, y)
    assert_allclose(
        head.dinputs,
        [
            [-0.11685802, 0.11685802],
            [0.05006061, -0.05006061],
            [0.04459842, -0.04459842],
            [-0.13108827, 0.13108827],
            [-0.13775343, 0.13775343],
        ],
        atol=5e-9,
    )
    assert_allclose(
        output.dweights,
        [[0, 0], [0, 0], [-0.02767625, 0.02767625], [-0.77160119, 0.77160119]],
        atol=5e-9,
    )
    assert_allclose(output.dbiases, [[-0.29104069, 0.29104069]], atol=5e-9)
    assert_allclose(
        output.dinputs,
        [
            [-0.03097153, 0.04911058, 0.01365489, 0.01812511],
            [0.01326784, -0.0210384, -0.0058496, -0.00776458],
            [0.01182017, -0.01874287, -0.00521134, -0.00691738],
            [-0.03474305, 0.05509097, 0.0153177, 0.02033227],
            [-0.03650956, 0.05789206, 0.01609653, 0.02136606],
        ],
        atol=5e-9,
    )
    masked = output.dinputs.copy()
    masked[:, :2] = 0
    assert np.array_equal(relu.dinputs, masked)
    assert_allclose(hidden.dbiases, [[0, 0, 0.03400818, 0.04514148]], atol=5e-9)
    assert hidden.dweights.shape == (3, 4)
    # The notebook prints no values of this one; it is inputs.T @ the gradient printed above.
    assert_allclose(hidden.dweights, X.T @ masked, rtol=1e-13)


def test_one_update_lowers_the_loss_to_the_printed_digits(network, y):
    hidden, _, output, _ = network
    run(network, y)
    for layer in (hidden, output):
        layer.weights = layer.weights - 0.01 * layer.dweights
        layer.biases = layer.biases - 0.01 * layer.dbiases
    assert_allclose(run(network, y), 0.7168031908508434, rtol=2e-16)


def test_fit_takes_the_same_step(network, y):
    hidden, relu, output, _ = network
    model = fastnn.Sequential([hidden, relu, output])
    history = model.fit(X, y, epochs=1, batch_size=5, optimizer=fastnn.SGD(learning_rate=0.01))
    assert_allclose(history.loss, [0.7301727079439226], rtol=1e-15)
    assert_allclose(model.evaluate(X, TARGETS)["loss"], 0.7168031908508434, rtol=1e-15)


def test_softmax_of_1000_is_not_infinite():
    # The notebook shows np.exp(1000) = inf; the row maximum is subtracted first.
    assert fastnn.Softmax().forward([[10.0, 100.0, 1000.0]]).tolist() == [[0, 0, 1]]
