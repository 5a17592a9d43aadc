"""The public API as a user with a type checker writes it; `test_types.py` checks it with mypy.

Every value has the type that its user wants it to have, so a signature that promises less is an
error here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fastnn
from fastnn import columnwise, datasets, metrics, nnfs, plots
from fastnn.types import Precision

Floats = npt.NDArray[np.floating[Any]]


class StopAtAccuracy(fastnn.Callback):
    """Stops a run that is good enough."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted
        self.epochs: list[int] = []

    def on_epoch_end(self, run: fastnn.Run) -> None:
        self.epochs.append(run.epoch)
        if run.history.latest()["accuracy"] >= self.wanted:
            run.stopped = True
        if run.epoch == run.epochs:
            print(run.model.predict(np.zeros((1, 2))), run.history.loss[-1])


class Swish:
    """A layer of one's own."""

    def forward(self, inputs: Floats) -> Floats:
        output: Floats = inputs / (1 + np.exp(-inputs))
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: Floats) -> Floats:
        slope: Floats = 1 / (1 + np.exp(-self.inputs))
        dinputs: Floats = dvalues * (slope + self.output * (1 - slope))
        return dinputs


class Doubled(fastnn.Dense):
    """A layer of fastnn's, changed."""

    def forward(self, inputs: npt.ArrayLike, training: bool = False) -> Floats:
        return 2 * super().forward(inputs, training)


class Squares:
    """A loss of one's own."""

    def forward(self, y_pred: Floats, y_true: Floats) -> Floats:
        losses: Floats = ((y_pred - y_true) ** 2).mean(axis=1)
        return losses

    def backward(self, y_pred: Floats, y_true: Floats) -> Floats:
        return 2 * (y_pred - y_true) / y_pred.size


class Halved(fastnn.MeanSquaredError):
    """A loss of fastnn's, changed."""

    def forward(self, y_pred: npt.ArrayLike, y_true: npt.ArrayLike) -> Floats:
        return super().forward(y_pred, y_true) / 2


def falling(step: int) -> float:
    return 0.1 / (1 + step)


def most_wrong(y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any]) -> float:
    return float(np.abs(y_true - y_pred).max())


def train(folder: Path) -> fastnn.Sequential:
    X, y = datasets.make_spiral(100, 3, rng=np.random.default_rng(0))
    layers = [fastnn.Dense(2, 16, rng=0), fastnn.Tanh(), fastnn.Dense(16, 3, rng=1, init="glorot")]
    model = fastnn.Sequential(layers)
    stop, checkpoint = StopAtAccuracy(0.9), fastnn.Checkpoint(folder / "run.safetensors", every=2)
    history: fastnn.History = model.fit(
        X,
        y,
        epochs=5,
        batch_size=32,
        optimizer=fastnn.Adam(fastnn.CosineRate(0.02, steps=50)),
        seed=0,
        validation_data=(X[:10], y[:10]),
        class_weight={0: 1.0, 1: 2.0, 2: 1.0},
        metrics=["f1", metrics.recall, fastnn.Metric(most_wrong, higher_is_better=False)],
        callbacks=[
            stop,
            checkpoint,
            fastnn.EarlyStopping("val_loss", patience=3, mode="min"),
            fastnn.CSVLogger(folder / "log.csv"),
            fastnn.LambdaCallback(on_epoch_end=lambda run: print(run.epoch)),
        ],
        verbose=0,
        threads=1,
    )
    losses: list[float] = history.loss + history.val_loss
    best: int = int(np.argmin(losses))
    curves: dict[str, list[float]] = history.curves
    print(best, len(history), list(curves), stop.epochs)
    return model


