"""Pickles: they hold each parameter once, and what comes out works as before."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastnn
from fastnn import nnfs

N, FEATURES, HIDDEN, CLASSES = 150, 120, 80, 5

# Those below 3 are for Python 2, and hold an array as text.
protocols = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))


def make_data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, N)


X, Y = make_data()


def make_model(dtype=np.float32):
    return fastnn.Sequential([
        fastnn.Dense(FEATURES, HIDDEN, dtype=dtype, rng=0), fastnn.BatchNorm(HIDDEN, dtype=dtype),
        fastnn.ReLU(), fastnn.Dropout(0.2, rng=0), fastnn.LayerNorm(HIDDEN, dtype=dtype),
        fastnn.Dense(HIDDEN, CLASSES, dtype=dtype, rng=1),
    ])  # fmt: skip


def fit(model, **options):
    model.fit(X, Y, epochs=2, seed=0, optimizer=fastnn.Adam(0.01), verbose=0, **options)


def run_layers(model):
    """Run a step layer by layer, without the update: all layers keep their arrays."""
    loss = model.loss
    loss.forward(model.forward(X, training=True), Y)
    model.backward(loss.backward(loss.output, Y))


def pickled(value, protocol=pickle.DEFAULT_PROTOCOL):
    return pickle.loads(pickle.dumps(value, protocol))


def ratio(value, parameters, protocol=pickle.DEFAULT_PROTOCOL):
    return len(pickle.dumps(value, protocol)) / parameters.nbytes


USES = {
    "new": lambda model: None,
    "fit": fit,
    "predict": lambda model: model.predict(X, batch_size=7),
    "stream": lambda model: model.partial_fit(X, Y, optimizer=fastnn.Adam()),
    "views": lambda model: (model.parameters, [layer.weights for layer in model.layers[::5]]),
    "layer by layer": run_layers,
    "gradients": lambda model: (run_layers(model), model.gradients),
    "precision": lambda model: model.predict(X, precision="medium"),
}


@protocols
@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_model_has_each_parameter_once(use, protocol):
    model = make_model()
    use(model)
    limit = 1.2 if protocol >= 3 else 1.8
    assert ratio(model, model.parameters, protocol) < limit
    assert ratio(model.compiled(), model.parameters, protocol) < limit
    twin = pickled(model, protocol)
    assert twin.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    for each in (model, twin):
        fit(each)
    assert twin.parameters.tobytes() == model.parameters.tobytes()
    assert twin.predict(X[:1]) == model.predict(X[:1])


def test_the_layers_of_an_unpickled_model_have_views_of_one_buffer():
    model = make_model(np.float64)
    run_layers(model)
    twin = pickled(model)
    twin.parameters[...] = 3
    assert all((twin.layers[i].weights == 3).all() for i in (0, 1, 4, 5))
    assert not (twin.gradients).any()
    run_layers(twin)
    assert np.shares_memory(twin.gradients, twin.layers[0].dweights)
    assert np.array_equal(twin.layers[1].running_mean != 0, model.layers[1].running_mean != 0)


def test_a_copy_has_the_arrays_of_the_last_passes():
    model = make_model()
    run_layers(model)
    gradients = model.gradients
    twin = copy.deepcopy(model)
    for layer, other in zip(model.layers, twin.layers, strict=True):
        for name in ("inputs", "output", "dinputs"):
            assert np.array_equal(getattr(layer, name), getattr(other, name))
            assert not np.shares_memory(getattr(layer, name), getattr(other, name))
    assert np.array_equal(twin.gradients, gradients)
    assert not np.shares_memory(twin.gradients, gradients)
    assert copy.copy(model.layers[0]).output is model.layers[0].output


class Tied:
    """A decoder: the transposed weights of another layer."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, inputs):
        return inputs @ self.layer.weights.T

    def backward(self, dvalues):
        return dvalues @ self.layer.weights


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_layer_that_refers_to_another_one_goes_on_to_do_so(copied):
    dense = fastnn.Dense(FEATURES, 4, rng=0)
    model = fastnn.Sequential([dense, Tied(dense)], loss=fastnn.MeanSquaredError())
    twin = copied(model)
    assert twin.layers[1].layer is twin.layers[0]
    assert ratio(model, model.parameters) < 1.6  # of 480 parameters


class Named(fastnn.Dense):
    """Has a state of its own."""

    def __getstate__(self):
        return {**super().__getstate__(), "name": "from a file"}

    def __setstate__(self, state):
        vars(self).update(state)
        self.restored = True


class Rebuilt(fastnn.ReLU):
    """Says how it is made."""

    def __reduce__(self):
        return Rebuilt, ()


