"""Bad input: a clear error before any kernel runs, nothing changed. Good input: any kind of array.

Every public call that takes a kind of argument meets every bad value of that kind.
"""

import math
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy_network import OwnReLU

import fastnn
from fastnn import (
    SGD,
    CategoricalCrossEntropy,
    Dense,
    ReLU,
    Sequential,
    Softmax,
    SoftmaxCrossEntropy,
    columnwise,
    datasets,
    generate_batch_indices,
    kernels,
    nnfs,
    one_hot,
)

ROWS, FEATURES, CLASSES = 6, 4, 3
X = np.random.default_rng(0).integers(0, 16, (ROWS, FEATURES)).astype(np.float32)
Y = np.array([0, 2, 1, 1, 0, 2])
SOFT = np.array([[0.5, 0.25, 0.25]] * ROWS)
D = np.arange(ROWS * CLASSES).reshape(ROWS, CLASSES) / 8 - 1  # gradients
NAN, INF = math.nan, math.inf


def make_objects(dtype=np.float32):
    """Return one of everything, each after a forward and a backward pass."""
    rng = np.random.default_rng(1)
    dense = Dense(FEATURES, CLASSES, rng=rng, dtype=dtype)
    layers = [Dense(FEATURES, 8, rng=rng, dtype=dtype), ReLU(), Dense(8, CLASSES, dtype=dtype)]
    layers[-1].weights = rng.standard_normal((8, CLASSES))
    objects = SimpleNamespace(
        dense=dense, relu=ReLU(), softmax=Softmax(),
        model=Sequential(layers), sgd=SGD(0.5),
        loss=CategoricalCrossEntropy(), head=SoftmaxCrossEntropy(),
        column_dense=columnwise.Dense(FEATURES, CLASSES, rng=rng, dtype=dtype),
        column_softmax=columnwise.Softmax(),
    )  # fmt: skip
    for layer in (objects.dense, objects.model):
        layer.forward(X)
        layer.backward(D)
    for layer in (objects.relu, objects.softmax):
        layer.forward(D)
        layer.backward(D)
    objects.column_dense.forward(X.T)
    objects.column_softmax.forward(D.T)
    objects.head.forward(D, Y)
    objects.head.backward(objects.head.output, Y)
    objects.loss.backward(SOFT, Y)
    assert objects.model.gradients.any()
    return objects


@pytest.fixture
def objects(monkeypatch):
    """One of everything. A kernel that runs is an error, but for the scan of the input.

    The kernels of predictions scan for themselves: they may meet rows that are not finite.
    """
    made = make_objects()

    def forbidden(*arguments):
        raise AssertionError("a kernel ran")

    def scan(outputs, *arguments):
        rows = next(a for a in reversed(arguments) if isinstance(a, np.ndarray))
        assert rows.shape[1:] == (4,)
        assert rows.dtype == made.model.dtype
        assert not np.isfinite(rows).all(), "a kernel ran"
        return 0

    for name in set(kernels.__all__) - {"all_finite", "pack_network"}:
        monkeypatch.setattr(kernels, name, scan if name.startswith("predict") else forbidden)
    return made


# ----------------------------------------------------------------------------- bad input

# Calls by the kind of argument: its name in messages, and what to do with a value of it.

