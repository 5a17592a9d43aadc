"""The compiled epoch with every activation, loss and optimizer, against NumPy in float64."""

import functools
import itertools
import math

import catalogue_cases
import numpy as np
import pytest
import torch_figures
from kernel_cases import find_oracle
from numpy.testing import assert_allclose

import fastnn
from fastnn import kernels

N, FEATURES, OUTPUTS, BATCH = 37, 5, 3, 8  # the last batch has 5 rows

ACTIVATIONS = catalogue_cases.ACTIVATIONS
LOSSES = {
    "labels": fastnn.SoftmaxCrossEntropy,
    "distributions": fastnn.SoftmaxCrossEntropy,
    "smoothed labels": lambda: fastnn.SoftmaxCrossEntropy(label_smoothing=0.2),
    "smoothed distributions": lambda: fastnn.SoftmaxCrossEntropy(label_smoothing=0.2),
    "answers": fastnn.BinaryCrossEntropy,
    "answers to probabilities": lambda: fastnn.BinaryCrossEntropy(from_logits=False),
    "squared": fastnn.MeanSquaredError,
    "absolute": fastnn.MeanAbsoluteError,
    "Huber": lambda: fastnn.Huber(0.5),
    "quantile": lambda: fastnn.Quantile(0.8),
    "counts": fastnn.Poisson,
}
# What the lines above do not have.
LOSSES |= {
    name: make
    for name, make in catalogue_cases.LOSSES.items()
    if make.func not in {type(each()) for each in LOSSES.values()}
}
OPTIMIZERS = {
    **{name: functools.partial(kind, 0.02) for name, kind in catalogue_cases.OPTIMIZERS.items()},
    "SGD": lambda: fastnn.SGD(0.05),
    "decay": lambda: fastnn.SGD(0.1, decay=0.1),
    "weight decay": lambda: fastnn.SGD(0.1, weight_decay=0.1),
    "momentum": lambda: fastnn.SGD(0.05, momentum=0.9),
    "Nesterov": lambda: fastnn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "AdaGrad": lambda: fastnn.AdaGrad(0.05),
    "RMSprop": lambda: fastnn.RMSprop(0.01),
    "Adam": lambda: fastnn.Adam(0.02),
    "AdamW": lambda: fastnn.AdamW(0.02, weight_decay=0.1),
    "AMSGrad": lambda: fastnn.Adam(0.02, amsgrad=True, weight_decay=0.1),
    "spared biases": lambda: fastnn.SGD(0.1, weight_decay=0.1, spare_biases=True),
    "AdamW, spared biases": lambda: fastnn.AdamW(0.02, weight_decay=0.1, spare_biases=True),
    "clipped values": lambda: fastnn.SGD(0.1, clip_value=0.01),
    "clipped norm": lambda: fastnn.SGD(0.1, clip_norm=0.05),
    "Adam, clipped norm": lambda: fastnn.Adam(0.02, clip_norm=0.05),
    "schedule": lambda: fastnn.Adam(fastnn.CosineRate(0.05, 15, warm_up=4)),
}

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_loss = pytest.mark.parametrize("loss", LOSSES)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def make_data(loss, dtype=np.float64, n=N):
    """Return samples, and targets for a loss of `LOSSES`."""
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((n, FEATURES)).astype(dtype), rng.integers(0, OUTPUTS, n)
    if loss in ("labels", "smoothed labels"):
        return X, labels
    if "distributions" in loss:
        return X, rng.dirichlet(np.ones(OUTPUTS), n)
    if "answers" in loss:
        return X, rng.integers(0, 2, (n, OUTPUTS))
    if loss == "counts":
        return X / 4, rng.poisson(1, (n, OUTPUTS))  # with larger ones some rates diverge
    return X, rng.standard_normal((n, OUTPUTS))


