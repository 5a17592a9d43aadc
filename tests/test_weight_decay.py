"""Weight decay that spares biases, and the weights of layers that normalize."""

import copy

import catalogue_cases
import numpy as np
import pytest

import fastnn
from fastnn import nnfs
from fastnn.nn import configs
from fastnn.nn.optimizer import Optimizer

ROWS, FEATURES, CLASSES = 37, 5, 3
DECAY, RATE = 0.3, 0.05
KINDS = sorted(catalogue_cases.OPTIMIZERS)


def make_model(dtype=np.float64, widths=(17, 50), between=(fastnn.LayerNorm, fastnn.BatchNorm)):
    layers, width = [], FEATURES
    for i, (n_neurons, norm) in enumerate(zip(widths, between, strict=True)):
        layers += [fastnn.Dense(width, n_neurons, rng=i, dtype=dtype)]
        layers += [norm(n_neurons, dtype=dtype), fastnn.ReLU()]
        width = n_neurons
    layers.append(fastnn.Dense(width, CLASSES, rng=9, dtype=dtype))
    model = fastnn.Sequential(layers)
    model.parameters += np.random.default_rng(0).normal(0, 0.3, model.parameters.shape)
    return model


def make_data(dtype=np.float64):
    rng = np.random.default_rng(1)
    return rng.standard_normal((ROWS, FEATURES)).astype(dtype), rng.integers(0, CLASSES, ROWS)


def make_optimizer(name, **options):
    return catalogue_cases.OPTIMIZERS[name](RATE, weight_decay=DECAY, **options)


def fit(model, optimizer, **options):
    options = {"epochs": 3, "batch_size": 8, "seed": 3, "verbose": 0} | options
    return model.fit(*make_data(model.dtype), optimizer=optimizer, **options)


def find_gradients(model):
    X, y = make_data(model.dtype)
    loss = fastnn.SoftmaxCrossEntropy()
    loss.forward(model.forward(X, training=True), y)
    model.backward(loss.backward(loss.output, y))
    return model.gradients.copy()


def test_the_mask_has_biases_and_norms():
    model = make_model()
    expected = []
    for layer in model.layers:
        if isinstance(layer, fastnn.Dense):
            expected += [False] * layer.weights.size + [True] * layer.biases.size
        elif layer.n_parameters:
            expected += [True] * layer.n_parameters
    assert model.bias_mask.tolist() == expected
    assert model.clone().bias_mask.tolist() == expected
    with pytest.raises(ValueError, match="read-only"):
        model.bias_mask[0] = True


# ------------------------------------------------------------------ against NumPy


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
def test_one_step_is_that_of_the_formula(own):
    """Gradient descent and its decoupled form, written out for weights and for biases."""
    model = make_model()
    p, g, mask = model.parameters.copy(), find_gradients(model), model.bias_mask
    descent = p - RATE * (g + np.where(mask, 0, DECAY) * p)
    signs = p * (1 - np.where(mask, 0, RATE * DECAY)) - RATE * np.sign(0.1 * g)
    for name, expected in (("SGD", descent), ("Lion", signs)):
        model = make_model()
        if own:
            model._program.steps = None
        fit(model, make_optimizer(name, spare_biases=True), epochs=1, batch_size=ROWS)
        # Behind a BatchNorm biases have no gradient, so its sign is that of the rounding.
        clear = np.abs(g) > 1e-9
        assert clear.sum() > 0.9 * clear.size
        np.testing.assert_allclose(model.parameters[clear], expected[clear], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_every_rule_decays_weights_as_ever_and_biases_not_at_all(name):
    """Of one step: the weights are those of all decayed, the biases those of none."""
    options = {"epochs": 1, "batch_size": ROWS}
    whole, none, part = make_model(), make_model(), make_model()
    fit(whole, make_optimizer(name), **options)
    fit(none, catalogue_cases.OPTIMIZERS[name](RATE, weight_decay=0.0), **options)
    fit(part, make_optimizer(name, spare_biases=True), **options)
    mask = part.bias_mask
    assert part.parameters[mask].tobytes() == none.parameters[mask].tobytes()
    assert part.parameters[~mask].tobytes() == whole.parameters[~mask].tobytes()
    assert not np.array_equal(none.parameters[mask], whole.parameters[mask])
    assert not np.array_equal(none.parameters[~mask], whole.parameters[~mask])


# ------------------------------------------------------------------ the same on all paths


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KINDS)
def test_layers_one_by_one_have_the_same_bits(name, dtype):
    """Without BatchNorm, whose columns the program adds in another order."""
    between = fastnn.LayerNorm, fastnn.LayerNorm
    for options in ({}, {"clip_value": 0.01}):
        models = [make_model(dtype, (19, 130), between) for _ in range(3)]
        models[0]._program.steps = None
        for threads, model in enumerate(models):
            optimizer = make_optimizer(name, spare_biases=True, **options)
            fit(model, optimizer, threads=max(threads, 1))
        expected = models[0].parameters.tobytes()
        assert [model.parameters.tobytes() == expected for model in models] == [True] * 3


