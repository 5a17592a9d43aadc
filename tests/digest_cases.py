"""The configurations of `test_digests.py`, each a function of a number of threads.

Only public names of fastnn are used: what is private may move.

Data and first weights are whole numbers times a power of two, or come from a uniform distribution.
So they have the same bits everywhere: `standard_normal` takes a logarithm of the system's library.
"""

import contextlib
import copy
import hashlib
import io
import shutil
import struct
import tempfile
import warnings
from pathlib import Path

import numpy as np
import safetensors

import fastnn
from fastnn import columnwise, nnfs

# Both were written by version 0.1.0, and stay as they are.
OLD_CHECKPOINT = Path(__file__).parent / "digests_run.safetensors"
OLD_MODEL = Path(__file__).parent / "digests_model.safetensors"

FEATURES, CLASSES, N = 7, 5, 301  # the last batch of 32 has 13 rows
F32, F64 = np.float32, np.float64
# Powers of these are exact for ten steps. Others are rounded in one way by NumPy for AVX-512, in
# another without, which shows in float64.
BETAS = 0.75, 0.96875


# ------------------------------------------------------------------------------- digests


def digest(*values):
    """Return 16 hexadecimal digits of the type, shape and bytes of all values, in their order."""
    found = hashlib.sha256()
    _add(values, found.update)
    return found.hexdigest()[:16]


def _add(value, add):
    if isinstance(value, np.ndarray | np.generic):
        add(f"{value.dtype.str}{value.shape}".encode())
        add(value.tobytes())
    elif isinstance(value, dict):
        add(f"dict{len(value)}".encode())
        for key in sorted(value):
            _add((key, value[key]), add)
    elif isinstance(value, list | tuple):
        add(f"list{len(value)}".encode())
        for each in value:
            _add(each, add)
    elif isinstance(value, float):
        add(b"float" + struct.pack("<d", value))
    elif isinstance(value, bytes):
        add(b"bytes" + value)
    elif value is None or isinstance(value, str | int):
        add(f"{type(value).__name__}{value!r};".encode())
    else:
        raise TypeError(f"{value!r} has no digest")


def stored_arrays(model):
    """Return what the layers have learned, running moments too: {place and name: array}."""
    return {
        f"{i}.{name}": getattr(layer, name)
        for i, layer in enumerate(model.layers)
        for name in getattr(layer, "stored", ())
    }


def curves_of(history, digits=None):
    """Return all curves, or so many digits of each number: for sums that OpenBLAS has formed."""
    curves = {
        name: values if digits is None else [f"{value:.{digits}g}" for value in values]
        for name, values in history.curves.items()
    }
    return history.epochs, curves


def digests_of(model, optimizer=None, history=None, X=None, y=None, threads=1, **scaling):
    """Return {part: digest} of a trained model."""
    found = {"parameters": digest(model.parameters, stored_arrays(model))}
    if optimizer is not None:
        state = optimizer.state_of(model.parameters)
        assert state.iterations
        found["states"] = digest(state.iterations, state.arrays)
    if history is not None:
        found["history"] = digest(*curves_of(history))
    if X is not None:
        found["predictions"] = digest(*predictions_of(model, X, threads, **scaling))
        found["evaluation"] = digest(model.evaluate(X, y, threads=threads, **scaling))
    return found


def predictions_of(model, X, threads, **scaling):
    """Return predictions of 37 rows, and of a few, from all methods that give them."""
    methods = [model.predict]
    with contextlib.suppress(AttributeError):  # a model of numbers has no probabilities
        model.predict_proba(X[:1], **scaling)
        methods.append(model.predict_proba)
    return [
        method(X[:rows], threads=threads, **scaling) for method in methods for rows in (1, 3, 37)
    ]


# ---------------------------------------------------------------------------------- data


def make_data(targets="labels", inputs="rows", rows=N):
    """Return samples (N, I) and targets of a kind."""
    rng = np.random.default_rng(0)
    whole = rng.integers(-2048, 2048, (rows, FEATURES))
    votes = whole @ rng.integers(-8, 9, (FEATURES, CLASSES))
    return INPUTS[inputs](whole), TARGETS[targets](votes, rng)