SAMPLES = {
    "Dense.forward": ("inputs", lambda o, v: o.dense.forward(v)),
    "Sequential.forward": ("inputs", lambda o, v: o.model.forward(v)),
    "Sequential.predict": ("X", lambda o, v: o.model.predict(v)),
    "Sequential.predict_proba": ("X", lambda o, v: o.model.predict_proba(v)),
}
SOME_SAMPLES = {
    "Sequential.evaluate": ("X", lambda o, v: o.model.evaluate(v, Y)),
    "Sequential.fit": ("X", lambda o, v: o.model.fit(v, Y)),
    "validation_data": (
        "validation_data[0]",
        lambda o, v: o.model.fit(X, Y, validation_data=(v, Y)),
    ),
}
VALUES = {
    "ReLU.forward": ("inputs", lambda o, v: o.relu.forward(v)),
    "Softmax.forward": ("inputs", lambda o, v: o.softmax.forward(v)),
    "columnwise.Dense.forward": ("input", lambda o, v: o.column_dense.forward(v)),
    "columnwise.Softmax.forward": ("input", lambda o, v: o.column_softmax.forward(v)),
}
PREDICTIONS = {
    "CategoricalCrossEntropy.forward": ("y_pred", lambda o, v: o.loss.forward(v, Y)),
    "CategoricalCrossEntropy.calculate": ("y_pred", lambda o, v: o.loss.calculate(v, Y)),
    "CategoricalCrossEntropy.backward": ("dvalues", lambda o, v: o.loss.backward(v, Y)),
    "SoftmaxCrossEntropy.forward": ("logits", lambda o, v: o.head.forward(v, Y)),
    "SoftmaxCrossEntropy.backward": ("probabilities", lambda o, v: o.head.backward(v, Y)),
}
TARGETS = {
    "Sequential.evaluate": ("y", lambda o, v: o.model.evaluate(X, v)),
    "Sequential.fit": ("y", lambda o, v: o.model.fit(X, v)),
    "validation_data": (
        "validation_data[1]",
        lambda o, v: o.model.fit(X, Y, validation_data=(X, v)),
    ),
    "CategoricalCrossEntropy.forward": ("y_true", lambda o, v: o.loss.forward(SOFT, v)),
    "CategoricalCrossEntropy.calculate": ("y_true", lambda o, v: o.loss.calculate(SOFT, v)),
    "CategoricalCrossEntropy.backward": ("y_true", lambda o, v: o.loss.backward(SOFT, v)),
    "SoftmaxCrossEntropy.forward": ("y_true", lambda o, v: o.head.forward(D, v)),
    "SoftmaxCrossEntropy.backward": ("y_true", lambda o, v: o.head.backward(SOFT, v)),
}
GRADIENTS = {
    "Dense.backward": ("dvalues", lambda o, v: o.dense.backward(v)),
    "ReLU.backward": ("dvalues", lambda o, v: o.relu.backward(v)),
    "Softmax.backward": ("dvalues", lambda o, v: o.softmax.backward(v)),
    "Sequential.backward": ("dvalues", lambda o, v: o.model.backward(v)),
    "columnwise.Dense.backward": ("output_gradient", lambda o, v: o.column_dense.backward(v, 0.1)),
    "columnwise.Softmax.backward": ("output_gradient", lambda o, v: o.column_softmax.backward(v)),
}
COUNTS = {
    "epochs": ("epochs", lambda o, v: o.model.fit(X, Y, epochs=v)),
    "Dense n_inputs": ("n_inputs", lambda o, v: Dense(v, 3)),
    "Dense n_neurons": ("n_neurons", lambda o, v: Dense(3, v)),
    "Layer_Dense n_inputs": ("n_inputs", lambda o, v: nnfs.Layer_Dense(v, 3)),
    "Layer_Dense n_neurons": ("n_neurons", lambda o, v: nnfs.Layer_Dense(3, v)),
    "columnwise input_size": ("input_size", lambda o, v: columnwise.Dense(v, 3)),
    "columnwise output_size": ("output_size", lambda o, v: columnwise.Dense(3, v)),
    "batches n_samples": ("n_samples", lambda o, v: generate_batch_indices(v, 2)),
    "batches batch_size": ("batch_size", lambda o, v: generate_batch_indices(9, v)),
}
POSITIVE = {
    "SGD": ("learning_rate", lambda o, v: SGD(v)),
    "learning_rate that was set": ("learning_rate", lambda o, v: fit_with_rate(o, v)),
    "columnwise": ("learning_rate", lambda o, v: o.column_dense.backward(D.T, v)),
    "epsilon": ("epsilon", lambda o, v: CategoricalCrossEntropy(epsilon=v)),
}
PARAMETERS = {
    "weights": ("weights", lambda o, v: setattr(o.dense, "weights", v)),
    "biases": ("biases", lambda o, v: setattr(o.dense, "biases", v)),
    "weights in a model": ("weights", lambda o, v: setattr(o.model.layers[0], "weights", v)),
    "columnwise weights": ("weights", lambda o, v: setattr(o.column_dense, "weights", v)),
}
SEEDS = {
    "fit": ("seed", lambda o, v: o.model.fit(X, Y, seed=v)),
    "batches": ("rng", lambda o, v: generate_batch_indices(9, 2, v)),
    "Dense": ("rng", lambda o, v: Dense(2, 3, rng=v)),
    "columnwise.Dense": ("rng", lambda o, v: columnwise.Dense(2, 3, rng=v)),
}
DTYPES = {
    "Dense": ("dtype", lambda o, v: Dense(2, 3, dtype=v)),
    "one_hot": ("dtype", lambda o, v: one_hot([1, 2], dtype=v)),
    "columnwise.Dense": ("dtype", lambda o, v: columnwise.Dense(2, 3, dtype=v)),
}
FIT = {"fit": (None, lambda o, v: o.model.fit(X, Y, **v))}
LAYERS = {"Sequential": ("layers", lambda o, v: Sequential(v(o) if callable(v) else v))}


def fit_with_rate(objects, value):
    optimizer = SGD(0.1)
    optimizer.learning_rate = value
    objects.model.fit(X, Y, optimizer=optimizer)


def changed(array, index, value):
    """Return a float64 copy of `array` with another value at `index`."""
    array = np.array(array, np.float64)
    array[index] = value
    return array


