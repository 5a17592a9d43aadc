"""LayerNorm and BatchNorm: in the compiled epoch, in predictions, and the layers by themselves."""

import copy
import inspect
import pickle
import time

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_trainer import LOSSES, OPTIMIZERS, compare, fit_in_numpy, make_data
from test_training import SlowDense

import fastnn
from fastnn import kernels
from fastnn.kernels import reference_program

FEATURES, CLASSES, BATCH = 5, 3, 64
NORMS = {"layer": fastnn.LayerNorm, "batch": fastnn.BatchNorm}

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_norm = pytest.mark.parametrize("norm", NORMS)


def make_model(
    norm="batch", dtype=np.float64, loss=None, *, dense=fastnn.Dense, hidden=70, use_bias=True
):
    """Return a network that normalizes its inputs, hidden values, and outputs.

    Biases in front of BatchNorm change nothing: their gradient is rounding, which some optimizers
    scale up. `use_bias` is theirs.
    """
    kind = NORMS[norm]
    layers = [
        kind(FEATURES, dtype=dtype),
        fastnn.Tanh(),
        dense(FEATURES, hidden, dtype=dtype, rng=0, use_bias=use_bias),
        kind(hidden, dtype=dtype),
        fastnn.ReLU(),
        fastnn.Dropout(0.1),
        dense(hidden, 33, dtype=dtype, rng=1),
        fastnn.Tanh(),
        kind(33, dtype=dtype),
        dense(33, CLASSES, dtype=dtype, rng=2, use_bias=use_bias),
        kind(CLASSES, dtype=dtype),
    ]
    for i, layer in enumerate(layers):
        if isinstance(layer, kind):
            rng = np.random.default_rng(i)
            layer.weights = rng.uniform(0.5, 1.5, layer.weights.shape)
            layer.biases = rng.normal(0, 0.1, layer.biases.shape)
    return fastnn.Sequential(layers, loss=loss)


def fit(model, X, y, **options):
    options = {"epochs": 3, "batch_size": BATCH, "seed": 7, "verbose": False, **options}
    return model.fit(X, y, **{"optimizer": fastnn.SGD(0.1), **options})


def state_of(model):
    """Return all that is trained, running moments too, as bytes."""
    return [
        getattr(layer, name).tobytes()
        for layer in model.layers
        for name in getattr(layer, "stored", ())
    ]


# --------------------------------------------------------------------------- the compiled epoch


@every_norm
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_against_numpy(norm, loss, monkeypatch):
    X, y = make_data(loss)

    def make():
        layers = [*make_model(norm).layers]
        layers += [fastnn.Sigmoid()] if loss == "answers to probabilities" else []
        for layer in layers:
            vars(layer).pop("_network", None)
        return fastnn.Sequential(layers, loss=LOSSES[loss]())

    compare(monkeypatch, make, X, y, rtol=1e-7)


# A BatchNorm takes away again what a bias before it adds. So the gradient of that bias is 0 but for
# rounding errors, and Lion takes the sign of these.
STEADY = [name for name in OPTIMIZERS if name != "Lion"]


@every_norm
@pytest.mark.parametrize("optimizer", STEADY)
def test_every_optimizer_against_numpy(norm, optimizer, monkeypatch):
    X, y = make_data("labels")
    found = []
    for sizes in (13, 8, 37):  # batches that are no whole blocks, and a whole one
        model, _ = compare(
            monkeypatch, lambda: make_model(norm, use_bias=False), X, y, optimizer,
            rtol=1e-7, batch_size=sizes, validation_data=(X, y),
        )  # fmt: skip
        found.append(model._network.buffer.copy())
    assert not np.array_equal(found[0], found[1])


@every_norm
def test_running_moments_against_numpy(norm, monkeypatch):
    X, y = make_data("labels")
    model, _ = compare(monkeypatch, lambda: make_model(norm), X, y, rtol=1e-8)
    twin = make_model(norm)
    moments = [layer for layer in model.layers if "running_mean" in getattr(layer, "stored", ())]
    assert len(moments) == (4 if norm == "batch" else 0)
    twin._program.steps = None
    fit(twin, X, y, batch_size=8, optimizer=OPTIMIZERS["SGD"]())
    for layer, other in zip(model.layers, twin.layers, strict=True):
        if "running_mean" in getattr(layer, "stored", ()):
            assert layer.running_mean.any()
            assert_allclose(layer.running_mean, other.running_mean, rtol=1e-9, atol=1e-12)
            assert_allclose(layer.running_variance, other.running_variance, rtol=1e-9)


