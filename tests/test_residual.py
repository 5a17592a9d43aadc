"""Residual blocks: in the compiled epoch, in predictions, in files, and the layers alone."""

import copy
import pickle

import numba
import numpy as np
import pytest
import test_export_onnx
from numpy.testing import assert_allclose
from test_export_c import compiler, load  # noqa: F401 (fixtures)
from test_ranks import run_ranks
from test_trainer import FEATURES, LOSSES, OPTIMIZERS, OUTPUTS, compare, fit, make_data
from test_training import SlowDense

import fastnn
from fastnn.kernels import faults, prediction_faults
from fastnn.kernels.catalogue import Operation
from fastnn.nn.residual import Add, Branch
from fastnn.program.plan import make_plan, program_layers

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make_model(dtype=np.float64, loss=None, *, dense=fastnn.Dense, hidden=21, rate=0.1):
    """Return a network with blocks at both ends, one within another, and one without weights."""

    def make(n_inputs, n_outputs, rng):
        layer = dense(n_inputs, n_outputs, dtype=dtype, rng=rng, init="lecun")
        layer.biases = np.random.default_rng(rng).normal(0, 0.1, (1, n_outputs))
        return layer

    inner = fastnn.Residual([fastnn.Tanh(), make(hidden, hidden, 3)])
    layers = [
        fastnn.Residual([make(FEATURES, FEATURES, 0)]),
        make(FEATURES, hidden, 1),
        fastnn.Residual(
            [
                fastnn.LayerNorm(hidden, dtype=dtype),
                make(hidden, 40, 2),
                fastnn.ReLU(),
                fastnn.Dropout(rate),
                make(40, hidden, 4),
                inner,
            ]
        ),
        fastnn.ReLU(),
        fastnn.Residual([fastnn.Sigmoid()]),
        make(hidden, OUTPUTS, 5),
        fastnn.Residual([make(OUTPUTS, OUTPUTS, 6)]),
    ]
    return fastnn.Sequential(layers, loss=loss)


def state_of(model):
    return model._network.buffer.tobytes()


# --------------------------------------------------------------------------- the compiled epoch


@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - {"answers to probabilities"}))
def test_every_loss_against_numpy(loss, monkeypatch):
    X, y = make_data(loss)
    compare(monkeypatch, lambda: make_model(loss=LOSSES[loss]()), X, y, "Adam", rtol=1e-7)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "Lion"])
def test_every_optimizer_against_numpy(optimizer, monkeypatch):
    X, y = make_data("labels")
    for size in (13, 8, 37):
        options = {"batch_size": size, "validation_data": (X, y)}
        compare(monkeypatch, make_model, X, y, optimizer, rtol=1e-7, **options)


@every_dtype
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adam, clipped norm"])
def test_same_bits_at_any_number_of_threads(dtype, optimizer):
    X, y = make_data("labels", dtype, n=333)
    found = []
    for threads in (1, 2, 3, 4):
        model = make_model(dtype)
        curves = fit(model, X, y, optimizer, threads=threads, batch_size=150).curves
        found.append((state_of(model), curves))
    assert found[1:] == found[:1] * 3


@every_dtype
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_same_bits_layer_by_layer(dtype, optimizer):
    X, y = make_data("labels", dtype, n=203)
    for batch_size in (64, 15, 201):
        model, layered = make_model(dtype), make_model(dtype, dense=SlowDense)
        options = {"batch_size": batch_size, "validation_data": (X, y)}
        found = fit(model, X, y, optimizer, threads=2, **options)
        with pytest.warns(fastnn.SlowTrainingWarning):
            expected = fit(layered, X, y, optimizer, **options)
        assert state_of(model) == state_of(layered)
        assert_allclose(found.loss, expected.loss, rtol=1e-12)
        assert_allclose(found.val_loss, expected.val_loss, rtol=1e-5)