# Bad values by kind: the value, the error, and what the message says of it. A message opens with
# the name of the argument, and says what is expected.

BAD_ARRAYS = [
    (None, TypeError, "object"),
    ("text", TypeError, "<U4"),
    ([["a"] * FEATURES] * ROWS, TypeError, "<U1"),
    (X.astype(object), TypeError, "object"),
    (X.astype(complex), TypeError, "complex128"),
    (X.astype("M8[s]"), TypeError, "datetime64"),
    (5.0, ValueError, "()"),
    (X[0], ValueError, f"({FEATURES},)"),
    ([X], ValueError, f"(1, {ROWS}, {FEATURES})"),
    ([], ValueError, "(0,)"),
    ([[1, 2], [3]], ValueError, "rectangular"),
    (X[:, :0], ValueError, f"({ROWS}, 0)"),
]
BAD_NUMBERS = [
    (changed(X, (4, 2), NAN), ValueError, "[4, 2] is nan"),
    (changed(X, (1, 0), INF).T.copy().T, ValueError, "[1, 0] is inf"),
    (changed(X, (0, 3), -INF).astype(np.float32), ValueError, "[0, 3] is -inf"),
]
TOO_LARGE = [(changed(X, (5, 1), 1e39), ValueError, "[5, 1] is 1e+39, too large for float32")]
OTHER_WIDTH = [(X[:, :3], ValueError, "(6, 3)"), (np.ones((2, 5)), ValueError, "(2, 5)")]
NO_ROWS = [(X[:0], ValueError, f"(0, {FEATURES})")]
BAD_TARGETS = [
    ([0, 2, 1, -1, 0, 2], ValueError, "[3] is -1"),
    ([0, 3, 1, 1, 0, 2], ValueError, "[1] is 3"),
    (np.array([0, 2, 1, 1, 0, 2**64 - 1], np.uint64), ValueError, f"[5] is {2**64 - 1}"),
    (np.array([0, 2, 1, 1, -128, 0], np.int8), ValueError, "[4] is -128"),
    ([0, 2, 1.5, 1, 0, 2], ValueError, "[2] is 1.5"),
    ([0, 2, NAN, 1, 0, 2], ValueError, "[2] is nan"),
    ([0, 2, INF, 1, 0, 2], ValueError, "[2] is inf"),
    ([0, 2, 1e300, 1, 0, 2], ValueError, "[2] is 1e+300"),
    (Y[:5], ValueError, "5"),
    ([*Y, 0], ValueError, "7"),
    ([], ValueError, "0"),
    (SOFT[:5], ValueError, "5"),
    (SOFT[:, :2], ValueError, "(6, 2)"),
    (Y[:, None], ValueError, "(6, 1)"),
    (1, ValueError, "()"),
    (None, (TypeError, ValueError), ""),
    (SOFT[None], ValueError, "(1, 6, 3)"),
    (Y.astype(object), TypeError, "object"),
    (Y.astype(complex), TypeError, "complex128"),
    (Y.astype(str), TypeError, "<U"),
    (SOFT.astype(object), TypeError, "object"),
    ([[1], [1, 2]], ValueError, ""),
    (changed(SOFT, (2, 0), 0.6), ValueError, "[2]"),
    (changed(SOFT, (3, slice(None)), [1.5, -0.25, -0.25]), ValueError, "[3]"),
    (changed(SOFT, (4, slice(None)), 0), ValueError, "[4]"),
    (changed(SOFT, (5, 1), NAN), ValueError, "[5, 1] is nan"),
    (changed(SOFT, (5, 1), INF), ValueError, "[5, 1] is inf"),
    (SOFT * 100, ValueError, "[0]"),
]
BAD_GRADIENTS = [
    (D[:5], ValueError, "(5, 3)"),
    (D[:, :2], ValueError, "(6, 2)"),
    (D[0], ValueError, "(3,)"),
    (D.ravel(), ValueError, "(18,)"),
    (D[None], ValueError, "(1, 6, 3)"),
    (1.0, ValueError, "()"),
    (D[:, :1], ValueError, "(6, 1)"),  # no broadcasting
    (None, TypeError, "object"),
    (D.astype(complex), TypeError, "complex128"),
    (D.astype(object), TypeError, "object"),
    (D.astype(str), TypeError, "<U"),
]
# None stands for the default.
OPTIONAL_COUNTS = {"batch_size": ("batch_size", lambda o, v: o.model.fit(X, Y, batch_size=v))}
BAD_COUNTS = [
    (0, ValueError, "0"),
    (-1, ValueError, "-1"),
    (np.int64(-5), ValueError, "-5"),
    (2.0, TypeError, "2.0"),
    (1.5, TypeError, "1.5"),
    (NAN, TypeError, "nan"),
    (INF, TypeError, "inf"),
    ("3", TypeError, "'3'"),
    (None, TypeError, "None"),
    (True, TypeError, "True"),
    (np.True_, TypeError, "True"),
    ([3], TypeError, "[3]"),
    (np.array([3]), TypeError, "[3]"),
    (3j, TypeError, "3j"),
]
BAD_POSITIVE = [
    (0, ValueError, "0"),
    (-0.1, ValueError, "-0.1"),
    (NAN, ValueError, "nan"),
    (INF, ValueError, "inf"),
    (-INF, ValueError, "-inf"),
    (10**400, (TypeError, ValueError), ""),
    ("0.1", TypeError, "'0.1'"),
    (b"0.1", TypeError, "b'0.1'"),
    (bytearray(b"0.1"), TypeError, "bytearray"),
    (None, TypeError, "None"),
    (True, TypeError, "True"),
    (0.1j, TypeError, "0.1j"),
    (np.complex64(0.1), TypeError, "0.1"),
    ([0.1], TypeError, "[0.1]"),
    (np.array([0.1, 0.2]), TypeError, "[0.1"),
    (SimpleNamespace(), TypeError, "namespace()"),
]
BAD_PARAMETERS = [
    (np.ones((3, 4, 1)), ValueError, "(3, 4, 1)"),
    (np.ones((2, 2)), ValueError, "(2, 2)"),
    (np.ones(12), ValueError, "(12,)"),
    (1.0, ValueError, "()"),
    (None, TypeError, "object"),
    ("text", TypeError, "<U4"),
    ([[1, 2], [3]], ValueError, "rectangular"),
    (np.ones((4, 3), complex), TypeError, "complex128"),
]
BAD_SEEDS = [
    (-1, ValueError, "-1"),
    (1.5, TypeError, "1.5"),
    ("zero", TypeError, "'zero'"),
    ([1, 2], TypeError, "[1, 2]"),
    (np.random.RandomState(0), TypeError, "RandomState"),
]
BAD_DTYPES = [
    (dtype, TypeError, repr(dtype))
    for dtype in (np.float16, np.int64, object, bool, "complex64", ">f4", "junk", "", None, 3)
]
BAD_OPTIONS = [
    ({"optimizer": 0.1}, TypeError, "optimizer is 0.1"),
    ({"optimizer": SGD}, TypeError, "optimizer is <class"),
    ({"shuffle": "yes"}, TypeError, "shuffle is 'yes'"),
    ({"shuffle": None}, TypeError, "shuffle is None"),
    ({"verbose": "loud"}, TypeError, "verbose is 'loud'"),
    ({"verbose": None}, TypeError, "verbose is None"),
    ({"verbose": np.array([1, 2])}, TypeError, "verbose is array"),
    ({"validation_data": X}, TypeError, "validation_data is"),
    ({"validation_data": (X, Y, Y, Y)}, TypeError, "validation_data is"),
    ({"validation_data": 0.2}, TypeError, "validation_data is"),
    ({"optimizer": SGD(1e39)}, ValueError, "learning_rate is 1e+39"),
    ({"optimizer": SGD(1e-46)}, ValueError, "learning_rate is 1e-46"),
]
SHARED = ReLU()
BAD_LAYERS = [
    ([], ValueError, "is empty"),
    ((), ValueError, "is empty"),
    (None, TypeError, "None"),
    (Dense(2, 3), TypeError, "Dense(2, 3"),
    ([Dense(2, 3), "relu"], TypeError, "[1] is 'relu'"),
    ([Dense(2, 3), None], TypeError, "[1] is None"),
    ([Dense(2, 3), ReLU], TypeError, "[1] is <class"),
    ([Dense(2, 3), OwnReLU], TypeError, "[1] is <class"),
    ([SimpleNamespace(forward=len, backward=1)], TypeError, "[0] is"),
    ([Dense(2, 3), Dense(4, 2)], ValueError, "[1] takes 4 inputs, expected 3"),
    ([Dense(2, 3), ReLU(), Softmax(), Dense(2, 3)], ValueError, "[3] takes 2 inputs, expected 3"),
    ([Dense(2, 3), Dense(3, 2, dtype="f8")], ValueError, "[1] has dtype float64"),
    ([Dense(2, 2), SHARED, SHARED], ValueError, "[2] is in the list twice"),
    (lambda o: [Dense(2, 4), o.model.layers[0]], ValueError, "[1] belongs to another model"),
    (lambda o: [o.model.layers[1]], ValueError, "[0] belongs to another model"),
]


