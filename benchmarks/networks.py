"""The networks that every training and prediction benchmark runs, with their data and weights."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Low enough for the widest network: with 0.05 its loss leaps so high that scikit-learn, which clips
# probabilities, has another one.
LEARNING_RATE = 0.01
ADAM_RATE = 0.001
# Of the sample order: `model.fit` draws one permutation an epoch from a generator with this seed,
# and so does every peer.
SEED = 7


class Network(NamedTuple):
    """Dense layers with ReLU between them, trained on softmax cross-entropy."""

    sizes: tuple  # inputs, hidden layers, classes
    batch: int
    steps: int
    """In one epoch. Many where a step is short, so that the work around an epoch stays small."""

    @property
    def name(self):
        return "-".join(map(str, self.sizes))

    @property
    def parameters(self):
        return sum(i * o + o for i, o in pairwise(self.sizes))

    @property
    def operations(self):
        """Multiplications and additions of the matrix products of one training step.

        Three products a layer; the first layer needs no gradient of its inputs.
        """
        layers = list(pairwise(self.sizes))
        multiply_adds = 3 * sum(i * o for i, o in layers) - layers[0][0] * layers[0][1]
        return 2 * self.batch * multiply_adds


NETWORKS = (
    Network((2, 64, 3), batch=32, steps=300),
    Network((64, 64, 10), batch=32, steps=300),
    Network((784, 128, 10), batch=128, steps=100),
    Network((784, 512, 512, 10), batch=256, steps=20),
)


WIDE = Network((784, 2048, 2048, 10), batch=512, steps=20)
"""Only in the table of training steps: its rows are long enough to be packed (`operands.py`)."""


def make_inputs(rows, features):
    """Return float32 inputs (rows, features)."""
    return np.random.default_rng(0).standard_normal((rows, features), np.float32)


def make_data(network):
    """Return (inputs, labels) of one epoch.

    A linear map decides the labels, so a loss falls; a tenth are drawn at random, so no network
    becomes sure of itself and drives its gradients into denormal numbers, which are slow.
    """
    inputs = make_inputs(network.batch * network.steps, network.sizes[0])
    rng = np.random.default_rng(1)
    teacher = rng.standard_normal((network.sizes[0], network.sizes[-1]))
    labels = (inputs @ teacher).argmax(axis=1)
    noisy = rng.random(len(labels)) < 0.1
    labels[noisy] = rng.integers(0, network.sizes[-1], noisy.sum())
    return inputs, labels


def make_parameters(sizes, seed=2):
    """Return [(weights (I, O), biases (1, O)), ...], float32: every library starts from them."""
    rng = np.random.default_rng(seed)
    layers = []
    for n_inputs, n_outputs in pairwise(sizes):
        weights = rng.standard_normal((n_inputs, n_outputs), np.float32)
        weights *= np.float32((2 / n_inputs) ** 0.5)
        layers.append((weights, np.full((1, n_outputs), 0, np.float32)))
    return layers
