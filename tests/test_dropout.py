"""Dropout: its random bits, its place in the compiled epoch, and the layer by itself."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_trainer import LOSSES, OPTIMIZERS, compare, make_data

import fastnn
from fastnn import kernels
from fastnn.kernels import reference, reference_program

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FEATURES, CLASSES, HIDDEN, BATCH = 5, 3, 150, 64


def mask_of(rows, columns, rate=0.3, key=1, layer=0, step=0, dtype=np.float32, module=kernels):
    inputs = np.ones((rows, columns), dtype)
    outputs, mask = np.empty_like(inputs), np.empty_like(inputs)
    module.dropout_forward(outputs, mask, inputs, rate, key, layer, step)
    assert np.array_equal(outputs, mask)
    return mask


# --------------------------------------------------------------------------------- random bits


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # kat_vectors of Random123 1.14, philox4x32 with 10 rounds
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4, 0xFFFFFFFFFFFFFFFF,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], 0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)  # fmt: skip
def test_known_answers(counter, key, words):
    found = reference.philox(key, *np.array(counter, np.uint64)[:, None])
    assert [int(word[0]) for word in found] == words


@every_dtype
def test_masks_are_those_of_the_reference(dtype):
    """Bit by bit, at places of all sizes: so the known answers hold for the kernel too."""
    rng = np.random.default_rng(0)
    top = 2**32 - 1
    for rate in (0.0, 1e-12, 0.5, 0.9, 1 - 1e-12):
        for layer, step in ((0, 0), (top, top), rng.integers(2**32, size=2).tolist()):
            place = {"rate": rate, "key": int(rng.integers(2**63)), "layer": layer, "step": step}
            found = mask_of(5, 333, **place, dtype=dtype)
            expected = mask_of(5, 333, **place, dtype=dtype, module=reference)
            assert found.tobytes() == expected.tobytes()
    kept = [mask_of(9, 200, dtype=dtype) > 0 for dtype in (np.float32, np.float64)]
    assert np.array_equal(*kept)


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.99])
def test_the_rate_is_the_fraction_dropped(rate):
    mask = mask_of(1000, 1003, rate)
    n = mask.size
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - rate))}
    error = (mask == 0).mean() - rate
    assert abs(error) < 5 * (rate * (1 - rate) / n) ** 0.5
    # Of every row and column too: sums of squares in units of their variance.
    for axis in (0, 1):
        counts, trials = (mask == 0).sum(axis=axis), mask.shape[axis]
        z = (counts - trials * rate) / (trials * rate * (1 - rate)) ** 0.5
        assert abs((z**2).mean() - 1) < 5 * (2 / len(z)) ** 0.5 + 0.1


def test_nothing_is_correlated():
    """Neighbors in a row, rows, steps, layers, keys, and columns that share a counter."""
    n, base = 500 * 512, mask_of(500, 512, 0.5) - 1
    others = [np.roll(base, shift, axis) for shift in (1, 16, 64, 65) for axis in (0, 1)]
    others += [mask_of(500, 512, 0.5, **place) - 1 for place in (
        {"key": 2}, {"key": 1 + 2**32}, {"layer": 1}, {"step": 1}, {"layer": 1, "step": 1},
    )]  # fmt: skip
    others.append(base.T.copy().reshape(500, 512))
    for other in others:
        assert abs((base * other).mean()) < 5 / n**0.5


def test_dropped_values_leave_nothing():
    inputs = np.full((4, 100), np.nan, np.float32)
    outputs, mask = np.empty_like(inputs), np.empty_like(inputs)
    kernels.dropout_forward(outputs, mask, inputs, 0.5, 1, 0, 0)
    assert not outputs[mask == 0].any()
    assert np.isnan(outputs[mask > 0]).all()
    kernels.dropout_backward(outputs, inputs, mask)
    assert not outputs[mask == 0].any()
    assert np.isnan(outputs[mask > 0]).all()


# --------------------------------------------------------------------------- the compiled epoch


def make_model(dtype=np.float64, rates=(0.4, 0.2, 0.3), own=False, loss=None):
    layers = [
        fastnn.Dropout(rates[0]),
        fastnn.Dense(FEATURES, HIDDEN, dtype=dtype, rng=0),
        fastnn.ReLU(),
        fastnn.Dropout(rates[1]),
        fastnn.Dense(HIDDEN, 20, dtype=dtype, rng=1),
        fastnn.Tanh(),
        fastnn.Dropout(rates[2]),
        fastnn.Dense(20, CLASSES, dtype=dtype, rng=2),
    ]
    model = fastnn.Sequential(layers, loss=loss)
    if own:
        model._program.steps = None
    return model


def fit(model, X, y, **options):
    options = {"epochs": 3, "batch_size": BATCH, "seed": 7, "verbose": False, **options}
    return model.fit(X, y, **{"optimizer": fastnn.SGD(0.1), **options})


@every_dtype
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adam, clipped norm"])
def test_same_bits_at_any_number_of_threads(dtype, optimizer):
    X, y = make_data("labels", dtype, n=203)
    found = []
    for threads in (1, 2, 3, 4, 8):
        model = make_model(dtype)
        curves = fit(model, X, y, optimizer=OPTIMIZERS[optimizer](), threads=threads).curves
        found.append((model.parameters.tobytes(), curves))
    assert found[1:] == found[:1] * 4


@every_dtype
def test_same_bits_layer_by_layer(dtype):
    X, y = make_data("labels", dtype, n=203)
    model, layered = make_model(dtype), make_model(dtype, own=True)
    found, expected = fit(model, X, y), fit(layered, X, y)
    assert model.parameters.tobytes() == layered.parameters.tobytes()
    assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert np.array_equal(model.predict_proba(X), layered.predict_proba(X))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_against_numpy(loss, monkeypatch):
    X, y = make_data(loss)
    compare(monkeypatch, lambda: make_model(loss=LOSSES[loss]()), X, y)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_against_numpy(optimizer, monkeypatch):
    X, y = make_data("labels")
    compare(monkeypatch, make_model, X, y, optimizer, rtol=1e-7)


@pytest.mark.parametrize("last", [fastnn.ReLU, fastnn.Tanh, lambda: fastnn.Dropout(0.5)])
def test_dropout_may_stand_last(last, monkeypatch):
    X, y = make_data("squared")

    def make():
        layers = [fastnn.Dense(FEATURES, 7, dtype=np.float64, rng=0), last()]
        layers += [fastnn.Dense(7, CLASSES, dtype=np.float64, rng=1), fastnn.Dropout(0.3)]
        return fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())

    model, _ = compare(monkeypatch, make, X, y)
    layered = make()
    layered._program.steps = None
    fit(layered, X, y, batch_size=8, optimizer=OPTIMIZERS["SGD"]())
    assert np.array_equal(model.parameters, layered.parameters)


def masks_of_a_run(model, X, y, **options):
    """Return the masks of a layer-by-layer run, which are those of the compiled one."""
    model._program.steps, masks = None, []
    for layer in model.layers:
        if isinstance(layer, fastnn.Dropout):
            forward = layer.forward

            def spy(inputs, training=False, layer=layer, forward=forward):
                output = forward(inputs, training)
                masks.append(layer.mask.copy())
                return output

            layer.forward = spy
    fit(model, X, y, **options)
    return masks


def test_each_layer_step_and_epoch_has_its_own_mask():
    X, y = make_data("labels", n=192)
    layers = [fastnn.Dense(FEATURES, HIDDEN, rng=0), fastnn.Dropout(0.5), fastnn.Dropout(0.5)]
    model = fastnn.Sequential([*layers, fastnn.Dense(HIDDEN, CLASSES, rng=1)])
    masks = masks_of_a_run(model, X, y)
    assert len(masks) == 3 * 3 * 2
    assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_masks_follow_from_the_seed():
    X, y = make_data("labels")
    found = [masks_of_a_run(make_model(), X, y, seed=seed, epochs=1) for seed in (3, 3, 4)]
    assert [m.tobytes() for m in found[0]] == [m.tobytes() for m in found[1]]
    assert [m.tobytes() for m in found[0]] != [m.tobytes() for m in found[2]]
    # The key of an epoch is drawn right behind its order.
    rng = np.random.default_rng(3)
    rng.permutation(len(X))
    key = int(rng.integers(2**63))
    for i, mask in enumerate(found[0]):
        expected = mask_of(*mask.shape, (0.4, 0.2, 0.3)[i], key, i, 0, np.float64)
        assert np.array_equal(mask, expected)


def test_a_generator_goes_on_only_where_something_drops():
    X, y = make_data("labels")
    states = []
    for layers in ([], [fastnn.Dropout(0.0)]):
        rng = np.random.default_rng(0)
        layers = [*layers, fastnn.Dense(FEATURES, CLASSES, rng=0)]
        fit(fastnn.Sequential(layers), X, y, seed=rng, epochs=1)
        states.append(rng.bit_generator.state)
    expected = np.random.default_rng(0)
    expected.permutation(len(X))
    assert states[0] == expected.bit_generator.state
    expected.integers(2**63)
    assert states[1] == expected.bit_generator.state


def test_a_rate_of_zero_changes_nothing():
    X, y = make_data("labels", np.float32)
    model = make_model(np.float32, rates=(0, 0, 0))
    layers = [layer for layer in make_model(np.float32).layers if type(layer) is not fastnn.Dropout]
    plain = fastnn.Sequential(layers)
    assert fit(model, X, y, epochs=1).curves == fit(plain, X, y, epochs=1).curves
    assert model.parameters.tobytes() == plain.parameters.tobytes()


def test_predictions_leave_it_out():
    X, _ = make_data("labels", np.float32, n=40)
    model = make_model(np.float32)
    layers = [layer for layer in model.layers if not isinstance(layer, fastnn.Dropout)]
    table = model._program.predictor.layers
    outputs = model.predict_proba(X), model.compiled().predict_proba(X), model.forward(X)
    for layer in layers:
        del layer._network
    plain = fastnn.Sequential(layers)
    assert np.array_equal(table, plain._program.predictor.layers)
    assert outputs[0].tobytes() == plain.predict_proba(X).tobytes()
    assert outputs[1].tobytes() == outputs[0].tobytes()
    assert outputs[2].tobytes() == plain.forward(X).tobytes()


def test_nothing_of_it_is_compiled_without_it():
    """`keys` is None, and None is a type of its own."""
    X, y = make_data("labels")
    calls, train_steps = [], kernels.train_steps
    at = list(inspect.signature(reference_program.train_steps).parameters).index("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "train_steps", lambda *a: [calls.append(a[at]), train_steps(*a)][1])
        fit(fastnn.Sequential([fastnn.Dense(FEATURES, CLASSES, rng=0)]), X, y)
        fit(make_model(), X, y)
    plain, dropped = calls  # a call has all three epochs
    assert plain is None
    assert len(set(dropped[:, 0].tolist())) == 3


# ------------------------------------------------------------------------------ the layer alone


@every_dtype
def test_by_hand(dtype):
    layer, x = fastnn.Dropout(0.5, rng=0), np.ones((6, 40), dtype)
    masks = []
    for _ in range(3):
        assert layer.forward(x, training=True) is layer.output
        assert layer.output.dtype == dtype
        assert np.array_equal(layer.output, layer.mask)
        masks.append(layer.mask)
        slopes = np.full_like(x, 3)
        assert np.array_equal(layer.backward(slopes), 3 * layer.mask)
        assert layer.dinputs.dtype == dtype
    assert len({mask.tobytes() for mask in masks}) == 3
    again, other = fastnn.Dropout(0.5, rng=0), fastnn.Dropout(0.5, rng=1)
    assert np.array_equal(again.forward(x, training=True), masks[0])
    assert not np.array_equal(other.forward(x, training=True), masks[0])


def test_without_training_it_is_the_identity():
    layer, x = fastnn.Dropout(0.5), np.arange(6.0).reshape(2, 3)
    output = layer.forward(x)
    assert np.array_equal(output, x)
    assert not np.shares_memory(output, x)
    assert layer.mask is None
    assert np.array_equal(layer.backward(x), x)


def test_a_run_leaves_the_layer_its_own_masks():
    X, y = make_data("labels")
    model, layer = make_model(own=True), fastnn.Dropout(0.4, rng=5)
    model.layers[0]._key = layer._key
    fit(model, X, y)
    found = model.layers[0].forward(X, training=True)
    assert np.array_equal(found, layer.forward(X, training=True))


@pytest.mark.parametrize(
    ("rate", "error"), [(1, ValueError), (-0.1, ValueError), (np.nan, ValueError),
                        ("0.5", TypeError), (None, TypeError), (True, TypeError)],
)  # fmt: skip
def test_bad_rates(rate, error):
    with pytest.raises(error, match=r"rate is .*, expected a number of at least 0 and below 1"):
        fastnn.Dropout(rate)


def test_bad_use():
    layer = fastnn.Dropout(0.5)
    with pytest.raises(RuntimeError, match=r"Dropout.backward was called before forward"):
        layer.backward(np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"inputs has shape \(3,\)"):
        layer.forward(np.ones(3), training=True)
    layer.forward(np.ones((2, 3)), training=True)
    with pytest.raises(ValueError, match=r"dvalues has shape \(1, 3\), expected \(2, 3\)"):
        layer.backward(np.ones((1, 3)))
    assert repr(layer) == "Dropout(0.5)"