@pytest.mark.parametrize("loss", ["labels", "squared"])
def test_gradients_are_central_differences(loss):
    X, y = make_data(loss)
    model = make_model(loss=LOSSES[loss](), hidden=4, rate=0.0)
    wanted = np.asarray(y)
    _, gradient = model.loss.measure(model._network.logits(X, True), wanted, np.ones(len(X)))
    model._network.pull(gradient)
    for at in range(0, model.parameters.size, 3):
        middle, step, values = model.parameters[at], 1e-6, []
        for shift in (step, -step):
            model.parameters[at] = middle + shift
            outputs = model._network.logits(X, True)
            values.append(model.loss.measure(outputs, wanted, np.ones(len(X)))[0].mean())
        model.parameters[at] = middle
        slope = (values[0] - values[1]) / (2 * step)
        assert_allclose(model.gradients[at], slope, rtol=1e-5, atol=1e-8)


def test_only_the_layers_behind_a_frozen_block_train():
    X, y = make_data("labels")
    model = make_model()
    frozen = [layer for layer in model.layers if isinstance(layer, fastnn.Dense)][:3]
    for layer in frozen:
        layer.trainable = False
    before = [layer.weights.copy() for layer in frozen]
    fit(model, X, y, "Adam")
    for layer, weights in zip(frozen, before, strict=True):
        assert np.array_equal(layer.weights, weights)
    layered = make_model(dense=SlowDense)
    for layer in [each for each in layered.layers if isinstance(each, fastnn.Dense)][:3]:
        layer.trainable = False
    with pytest.warns(fastnn.SlowTrainingWarning):
        fit(layered, X, y, "Adam")
    assert state_of(model) == state_of(layered)


def test_bits_of_shards_are_the_same_on_any_number_of_ranks():
    X, y = make_data("labels", np.float32, n=120)

    def train(ranks):
        model = make_model(np.float32)
        fit(model, X, y, "Adam", batch_size=60, ranks=ranks)
        return state_of(model)

    found = [each for size in (1, 2, 3) for each in run_ranks(size, 3, train)]
    assert isinstance(found[0], bytes)
    assert found == found[:1] * 6


@pytest.mark.parametrize("operation", ["BRANCH", "ADD"])
def test_places_beside_the_workspace_are_faults(operation):
    steps, code = program_layers(make_model().layers), getattr(Operation, operation)

    def fault(training, name):
        """Return the fault with the place of the last such layer at the end of the workspace."""
        plan = make_plan(steps, FEATURES, 16, 8, training=training)
        workspace = np.empty(plan.workspace_size)
        if name:
            plan.layers[name][np.flatnonzero(plan.layers["operation"] == code)[-1]] = workspace.size
        if training:
            return faults.places_fault(plan.layers, workspace, None, 16, 0)
        network = True, make_model().parameters, np.ones((2, FEATURES))
        outputs = np.empty((2, OUTPUTS))
        if name == "row_skip":
            return prediction_faults.few_fault(outputs, workspace, plan.layers, *network)
        panels = np.empty(plan.panels_size)
        call = outputs, workspace, panels, plan.layers, True, None, *network[1:], 16
        return prediction_faults.rows_fault(*call)

    assert (fault(True, None), fault(False, None)) == (0, 0)
    assert fault(True, "skip" if operation == "ADD" else "dskip") > 0
    assert fault(False, "skip") > 0
    assert fault(False, "row_skip") > 0


# --------------------------------------------------------------------------- predictions


@every_dtype
def test_predictions_have_the_same_bits_in_any_number_of_rows(dtype):
    X, y = make_data("labels", dtype, n=700)
    model = make_model(dtype)
    fit(model, X, y)
    outputs = model.predict_proba(X)
    for n in (1, 2, 5, 64, 257):
        parts = [model.predict_proba(X[i : i + n]) for i in range(0, len(X), n)]
        assert np.array_equal(np.concatenate(parts), outputs)
    assert np.array_equal(model.predict_proba(X, threads=3), outputs)
    expected = fastnn.Softmax().forward(model.forward(X))
    assert_allclose(outputs, expected, rtol=1e-5 if dtype == np.float32 else 1e-13)