def pairs(calls, values):
    def label(value):  # without the address of a function, which each process has anew
        return re.sub(r" at 0x\w+", "", str(value))[:30]

    return [
        pytest.param(*call, *value, id=f"{name} {label(value[0])!r}")
        for name, call in calls.items()
        for value in values
    ]


@pytest.mark.parametrize(
    ("name", "call", "value", "error", "message"),
    [
        *pairs(SAMPLES, BAD_ARRAYS + BAD_NUMBERS + TOO_LARGE + OTHER_WIDTH),
        *pairs(SOME_SAMPLES, BAD_ARRAYS + BAD_NUMBERS + TOO_LARGE + OTHER_WIDTH + NO_ROWS),
        *pairs(VALUES, BAD_ARRAYS + BAD_NUMBERS),
        *pairs({"columnwise.Softmax": VALUES["columnwise.Softmax.forward"]}, NO_ROWS),
        *pairs(PREDICTIONS, BAD_ARRAYS + BAD_NUMBERS + NO_ROWS),
        *pairs(TARGETS, BAD_TARGETS),
        *pairs(GRADIENTS, BAD_GRADIENTS),
        *pairs(COUNTS, BAD_COUNTS),
        *pairs(OPTIONAL_COUNTS, [each for each in BAD_COUNTS if each[0] is not None]),
        *pairs(POSITIVE, BAD_POSITIVE),
        *pairs(PARAMETERS, BAD_PARAMETERS),
        *pairs(SEEDS, BAD_SEEDS),
        *pairs(DTYPES, BAD_DTYPES),
        *pairs(FIT, BAD_OPTIONS),
        *pairs(LAYERS, BAD_LAYERS),
    ],
)
def test_bad_input(objects, name, call, value, error, message):
    if name == "output_gradient" and getattr(value, "ndim", 0) == 2:
        value = value.T  # samples as columns
        message = message.replace("(5, 3)", "(3, 5)").replace("(6, 2)", "(2, 6)")
        message = message.replace("(6, 1)", "(1, 6)")
    before = pickle.dumps(vars(objects))
    with pytest.raises(error) as caught:
        call(objects, value)
    text = str(caught.value)
    assert text.startswith(name or message)
    assert message in text
    assert "expected" in text or "too large" in text
    assert pickle.dumps(vars(objects)) == before