def test_a_network_with_a_layer_of_ones_own():
    class Own:
        def __init__(self):
            rng = np.random.default_rng(0)
            self.weights, self.biases = rng.standard_normal((4, 4)), rng.standard_normal((1, 4))

        def forward(self, inputs):
            self.inputs = inputs
            return inputs @ self.weights + self.biases

        def backward(self, dvalues):
            self.dweights, self.dbiases = self.inputs.T @ dvalues, dvalues.sum(axis=0)
            return dvalues @ self.weights.T

    parts = []
    for options in ({}, {"spare_biases": True}, {"weight_decay": 0.0}):
        own = Own()
        dense = fastnn.Dense(FEATURES, 4, rng=0, dtype="f8"), fastnn.Dense(4, 3, rng=1, dtype="f8")
        model = fastnn.Sequential([dense[0], own, dense[1]])
        sgd = fastnn.SGD(**{"learning_rate": RATE, "weight_decay": DECAY, **options})
        with pytest.warns(fastnn.SlowTrainingWarning):
            fit(model, sgd, epochs=1, batch_size=ROWS)
        parts.append((own.weights, own.biases))
    (whole, _), (spared, biases), (_, none) = parts
    assert np.array_equal(spared, whole)
    assert np.array_equal(biases, none)


def test_a_frozen_layer_and_one_without_biases():
    """Then layer by layer each array is updated on its own."""
    models = []
    for own in (False, True):
        layers = [
            fastnn.Dense(FEATURES, 8, rng=0, trainable=False), fastnn.LayerNorm(8), fastnn.Tanh(),
            fastnn.Dense(8, CLASSES, rng=1, use_bias=False),
        ]  # fmt: skip
        model = fastnn.Sequential(layers)
        if own:
            model._program.steps = None
        fit(model, fastnn.AdamW(0.05, weight_decay=DECAY, spare_biases=True))
        models.append(model)
    assert models[0].parameters.tobytes() == models[1].parameters.tobytes()


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
def test_the_names_of_networks_from_scratch(own):
    X, y = make_data(np.float64)
    results = []
    for spare in (False, True, None):
        optimizer = nnfs.Optimizer_Adam(learning_rate=0.05)
        optimizer.weight_decay, optimizer.spare_biases = (
            0.0 if spare is None else DECAY,
            bool(spare),
        )
        np.random.seed(0)  # noqa: NPY002
        dense = nnfs.Layer_Dense(FEATURES, 8), nnfs.Layer_Dense(8, CLASSES)
        dense[0].biases = np.full((1, 8), 0.5)
        if own:
            relu, loss = (
                nnfs.Activation_ReLU(),
                nnfs.Activation_Softmax_Loss_CategoricalCrossentropy(),
            )
            dense[0].forward(X)
            relu.forward(dense[0].output)
            dense[1].forward(relu.output)
            loss.forward(dense[1].output, y)
            loss.backward(loss.output, y)
            dense[1].backward(loss.dinputs)
            relu.backward(dense[1].dinputs)
            dense[0].backward(relu.dinputs)
            optimizer.pre_update_params()
            optimizer.update_params(dense[0])
        else:
            model = nnfs.Model()
            for each in (dense[0], nnfs.Activation_ReLU(), dense[1], nnfs.Activation_Softmax()):
                model.add(each)
            model.set(
                loss=nnfs.Loss_CategoricalCrossentropy(), optimizer=optimizer,
                accuracy=nnfs.Accuracy_Categorical(),
            )  # fmt: skip
            model.finalize()
            model.train(X, y, epochs=1, print_every=1000)
        results.append((dense[0].weights.copy(), dense[0].biases.copy()))
    (whole, decayed), (weights, biases), (_, none) = results
    assert np.array_equal(weights, whole)
    assert np.array_equal(biases, none)
    assert not np.array_equal(biases, decayed)


