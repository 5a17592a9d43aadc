"""Keras on the backend that the environment variable KERAS_BACKEND names."""

import keras
import numpy as np
from networks import ADAM_RATE

from . import trainer


class _Batches(keras.utils.PyDataset):
    """The batches of one order after the other: an order is an epoch of `fit`."""

    def __init__(self, trainer, orders):
        super().__init__()
        self.trainer, self.orders, self.epoch = trainer, orders, 0

    def __len__(self):
        return self.trainer.network.steps

    def __getitem__(self, index):
        batch = self.trainer.network.batch
        rows = self.orders[self.epoch][index * batch : (index + 1) * batch]
        return self.trainer.inputs[rows], self.trainer.labels[rows]


class _Epochs(keras.callbacks.Callback):
    """Tells the batches the epoch. Their own `on_epoch_end` is called before the first one too."""

    def __init__(self, batches, look):
        super().__init__()
        self.batches, self.look = batches, look

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.look()


class AdamTrainer(trainer.Trainer):
    """`model.fit`, compiled as Keras compiles by itself, in one call for all orders."""

    def __init__(self, network, threads, data=None):
        super().__init__(network, threads, data)
        if keras.backend.backend() == "torch":
            import torch

            torch.set_num_threads(threads)
        inputs, *hidden, outputs = network.sizes
        layers = [keras.layers.Dense(size, activation="relu") for size in hidden]
        self.model = keras.Sequential(
            [keras.Input((inputs,)), *layers, keras.layers.Dense(outputs)]
        )
        self.optimizer = keras.optimizers.Adam(ADAM_RATE, epsilon=1e-8)
        self.model.compile(
            self.optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        self.optimizer.build(self.model.trainable_variables)
        self.first_state = [np.array(variable) for variable in self.optimizer.variables]

    def load(self, parameters):
        self.model.set_weights(
            [array for weights, biases in parameters for array in (weights, biases[0])]
        )
        for variable, value in zip(self.optimizer.variables, self.first_state, strict=True):
            variable.assign(value)

    def run_epoch(self, order):
        return self._fit([order], lambda: None).history["loss"][0]

    def train(self, orders, look):
        """Call `fit` once: each epoch of it is one of `orders`."""
        self._fit(orders, look)

    def _fit(self, orders, look):
        batches = _Batches(self, orders)
        return self.model.fit(
            batches,
            epochs=len(orders),
            shuffle=False,
            verbose=0,
            callbacks=[_Epochs(batches, look)],
        )

    def snapshot(self):
        arrays = self.model.get_weights()
        return [
            (np.array(weights), np.array(biases)[None])
            for weights, biases in zip(arrays[::2], arrays[1::2], strict=True)
        ]


def versions():
    return {"Keras": keras.__version__}
