"""What a worker can be asked to do: one benchmark of one library, checked and then timed.

A task is a dict, sent as JSON:

    {"kind": "train", "sizes": [784, 128, 10], "batch": 128, "steps": 100}   a training step
    {"kind": "adam", ...}                                                    likewise, with Adam
    {"kind": "predict", "sizes": [784, 128, 10], "rows": 10000}              all rows once
    {"kind": "softmax", "shape": [10000, 10]}
    {"kind": "product", "operation": "forward", "shape": [128, 784, 128]}    or dweights, dinputs
    {"kind": "peak"}
    {"kind": "accuracy", ...}                      held-out accuracy against time: see accuracy.py

The peer that measures the FMA peak does so whatever the task is, in the rounds of the others.

A job holds `values`, numbers in which all libraries must agree because they did equal work, and
`time(warm, seconds)`: the seconds that one unit of it takes. That of "accuracy" has
`run(seed, warm)` instead.
"""

import time

import numpy as np
from accuracy import Curve
from networks import Network, make_inputs

_CHECKED_VALUES = 64


def make_job(peer, task, threads):
    """Return the job for `task` in the library of the module `peer`; None where it has none."""
    if hasattr(peer, "peak_rate"):
        return _Peak(peer, threads)
    maker, name = _KINDS[task["kind"]]
    return maker(peer, task, threads) if hasattr(peer, name) else None


class _Training:
    """The unit is one training step."""

    trainer = "Trainer"
    # Long enough that a wrong gradient shows in the loss, short enough that rounding does not.
    checked_epochs = 3

    def __init__(self, peer, task, threads):
        network = Network(tuple(task["sizes"]), task["batch"], task["steps"])
        self._trainer = getattr(peer, self.trainer)(network, threads)
        self._steps = network.steps
        self.values = [float(loss) for loss in self._trainer.losses(self.checked_epochs)]

    def time(self, warm, seconds):
        epoch = _warm_up(self._trainer.run, warm)
        self._trainer.reset()  # all libraries train from the first weights again
        return _time(self._trainer.run, epoch, seconds) / self._steps


class _AdamTraining(_Training):
    trainer = "AdamTrainer"
    checked_epochs = 1  # it divides by the size of a gradient, so rounding shows sooner


class _Calls:
    """The unit is one call of a function without arguments."""

    def __init__(self, function):
        self._function = function
        # A sample that hits every region of the result, whatever its shape.
        result = np.asarray(function()).ravel()
        self.values = result[:: -(-result.size // _CHECKED_VALUES)].tolist()

    def _run(self, count):
        function = self._function
        for _ in range(count):
            function()

    def time(self, warm, seconds):
        return _time(self._run, _warm_up(self._run, warm), seconds)


class _Peak:
    """The unit is one operation: a multiplication or an addition."""

    values = ()

    def __init__(self, peer, threads):
        self._rate, self._threads = peer.peak_rate, threads

    def time(self, warm, seconds):
        self._rate(self._threads, warm)
        return 1 / self._rate(self._threads, seconds)


def _prediction(peer, task, threads):
    inputs = make_inputs(task["rows"], task["sizes"][0])
    return _Calls(peer.predictor(task["sizes"], inputs, threads))


def _softmax(peer, task, threads):
    return _Calls(peer.softmax(3 * make_inputs(*task["shape"]), threads))


def _product(peer, task, threads):
    rows, n_inputs, n_outputs = task["shape"]
    inputs, doutputs = make_inputs(rows, n_inputs), make_inputs(rows, n_outputs)
    weights = make_inputs(n_inputs, n_outputs)
    operation = task["operation"]
    left, right = {
        "forward": (inputs, weights),
        "dweights": (inputs, doutputs),
        "dinputs": (doutputs, weights),
    }[operation]
    return _Calls(peer.product(operation, left, right, threads))


# Kind of task -> what makes its job, and the name that a peer must have for it.
_KINDS = {
    "train": (_Training, "Trainer"),
    "adam": (_AdamTraining, "AdamTrainer"),
    "predict": (_prediction, "predictor"),
    "softmax": (_softmax, "softmax"),
    "product": (_product, "product"),
    "peak": (None, "peak_rate"),
    "accuracy": (Curve, "AdamTrainer"),
}


def _warm_up(run, seconds):
    """Call `run(count)` for at least `seconds` and return what it takes for a count of 1."""
    count, begin = 1, time.perf_counter()
    while True:
        start = time.perf_counter()
        run(count)
        now = time.perf_counter()
        if now - begin >= seconds:
            return (now - start) / count
        if now - start < seconds / 4:
            count *= 2


def _time(run, single, seconds):
    """Return the seconds for a count of 1, from one call of `run` that takes about `seconds`."""
    count = max(1, round(seconds / single))
    begin = time.perf_counter()
    run(count)
    return (time.perf_counter() - begin) / count
