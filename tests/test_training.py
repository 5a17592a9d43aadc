"""`Sequential.fit` against plain NumPy, its own layers one by one, and what it promises."""

import _thread
import contextlib
import copy
import gc
import inspect
import io
import math
import os
import pickle
import re
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from kernel_cases import find_oracle
from numpy.testing import assert_allclose
from numpy_network import OwnDense, OwnReLU, PlainNetwork, build, cross_entropy, softmax

import fastnn
from fastnn import SGD, NonFiniteLossError, generate_batch_indices, kernels, nnfs
from fastnn.kernels import reference_program
from fastnn.program import compiled

N, FEATURES, CLASSES, BATCH, EPOCHS, RATE = 37, 5, 3, 8, 4, 0.2  # the last batch has 5 rows
STEPS = EPOCHS * math.ceil(N / BATCH)

NETWORKS = {
    "a single dense layer": "3",
    "one hidden layer": "17 r 3",
    "three hidden layers": "17 r 9 r 33 r 3",
    "no activation": "9 3",
    "ReLU first": "r 17 r 3",
    "two ReLUs": "17 r r 3",
    "Softmax in the middle": "9 s 3",
    "Softmax first": "s 9 r 3",
    "ReLU last": "17 r 3 r",
    "Softmax behind ReLU": "17 r s 9 3",
    "Softmax at the end": "17 r 3 s",
    "two Softmax at the end": "9 3 s s",
}

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_network = pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS.keys())


class SlowDense(fastnn.Dense):
    """The same layer with a pass of its own, which keeps a model off the compiled path."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


def tolerance(dtype):
    """Return a bound for the relative difference after a run: 64 roundings of eps in a step.

    The longest sum has 37 terms; plain gradient descent with a small rate carries errors on
    without amplifying them.
    """
    return 64 * STEPS * np.finfo(dtype).eps


def make_data(dtype, n=N, seed=0):
    """Return samples, labels, and targets of each kind."""
    rng = np.random.default_rng(seed)
    X, labels = rng.standard_normal((n, FEATURES)).astype(dtype), rng.integers(0, CLASSES, n)
    soft = rng.random((n, CLASSES))
    soft[::3, 1] = 0
    soft = (soft / soft.sum(axis=1, keepdims=True)).astype(dtype)
    return X, {"labels": labels, "one-hot": np.eye(CLASSES, dtype=dtype)[labels], "soft": soft}


def as_rows(y):
    return y if y.ndim == 2 else np.eye(CLASSES)[y]


def fit(model, X, y, **options):
    options = {"epochs": EPOCHS, "batch_size": BATCH, "seed": 7, **options}
    return model.fit(X, y, **{"optimizer": SGD(RATE), **options})


def parameters_of(model):
    """Return all parameters, those of a user's own layers too, in one array."""
    layers = [layer for layer in model.layers if hasattr(layer, "weights")]
    return np.concatenate([np.ravel(a) for layer in layers for a in (layer.weights, layer.biases)])


def check_against_numpy(words, model, X, y, dtype, seed=7):
    plain = PlainNetwork(words, model)
    loss, accuracy = plain.fit(X, as_rows(y), epochs=EPOCHS, batch_size=BATCH, rate=RATE, seed=seed)
    history = fit(model, X, y, seed=seed, shuffle=seed is not None)
    assert_allclose(history.loss, loss, rtol=tolerance(dtype))
    assert history.accuracy == accuracy
    assert all(type(value) is float for value in history.loss + history.accuracy)
    found = parameters_of(model)
    assert_allclose(found, plain.parameters, rtol=tolerance(dtype), atol=tolerance(dtype))


@pytest.fixture
def steps_taken(monkeypatch):
    """The list of how many steps every compiled call has taken."""
    calls, train_steps = [], kernels.train_steps
    signature = inspect.signature(reference_program.train_steps)

    def spy(*arguments):
        (job,), _ = signature.bind(*arguments).arguments["task"]
        calls.append(int(job["last_step"] - job["first_step"]))
        return train_steps(*arguments)

    monkeypatch.setattr(kernels, "train_steps", spy)
    return calls


# ------------------------------------------------------------------- against plain NumPy


@every_network
@pytest.mark.parametrize("kind", ["labels", "one-hot", "soft"])
@every_dtype
def test_compiled_epochs_are_those_of_numpy(words, kind, dtype, steps_taken):
    X, targets = make_data(dtype)
    check_against_numpy(words, build(words, FEATURES, dtype), X, targets[kind], dtype)
    assert steps_taken


@every_network
@pytest.mark.parametrize("kind", ["labels", "one-hot", "soft"])
@every_dtype
def test_layer_by_layer_gives_the_same_bits(words, kind, dtype, steps_taken):
    X, targets = make_data(dtype)
    model = build(words, FEATURES, dtype)
    history = fit(model, X, targets[kind])
    steps_taken.clear()
    slow = build(words, FEATURES, dtype, dense=SlowDense)
    slow_history = fit(slow, X, targets[kind])
    assert not steps_taken
    assert slow.parameters.tobytes() == model.parameters.tobytes()
    assert slow_history.accuracy == history.accuracy
    # Both add up losses in float64, in another order.
    assert_allclose(slow_history.loss, history.loss, rtol=N * np.finfo(np.float64).eps)


def test_order_of_the_samples_is_theirs_without_shuffle():
    X, targets = make_data(np.float64)
    model = build("17 r 3", FEATURES, np.float64)
    check_against_numpy("17 r 3", model, X, targets["labels"], np.float64, seed=None)


