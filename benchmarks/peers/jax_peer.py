"""JAX in its fastest form: one compiled `lax.scan` an epoch, its parameters donated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from networks import LEARNING_RATE

from . import trainer


def _loss(parameters, inputs, labels):
    *hidden, (weights, biases) = parameters
    for w, b in hidden:
        inputs = jax.nn.relu(inputs @ w + b)
    log_probabilities = jax.nn.log_softmax(inputs @ weights + biases)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1).mean()


@functools.partial(jax.jit, donate_argnums=0)
def _epoch(parameters, inputs, labels, batches):
    def step(parameters, indices):
        # Indices of a permutation: no lane has to be checked.
        batch = inputs.at[indices].get(mode="promise_in_bounds")
        wanted = labels.at[indices].get(mode="promise_in_bounds")
        loss, gradients = jax.value_and_grad(_loss)(parameters, batch, wanted)
        updated = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients)
        return updated, loss

    parameters, losses = jax.lax.scan(step, parameters, batches)
    return parameters, losses.mean()


class Trainer(trainer.Trainer):
    """Data and parameters stay on the device; each epoch brings its sample order."""

    def __init__(self, network, threads):
        super().__init__(network, threads)
        self.device_data = jnp.asarray(self.inputs), jnp.asarray(self.labels.astype(np.int32))

    def load(self, parameters):
        self.parameters = jax.tree.map(jnp.array, parameters)

    def run_epoch(self, order):
        batches = order.astype(np.int32).reshape(-1, self.network.batch)
        self.parameters, loss = _epoch(self.parameters, *self.device_data, batches)
        return float(loss)


def versions():
    return {"JAX": jax.__version__}
