"""The classes of a network from scratch, under their own names.

Bugs of the notebook that are done right here: `np.diaglat` in the softmax gradient, and a
combined class that asks for `Loss_CategoricalCrossentropy` where only the other spelling exists.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastnn
from fastnn import nnfs

SOFTMAX_OUTPUTS = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]])
CLASS_TARGETS = np.array([0, 1, 1])


def test_softmax_of_one_row():
    output = nnfs.Activation_Softmax().forward([[4.8, 1.21, 2.385]])
    assert output.dtype == np.float64
    assert_allclose(output, [[0.89528266, 0.02470831, 0.08000903]], atol=5e-9)
    assert_allclose(output.sum(), 0.9999999999999999, rtol=4e-16)  # two steps of float64


@pytest.mark.parametrize("target", [np.array([0]), np.array([[1, 0, 0]])])
def test_loss_of_one_sample(target):
    loss = nnfs.Loss_CategoricalCrossentropy()
    assert_allclose(loss.calculate([[0.7, 0.1, 0.2]], target), 0.35667494393873245, rtol=1e-15)


@pytest.mark.parametrize("one_hot", [False, True])
def test_losses_of_a_batch_are_the_logarithms_of_the_right_confidences(one_hot):
    targets = fastnn.one_hot(CLASS_TARGETS)[0] if one_hot else CLASS_TARGETS
    outputs = SOFTMAX_OUTPUTS[:, :2] if one_hot else SOFTMAX_OUTPUTS
    losses = nnfs.Loss_CategoricalCrossEntropy().forward(outputs, targets)
    assert_allclose(losses, -np.log([0.7, 0.5, 0.9]), rtol=1e-15)


def test_accuracy_is_a_third():
    outputs = np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4], [0.02, 0.9, 0.08]])
    assert fastnn.accuracy(outputs, CLASS_TARGETS) == 0.3333333333333333
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert fastnn.accuracy(outputs, rows) == 0.3333333333333333


def test_softmax_gradient_is_that_of_the_jacobian():
    # np.diaglat does not exist; np.diagflat is what the Jacobian needs.
    softmax = nnfs.Activation_Softmax()
    outputs = softmax.forward(np.log(SOFTMAX_OUTPUTS))
    dvalues = np.array([[1.0, -2.0, 0.5], [0.3, 0.2, 0.1], [-1.0, 4.0, 2.0]])
    expected = [
        (np.diagflat(s) - np.outer(s, s)) @ d for s, d in zip(outputs, dvalues, strict=True)
    ]
    assert_allclose(softmax.backward(dvalues), expected, atol=1e-15)


def test_both_spellings_are_one_class():
    combined = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
    assert isinstance(combined.loss, nnfs.Loss_CategoricalCrossEntropy)
    assert isinstance(combined.activation, nnfs.Activation_Softmax)
    assert nnfs.Loss_CategoricalCrossEntropy is nnfs.Loss_CategoricalCrossentropy
    assert (
        nnfs.Activation_Softmax_Loss_CategoricalCrossEntropy
        is nnfs.Activation_Softmax_Loss_CategoricalCrossentropy
    )


def test_dense_layer_starts_and_works_as_in_the_notebook():
    np.random.seed(3)  # noqa: NPY002
    layer = nnfs.Layer_Dense(4, 3)
    np.random.seed(3)  # noqa: NPY002
    assert np.array_equal(layer.weights, 0.01 * np.random.randn(4, 3))  # noqa: NPY002
    assert np.array_equal(layer.biases, np.full((1, 3), 0.0))
    inputs = np.arange(8.0).reshape(2, 4)
    layer.forward(inputs)
    assert_allclose(layer.output, inputs @ layer.weights, rtol=1e-14)


def test_a_loss_of_ones_own_has_calculate():
    class AbsoluteError(nnfs.Loss):
        def forward(self, y_pred, y_true):
            return np.abs(y_pred - y_true)

    assert AbsoluteError().calculate(np.array([1.0, 4.0]), np.array([2.0, 2.0])) == 1.5