@pytest.mark.parametrize("batch_size", [1, N - 1, N, N + 1, 10**30])
def test_any_batch_size(batch_size):
    X, targets = make_data(np.float64)
    model = build("17 r 3", FEATURES, np.float64)
    plain = PlainNetwork("17 r 3", model)
    loss, _ = plain.fit(X, targets["one-hot"], epochs=2, batch_size=batch_size, rate=RATE, seed=7)
    history = fit(model, X, targets["labels"], epochs=2, batch_size=batch_size)
    assert_allclose(history.loss, loss, rtol=64 * 2 * N * np.finfo(float).eps)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (100, 300), (257, 49)])
@every_dtype
def test_sizes_from_one_column_to_many_tiles(inputs, outputs, dtype):
    rng = np.random.default_rng(0)
    words = f"70 r {outputs}"
    model = build(words, inputs, dtype)
    plain = PlainNetwork(words, model)
    X, y = rng.standard_normal((20, inputs)).astype(dtype), rng.integers(0, outputs, 20)
    rows = np.eye(outputs)[y]
    loss, _ = plain.fit(X, rows, epochs=2, batch_size=13, rate=0.02, seed=1)
    history = fit(model, X, y, epochs=2, batch_size=13, optimizer=SGD(0.02), seed=1)
    rounding = 4 * (inputs + 70 + outputs) * np.finfo(dtype).eps
    assert_allclose(history.loss, loss, rtol=rounding, atol=rounding)
    assert_allclose(model.parameters, plain.parameters, rtol=rounding, atol=rounding)


@every_network
def test_a_step_follows_the_slope_of_the_loss_that_is_reported(words):
    """Central differences: over one batch the parameters move by the gradient times the rate."""
    X, targets = make_data(np.float64, n=7)
    start = build(words, FEATURES, np.float64).parameters

    def loss_and_gradient(parameters):
        model = build(words, FEATURES, np.float64)
        model.parameters[...] = parameters
        (loss,) = fit(model, X, targets["soft"], epochs=1, optimizer=SGD(1.0)).loss
        return loss, parameters - model.parameters

    step, expected = 1e-5, np.empty_like(start)
    for i in range(len(start)):
        shift = np.where(np.arange(len(start)) == i, step, 0)
        above, below = (loss_and_gradient(start + s)[0] for s in (shift, -shift))
        expected[i] = (above - below) / (2 * step)
    # Rounding is eps / step = 2e-11, truncation step**2 times a sixth of the third derivative.
    assert_allclose(loss_and_gradient(start)[1], expected, rtol=1e-7, atol=1e-9)


GOLDEN = [
    1.7816241675437523,
    1.520549115528067,
    1.4616780615403426,
    1.431816926295831,
    1.4071807341257843,
    1.385756229356682,
    1.3657181250089152,
    1.3467913938979346,
    1.3318523397772504,
    1.3167308013559493,
]


def test_golden_run():
    """Ten losses; no random numbers are in it, as their streams may change with NumPy."""
    X = np.sin(np.arange(22 * 3.0) ** 2).reshape(22, 3)
    y = np.arange(22) % 4
    model = build("6 r 4", 3, np.float64)
    model.parameters[...] = np.cos(np.arange(model.parameters.size) * 3.0)
    plain = PlainNetwork("6 r 4", model)
    loss, _ = plain.fit(X, np.eye(4)[y], epochs=10, batch_size=5, rate=0.3)
    assert_allclose(loss, GOLDEN, rtol=1e-12)
    history = fit(model, X, y, epochs=10, batch_size=5, optimizer=SGD(0.3), shuffle=False)
    assert_allclose(history.loss, GOLDEN, rtol=1e-12)


# --------------------------------------------------------------------- the order of samples


def test_same_seed_same_bits_other_seed_other_bits():
    X, targets = make_data(np.float32)

    def run(seed):
        model = build("17 r 3", FEATURES, np.float32)
        return fit(model, X, targets["labels"], seed=seed).loss, model.parameters.tobytes()

    assert run(7) == run(7) == run(np.random.default_rng(7)) == run(np.int64(7))
    assert run(7) != run(8)
    assert run(None) != run(None)


@every_dtype
def test_a_loop_over_generate_batch_indices_gives_the_same_bits(dtype):
    X, targets = make_data(dtype)
    model, manual = (build("17 r 3", FEATURES, dtype) for _ in range(2))
    fit(model, X, targets["labels"], seed=3)
    rng, head, optimizer = np.random.default_rng(3), fastnn.SoftmaxCrossEntropy(), SGD(RATE)
    for _ in range(EPOCHS):
        for batch in generate_batch_indices(N, BATCH, rng):
            y = targets["labels"][batch]
            head.forward(manual.forward(X[batch], training=True), y)
            manual.backward(head.backward(head.output, y))
            optimizer.update(manual.parameters, manual.gradients)
    assert manual.parameters.tobytes() == model.parameters.tobytes()


def test_fitting_goes_on_where_it_stopped():
    X, targets = make_data(np.float32)
    model, parts = (build("17 r 3", FEATURES, np.float32) for _ in range(2))
    whole = fit(model, X, targets["labels"], epochs=6, seed=np.random.default_rng(3))
    rng, curve = np.random.default_rng(3), []
    for epochs in (1, 3, 2):
        curve += fit(parts, X, targets["labels"], epochs=epochs, seed=rng).loss
    assert curve == whole.loss
    assert parts.parameters.tobytes() == model.parameters.tobytes()


@pytest.mark.parametrize(("seconds", "steps"), [(1e-12, 1), (1e6, 134)])
def test_bits_do_not_depend_on_when_the_compiled_call_returns(
    seconds, steps, monkeypatch, steps_taken
):
    X, targets = make_data(np.float64, n=400)
    expected = build("17 r 3", FEATURES, np.float64)
    history = fit(expected, X, targets["labels"], batch_size=3)
    steps_taken.clear()
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", seconds)
    model = build("17 r 3", FEATURES, np.float64)
    between = fastnn.Callback()  # so that no call takes several epochs
    again = fit(model, X, targets["labels"], batch_size=3, callbacks=[between])
    assert again.loss == history.loss
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert set(steps_taken[1:]) == {steps}  # the first call cannot know yet