def test_a_handle_predicts_the_same():
    X, y = make_data("labels", np.float32, n=100)
    model = make_model(np.float32)
    fit(model, X, y)
    handle = model.compiled()

    @numba.njit
    def ask(handle, rows):
        return handle.predict_proba(rows)

    for rows in (X, X[:3]):
        assert np.array_equal(ask(handle, rows), model.predict_proba(rows))
    assert np.array_equal(ask(handle, X[0]), model.predict_proba(X[:1])[0])


def test_activations_of_each_layer():
    X, _ = make_data("labels")
    model = make_model()
    model.forward(X)
    kept = [layer.output.copy() for layer in model.layers]
    for i, expected in enumerate(kept):
        assert_allclose(model.activations(X, i), expected, rtol=1e-12, atol=1e-14)
    model.activations(X[:2], 3)
    for layer, old in zip(model.layers, kept, strict=True):
        assert np.array_equal(layer.output, old)


def test_a_lower_precision_rounds_the_operands_of_products_alone():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 40)).astype(np.float32)
    block = fastnn.Residual([fastnn.ReLU(), fastnn.Dense(40, 40, rng=0)])
    model = fastnn.Sequential([block, fastnn.Dense(40, 9, rng=1)])
    exact = model.predict_proba(X)
    assert_allclose(model.predict_proba(X, precision="high"), exact, atol=1e-4)
    found = [model.predict_proba(X, precision="medium", threads=n) for n in (1, 2)]
    assert np.array_equal(*found)
    assert_allclose(found[0], exact, atol=0.05)
    assert not np.array_equal(found[0], exact)


# --------------------------------------------------------------------------- files and exports


def test_a_saved_model_goes_on_with_the_same_bits(tmp_path):
    X, y = make_data("labels", np.float32)
    model = make_model(np.float32)
    fit(model, X, y, "Adam")
    model.save(tmp_path / "model.safetensors")
    twins = [
        fastnn.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        model.clone(),
    ]
    for twin in twins:
        assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
        fit(twin, X, y)
    fit(model, X, y)
    assert [state_of(twin) for twin in twins] == [state_of(model)] * 4


def test_a_config_has_the_ends_of_each_block():
    config = make_model().to_config()
    names = [layer["class"] for layer in config["layers"]]
    assert names.count("Branch") == names.count("Add") == 5
    assert fastnn.Sequential.from_config(config).to_config() == config


@every_dtype
def test_onnx(dtype, tmp_path):
    X, y = make_data("labels", dtype, n=100)
    model = make_model(dtype)
    fit(model, X, y)
    test_export_onnx.check(model, tmp_path / "model.onnx", X, test_export_onnx.TOLERANCE[dtype])


@every_dtype
def test_c(dtype, load):  # noqa: F811
    X, y = make_data("labels", dtype, n=100)
    model = make_model(dtype)
    fit(model, X, y)
    outputs, labels = load(model)(X, OUTPUTS)
    tolerance = 3e-6 if dtype == np.float32 else 6e-15
    assert_allclose(outputs, model.predict_proba(X), rtol=0, atol=tolerance)
    assert np.array_equal(labels, model.predict(X))


def test_a_state_dict_cannot_hold_it(tmp_path):
    with pytest.raises(TypeError, match=r"layers\[0\] is Branch\(\), expected a layer that"):
        fastnn.export.to_torch(make_model(), tmp_path / "model.safetensors")


# --------------------------------------------------------------------------- the layers alone


def test_alone_it_is_a_layer():
    dense = fastnn.Dense(3, 3, dtype=np.float64, rng=0)
    block = fastnn.Residual([dense])
    rows, slopes = np.random.default_rng(0).standard_normal((2, 5, 3))
    assert_allclose(block.forward(rows), rows + rows @ dense.weights, rtol=1e-14)
    assert_allclose(block.backward(slopes), slopes + slopes @ dense.weights.T, rtol=1e-14)
    assert_allclose(dense.dweights, rows.T @ slopes, rtol=1e-14)
    assert repr(block) == "Residual([Dense(3, 3, dtype=float64)])"