def make_model(activation="ReLU", loss="labels", dtype=np.float64, hidden=(17, 50), **options):
    sizes, layers = [FEATURES, *hidden, OUTPUTS], []
    for i, (n_inputs, n_outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [ACTIVATIONS[activation]()] if i else []
        layers.append(fastnn.Dense(n_inputs, n_outputs, dtype=dtype, rng=i, **options))
        layers[-1].biases = np.random.default_rng(i).normal(0, 0.1, (1, n_outputs))
        if options.get("use_bias") is False:
            layers[-1].biases = np.zeros((1, n_outputs))
    if loss == "answers to probabilities":
        layers.append(fastnn.Sigmoid())
    return fastnn.Sequential(layers, loss=LOSSES[loss]())


def fit(model, X, y, optimizer="SGD", **options):
    options = {"epochs": 3, "batch_size": BATCH, "seed": 7, "verbose": False, **options}
    optimizer = OPTIMIZERS[optimizer]() if isinstance(optimizer, str) else optimizer
    return model.fit(X, y, optimizer=optimizer, **options)


def fit_in_numpy(monkeypatch, model, X, y, *arguments, **options):
    """Fit with the reference of the compiled program, in the dtype of the model."""
    with monkeypatch.context() as patch:
        for name in ("train_steps", "unpack_states", "predict_rows", "predict_few"):
            patch.setattr(kernels, name, find_oracle(name))
        return fit(model, X, y, *arguments, **options)


def compare(monkeypatch, make, X, y, *arguments, rtol=1e-9, **options):
    """Compare the compiled epochs with NumPy's."""
    model, plain = make(), make()
    before = model.parameters.copy()
    history = fit(model, X, y, *arguments, **options)
    expected = fit_in_numpy(monkeypatch, plain, X, y, *arguments, **options)
    assert not np.array_equal(model.parameters, before)
    assert_allclose(model.parameters, plain.parameters, rtol=rtol, atol=rtol)
    assert history.curves.keys() == expected.curves.keys()
    for name, curve in expected.curves.items():
        assert_allclose(history.curves[name], curve, rtol=rtol, atol=rtol)
    return model, history


# ------------------------------------------------------------------ activations and losses


@every_activation
@every_loss
def test_every_activation_with_every_loss_and_every_optimizer(activation, loss, monkeypatch):
    """On batches of which the last one is short."""
    X, y = make_data(loss)
    for optimizer in OPTIMIZERS:
        make = functools.partial(make_model, activation, loss)
        compare(monkeypatch, make, X, y, optimizer, rtol=1e-7, epochs=1)


@every_activation
@every_loss
def test_layers_one_by_one_do_the_same(activation, loss):
    """So gradients that are right in one place, by central differences, are right in both."""
    X, y = make_data(loss)
    model, layered = make_model(activation, loss), make_model(activation, loss)
    layered._program.steps = None
    curves, expected = fit(model, X, y).curves, fit(layered, X, y).curves
    assert_allclose(model.parameters, layered.parameters, rtol=1e-9, atol=1e-9)
    for name in expected:
        assert_allclose(curves[name], expected[name], rtol=1e-9)


@every_loss
def test_float32_follows_float64(loss, monkeypatch):
    X, y = make_data(loss, np.float32)
    compare(monkeypatch, lambda: make_model("Tanh", loss, np.float32), X, y, rtol=2e-4)


@every_activation
@every_loss
def test_gradients_are_central_differences(activation, loss):
    """Of the loss that `evaluate` gives, for some parameters of every layer."""
    X, y = make_data(loss)
    model, rng = make_model(activation, loss, hidden=(4, 6)), np.random.default_rng(1)
    outputs = model._network.logits(X, True)
    wanted = np.asarray(y)
    _, gradient = model.loss.measure(outputs, wanted, np.ones(N))
    model._network.pull(gradient)
    for at in rng.choice(model.parameters.size, 25, replace=False):
        middle, step, values = model.parameters[at], 1e-6, []
        for shift in (step, -step):
            model.parameters[at] = middle + shift
            values.append(model.loss.measure(model._network.logits(X, True), wanted, np.ones(N))[0])
        model.parameters[at] = middle
        slope = (values[0].mean() - values[1].mean()) / (2 * step)
        assert_allclose(model.gradients[at], slope, rtol=1e-5, atol=1e-8)


@every_loss
def test_predictions_are_what_the_loss_means(loss):
    X, y = make_data(loss)
    model = make_model("Tanh", loss)
    fit(model, X, y, "Adam", epochs=20)
    outputs = model._network.logits(X, False)
    found = model.predict(X)
    if model.loss.task == "numbers":
        wanted = np.exp(outputs) if loss == "counts" else outputs
        assert_allclose(found, wanted, rtol=1e-9)
        with pytest.raises(AttributeError, match="no probabilities"):
            model.predict_proba(X)
        assert list(model.evaluate(X, y)) == ["loss"]
        return
    if model.loss.task == "classes":
        e = np.exp(outputs)
        assert_allclose(model.predict_proba(X), e / e.sum(axis=1, keepdims=True), rtol=1e-9)
        assert np.array_equal(found, outputs.argmax(axis=1))
    else:
        p = 1 / (1 + np.exp(-outputs)) if loss == "answers" else outputs
        assert_allclose(model.predict_proba(X), p, rtol=1e-9)
        assert np.array_equal(found, p > 0.5)
        assert model.evaluate(X, y)["accuracy"] == pytest.approx((found == y).mean())
    assert found.dtype == np.int64


@pytest.mark.parametrize("loss", ["answers", "squared", "counts"])
def test_one_output_takes_and_gives_one_dimension(loss):
    X, y = make_data(loss)
    models = []
    for target in (y[:, 0], y[:, :1]):
        layers = [fastnn.Dense(FEATURES, 4, rng=0), fastnn.Tanh(), fastnn.Dense(4, 1, rng=1)]
        models.append(fastnn.Sequential(layers, loss=LOSSES[loss]()))
        fit(models[-1], X, target)
    assert np.array_equal(models[0].parameters, models[1].parameters)
    assert models[0].predict(X).shape == (N,)


@pytest.mark.parametrize("head", [fastnn.Sigmoid, fastnn.Softmax])
def test_a_head_that_belongs_to_the_loss_changes_nothing(head):
    loss = "answers" if head is fastnn.Sigmoid else "labels"
    X, y = make_data(loss)
    plain = make_model("Tanh", loss)
    fit(plain, X, y)
    model = make_model("Tanh", loss)
    headed = fastnn.Sequential([*make_model("Tanh", loss).layers, head()], loss=model.loss)
    fit(headed, X, y)
    assert np.array_equal(headed.parameters, plain.parameters)
    assert np.array_equal(headed.predict_proba(X), plain.predict_proba(X))


# ------------------------------------------------------------------------------- optimizers


@every_optimizer
@every_dtype
def test_the_same_bits_with_any_number_of_threads(optimizer, dtype):
    X, y = make_data("labels", dtype, n=150)
    found = []
    for threads in (1, 2, 3, 4, 8):
        options = {"weights_l1": 1e-3, "biases_l2": 1e-2}
        model = make_model("GELU", dtype=dtype, hidden=(40, 70), **options)
        curves = fit(model, X, y, optimizer, threads=threads, batch_size=64).curves
        found.append((model.parameters.tobytes(), curves))
    assert found[1:] == found[:1] * 4


@every_optimizer
def test_a_second_fit_goes_on_where_the_first_one_ended(optimizer):
    X, y = make_data("labels", np.float32)
    whole, parts = make_model(dtype=np.float32), make_model(dtype=np.float32)
    fit(whole, X, y, optimizer, epochs=4, shuffle=False)
    kept = OPTIMIZERS[optimizer]()
    for epochs in (1, 2, 1):
        fit(parts, X, y, kept, epochs=epochs, shuffle=False)
    assert np.array_equal(whole.parameters, parts.parameters)
    assert kept.state_of(parts.parameters).iterations == 4 * math.ceil(N / BATCH)


def test_a_rule_that_changes_starts_with_averages_of_its_own():
    """A kernel that is handed too few would read behind their end."""
    X, y = make_data("labels")
    optimizer, model = fastnn.Adam(0.01), make_model()
    fit(model, X, y, optimizer)
    optimizer.amsgrad = True
    fit(model, X, y, optimizer)
    assert optimizer.state_of(model.parameters).arrays.shape == (3, model.parameters.size)
    assert optimizer.state_of(model.parameters).iterations == 15


def test_an_optimizer_keeps_models_apart():
    X, y = make_data("labels")
    alone, together, other = make_model(), make_model(), make_model("Tanh")
    fit(alone, X, y, fastnn.Adam(0.01), epochs=2)
    optimizer = fastnn.Adam(0.01)
    fit(other, X, y, optimizer)
    fit(together, X, y, optimizer, epochs=2)
    assert np.array_equal(alone.parameters, together.parameters)
    del other
    assert len(optimizer._states) == 1


@every_optimizer
def test_update_takes_the_step_of_the_epoch(optimizer):
    """A training loop of one's own, with the flat buffers."""
    X, y = make_data("labels")
    model, own = make_model(), make_model()
    fit(model, X, y, optimizer, epochs=3, batch_size=N, shuffle=False)
    steps, head = OPTIMIZERS[optimizer](), fastnn.SoftmaxCrossEntropy()
    for _ in range(3):
        head.forward(own.forward(X), y)
        own.backward(head.backward(head.output, y))
        steps.update(own.parameters, own.gradients, biases=own.bias_mask)
    assert_allclose(own.parameters, model.parameters, rtol=1e-9, atol=1e-12)


TORCH = torch_figures.figures()
TWINS = {
    "SGD": fastnn.SGD(0.1),
    "SGD, weight decay": fastnn.SGD(0.1, weight_decay=0.01),
    "SGD, momentum": fastnn.SGD(0.05, momentum=0.9),
    "SGD, Nesterov": fastnn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "AdaGrad": fastnn.AdaGrad(0.05),
    "RMSprop": fastnn.RMSprop(0.01, weight_decay=0.01),
    "Adam": fastnn.Adam(0.01),
    "AdamW": fastnn.AdamW(0.01),
    "AMSGrad": fastnn.Adam(0.01, amsgrad=True, weight_decay=0.01),
    "Adam, clipped norm": fastnn.Adam(0.01, clip_norm=0.05),
    "SGD, clipped values": fastnn.SGD(0.1, clip_value=0.01),
}


@pytest.mark.parametrize("name", torch_figures.CASES)
@every_dtype
def test_optimizers_follow_pytorch(name, dtype):
    X, y = torch_figures.make_data()
    layers = [fastnn.Dense(4, 6, dtype=dtype), fastnn.ReLU(), fastnn.Dense(6, 3, dtype=dtype)]
    for layer, weights in zip(layers[::2], torch_figures.make_weights(), strict=True):
        layer.weights = weights.astype(dtype)
    model = fastnn.Sequential(layers)
    batches = torch_figures.STEPS * torch_figures.BATCH // torch_figures.N
    fit(model, X, y, TWINS[name], epochs=batches, batch_size=torch_figures.BATCH, shuffle=False)
    limits = {"rtol": 0, "atol": 1e-10} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
    assert_allclose(model.parameters, TORCH[name], **limits)


# ------------------------------------------------------------- weights, penalties, frozen layers


@every_loss
def test_sample_weights_are_repetitions(loss):
    """A weight of 3 is a sample that stands there three times, one of 0 is one left out."""
    X, y = make_data(loss)
    counts = np.random.default_rng(2).integers(0, 4, N)
    weighted, repeated = make_model("Tanh", loss), make_model("Tanh", loss)
    options = {"epochs": 3, "shuffle": False}
    found = fit(weighted, X, y, sample_weight=counts, batch_size=N, **options)
    n = counts.sum()
    expected = fit(repeated, X.repeat(counts, 0), y.repeat(counts, 0), batch_size=n, **options)
    assert_allclose(weighted.parameters, repeated.parameters, rtol=1e-9, atol=1e-12)
    assert_allclose(found.loss, expected.loss, rtol=1e-9)


@every_loss
def test_sample_weights_in_batches(loss, monkeypatch):
    X, y = make_data(loss)
    weights = np.random.default_rng(2).uniform(0, 2, N)
    weights[:BATCH] = 0  # without a shuffle, a batch that weighs nothing
    for shuffle in (True, False):
        compare(
            monkeypatch, lambda: make_model("Tanh", loss), X, y,
            sample_weight=weights, shuffle=shuffle,
        )  # fmt: skip
        layered, model = make_model("Tanh", loss), make_model("Tanh", loss)
        layered._program.steps = None
        options = {"sample_weight": weights, "shuffle": shuffle}
        assert_allclose(fit(layered, X, y, **options).loss, fit(model, X, y, **options).loss)


def test_class_weights_are_sample_weights():
    X, y = make_data("labels")
    one, other = make_model(), make_model()
    weights = np.array([0.5, 2.0, 0.0])
    found = fit(one, X, y, class_weight={0: 0.5, 1: 2, 2: 0})
    assert found.curves == fit(other, X, y, sample_weight=weights[y]).curves
    assert np.array_equal(one.parameters, other.parameters)
    found = fit(one, X, y, class_weight={0: 0.5, 1: 2, 2: 0}, sample_weight=y + 1)
    assert found.curves == fit(other, X, y, sample_weight=weights[y] * (y + 1)).curves


@pytest.mark.parametrize("from_logits", [True, False])
def test_class_weights_of_one_answer_are_sample_weights(from_logits):
    X, y = make_data("labels")
    y = (y > 0).astype(np.float64)
    y[0] = 0.25  # a soft target has a share of both weights
    weights = np.where(y == 0.25, 0.75 * 0.5 + 0.25 * 3, np.where(y == 1, 3.0, 0.5))

    def make():
        layers = [fastnn.Dense(FEATURES, 9, dtype=float, rng=0), fastnn.Tanh()]
        layers += [fastnn.Dense(9, 1, dtype=float, rng=1)] + [fastnn.Sigmoid()] * (not from_logits)
        return fastnn.Sequential(layers, loss=fastnn.BinaryCrossEntropy(from_logits))

    one, other, plain = make(), make(), make()
    found = fit(one, X, y, class_weight={0: 0.5, 1: 3})
    assert found.curves == fit(other, X, y, sample_weight=weights).curves
    assert np.array_equal(one.parameters, other.parameters)
    fit(plain, X, y)
    assert not np.array_equal(one.parameters, plain.parameters)
    batches = [(X[:20], y[:20]), (X[20:], y[20:])]
    one, other = make(), make()
    fit(one, None, None, batches=batches, batch_size=None, class_weight={0: 0.5, 1: 3})
    weighted = [(X[:20], y[:20], weights[:20]), (X[20:], y[20:], weights[20:])]
    fit(other, None, None, batches=weighted, batch_size=None)
    assert np.array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize("loss", ["answers", "squared"])
def test_class_weights_need_classes(loss):
    X, y = make_data(loss)
    with pytest.raises(ValueError, match="class_weight is given, expected a loss of classes"):
        fit(make_model(loss=loss), X, y, class_weight={0: 1, 1: 2})


PENALTIES = {"weights_l1": 1e-2, "weights_l2": 2e-2, "biases_l1": 3e-2, "biases_l2": 4e-2}


@every_optimizer
def test_penalties(optimizer, monkeypatch):
    X, y = make_data("labels")
    model, history = compare(
        monkeypatch, lambda: make_model("Tanh", **PENALTIES), X, y, optimizer, rtol=1e-7,
        validation_data=(X, y),
    )  # fmt: skip
    expected = sum(
        1e-2 * np.abs(layer.weights).sum() + 2e-2 * np.square(layer.weights).sum()
        + 3e-2 * np.abs(layer.biases).sum() + 4e-2 * np.square(layer.biases).sum()
        for layer in model.layers[::2]
    )  # fmt: skip
    assert model._network.penalty() == pytest.approx(expected)
    data_loss = fastnn.SoftmaxCrossEntropy().forward(model.forward(X), y)
    assert history.val_loss[-1] == pytest.approx(data_loss + expected)
    assert 0 < history.penalty[-1] < history.loss[-1]


def test_penalties_layer_by_layer():
    X, y = make_data("labels")
    model, layered = make_model(**PENALTIES), make_model(**PENALTIES)
    layered._program.steps = None
    assert_allclose(fit(model, X, y).loss, fit(layered, X, y).loss)
    assert_allclose(fit(model, X, y).penalty, fit(layered, X, y).penalty)
    assert_allclose(model.parameters, layered.parameters, rtol=1e-9, atol=1e-12)


@every_optimizer
@pytest.mark.parametrize("frozen", [0, 2, 4])
@pytest.mark.parametrize("own", [False, True])
def test_a_frozen_layer_stays(optimizer, frozen, own, monkeypatch):
    X, y = make_data("labels")
    model, plain = make_model("Tanh"), make_model("Tanh")
    if own:
        model._program.steps = None
    for each in (model, plain):
        each.layers[frozen].trainable = False
    before = [layer.weights.copy() for layer in model.layers[::2]]
    biases = model.layers[frozen].biases.copy()
    fit(model, X, y, optimizer)
    changed = [
        not np.array_equal(layer.weights, weights)
        for layer, weights in zip(model.layers[::2], before, strict=True)
    ]
    assert changed == [i != frozen for i in (0, 2, 4)]
    assert np.array_equal(model.layers[frozen].biases, biases)
    fit_in_numpy(monkeypatch, plain, X, y, optimizer)
    assert_allclose(model.parameters, plain.parameters, rtol=1e-7, atol=1e-9)


@every_optimizer
@pytest.mark.parametrize("own", [False, True])
def test_without_biases_they_stay_zero(optimizer, own, monkeypatch):
    X, y = make_data("labels")
    model = make_model("Tanh", use_bias=False)
    if own:
        model._program.steps = None
    else:
        compare(monkeypatch, lambda: make_model("Tanh", use_bias=False), X, y, optimizer)
    fit(model, X, y, optimizer)
    assert not any(layer.biases.any() for layer in model.layers[::2])


# ------------------------------------------------------------------------------- parts of the data


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("loss", ["labels", "squared"])
def test_the_last_samples_are_held_out(own, loss):
    X, y = make_data(loss)
    model, other = make_model("Tanh", loss), make_model("Tanh", loss)
    if own:
        model._program.steps = other._program.steps = None
    found = fit(model, X, y, validation_split=0.25, sample_weight=np.arange(1, N + 1))
    expected = fit(
        other, X[:28], y[:28], sample_weight=np.arange(1, 29),
        validation_data=(X[28:], y[28:], np.arange(29, N + 1)),
    )  # fmt: skip
    assert found.curves == expected.curves
    assert np.array_equal(model.parameters, other.parameters)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("options", "n"), [({"drop_last": True}, 32), ({"steps_per_epoch": 2}, 16),
                       ({"steps_per_epoch": 9}, N), ({"steps_per_epoch": 5}, N),
                       ({"steps_per_epoch": 5, "drop_last": True}, 32)],
)  # fmt: skip
def test_an_epoch_may_be_shorter(own, options, n):
    X, y = make_data("labels")
    model, other = make_model(), make_model()
    if own:
        model._program.steps = other._program.steps = None
    found = fit(model, X, y, shuffle=False, **options)
    expected = fit(other, X[:n], y[:n], shuffle=False)
    assert found.curves == expected.curves
    assert np.array_equal(model.parameters, other.parameters)
    whole = fit(make_model(), X, y, epochs=5, **options)  # other samples are left out each time
    assert len(set(whole.loss)) == 5


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"validation_split": 1}, ValueError, "validation_split is 1, expected a number of"),
        ({"validation_split": 0.001}, ValueError, "leaves some of 37 samples on both sides"),
        ({"validation_split": 0.999}, ValueError, "leaves some of 37 samples on both sides"),
        ({"validation_split": "0.1"}, TypeError, "validation_split is '0.1', expected"),
        (
            {"validation_split": 0.5, "sample_weight": np.arange(N) // (N - 1)}, ValueError,
            "sample_weight is 0 on one side of validation_split 0.5",
        ),
        ({"initial_epoch": 3}, ValueError, "initial_epoch is 3, expected a whole number from 0 to"),
        ({"initial_epoch": -1}, ValueError, "initial_epoch is -1, expected a whole number from 0"),
        ({"initial_epoch": 1.5}, TypeError, "initial_epoch is 1.5, expected a whole number"),
        ({"initial_epoch": True}, TypeError, "initial_epoch is True, expected a whole number"),
        ({"verbose": 3}, TypeError, "verbose is 3, expected"),
        ({"drop_last": 1}, TypeError, "drop_last is 1, expected True or False"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch is 0, expected a positive"),
    ],
)  # fmt: skip
def test_bad_parts(options, error, words):
    X, y = make_data("labels")
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(error, match=words):
        fit(model, X, y, **options)
    with pytest.raises(ValueError, match="expected no validation_data beside it"):
        fit(model, X, y, validation_split=0.5, validation_data=(X, y))
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("own", [False, True])
def test_two_runs_are_one(own):
    """The second run has the epoch numbers and the orders of the rest of a whole one."""
    X, y = make_data("labels")
    whole, parts = make_model(), make_model()
    if own:
        whole._program.steps = parts._program.steps = None
    expected = fit(whole, X, y, OPTIMIZERS["Adam"](), epochs=5)
    adam = OPTIMIZERS["Adam"]()
    first = fit(parts, X, y, adam, epochs=2)
    second = fit(parts, X, y, adam, epochs=5, initial_epoch=2)
    assert np.array_equal(parts.parameters, whole.parameters)
    assert first.loss + second.loss == expected.loss
    assert (first.epochs, second.epochs) == ([1, 2], [3, 4, 5])


