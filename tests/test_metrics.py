"""Metrics by hand-made figures, and what `fit` and `evaluate` do with them."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import mean_poisson_deviance
from test_trainer import N, fit, make_data, make_model

import fastnn
from fastnn import Metric, kernels, metrics

TRUE = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
GUESS = np.array([0, 0, 1, 1, 2, 2, 2, 0, 2, 2])
WEIGHTS = np.array([1, 2, 1, 0, 3, 1, 1, 2, 1, 1.0])

# Counted by hand: of the classes 0 to 3, 2 of 3, 1 of 2, 3 of 5 and 0 of 0 predictions are right,
# and 2 of 3, 1 of 2, 3 of 4 and 0 of 1 true ones are found.
PRECISION, RECALL = [2 / 3, 1 / 2, 3 / 5, 0], [2 / 3, 1 / 2, 3 / 4, 0]
F1 = [2 / 3, 1 / 2, 6 / 9, 0]
HELD = [3, 2, 4, 1]
every_path = pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])


@pytest.mark.parametrize(
    ("function", "scores"),
    [(metrics.precision, PRECISION), (metrics.recall, RECALL), (metrics.f1, F1)],
)
def test_averages_over_classes(function, scores):
    assert_allclose(function(TRUE, GUESS, average=None), scores, rtol=1e-15)
    assert_allclose(function(TRUE, GUESS), np.mean(scores), rtol=1e-15)
    weighted = np.average(scores, weights=HELD)
    assert_allclose(function(TRUE, GUESS, average="weighted"), weighted, rtol=1e-15)
    assert_allclose(function(TRUE, GUESS, average="micro"), 6 / 10, rtol=1e-15)
    names = np.array(["ant", "bee", "cat", "dog"])
    assert function(names[TRUE], names[GUESS]) == function(TRUE, GUESS)


def test_class_one_of_two():
    true, guess = [1, 1, 1, 0, 0], [1, 0, 0, 1, 0]
    assert metrics.precision(true, guess, average="binary") == 1 / 2
    assert metrics.recall(true, guess, average="binary") == 1 / 3
    assert metrics.f1(true, guess, average="binary") == 2 / 5
    assert metrics.recall([0, 0], [0, 0], average="binary") == 0
    with pytest.raises(ValueError, match=r"y_true has labels \[0 1 2\], expected 0 and 1"):
        metrics.f1([0, 1, 2], [0, 1, 1], average="binary")


def test_answers_to_several_questions():
    true, guess = [[1, 0], [1, 1], [0, 1]], [[1, 1], [0, 1], [0, 0]]
    assert metrics.precision(true, guess, average=None).tolist() == [1, 1 / 2]
    assert metrics.recall(true, guess, average=None).tolist() == [1 / 2, 1 / 2]
    assert_allclose(metrics.f1(true, guess), (2 / 3 + 1 / 2) / 2, rtol=1e-15)


def test_weights_count_as_repetitions():
    repeated = np.repeat(np.arange(len(TRUE)), WEIGHTS.astype(int))
    scores = np.random.default_rng(0).permuted(np.tile(np.arange(4.0), (10, 1)), axis=1)
    for function, guess in (
        (metrics.accuracy, GUESS),
        (metrics.precision, GUESS),
        (metrics.recall, GUESS),
        (metrics.f1, GUESS),
        (functools.partial(metrics.f1, average="weighted"), GUESS),
        (functools.partial(metrics.top_k_accuracy, k=2), scores),
        (metrics.mean_squared_error, GUESS),
        (metrics.mean_absolute_error, GUESS),
        (metrics.r2, GUESS),
        (metrics.poisson_deviance, GUESS + 0.5),
    ):
        weighted = function(TRUE, guess, sample_weight=WEIGHTS)
        assert weighted == pytest.approx(function(TRUE[repeated], guess[repeated]), rel=1e-12)
        assert weighted != function(TRUE, guess)


def test_top_k_accuracy():
    scores = [[0.5, 0.2, 0.3], [0.1, 0.4, 0.5], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6]]
    found = [metrics.top_k_accuracy([0, 0, 1, 1], scores, k=k) for k in (1, 2, 3, 9)]
    assert found == [1 / 4, 2 / 4, 1, 1]
    assert metrics.top_k_accuracy(np.eye(3)[[0, 0, 1, 1]], scores, k=2) == 2 / 4


def test_metrics_of_numbers():
    true, guess = [1.0, 2.0, 4.0, 5.0], [1.0, 3.0, 4.0, 3.0]
    assert metrics.mean_squared_error(true, guess) == 5 / 4
    assert metrics.mean_absolute_error(true, guess) == 3 / 4
    assert metrics.r2(true, guess) == 1 - 5 / 10
    assert metrics.r2(true, [3] * 4) == 0
    # Two outputs: the mean over both.
    pair, guesses = np.column_stack([true, true]), np.column_stack([guess, true])
    assert metrics.mean_squared_error(pair, guesses) == 5 / 8
    assert metrics.mean_absolute_error(pair, guesses) == 3 / 8
    assert metrics.r2(pair, guesses) == 0.75
    # Constant targets have no spread to explain.
    assert (metrics.r2([2, 2], [2, 2]), metrics.r2([2, 2], [2, 3])) == (1, 0)


def test_the_deviance_of_rates():
    # By hand: 2 (2 log(2 / 1) - 2 + 1), and twice the rate where nothing was counted.
    assert metrics.poisson_deviance([2.0], [1.0]) == pytest.approx(4 * np.log(2) - 2, rel=1e-15)
    assert metrics.poisson_deviance([0.0, 3.0], [1.5, 3.0]) == 1.5
    assert metrics.poisson_deviance([0.0], [0.0]) == 0
    assert metrics.poisson_deviance([1.0], [0.0]) == np.inf
    rng = np.random.default_rng(0)
    counts, rates = rng.poisson(3, (50, 2)), rng.uniform(0.1, 9, (50, 2))
    expected = [mean_poisson_deviance(counts[:, k], rates[:, k]) for k in (0, 1)]
    assert metrics.poisson_deviance(counts, rates) == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.f1([], []), ValueError, r"y_true has shape \(0,\), expected"),
        (lambda: metrics.f1([1], [1, 2]), ValueError, "y_pred has 2 samples, y_true 1"),
        (lambda: metrics.f1([1], [1], average="mean"), ValueError, "average is 'mean', expected"),
        (lambda: metrics.f1([1], [1], sample_weight=[-1]), ValueError, r"sample_weight\[0\] is -1"),
        (lambda: metrics.accuracy([1], [1], [1, 2]), ValueError, r"sample_weight has shape \(2,\)"),
        (lambda: metrics.top_k_accuracy([1], [1]), ValueError, r"y_pred has shape \(1,\), expect"),
        (lambda: metrics.top_k_accuracy([1], [[1, 2]], 0), ValueError, "k is 0, expected"),
        (lambda: metrics.r2(["a"], ["b"]), TypeError, "y_true has dtype <U1, expected real"),
        (lambda: metrics.r2([[1, 2]], [[1]]), ValueError, r"y_pred has shape \(1, 1\), expected"),
        (
            lambda: metrics.poisson_deviance([1, -2], [1, 2]),
            ValueError,
            "y_true has -2.0, exp",
        ),
        (
            lambda: metrics.poisson_deviance([1, 2], [1, -2]),
            ValueError,
            "y_pred has -2.0, exp",
        ),
        (lambda: metrics.r2(1, 1), ValueError, r"y_true has shape \(\), expected"),
        (lambda: Metric("f1"), TypeError, "function is 'f1', expected"),
        (lambda: Metric(len, name=""), TypeError, "name is '', expected"),
        (lambda: Metric(len, probabilities=1), TypeError, "probabilities is 1, expected"),
        (lambda: Metric(len, higher_is_better=1), TypeError, "higher_is_better is 1, expected"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


# ----------------------------------------------------------------------- in fit and evaluate


def make(own, *arguments, **options):
    model = make_model(*arguments, **options)
    if own:
        model._program.steps = None
    return model


ASKED = {
    "labels": ["precision", "recall", "f1", "top_2"],
    "answers": ["precision", "recall", "f1"],
    "squared": ["mse", "mae", "r2"],
    "counts": ["poisson_deviance", "mse"],
}


@every_path
@pytest.mark.parametrize("loss", ASKED)
def test_curves_are_those_of_the_model_after_each_epoch(loss, own):
    X, y = make_data(loss)
    held_out = X[:40], y[:40]
    expected = {name: [] for asked in ASKED[loss] for name in (asked, "val_" + asked)}

    def score(run):
        for name, function in (
            ("precision", metrics.precision), ("recall", metrics.recall), ("f1", metrics.f1),
            ("mse", metrics.mean_squared_error), ("mae", metrics.mean_absolute_error),
            ("r2", metrics.r2), ("poisson_deviance", metrics.poisson_deviance),
            ("top_2", functools.partial(metrics.top_k_accuracy, k=2)),
        ):  # fmt: skip
            if name in expected:
                guess = run.model.predict_proba if name == "top_2" else run.model.predict
                expected[name].append(function(y, guess(X)))
                expected["val_" + name].append(function(held_out[1], guess(held_out[0])))

    history = fit(
        make(own, loss=loss), X, y, validation_data=held_out, metrics=ASKED[loss],
        callbacks=[fastnn.LambdaCallback(on_epoch_end=score)],
    )  # fmt: skip
    assert {name: history.curves[name] for name in expected} == expected
    assert len(history.curves[ASKED[loss][0]]) == 3


def test_metrics_cost_no_bits():
    X, y = make_data("labels")
    plain, measured = make_model(), make_model()
    history = fit(plain, X, y)
    assert fit(measured, X, y, metrics=["f1", "accuracy"]).accuracy == history.accuracy
    assert np.array_equal(plain.parameters, measured.parameters)


def test_two_classes_and_one_answer_are_about_class_one():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 5)), rng.integers(0, 2, 60)
    two = fastnn.Sequential([fastnn.Dense(5, 2, rng=0)])
    one = fastnn.Sequential([fastnn.Dense(5, 1, rng=0)], loss=fastnn.BinaryCrossEntropy())
    for model in (two, one):
        found = model.evaluate(X, y, metrics=["f1", "recall"])
        guess = model.predict(X)
        assert found["f1"] == metrics.f1(y, guess, average="binary")
        assert found["recall"] == metrics.recall(y, guess, average="binary")
        assert list(found) == ["loss", "accuracy", "f1", "recall"]


@every_path
def test_a_function_of_ones_own_sees_what_predict_gives(own):
    X, y = make_data("labels")
    model, seen = make(own), []

    def mine(y_true, y_pred):
        seen.append((y_true, y_pred))
        return np.float32(0.25)

    found = model.evaluate(X, np.eye(3)[y], metrics=[mine, Metric(mine, "again", True)])
    assert found["mine"] == found["again"] == 0.25
    for true, _ in seen:
        assert np.array_equal(true, y)
    assert np.array_equal(seen[0][1], model.predict(X))
    assert np.array_equal(seen[1][1], model.predict_proba(X))


@every_path
@pytest.mark.parametrize("loss", ["labels", "answers", "squared"])
def test_weights_of_evaluate_and_of_validation(loss, own):
    """Whole weights are repetitions; the functions that know no weights do not get any."""
    X, y = make_data(loss)
    weights = np.arange(N) % 3
    repeated = np.repeat(np.arange(N), weights)
    model = make(own, loss=loss)

    def count(y_true, y_pred):
        return len(y_true)

    asked = [*ASKED[loss], count]
    found = model.evaluate(X, y, sample_weight=weights, metrics=asked)
    expected = model.evaluate(X[repeated], y[repeated], metrics=asked)
    assert (found.pop("count"), expected.pop("count")) == (N, len(repeated))
    assert found == pytest.approx(expected, rel=1e-12)
    assert found != pytest.approx(model.evaluate(X, y, metrics=ASKED[loss]), rel=1e-12)
    history = fit(model, X, y, epochs=1, validation_data=(X, y, weights), metrics=asked)
    after = model.evaluate(X, y, weights, asked)
    assert {f"val_{name}": value for name, value in after.items()} == {
        name: value for name, value in history.latest().items() if name.startswith("val_")
    }


def unhappy(y_true, y_pred):
    raise ZeroDivisionError("no such class")


BAD = [
    ("f1", TypeError, "metrics is 'f1', expected a list of names or functions"),
    (["acuracy"], ValueError, r"metrics\[0\] is 'acuracy', expected .*; did you mean 'accuracy'"),
    (["f1", "mse"], ValueError, r"metrics\[1\] is 'mse', expected one of accuracy"),
    (["top_0"], ValueError, r"metrics\[0\] is 'top_0', expected"),
    ([3], TypeError, r"metrics\[0\] is 3, expected a name or a function"),
    ([Metric], TypeError, r"metrics\[0\] is <class"),
    (["f1", metrics.f1], ValueError, r"metrics\[1\] is 'f1' again, expected different names"),
    ([Metric(len, "loss")], ValueError, r"metrics\[0\] is 'loss' again, expected different names"),
    ([unhappy], ValueError, "metric unhappy raised ZeroDivisionError: no such class; expected"),
    ([lambda a, b: "good"], ValueError, "metric <lambda> gave 'good', expected a number"),
    ([lambda a, b: True], ValueError, "metric <lambda> gave True, expected a number"),
    ([lambda a, b: a], ValueError, "metric <lambda> gave array"),
    ([lambda a: 1.0], ValueError, "metric <lambda> raised TypeError"),
]


@every_path
@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize(("value", "error", "message"), BAD)
def test_bad_metrics_are_refused_before_training(value, error, message, validation, own):
    X, y = make_data("labels")
    model = make(own)
    before, begun = model.parameters.copy(), []
    callbacks = [fastnn.LambdaCallback(on_fit_begin=begun.append)]
    with pytest.raises(error, match=f"^{message}"):
        fit(
            model, X, y, metrics=value, callbacks=callbacks,
            validation_data=(X, y) if validation else None,
        )  # fmt: skip
    with pytest.raises(error, match=f"^{message}"):
        model.evaluate(X, y, metrics=value)
    assert not begun
    assert np.array_equal(model.parameters, before)
    assert kernels.all_finite(model.parameters)


def test_metrics_of_numbers_are_not_for_classes_nor_the_other_way_round():
    X, y = make_data("squared")
    model = make_model(loss="squared")
    with pytest.raises(ValueError, match=r"^metrics\[0\] is 'f1', expected one of mse, mae, poiss"):
        model.evaluate(X, y, metrics=["f1"])
    with pytest.raises(ValueError, match=r"^metrics\[0\] wants probabilities, expected .* numbers"):
        model.evaluate(X, y, metrics=[Metric(metrics.r2, probabilities=True)])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"sample_weight has shape \(1,\), expected"),
        (np.zeros(N), "sample_weight sums to 0"),
        (np.full(N, -1.0), r"sample_weight\[0\] is -1.0"),
        (np.full(N, np.nan), r"sample_weight\[0\] is nan"),
    ],
)
def test_bad_weights(weights, message):
    X, y = make_data("labels")
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=f"^{message}"):
        model.evaluate(X, y, sample_weight=weights)
    message = message.replace("sample_weight", r"validation_data\[2\]")
    with pytest.raises(ValueError, match=f"^{message}"):
        fit(model, X, y, validation_data=(X, y, weights))
    assert np.array_equal(model.parameters, before)
