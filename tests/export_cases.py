"""Networks with every layer and every kind of answer, for the tests of exports."""

import catalogue_cases
import numpy as np

import fastnn

LAYERS = {name: make for name, make in catalogue_cases.LAYERS.items() if name != "Dense"}
ANSWERS = {
    "classes": (5, fastnn.SoftmaxCrossEntropy, ()),
    "classes, Softmax": (5, fastnn.SoftmaxCrossEntropy, (fastnn.Softmax,)),
    "one answer": (1, fastnn.BinaryCrossEntropy, ()),
    "one answer, Sigmoid": (1, fastnn.BinaryCrossEntropy, (fastnn.Sigmoid,)),
    "answers": (3, fastnn.BinaryCrossEntropy, ()),
    "answers from probabilities": (
        3, lambda: fastnn.BinaryCrossEntropy(from_logits=False), (fastnn.Sigmoid,),
    ),
    "a number": (1, fastnn.MeanSquaredError, ()),
    "numbers": (4, fastnn.Huber, ()),
    "a rate": (1, fastnn.Poisson, ()),
    "rates": (3, fastnn.Poisson, ()),
    "positive numbers": (4, fastnn.MeanAbsoluteError, (fastnn.ReLU,)),
}  # fmt: skip


def make_norm(name, width, dtype):
    """Return a normalization that has learned something."""
    rng = np.random.default_rng(width)
    layer = getattr(fastnn, name)(width, 1e-3, dtype=dtype)
    if name == "BatchNorm":
        layer = fastnn.BatchNorm(width, epsilon=1e-3, dtype=dtype)
        layer.running_mean = rng.normal(0, 1, (1, width))
        layer.running_variance = rng.uniform(0.2, 2, (1, width))
    layer.weights = rng.uniform(0.5, 1.5, (1, width))
    layer.biases = rng.normal(0, 1, (1, width))
    return layer


def make_model(answer, layers=("ReLU",), dtype=np.float32, *, first=()):
    """Return a network with these hidden layers, `first` ones of them before all dense layers."""
    n_outputs, loss, last = ANSWERS[answer]
    n_inputs, width = 7, 19

    def make(name, width):
        return make_norm(name, width, dtype) if name in catalogue_cases.NORMS else LAYERS[name]()

    dense = [
        fastnn.Dense(*sizes, dtype=dtype, rng=seed, init="lecun")
        for seed, sizes in enumerate([(n_inputs, width), (width, n_outputs)])
    ]
    for seed, layer in enumerate(dense):
        layer.biases = np.random.default_rng(seed).normal(0, 0.3, layer.biases.shape)
    layers = [
        *(make(name, n_inputs) for name in first),
        dense[0],
        *(make(name, width) for name in layers),
        dense[1],
        *(make() for make in last),
    ]
    return fastnn.Sequential(layers, loss=loss())


def make_rows(n, dtype=np.float32):
    return np.random.default_rng(n).normal(0, 1, (n, 7)).astype(dtype)


def make_far_model(name, dtype):
    """Return a network that normalizes its inputs, and rows that are hard to normalize."""
    n = 37
    norm = make_norm(name, n, dtype)
    dense = fastnn.Dense(n, n, dtype=dtype)
    dense.weights = np.eye(n)
    steps, size = np.arange(n), 1e30 if dtype == np.float32 else 1e200
    rows = [np.full(n, 123456.789), 2.0**20 + steps / 8]
    if name == "BatchNorm":
        norm.running_mean = np.full((1, n), 123456.789)
        rows = [rows[0], 123456.789 + steps / 8]
    else:
        rows += [np.full(n, size), steps * size]
    return fastnn.Sequential([norm, dense], loss=fastnn.MeanSquaredError()), np.array(rows, dtype)
