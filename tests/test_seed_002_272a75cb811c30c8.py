"""Backpropagation through each class.

Bugs of the notebook that are done right here: ReLU's backward pass writes into the gradient that
it is given; the loss looks at the dimensions of the prediction where it means the labels, so
that labels fail; the combined class counts samples of a global variable.
"""

import numpy as np
from numpy.testing import assert_allclose

from fastnn import nnfs

INPUTS = np.array([[1, 2, 3, 2.5], [2, 5, -1, 2], [-1.5, 2.7, 3.3, -0.8]])
WEIGHTS = np.array([[0.2, 0.8, -0.5, 1], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]]).T
DL_DZ = np.array([[1, 1, 1], [2, 2, 2], [3, 3, 3]])
Y_PRED = np.array([[0.1, 0.5, 0.3, 0.1], [0.2, 0.1, 0.4, 0.3], [0.3, 0.2, 0.1, 0.4]])
Y_TRUE = np.array([1, 2, 3])


def test_gradients_of_the_dense_layer():
    layer = nnfs.Layer_Dense(4, 3)
    layer.weights = WEIGHTS
    layer.forward(INPUTS)
    dinputs = layer.backward(DL_DZ)
    assert_allclose(layer.dweights, [[0.5] * 3, [20.1] * 3, [10.9] * 3, [4.1] * 3], rtol=1e-14)
    assert layer.dbiases.tolist() == [[6, 6, 6]]
    printed = [[0.44, -0.38, -0.07, 1.37], [0.88, -0.76, -0.14, 2.74], [1.32, -1.14, -0.21, 4.11]]
    assert_allclose(dinputs, printed, rtol=1e-13)


def test_relu_does_not_write_into_the_gradient_that_it_is_given():
    relu = nnfs.Activation_ReLU()
    relu.forward(INPUTS)
    dvalues = np.full(INPUTS.shape, 7.0)
    dinputs = relu.backward(dvalues)
    assert np.array_equal(dvalues, np.full(INPUTS.shape, 7.0))
    assert np.array_equal(dinputs, np.where(INPUTS > 0, 7.0, 0.0))


def test_gradient_of_the_loss():
    loss = nnfs.Loss_CategoricalCrossEntropy()
    dinputs = loss.backward(Y_PRED, Y_TRUE)
    normalised = [[0, -0.66666667, 0, 0], [0, 0, -0.83333333, 0], [0, 0, 0, -0.83333333]]
    assert_allclose(dinputs, normalised, atol=5e-9)
    # The notebook also prints the gradient before the mean over the batch is taken.
    assert_allclose(3 * dinputs, [[0, -2, 0, 0], [0, 0, -2.5, 0], [0, 0, 0, -2.5]], rtol=1e-15)


def test_loss_takes_labels_and_rows():
    loss = nnfs.Loss_CategoricalCrossEntropy()
    rows = (Y_TRUE[:, None] == np.arange(4)).astype(float)
    expected = -np.log([0.5, 0.4, 0.4])
    assert_allclose(loss.forward(Y_PRED, Y_TRUE), expected, rtol=1e-15)
    assert_allclose(loss.forward(Y_PRED, rows), expected, rtol=1e-15)


def test_soft_rows_give_the_loss_whose_gradient_is_taken():
    # The notebook takes the logarithm of sum(y_pred * y_true), whose gradient is another one.
    soft = np.array([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 1.0]])
    loss = nnfs.Loss_CategoricalCrossEntropy()
    expected = -(soft * np.log(Y_PRED)).sum(axis=1)
    assert_allclose(loss.forward(Y_PRED, soft), expected, rtol=1e-15)
    gradient, step = loss.backward(Y_PRED, soft), 1e-6
    for at in np.ndindex(Y_PRED.shape):
        shift = np.full(Y_PRED.shape, 0.0)
        shift[at] = step
        slope = loss.calculate(Y_PRED + shift, soft) - loss.calculate(Y_PRED - shift, soft)
        assert_allclose(gradient[at], slope / (2 * step), atol=1e-8)


def test_gradient_of_softmax_and_loss_combined():
    outputs = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]])
    combined = nnfs.Activation_Softmax_Loss_CategoricalCrossEntropy()
    combined.backward(outputs, np.array([0, 1, 1]))
    printed = [
        [-0.1, 0.03333333, 0.06666667],
        [0.03333333, -0.16666667, 0.13333333],
        [0.00666667, -0.03333333, 0.02666667],
    ]
    assert_allclose(combined.dinputs, printed, atol=5e-9)


def test_the_number_of_samples_is_that_of_the_argument():
    # A batch of two, where the notebook would divide by the three samples of a global variable.
    combined = nnfs.Activation_Softmax_Loss_CategoricalCrossEntropy()
    dinputs = combined.backward([[0.7, 0.3], [0.2, 0.8]], [0, 1])
    assert_allclose(dinputs, [[-0.15, 0.15], [0.1, -0.1]], rtol=1e-15)
