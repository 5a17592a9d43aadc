"""A ReLU neuron by hand, and the spiral network after `nnfs.init()`.

Bugs of the notebook that are done right here: the second softmax takes `np.reshape(-1, 1)` of
nothing, and the second loss gradient has lost its minus sign and is not kept in `dinputs`.

`nnfs.init()` replaces functions of NumPy in the whole process, so those tests run in their own.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastnn
from fastnn import nnfs


def test_relu_neuron():
    layer, relu = fastnn.Dense(3, 1, dtype=np.float64), fastnn.ReLU()
    layer.weights, layer.biases = [[-3.0], [-1.0], [2.0]], [[1.0]]
    relu.forward(layer.forward([[1.0, -2.0, 3.0]]))
    dinputs = layer.backward(relu.backward([[1.0]]))
    assert dinputs.tolist() == [[-3.0, -1.0, 2.0]]
    assert layer.dweights.ravel().tolist() == [1.0, -2.0, 3.0]
    assert layer.dbiases.tolist() == [[1.0]]
    # As in the notebook, the bias of the second pass is the old one.
    layer.weights = layer.weights - 0.001 * layer.dweights
    output = relu.forward(layer.forward([[1.0, -2.0, 3.0]]))
    assert round(float(output[0, 0]), 3) == 5.986


def test_relu_layer_in_a_batch():
    x = np.array([[1, 2, 3, 2.5], [2.0, 5.0, -1.0, 2], [-1.5, 2.7, 3.3, -0.8]])
    w = np.array([[0.2, 0.8, -0.5, 1], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]])
    layer, relu = fastnn.Dense(4, 3, dtype=np.float64), fastnn.ReLU()
    layer.weights, layer.biases = w.T, [[2, 3, 0.5]]
    relu.forward(layer.forward(x))
    dinputs = layer.backward(relu.backward(np.full((3, 3), 1.0)))
    printed = [[0.44, -0.38, -0.07, 1.37], [-0.06, 0.53, -0.33, 1.87], [0.44, -0.38, -0.07, 1.37]]
    assert_allclose(dinputs, printed, atol=1e-14)
    printed = [[1.5, 9.7, 5.3, 3.7], [-0.5, 4.7, 6.3, 1.7], [1.5, 9.7, 5.3, 3.7]]
    assert_allclose(layer.dweights.T, printed, atol=1e-14)
    assert layer.dbiases.tolist() == [[3, 2, 3]]


def test_softmax_backward_reshapes_its_output():
    softmax = nnfs.Activation_Softmax()
    s = softmax.forward([[0.1, 0.7, -0.4]])[0]
    dvalues = np.array([0.2, -1.0, 3.0])
    assert_allclose(
        softmax.backward([dvalues])[0], (np.diagflat(s) - np.outer(s, s)) @ dvalues, rtol=1e-14
    )


def test_loss_gradient_has_its_minus_sign_and_is_kept():
    loss = nnfs.Loss_CategoricalCrossentropy()
    returned = loss.backward([[0.25, 0.75], [0.5, 0.5]], [0, 1])
    assert returned.tolist() == [[-2.0, 0.0], [0.0, -1.0]]
    assert loss.dinputs is returned


SPIRAL = """
import json, sys
{before}
import numpy as np
import nnfs
from nnfs.datasets import spiral_data
{first}
from fastnn.nnfs import *
{after}
nnfs.init()
X, y = spiral_data(samples=100, classes=3)
dense1, activation1 = Layer_Dense(2, 3), Activation_ReLU()
dense2, loss_activation = Layer_Dense(3, 3), Activation_Softmax_Loss_CategoricalCrossentropy()
dense1.forward(X)
activation1.forward(dense1.output)
dense2.forward(activation1.output)
loss = loss_activation.forward(dense2.output, y)
accuracy = np.mean(np.argmax(loss_activation.output, axis=1) == y)
loss_activation.backward(loss_activation.output, y)
dense2.backward(loss_activation.dinputs)
activation1.backward(dense2.dinputs)
dense1.backward(activation1.dinputs)
import fastnn
model = fastnn.Sequential([dense1, activation1, dense2])
history = model.fit(X, y, epochs=2, optimizer=fastnn.SGD(1.0), seed=0)
fresh = fastnn.Sequential([fastnn.Dense(2, 8, rng=0), fastnn.ReLU(), fastnn.Dense(8, 3, rng=1)])
history = fresh.fit(X, y, epochs=30, optimizer=fastnn.SGD(0.5), seed=0)
json.dump(dict(
    logits=dense2.output[:5].tolist(), probabilities=loss_activation.output[:5].tolist(),
    loss=str(loss), accuracy=accuracy, dtype=str(loss.dtype),
    gradients=[g.tolist() for g in (dense1.dweights, dense1.dbiases, dense2.dweights,
                                    dense2.dbiases)],
    falls=history.loss[-1] < history.loss[0],
), sys.stdout)
"""

ORDERS = {
    "fastnn first": {"before": "import fastnn", "first": "", "after": ""},
    "nnfs.init first": {"before": "", "first": "nnfs.init()", "after": ""},
    "a kernel compiled first": {
        "before": "",
        "first": "",
        "after": "Activation_Softmax().forward(Layer_Dense(2, 3).forward([[1., 2.]]))",
    },
}


@pytest.mark.parametrize("order", ORDERS)
def test_spiral_network_after_nnfs_init(order):
    script = SPIRAL.format(**ORDERS[order])
    result = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["loss"] == "1.0986104"
    assert found["accuracy"] == 0.34
    assert found["dtype"] == "float32"
    assert found["falls"]
    # Printed to 8 digits; float32 sums in another order differ in the seventh.
    assert_allclose(
        found["logits"],
        [
            [0, 0, 0],
            [-1.8183968e-07, -1.5235776e-07, 1.2281279e-06],
            [-5.0631292e-07, -4.2422371e-07, 3.4195891e-06],
            [-8.4041352e-07, -7.0415609e-07, 5.6760728e-06],
            [-1.1393766e-06, -9.5464793e-07, 7.6952419e-06],
        ],
        rtol=2e-6,
    )
    assert_allclose(
        found["probabilities"],
        [
            [0.33333334, 0.33333334, 0.33333334],
            [0.3333332, 0.3333332, 0.33333364],
            [0.3333329, 0.33333293, 0.3333342],
            [0.3333326, 0.33333263, 0.33333477],
            [0.33333233, 0.3333324, 0.33333528],
        ],
        atol=6e-8,
    )
    printed = [
        [
            [1.5766357e-04, 7.8368583e-05, 4.7324400e-05],
            [1.8161038e-04, 1.1045573e-05, -3.3096312e-05],
        ],
        [[-3.60553473e-04, 9.66117223e-05, -1.03671395e-04]],
        [
            [5.44109462e-05, 1.07411419e-04, -1.61822361e-04],
            [-4.07913431e-05, -7.16780924e-05, 1.12469446e-04],
            [-5.30112993e-05, 8.58172934e-05, -3.28059905e-05],
        ],
        [[-1.0729185e-05, -9.4610732e-06, 2.0027859e-05]],
    ]
    for gradient, expected in zip(found["gradients"][:3], printed[:3], strict=True):
        assert_allclose(gradient, expected, rtol=1e-4, atol=3e-9)
    # 300 terms whose sizes add up to 0.44 cancel to 1e-5: one rounding of such a sum is 3e-8.
    # In float64 it is [-1.0652e-05, -9.445e-06, 2.0097e-05], 8e-8 from the printed digits.
    assert_allclose(found["gradients"][3], printed[3], atol=3e-8)