def test_a_layer_of_ones_own_inside():
    class Halve:
        def forward(self, inputs):
            return inputs / 2

        def backward(self, dvalues):
            return dvalues / 2

    X, y = make_data("labels")
    layers = [fastnn.Residual([Halve()]), fastnn.Dense(FEATURES, OUTPUTS, dtype=float, rng=0)]
    model = fastnn.Sequential(layers)
    with pytest.warns(fastnn.SlowTrainingWarning):
        fit(model, X, y)
    plain = fastnn.Sequential([fastnn.Dense(FEATURES, OUTPUTS, dtype=float, rng=0)])
    fit(plain, X * 1.5, y)
    assert_allclose(model.parameters, plain.parameters, rtol=1e-12)


def test_bad_blocks():
    with pytest.raises(ValueError, match="layers is empty"):
        fastnn.Residual([])
    with pytest.raises(TypeError, match="layers is 3, expected a list of layers"):
        fastnn.Residual(3)
    for layers in (
        [fastnn.Dense(4, 8)],
        [fastnn.Dense(4, 8), fastnn.ReLU(), fastnn.Dense(8, 5)],
        [fastnn.Residual([fastnn.Dense(4, 4)]), fastnn.Dense(4, 5)],
    ):
        with pytest.raises(
            ValueError, match=r"takes 4 inputs and has \d outputs, expected as many"
        ):
            fastnn.Residual(layers)
    with pytest.raises(TypeError, match=r"layers\[2\] is 3, expected forward and backward"):
        fastnn.Sequential([fastnn.Dense(4, 4), fastnn.Residual([3])])
    with pytest.raises(ValueError, match=r"layers\[2\] takes 5 inputs, expected 4"):
        fastnn.Sequential([fastnn.Dense(4, 4), fastnn.Residual([fastnn.Dense(5, 5)])])
    block = fastnn.Residual([fastnn.Dense(4, 4)])
    with pytest.raises(ValueError, match=r"layers\[3\] is in the list twice"):
        fastnn.Sequential([block, block])


def test_ends_without_each_other():
    dense = fastnn.Dense(4, 4)
    with pytest.raises(ValueError, match=r"layers\[1\] is an Add without a Branch before it"):
        fastnn.Sequential([dense, Add()])
    with pytest.raises(ValueError, match=r"layers\[0\] is a Branch without an Add behind it"):
        fastnn.Sequential([Branch(), dense])
    with pytest.raises(ValueError, match=r"layers\[0\] to layers\[2\], a Residual, takes 4 inputs"):
        fastnn.Sequential([Branch(), fastnn.Dense(4, 8), Add()])
    rows = np.ones((2, 4))
    with pytest.raises(RuntimeError, match=r"Add\.forward was called without a Branch"):
        Add().forward(rows)
    branch, end = Branch(), Add()
    end.connect(branch)
    with pytest.raises(RuntimeError, match=r"Branch\.backward was called before forward"):
        end.forward(rows)
    branch.forward(rows)
    with pytest.raises(RuntimeError, match="called before backward of its Add"):
        branch.backward(rows)
    with pytest.raises(ValueError, match=r"inputs has shape \(2, 3\), expected \(2, 4\)"):
        end.forward(np.ones((2, 3)))
    end.forward(rows)
    end.backward(rows)
    branch.skipped = np.ones((3, 4))
    with pytest.raises(ValueError, match="skipped has shape"):
        branch.backward(rows)


def test_an_overflow_in_a_sum_is_a_diverged_run():
    X, y = make_data("squared", np.float32)
    layers = [fastnn.Residual([fastnn.Dense(FEATURES, FEATURES, rng=0)]) for _ in range(2)]
    model = fastnn.Sequential([*layers, fastnn.Dense(FEATURES, OUTPUTS, rng=1)])
    model.loss = fastnn.MeanSquaredError()
    with pytest.raises(fastnn.NonFiniteLossError):
        fit(model, X, y, fastnn.SGD(1e30))
    assert np.isfinite(model.parameters).all()