def ask(model: fastnn.Sequential) -> None:
    samples = [[0.1, 0.2], [0.3, 0.4]]
    labels = model.predict(samples)
    probabilities: Floats = model.predict_proba(np.array(samples), batch_size=1)
    hidden: Floats = model.activations(samples, -2)
    scores: dict[str, float] = model.evaluate(samples, [0, 1], metrics=["accuracy"])
    print(labels.shape, probabilities.max(), hidden.sum(), scores["loss"], model.summary())
    handle: fastnn.CompiledModel = model.compiled()
    print(handle.predict(np.zeros(2, np.float32)), handle.n_outputs)
    twin: fastnn.Sequential = model.clone(rng=3)
    twin.parameters -= 0.1 * twin.gradients
    first = twin.layers[0]
    print(first.weights.shape, twin.dtype.itemsize)


def save_and_load(model: fastnn.Sequential, folder: Path) -> fastnn.Sequential:
    model.save(folder / "model.safetensors", notes={"unit": "cm"})
    model.save(str(folder / "model.safetensors"))
    again: fastnn.Sequential = fastnn.load(folder / "model.safetensors")
    config: dict[str, Any] = again.to_config()
    print(again.notes["unit"], config["dtype"])
    try:
        fastnn.load("nothing")
    except (fastnn.FileFormatError, OSError) as error:
        print(error)
    fastnn.export.to_c(again, folder / "model.c")
    return fastnn.Sequential.from_config(config)


def train_in_other_ways(X: Floats, y: npt.NDArray[np.int64]) -> None:
    own = fastnn.Sequential(
        [Doubled(2, 4), Swish(), fastnn.Dropout(0.1, rng=0), fastnn.Dense(4, 3)]
    )
    own.fit(batches=[(X, y), (X, y, np.ones(len(y)))], optimizer=fastnn.SGD(falling), epochs=2)
    own.fit(batches=lambda: iter([(X, y)]), steps_per_epoch=1, shuffle=False, verbose="auto")
    own.partial_fit(X, y, optimizer=fastnn.RMSprop(fastnn.StepRate(0.1, every=10)), seed=1)
    try:
        own.fit(X, y, shuffle=lambda n: np.arange(n)[::-1])
    except fastnn.NonFiniteLossError as error:
        print(error.epoch, error.batch)
    squares = Squares()
    curve = fastnn.Sequential([fastnn.Dense(2, 1)], loss=squares)
    curve.loss = squares.forward, squares.backward
    curve.loss = Halved()
    print(curve.loss.task, curve.fit(X, y, optimizer=fastnn.SGD(1e-3)).loss)
    losses = [fastnn.MeanSquaredError(), fastnn.Huber(0.5), fastnn.Quantile(0.9)]
    models = [fastnn.Sequential([fastnn.Dense(2, 1)], loss) for loss in losses]
    found: list[fastnn.History] = fastnn.fit_many(models, X, y, seed=[0, 1, None], epochs=2)
    print([history.loss[-1] for history in found])
    with fastnn.num_threads(2):
        fastnn.warmup(np.float32, plain=True)
    fastnn.set_num_threads(None)
    lower: Precision = "high"
    with fastnn.precision(lower):
        curve.fit(X, y, precision="highest")
    fastnn.set_precision(None)
    fastnn.MLPClassifier(precision=lower)


def step_by_hand(X: Floats, y: npt.NDArray[np.int64]) -> float:
    dense, bend, head = fastnn.Dense(2, 3), fastnn.LeakyReLU(0.1), fastnn.SoftmaxCrossEntropy()
    norm, adam = fastnn.BatchNorm(3), fastnn.AdamW(weight_decay=0.1, clip_norm=1.0)
    loss = head.forward(bend.forward(norm.forward(dense.forward(X), training=True)), y)
    dense.backward(norm.backward(bend.backward(head.backward(head.output, y))))
    dense.weights -= 0.5 * dense.dweights
    adam.update(dense.weights, dense.dweights)
    shape: tuple[int, ...] = dense.dbiases.shape
    print(shape, bend.output.max(), norm.running_mean[0])
    return float(loss)


