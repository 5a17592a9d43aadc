"""JAX in its fastest form: one compiled `lax.scan` an epoch, its parameters donated."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from networks import ADAM_RATE, LEARNING_RATE, make_parameters

from . import trainer

# Steps that `lax.scan` takes in one turn of its loop: 4 save a third of the time on 64-64-10 and
# cost a twentieth on 2-64-3, so every network takes the better one.
_UNROLL = (1, 4)


def _loss(parameters, inputs, labels):
    *hidden, (weights, biases) = parameters
    for w, b in hidden:
        inputs = jax.nn.relu(inputs @ w + b)
    log_probabilities = jax.nn.log_softmax(inputs @ weights + biases)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1).mean()


def _descend(state, gradients):
    """Return the state, parameters alone, after a step of plain gradient descent."""
    return (jax.tree.map(lambda p, g: p - LEARNING_RATE * g, state[0], gradients),)


def _take_adam_step(state, gradients):
    """Return the state, (parameters, first moments, second moments, steps), after a step."""
    parameters, first, second, steps = state
    steps = steps + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    rate, correction = ADAM_RATE / (1 - 0.9**steps), 1 / (1 - 0.999**steps)
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(correction * v) + 1e-8), parameters, first, second
    )
    return parameters, first, second, steps


@functools.partial(jax.jit, donate_argnums=0, static_argnums=(4, 5))
def _epoch(state, inputs, labels, batches, unroll, update):
    def step(state, indices):
        # The indices are a permutation, so none has to be checked.
        batch = inputs.at[indices].get(mode="promise_in_bounds")
        batch_labels = labels.at[indices].get(mode="promise_in_bounds")
        loss, gradients = jax.value_and_grad(_loss)(state[0], batch, batch_labels)
        return update(state, gradients), loss

    state, losses = jax.lax.scan(step, state, batches, unroll=unroll)
    return state, losses.mean()


class Trainer(trainer.Trainer):
    """Data and parameters stay on the device; each epoch brings its sample order."""

    update = staticmethod(_descend)

    def __init__(self, network, threads, data=None):
        super().__init__(network, threads, data)
        self.device_data = jnp.asarray(self.inputs), jnp.asarray(self.labels.astype(np.int32))
        self.unroll = min(_UNROLL, key=self._seconds)

    def _seconds(self, unroll):
        """Return the time of the fastest of five epochs, the first of which compiles."""
        self.unroll = unroll
        self.load(make_parameters(self.network.sizes))
        order, seconds = np.arange(self.network.steps * self.network.batch), []
        for _ in range(5):
            begin = time.perf_counter()
            self.run_epoch(order)
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    def load(self, parameters):
        self.state = (jax.tree.map(jnp.array, parameters),)

    def run_epoch(self, order):
        batches = order.astype(np.int32).reshape(-1, self.network.batch)
        self.state, loss = _epoch(self.state, *self.device_data, batches, self.unroll, self.update)
        return float(loss)

    def snapshot(self):
        return jax.tree.map(np.array, self.state[0])


class AdamTrainer(Trainer):
    """With Adam, its averages beside the parameters."""

    update = staticmethod(_take_adam_step)

    def load(self, parameters):
        super().load(parameters)
        moments = (jax.tree.map(jnp.zeros_like, self.state[0]) for _ in range(2))
        self.state = *self.state, *moments, jnp.zeros((), jnp.float32)


def versions():
    return {"JAX": jax.__version__}