def _shares(votes, rng):
    parts = rng.integers(0, 9, votes.shape) + 8 * np.eye(CLASSES, dtype=int)[votes.argmax(axis=1)]
    return parts / parts.sum(axis=1, keepdims=True)


TARGETS = {
    "labels": lambda votes, rng: votes.argmax(axis=1),
    "one-hot": lambda votes, rng: np.eye(CLASSES)[votes.argmax(axis=1)],
    "shares": _shares,
    "answer": lambda votes, rng: votes[:, 0] > 0,
    "answers": lambda votes, rng: (votes > 0).astype(F64),
    "chances": lambda votes, rng: (rng.integers(0, 5, votes.shape) + 4 * (votes > 0)) / 8,
    "number": lambda votes, rng: votes[:, 0] / 2**14,
    "numbers": lambda votes, rng: votes / 2**14,
    "some numbers": lambda votes, rng: np.where(
        rng.random(votes.shape) < 0.5, np.nan, votes / 2**14
    ),
    "some answers": lambda votes, rng: np.where(rng.random(votes.shape) < 0.5, np.nan, votes > 0),
    "counts": lambda votes, rng: rng.integers(0, 3, votes.shape) + 2 * (votes > 0),
}


def _codes(whole):
    """Columns 1 and 4 have codes of 9 and of 1,024 categories."""
    rows = whole / 1024
    rows[:, 1], rows[:, 4] = whole[:, 1] % 9, (whole[:, 4] + 2048) >> 2
    return rows


INPUTS = {
    "rows": lambda whole: whole / 1024,
    "uint8": lambda whole: (whole >> 4 & 255).astype(np.uint8),
    "int8": lambda whole: (whole >> 4).astype(np.int8),
    "float16": lambda whole: (whole / 1024).astype(np.float16),
    "Fortran": lambda whole: np.asfortranarray(whole / 1024),
    "reversed": lambda whole: (whole / 1024).astype(F32)[::-1, ::-1],
    "every other": lambda whole: np.repeat(np.repeat(whole / 1024, 2, axis=0), 3, axis=1)[::2, ::3],
    "int64": lambda whole: whole >> 8,
    "codes": _codes,
}


# ------------------------------------------------------------------------------ networks


def dense(n_neurons, **options):
    """Return a function that makes the layer, once it is known what stands before it."""
    options = {"init": "he_uniform", **options}
    return lambda width, dtype, i: fastnn.Dense(width, n_neurons, dtype=dtype, rng=i, **options)


def batch_norm(**options):
    return lambda width, dtype, i: fastnn.BatchNorm(width, dtype=dtype, **options)


def embedding(**options):
    options = {"init": "glorot_uniform", **options}
    columns = {1: (9, 3), 4: (1024, 9)}
    return lambda width, dtype, i: fastnn.Embedding(width, columns, dtype=dtype, rng=i, **options)


def layer_norm(**options):
    return lambda width, dtype, i: fastnn.LayerNorm(width, dtype=dtype, **options)


def make_model(pieces, loss=None, dtype=F32):
    """Return a model of layers; a whole number is a dense layer of so many neurons."""
    layers, width = [], FEATURES
    for i, piece in enumerate(pieces):
        piece = dense(piece) if isinstance(piece, int) else piece
        makes = not hasattr(piece, "forward")
        layers.append(piece(width, dtype, i) if makes else copy.deepcopy(piece))
        for name in ("n_neurons", "n_outputs"):
            width = getattr(layers[-1], name, width)
    return fastnn.Sequential(layers, loss=copy.deepcopy(loss))


HIDDEN = (19, fastnn.ReLU(), CLASSES)


def case(*pieces, loss=None, optimizer=None, targets="labels", inputs="rows", dtype=F32, **options):
    """Return a configuration: one `fit`, and all that it leaves behind."""
    scaling = {name: options[name] for name in ("scale", "offset") if name in options}
    rows, digits = options.pop("rows", N), options.pop("digits", None)

    def run(threads):
        model = make_model(pieces or HIDDEN, loss, dtype)
        given = copy.deepcopy(optimizer or fastnn.SGD(0.125))
        X, y = make_data(targets, inputs, rows)
        arguments = {"epochs": 2, "seed": 7, **copy.deepcopy(options)}
        history = model.fit(X, y, optimizer=given, threads=threads, verbose=0, **arguments)
        found = digests_of(model, given, None, X, y, threads, **scaling)
        return found | {"history": digest(*curves_of(history, digits))}

    return run