def test_bad_input_of_columns(objects):
    """Losses and layers for samples as columns name their own arguments and shapes."""
    y, yhat = np.eye(3)[[0, 1]].T, np.full((3, 2), 1 / 3)
    for function in (columnwise.cce, columnwise.cce_gradient):
        for arguments, error, message in (
            ((y[:, :1], yhat), ValueError, r"^y has shape \(3, 1\), expected \(3, 2\)"),
            ((y.T, yhat), ValueError, r"^y has shape \(2, 3\), expected \(3, 2\)"),
            ((2 * y, yhat), ValueError, r"^y.* expected probabilities"),
            ((y.astype(str), yhat), TypeError, "^y has dtype <U"),
            ((y, yhat * NAN), ValueError, r"^yhat\[0, 0\] is nan, expected"),
            ((y, yhat[0]), ValueError, r"^yhat has shape \(2,\), expected"),
        ):
            with pytest.raises(error, match=message):
                function(*arguments)
    with pytest.raises(ValueError, match=r"^input has shape \(3, 2\), expected \(4, B\)"):
        objects.column_dense.forward(yhat)
    for layer, arguments in ((columnwise.Dense(2, 3), (0.1,)), (columnwise.Softmax(), ())):
        with pytest.raises(RuntimeError, match="before forward"):
            layer.backward(yhat, *arguments)


def test_bad_targets_change_nothing_in_a_model_with_an_own_layer(objects):
    """The number of classes is that of the last layer: no pass is needed to count them."""
    model = Sequential([Dense(FEATURES, 8), OwnReLU(), Dense(8, CLASSES)])
    before = pickle.dumps(model)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"^y\[1\] is 3, expected"):
            call(X, [0, 3, 1, 1, 0, 2])
        assert pickle.dumps(model) == before


@pytest.mark.parametrize("model", [Sequential([ReLU()]), Sequential([Softmax()])])
def test_a_model_without_parameters_cannot_be_trained(model):
    with pytest.raises(ValueError, match="no layer with parameters"):
        model.fit(X, Y)
    assert model.predict(X).shape == (ROWS,)


def test_backward_of_a_model_before_forward():
    model = Sequential([Dense(2, 3), ReLU(), Dense(3, 2)])
    with pytest.raises(RuntimeError, match=r"^Dense\.backward was called before forward$"):
        model.backward(np.ones((5, 2)))
    assert not model.gradients.any()


@pytest.mark.parametrize("init", ["He", "", None, [], 1])
def test_unknown_init(init):
    with pytest.raises((TypeError, ValueError), match=r"^init is .*, expected one of he, glorot"):
        Dense(2, 3, init=init)


@pytest.mark.parametrize("epsilon", [0.5, 1, 2.0])
def test_epsilon_leaves_room_between_its_bounds(epsilon):
    with pytest.raises(ValueError, match=f"^epsilon is {float(epsilon)}, expected .* below 0.5"):
        CategoricalCrossEntropy(epsilon=epsilon)


