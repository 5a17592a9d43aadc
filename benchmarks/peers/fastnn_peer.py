"""fastnn, as a user calls it."""

import inspect
from itertools import pairwise

import numpy as np
from networks import ADAM_RATE, LEARNING_RATE, make_parameters

import fastnn
from fastnn import kernels
from fastnn.kernels import target

from . import trainer


def _thread_arguments(method, threads):
    """Return the keyword arguments that hold `method` to one thread.

    More than one is the default's own choice, from the CPUs that the process may use.
    """
    if threads == 1 and "threads" in inspect.signature(method).parameters:
        return {"threads": 1}
    return {}


def _model(sizes):
    layers = []
    for i, (n_inputs, n_outputs) in enumerate(pairwise(sizes)):
        layers += [fastnn.ReLU()] if i else []
        layers.append(fastnn.Dense(n_inputs, n_outputs, init="zeros"))
    return fastnn.Sequential(layers)


def _load(model, parameters):
    for layer, (weights, biases) in zip(model.layers[::2], parameters, strict=True):
        layer.weights, layer.biases = weights, biases


class Trainer(trainer.Trainer):
    """`model.fit`: checks of the arguments, shuffling and the history included."""

    def __init__(self, network, threads, data=None):
        super().__init__(network, threads, data)
        self.model = _model(network.sizes)
        self.optimizer = self.make_optimizer()
        self.arguments = _thread_arguments(self.model.fit, threads)

    def make_optimizer(self):
        return fastnn.SGD(LEARNING_RATE)

    def load(self, parameters):
        _load(self.model, parameters)
        self.optimizer = self.make_optimizer()  # with no averages yet

    def run(self, epochs):
        return self._fit(epochs=epochs, seed=self.rng).loss

    def train(self, orders, look):
        """Call `fit` once: each epoch of it is one of `orders`."""
        remaining = iter(orders)
        self._fit(
            epochs=len(orders),
            # `fit` wants as many indices as there are samples, and uses those of its steps.
            shuffle=lambda n_samples: np.resize(next(remaining), n_samples),
            steps_per_epoch=self.network.steps,
            callbacks=[fastnn.LambdaCallback(on_epoch_end=lambda run: look())],
        )

    def _fit(self, **arguments):
        return self.model.fit(
            self.inputs,
            self.labels,
            batch_size=self.network.batch,
            optimizer=self.optimizer,
            verbose=False,
            **self.arguments,
            **arguments,
        )

    def snapshot(self):
        return [(layer.weights.copy(), layer.biases.copy()) for layer in self.model.layers[::2]]


class AdamTrainer(Trainer):
    """`model.fit` with Adam."""

    def make_optimizer(self):
        return fastnn.Adam(ADAM_RATE)


def load_model(sizes):
    """Return the model with the parameters that every library starts from."""
    model = _model(sizes)
    _load(model, make_parameters(sizes))
    return model


def predictor(sizes, inputs, threads):
    model = load_model(sizes)
    arguments = _thread_arguments(model.predict_proba, threads)
    return lambda: model.predict_proba(inputs, **arguments)


def softmax(inputs, threads):
    outputs = np.empty_like(inputs)

    def run():
        kernels.softmax_forward(outputs, inputs)
        return outputs

    return run


def product(operation, left, right, threads):
    if operation == "forward":
        outputs = np.empty((len(left), right.shape[1]), left.dtype)
        biases = np.full((1, right.shape[1]), 0, left.dtype)

        def run():
            kernels.dense_forward(outputs, left, right, biases)
            return outputs

    elif operation == "dweights":  # left = inputs, right = doutputs
        outputs = np.empty((left.shape[1], right.shape[1]), left.dtype)

        def run():
            kernels.dense_backward(None, outputs, None, right, left, None)
            return outputs

    else:  # left = doutputs, right = weights
        outputs = np.empty((len(left), len(right)), left.dtype)

        def run():
            kernels.dense_backward(outputs, None, None, left, None, right)
            return outputs

    return run


def set_precision(precision):
    """Let all networks of this process train and predict with products of `precision`."""
    fastnn.set_precision(precision)


def versions():
    cpu = target.current()
    return {"fastnn": fastnn.__version__, "vectors": f"{cpu.name}, {8 * cpu.vector_bytes} bits"}