def test_a_generator_goes_on_by_itself():
    X, y = make_data("labels")
    whole, parts, rng = make_model(), make_model(), np.random.default_rng(7)
    fit(whole, X, y, epochs=5)
    fit(parts, X, y, epochs=2, seed=rng)
    fit(parts, X, y, epochs=5, initial_epoch=2, seed=rng)
    assert np.array_equal(parts.parameters, whole.parameters)


# ------------------------------------------------------------------------------- schedules


def rates(schedule, steps):
    return [schedule(step) for step in range(steps)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (fastnn.ConstantRate(0.5), [0.5] * 5),
        (fastnn.StepRate(1.0, every=2, factor=0.5), [1, 1, 0.5, 0.5, 0.25]),
        (fastnn.ExponentialRate(1.0, 0.5), [1, 0.5, 0.25, 0.125, 0.0625]),
        (fastnn.InverseTimeRate(1.0, 1.0), [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]),
        (fastnn.CosineRate(1.0, 4), [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]),
        (fastnn.CosineRate(1.0, 4, warm_up=2, last=0.2), [1 / 3, 2 / 3, 1, 0.6, 0.2]),
    ],
)
def test_schedules(schedule, expected):
    assert rates(schedule, 5) == pytest.approx(expected)


def test_one_cycle_goes_up_and_down():
    # torch.optim.lr_scheduler.OneCycleLR(max_lr=1.0, total_steps=10), PyTorch 2.13.0
    expected = [
        0.040000000000000036, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631,
        0.6112620219362893, 0.38874197806371075, 0.18825834605023697, 0.049519367986526286, 4e-06,
    ]  # fmt: skip
    assert rates(fastnn.OneCycleRate(1.0, 10), 10) == pytest.approx(expected, rel=1e-12)
    assert fastnn.OneCycleRate(1.0, 10)(99) == pytest.approx(expected[-1])


