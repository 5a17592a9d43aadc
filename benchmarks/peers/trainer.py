"""What training means to every library: the same data, first weights, sample order and steps."""

import numpy as np
from networks import SEED, make_data, make_parameters


class Trainer:
    """One network in one library.

    A subclass builds its network in `__init__`, loads parameters in `load`, and trains one epoch
    in `run_epoch(order)`, which returns the mean loss over the epoch's samples, each as its batch
    met it. `threads` is 1, or the number of CPUs that the process may use. `data` are inputs and
    labels, by default those of the network.
    """

    def __init__(self, network, threads, data=None):
        self.network, self.threads = network, threads
        self.inputs, self.labels = make_data(network) if data is None else data

    def load(self, parameters):
        """Take `parameters`, [(weights, biases), ...], as they come from `make_parameters`."""
        raise NotImplementedError

    def run_epoch(self, order):
        """Train one epoch in the sample order `order` and return its mean loss."""
        raise NotImplementedError

    def train(self, orders, look):
        """Train on the samples of each of `orders`, and call `look()` after each.

        An order has the indices of all batches of an epoch of the network. Those of a part of the
        samples will do.
        """
        for order in orders:
            self.run_epoch(order)
            look()

    def snapshot(self):
        """Return a copy of the parameters, in the form of `make_parameters`."""
        raise NotImplementedError

    def reset(self):
        """Go back to the first weights and the first sample order."""
        self.load(make_parameters(self.network.sizes))
        self.rng = np.random.default_rng(SEED)

    def run(self, epochs):
        """Train `epochs` epochs, shuffled, and return the mean loss of each."""
        return [self.run_epoch(self.rng.permutation(len(self.inputs))) for _ in range(epochs)]

    def losses(self, epochs):
        """Return the losses of the first `epochs` epochs: equal for all libraries."""
        self.reset()
        return self.run(epochs)
