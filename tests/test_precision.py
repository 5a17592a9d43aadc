"""The precision of matrix products, as users choose it: arguments, settings, files and estimators.

`test_bfloat16.py` has the products themselves.
"""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from child import run_python

import fastnn
from fastnn import columnwise, kernels, nnfs
from fastnn.program.precision import PRECISIONS, resolve_precision
from fastnn.program.threads import with_team
from fastnn.run.data import as_data
from fastnn.scikit.solvers import FullBatch

N, FEATURES, CLASSES = 60, 40, 10
FLOAT32, FLOAT64 = np.dtype("f4"), np.dtype("f8")
REDUCED = ("high", "medium")

THREE = '"highest".* "high" (or|and) "medium"'


@pytest.fixture(autouse=True)
def default_precision():
    yield
    fastnn.set_precision(None)


def make_data(dtype=np.float32, n=N):
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, FEATURES)).astype(dtype), rng.integers(0, CLASSES, n)


def make_model(dtype=np.float32, first=fastnn.Dense, loss=None):
    layers = [first(FEATURES, 32, dtype=dtype, rng=0), fastnn.ReLU()]
    return fastnn.Sequential([*layers, fastnn.Dense(32, CLASSES, dtype=dtype, rng=1)], loss=loss)


def fit(model, X, y, **options):
    options = {"optimizer": fastnn.Adam(), "epochs": 2, "seed": 0, "verbose": 0, **options}
    return model.fit(X, y, **options)


def chosen(dtype=FLOAT32):
    return resolve_precision(None, dtype).precision


# ---------------------------------------------------------------------- which one holds


def test_the_nearest_choice_wins():
    assert chosen() == "highest"
    fastnn.set_precision("high")
    assert chosen() == "high"
    with fastnn.precision("medium"):
        assert chosen() == "medium"
        assert resolve_precision("highest", FLOAT32).precision == "highest"
        with fastnn.precision("highest"):
            assert chosen() == "highest"
        assert chosen() == "medium"
        with fastnn.precision(None):
            assert chosen() == "high"
    assert chosen() == "high"
    fastnn.set_precision(None)
    assert chosen() == "highest"


def test_an_error_in_the_block_ends_its_precision():
    with pytest.raises(ZeroDivisionError), fastnn.precision("medium"):
        1 / 0  # noqa: B018
    assert chosen() == "highest"


def test_a_block_concerns_one_thread_of_python():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with fastnn.precision("medium"):
            entered.set()
            leave.wait(60)
            return chosen()

    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(hold)
        assert entered.wait(60)
        assert chosen() == "highest"
        assert pool.submit(chosen).result() == "highest"
        fastnn.set_precision("high")  # this concerns all threads
        assert pool.submit(chosen).result() == "high"
        leave.set()
        assert held.result() == "medium"


def test_the_environment_is_the_default():
    code = """
import fastnn, numpy as np
from fastnn.program.precision import resolve_precision
names = [resolve_precision(None, np.dtype("f4")).precision]
fastnn.set_precision("high")
names.append(resolve_precision(None, np.dtype("f4")).precision)
fastnn.set_precision(None)
with fastnn.precision("highest"):
    names.append(resolve_precision(None, np.dtype("f4")).precision)
names.append(resolve_precision(None, np.dtype("f4")).precision)
print(*names)
"""
    assert run_python(code, FASTNN_PRECISION="medium") == "medium high highest medium"
    assert run_python(code, FASTNN_PRECISION="") == "highest high highest highest"


