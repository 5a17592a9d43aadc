"""The libraries that `fastnn bench` compares, each as its users would write a fast training loop.

This file is run as a script, in one process for each library, so it imports nothing of fastnn: the
process of another library shall not load numba. A peer is a function that imports its library and
returns `make` and a version. `make(network, X, y, parameters, threads)` returns a function
`train(epochs, rng)`, which trains with plain gradient descent, in the order of one
`rng.permutation` for each epoch. It goes on from where the last call ended, and returns the mean
loss of the last epoch.
"""

# `benchmarks/peers/` has peers of its own on purpose. Those are tuned for the published figures, by
# buffers, unrolled loops, Adam, prediction and single products, and need the repository. These are
# installed with fastnn, and show what a user of each library can expect from a few lines. Neither
# can import the other: a wheel has no `benchmarks`, and `fastnn.cli` would import fastnn.

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LEARNING_RATE = 0.05


class Network(NamedTuple):
    """Dense layers with ReLU between them, trained on softmax cross-entropy."""

    sizes: tuple[int, ...]
    batch: int
    steps: int  # of an epoch

    @property
    def name(self) -> str:
        """As the table shows it."""
        return f"{'-'.join(map(str, self.sizes))}, {self.batch}"


NETWORKS = (Network((64, 64, 10), 32, 200), Network((784, 128, 10), 128, 50))


def _fastnn() -> Any:
    if importlib.util.find_spec("fastnn") is None:  # not installed: the parent runs in a checkout
        sys.path.append(str(Path(__file__).parents[2]))
    import fastnn

    def make(network: Network, X: Any, y: Any, parameters: Any, threads: int) -> Any:
        layers = []
        for weights, biases in parameters:
            layer = fastnn.Dense(*weights.shape, rng=0)
            layer.weights[...], layer.biases[...] = weights, biases
            layers += [layer, fastnn.ReLU()]
        model = fastnn.Sequential(layers[:-1])

        def train(epochs: int, rng: np.random.Generator) -> float:
            history = model.fit(
                X, y, epochs=epochs, batch_size=network.batch, seed=rng, verbose=False,
                optimizer=fastnn.SGD(LEARNING_RATE), threads=None if threads > 1 else 1,
            )  # fmt: skip
            return history.loss[-1]

        return train

    return make, fastnn.__version__


def _numpy() -> Any:
    def step(parameters: Any, X: Any, y: Any) -> float:
        values = [X]
        for i, (weights, biases) in enumerate(parameters):
            outputs = values[-1] @ weights
            outputs += biases
            if i + 1 < len(parameters):
                np.maximum(outputs, 0, out=outputs)
            values.append(outputs)
        logits = values.pop()
        rows = np.arange(len(y))
        logits -= logits.max(axis=1, keepdims=True)
        targets = logits[rows, y]
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1, keepdims=True)
        loss = float(np.log(sums).sum() - targets.sum())
        gradient = logits
        gradient /= sums
        gradient[rows, y] -= 1
        gradient *= np.float32(1 / len(y))
        for (weights, biases), inputs in zip(reversed(parameters), reversed(values), strict=True):
            dinputs = gradient @ weights.T if inputs is not X else None
            weights -= np.float32(LEARNING_RATE) * (inputs.T @ gradient)
            biases -= np.float32(LEARNING_RATE) * gradient.sum(axis=0)
            if dinputs is not None:
                dinputs *= inputs > 0
            gradient = dinputs
        return loss

    def make(network: Network, X: Any, y: Any, parameters: Any, threads: int) -> Any:
        def train(epochs: int, rng: np.random.Generator) -> float:
            for _ in range(epochs):
                batches = rng.permutation(len(X)).reshape(-1, network.batch)
                loss = sum(step(parameters, X[batch], y[batch]) for batch in batches) / len(X)
            return loss

        return train

    return make, np.__version__


def _sklearn() -> Any:
    import sklearn
    from sklearn.neural_network import MLPClassifier

    def make(network: Network, X: Any, y: Any, parameters: Any, threads: int) -> Any:
        classifier = MLPClassifier(
            network.sizes[1:-1], solver="sgd", alpha=0, batch_size=network.batch,
            learning_rate_init=LEARNING_RATE, momentum=0, nesterovs_momentum=False, shuffle=False,
        )  # fmt: skip
        # The first call creates the arrays of the weights.
        classifier.partial_fit(X, y, classes=np.arange(network.sizes[-1]))
        pairs = zip(classifier.coefs_, classifier.intercepts_, parameters, strict=True)
        for weights, biases, (w, b) in pairs:
            weights[...], biases[...] = w, b

        def train(epochs: int, rng: np.random.Generator) -> float:
            for _ in range(epochs):
                order = rng.permutation(len(X))
                classifier.partial_fit(X[order], y[order])
            return classifier.loss_

        return train

    return make, sklearn.__version__


