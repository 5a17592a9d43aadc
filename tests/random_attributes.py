"""Drives public objects through random assignments, changes in place and calls.

`python tests/random_attributes.py FIRST COUNT` runs so many sequences in this process. It prints
the seed of each before it begins, so that the last line of a process that died names the culprit.
Python's errors are what is expected; a hang or a death is a fault, and so is a half update: after
an error a model has the parameters of one moment, and a fresh one trains as always.
"""

import contextlib
import copy
import faulthandler
import io
import sys
import warnings

import numpy as np

import fastnn
from fastnn import columnwise, nnfs

faulthandler.enable()
warnings.simplefilter("ignore")

N, FEATURES, CLASSES = 40, 4, 3


class OwnLayer:
    def forward(self, inputs):
        return inputs * 2

    def backward(self, dvalues):
        return dvalues * 2


class OwnLoss:
    def forward(self, y_pred, y_true):
        return ((y_pred - y_true) ** 2).mean(axis=1)

    def backward(self, y_pred, y_true):
        return 2 * (y_pred - y_true) / y_pred.size


LOSSES = [
    fastnn.SoftmaxCrossEntropy,
    fastnn.MeanSquaredError,
    fastnn.MeanAbsoluteError,
    fastnn.Huber,
    fastnn.Quantile,
    fastnn.BinaryCrossEntropy,
    lambda: fastnn.BinaryCrossEntropy(from_logits=False),
    lambda: fastnn.SoftmaxCrossEntropy(0.1),
    OwnLoss,
]
MIDDLES = [
    fastnn.ReLU,
    fastnn.Tanh,
    fastnn.ELU,
    fastnn.GELU,
    fastnn.LeakyReLU,
    fastnn.Softmax,
    lambda: fastnn.Dropout(0.3, rng=0),
    lambda: fastnn.LayerNorm(8),
    lambda: fastnn.BatchNorm(8),
    OwnLayer,
]
OPTIMIZERS = [
    fastnn.SGD,
    lambda: fastnn.SGD(0.1, momentum=0.9),
    lambda: fastnn.SGD(fastnn.StepRate(0.1, 5)),
    lambda: fastnn.Adam(0.01, clip_norm=1.0),
    lambda: fastnn.AdamW(0.01, amsgrad=True),
    fastnn.RMSprop,
    fastnn.AdaGrad,
]