def changing(*values):
    """Return weights (N,) of a few values in turn."""
    return np.resize(np.array(values), N)


# ------------------------------------------------------------------------- one's own parts


class OwnReLU:
    """A layer of one's own, without a base class: the network trains layer by layer."""

    def forward(self, inputs):
        self.output = np.maximum(inputs, 0)
        return self.output

    def backward(self, dvalues):
        return dvalues * (self.output > 0)


class OwnSteps(fastnn.SGD):
    """An optimizer of one's own."""

    def update(self, parameters, gradients, **options):
        super().update(parameters, gradients / 2, **options)


def fourth_power(y_pred, y_true):
    return np.square(np.square(y_pred - y_true)).sum(axis=1)


def slope_of_fourth_power(y_pred, y_true):
    errors = y_pred - y_true
    return 4 * errors * np.square(errors) / len(errors)


def quiet(run):
    """Return a configuration that may warn of slow training."""

    def run_quietly(threads):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastnn.SlowTrainingWarning)
            return run(threads)

    return run_quietly


def run_passes(threads):
    """Take the passes of all layers by hand, and the optimizer's step."""
    pieces = (19, fastnn.LeakyReLU(0.25), batch_norm(), 11, layer_norm(), fastnn.SiLU(), CLASSES)
    model, optimizer = make_model(pieces, dtype=F64), fastnn.Adam(0.125, *BETAS)
    X, y = make_data()
    losses = []
    for batch in fastnn.generate_batch_indices(N, 64, rng=3):
        logits = model.forward(X[batch], training=True)
        losses.append(float(model.loss.forward(logits, y[batch])))
        model.backward(model.loss.backward(model.loss.output, y[batch]))
        optimizer.update(model.parameters, model.gradients)
    found = digests_of(model, optimizer)
    return found | {
        "gradients": digest(model.gradients),
        "history": digest(losses),
        "activations": digest(*(model.activations(X[:37], i) for i in range(len(pieces)))),
    }


def run_losses(threads):
    """Ask every loss for its values and its gradient, without a network."""
    rng = np.random.default_rng(5)
    found = {}
    logits = rng.integers(-4096, 4096, (37, CLASSES)) / 1024
    chances = _shares(logits, rng)
    for loss, outputs, targets in (
        (fastnn.CategoricalCrossEntropy(), chances, "labels"),
        (fastnn.CategoricalCrossEntropy(0.125), chances, "shares"),
        (fastnn.SoftmaxCrossEntropy(), logits, "labels"),
        (fastnn.SoftmaxCrossEntropy(0.25), logits, "shares"),
        (fastnn.BinaryCrossEntropy(), logits, "chances"),
        (fastnn.BinaryCrossEntropy(from_logits=False, epsilon=0.125), chances, "answers"),
        (fastnn.MeanSquaredError(), logits, "numbers"),
        (fastnn.MeanAbsoluteError(), logits, "numbers"),
        (fastnn.Huber(0.5), logits, "numbers"),
        (fastnn.Quantile(0.75), logits, "numbers"),
        (fastnn.Poisson(), logits, "counts"),
    ):
        for dtype in (F32, F64):
            y_pred, y = outputs.astype(dtype), make_data(targets, rows=37)[1]
            forward = loss.forward(y_pred, y)
            probabilities = getattr(loss, "output", None)
            backward = loss.backward(y_pred if probabilities is None else probabilities, y)
            name = f"{loss!r} {targets} {np.dtype(dtype)}"
            found[name] = digest(forward, backward, loss.calculate(y_pred, y))
    return found


# ------------------------------------------------------------------- other ways to train


def run_partial_fit(threads):
    pieces = (19, batch_norm(), fastnn.Tanh(), fastnn.Dropout(0.25), CLASSES)
    model, optimizer = make_model(pieces), fastnn.RMSprop(0.0625, 0.875)
    X, y = make_data()
    curves = []
    for first, last, size in ((0, 50, None), (50, 52, None), (52, 180, 31), (180, N, 50)):
        history = model.partial_fit(
            X[first:last], y[first:last], optimizer=optimizer, batch_size=size, threads=threads,
            seed=7 if first == 0 else None,
            sample_weight=changing(1.0, 0.5, 2.0)[first:last] if first == 180 else None,
        )  # fmt: skip
        curves.append(curves_of(history))
    return digests_of(model, optimizer, None, X, y, threads) | {"history": digest(curves)}