@every_norm
@every_dtype
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adam, clipped norm"])
def test_same_bits_at_any_number_of_threads(norm, dtype, optimizer):
    X, y = make_data("labels", dtype, n=333)
    found = []
    for threads in (1, 2, 3, 4, 8):
        model, options = make_model(norm, dtype), {"threads": threads, "batch_size": 150}
        curves = fit(model, X, y, optimizer=OPTIMIZERS[optimizer](), **options).curves
        found.append((state_of(model), curves))
    assert found[1:] == found[:1] * 4


@every_norm
@every_dtype
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_same_bits_layer_by_layer(norm, dtype, optimizer):
    X, y = make_data("labels", dtype, n=203)
    for batch_size in (64, 15, 201):
        model, layered = make_model(norm, dtype), make_model(norm, dtype, dense=SlowDense)
        options = {"batch_size": batch_size, "validation_data": (X, y)}
        found = fit(model, X, y, optimizer=OPTIMIZERS[optimizer](), threads=2, **options)
        with pytest.warns(fastnn.SlowTrainingWarning):
            expected = fit(layered, X, y, optimizer=OPTIMIZERS[optimizer](), **options)
        assert state_of(model) == state_of(layered)
        assert_allclose(found.loss, expected.loss, rtol=1e-12)
        assert_allclose(found.val_loss, expected.val_loss, rtol=1e-5)


@every_norm
def test_float32_follows_float64(norm):
    X, y = make_data("labels", np.float32)
    narrow, wide = make_model(norm, np.float32), make_model(norm)
    found, expected = fit(narrow, X, y), fit(wide, X, y)
    assert_allclose(narrow.parameters, wide.parameters, rtol=1e-3, atol=1e-3)
    assert_allclose(found.loss, expected.loss, rtol=1e-4)


@every_norm
@pytest.mark.parametrize("loss", ["labels", "squared"])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_central_differences(norm, loss, training):
    """Of every parameter; without training the running moments are constants."""
    X, y = make_data(loss)
    model = make_model(norm, loss=LOSSES[loss](), hidden=4)
    fit(model, X, y)
    place = next(layer for layer in model.layers if isinstance(layer, fastnn.Dropout))
    place.place_masks((5, 0, 0))
    wanted = np.asarray(y)
    _, gradient = model.loss.measure(model._network.logits(X, training), wanted, np.ones(len(X)))
    model._network.pull(gradient)
    for at in range(0, model.parameters.size, 3):
        middle, step, values = model.parameters[at], 1e-6, []
        for shift in (step, -step):
            before = model._network.snapshot()
            model.parameters[at] = middle + shift
            outputs = model._network.logits(X, training)
            values.append(model.loss.measure(outputs, wanted, np.ones(len(X)))[0].mean())
            model._network.restore(before)
        slope = (values[0] - values[1]) / (2 * step)
        assert_allclose(model.gradients[at], slope, rtol=1e-5, atol=1e-7)


@every_norm
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adam, clipped norm"])
def test_a_frozen_layer_stays(norm, own, optimizer, monkeypatch):
    X, y = make_data("labels")
    for frozen in (0, 3, 10):
        model, plain = make_model(norm), make_model(norm)
        if own:
            model._program.steps = None
        for each in (model, plain):
            each.layers[frozen].trainable = False
        before = model.clone()
        fit(model, X, y, optimizer=OPTIMIZERS[optimizer](), batch_size=8)
        for i, (layer, old) in enumerate(zip(model.layers, before.layers, strict=True)):
            for name in getattr(layer, "stored", ())[:2]:
                stays = np.array_equal(getattr(layer, name), getattr(old, name))
                assert stays == (i == frozen), (i, name)
        if norm == "batch":
            layer, old = model.layers[frozen], before.layers[frozen]
            assert not np.array_equal(layer.running_mean, old.running_mean)
        compare_state(monkeypatch, model, plain, X, y, optimizer)


def compare_state(monkeypatch, model, plain, X, y, optimizer):
    options = {"batch_size": 8, "seed": 7}
    fit_in_numpy(monkeypatch, plain, X, y, OPTIMIZERS[optimizer](), **options)
    assert_allclose(model._network.buffer, plain._network.buffer, rtol=1e-6, atol=1e-8)