CALLS = {
    "fit": lambda model, X, y, **options: fit(model, X, y, **options).curves,
    "fit in batches": lambda model, X, y, **options: (
        model.fit(batches=lambda: [(X[:9], y[:9]), (X[9:30], y[9:30])], verbose=0, **options).curves
    ),
    "partial_fit": lambda model, X, y, **options: model.partial_fit(X, y, **options).curves,
    "predict_proba": lambda model, X, y, **options: model.predict_proba(X, **options).tolist(),
    "predict_proba in parts": lambda model, X, y, **options: model.predict_proba(
        X, batch_size=7, **options
    ).tolist(),
    "evaluate": lambda model, X, y, **options: model.evaluate(X, y, **options),
    "activations": lambda model, X, y, **options: model.activations(X, 1, **options).tolist(),
    "compiled": lambda model, X, y, **options: model.compiled(**options).predict_proba(X).tolist(),
    "fit_many": lambda model, X, y, **options: (
        fastnn.fit_many([model], X, y, epochs=2, seed=0, verbose=0, **options)[0].curves
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_takes_it_and_follows_the_settings(call):
    X, y = make_data()
    results = {}
    for name in PRECISIONS:
        model = make_model()
        results[name] = call(model, X, y, precision=name), model.parameters.tolist()
        others = []
        with fastnn.precision(name):
            model = make_model()
            others.append((call(model, X, y), model.parameters.tolist()))
        fastnn.set_precision(name)
        model = make_model()
        others.append((call(model, X, y), model.parameters.tolist()))
        fastnn.set_precision(None)
        assert others == [results[name]] * 2
    assert call(make_model(), X, y) == results["highest"][0]
    assert results["highest"] != results["high"] != results["medium"] != results["highest"]


def test_labels_are_those_of_the_probabilities():
    """And `predict` takes the argument too, which changes few labels."""
    X, _ = make_data(n=3000)
    model = make_model()
    labels = {name: model.predict(X, precision=name) for name in PRECISIONS}
    for name, each in labels.items():
        assert np.array_equal(each, model.predict_proba(X, precision=name).argmax(axis=1))
    assert 0 < (labels["medium"] != labels["highest"]).sum() < 100


@pytest.mark.parametrize("name", REDUCED)
def test_evaluations_of_a_run_have_its_precision(name):
    X, y = make_data()
    model = make_model()
    history = fit(model, X, y, epochs=1, validation_data=(X, y), precision=name)
    assert history.val_loss == [model.evaluate(X, y, precision=name)["loss"]]
    assert history.val_loss != [model.evaluate(X, y)["loss"]]


@pytest.mark.parametrize("name", REDUCED)
def test_the_number_of_threads_changes_no_bit(name):
    X, y = make_data(n=400)
    one, three = make_model(), make_model()
    histories = [
        fit(model, X, y, batch_size=100, threads=threads, precision=name)
        for model, threads in ((one, 1), (three, 3))
    ]
    assert histories[0].curves == histories[1].curves
    assert one.parameters.tobytes() == three.parameters.tobytes()
    probabilities = one.predict_proba(X, threads=1, precision=name)
    assert three.predict_proba(X, threads=3, precision=name).tobytes() == probabilities.tobytes()


def test_partial_fit_may_change_it_between_two_calls():
    X, y = make_data()
    model, expected = make_model(), make_model()
    for name in ("medium", "highest", "medium"):
        model.partial_fit(X, y, precision=name)
        fit(expected, X, y, epochs=1, batch_size=N, optimizer=fastnn.SGD(), shuffle=False,
            precision=name)  # fmt: skip
    assert model.parameters.tobytes() == expected.parameters.tobytes()


# ---------------------------------------------------------------------- how exact it is


def test_gradients_of_high_have_the_error_of_two_bfloat16_numbers():
    """Of 784-512-512-10 and a batch of 256, against NumPy in float64."""
    rng = np.random.default_rng(0)
    X, y = rng.random((256, 784), np.float32), rng.integers(0, 10, 256)
    sizes, layers = (784, 512, 512, 10), []
    for i in range(3):
        layers += [fastnn.Dense(*sizes[i : i + 2], rng=i), fastnn.ReLU()]
    model = fastnn.Sequential(layers[:-1])
    weights = [each.weights for each in layers[::2]]
    exact = gradient_in_numpy(weights, X, y, lambda a, b: a.astype("f8") @ b.astype("f8"))
    gradients = {name: gradient_of(model, X, y, name) for name in PRECISIONS}
    errors = {name: distance(each, exact) for name, each in gradients.items()}
    split = gradient_in_numpy(weights, X, y, product_of_parts)
    # What two numbers of 8 bits cannot hold: 5e-6 with exact sums, and little less with the product
    # of the two low parts.
    assert 3e-6 < distance(split, exact) < 7e-6
    assert distance(gradients["high"], split) < 2e-6
    assert errors["high"] < 7e-6
    assert 1e-3 < errors["medium"] < 4e-2
    assert errors["highest"] < 1e-6


def gradient_of(model, X, y, precision):
    program = model._program.at(precision)
    data = as_data(program, X, y, None)
    return with_team(1, lambda team: FullBatch(program, data, team).evaluate()[2])


def distance(gradient, expected):
    return np.linalg.norm(gradient - expected) / np.linalg.norm(expected)


def gradient_in_numpy(weights, X, y, product):
    """Return the gradient of the mean cross-entropy of a network with ReLUs; biases are 0."""
    values = [X]
    for i, each in enumerate(weights):
        values.append(product(values[-1], each))
        if i < len(weights) - 1:
            values[-1] = np.maximum(values[-1], 0)
    exponentials = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    doutputs = exponentials / exponentials.sum(axis=1, keepdims=True)
    doutputs[np.arange(len(y)), y] -= 1
    doutputs /= len(y)
    parts = []
    for i in reversed(range(len(weights))):
        parts = [product(values[i].T, doutputs).ravel(), doutputs.sum(axis=0), *parts]
        doutputs = product(doutputs, weights[i].T) * (values[i] > 0)
    return np.concatenate(parts)


def product_of_parts(a, b):
    """Return the sum of three products; each operand is the sum of two bfloat16 numbers."""
    (a_high, a_low), (b_high, b_low) = split_in_two(a), split_in_two(b)
    return a_high @ b_high + (a_high @ b_low + a_low @ b_high)


def split_in_two(values):
    values = values.astype(np.float32)
    high = as_bfloat16(values)
    return high.astype(np.float64), as_bfloat16(values - high).astype(np.float64)


def as_bfloat16(values):
    """Return float32 numbers rounded to nearest even of 8 bits."""
    words = np.ascontiguousarray(values).view(np.uint32)
    words = (words + 0x7FFF + (words >> 16 & 1)) & np.uint32(0xFFFF0000)
    return words.view(np.float32)


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("low", 'is \'low\', expected "highest", "high" or "medium"(\n|$)'),
        ("medum", 'is .medum., expected "highest", "high" or "medium"; did you mean "medium"\\?'),
        (1, 'is 1, expected "highest", "high" or "medium"(\n|$)'),
        (["high"], r"is \['high'\], expected"),
    ],
)
def test_an_unknown_precision_names_the_three(value, words):
    X, y = make_data()
    calls = [lambda call=call: call(make_model(), X, y, precision=value) for call in CALLS.values()]
    for call in (*calls, lambda: make_model().predict(X, precision=value)):
        with pytest.raises(ValueError, match="^precision " + words):
            call()
    for call in (fastnn.set_precision, lambda name: fastnn.precision(name).__enter__()):
        with pytest.raises(ValueError, match="^name " + words):
            call(value)
    assert chosen() == "highest"