def run_stream(threads):
    model, optimizer = make_model((19, fastnn.ReLU(), CLASSES)), fastnn.Adam(0.0625)
    X, y = make_data()

    def batches():
        for first, last in ((0, 33), (33, 34), (34, 120), (120, N)):
            yield X[first:last], y[first:last]
        yield X[:40], y[:40], changing(0.5, 1.0)[:40]

    history = model.fit(
        batches=batches, epochs=2, optimizer=optimizer, threads=threads, verbose=0,
        validation_data=(X[:50], y[:50]),
    )  # fmt: skip
    return digests_of(model, optimizer, history, X, y, threads)


def run_many(threads):
    models = [
        make_model(HIDDEN),
        make_model((11, fastnn.Tanh(), fastnn.Dropout(0.25), CLASSES), dtype=F64),
        make_model((CLASSES,)),
    ]
    optimizers = [fastnn.SGD(0.125), fastnn.Adam(0.0625, *BETAS), fastnn.AdaGrad(0.125)]
    X, y = make_data()
    histories = fastnn.fit_many(
        models, X, y, optimizer=optimizers, seed=7, epochs=2, batch_size=64, threads=threads,
        verbose=0,
    )  # fmt: skip
    return {
        f"{part} {i}": found
        for i, each in enumerate(zip(models, optimizers, histories, strict=True))
        for part, found in digests_of(*each, X, y, threads).items()
    }


def run_again(threads):
    """Fit twice with one optimizer, with new weights of a layer and another rate in between."""
    model, optimizer = make_model(HIDDEN), fastnn.SGD(0.125, momentum=0.5)
    X, y = make_data()
    options = {"optimizer": optimizer, "threads": threads, "verbose": 0}
    first = model.fit(X, y, epochs=1, seed=7, **options)
    model.layers[0].weights[::2] = 0.25
    optimizer.learning_rate = 0.0625
    second = model.fit(X, y, epochs=3, initial_epoch=1, seed=7, **options)
    found = digests_of(model, optimizer, None, X, y, threads)
    return found | {"history": digest(curves_of(first), curves_of(second))}


def run_compiled(threads):
    """Ask a handle, for one sample and for many, and the loaded copy of the model."""
    found = {}
    for loss, targets in ((None, "labels"), (fastnn.Poisson(), "counts")):
        for dtype in (F32, F64):
            model = make_model((19, layer_norm(), fastnn.GELU(), CLASSES), loss, dtype)
            X, y = make_data(targets)
            model.fit(X, y, seed=7, threads=threads, verbose=0)
            handle, X = model.compiled(), X.astype(dtype)
            answers = [handle.predict(X[0]), handle.predict(X[:3]), handle.predict(X[:37])]
            if loss is None:
                answers += [handle.predict_proba(X[0]), handle.predict_proba(X[:37])]
            found[f"{targets} {np.dtype(dtype)}"] = digest(answers)
    return found


# --------------------------------------------------------------------------- checkpoints


class Broken(Exception):
    """What ends a run in the middle."""


class Break(fastnn.Callback):
    """Ends the run behind a step of an epoch, 0: before the next epoch."""

    chunk_steps = 1

    def __init__(self, epoch, step):
        self.epoch, self.step = epoch, step

    def on_chunk_end(self, run):
        if (run.epoch, run.step) == (self.epoch, self.step):
            raise Broken

    def on_epoch_begin(self, run):
        if (run.epoch - 1, 0) == (self.epoch, self.step):
            raise Broken


def checkpointed(*breaks):
    """Return a configuration that is broken off and goes on from its file, as often as said."""

    def run(threads):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.safetensors"
            for i, place in enumerate(breaks):
                with contextlib.suppress(Broken):
                    train_to_file(path, threads, i, [Break(*place)])
                    raise AssertionError(f"the run went on behind {place}")
            found = train_to_file(path, threads, len(breaks), [])
            return found | {"file": digest(*read_safetensors(path))}

    return run