def test_a_clock_that_stands_still(monkeypatch):
    """Clocks of 16 ms, as on some machines, show the same time before and after a call."""
    X, targets = make_data(np.float32)
    monkeypatch.setattr(compiled.time, "perf_counter", lambda: 1.0)
    assert len(fit(build("17 r 3", FEATURES, np.float32), X, targets["labels"])) == EPOCHS


# ------------------------------------------------------------------------------- history


@pytest.mark.parametrize("dense", [fastnn.Dense, SlowDense])
@pytest.mark.parametrize("words", ["17 r 3", "17 r 3 s"])
def test_validation_curves_are_what_evaluate_gives(words, dense):
    X, targets = make_data(np.float32)
    X_held_out, held_out = make_data(np.float32, n=300, seed=1)
    for kind in ("labels", "soft"):
        model = build(words, FEATURES, np.float32, dense=dense)
        again = build(words, FEATURES, np.float32, dense=dense)
        data = X_held_out, held_out[kind]
        history = fit(model, X, targets[kind], seed=1, validation_data=data)
        assert len(history) == len(history.val_loss) == len(history.val_accuracy) == EPOCHS
        rng = np.random.default_rng(1)
        for epoch in range(EPOCHS):
            fit(again, X, targets[kind], seed=rng, epochs=1)
            expected = {"loss": history.val_loss[epoch], "accuracy": history.val_accuracy[epoch]}
            assert again.evaluate(*data) == expected


def test_history_without_validation_data_has_two_curves():
    X, targets = make_data(np.float32)
    history = fit(build("3", FEATURES, np.float32), X, targets["labels"])
    assert history.val_loss == history.val_accuracy == []
    assert history.latest() == {"loss": history.loss[-1], "accuracy": history.accuracy[-1]}
    assert repr(history).startswith(f"<History: {EPOCHS} epochs, loss {history.loss[-1]:.4f}, acc")


# ------------------------------------------------------------------- a user's own classes


@pytest.mark.parametrize(
    "words", ["own17 ownr own3", "own17 r 3", "17 ownr 3", "17 r own3", "own17 r 3 s", "ownr own3"]
)
@pytest.mark.parametrize("kind", ["labels", "soft"])
@every_dtype
def test_own_classes_train_as_in_numpy(words, kind, dtype, steps_taken):
    X, targets = make_data(dtype)
    check_against_numpy(words, build(words, FEATURES, dtype), X, targets[kind], dtype)
    assert not steps_taken


def test_own_layers_may_return_what_they_do_not_keep():
    class Returning(OwnReLU):
        def forward(self, inputs):
            self.inputs = inputs
            return np.maximum(0, inputs)

        def backward(self, dvalues):
            return dvalues * (self.inputs > 0)

    X, targets = make_data(np.float64)
    model = build("17 ownr 3", FEATURES, np.float64, **{"own r": Returning})
    check_against_numpy("17 ownr 3", model, X, targets["labels"], np.float64)


def test_own_weights_may_have_any_layout_and_dtype():
    class Transposed(OwnDense):
        def __init__(self, n_inputs, n_neurons, dtype):
            self.weights = np.empty((n_neurons, n_inputs)).T
            self.biases = np.empty(n_neurons)

        def forward(self, inputs):
            self.inputs = inputs
            self.output = (self.weights.T @ inputs.T).T + self.biases

        def backward(self, dvalues):
            super().backward(dvalues)
            self.dweights, self.dbiases = (dvalues.T @ self.inputs).T, dvalues.sum(axis=0)

    X, targets = make_data(np.float32)
    for words in ("own17 r 3", "17 r own3"):
        model = build(words, FEATURES, np.float32, **{"own dense": Transposed})
        for layer in model.layers:
            if isinstance(layer, OwnDense):  # as a script makes them, not as `build` does
                layer.weights = np.asfortranarray(layer.weights.astype(np.float64))
                layer.biases = layer.biases[0].astype(np.float64)
        check_against_numpy(words, model, X, targets["labels"], np.float32)


@pytest.mark.parametrize("words", ["own17 3", "17 own3"])
@pytest.mark.parametrize(
    "convert",
    [
        lambda dweights, dbiases: (dweights, dbiases[0]),  # as `dvalues.sum(axis=0)` gives it
        lambda dweights, dbiases: (dweights.astype(np.float64), dbiases.astype(np.float64)),
        lambda dweights, dbiases: (dweights.astype(np.float32), dbiases.astype(np.float32)),
    ],
    ids=["(O,)", "float64", "float32"],
)
@every_dtype
def test_own_gradients_count_as_numpy_takes_them(words, convert, dtype):
    """`weights -= rate * dweights` broadcasts, and converts to the dtype of the weights."""

    class Converting(OwnDense):
        def backward(self, dvalues):
            super().backward(dvalues)
            self.dweights, self.dbiases = convert(self.dweights, self.dbiases)

    X, targets = make_data(np.float32)
    model = build(words, FEATURES, dtype, **{"own dense": Converting})
    check_against_numpy(words, model, X, targets["labels"], np.float32)