class Double:
    """A layer of a user's own."""

    def forward(self, inputs):
        return 2 * inputs

    def backward(self, dvalues):
        return 2 * dvalues


class OwnSGD(fastnn.SGD):
    """An optimizer of a user's own."""

    def update(self, parameters, gradients):
        parameters -= 0.1 * gradients


class OwnLoss:
    """A loss of a user's own."""

    def forward(self, y_pred, y_true):
        return np.mean((y_pred - y_true) ** 2, axis=1)

    def backward(self, y_pred, y_true):
        return 2 * (y_pred - y_true) / y_pred.size


def of_own_layer():
    layers = [fastnn.Dense(FEATURES, 32, rng=0), Double(), fastnn.Dense(32, CLASSES, rng=1)]
    return fastnn.Sequential(layers)


TRAININGS = {"fit", "fit in batches", "partial_fit", "fit_many"}
REFUSED = {
    "float64": (
        lambda: make_model(np.float64),
        {},
        'for a network of float64: "high" and "medium"',
    ),
    "layer": (of_own_layer, {}, "for a model with a layer of your own"),
    "optimizer": (make_model, {"optimizer": OwnSGD()}, "with an optimizer of your own"),
    "loss": (lambda: make_model(loss=OwnLoss()), {}, "with a loss of your own"),
}