def test_a_rate_falls_on_a_plateau():
    schedule = fastnn.ReduceOnPlateau(1.0, factor=0.5, patience=1, last=0.2)
    found = []
    for value in (3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1):
        schedule.observe({"loss": value})
        found.append(schedule(0))
    assert found == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]
    with pytest.raises(ValueError, match="monitor is 'loss', expected one of val_loss"):
        schedule.observe({"val_loss": 1.0})


def test_fit_tells_a_schedule_of_its_epochs():
    X, y = make_data("labels")
    schedule = fastnn.ReduceOnPlateau(1e-6, factor=0.5, patience=0, min_delta=1.0)
    fit(make_model(), X, y, fastnn.SGD(schedule), epochs=5)
    assert schedule.current_rate == pytest.approx(1e-6 * 0.5**4)


def test_a_schedule_that_fails_at_once_leaves_the_averages():
    X, y = make_data("labels")
    model, optimizer = make_model(), fastnn.Adam(0.1)
    fit(model, X, y, optimizer)
    before = optimizer.state_of(model.parameters).arrays.copy()
    optimizer.learning_rate = lambda step: 0.1 if step == 0 else math.nan
    with pytest.raises(ValueError, match=r"learning_rate\(15\) is nan"):
        fit(model, X, y, optimizer)
    assert optimizer.state_of(model.parameters).iterations == 15
    assert np.array_equal(optimizer.state_of(model.parameters).arrays, before)