def test_subclass_with_parameters_of_its_own_trains_them_or_is_refused():
    class Scaled(fastnn.ReLU):
        """A ReLU with a factor for each column, and a shift."""

        def __init__(self, width):
            self.weights, self.biases = np.full((1, width), 1.5), np.full((1, width), 0.5)

        def forward(self, inputs, training=False):
            self.hidden = super().forward(inputs)
            self.output = self.hidden * self.weights + self.biases
            return self.output

        def backward(self, dvalues):
            self.dweights = (dvalues * self.hidden).sum(axis=0, keepdims=True)
            self.dbiases = dvalues.sum(axis=0, keepdims=True)
            return super().backward(dvalues * self.weights)

    X, targets = make_data(np.float64)
    scaled = Scaled(9)
    dense = [fastnn.Dense(*shape, dtype=np.float64, rng=0) for shape in ((FEATURES, 9), (9, 3))]
    refused = None
    try:
        model = fastnn.Sequential([dense[0], scaled, dense[1]])
        fit(model, X, targets["labels"])
    except (TypeError, ValueError) as error:
        refused = str(error)
    if refused is None:
        assert (scaled.weights != 1.5).any()
        assert (scaled.biases != 0.5).all()
    else:
        assert "layers[1]" in refused


def without_biases(layer):
    del layer.biases


def with_a_list(layer):
    layer.weights = layer.weights.tolist()


@pytest.mark.parametrize("spoil", [without_biases, with_a_list])
def test_own_layer_that_does_not_keep_to_the_contract_is_named(spoil):
    X, targets = make_data(np.float32)
    model = build("own9 3", FEATURES, np.float32)
    spoil(model.layers[0])
    before = model.parameters.tobytes()
    with pytest.raises((TypeError, ValueError), match=r"layers\[0\].*expected"):
        model.fit(X, targets["labels"])
    assert model.parameters.tobytes() == before


@pytest.mark.parametrize(
    "convert", [np.asfortranarray, lambda x: x.astype(np.float64), lambda x: x[::-1][::-1]]
)
def test_own_last_layer_may_give_any_layout_and_dtype(convert):
    class Converted:
        def forward(self, inputs):
            self.output = convert(inputs)

        def backward(self, dvalues):
            self.dinputs = dvalues

    X, targets = make_data(np.float32)
    model = build("3", FEATURES, np.float32)
    own = fastnn.Sequential([copy.deepcopy(model.layers[0]), Converted()])
    for y in targets.values():
        history = fit(own, X, y, validation_data=(X, y))
        assert_allclose(history.loss, fit(model, X, y).loss, rtol=tolerance(np.float32))
        assert_allclose(own.evaluate(X, y)["loss"], model.evaluate(X, y)["loss"], rtol=1e-6)
        assert np.array_equal(own.predict(X), model.predict(X))


@pytest.mark.parametrize("rows", [lambda x: x[:1], lambda x: np.repeat(x, 2, axis=0), np.ravel])
def test_own_last_layer_that_gives_another_number_of_rows_is_refused(rows, monkeypatch):
    # The reference raises where a compiled kernel would read behind the end of the labels.
    name = "softmax_cross_entropy_forward"
    monkeypatch.setattr(kernels, name, find_oracle(name))

    class Wrong(OwnReLU):
        def forward(self, inputs):
            self.output = rows(inputs)

    X, targets = make_data(np.float32)
    model = build("3 ownr", FEATURES, np.float32, **{"own r": Wrong})
    for call in (model.evaluate, model.fit):
        with pytest.raises(ValueError, match="expected"):
            call(X, targets["labels"])


class Narrowing(fastnn.ReLU):
    """Gives fewer columns than the dense layer before it, a class too few for the labels."""

    def forward(self, inputs, training=False):
        return super().forward(inputs)[:, :2]

    def backward(self, dvalues):
        return super().backward(np.pad(dvalues, ((0, 0), (0, 1))))


class Varying(OwnReLU):
    """Gives one column, but for the first pass, from which the classes are counted."""

    passes = 0

    def forward(self, inputs):
        super().forward(inputs)
        self.passes += 1
        self.output = self.output[:, : 3 if self.passes == 1 else 1]


@pytest.mark.parametrize("kind", [Narrowing, Varying])
@pytest.mark.parametrize("name", ["fit", "evaluate"])
def test_labels_never_reach_a_kernel_with_fewer_columns(kind, name, monkeypatch):
    def checked(kernel):
        def call(first, second, logits, targets):
            assert targets.max() < logits.shape[1], "a kernel would read behind the row"
            kernel(first, second, logits, targets)

        return call

    for kernel in ("softmax_cross_entropy", "softmax_cross_entropy_forward"):
        monkeypatch.setattr(kernels, kernel, checked(find_oracle(kernel)))
    X, targets = make_data(np.float32)
    model = build("3 r", FEATURES, np.float32, r=kind)
    with pytest.raises(ValueError, match="expected"):
        getattr(model, name)(X, targets["labels"])


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("name", ["fit", "validation_data", "evaluate", "predict"])
def test_own_layer_that_works_in_place_cannot_change_the_samples(name, writeable):
    class InPlace(OwnReLU):
        def forward(self, inputs):
            inputs *= 0
            super().forward(inputs)

    X, targets = make_data(np.float32)
    X.flags.writeable, before, y = writeable, X.tobytes(), targets["labels"]
    model = build("ownr 3 ownr", FEATURES, np.float32, **{"own r": InPlace})
    with contextlib.suppress(ValueError):
        if name == "validation_data":
            model.fit(X.copy(), y, validation_data=(X, y))
        else:
            getattr(model, name)(*(X, y)[: 1 if name == "predict" else 2])
    assert X.tobytes() == before


def test_own_layer_hears_of_training_if_it_asks():
    heard = []

    class Listening(fastnn.ReLU):
        def forward(self, inputs, training=False):
            heard.append(training)
            return super().forward(inputs)

    X, targets = make_data(np.float32)
    model = build("9 r 3", FEATURES, np.float32, r=Listening)
    model.fit(X, targets["labels"], batch_size=N)
    assert heard.count(True) == 1
    heard.clear()
    model.predict(X)
    model.forward(X)
    model.forward(X, training=True)
    assert heard == [False, False, True]


