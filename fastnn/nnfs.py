"""The class names of networks written from scratch: change one import, keep the script.

The classes are fastnn's own under the names that such scripts use. Parameters start as they do
there, from NumPy's global generator, so a seeded script prints the numbers that it printed: in
float64, or in float32 after `nnfs.init()`.
"""

import numpy as np

from .layers import Dense, ReLU, Softmax
from .losses import CategoricalCrossEntropy, Loss, SoftmaxCrossEntropy

__all__ = [
    "Activation_ReLU",
    "Activation_Softmax",
    "Activation_Softmax_Loss_CategoricalCrossEntropy",
    "Activation_Softmax_Loss_CategoricalCrossentropy",
    "Layer_Dense",
    "Loss",
    "Loss_CategoricalCrossEntropy",
    "Loss_CategoricalCrossentropy",
]


class Layer_Dense(Dense):
    """Dense layer whose weights start as 0.01 * `np.random.randn`, its biases as 0.

    The dtype is that of `np.random.randn`: float64, or float32 after `nnfs.init()`.
    """

    def __init__(self, n_inputs, n_neurons):
        # These zeros are replaced: only the global generator gives a script its numbers.
        super().__init__(n_inputs, n_neurons, init="zeros", rng=0)
        self._weights = 0.01 * np.random.randn(self.n_inputs, self.n_neurons)  # noqa: NPY002
        self._biases = self._biases.astype(self._weights.dtype)


class Activation_ReLU(ReLU):
    """Rectified linear unit."""


class Activation_Softmax(Softmax):
    """Softmax over each row."""


class Loss_CategoricalCrossentropy(CategoricalCrossEntropy):
    """Cross-entropy of probabilities, clipped at 1e-7."""

    def __init__(self):
        super().__init__(epsilon=1e-7)


class Activation_Softmax_Loss_CategoricalCrossentropy(SoftmaxCrossEntropy):
    """Softmax and cross-entropy with the gradient of both in one."""

    def __init__(self):
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()


Loss_CategoricalCrossEntropy = Loss_CategoricalCrossentropy
Activation_Softmax_Loss_CategoricalCrossEntropy = Activation_Softmax_Loss_CategoricalCrossentropy
