"""scikit-learn: MLPClassifier with plain gradient descent or Adam, without a penalty."""

import warnings

import numpy as np
import sklearn
from networks import ADAM_RATE, LEARNING_RATE
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from . import trainer


class Trainer(trainer.Trainer):
    """`fit` with `warm_start`, so that a call goes on from the last one's parameters."""

    solver = {  # noqa: RUF012
        "solver": "sgd",
        "learning_rate_init": LEARNING_RATE,
        "momentum": 0,
        "nesterovs_momentum": False,
        "warm_start": True,
    }

    def __init__(self, network, threads, data=None):
        super().__init__(network, threads, data)
        self.classifier = MLPClassifier(
            network.sizes[1:-1],
            **self.solver,
            alpha=0,
            batch_size=network.batch,
            random_state=0,
            tol=0,
            n_iter_no_change=np.inf,
        )
        # The first call makes the arrays that `load` fills.
        classes = np.arange(network.sizes[-1])
        first = self.inputs[: network.batch], self.labels[: network.batch]
        self.classifier.partial_fit(*first, classes=classes)

    def load(self, parameters):
        names = self.classifier.coefs_, self.classifier.intercepts_
        for weights, biases, (w, b) in zip(*names, parameters, strict=True):
            weights[...], biases[...] = w, b[0]

    def snapshot(self):
        layers = zip(self.classifier.coefs_, self.classifier.intercepts_, strict=True)
        return [(weights.copy(), biases[None].copy()) for weights, biases in layers]

    def run(self, epochs):
        """Train, shuffled by scikit-learn itself, which takes no sample order."""
        self.classifier.set_params(max_iter=epochs, shuffle=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # that all epochs were run
            self.classifier.fit(self.inputs, self.labels)
        return self.classifier.loss_curve_[-epochs:]

    def run_epoch(self, order):
        """Train one epoch in the given order, for `losses`: the data are put in that order."""
        self.classifier.set_params(shuffle=False)
        self.classifier.partial_fit(self.inputs[order], self.labels[order])
        return self.classifier.loss_

    def losses(self, epochs):
        self.reset()
        return super().run(epochs)


class AdamTrainer(Trainer):
    """With its Adam, through `partial_fit`, which goes on by itself."""

    solver = {"solver": "adam", "learning_rate_init": ADAM_RATE}  # noqa: RUF012

    def load(self, parameters):
        super().load(parameters)
        vars(self.classifier).pop("_optimizer", None)  # the next call makes one

    def run(self, epochs):
        orders = [self.rng.permutation(len(self.inputs)) for _ in range(epochs)]
        return [self.run_epoch(order) for order in orders]


def versions():
    return {"scikit-learn": sklearn.__version__}