@pytest.mark.parametrize("in_place", [True, False])
def test_subclass_that_adds_to_its_gradient_descends_along_it(in_place):
    """Weight decay as scripts write it, `self.dweights += ...` or `self.dweights = ... + ...`."""

    def make(base):
        class Decaying(base):
            def backward(self, dvalues):
                result = super().backward(dvalues)
                if in_place:
                    self.dweights += 0.1 * self.weights
                else:
                    self.dweights = self.dweights + 0.1 * self.weights
                return result

        return Decaying

    X, targets = make_data(np.float32)
    found = build("9 r 3", FEATURES, np.float64, dense=make(fastnn.Dense))
    expected = build("9 r 3", FEATURES, np.float64, dense=make(OwnDense))
    for model in (found, expected):
        fit(model, X, targets["labels"])
    rtol = tolerance(np.float64)
    assert_allclose(found.parameters, parameters_of(expected), rtol=rtol, atol=rtol)


def test_subclass_that_only_renames_is_compiled(steps_taken):
    X, targets = make_data(np.float64)
    renamed = {
        "r": nnfs.Activation_ReLU,
        "s": nnfs.Activation_Softmax,
        "dense": type("Fully", (fastnn.Dense,), {}),
    }
    for words in ("17 r 3", "17 s 3", "17 r 3 s"):
        steps_taken.clear()
        model = build(words, FEATURES, np.float64, **renamed)
        assert_allclose(model.predict_proba(X), softmax(PlainNetwork(words, model).forward(X)[-1]))
        check_against_numpy(words, model, X, targets["labels"], np.float64)
        assert steps_taken


def test_optimizer_of_ones_own_is_followed():
    class Nesterov(SGD):
        def update(self, parameters, gradients):
            parameters += 1

    X, targets = make_data(np.float32)
    model = build("17 r 3", FEATURES, np.float32)
    start = model.parameters.copy()
    fit(model, X, targets["labels"], epochs=1, batch_size=N, optimizer=Nesterov(RATE))
    assert np.array_equal(model.parameters, start + 1)


# ------------------------------------------------------------------------------- divergence

LARGE = {np.float32: (1.5e38, 1e-30), np.float64: (8e307, 1e-300)}  # a feature, a learning rate

paths = pytest.mark.parametrize(
    ("words", "dense"),
    [
        ("2", fastnn.Dense),
        ("16 r 2", fastnn.Dense),
        ("2", SlowDense),
        ("16 r 2", SlowDense),
        ("own16 r 2", fastnn.Dense),
        ("16 r own2", fastnn.Dense),
        ("own16 ownr own2", fastnn.Dense),
    ],
)


def diverging(words, dtype, dense):
    """Return a model, and samples of which the fourth is large and taken for another class."""
    model = build(words, 1, dtype, dense=dense)
    for layer in model.layers:
        if hasattr(layer, "weights"):
            layer.weights *= dtype(1e-3)
    X = np.ones((5, 1), dtype)
    X[3] = LARGE[dtype][0]
    return model, X, np.array([0, 1, 0, 1 - model.predict(X)[3], 0])


@paths
@every_dtype
def test_diverging_run_keeps_the_last_good_epoch(words, dense, dtype):
    """The weights follow the large sample in epoch 1; it overflows in batch 2 of epoch 2."""
    options = {"batch_size": 2, "shuffle": False, "optimizer": SGD(LARGE[dtype][1])}
    good, X, y = diverging(words, dtype, dense)
    loss = good.fit(X, y, **options).loss
    model, X, y = diverging(words, dtype, dense)
    with pytest.raises(NonFiniteLossError, match="epoch 2, batch 2") as caught:
        model.fit(X, y, epochs=9, **options)
    assert (caught.value.epoch, caught.value.batch) == (2, 2)
    assert caught.value.history.loss == loss
    assert parameters_of(model).tobytes() == parameters_of(good).tobytes()
    assert len(model.predict(np.ones((3, 1)))) == 3


@paths
@every_dtype
def test_overflow_in_the_last_batch_of_an_epoch(words, dense, dtype):
    """No loss shows it: the parameters do."""
    model, X, y = diverging(words, dtype, dense)
    before = parameters_of(model).tobytes()
    with pytest.raises(NonFiniteLossError) as caught:
        model.fit(X[3:4], y[3:4], epochs=9, optimizer=SGD(1e8))
    assert (caught.value.epoch, caught.value.batch) == (1, 1)
    assert len(caught.value.history) == 0
    assert parameters_of(model).tobytes() == before


@every_dtype
def test_both_paths_agree_on_what_diverges(dtype):
    """A logit of -inf for a wrong class is no reason to stop: the loss is 0."""
    outcomes = []
    for dense in (fastnn.Dense, SlowDense):
        model = build("2", 1, dtype, dense=dense)
        model.layers[0].weights, model.layers[0].biases = [[1, -1e20]], [[0, 0]]
        try:
            outcomes.append(model.fit([[LARGE[dtype][0]]], [0]).loss)
        except NonFiniteLossError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_error_survives_pickling():
    error = NonFiniteLossError(3, 14, fastnn.History())
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.epoch, again.batch, len(again.history)) == (str(error), 3, 14, 0)
    assert isinstance(error, ArithmeticError)


@pytest.mark.parametrize("dense", [fastnn.Dense, SlowDense])
def test_interrupted_run_leaves_a_usable_model(dense, interrupts):
    X, targets = make_data(np.float32, n=5000)
    model = build("64 r 64 r 3", FEATURES, np.float32, dense=dense)
    start = model.parameters.copy()
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fit(model, X, targets["labels"], epochs=20_000)
    timer.join()
    assert not np.array_equal(model.parameters, start)
    check_views(model)
    twin = copy.deepcopy(model)
    again, expected = (fit(m, X, targets["labels"], batch_size=500).loss for m in (model, twin))
    assert np.isfinite(again).all()
    assert again == expected


