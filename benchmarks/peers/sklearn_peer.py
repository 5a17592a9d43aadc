"""scikit-learn: MLPClassifier with plain gradient descent, neither momentum nor penalty."""

import warnings

import numpy as np
import sklearn
from networks import LEARNING_RATE
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from . import trainer


class Trainer(trainer.Trainer):
    """`fit` with `warm_start`, so that a call goes on from the last one's parameters."""

    def __init__(self, network, threads):
        super().__init__(network, threads)
        self.classifier = MLPClassifier(
            network.sizes[1:-1],
            solver="sgd",
            alpha=0,
            batch_size=network.batch,
            learning_rate_init=LEARNING_RATE,
            momentum=0,
            nesterovs_momentum=False,
            random_state=0,
            warm_start=True,
            tol=0,
            n_iter_no_change=np.inf,
        )
        # The first call makes the arrays that `load` fills.
        classes = np.arange(network.sizes[-1])
        self.classifier.partial_fit(self.inputs, self.labels, classes=classes)

    def load(self, parameters):
        names = self.classifier.coefs_, self.classifier.intercepts_
        for weights, biases, (w, b) in zip(*names, parameters, strict=True):
            weights[...], biases[...] = w, b[0]

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


def versions():
    return {"scikit-learn": sklearn.__version__}
