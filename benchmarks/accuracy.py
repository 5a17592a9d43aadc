"""What a worker does for `time_to_accuracy.py`: it trains, and says what it knew at which second.

The clock runs while the library trains. It stands while the parameters are copied, at fixed points
of the training. How many of the samples that were held out each copy knows is counted after the
training, by the same few lines of NumPy for every library.
"""

import time

import numpy as np
from networks import Network, make_parameters


class Curve:
    """The training of one network by one library, from any number of seeds.

    Parameters
    ----------
    peer : module
        One of `peers/`.
    task : dict
        "data": the path of an .npz file with `X`, `y`, `X_test`, `y_test`; "scale": a factor of X;
        "sizes", "batch", "steps": the network, and the steps from one point to the next; "points".
    threads : int
    """

    def __init__(self, peer, task, threads):
        self._network = Network(tuple(task["sizes"]), task["batch"], task["steps"])
        self._points = task["points"]
        with np.load(task["data"]) as arrays:
            X, X_test = (
                arrays[name].astype(np.float32) * np.float32(task["scale"])
                for name in ("X", "X_test")
            )
            y, y_test = (arrays[name].astype(np.int64) for name in ("y", "y_test"))
        self._n_samples, self._test = len(X), (X_test, y_test)
        self._trainer = peer.AdamTrainer(self._network, threads, (X, y))
        self._start(0)
        self._trainer.train(self._orders(0)[:1], lambda: None)
        self.values = [_loss(self._trainer.snapshot(), *self._test)]

    def _start(self, seed):
        self._trainer.load(make_parameters(self._network.sizes, seed))

    def _orders(self, seed):
        """Return the samples between one point and the next, for all points.

        Each epoch has an order of its own. What is left behind its last point is not used.
        """
        rng = np.random.default_rng(seed)
        size = self._network.steps * self._network.batch
        orders = []
        while len(orders) < self._points:
            epoch = rng.permutation(self._n_samples)
            orders += [epoch[i : i + size] for i in range(0, self._n_samples - size + 1, size)]
        return orders[: self._points]

    def run(self, seed, warm):
        """Return [(seconds of training, held-out accuracy), ...] from the weights of `seed`.

        The library trains for `warm` seconds just before, from the same weights.
        """
        orders = self._orders(seed)
        self._start(seed)
        begin = time.perf_counter()
        while time.perf_counter() - begin < warm:
            self._trainer.train(orders[:1], lambda: None)
        self._start(seed)
        watch = _Watch(self._trainer)
        watch.start()
        self._trainer.train(orders, watch.look)
        return [
            (seconds, _accuracy(parameters, *self._test)) for seconds, parameters in watch.points
        ]


class _Watch:
    """A clock that stands while it copies the parameters of a trainer."""

    def __init__(self, trainer):
        self._trainer, self._spent = trainer, 0.0
        self.points = []  # (seconds, parameters)

    def start(self):
        self._begin = time.perf_counter()

    def look(self):
        self._spent += time.perf_counter() - self._begin
        self.points.append((self._spent, self._trainer.snapshot()))
        self.start()


def _logits(parameters, inputs):
    for i, (weights, biases) in enumerate(parameters):
        inputs = (np.maximum(inputs, 0) if i else inputs) @ weights + biases
    return inputs


def _accuracy(parameters, inputs, labels):
    """Return the fraction of labels that has the largest logit."""
    return float((_logits(parameters, inputs).argmax(axis=1) == labels).mean())


def _loss(parameters, inputs, labels):
    """Return the mean cross-entropy."""
    logits = _logits(parameters, inputs).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(logits).sum(axis=1)) - own).mean())