# ------------------------------------------------------------------------------ progress bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "verbose", "shown"),
    [
        (Terminal, "auto", True),
        (Terminal, True, True),
        (Terminal, False, False),
        (io.StringIO, "auto", False),
        (io.StringIO, True, True),
        (io.StringIO, False, False),
    ],
)
def test_progress_bar(stream, verbose, shown, monkeypatch, capfd):
    X, targets = make_data(np.float32)
    monkeypatch.setattr(sys, "stderr", stream())
    model, data = build("17 r 3", FEATURES, np.float32), (X, targets["labels"])
    history = fit(model, *data, validation_data=data, verbose=verbose)
    text = sys.stderr.getvalue()
    assert tuple(capfd.readouterr()) == ("", "")
    if shown:
        assert f"{EPOCHS}/{EPOCHS}" in text
        assert "loss" in text
        assert "accuracy" in text
        assert all(f"{value:.4f}" in text for value in history.latest().values())
    else:
        assert text == ""


@pytest.mark.parametrize("verbose", ["auto", 1])
def test_process_without_standard_error(verbose, monkeypatch):
    """As under pythonw: there is nothing to show a bar on."""
    X, targets = make_data(np.float32)
    monkeypatch.setattr(sys, "stderr", None)
    history = fit(build("17 r 3", FEATURES, np.float32), X, targets["labels"], verbose=verbose)
    assert len(history) == EPOCHS


def test_progress_in_lines(capfd):
    X, targets = make_data(np.float32)
    model, data = build("17 r 3", FEATURES, np.float32), (X, targets["labels"])
    history = fit(model, *data, validation_data=data, epochs=10, verbose=2)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 10
    for i, line in enumerate(lines):
        curves = "".join(f"{name} {curve[i]:.4f}  " for name, curve in history.curves.items())
        assert re.fullmatch(rf"epoch {i + 1:2}/10  {curves}[\d,]+ samples/s", line)