def test_standardise_checks_every_part():
    with pytest.raises(
        ValueError, match=r"^others\[1\] has shape \(2, 5\), expected \(n_samples, 4\)"
    ):
        datasets.standardise(X, X, np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"^train\[4, 2\] is nan, expected"):
        datasets.standardise(BAD_NUMBERS[0][0])


def test_an_optimizer_does_not_trust_its_arrays():
    """Each array lies in a larger one, so that a step that trusts a size stays within memory."""
    memory = np.ones((2, 64), np.float32)
    for size, other, dtype in ((8, 4, "f4"), (8, 4, "f8"), (8, 8, "f8"), (4, 8, "f4")):
        parameters, gradients = memory[0][:size], memory[1].astype(dtype)[:other]
        with pytest.raises((TypeError, ValueError), match="expected"):
            SGD(0.5).update(parameters, gradients)
        assert (memory == 1).all()
    with pytest.raises((TypeError, ValueError), match="expected"):
        SGD(0.5).update(np.arange(4), np.arange(4))
    for layout in (np.array, np.asfortranarray, lambda a: a[::-1], lambda a: a[:, ::2]):
        parameters, gradients = layout(np.ones((4, 4))), layout(np.arange(16.0).reshape(4, 4))
        expected = parameters - 0.5 * gradients
        try:
            SGD(0.5).update(parameters, gradients)
        except (TypeError, ValueError):
            expected[...] = 1
        assert np.array_equal(parameters, expected)


# ---------------------------------------------------------------------------- good input