def test_any_function_of_the_step_is_a_schedule():
    X, y = make_data("labels")
    model, other, seen = make_model(), make_model(), []

    def schedule(step):
        seen.append(step)
        return 0.1 / (1 + 0.1 * step)

    fit(model, X, y, fastnn.SGD(schedule))
    fit(other, X, y, fastnn.SGD(0.1, decay=0.1))
    assert_allclose(model.parameters, other.parameters, rtol=1e-12)
    assert sorted(set(seen)) == list(range(15))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, None, "0.1"])
def test_a_schedule_that_gives_no_rate(bad):
    X, y = make_data("labels")
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=r"learning_rate\(0\) is .*, expected a number from 0 to"):
        fit(model, X, y, fastnn.SGD(lambda step: bad))
    assert np.array_equal(model.parameters, before)


# ------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fastnn.SGD(momentum=1.0), "momentum is 1.0, expected a number of at least 0"),
        (lambda: fastnn.SGD(nesterov=True), "nesterov is True, expected a momentum above 0"),
        (lambda: fastnn.SGD(decay=-1), "decay is -1, expected a number of at least 0"),
        (lambda: fastnn.SGD(lambda step: 1.0, decay=1.0), "expected 0 beside a schedule"),
        (lambda: fastnn.SGD(clip_norm=0), "clip_norm is 0.0, expected a finite number above 0"),
        (lambda: fastnn.Adam(beta_1=1), "beta_1 is 1, expected a number of at least 0 and below"),
        (lambda: fastnn.Adam(epsilon=-1e-8), "epsilon is -1e-08, expected"),
        (lambda: fastnn.RMSprop(rho=math.nan), "rho is nan, expected"),
        (lambda: fastnn.LeakyReLU(0), "negative_slope is 0.0, expected a finite number above 0"),
        (lambda: fastnn.GELU(approximate="erf"), "approximate is 'erf', expected \"none\" or"),
        (lambda: fastnn.Quantile(1.0), "q is 1.0, expected a number below 1"),
        (lambda: fastnn.Huber(-1), "delta is -1.0, expected"),
        (lambda: fastnn.SoftmaxCrossEntropy(1.0), "label_smoothing is 1.0, expected"),
        (lambda: fastnn.BinaryCrossEntropy(epsilon=0.5), "epsilon is 0.5, expected a number below"),
        (lambda: fastnn.Dense(2, 3, weights_l1=-1), "weights_l1 is -1, expected"),
        (lambda: fastnn.CosineRate(1.0, 10, warm_up=10), "warm_up is 10, expected fewer than"),
        (lambda: fastnn.OneCycleRate(1.0, 1), "steps is 1, expected at least 2"),
    ],
)
def test_bad_values(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        ("labels", {"sample_weight": np.ones(3)}, r"sample_weight has shape \(3,\), expected"),
        ("labels", {"sample_weight": -np.ones(N)}, r"sample_weight\[0\] is -1.0, expected"),
        ("labels", {"sample_weight": np.zeros(N)}, "sample_weight sums to 0"),
        ("labels", {"sample_weight": np.full(N, np.nan)}, r"sample_weight\[0\] is nan"),
        ("labels", {"class_weight": {0: 1, 1: 1}}, r"class_weight has \[0, 1\], expected all of"),
        ("labels", {"class_weight": {0: 1, 1: 1, 2: -1}}, r"class_weight\[2\] is -1.0"),
        ("squared", {"class_weight": {0: 1, 1: 1, 2: 1}}, "class_weight is given, expected a loss"),
    ],
)
def test_bad_weights(loss, options, words):
    X, y = make_data(loss)
    model = make_model("ReLU", loss)
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=words):
        fit(model, X, y, **options)
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("loss", ["answers", "squared", "counts"])
def test_bad_targets(loss):
    X, y = make_data(loss)
    model = make_model("ReLU", loss)
    with pytest.raises(ValueError, match=rf"y has shape \({N},\), expected \({N}, {OUTPUTS}\)"):
        fit(model, X, y[:, 0])
    bad = y.astype(float)
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"y\[3, 1\] is nan, expected finite numbers"):
        fit(model, X, bad)
    bad[3, 1] = 1.5
    if loss == "answers":
        with pytest.raises(ValueError, match=r"y\[3, 1\] is 1.5, expected numbers from 0 to 1"):
            fit(model, X, bad)
    bad[3, 1] = -1
    if loss == "counts":
        before = model.parameters.copy()
        with pytest.raises(ValueError, match=r"^y\[3, 1\] is -1.0, expected numbers of at least 0"):
            fit(model, X, bad)
        with pytest.raises(ValueError, match=r"^validation_data\[1\]\[3, 1\] is -1.0, expected"):
            fit(model, X, y, validation_data=(X, bad))
        assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