def run_from_old_checkpoint(threads):
    """Go on from a file that an earlier version wrote in the middle of the second epoch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        shutil.copy(OLD_CHECKPOINT, path)
        found = train_to_file(path, threads, 1, [])
        return found | {"file": digest(*read_safetensors(path))}


def train_to_file(path, threads, number, callbacks, epochs=4):
    """Train, or go on from the file, with first weights and a seed that only the first run uses."""
    norms = batch_norm(), layer_norm()
    pieces = (dense(19, weights_l2=0.001), *norms, fastnn.ReLU(), fastnn.Dropout(0.25), CLASSES)
    model = make_model(pieces)
    if number:
        model.parameters = np.full_like(model.parameters, 0.5)
    optimizer = fastnn.Adam(fastnn.ReduceOnPlateau(0.0625, 0.5, patience=0, min_delta=0.5))
    X, y = make_data()
    stop = fastnn.EarlyStopping("loss", patience=9)
    history = model.fit(
        X, y, epochs=epochs, optimizer=optimizer, seed=7 + number, threads=threads, verbose=0,
        resume=path, callbacks=[fastnn.Checkpoint(path, 3, unit="batches"), stop, *callbacks],
        validation_split=0.25, sample_weight=changing(0.5, 1.0, 2.0), metrics=["f1"],
    )  # fmt: skip
    rate = optimizer.learning_rate
    found = digests_of(model, optimizer, history, X, y, threads)
    return found | {"schedule": digest(rate.current_rate, rate.best, rate.waited)}


def read_safetensors(path):
    """Return the metadata and the arrays of a file, in no order that a library might change."""
    with safetensors.safe_open(path, "np") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


# --------------------------------------------------------------------------------- files


def file_model(loss=None, dtype=F32):
    activations = (
        fastnn.Sigmoid(), fastnn.Tanh(), fastnn.LeakyReLU(), fastnn.ELU(), fastnn.GELU(),
        fastnn.GELU("tanh"), fastnn.SiLU(), fastnn.Identity(), fastnn.ReLU(), fastnn.Softmax(),
    )  # fmt: skip
    hidden = [each for activation in activations for each in (4, activation)]
    norms = batch_norm(), layer_norm(), fastnn.Dropout(0.25)
    return make_model((*hidden, *norms, dense(CLASSES, use_bias=False)), loss, dtype)


def run_files(threads):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        for loss in (None, fastnn.BinaryCrossEntropy(), fastnn.Poisson()):
            for dtype in (F32, F64):
                model, name = file_model(loss, dtype), f"{loss!r} {np.dtype(dtype)}"
                model.save(path, notes={"kept": [1, 0.5, "text"]})
                found[f"save {name}"] = digest(*read_safetensors(path))
                loaded = fastnn.load(path)
                found[f"load {name}"] = digest(stored_arrays(loaded), loaded.notes, repr(loaded))
                fastnn.export_torch(model, path)
                found[f"to_torch {name}"] = digest(*read_safetensors(path))
                fastnn.export.to_c(model, path)
                found[f"to_c {name}"] = digest(without_version(path.read_text()))
                found[f"config {name}"] = digest(repr(model.to_config()))
    return found


def run_old_model(threads):
    model = fastnn.load(OLD_MODEL)
    X, y = make_data()
    found = digests_of(model, None, None, X, y, threads)
    return found | {"notes": digest(model.notes), "layers": digest(repr(model))}


def run_onnx(threads):
    """Export to ONNX: the nodes and constants, not the bytes, which protobuf may arrange anew."""
    import onnx

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for loss in (None, fastnn.BinaryCrossEntropy(), fastnn.Poisson()):
            fastnn.export.to_onnx(file_model(loss), path)
            model = onnx.load(path)
            model.ClearField("producer_version")
            found[f"to_onnx {loss!r}"] = digest(str(model))
    return found


def without_version(text):
    return text.replace(fastnn.__version__, "")


# ------------------------------------------------------------------------ networks from scratch


def nnfs_model(layers, loss, optimizer, accuracy):
    model = nnfs.Model()
    for layer in layers:
        model.add(layer)
    model.set(loss=loss, optimizer=optimizer, accuracy=accuracy)
    model.finalize()
    rng = np.random.default_rng(3)  # the numbers of `np.random.randn` take a logarithm
    shapes = [(layer.weights.shape, layer.biases.shape) for layer in model.trainable_layers]
    model.set_parameters(
        [(rng.integers(-512, 513, w) / 1024, rng.integers(-64, 65, b) / 1024) for w, b in shapes]
    )
    return model


def nnfs_case(make_optimizer, targets="labels", drops=False, own=False):
    def run(threads):
        np.random.seed(0)  # noqa: NPY002 (masks of dropout)
        penalties = dict.fromkeys(("weight_regularizer_l1", "bias_regularizer_l2"), 0.001)
        relu = OwnReLU() if own else nnfs.Activation_ReLU()
        layers = [nnfs.Layer_Dense(FEATURES, 19, **penalties), relu]
        layers += [nnfs.Layer_Dropout(0.25)] if drops else []
        if targets == "labels":
            layers += [nnfs.Layer_Dense(19, CLASSES), nnfs.Activation_Softmax()]
            loss, accuracy = nnfs.Loss_CategoricalCrossentropy(), nnfs.Accuracy_Categorical()
        elif targets == "answers":
            layers += [nnfs.Layer_Dense(19, CLASSES), nnfs.Activation_Sigmoid()]
            loss = nnfs.Loss_BinaryCrossentropy()
            accuracy = nnfs.Accuracy_Categorical(binary=True)
        else:
            layers += [nnfs.Layer_Dense(19, CLASSES), nnfs.Activation_Linear()]
            loss, accuracy = nnfs.Loss_MeanSquaredError(), nnfs.Accuracy_Regression()
        model = nnfs_model(layers, loss, make_optimizer(), accuracy)
        X, y = make_data(targets)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), fastnn.num_threads(threads):
            model.train(X, y, epochs=2, batch_size=64, validation_data=(X[:50], y[:50]))
        averages = [
            getattr(layer, f"{kind}_{name}")
            for layer in model.trainable_layers
            for kind in ("weight", "bias")
            for name in ("momentums", "cache")
            if hasattr(layer, f"{kind}_{name}")
        ]
        return {
            "parameters": digest(*map(list, model.get_parameters())),
            "states": digest(averages, model.optimizer.iterations),
            "history": digest(*curves_of(model.history)),
            "printed": digest(printed.getvalue()),
            "predictions": digest(model.predict(X[:37]), model.predict(X[:1])),
        }

    return run


def run_columnwise(threads):
    rng = np.random.default_rng(3)
    first, last = columnwise.Dense(FEATURES, 9), columnwise.Dense(9, CLASSES)
    first.weights = rng.integers(-512, 513, first.weights.shape) / 1024
    last.weights = rng.integers(-512, 513, last.weights.shape) / 1024
    softmax = columnwise.Softmax()
    X, y = make_data("one-hot")
    losses = []
    for _ in range(3):
        outputs = softmax.forward(last.forward(first.forward(X.T)))
        losses.append(columnwise.cce(y.T, outputs))
        slopes = softmax.backward(columnwise.cce_gradient(y.T, outputs) / N)
        slopes = first.backward(last.backward(slopes, 0.125), 0.125)
    return {
        "parameters": digest(first.weights, last.weights),
        "history": digest(losses),
        "gradients": digest(slopes),
    }


# ---------------------------------------------------------------------------- estimators


def estimator_case(name, targets="labels", **options):
    def run(threads):
        from sklearn.exceptions import ConvergenceWarning

        X, y = make_data(targets)
        given = {"hidden_layer_sizes": (19,), "random_state": 0, "max_iter": 3, **options}
        weights = given.pop("weights", None)
        estimator = getattr(fastnn, name)(**given, threads=threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(X, y, sample_weight=weights)
        found = {
            "parameters": digest(*estimator.coefs_, *estimator.intercepts_),
            "history": digest(estimator.loss_curve_, estimator.n_iter_),
            "predictions": digest(estimator.predict(X[:37]), estimator.predict(X[:1])),
        }
        if hasattr(estimator, "predict_proba"):
            found["probabilities"] = digest(estimator.predict_proba(X[:37]))
        return found

    return run
