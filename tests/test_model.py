"""What a model says of itself: summary, repr, copies, the values inside, blocks of predictions."""

import copy

import numpy as np
import pytest
from numpy_network import OwnDense, OwnReLU
from test_trainer import fit, make_data, make_model

import fastnn
from fastnn import Dense, ReLU, Sequential


def make_own():
    return Sequential([Dense(5, 4, rng=0), OwnReLU(), OwnDense(4, 3)])


def test_summary():
    layers = [
        Dense(784, 512, rng=0), ReLU(), Dense(512, 10, rng=1, use_bias=False, trainable=False),
    ]  # fmt: skip
    summary = Sequential(layers).summary()
    assert (
        str(summary)
        == repr(summary)
        == (
            "layer  outputs  parameters  FLOPs a sample\n"
            "------------------------------------------\n"
            "Dense      512     401,920         803,328\n"
            "ReLU       512           0             512\n"
            "Dense       10       5,120          10,240\n"
            "------------------------------------------\n"
            "407,040 parameters (1.6 MiB), 5,120 of them frozen, 814,080 FLOPs a sample"
        )
    )
    assert (summary.n_parameters, summary.n_trainable) == (407_040, 401_920)
    assert (summary.n_bytes, summary.n_flops) == (4 * 407_040, 814_080)


def test_summary_with_a_layer_of_ones_own():
    summary = make_own().summary()
    assert [tuple(row) for row in summary.layers] == [
        ("Dense", 4, 24, 24, 44), ("OwnReLU", None, 0, 0, None), ("OwnDense", None, 15, 15, None),
    ]  # fmt: skip
    assert summary.n_flops is None
    assert str(summary).endswith("39 parameters (156 bytes), ? FLOPs a sample")


@pytest.mark.parametrize("size", [(1, 1), (10, 100), (50, 1000), (600, 600)])
def test_bytes_of_a_summary(size):
    model = Sequential([Dense(*size, rng=0, dtype="f8")])
    n_bytes = model.parameters.nbytes
    assert model.summary().n_bytes == n_bytes
    said = str(model.summary()).split("(")[1].split(")")[0]
    number, unit = said.split()
    factor = {"bytes": 1, "KiB": 1024, "MiB": 1024**2}[unit]
    assert abs(float(number) * factor - n_bytes) <= 0.05 * factor
    assert unit == "bytes" or float(number) >= 1


def test_repr_says_what_is_not_the_default():
    layers = [
        Dense(2, 3, rng=0, weights_l2=0.1, init="glorot"),
        fastnn.LeakyReLU(0.2),
        Dense(3, 1, rng=0, dtype="f8".replace("8", "4"), use_bias=False, trainable=False),
    ]
    model = Sequential(layers, loss=fastnn.Huber(2.0))
    assert repr(model) == (
        "Sequential([\n"
        "    Dense(2, 3, dtype=float32, init='glorot', weights_l2=0.1),\n"
        "    LeakyReLU(negative_slope=0.2),\n"
        "    Dense(3, 1, dtype=float32, use_bias=False, trainable=False),\n"
        "], loss=Huber(delta=2.0))"
    )
    assert (
        repr(Sequential([Dense(2, 2, rng=0)]))
        == "Sequential([\n    Dense(2, 2, dtype=float32),\n])"
    )


# ----------------------------------------------------------------------------------- clone


def test_clone_shares_nothing():
    X, y = make_data("labels")
    model = make_model(dtype=np.float64)
    model.forward(X)
    model.backward(np.ones((len(X), 3)))
    model.gradients  # noqa: B018
    twin = model.clone()
    assert np.array_equal(twin.parameters, model.parameters)
    before = model.parameters.copy()
    mine, other = fit(model, X, y), fit(twin, X, y)
    assert mine.curves == other.curves
    assert np.array_equal(twin.parameters, model.parameters)
    assert not np.array_equal(before, model.parameters)
    for layer in model.clone().layers:
        assert (layer.inputs, layer.output, layer.dinputs) == (None, None, None)
        assert getattr(layer, "dweights", None) is None
    assert not np.shares_memory(twin.parameters, model.parameters)


def test_clone_may_start_anew():
    model = make_model(use_bias=True)
    first, second, again = (model.clone(rng=seed) for seed in (1, 2, 1))
    assert np.array_equal(first.parameters, again.parameters)
    assert not np.array_equal(first.parameters, second.parameters)
    rng = np.random.default_rng(1)
    for layer in first.layers:
        if isinstance(layer, Dense):
            expected = Dense(layer.n_inputs, layer.n_neurons, dtype=np.float64, rng=rng)
            assert np.array_equal(layer.weights, expected.weights)
            assert not layer.biases.any()
    zeros = Sequential([Dense(3, 2, rng=0, init="zeros")])
    zeros.parameters = np.ones(8)
    assert not zeros.clone(rng=5).parameters.any()


def test_clone_of_own_layers():
    model = make_own()
    twin = model.clone()
    twin.layers[2].weights += 1
    assert not np.array_equal(model.layers[2].weights, twin.layers[2].weights)


# ----------------------------------------------------------------------------------- inside


@pytest.mark.parametrize("make", [make_model, make_own])
def test_activations(make):
    X, _ = make_data("labels")
    model = make()
    kept = model.forward(X.astype(model.dtype))
    outputs = [layer.output for layer in model.layers]
    twin = copy.deepcopy(model)
    for i, layer in enumerate(twin.layers):
        layer.output = "untouched"
        for asked in (i, i - len(twin.layers), layer):
            assert np.array_equal(twin.activations(X, asked), outputs[i])
        assert layer.output == "untouched"
    assert np.array_equal(twin.activations(X, layer=-1), kept)


@pytest.mark.parametrize("layer", [5, -6, 1.0, True, None, "Dense", ReLU()])
def test_layers_that_are_not_there(layer):
    X, _ = make_data("labels")
    with pytest.raises(
        ValueError, match=r"^layer is .*, expected a number from -5 to 4 or a layer"
    ):
        make_model().activations(X, layer)


def test_activations_check_their_samples():
    with pytest.raises(ValueError, match=r"^X has shape \(1, 4\), expected \(n_samples, 5\)"):
        make_model().activations(np.ones((1, 4)), 0)


# ----------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("make", [make_model, make_own])
@pytest.mark.parametrize("batch_size", [1, 7, 36, 37, 38, 1000])
def test_predictions_in_batches(make, batch_size):
    X, _ = make_data("labels")
    model = make()
    for call in (model.predict, model.predict_proba):
        assert np.array_equal(call(X, batch_size=batch_size), call(X))
        assert np.array_equal(call(X[:0], batch_size=batch_size), call(X[:0]))


@pytest.mark.parametrize("call", ["predict", "predict_proba"])
def test_bad_batches(call):
    X, _ = make_data("labels")
    call = getattr(make_model(), call)
    with pytest.raises(ValueError, match=r"^batch_size is 0, expected a positive whole number"):
        call(X, batch_size=0)
    with pytest.raises(TypeError, match=r"^batch_size is 2.5, expected a positive whole number"):
        call(X, batch_size=2.5)
    with pytest.raises(ValueError, match=r"^X has shape \(37,\), expected"):
        call(X[:, 0], batch_size=2)
    X[30, 2] = np.nan
    with pytest.raises(ValueError, match=r"^X\[30:40\]\[0, 2\] is nan, expected finite numbers"):
        call(X, batch_size=10)