@every_norm
def test_only_normalization_trains(norm, monkeypatch):
    """Then nothing goes back beyond the first of them."""
    X, y = make_data("labels")

    def make():
        model = make_model(norm)
        for layer in model.layers:
            if isinstance(layer, fastnn.Dense):
                layer.trainable = False
        return model

    compare(monkeypatch, make, X, y, "Adam", rtol=1e-6)


def test_a_second_fit_goes_on_where_the_first_one_ended():
    X, y = make_data("labels", np.float32)
    for norm in NORMS:
        whole, parts = make_model(norm, np.float32), make_model(norm, np.float32)
        rng, kept = np.random.default_rng(0), fastnn.Adam(0.01)
        fit(whole, X, y, optimizer=fastnn.Adam(0.01), epochs=4, seed=np.random.default_rng(0))
        for epochs in (1, 2, 1):
            fit(parts, X, y, optimizer=kept, epochs=epochs, seed=rng)
        assert state_of(whole) == state_of(parts)


@pytest.mark.parametrize("own", [False, True])
def test_a_diverging_epoch_is_undone_with_its_moments(own):
    X, y = make_data("squared")
    model = make_model("batch", loss=fastnn.MeanSquaredError())
    if own:
        model._program.steps = None
    fit(model, X, y, epochs=1)
    before = state_of(model)
    with np.errstate(all="ignore"), pytest.raises(fastnn.NonFiniteLossError):
        fit(model, X, 1e200 * y, epochs=1, optimizer=fastnn.SGD(1e200), batch_size=8)
    assert state_of(model) == before


def test_a_batch_of_one_is_refused_before_training():
    X, y = make_data("labels")
    for model in (make_model(), make_model(dense=SlowDense)):
        before = state_of(model)
        with pytest.raises(ValueError, match=r"batch_size is 12, .* one of 37 .* drop_last=True"):
            fit(model, X, y, batch_size=12)
        with pytest.raises(ValueError, match=r"batch_size is 1, expected at least 2 samples"):
            fit(model, X, y, batch_size=1)
        with pytest.raises(ValueError, match=r"batch_size is 1, expected at least 2 samples"):
            fit(model, X[:1], y[:1])
        assert state_of(model) == before
    fit(make_model(), X, y, batch_size=12, drop_last=True)
    fit(make_model(), X, y, batch_size=12, steps_per_epoch=3)
    fit(make_model("layer"), X, y, batch_size=12)


# -------------------------------------------------------------------------------- predictions


@every_norm
@every_dtype
def test_predictions(norm, dtype):
    """A row alone, in a block, on threads, layer by layer, and in jitted code: the same bits."""
    X, y = make_data("labels", dtype, n=300)
    model = make_model(norm, dtype)
    fit(model, X, y, batch_size=32)
    expected = model.predict_proba(X, threads=1)
    plain = X.astype(np.float64)
    for layer in model.layers:
        plain = in_numpy(layer, plain)
    e = np.exp(plain - plain.max(axis=1, keepdims=True))
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    assert_allclose(expected, e / e.sum(axis=1, keepdims=True), rtol=tolerance, atol=tolerance)
    assert np.array_equal(model.predict_proba(X, threads=3), expected)
    assert np.array_equal(np.concatenate([model.predict_proba(x[None]) for x in X]), expected)
    layered = model.clone()
    layered._program.steps = None
    assert np.array_equal(layered.predict_proba(X), expected)
    handle = model.compiled()
    fit(model, X, y, batch_size=32)  # the handle has a copy, running moments too

    @numba.njit
    def ask(handle, rows):
        return handle.predict_proba(rows)

    for rows in (X, X[:5]):
        assert np.array_equal(handle.predict_proba(rows), expected[: len(rows)])
        assert np.array_equal(ask(handle, rows), expected[: len(rows)])


def in_numpy(layer, x):
    if isinstance(layer, fastnn.Dense):
        return x @ layer.weights.astype(np.float64) + layer.biases
    if isinstance(layer, fastnn.LayerNorm):
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + layer.epsilon)
        return x * layer.weights + layer.biases
    if isinstance(layer, fastnn.BatchNorm):
        x = (x - layer.running_mean) / np.sqrt(layer.running_variance + layer.epsilon)
        return x * layer.weights + layer.biases
    return layer.forward(x)


# ------------------------------------------------------------------------------------- PyTorch