@pytest.mark.parametrize(("make", "options", "words"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("call", CALLS)
def test_what_has_highest_only(make, options, words, call):
    """The message names what chose the precision, and nothing in the model changes."""
    if call not in TRAININGS and (options or "loss" in words):
        return  # they predict in any precision
    model = make()
    X, y = make_data()
    if "loss" in words:
        y = np.eye(CLASSES)[y]
    optimizer = options.get("optimizer") or fastnn.SGD()
    if call in TRAININGS:
        options = {"optimizer": [optimizer] if call == "fit_many" else optimizer}
    before, state, own = model.parameters.copy(), vars(optimizer).copy(), vars(model).copy()

    def check(source, **others):
        with pytest.raises(
            ValueError, match=f'^{source} is .medium., expected "highest" .*{words}'
        ):
            CALLS[call](model, X, y, **options, **others)
        assert np.array_equal(model.parameters, before)
        assert vars(optimizer) == state
        assert vars(model) == own

    check("precision", precision="medium")
    with fastnn.precision("medium"):
        check(r"fastnn\.precision\(\)")
    fastnn.set_precision("medium")
    check(r"fastnn\.set_precision\(\)")


@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_they_work_where_highest_is_asked_for():
    X, y = make_data()
    fastnn.set_precision("medium")
    for make, options, words in REFUSED.values():
        targets = np.eye(CLASSES)[y] if "loss" in words else y
        fit(make(), X, targets, precision="highest", **options)


def test_predictions_of_a_loss_of_ones_own():
    X, _ = make_data()
    model, plain = make_model(loss=OwnLoss()), make_model()
    logits = plain.activations(X, -1, precision="medium")
    assert np.array_equal(model.predict(X, precision="medium"), logits)


def test_the_environment_is_named():
    code = """
import fastnn, numpy as np
model = fastnn.Sequential([fastnn.Dense(32, 8, rng=0, dtype={dtype!r})])
try:
    model.predict(np.zeros((1, 32)))
except ValueError as error:
    print(error)
"""
    message = run_python(code.format(dtype="float64"), FASTNN_PRECISION="high")
    words = "FASTNN_PRECISION is 'high', expected \"highest\" for a network of float64"
    assert message == f'{words}: "high" and "medium" need float32'
    message = run_python(code.format(dtype="float32"), FASTNN_PRECISION="hihg")
    words = 'FASTNN_PRECISION is \'hihg\', expected "highest", "high" or "medium"'
    assert message == f'{words}; did you mean "high"?'


# ---------------------------------------------------------------------- checkpoints


class Break(Exception):
    """Ends a run."""


def stop(run):
    if run.epoch == 2:
        raise Break


def start(path, **options):
    """Train two of four epochs."""
    X, y = make_data()
    callbacks = [fastnn.Checkpoint(path), fastnn.LambdaCallback(on_epoch_begin=stop)]
    with pytest.raises(Break):
        fit(make_model(), X, y, epochs=4, callbacks=callbacks, **options)


def resume(path, **options):
    model, (X, y) = make_model(), make_data()
    fit(model, X, y, epochs=4, resume=path, callbacks=[fastnn.Checkpoint(path)], **options)
    return model


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_resumed_run_has_the_precision_of_the_first(name, tmp_path):
    path = tmp_path / "run.safetensors"
    start(path, precision=name)
    for other in {*PRECISIONS} - {name}:
        model, before = make_model(), make_model().parameters
        with pytest.raises(ValueError, match=f"precision is '{other}', expected '{name}', as in"):
            fit(model, *make_data(), epochs=4, resume=path, precision=other,
                callbacks=[fastnn.Checkpoint(path)])  # fmt: skip
        assert np.array_equal(model.parameters, before)
    with fastnn.precision(name):
        resumed = resume(path)
    complete = make_model()
    fit(complete, *make_data(), epochs=4, precision=name)
    assert resumed.parameters.tobytes() == complete.parameters.tobytes()


def test_files_of_the_default_are_those_of_early_versions(tmp_path):
    """Such a file does not name the precision, which is "highest"."""
    paths = [tmp_path / f"{name}.safetensors" for name in PRECISIONS]
    for path, name in zip(paths, PRECISIONS, strict=True):
        start(path, precision=name)
    assert [b"precision" in path.read_bytes() for path in paths] == [False, True, True]
    with pytest.raises(ValueError, match="precision is 'medium', expected 'highest', as in"):
        resume(paths[0], precision="medium")
    resume(paths[0])


# ---------------------------------------------------------------------- other ways to a network


def test_the_classes_of_the_book_stay_highest(monkeypatch):
    """They exist for the same numbers as in a notebook; of float32 as after `nnfs.init()`."""
    draw = np.random.randn
    monkeypatch.setattr(np.random, "randn", lambda *shape: draw(*shape).astype(np.float32))
    X, y = make_data()

    def train():
        np.random.seed(0)  # noqa: NPY002
        model = nnfs.Model()
        for layer in (nnfs.Layer_Dense(FEATURES, 32), nnfs.Activation_ReLU(),
                      nnfs.Layer_Dense(32, CLASSES), nnfs.Activation_Softmax()):  # fmt: skip
            model.add(layer)
        model.set(
            loss=nnfs.Loss_CategoricalCrossentropy(), optimizer=nnfs.Optimizer_Adam(),
            accuracy=nnfs.Accuracy_Categorical(),
        )  # fmt: skip
        model.finalize()
        model.train(X, y, epochs=2, batch_size=20, print_every=100)
        figures = model.evaluate(X, y)
        layer = nnfs.Layer_Dense(FEATURES, 32)
        layer.forward(X)
        assert layer.output.dtype == np.float32
        return model.predict(X).tolist(), figures, layer.output.tolist()

    expected = train()
    for name in REDUCED:
        with fastnn.precision(name):
            assert train() == expected


def test_samples_as_columns_stay_highest():
    X, _ = make_data()
    layer = columnwise.Dense(FEATURES, 32, dtype=np.float32, rng=0)
    expected = layer.forward(X.T)
    with fastnn.precision("medium"):
        assert np.array_equal(layer.forward(X.T), expected)


def test_layers_by_hand_stay_highest():
    X, _ = make_data()
    model = make_model()

    def passes():
        outputs = model.forward(X)
        return outputs.tolist(), model.backward(outputs / 10).tolist(), model.gradients.tolist()

    expected = passes()
    with fastnn.precision("medium"):
        assert passes() == expected


def test_many_models_have_one_precision():
    X, y = make_data()
    models, alone = ([make_model() for _ in range(3)] for _ in range(2))
    fastnn.fit_many(models, X, y, epochs=2, seed=5, verbose=0, precision="medium")
    for i, (model, other) in enumerate(zip(models, alone, strict=True)):
        other.fit(X, y, epochs=2, seed=5 + i, verbose=0, threads=1, precision="medium")
        assert model.parameters.tobytes() == other.parameters.tobytes()
    with pytest.raises(ValueError, match="precision is 'medium', expected \"highest\"") as error:
        fastnn.fit_many([make_model(), make_model(np.float64)], X, y, precision="medium")
    assert error.value.__notes__ == ["of models[1]"]


# ---------------------------------------------------------------------- estimators


def estimator(kind=fastnn.MLPClassifier, **options):
    options = {"hidden_layer_sizes": (32,), "max_iter": 3, "random_state": 0, **options}
    return kind(**options)


every_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


@every_solver
@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_have_a_precision(solver, name):
    X, y = make_data()
    results = {}
    for each in ("highest", name):
        fitted = estimator(solver=solver, precision=each).fit(X, y)
        results[each] = outputs_of(fitted, X)
        with fastnn.precision(each):
            assert outputs_of(estimator(solver=solver).fit(X, y), X) == results[each]
        with fastnn.precision("medium"):  # the parameter comes first
            assert outputs_of(fitted, X) == results[each]
    for one, other in zip(*results.values(), strict=True):
        assert one != other


def outputs_of(fitted, X):
    """Return the parameters, and what depends on products: of two classes and of more."""
    return (
        fitted.model_.parameters.tolist(), fitted.predict_proba(X).tolist(),
        fitted.predict_log_proba(X).tolist(), fitted.transform(X).tolist(), fitted.loss_,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_held_out_samples_of_an_estimator():
    X, y = make_data(n=400)
    for name in PRECISIONS:
        for fitted, of_calls in ((estimator(precision=name, max_iter=1), "medium"),
                                 (estimator(max_iter=1), name)):  # fmt: skip
            with fastnn.precision(of_calls):
                fitted.fit(X, y, validation_data=(X, y))
            losses = [fitted.model_.evaluate(X, y, precision=each)["loss"] for each in PRECISIONS]
            assert fitted.history_.val_loss == [losses[PRECISIONS.index(name)]]
            assert len(set(losses)) == 3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_fit_and_predict_of_a_regressor():
    X, _ = make_data()
    y = X[:, :9].copy()
    parameters = []
    for name in PRECISIONS:
        for fitted, of_calls in ((estimator(fastnn.MLPRegressor, precision=name), "medium"),
                                 (estimator(fastnn.MLPRegressor), name)):  # fmt: skip
            with fastnn.precision(of_calls):
                outputs = fitted.partial_fit(X, y).predict(X)
            results = [fitted.model_.predict(X, precision=each).tolist() for each in PRECISIONS]
            assert outputs.tolist() == results[PRECISIONS.index(name)]
            assert results[0] != results[1] != results[2]
            parameters.append(fitted.model_.parameters.tolist())
    assert parameters[::2] == parameters[1::2]
    assert parameters[0] != parameters[2] != parameters[4]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_parameter_of_an_estimator_is_copied():
    from sklearn.base import clone

    X, y = make_data()
    original = estimator(precision="medium")
    assert original.get_params()["precision"] == "medium"
    assert clone(original).precision == "medium"
    assert "precision='medium'" in repr(original)
    original.fit(X, y)
    for copier in (copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))):
        assert outputs_of(copier(original), X) == outputs_of(original, X)
    original.set_params(precision="highest")
    assert (
        original.predict_proba(X).tolist()
        != copier(original).set_params(precision="medium").predict_proba(X).tolist()
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_pickle_of_an_early_version_has_no_precision():
    X, y = make_data()
    fitted = estimator().fit(X, y)
    expected = fitted.predict_proba(X)
    del fitted.precision
    loaded = pickle.loads(pickle.dumps(fitted))
    assert loaded.get_params()["precision"] is None
    assert np.array_equal(loaded.predict_proba(X), expected)
    loaded.fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bad_precisions_of_an_estimator():
    X, y = make_data()
    fitted = estimator(precision="medium").fit(X, y)
    model, state = fitted.model_, fitted.model_.parameters.copy()

    def check(error, words, each=fitted, X=X, y=y):
        with pytest.raises(error, match=words):
            each.fit(X, y)
        assert fitted.model_ is model
        assert np.array_equal(model.parameters, state)

    check(ValueError, f"precision is 'medium', expected {THREE} need float32", X=X.astype("f8"))
    estimator(precision="medium", dtype="float32").fit(X.astype("f8"), y)
    fitted.set_params(precision=None)
    with fastnn.precision("high"):
        words = r"fastnn.precision\(\) is 'high', expected \"highest\" for a network of float64"
        check(ValueError, words, X=X.astype("f8"))
    fitted.set_params(precision="medum")
    check(ValueError, "The 'precision' parameter of MLPClassifier must be a str among .*'medium'")
    with pytest.raises(ValueError, match=r"precision is 'medum', expected .*did you mean"):
        fitted.predict(X)

    fitted = estimator(warm_start=True).fit(X.astype("f8"), y).set_params(precision="medium")
    model, state = fitted.model_, fitted.model_.parameters.copy()
    check(ValueError, f"precision is 'medium', expected {THREE} need float32", fitted)
    assert (fitted.n_iter_, len(fitted.loss_curve_)) == (3, 3)

    fitted = estimator(fastnn.MLPRegressor).fit(X, X[:, 0])
    model, state = fitted.model_, fitted.model_.parameters.copy()
    fitted.set_params(precision="medium", loss=OwnLoss())
    check(ValueError, "precision is 'medium', expected .* a loss of your own", fitted, y=X[:, 0])


# ---------------------------------------------------------------------- compiling ahead


def test_warmup_for_a_precision():
    for value, words in (("medum", THREE), (1, THREE)):
        with pytest.raises(ValueError, match=words):
            fastnn.warmup(precision=value)
    with pytest.raises(ValueError, match='expected "highest" for a network of float64'):
        fastnn.warmup(np.float64, precision="high")
    with fastnn.precision("high"), pytest.raises(ValueError, match=r"fastnn\.precision\(\) is"):
        fastnn.warmup(np.float64)


def test_nothing_is_left_to_compile_after_warmup():
    fastnn.warmup(precision="high")
    names = [name for name in kernels.__all__ if hasattr(getattr(kernels, name), "signatures")]
    before = {name: len(getattr(kernels, name).signatures) for name in names}
    X, y = make_data()
    for name in REDUCED:
        fit(make_model(), X, y, optimizer=fastnn.SGD(), precision=name, validation_data=(X, y))
        layers = [
            fastnn.Dense(FEATURES, 32), fastnn.LayerNorm(32), fastnn.GELU(), fastnn.Dropout(0.1),
            fastnn.Dense(32, CLASSES),
        ]  # fmt: skip
        for loss in (None, fastnn.MeanSquaredError()):
            model = fastnn.Sequential(copy.deepcopy(layers), loss=loss)
            targets = y if loss is None else np.eye(CLASSES)[y]
            fit(model, X, targets, precision=name, sample_weight=np.ones(N))
            model.predict(X[:1], precision=name)
            model.activations(X, 2, precision=name)
    assert {name: len(getattr(kernels, name).signatures) for name in names} == before