@every_dtype
def test_a_rate_that_overflows_is_a_loss_that_is_not_finite(own, dtype):
    X, y = make_data("counts", dtype)
    model = make_model("Tanh", "counts", dtype)
    if own:
        model._program.steps = None
    fit(model, X, y)
    before = model.parameters.copy()
    with pytest.raises(fastnn.NonFiniteLossError, match="epoch 1"):
        fit(model, X, y, fastnn.SGD(1e4))
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("loss", [3, fastnn.CategoricalCrossEntropy(), fastnn.Huber])
def test_what_is_no_loss(loss):
    with pytest.raises(TypeError, match="expected a loss such as MeanSquaredError"):
        fastnn.Sequential([fastnn.Dense(2, 3)], loss=loss)


def test_what_is_no_optimizer():
    X, y = make_data("labels")
    with pytest.raises(TypeError, match=r"expected one such as fastnn.SGD"):
        make_model().fit(X, y, optimizer=0.1)


# ------------------------------------------------------------------ an order of one's own


@pytest.mark.parametrize("own", [False, True])
def test_an_order_of_ones_own(own):
    X, y = make_data("labels")
    orders = [np.r_[np.arange(30), np.zeros(N - 30, int)], np.arange(N)[::-1]]
    one, other = make_model(), make_model()
    if own:
        one._program.steps = other._program.steps = None
    asked = iter(orders)
    fit(one, X, y, shuffle=lambda n: next(asked), epochs=2)
    optimizer = OPTIMIZERS["SGD"]()
    for order in orders:
        fit(other, X[order], y[order], optimizer, shuffle=False, epochs=1)
    assert np.array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        (np.arange(N - 1), ValueError, r"what shuffle gave has shape \(36,\), expected \(37,\)"),
        (np.arange(N) - 1, ValueError, r"what shuffle gave\[0\] is -1, expected .* 0 to 36"),
        (np.arange(N) + 1, ValueError, r"what shuffle gave\[36\] is 37"),
        (np.arange(N) + 0.5, ValueError, r"what shuffle gave\[0\] is 0.5"),
        (["a"] * N, TypeError, "what shuffle gave has dtype <U1"),
    ],
)
def test_a_bad_order(order, error, words):
    X, y = make_data("labels")
    with pytest.raises(error, match=words):
        fit(make_model(), X, y, shuffle=lambda n: order)