# torch.nn.LayerNorm(4) and BatchNorm1d(4) of PyTorch 2.13.0, float64, on the samples of
# `torch_inputs`, with these weights and biases, and the gradient cos(arange(20)) of the output.
WEIGHTS, BIASES = np.array([[0.5, 1.0, 1.5, -2.0]]), np.array([[0.1, -0.2, 0.3, 0.0]])
TORCH = {
    "layer": {
        "output": [
            [-0.0609503106899, 1.0460132744463, 1.0753944594834, 2.8820845854442],
            [-0.6751238911534, -0.1217402570973, 2.1593889040118, -0.4647908734591],
            [-0.4040286372583, -1.1231926018069, 1.2007160216837, -2.6615450570688],
            [0.3608553806545, -1.4070094673157, -0.6995090656667, -2.7032761662355],
            [0.8723468764345, -0.1455672599637, -1.510810026938, 0.7838396165599],
        ],
        "dinputs": [
            [-0.1699754304923, 0.4182046043437, -0.4767773521504, 0.2285481782989],
            [0.2282575511666, 0.1348563562466, 0.4246341605386, -0.7877480679517],
            [0.2264659449166, -0.1350685970848, -0.3084033905474, 0.2170060427156],
            [-0.2653222566901, 0.2547256563775, -0.213856092799, 0.2244526931116],
            [0.1964588875318, 0.0843041793746, 0.5128202520953, -0.7935833190016],
        ],
        "dweights": [
            [-0.2009616055811, 0.4262971413423, -0.4169942329762, 0.193398059321],
        ],
        "dbiases": [
            [0.0870508237369, 0.5451176728453, 0.5020058474787, -0.0026478389412],
        ],
    },
    "batch": {
        "output": [
            [0.2006052104945, 1.3855734357588, 1.2031766565483, 2.7096247000808],
            [-0.4580274776961, 0.2946238705749, 2.1791581921534, -0.5052606771973],
            [-0.4165555788669, -1.1296363032432, 1.0105545744967, -2.6371205786221],
            [0.2809376613077, -1.3732660094653, -1.0604475151365, -1.4198590107326],
            [0.8930401847607, -0.1772949936253, -1.832441908062, 1.8526155664712],
        ],
        "dinputs": [
            [0.2455052685475, 0.0904318221816, -0.3066997220316, 1.0293502882941],
            [-0.1741122918457, 0.0476942087578, 0.664759599426, -0.7985286931423],
            [-0.0472889831064, -0.4258310720304, -0.6003235542448, 0.0178475688361],
            [0.207760204518, 0.4760788206599, -0.0375774581935, 0.8204381728129],
            [-0.2318641981134, -0.1883737795689, 0.2798411350438, -1.0691073368008],
        ],
        "dweights": [
            [-0.1325246473777, 0.7730907905861, -0.5079061278336, 0.0823785448903],
        ],
        "dbiases": [
            [0.0870508237369, 0.5451176728453, 0.5020058474787, -0.0026478389412],
        ],
        "running_mean": [
            [-0.0404839343057, -0.0372639611143, 0.0205478024097, 0.0482569872652],
        ],
        "running_variance": [
            [1.4060266896028, 1.4294854595568, 1.5200414201837, 1.3413898818063],
        ],
        "prediction": [
            [0.1170708202367, 2.2488972457315, 2.1565396104169, 3.6463080600315],
            [-1.0005055127206, 0.3709395333315, 3.9196042861025, -1.5697588840751],
            [-0.9301354666458, -2.0807781841922, 1.8085768916225, -5.0286454869632],
            [0.2533799458039, -2.5001617197568, -1.9325908398344, -3.0536706180378],
            [1.2920033026764, -0.441420358395, -3.3271623499916, 2.2558332878319],
        ],
        "dprediction": [
            [0.4216690035047, 0.4519032147892, -0.5063009204064, 1.7095537767641],
            [-0.2756212542568, 0.2372520941198, 1.1681816541283, -1.3018648632685],
            [-0.061352854266, -0.7620598505051, -1.0208480520554, -0.0076424505603],
            [0.3558270578822, 0.7589790258781, 0.1663599800658, 1.3118557413814],
            [-0.4038153187648, -0.2301437467639, 0.8033677725814, -1.7073298231343],
        ],
    },
}  # fmt: skip


def torch_inputs():
    return np.sin(np.arange(20) * 1.3).reshape(5, 4) * 3, np.cos(np.arange(20.0)).reshape(5, 4)


