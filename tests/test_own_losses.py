"""Losses of a user's own: honoured wherever a model asks its loss, layer by layer."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastnn
from fastnn import nnfs

N, FEATURES = 64, 3
rng = np.random.default_rng(0)
X = rng.standard_normal((N, FEATURES))
Y = np.stack([X @ [1.0, 2.0, 3.0], X @ [0.0, -1.0, 2.0]], axis=1)
WEIGHTS = np.arange(1.0, N + 1)

slowly = pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")


def fourth(y_pred, y_true):
    return ((y_pred - y_true) ** 4).mean(axis=1)


def slope_of_fourth(y_pred, y_true):
    return 4 * (y_pred - y_true) ** 3 / y_pred.size


class Squares(fastnn.MeanSquaredError):
    """Says what its parent says, in NumPy."""

    def forward(self, y_pred, y_true):
        return ((y_pred - y_true) ** 2).mean(axis=1)

    def backward(self, y_pred, y_true):
        return 2 * (y_pred - y_true) / y_pred.size


class SquaresInPlace:
    """As a script from scratch has it: works in place, and keeps its result."""

    def forward(self, y_pred, y_true):
        y_pred -= y_true
        return np.mean(y_pred**2, axis=-1)

    def backward(self, y_pred, y_true):
        self.dinputs = 2 * (y_pred - y_true) / y_pred.size


class SquaresOfBase(fastnn.nn.loss.Loss):
    forward, backward = Squares.forward, Squares.backward


PAIR = Squares().forward, Squares().backward
LIKE_SQUARES = [Squares(), SquaresInPlace(), SquaresOfBase(), PAIR]


def make(loss, outputs=2):
    rng = np.random.default_rng(1)
    layers = [
        fastnn.Dense(FEATURES, 8, rng=rng, dtype="f8"),
        fastnn.Tanh(),
        fastnn.Dense(8, outputs, rng=rng, dtype="f8"),
    ]
    return fastnn.Sequential(layers, loss=loss)


def slow():
    return fastnn.SGD(1e-4)


def fit(model, **options):
    options = {
        "optimizer": slow(),
        "epochs": 4,
        "seed": 0,
        "sample_weight": WEIGHTS,
        "verbose": False,
    } | options
    return model.fit(X, Y, **options)


@slowly
@pytest.mark.parametrize("loss", LIKE_SQUARES, ids=["subclass", "object", "of the base", "pair"])
def test_what_says_the_same_trains_the_same(loss):
    model, expected = make(loss), make(fastnn.MeanSquaredError())
    held_out = {"validation_data": (X[:9], Y[:9], WEIGHTS[:9])}
    curves, wanted = fit(model, **held_out), fit(expected, **held_out)
    assert_allclose(model.parameters, expected.parameters, rtol=1e-12)
    for name in ("loss", "val_loss"):
        assert_allclose(curves.curves[name], wanted.curves[name], rtol=1e-12)
    found = model.evaluate(X, Y, WEIGHTS, metrics=["mae"])
    assert found == pytest.approx(expected.evaluate(X, Y, WEIGHTS, metrics=["mae"]), rel=1e-12)
    assert_allclose(model.predict(X), expected.predict(X), rtol=1e-12)


@slowly
@pytest.mark.parametrize(
    "train",
    [
        lambda models: [fit(model) for model in models],
        lambda models: fastnn.fit_many(models, X, Y, epochs=4, seed=0, optimizer=slow()),
        lambda models: [
            model.partial_fit(X, Y, batch_size=9, optimizer=slow()) for model in models
        ],
        lambda models: [
            model.fit(batches=[(X[:9], Y[:9]), (X[9:], Y[9:], WEIGHTS[9:])], optimizer=slow())
            for model in models
        ],
    ],
    ids=["fit", "fit_many", "partial_fit", "batches"],
)
def test_a_subclass_does_not_train_as_its_parent(train):
    """It did: the program took MeanSquaredError in its place."""

    class Fourth(fastnn.MeanSquaredError):
        def forward(self, y_pred, y_true):
            return fourth(y_pred, y_true)

        def backward(self, y_pred, y_true):
            return slope_of_fourth(y_pred, y_true)

    models = [make(Fourth())]
    history = train(models)[0]
    pair = [make((fourth, slope_of_fourth))]
    assert history.loss == train(pair)[0].loss
    assert np.array_equal(models[0].parameters, pair[0].parameters)
    parent = [make(fastnn.MeanSquaredError())]
    train(parent)
    assert not np.allclose(parent[0].parameters, pair[0].parameters)
    outputs = models[0].predict(X)
    assert_allclose(models[0].evaluate(X, Y)["loss"], fourth(outputs, Y).mean(), rtol=1e-12)


@slowly
@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_follows_the_slope_of_the_loss_that_is_reported(weighted):
    weights = WEIGHTS if weighted else None
    model = make((fourth, slope_of_fourth))
    start = model.parameters.copy()
    model.fit(X, Y, sample_weight=weights, batch_size=N, optimizer=fastnn.SGD(1.0))
    step = start - model.parameters
    for i in range(0, len(start), 5):
        losses = []
        for sign in (1, -1):
            model.parameters = start
            model.parameters[i] += sign * 1e-6
            losses.append(model.evaluate(X, Y, weights)["loss"])
        assert_allclose(step[i], (losses[0] - losses[1]) / 2e-6, rtol=1e-5, atol=1e-6)


LABELS = (X[:, 0] > 0).astype(int)


@slowly
def test_a_subclass_of_a_loss_of_classes():
    class Twice(fastnn.SoftmaxCrossEntropy):
        def backward(self, probabilities, y_true):
            return 2 * super().backward(probabilities, y_true)

    class FromScratch(fastnn.SoftmaxCrossEntropy):
        def forward(self, logits, y_true):
            exps = np.exp(logits - logits.max(axis=1, keepdims=True))
            self.output = exps / exps.sum(axis=1, keepdims=True)
            return -np.log(self.output[np.arange(len(y_true)), y_true])

        def backward(self, probabilities, y_true):
            return 2 * (probabilities - np.eye(2)[y_true]) / len(y_true)

    expected, options = make(None), {"epochs": 3, "seed": 0}
    expected.fit(X, LABELS, optimizer=fastnn.SGD(0.2), **options)
    for loss in (Twice(), FromScratch()):
        model = make(loss)
        history = model.fit(X, LABELS, optimizer=fastnn.SGD(0.1), **options)
        assert_allclose(model.parameters, expected.parameters, rtol=1e-10)
        assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-10)
        found, wanted = (each.evaluate(X, LABELS) for each in (model, expected))
        assert found == pytest.approx(wanted, rel=1e-10)
        assert history.accuracy[-1] <= 1
    weighted = {"sample_weight": WEIGHTS, **options}
    make(FromScratch()).fit(X, LABELS, **weighted)
    with pytest.raises(ValueError, match=r"forward gave shape \(\), expected .* weigh differently"):
        make(Twice()).fit(X, LABELS, **weighted)


@slowly
def test_a_method_that_is_put_on_an_object():
    loss = fastnn.MeanSquaredError()
    loss.forward, loss.backward = fourth, slope_of_fourth
    model, expected = make(loss), make((fourth, slope_of_fourth))
    fit(model), fit(expected)
    assert np.array_equal(model.parameters, expected.parameters)
    tanh = fastnn.Tanh()
    tanh.forward = lambda inputs: 3 * inputs
    tanh.backward = lambda dvalues: 3 * dvalues
    layers = fastnn.Dense(FEATURES, 2, rng=0, dtype="f8"), tanh
    own = fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())
    assert_allclose(own.predict(X), 3 * (X @ own.layers[0].weights), rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (Squares(), "Squares"),
        (SquaresInPlace(), "SquaresInPlace"),
        (PAIR, "the pair of functions"),
    ],
)
def test_one_warning_says_why_training_is_slow(loss, name):
    model = make(loss)
    with pytest.warns(fastnn.SlowTrainingWarning, match=rf"^{name}, a loss of your own, cannot be"):
        fit(model)
    fit(model)


def test_no_warning_of_what_only_adds_to_a_loss():
    class Named(fastnn.MeanSquaredError):
        title = "squares"

        def decide(self, outputs):
            return 2 * super().decide(outputs)

    model, expected = make(Named()), make(fastnn.MeanSquaredError())
    fit(model), fit(expected)
    assert np.array_equal(model.parameters, expected.parameters)
    assert np.array_equal(model.predict(X), 2 * expected.predict(X))
    fit(make(nnfs.Loss_MeanSquaredError()))


@slowly
@pytest.mark.parametrize(
    ("forward", "backward", "error", "words"),
    [
        (lambda p, y: (p - y) ** 2, slope_of_fourth, ValueError, r"forward gave shape \(32, 2\)"),
        (lambda p, y: "no", slope_of_fourth, TypeError, "forward gave has dtype"),
        (lambda p, y: 1j * fourth(p, y), slope_of_fourth, TypeError, "forward gave has dtype"),
        (fourth, lambda p, y: p[:, 0], ValueError, r"backward gave shape \(32,\), expected \(32"),
        (fourth, lambda p, y: None, TypeError, "backward gave has dtype object"),
    ],
)
def test_bad_results_are_named(forward, backward, error, words):
    model = make((forward, backward))
    before = model.parameters.copy()
    with pytest.raises(error, match=words):
        model.fit(X, Y)
    assert np.array_equal(model.parameters, before)


@slowly
def test_a_loss_that_becomes_nan_ends_the_run():
    model = make((lambda p, y: np.full(len(p), np.nan), slope_of_fourth))
    with pytest.raises(fastnn.NonFiniteLossError):
        fit(model)
    assert np.isfinite(model.parameters).all()


@pytest.mark.parametrize("loss", [fastnn.ReLU(), fastnn.SGD(), (fourth,), (1, 2), SquaresInPlace])
def test_what_is_no_loss(loss):
    with pytest.raises(TypeError, match=r"^loss is .* or a pair of such functions$"):
        make(loss)


def test_a_class_with_the_task_of_another():
    """The program would read rows of targets where there are only labels."""

    class Mixed(fastnn.MeanSquaredError):
        task = "classes"

    with pytest.raises(TypeError, match=r"^loss is Mixed\(\) with the task 'classes', expected"):
        make(Mixed())


def test_files_say_that_they_cannot_hold_it(tmp_path):
    with pytest.raises(TypeError, match=r"^loss is Squares\(\), expected one of fastnn's own"):
        make(Squares()).save(tmp_path / "model.safetensors")


@slowly
def test_copies():
    model = make(SquaresInPlace())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.clone()):
        fit(twin)
    assert "OwnLoss(<" in repr(model)


@slowly
def test_an_estimator_with_a_loss_of_ones_own():
    sklearn_base = pytest.importorskip("sklearn.base")
    half = lambda p, y: Squares().forward(p, y) / 2, lambda p, y: Squares().backward(p, y) / 2

    class Half(fastnn.MeanSquaredError):
        def forward(self, y_pred, y_true):
            return super().forward(y_pred, y_true) / 2

        def backward(self, y_pred, y_true):
            return super().backward(y_pred, y_true) / 2

    for solver in ("adam", "sgd"):
        options = {"alpha": 0.5, "solver": solver, "random_state": 0, "n_iter_no_change": 99}
        options |= {"early_stopping": True, "max_iter": 9, "metric": "loss"}
        fitted = []
        for loss in ("squared_error", half, Half()):
            estimator = fastnn.MLPRegressor(loss=loss, hidden_layer_sizes=(8,), **options)
            with pytest.warns(UserWarning, match="Maximum iterations"):
                fitted.append(sklearn_base.clone(estimator).fit(X, Y, WEIGHTS))
        for each in fitted[1:]:
            assert_allclose(each.model_.parameters, fitted[0].model_.parameters, rtol=1e-9)
            assert_allclose(each.loss_curve_, fitted[0].loss_curve_, rtol=1e-9)
            assert_allclose(each.validation_scores_, fitted[0].validation_scores_, rtol=1e-9)
    with pytest.raises(ValueError, match=r"^loss is .* a loss of your own, expected the solver"):
        fastnn.MLPRegressor(loss=Half(), solver="lbfgs").fit(X, Y)


def test_what_a_loss_decides_cannot_leave_python(tmp_path):
    """Jitted code and exports answered as the parent does."""

    class Doubled(fastnn.MeanSquaredError):
        def decide(self, outputs):
            return 2 * super().decide(outputs)

    model = make(Doubled())
    with pytest.raises(ValueError, match=r"^the loss has a `decide` of your own"):
        model.compiled()
    with pytest.raises(TypeError, match=r"^loss is Doubled\(\), expected one without a `decide`"):
        fastnn.export.to_c(model, tmp_path / "model.c")
    assert np.array_equal(
        make((fourth, slope_of_fourth)).compiled().predict(X), make(None).forward(X)
    )