# ------------------------------------------------------------------ steps by hand


def test_a_step_on_the_flat_parameters_takes_the_mask():
    flat, single = make_model(), make_model()
    one, other = (fastnn.AdamW(0.1, weight_decay=DECAY, spare_biases=True) for _ in range(2))
    for _ in range(2):
        find_gradients(flat)
        find_gradients(single)
        one.update(flat.parameters, flat.gradients, biases=flat.bias_mask)
        for layer in single.layers:
            if layer.n_parameters:
                is_norm = not isinstance(layer, fastnn.Dense)
                other.update(layer.weights, layer.dweights, biases=is_norm)
                other.update(layer.biases, layer.dbiases, biases=True)
    assert flat.parameters.tobytes() == single.parameters.tobytes()


def test_a_step_on_a_view_with_gaps():
    values, slopes = np.linspace(-1, 1, 24).reshape(4, 6)[:, ::2], np.full((4, 3), 0.5)
    mask = np.arange(12).reshape(4, 3) % 5 == 0
    expected = values - 0.1 * (slopes + np.where(mask, 0, DECAY) * values)
    fastnn.SGD(0.1, weight_decay=DECAY, spare_biases=True).update(values, slopes, biases=mask)
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("biases", "message"),
    [
        (None, "biases is None, expected which of the parameters are biases"),
        (np.ones(2, bool), r"biases is bool of shape \(2,\), expected True, False or a bool"),
        (np.ones(3), r"biases is float64 of shape \(3,\), expected True, False or a bool"),
        (1, r"biases is int64 of shape \(\), expected True, False or a bool"),
    ],
)
def test_a_step_that_does_not_say_what_biases_are(biases, message):
    values = np.ones(3)
    sgd = fastnn.SGD(0.1, weight_decay=DECAY, spare_biases=True)
    with pytest.raises(ValueError, match=message):
        sgd.update(values, np.ones(3), biases=biases)
    assert values.tolist() == [1, 1, 1]
    assert sgd.state_of(values).iterations == 0
    sgd.weight_decay = 0
    sgd.update(values, np.ones(3))  # there is nothing to spare
    np.testing.assert_allclose(values, 0.9)


# ------------------------------------------------------------------ as a setting


def test_it_is_off_by_default_and_shown_where_it_is_on():
    for kind in catalogue_cases.OPTIMIZERS.values():
        assert "spare" not in repr(kind())
        assert kind().spare_biases is False
        assert "spare_biases=True" in repr(kind(spare_biases=True))


def test_it_is_described_where_it_is_on():
    adam = fastnn.AdamW(spare_biases=True)
    config = configs.describe(adam, "optimizer")
    assert config["spare_biases"] is True
    assert repr(configs.build(config, "optimizer", Optimizer)) == repr(adam)
    assert "spare_biases" not in configs.describe(fastnn.AdamW(), "optimizer")
    assert copy.deepcopy(adam).spare_biases


def test_a_pickle_of_an_early_version_has_it_off():
    adam = fastnn.AdamW()
    state = {k: v for k, v in adam.__getstate__().items() if k != "spare_biases"}
    old = fastnn.AdamW.__new__(fastnn.AdamW)
    old.__setstate__(state)
    assert old.spare_biases is False


def test_a_checkpoint_keeps_it(tmp_path):
    def run(epochs, resume=None, **options):
        model = make_model(np.float32)
        optimizer = fastnn.AdamW(0.05, weight_decay=DECAY, **options)
        fit(
            model, optimizer, epochs=epochs, resume=resume,
            callbacks=[fastnn.Checkpoint(tmp_path / "run")],
        )  # fmt: skip
        return model.parameters.tobytes()

    expected = run(4, spare_biases=True)
    run(2, spare_biases=True)
    with pytest.raises(ValueError, match=r"optimizer.spare_biases is False, expected True, as in"):
        run(4, tmp_path / "run")
    assert run(4, tmp_path / "run", spare_biases=True) == expected
    run(2)
    with pytest.raises(ValueError, match=r"optimizer.spare_biases is True, expected False, as in"):
        run(4, tmp_path / "run", spare_biases=True)
    assert run(4, tmp_path / "run") != expected