@every_norm
@every_dtype
def test_pytorch_does_the_same(norm, dtype):
    x, slopes = torch_inputs()
    layer = NORMS[norm](4, dtype=dtype)
    layer.weights, layer.biases = WEIGHTS, BIASES
    expected = TORCH[norm]
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
    )
    assert_allclose(layer.forward(x.astype(dtype), training=True), expected["output"], **tolerance)
    assert_allclose(layer.backward(slopes.astype(dtype)), expected["dinputs"], **tolerance)
    for name in ("dweights", "dbiases", "running_mean", "running_variance"):
        if name in expected:
            assert_allclose(getattr(layer, name), expected[name], **tolerance)
    if norm == "batch":
        found = layer.forward(x.astype(dtype))
        assert_allclose(found, expected["prediction"], **tolerance)
        assert_allclose(layer.backward(slopes.astype(dtype)), expected["dprediction"], **tolerance)


# --------------------------------------------------------------------------- the layers alone


@every_dtype
def test_far_from_zero_nothing_is_lost(dtype):
    """The variance comes from differences, not from a difference of squares."""
    x = (np.random.default_rng(0).standard_normal((1000, 100)) + 1e3).astype(dtype)
    for norm in NORMS.values():
        found = norm(100, dtype=dtype).forward(x, training=True)
        axis = 1 if norm is fastnn.LayerNorm else 0
        wide = x.astype(np.float64)
        scale = np.sqrt(wide.var(axis=axis, keepdims=True) + 1e-5)
        expected = (wide - wide.mean(axis=axis, keepdims=True)) / scale
        assert_allclose(found, expected, atol=4e3 * np.finfo(dtype).eps)


@every_norm
def test_a_model_takes_and_gives_them_whole(norm):
    X, y = make_data("labels")
    model = make_model(norm)
    fit(model, X, y)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.clone()):
        assert state_of(twin) == state_of(model)
        assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
        fit(twin, X, y)
        assert state_of(twin) != state_of(model)
    sizes = [(layer.weights.size, layer.biases.size) for layer in model._network.parametric]
    assert model.parameters.size == sum(map(sum, sizes)) == model.summary().n_parameters
    fresh = model.clone(rng=0)
    for layer in fresh.layers:
        if isinstance(layer, fastnn.BatchNorm):
            assert not layer.running_mean.any()
        if isinstance(layer, NORMS[norm]):
            assert (layer.weights == 1).all()
    layer = model.layers[3]
    layer.weights = np.full((1, 70), 3.0)
    assert (model.parameters[2 * FEATURES + 6 * 70 :][:70] == 3).all()
    model.gradients[...] = 7
    assert (layer.dweights == 7).all()


@every_norm
def test_by_hand(norm):
    """Central differences of the layer itself are in the tests of its kernels."""
    layer = NORMS[norm](3)
    with pytest.raises(RuntimeError, match="backward was called before forward"):
        layer.backward(np.ones((2, 3)))
    x = np.array([[1, 2, 4], [3, -1, 0.5]], np.float32)
    for training in (False, True):
        output = layer.forward(x, training)
        assert output is layer.output
        assert output.dtype == layer.backward(np.ones_like(x)).dtype == np.float32
        assert layer.dweights.shape == layer.dbiases.shape == (1, 3)
        with pytest.raises(ValueError, match=r"dvalues has shape \(1, 3\), expected \(2, 3\)"):
            layer.backward(np.ones((1, 3)))
    assert layer.forward(x[:0], training=True).shape == (0, 3)
    with pytest.raises(ValueError, match=r"inputs has shape \(2, 2\), expected \(n_samples, 3\)"):
        layer.forward(x[:, :2])
    if norm == "batch":
        with pytest.raises(ValueError, match="inputs has one row, expected at least 2"):
            layer.forward(x[:1], training=True)


def test_repr():
    assert repr(fastnn.LayerNorm(3)) == "LayerNorm(3, dtype=float32)"
    layer = fastnn.BatchNorm(4, momentum=0.5, dtype=np.float64, trainable=False)
    assert repr(layer) == "BatchNorm(4, dtype=float64, momentum=0.5, trainable=False)"


@every_dtype
def test_moments_of_a_feature_that_is_gone_end_at_zero(dtype):
    """And not in subnormal numbers, which would make every step with them slow."""
    layer = fastnn.BatchNorm(3, 0.9, dtype=dtype)
    layer.forward(np.array([[1, 2, 3], [4, 5, 7]]), training=True)
    for _ in range(400):
        layer.forward(np.zeros((2, 3)), training=True)
        for values in (layer.running_mean, layer.running_variance):
            assert ((values == 0) | (np.abs(values) >= np.finfo(dtype).tiny)).all()
    assert not layer.running_mean.any()