def _torch() -> Any:
    import torch
    from torch.nn import functional

    def make(network: Network, X: Any, y: Any, parameters: Any, threads: int) -> Any:
        torch.set_num_threads(threads)
        layers = []
        for weights, biases in parameters:
            layer = torch.nn.Linear(*weights.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weights.T))
                layer.bias.copy_(torch.from_numpy(biases))
            layers += [layer, torch.nn.ReLU()]
        module = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE, fused=True)
        X, y = torch.from_numpy(X), torch.from_numpy(y)

        def train(epochs: int, rng: np.random.Generator) -> float:
            for _ in range(epochs):
                total = torch.zeros(())
                for batch in torch.from_numpy(rng.permutation(len(X))).split(network.batch):
                    loss = functional.cross_entropy(
                        module(X.index_select(0, batch)), y.index_select(0, batch)
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    total += loss.detach()
            return total.item() / network.steps

        return train

    return make, torch.__version__


def _jax() -> Any:
    import jax
    import jax.numpy as jnp

    def loss_of(parameters: Any, X: Any, y: Any) -> Any:
        *hidden, (weights, biases) = parameters
        for w, b in hidden:
            X = jax.nn.relu(X @ w + b)
        scores = jax.nn.log_softmax(X @ weights + biases)
        return -jnp.take_along_axis(scores, y[:, None], axis=1).mean()

    @jax.jit
    def run_epoch(parameters: Any, X: Any, y: Any, batches: Any) -> Any:
        def step(parameters: Any, batch: Any) -> Any:
            loss, gradients = jax.value_and_grad(loss_of)(parameters, X[batch], y[batch])
            updated = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients)
            return updated, loss

        parameters, losses = jax.lax.scan(step, parameters, batches)
        return parameters, losses.mean()

    def make(network: Network, X: Any, y: Any, parameters: Any, threads: int) -> Any:
        state = [jax.tree.map(jnp.array, parameters)]
        X, y = jnp.asarray(X), jnp.asarray(y.astype(np.int32))

        def train(epochs: int, rng: np.random.Generator) -> float:
            for _ in range(epochs):
                batches = rng.permutation(len(X)).astype(np.int32).reshape(-1, network.batch)
                state[0], loss = run_epoch(state[0], X, y, batches)
            return float(loss)

        return train

    return make, jax.__version__


PEERS = {
    "fastnn": _fastnn,
    "NumPy": _numpy,
    "JAX": _jax,
    "PyTorch": _torch,
    "scikit-learn": _sklearn,
}


# ---------------------------------------------------------------------- inside of a worker


def _make_problem(network: Network) -> tuple[Any, Any, Any]:
    """Return (X, y, parameters). A linear map decides the labels; a tenth of them are random."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((network.batch * network.steps, network.sizes[0]), np.float32)
    y = (X @ rng.standard_normal((network.sizes[0], network.sizes[-1]))).argmax(axis=1)
    noisy = rng.random(len(y)) < 0.1
    y[noisy] = rng.integers(0, network.sizes[-1], noisy.sum())
    parameters = [
        (
            rng.standard_normal((n_in, n_out), np.float32) * np.float32((2 / n_in) ** 0.5),
            np.full(n_out, 0, np.float32),
        )
        for n_in, n_out in pairwise(network.sizes)
    ]
    return X, y, parameters


class _Job:
    """A network that a library trains."""

    def __init__(self, make: Any, network: Network, threads: int) -> None:
        self.steps, self.rng = network.steps, np.random.default_rng(7)
        self._train = make(network, *_make_problem(network), threads)
        self.loss = float(self._train(2, self.rng))

    def time_step(self, seconds: float) -> float:
        """Return the mean time of a step, measured for about so many seconds.

        It trains for half that time first. The other libraries had the machine before, and on a
        virtual machine memory that was not used for 0.2 s is slow when it is touched again.
        """
        begin = end = time.perf_counter()
        while end - begin < seconds / 2:
            start = end
            self._train(1, self.rng)
            end = time.perf_counter()
        epochs = max(1, round(seconds / (end - start)))
        begin = time.perf_counter()
        self._train(epochs, self.rng)
        return (time.perf_counter() - begin) / (epochs * self.steps)


def serve(library: str, threads: int) -> None:
    """Answer each line of the parent with a JSON object, after a first one with a version."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library may print
    warnings.simplefilter("ignore")

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers)

    try:
        make, version = PEERS[library]()
    except ImportError:
        answer(missing="not installed")
        return
    answer(version=str(version))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "prepare" in command:
                job = _Job(make, NETWORKS[command["prepare"]], threads)
                answer(loss=job.loss)
            else:
                answer(step=job.time_step(command["seconds"]))
        except Exception as error:  # the failure of a library is a line of the result
            answer(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