class Looped(fastnn.ReLU):
    """Refers to itself."""

    def __init__(self):
        self.own = [self]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_layers_that_are_copied_in_ways_of_their_own(copied):
    named, rebuilt, looped = Named(3, 2, rng=0), Rebuilt(), Looped()
    model = fastnn.Sequential([named, rebuilt, looped])
    for layer in (named, copied(named), copied(model).layers[0]):
        assert layer is named or (layer.name, layer.restored) == ("from a file", True)
        assert np.array_equal(layer.weights, named.weights)
    assert type(copied(rebuilt)) is Rebuilt
    twin = copied(looped)
    assert twin.own[0] is (looped if copied is copy.copy else twin)


def test_pickles_of_early_versions():
    """They have the buffer of the network, and the views of it, as arrays of their own."""
    model = make_model()
    network = model._network
    other = type(network).__new__(type(network))
    other.__setstate__(copy.deepcopy({**vars(network), "_shown": {}}))
    assert other.buffer.tobytes() == network.buffer.tobytes()
    assert np.shares_memory(other.buffer, other.layers[0].weights)


def test_a_handle_leaves_the_last_loss_behind():
    model = make_model()
    run_layers(model)
    twin = pickled(model.compiled())
    assert twin.predict(X).tobytes() == model.predict(X).tobytes()
    assert twin.loss.output is None
    assert model.loss.output is not None


def test_a_model_of_the_book():
    model = nnfs.Model()
    for layer in (nnfs.Layer_Dense(FEATURES, HIDDEN), nnfs.Activation_ReLU(),
                  nnfs.Layer_Dense(HIDDEN, CLASSES), nnfs.Activation_Softmax()):  # fmt: skip
        model.add(layer)
    model.set(
        loss=nnfs.Loss_CategoricalCrossentropy(), optimizer=nnfs.Optimizer_SGD(),
        accuracy=nnfs.Accuracy_Categorical(),
    )  # fmt: skip
    model.finalize()
    model.forward(X, training=True)
    parameters = model.layers[0].weights
    assert ratio(model, parameters) < 1.2
    assert np.array_equal(pickled(model).predict(X), model.predict(X))


# ----------------------------------------------------------------------------- estimators

ESTIMATORS = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True},
    "warm start": {"early_stopping": True, "warm_start": True},
}


def make_estimator(Estimator=fastnn.MLPClassifier, **options):
    return Estimator((HIDDEN,), max_iter=3, random_state=0, **options)


def train(estimator, how="fit", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return getattr(estimator, how)(X, Y, **options)


def check_same(one, other):
    assert one.predict(X).tobytes() == other.predict(X).tobytes()
    for mine, its in zip(one.coefs_, other.coefs_, strict=True):
        assert mine.tobytes() == its.tobytes()


@pytest.mark.parametrize("options", ESTIMATORS.values(), ids=ESTIMATORS.keys())
@pytest.mark.parametrize("Estimator", [fastnn.MLPClassifier, fastnn.MLPRegressor])
def test_a_fitted_estimator_has_each_parameter_once(Estimator, options, tmp_path):
    options = {**options, "loss": "squared_error"} if Estimator is fastnn.MLPRegressor else options
    estimator = Estimator(hidden_layer_sizes=(HIDDEN,), max_iter=3, random_state=0, **options)
    train(estimator)
    parameters = estimator.model_.parameters
    # With the averages of the optimizer, which `partial_fit` goes on with.
    n_averages = {"adam": 2, "sgd": 1, "lbfgs": 0}[estimator.solver]
    limit = 1.2 * (1 + n_averages)
    assert ratio(estimator, parameters) < limit
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    assert (tmp_path / "estimator.joblib").stat().st_size < limit * parameters.nbytes
    for twin in (pickled(estimator), joblib.load(tmp_path / "estimator.joblib")):
        check_same(estimator, twin)
        assert "coefs_" not in vars(clone(twin))
        original = copy.deepcopy(estimator)
        for each in (original, twin):
            train(each)
        check_same(original, twin)
        score = "best_validation_score_"
        assert getattr(original, score, None) == getattr(twin, score, None)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_after_a_pickle_of_it(solver):
    estimator = make_estimator(solver=solver)
    train(estimator, "partial_fit", classes=range(CLASSES))
    twin = pickled(estimator)
    for each in (estimator, twin):
        train(each, "partial_fit")
    check_same(estimator, twin)
    averages = 2 if solver == "adam" else 1
    assert ratio(estimator, estimator.model_.parameters) < 1.2 * (1 + averages)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_partial_fit_goes_on_in_a_copy_of_a_fit(solver, copied):
    estimator = train(make_estimator(solver=solver))
    twin = copied(estimator)
    for each in (estimator, twin):
        train(each, "partial_fit")
    check_same(estimator, twin)