@pytest.mark.parametrize("momentum", [0, 1, 0.25])
def test_momentum(momentum):
    layer, x = fastnn.BatchNorm(2, momentum, dtype=np.float64), np.array([[1.0, 5], [3, -1]])
    layer.forward(x, training=True)
    assert_allclose(layer.running_mean, momentum * np.array([[2, 2]]))
    assert_allclose(layer.running_variance, 1 - momentum + momentum * np.array([[2, 18]]))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fastnn.LayerNorm(0), ValueError, "n_features is 0, expected a positive"),
        (lambda: fastnn.BatchNorm("3"), TypeError, "n_features is '3', expected"),
        (lambda: fastnn.LayerNorm(3, 0), ValueError, "epsilon is 0.0, expected a finite number"),
        (lambda: fastnn.BatchNorm(3, -0.1), ValueError, "momentum is -0.1, expected"),
        (lambda: fastnn.BatchNorm(3, 1.5), ValueError, "momentum is 1.5, expected a number from 0"),
        (lambda: fastnn.BatchNorm(3, dtype=int), TypeError, "dtype is .*, expected float32 or"),
        (lambda: fastnn.LayerNorm(3, trainable=1), TypeError, "trainable is 1, expected True or"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_bad_values():
    layer = fastnn.BatchNorm(2)
    with pytest.raises(ValueError, match=r"running_mean has shape \(2,\), expected \(1, 2\)"):
        layer.running_mean = np.ones(2)
    with pytest.raises(ValueError, match=r"running_variance goes down to -1.0, expected"):
        layer.running_variance = np.array([[1.0, -1.0]])
    assert (layer.running_variance == 1).all()
    for wrong, words in (
        ([fastnn.Dense(2, 3), fastnn.LayerNorm(2)], r"layers\[1\] takes 2 inputs, expected 3"),
        ([fastnn.BatchNorm(3), fastnn.Dense(2, 3)], r"layers\[1\] takes 2 inputs, expected 3"),
        (
            [fastnn.Dense(2, 3), fastnn.BatchNorm(3, dtype=np.float64)],
            r"layers\[1\] has dtype float64, expected float32",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            fastnn.Sequential(wrong)


def test_a_class_of_ones_own_keeps_its_passes():
    class Doubled(fastnn.LayerNorm):
        def forward(self, inputs, training=False):
            return 2 * super().forward(inputs, training)

        def backward(self, dvalues):
            return super().backward(2 * np.asarray(dvalues))

    X, y = make_data("labels")
    layers = [fastnn.Dense(FEATURES, 4, dtype=np.float64, rng=0), Doubled(4, dtype=np.float64)]
    model = fastnn.Sequential([*layers, fastnn.Dense(4, CLASSES, dtype=np.float64, rng=1)])
    twin = fastnn.Sequential([
        fastnn.Dense(FEATURES, 4, dtype=np.float64, rng=0), fastnn.LayerNorm(4, dtype=np.float64),
        fastnn.Dense(4, CLASSES, dtype=np.float64, rng=1),
    ])  # fmt: skip
    twin.layers[1].weights = 2 * twin.layers[1].weights
    assert np.array_equal(model.predict_proba(X), twin.predict_proba(X))
    with pytest.warns(fastnn.SlowTrainingWarning, match="Doubled, a layer of your own"):
        fit(model, X, y)


def test_threads_that_are_let_go_leave_at_the_barrier_of_the_batch(monkeypatch):
    """As when Ctrl-C strikes: nobody waits for ever inside of a pass."""
    X, y = make_data("labels", np.float32, n=64)
    model, left, train_steps = make_model("batch", np.float32), [], kernels.train_steps
    before = state_of(model)
    at = list(inspect.signature(reference_program.train_steps).parameters).index("task")

    def interrupted(*arguments):
        if arguments[-2] == 0:
            time.sleep(0.1)
            raise KeyboardInterrupt
        # Without the barrier behind packing, the first one is that of a batch.
        job, steps = arguments[at]
        job = job.copy()
        job["repack"] = False
        left.append(train_steps(*arguments[:at], (job, steps), *arguments[at + 1 :]))

    monkeypatch.setattr(kernels, "train_steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(model, X, y, threads=3)
    deadline = time.monotonic() + 30
    while len(left) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == [0, 0]
    assert state_of(model)[:2] == before[:2]