@pytest.mark.parametrize("dense", [fastnn.Dense, OwnDense])
def test_progress_bar_as_a_callback(dense, monkeypatch):
    """It fills within an epoch, and `verbose` adds no second one."""
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
    monkeypatch.setattr(sys, "stderr", Terminal())
    X, targets = make_data(np.float32)
    bar, filled = fastnn.ProgressBar(), []

    def look(run):
        filled.append(bar._bar.n)

    look = fastnn.LambdaCallback(on_chunk_end=look)
    model = build("17 r 3", FEATURES, np.float32, dense=dense)
    fit(model, X, targets["labels"], callbacks=[bar, look], epochs=2, batch_size=16)
    n = len(X)
    steps = -(-n // 16)
    assert filled == [e * n + n * step // steps for e in (0, 1) for step in range(1, steps + 1)]
    text = sys.stderr.getvalue()
    assert text.count("\n") == 1
    assert "100%" in text
    assert re.search(r"\|2/2 00:00 +\S+/s, loss \d", text)


def test_progress_bar_goes_away_with_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    X, targets = make_data(np.float32)

    def fail(run):
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        fit(
            build("17 r 3", FEATURES, np.float32), X, targets["labels"], verbose=1,
            callbacks=[fastnn.LambdaCallback(on_epoch_end=fail)],
        )  # fmt: skip
    assert sys.stderr.getvalue().endswith("\r")
    assert "\n" not in sys.stderr.getvalue()


# ------------------------------------------------------------------------------ slow parts


class OwnSGD(SGD):
    def update(self, parameters, gradients):
        super().update(parameters, gradients)


@pytest.mark.parametrize(
    ("dense", "optimizer", "cause"),
    [
        (OwnDense, SGD(0.1), "OwnDense, a layer of your own,"),
        (fastnn.Dense, OwnSGD(0.1), "OwnSGD, an optimizer of your own,"),
    ],
)
def test_one_warning_says_why_training_is_slow(dense, optimizer, cause):
    X, targets = make_data(np.float32)
    model = build("17 r 3", FEATURES, np.float32, dense=dense)
    with pytest.warns(fastnn.SlowTrainingWarning, match=f"^{cause} cannot be compiled") as seen:
        fit(model, X, targets["labels"], optimizer=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, X, targets["labels"], optimizer=optimizer)
    assert len(seen) == 1
    assert seen[0].filename.endswith("test_training.py")


def test_no_warning_of_what_is_compiled():
    X, targets = make_data(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(build("17 r 3 s", FEATURES, np.float32), X, targets["labels"])


# -------------------------------------------------------------------------- flat buffers


def check_views(model):
    """Check that the layers hold views of the flat buffers, in order, without a gap."""
    for buffer, names in (
        (model.parameters, ("weights", "biases")),
        (model.gradients, ("dweights", "dbiases")),
    ):
        assert buffer.ndim == 1
        assert buffer.flags.c_contiguous
        layers = [layer for layer in model.layers if isinstance(layer, fastnn.Dense)]
        views = [getattr(layer, name) for layer in layers for name in names]
        before, start = buffer.copy(), 0
        for view in views:
            buffer[...] = 0.0
            view[...] = 1.0
            assert np.flatnonzero(buffer).tolist() == list(range(start, start + view.size))
            start += view.size
        assert start == buffer.size
        buffer[...] = before


@every_dtype
def test_layers_hold_views_of_the_flat_buffers(dtype):
    model = build("17 r 9 3", FEATURES, dtype)
    assert model.parameters.dtype == model.gradients.dtype == dtype
    check_views(model)
    model.parameters[...] = np.arange(model.parameters.size)
    assert model.layers[0].weights[0, 1] == 1
    assert model.layers[0].biases[0, 0] == FEATURES * 17


def test_making_a_model_keeps_parameters_and_gradients():
    layer = fastnn.Dense(FEATURES, CLASSES, rng=0)
    layer.forward(np.ones((2, FEATURES)))
    layer.backward(np.ones((2, CLASSES)))
    before = layer.weights.copy(), layer.biases.copy(), layer.dweights.copy()
    model = fastnn.Sequential([layer])
    for value, old in zip((layer.weights, layer.biases), before, strict=False):
        assert np.array_equal(value, old)
    assert np.array_equal(model.gradients[: FEATURES * CLASSES], before[2].ravel())


def test_gradients_are_filled_by_backward():
    X, targets = make_data(np.float64)
    model = build("17 r 3", FEATURES, np.float64)
    assert not model.gradients.any()
    head = fastnn.SoftmaxCrossEntropy()
    head.forward(model.forward(X), targets["soft"])
    assert model.backward(head.backward(head.output, targets["soft"])).shape == X.shape
    plain = PlainNetwork("17 r 3", model)
    start = plain.parameters
    plain.step(X, targets["soft"], 1.0)
    assert_allclose(model.gradients, start - plain.parameters, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [0, 1, 5, 155, 156, 157])
def test_assigned_parameters_are_copied_into_the_buffer(size):
    model = build("17 r 3", FEATURES, np.float32)
    buffer, before = model.parameters, model.parameters.copy()
    value = np.arange(200, dtype=np.float32)[:size]  # room for who reads behind the end
    if size == len(before):
        model.parameters = value
        assert np.array_equal(model.layers[0].weights.ravel(), value[: FEATURES * 17])
    else:
        with pytest.raises(ValueError, match=rf"^parameters has shape \({size},\), expected"):
            model.parameters = value
        assert np.array_equal(buffer, before)
    assert model.parameters is buffer
    check_views(model)


@pytest.mark.parametrize(
    ("owner", "attribute", "value"),
    [("layer", "n_neurons", 40), ("layer", "n_inputs", 40), ("model", "dtype", np.dtype("f8"))],
)
def test_what_describes_a_model_cannot_be_set_or_has_no_effect(
    owner, attribute, value, monkeypatch
):
    """A kernel that is handed arrays of such sizes would read and write behind their ends."""
    X, _ = make_data(np.float32)
    model = build("17 r 3", FEATURES, np.float32)
    expected = model.predict_proba(X)
    try:
        setattr({"layer": model.layers[0], "model": model}[owner], attribute, value)
    except AttributeError:
        return
    for name in ("predict_few", "predict_rows", "dense_forward"):  # NumPy raises instead
        monkeypatch.setattr(kernels, name, find_oracle(name))
    assert_allclose(model.predict_proba(X), expected, rtol=1e-5)
    assert_allclose(softmax(model.forward(X)), expected, rtol=1e-5)


def test_layers_are_not_to_be_swapped_or_all_see_it():
    X, _ = make_data(np.float32)
    model = build("17 r 3", FEATURES, np.float32)
    try:
        model.layers[1] = fastnn.Softmax()
    except TypeError:
        return
    assert_allclose(model.predict_proba(X), softmax(model.forward(X)), rtol=1e-5)


def test_assigned_weights_train():
    X, targets = make_data(np.float64)
    model = build("17 r 3", FEATURES, np.float64)
    rng = np.random.default_rng(5)
    for layer in (model.layers[0], model.layers[2]):
        layer.weights = rng.standard_normal(layer.weights.shape).tolist()
        layer.biases = rng.standard_normal(layer.biases.shape).astype(np.float32)
    check_against_numpy("17 r 3", model, X, targets["labels"], np.float64)
    check_views(model)


def test_a_layer_belongs_to_one_live_model():
    layers = [fastnn.Dense(4, 3), fastnn.ReLU()]
    model = fastnn.Sequential(layers)
    for i, layer in enumerate(layers):
        with pytest.raises(ValueError, match=rf"layers\[{1 - i}\] belongs to another model"):
            fastnn.Sequential([fastnn.Dense(2, 4), layer][:: 1 if i == 0 else -1])
    weights, parameters = layers[0].weights.copy(), model.parameters
    del model
    gc.collect()
    second = fastnn.Sequential(layers)
    assert np.array_equal(layers[0].weights, weights)
    assert not np.shares_memory(second.parameters, parameters)
    check_views(second)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("words", ["17 r 3", "17 ownr 3"])
def test_copies_of_a_model_are_independent(copied, words):
    X, targets = make_data(np.float32)
    model = build(words, FEATURES, np.float32)
    fit(model, X, targets["labels"])
    before, probabilities = model.parameters.tobytes(), model.predict_proba(X)
    try:
        twin = copied(model)
    except TypeError:
        assert copied is copy.copy
    else:
        assert np.array_equal(twin.predict_proba(X), probabilities)
        fit(twin, X, targets["labels"])
        check_views(twin)
        assert not np.shares_memory(twin.parameters, model.parameters)
    assert model.parameters.tobytes() == before
    assert np.array_equal(model.predict_proba(X), probabilities)
    check_views(model)


def test_copy_trains_on_as_the_original_does():
    X, targets = make_data(np.float64)
    model = build("17 r 3", FEATURES, np.float64)
    twin = pickle.loads(pickle.dumps(model))
    assert fit(twin, X, targets["labels"]).loss == fit(model, X, targets["labels"]).loss
    assert twin.parameters.tobytes() == model.parameters.tobytes()


def test_repr_lists_the_layers():
    model = fastnn.Sequential([fastnn.Dense(4, 2), fastnn.ReLU(), fastnn.Softmax()])
    expected = "Sequential([\n    Dense(4, 2, dtype=float32),\n    ReLU(),\n    Softmax(),\n])"
    assert repr(model) == expected


# ------------------------------------------------------------------------------- prediction


@every_network
@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_predictions_agree_with_each_other_and_with_numpy(words, n):
    X, targets = make_data(np.float64, n=n)
    model = build(words, FEATURES, np.float64)
    logits = PlainNetwork(words, model).forward(X)[-1]
    probabilities = model.predict_proba(X)
    rtol = 64 * np.finfo(float).eps
    assert_allclose(probabilities, softmax(logits), rtol=rtol)
    assert model.predict(X).dtype == np.int64
    assert np.array_equal(model.predict(X), logits.argmax(axis=1))
    for y in targets.values():
        rows, found = as_rows(y), model.evaluate(X, y)
        assert_allclose(found["loss"], cross_entropy(logits, rows).mean(), rtol=rtol)
        assert found["accuracy"] == np.mean(logits.argmax(axis=1) == rows.argmax(axis=1))
        assert {type(value) for value in found.values()} == {float}
    output = model.forward(X)
    assert_allclose(output, probabilities if words.endswith("s") else logits, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dense", [fastnn.Dense, SlowDense, OwnDense])
@pytest.mark.parametrize("words", ["3", "17 r 3 s"])
def test_predictions_of_no_rows(words, dense):
    model = build(words, FEATURES, np.float32, dense=dense)
    empty = np.empty((0, FEATURES), np.float32)
    assert model.predict_proba(empty).shape == (0, CLASSES)
    assert model.predict_proba(empty).dtype == np.float32
    assert model.predict(empty).shape == (0,)
    assert model.predict(empty).dtype == np.int64


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.uint64,
              np.float16, np.float64, ">i4"]
)  # fmt: skip
def test_labels_of_any_dtype(dtype):
    X, targets = make_data(np.float32)
    y = targets["labels"] % 2
    expected = build("17 r 3", FEATURES, np.float32)
    losses = fit(expected, X, y).loss
    model = build("17 r 3", FEATURES, np.float32)
    assert fit(model, X, y.astype(dtype)).loss == losses
    assert model.evaluate(X, y.astype(dtype)) == expected.evaluate(X, y)


def test_one_class_is_no_problem():
    X, _ = make_data(np.float32)
    model = build("17 r 1", FEATURES, np.float32)
    before = model.parameters.copy()
    assert set(fit(model, X, np.full(N, 0)).loss) == {0.0}
    assert np.array_equal(model.parameters, before)
    assert (model.predict_proba(X) == 1).all()


# ----------------------------------------------------------------------- without numba

REFERENCE_RUN = """
import sys
import warnings
import numpy as np
import fastnn
import test_training as t

warnings.simplefilter("ignore", fastnn.SlowTrainingWarning)
runs = {}
for words in ("17 r 3", "r 9 s 17 r r 3 r", "own17 r 3 s"):
    for dtype in (np.float32, np.float64):
        X, targets = t.make_data(dtype)
        for kind, y in targets.items():
            model = t.build(words, t.FEATURES, dtype)
            history = t.fit(model, X, y, validation_data=(X, y))
            name = f"{words} {np.dtype(dtype)} {kind}"
            runs[name] = np.concatenate([t.parameters_of(model), history.loss, history.val_loss])
print(hasattr(t.kernels.dense_forward, "signatures"))
np.savez(sys.argv[1], **runs)
"""


def test_reference_kernels_give_the_same_training(tmp_path):
    found = []
    for value in ("1", "0"):
        path = tmp_path / f"{value}.npz"
        places = os.pathsep.join([os.path.dirname(__file__), *sys.path])
        environment = {**os.environ, "FASTNN_REFERENCE": value, "PYTHONPATH": places}
        command = [sys.executable, "-W", "error", "-c", REFERENCE_RUN, path]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == str(value == "0")
        with np.load(path) as stored:
            found.append(dict(stored))
    for name, values in found[0].items():
        rounding = tolerance(np.float32 if "float32" in name else np.float64)
        assert_allclose(values, found[1][name], rtol=rounding, atol=rounding, err_msg=name)


@every_dtype
def test_nothing_is_left_to_compile_after_warmup(dtype):
    fastnn.warmup(dtype)
    names = [name for name in kernels.__all__ if hasattr(getattr(kernels, name), "signatures")]
    before = {name: len(getattr(kernels, name).signatures) for name in names}
    X, targets = make_data(dtype)
    model = build("17 r 3 s", FEATURES, dtype)
    for y in targets.values():
        fit(model, X, y, validation_data=(X, y))
        model.evaluate(X, y)
        head = fastnn.SoftmaxCrossEntropy()
        head.forward(model.forward(X), y)
        model.backward(head.backward(head.output, y))
    model.predict_proba(X)
    for loss in (fastnn.SoftmaxCrossEntropy(label_smoothing=0.1), fastnn.MeanSquaredError()):
        layers = [
            fastnn.Dense(FEATURES, 4, dtype=dtype),
            fastnn.GELU(),
            fastnn.Dense(4, 3, dtype=dtype),
        ]
        if loss.task == "numbers":
            norms = fastnn.LayerNorm(4, dtype=dtype), fastnn.BatchNorm(4, 1, dtype=dtype)
            layers[1:1] = [norms[0], fastnn.Dropout(0), norms[1]]
        model = fastnn.Sequential(layers, loss=loss)
        model.fit(X, targets["one-hot"], optimizer=fastnn.RMSprop(), validation_split=0.5)
        model.backward(model.forward(X, training=True))
        model.predict(X[:1])
        model.evaluate(X, targets["one-hot"])
        model.backward(model.forward(X))
        fastnn.SGD(momentum=0.5).update(model.parameters, model.gradients)
    loss.calculate(X[:, :3], targets["one-hot"])
    assert {name: len(getattr(kernels, name).signatures) for name in names} == before