class Frame:
    """Like a data frame: no array, and makes one on request."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


def read_only(a):
    a = np.array(a)
    a.flags.writeable = False
    return a


def spaced(a):
    view = np.full([3 * size for size in a.shape], 99, a.dtype)[(slice(None, None, 3),) * a.ndim]
    view[...] = a
    return view


def unaligned(a):
    return np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape)


KINDS = {
    "list": np.ndarray.tolist,
    "nested tuple": lambda a: tuple(tuple(r) if a.ndim == 2 else r for r in a.tolist()),
    "bool": lambda a: a > 1,
    "int8": lambda a: (4 * a).astype(np.int8),
    "uint8": lambda a: (4 * abs(a)).astype(np.uint8),
    "int64": lambda a: (4 * a).astype(np.int64),
    "uint64": lambda a: (4 * abs(a)).astype(np.uint64),
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a.astype(np.float64),
    "longdouble": lambda a: a.astype(np.longdouble),
    "big-endian float32": lambda a: a.astype(">f4"),
    "big-endian float64": lambda a: a.astype(">f8"),
    "big-endian int16": lambda a: (4 * a).astype(">i2"),
    "read-only": read_only,
    "read-only float64": lambda a: read_only(a.astype(np.float64)),
    "Fortran order": np.asfortranarray,
    "spaced": spaced,
    "negative strides": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "rows of one": lambda a: np.broadcast_to(a[0], a.shape),
    "unaligned": unaligned,
    "unaligned float64": lambda a: unaligned(a.astype(np.float64)),
    "subclass": lambda a: a.view(type("Mine", (np.ndarray,), {})),
    "a frame": Frame,
    "memory-mapped": None,
    "memory-mapped float64": None,
    "memory-mapped, Fortran order": None,
}
every_kind = pytest.mark.parametrize("kind", KINDS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make_kind(kind, array, folder):
    """Return the numbers of `array` as a value of `kind`; writing to a mapped file would crash."""
    if not kind.startswith("memory-mapped"):
        return KINDS[kind](array)
    array = np.asfortranarray(array) if kind.endswith("order") else array
    np.save(folder / "array.npy", array.astype(np.float64) if kind.endswith("64") else array)
    return np.load(folder / "array.npy", mmap_mode="r")


def plain(value, dtype):
    return np.array(value, dtype, order="C", subok=False)


def contents(value):
    return value if isinstance(value, list | tuple) else np.asarray(value).tobytes("A")


def fit(objects, value):
    history = objects.model.fit(value, Y, batch_size=4, seed=0, validation_data=(value, Y))
    return [np.array(history.val_loss), objects.model.parameters]


def assign(objects, value):
    objects.dense.weights = value
    return [objects.dense.weights]


ACCEPTING = {
    "Dense.forward": (
        X / 4,
        lambda o, v: [o.dense.forward(v), o.dense.backward(D), o.dense.dweights],
    ),
    "Dense.backward": (D, lambda o, v: [o.dense.backward(v), o.dense.dweights, o.dense.dbiases]),
    "Dense.weights": (X[:4, :3] / 4, assign),
    "ReLU": (X / 4 - 2, lambda o, v: [o.relu.forward(v), o.relu.backward(X)]),
    "ReLU.backward": (D, lambda o, v: [o.relu.backward(v)]),
    "Softmax": (X / 4, lambda o, v: [o.softmax.forward(v), o.softmax.backward(X)]),
    "Softmax.backward": (D, lambda o, v: [o.softmax.backward(v)]),
    "CategoricalCrossEntropy": (
        abs(D) / 4,
        lambda o, v: [o.loss.forward(v, Y), o.loss.backward(v, Y), o.loss.forward(v, SOFT)],
    ),
    "SoftmaxCrossEntropy": (
        D,
        lambda o, v: [o.head.forward(v, Y), o.head.backward(v, Y), o.head.backward(v, SOFT)],
    ),
    "Sequential.forward": (X / 4, lambda o, v: [o.model.forward(v)]),
    "Sequential.predict": (X / 4, lambda o, v: [o.model.predict(v), o.model.predict_proba(v)]),
    "Sequential.evaluate": (X / 4, lambda o, v: [np.array([*o.model.evaluate(v, Y).values()])]),
    "Sequential.fit": (X / 4, fit),
    "columnwise.Dense": (
        X.T / 4,
        lambda o, v: [o.column_dense.forward(v), o.column_dense.backward(D.T, 0.1)],
    ),
    "columnwise.Softmax": (X.T / 4, lambda o, v: [o.column_softmax.forward(v)]),
}
CHOOSE_DTYPE = {
    "ReLU", "Softmax", "CategoricalCrossEntropy", "SoftmaxCrossEntropy", "columnwise.Softmax",
}  # fmt: skip


KERNELS = {name: getattr(kernels, name) for name in kernels.__all__}


def compiled():
    return {name: len(kernel.signatures) for name, kernel in KERNELS.items()}


@pytest.fixture
def checked_kernels(monkeypatch):
    """Check what reaches a kernel: on this CPU, wrong alignment may go without a sign."""

    def checked(kernel):
        def call(*arguments):
            for array in arguments:
                assert not isinstance(array, np.ndarray) or array.flags.carray
            return kernel(*arguments)

        return call

    for name, kernel in KERNELS.items():
        monkeypatch.setattr(kernels, name, checked(kernel))


@every_kind
@both_dtypes
@pytest.mark.parametrize("name", ACCEPTING)
def test_any_kind_of_array_gives_the_results_of_a_plain_one(
    name, kind, dtype, tmp_path, checked_kernels
):
    base, call = ACCEPTING[name]
    value = make_kind(kind, base.astype(np.float32), tmp_path)
    before = contents(value)
    used = dtype
    if name in CHOOSE_DTYPE:  # from the input, as there are no parameters
        used = np.result_type(np.asarray(value), np.float32)
        used = np.float32 if used == np.float32 else np.float64
    expected = call(make_objects(dtype), plain(value, used))
    count = compiled()
    found = call(make_objects(dtype), value)
    assert [a.dtype for a in found] == [a.dtype for a in expected]
    assert [a.tobytes() for a in found] == [a.tobytes() for a in expected]
    assert contents(value) == before
    assert compiled() == count, "a kernel was compiled anew"


LABEL_KINDS = sorted(set(KINDS) - {"bool", "Fortran order", "memory-mapped, Fortran order"})


@pytest.mark.parametrize("kind", LABEL_KINDS)
@pytest.mark.parametrize("soft", [False, True])
def test_any_kind_of_targets_gives_the_results_of_plain_ones(kind, soft, tmp_path, checked_kernels):
    base = SOFT.astype(np.float32) if soft else Y.astype(np.float32) / 4
    if soft and ("int" in kind or kind == "rows of one"):
        base = np.eye(CLASSES, dtype=np.float32)[Y] / 4
    if not soft and "int" not in kind:
        base = Y
    value = make_kind(kind, base, tmp_path)
    if soft and kind == "rows of one":
        value = 4 * value
    before = contents(value)
    normal = plain(value, np.float32 if soft else np.int64)

    def run(y):
        o = make_objects()
        history = o.model.fit(X, y, batch_size=4, seed=0, validation_data=(X, y))
        found = [history.loss, history.accuracy, history.val_loss, *o.model.evaluate(X, y).values()]
        found += [o.loss.forward(SOFT, y).tolist(), o.loss.backward(SOFT, y).tolist()]
        found += [o.head.forward(D, y), o.head.backward(SOFT, y).tolist()]
        return found, o.model.parameters.tobytes()

    expected, count = run(normal), compiled()
    assert run(value) == expected
    assert contents(value) == before
    assert compiled() == count, "a kernel was compiled anew"


@both_dtypes
def test_short_batches_and_other_sizes_compile_nothing(dtype):
    def use(objects, n):
        samples, y = np.ones((n, FEATURES), dtype), np.full(n, 1)
        objects.model.fit(samples, y, batch_size=4, validation_data=(samples, y))
        objects.model.predict(samples)
        objects.dense.forward(samples)

    objects = make_objects(dtype)
    use(objects, 8)
    use(objects, 9)  # from here on, predictions pack the weights
    count = compiled()
    for n in (1, 3, 5, 257):
        use(objects, n)
    wide = Sequential([Softmax(), Dense(9, 40, dtype=dtype), Dense(40, 2, dtype=dtype), ReLU()])
    wide.fit(np.ones((7, 9)), np.ones(7), batch_size=3)
    wide.predict(np.ones((7, 9)))
    assert compiled() == count


# ------------------------------------------------------------------------------ anything

DTYPES_OF_ANY_KIND = (
    hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64))
    | hnp.complex_number_dtypes() | hnp.unicode_string_dtypes(max_len=3) | st.just(np.dtype("O"))
)  # fmt: skip


@st.composite
def anything(draw):
    """An array of any dtype, shape and layout, most often one that is nearly right."""
    near = st.sampled_from([(6, 4), (6, 3), (4, 6), (6,), (3, 6), (1, 4), (0, 4), (6, 1), (4, 3)])
    shape = draw(near | hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7))
    small = st.integers(0, 3).map(float) | st.sampled_from([0.25, -1.0, NAN, INF, 1e300])
    array = draw(
        hnp.arrays(draw(DTYPES_OF_ANY_KIND), shape)
        | hnp.arrays(np.float64, shape, elements=small)
        | hnp.arrays(np.int64, shape, elements=st.integers(-1, 3))
    )
    layout = draw(st.sampled_from(["plain", "transposed", "reversed", "unaligned", "read-only"]))
    if layout == "transposed":
        array = array.T
    elif layout == "reversed" and array.ndim:
        array = array[::-1]
    elif layout == "unaligned" and array.size and array.dtype != object:
        array = unaligned(array)
    elif layout == "read-only":
        array.flags.writeable = False
    return array


FUZZED = {
    name: call
    for group in (SAMPLES, SOME_SAMPLES, VALUES, PREDICTIONS, TARGETS, GRADIENTS, PARAMETERS)
    for name, (_, call) in group.items()
}


def put(layer, name, value, backward):
    setattr(layer, name, value)
    return backward()


FUZZED |= {
    "X and y": lambda o, v: [o.model.fit(v, v), o.loss.forward(v, v)],
    "Sequential.parameters": lambda o, v: setattr(o.model, "parameters", v),
    "Dense.dweights": lambda o, v: put(o.dense, "dweights", v, lambda: o.dense.backward(D)),
    "Dense.inputs": lambda o, v: put(o.dense, "inputs", v, lambda: o.dense.backward(D)),
    "ReLU.inputs": lambda o, v: put(o.relu, "inputs", v, lambda: o.relu.backward(D)),
    "Softmax.output": lambda o, v: put(o.softmax, "output", v, lambda: o.softmax.backward(D)),
    "columnwise.Dense.input": lambda o, v: put(
        o.column_dense, "input", v, lambda: o.column_dense.backward(D.T, 0.1)
    ),
    "columnwise.Softmax.output": lambda o, v: put(
        o.column_softmax, "output", v, lambda: o.column_softmax.backward(D.T)
    ),
    "SGD.update gradients": lambda o, v: o.sgd.update(np.ones((6, 4)), v),
    "SGD.update parameters": lambda o, v: o.sgd.update(v.copy("K"), np.ones((6, 4))),
    "SGD.update": lambda o, v: o.sgd.update(v.copy("K"), v),
}


@pytest.mark.parametrize("name", FUZZED)
@settings(deadline=None, max_examples=60)
@given(value=anything())
def test_no_array_gets_past_the_checks(name, value):
    """An error that names something, or a result: of NumPy's own errors nothing is seen."""
    objects = make_objects()
    before, message = value.tobytes() if value.dtype != object else None, None
    try:
        with np.errstate(all="ignore"):
            result = FUZZED[name](objects, value)
    except (TypeError, ValueError, fastnn.NonFiniteLossError) as error:
        message = str(error)
    if message is not None:
        assert any(text in message for text in ("expected", "too large", "no longer finite"))
    else:
        assert value.dtype.kind in "biuf"
        large = np.abs(value.astype(np.float64)).max(initial=0) > 1e30
        assert large or not isinstance(result, np.ndarray) or np.isfinite(result).all()
    assert before is None or value.tobytes() == before


def test_a_mask_is_not_passed_over():
    masked = np.ma.masked_array(X, mask=X > X.mean())
    with pytest.raises(ValueError, match=r"^inputs has masked values, expected a plain array"):
        Dense(FEATURES, 2).forward(masked)