def measure() -> float:
    true, predicted = ["a", "b", "b"], np.array(["a", "b", "a"])
    each: Floats = metrics.precision(true, predicted, average=None)
    macro: float = metrics.f1(true, predicted)
    rows, classes = fastnn.one_hot(true)
    print(each[0], rows.shape, classes[0], fastnn.accuracy(true, predicted))
    return macro + metrics.r2([1.0, 2.0], [1, 2]) + metrics.top_k_accuracy([0], [[0.1, 0.9]], k=1)


def draw(history: fastnn.History, y: npt.NDArray[np.int64]) -> None:
    (axes,) = plots.plot_history(history, ["loss"])
    axes.set_title("loss")
    plots.plot_confusion_matrix(y, y, class_names=["a", "b", "c"]).set_xlabel("found")


def estimate(X: Floats, y: npt.NDArray[np.int64]) -> float:
    classifier = fastnn.MLPClassifier(
        (16, 8), ["relu", fastnn.ELU(0.5)], dropout=0.1, random_state=0
    )
    classifier.fit(X, y, sample_weight=np.ones(len(y))).partial_fit(X, y)
    weights: list[Floats] = classifier.coefs_
    regressor = fastnn.MLPRegressor(fastnn.Quantile(0.9), solver="lbfgs", alpha=0.1).fit(X, y)
    predicted: Floats = regressor.predict(X)
    print(weights[0].shape, classifier.predict_proba(X)[0], classifier.model_.summary())
    return float(predicted.mean())


def from_scratch(X: Floats, y: npt.NDArray[np.int64]) -> None:
    model = nnfs.Model()
    model.add(nnfs.Layer_Dense(2, 64, weight_regularizer_l2=5e-4))
    model.add(nnfs.Activation_ReLU())
    model.add(nnfs.Layer_Dropout(0.1))
    model.add(nnfs.Layer_Dense(64, 3))
    model.add(nnfs.Activation_Softmax())
    model.set(
        loss=nnfs.Loss_CategoricalCrossentropy(),
        optimizer=nnfs.Optimizer_Adam(learning_rate=0.05, decay=5e-5),
        accuracy=nnfs.Accuracy_Categorical(),
    )
    model.finalize()
    model.train(X, y, epochs=2, print_every=100, validation_data=(X, y))
    outputs: Floats = model.predict(X)
    dense, loss = nnfs.Layer_Dense(2, 3), nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
    dense.forward(X)
    print(loss.forward(dense.output, y), outputs.argmax(axis=1))
    loss.backward(loss.output, y)
    dense.backward(loss.dinputs)
    optimizer = nnfs.Optimizer_SGD(momentum=0.9)
    optimizer.pre_update_params()
    optimizer.update_params(dense)
    optimizer.post_update_params()


def by_columns(X: Floats, Y: Floats) -> float:
    layers: list[columnwise.Layer] = [columnwise.Dense(2, 3, rng=0), columnwise.Softmax()]
    values = X.T
    for layer in layers:
        values = layer.forward(values)
    gradient = columnwise.cce_gradient(Y.T, values)
    for layer in reversed(layers):
        gradient = layer.backward(gradient, 0.1)
    indices: list[npt.NDArray[np.int64]] = fastnn.generate_batch_indices(10, 3, rng=0)
    print(len(indices), gradient.shape)
    return columnwise.cce(Y.T, values)


def describe(model: fastnn.Sequential, optimizer: fastnn.Optimizer) -> list[str]:
    layers = [layer for layer in model.layers if isinstance(layer, fastnn.Layer)]
    loss: fastnn.Loss = model.loss
    return [repr(each) for each in (*layers, loss, optimizer)]


def run_all(folder: Path) -> None:
    X, y = datasets.make_spiral(20, 3, rng=0)
    samples: Floats = X.astype(np.float64)
    model = train(folder)
    ask(model)
    print(describe(model, fastnn.SGD()))
    save_and_load(model, folder)
    train_in_other_ways(samples, y)
    step_by_hand(samples, y)
    measure()
    draw(model.fit(X, y), y)
    estimate(samples, y)
    from_scratch(samples, y)
    by_columns(samples, np.eye(3)[y])