class Sequence:
    """One random sequence of what a script may do."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.X = self.rng.standard_normal((N, FEATURES)).astype(self.one(["f4", "f8", "f2"]))
        self.loss = self.one(LOSSES)()
        self.y = self.targets()
        self.weights = self.rng.random(N) + 0.1
        self.model, self.optimizer = self.make(), self.one(OPTIMIZERS)()
        self.depth = 0

    def one(self, choices):
        return choices[self.rng.integers(len(choices))]

    def targets(self):
        task = getattr(self.loss, "task", "numbers")
        if task == "classes":
            return self.rng.integers(CLASSES, size=N)
        return self.rng.integers(2, size=(N, CLASSES)).astype("f8")

    def make(self):
        layers = [fastnn.Dense(FEATURES, 8, rng=0)]
        layers += [self.one(MIDDLES)() for _ in range(self.rng.integers(3))]
        return fastnn.Sequential([*layers, fastnn.Dense(8, CLASSES, rng=1)], loss=self.loss)

    # ------------------------------------------------------------------ what is done

    def objects(self):
        given = [*self.model.layers, self.model, self.model.loss, self.optimizer]
        rate = self.optimizer.learning_rate
        if isinstance(rate, fastnn.nn.schedules.Schedule):
            given.append(rate)
        with contextlib.suppress(Exception):
            given.append(self.optimizer.state_of(self.model.parameters))
        return given

    def value(self, before):
        """Return something to assign in place of `before`."""
        rng = self.rng
        if isinstance(before, np.ndarray) and rng.random() < 0.7:
            kinds = [
                lambda: before + 0.01,
                lambda: rng.standard_normal(before.shape).astype(before.dtype),
                lambda: np.zeros((1, 1)),
                lambda: np.ones((100, *before.shape[1:]), before.dtype),
                lambda: np.ones((*before.shape[:-1], 100), before.dtype),
                lambda: before.astype("f8"),
                lambda: before.T,
                lambda: before[:0],
                lambda: np.asfortranarray(before),
                lambda: before.tolist(),
            ]
            return self.one(kinds)()
        junk = [
            0, 1, 2, -1, 0.5, 1e300, 10**6, np.nan, np.inf, True, False, None, "tanh", "x", (), [],
            np.float64(0.3), np.int64(3), np.ones(3), np.ones((2, 2)), np.zeros((1, 8)),
            lambda *arguments: 0.1, fastnn.ReLU(), fastnn.Dense(8, 50), fastnn.SGD(),
            self.one(LOSSES)(), object(),
        ]  # fmt: skip
        return self.one(junk)

    def assign(self):
        target = self.one(self.objects())
        names = [name for name in dir(target) if name[0] != "_"]
        name = self.one(names)
        setattr(target, name, self.value(getattr(target, name)))

    def arrays(self):
        found = [self.X, self.y, self.weights]
        for each in self.objects():
            for name in dir(each):
                if name[0] != "_":
                    with contextlib.suppress(Exception):
                        value = getattr(each, name)
                        if isinstance(value, np.ndarray):
                            found.append(value)
        return found

    def alter(self):
        array = self.one(self.arrays())
        kind = self.rng.integers(5)
        if kind == 0:
            array.shape = self.one([(-1,), (1, -1), (-1, 2), array.shape[::-1]])
        elif kind == 1:
            array.dtype = self.one(["u1", "i4", "f4", "f8", "i8"])
        elif kind == 2:
            array.strides = self.one([(0,) * array.ndim, (8,) * array.ndim, (-8,) * array.ndim])
        elif kind == 3:
            array.flags.writeable = bool(self.rng.integers(2))
        else:
            array[...] = self.one([0, 1, -1, 99, 0.5])

    def replace(self):
        self.model.loss = self.loss = self.one(LOSSES)()
        if self.rng.random() < 0.7:
            self.y = self.targets()

    def remake(self):
        """Call a constructor once more, as nobody should."""
        layer = self.one([each for each in self.model.layers if isinstance(each, fastnn.Dense)])
        layer.__init__(self.one([FEATURES, 8, 3]), self.one([8, CLASSES, 50]))

    def fit(self):
        options = {
            "epochs": int(self.rng.integers(1, 3)),
            "batch_size": self.one([1, 7, 16, N]),
            "seed": 0,
            "optimizer": self.optimizer,
        }
        if self.rng.random() < 0.3:
            options["sample_weight"] = self.weights
        if self.rng.random() < 0.3:
            options["validation_data"] = self.X, self.y
        if self.rng.random() < 0.2:
            options["shuffle"] = lambda n: self.act_within() or np.arange(n)
        if self.rng.random() < 0.2:
            options["metrics"] = [lambda true, predicted: self.act_within() or 0.0]
        if self.rng.random() < 0.5:
            hook = self.one(
                ["on_fit_begin", "on_epoch_begin", "on_chunk_end", "on_epoch_end", "on_fit_end"]
            )
            act = lambda run: self.act_within()  # noqa: E731
            options["callbacks"] = [fastnn.LambdaCallback(**{hook: act})]
        if self.rng.random() < 0.3:
            for name in ("validation_data", "shuffle", "metrics", "sample_weight", "batch_size"):
                options.pop(name, None)
            self.model.fit(batches=self.batches, **options)
        else:
            self.model.fit(self.X, self.y, **options)

    def batches(self):
        for first in range(0, N, 16):
            yield self.X[first : first + 16], self.y[first : first + 16]
            self.act_within()

    def act_within(self):
        if self.depth == 0 and self.rng.random() < 0.5:
            self.depth += 1
            try:
                with contextlib.suppress(Exception):
                    self.one([self.assign, self.alter, self.replace, self.remake, self.predict,
                              self.partial_fit])()  # fmt: skip
            finally:
                self.depth -= 1

    def partial_fit(self):
        self.model.partial_fit(self.X, self.y, optimizer=self.optimizer)

    def predict(self):
        rows = self.X if self.rng.random() < 0.5 else self.X[: self.rng.integers(1, 9)].astype("f4")
        self.one([self.model.predict, self.model.predict_proba, self.model.forward])(rows)

    def evaluate(self):
        self.model.evaluate(self.X, self.y)

    def passes(self):
        outputs = self.model.forward(self.X, training=bool(self.rng.integers(2)))
        if self.rng.random() < 0.5:
            self.one([self.assign, self.alter])()
        self.model.backward(self.one([outputs, outputs[:5], np.ones((N, CLASSES))]))
        self.optimizer.update(self.model.parameters, self.model.gradients)

    def by_hand(self):
        layer = self.one(self.model.layers)
        self.optimizer.update(layer.weights, layer.dweights)

    def copy(self):
        self.model = self.one([copy.deepcopy, copy.copy, lambda model: model.clone()])(self.model)

    def columns(self):
        dense = columnwise.Dense(3, 2, rng=0)
        dense.forward(np.ones((3, 5)))
        for name in ("weights", "input", "output"):
            with contextlib.suppress(Exception):
                setattr(dense, name, self.value(getattr(dense, name)))
            with contextlib.suppress(Exception):
                getattr(dense, name).shape = (-1, 1)
        dense.backward(np.ones((2, self.one([5, 100]))), 0.1)

    def from_scratch(self):
        model = nnfs.Model()
        for layer in (nnfs.Layer_Dense(FEATURES, 8), nnfs.Layer_Dropout(0.2),
                      nnfs.Activation_ReLU(), nnfs.Layer_Dense(8, CLASSES),
                      nnfs.Activation_Softmax()):  # fmt: skip
            model.add(layer)
        model.set(
            loss=nnfs.Loss_CategoricalCrossentropy(),
            optimizer=self.one([nnfs.Optimizer_Adam, nnfs.Optimizer_SGD])(),
            accuracy=nnfs.Accuracy_Categorical(),
        )
        model.finalize()
        y = self.rng.integers(CLASSES, size=N)
        with contextlib.redirect_stdout(io.StringIO()):
            model.train(self.X, y, batch_size=16)
            for _ in range(3):
                target = self.one([*model.layers, model, model.loss, model.optimizer])
                name = self.one([name for name in dir(target) if name[0] != "_"])
                with contextlib.suppress(Exception):
                    setattr(target, name, self.value(getattr(target, name)))
                with contextlib.suppress(Exception):
                    model.train(self.X, y, batch_size=16)
                with contextlib.suppress(Exception):
                    model.predict(self.X)

    def run(self):
        steps = [self.assign] * 4 + [self.alter] * 3 + [self.fit] * 3 + [
            self.replace, self.remake, self.partial_fit, self.predict, self.evaluate, self.passes,
            self.by_hand, self.copy, self.columns, self.from_scratch,
        ]  # fmt: skip
        for _ in range(8):
            with contextlib.suppress(Exception):
                self.one(steps)()
        with contextlib.suppress(Exception):
            self.fit()
        with contextlib.suppress(Exception):
            self.model.predict(self.X)


def check_a_fresh_model():
    """Return the parameters of a run that no sequence before may have changed."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((N, FEATURES)), rng.integers(CLASSES, size=N)
    model = fastnn.Sequential([fastnn.Dense(FEATURES, CLASSES, rng=0)])
    model.fit(X, y, epochs=2, seed=0, optimizer=fastnn.Adam())
    return model.parameters.copy()


def run(first, count):
    """Run sequences of `count` seeds from `first` on."""
    expected = check_a_fresh_model()
    for seed in range(first, first + count):
        print(seed, flush=True)
        Sequence(seed).run()
    assert np.array_equal(check_a_fresh_model(), expected)


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
