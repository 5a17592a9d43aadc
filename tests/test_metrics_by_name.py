"""Metrics of probabilities, names of metrics, and scikit-learn's functions and scorers."""

import functools
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics as sk
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

import fastnn
from fastnn import Metric, metrics
from fastnn.metrics.scorers import scorer_names

N = 90
WEIGHTS = np.random.default_rng(5).integers(1, 4, N)


def make(task, n_outputs):
    """Return a model, its inputs and targets: some of the targets are random."""
    rng = np.random.default_rng(n_outputs)
    X = rng.standard_normal((N, 5)).astype(np.float32)
    layer = fastnn.Dense(5, n_outputs, rng=1)
    outputs = X @ layer.weights + rng.standard_normal((N, n_outputs))
    if task == "classes":
        return fastnn.Sequential([layer]), X, outputs.argmax(axis=1)
    if task == "answers":
        loss, y = fastnn.BinaryCrossEntropy(), (outputs > 0).astype(int)
    else:
        loss, y = fastnn.MeanSquaredError(), outputs.astype(np.float32)
    return fastnn.Sequential([layer], loss=loss), X, y[:, 0] if n_outputs == 1 else y


TASKS = [
    ("classes", 2), ("classes", 3), ("answers", 1), ("answers", 2), ("numbers", 1), ("numbers", 2),
]  # fmt: skip
CLASSES = TASKS[:3]


# ------------------------------------------------------------------------- the functions


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_roc_auc_is_that_of_sklearn(ties, weights):
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=N)
    true = (scores + rng.normal(0, 0.4, N) > 0.5).astype(int)
    scores = scores.round(1) if ties else scores
    expected = sk.roc_auc_score(true, scores, sample_weight=weights)
    assert_allclose(metrics.roc_auc(true, scores, weights), expected, rtol=1e-12)
    pairs = np.column_stack([1 - scores, scores])
    assert_allclose(metrics.roc_auc(true, pairs, weights), expected, rtol=1e-12)
    rows = rng.dirichlet(np.ones(3), N).round(1 if ties else 9)
    labels = rng.integers(0, 3, N)
    areas = [sk.roc_auc_score(labels == k, rows[:, k], sample_weight=weights) for k in range(3)]
    assert_allclose(metrics.roc_auc(labels, rows, weights), np.mean(areas), rtol=1e-12)
    assert_allclose(metrics.roc_auc(np.eye(3)[labels], rows, weights), np.mean(areas), rtol=1e-12)


def test_roc_auc_leaves_out_what_has_no_area():
    rows = [[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.6, 0.3, 0.1]]
    assert metrics.roc_auc([0, 1, 0], rows) == 1
    assert math.isnan(metrics.roc_auc([0, 0], [0.1, 0.2]))
    # The weights of a class may all be 0.
    assert math.isnan(metrics.roc_auc([0, 1], [0.1, 0.2], [1, 0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_log_loss_is_that_of_sklearn(dtype, weights):
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(3, 0.3), N).astype(dtype)
    rows[:2] = [[1, 0, 0], [0, 0, 1]]
    labels = np.r_[1, 0, rng.integers(0, 3, N - 2)]
    expected = sk.log_loss(labels, rows, sample_weight=weights)
    assert_allclose(metrics.log_loss(labels, rows, weights), expected, rtol=1e-6)
    assert_allclose(metrics.log_loss(np.eye(3)[labels], rows, weights), expected, rtol=1e-6)
    expected = sk.log_loss(labels > 0, rows[:, 1], sample_weight=weights)
    assert_allclose(metrics.log_loss(labels > 0, rows[:, 1], weights), expected, rtol=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_other_new_functions_are_those_of_sklearn(weights):
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (2, N))
    expected = sk.balanced_accuracy_score(true, predicted, sample_weight=weights)
    assert_allclose(metrics.balanced_accuracy(true, predicted, weights), expected, rtol=1e-12)
    true, predicted = rng.normal(size=(2, N, 2))
    expected = sk.root_mean_squared_error(true, predicted, sample_weight=weights)
    assert_allclose(metrics.root_mean_squared_error(true, predicted, weights), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.roc_auc([0, 2], [0.1, 0.2]), ValueError, "y_true has 2, expected labels"),
        (lambda: metrics.roc_auc([0, 1], [0.1, np.nan]), ValueError, "y_score has NaN, expected"),
        (lambda: metrics.roc_auc([0, 1], [0.1]), ValueError, "y_score has 1 samples, y_true 2"),
        (lambda: metrics.roc_auc(["a"], [0.1]), ValueError, "y_true has 'a', expected labels from"),
        (lambda: metrics.roc_auc([[0, 1]], [[0, 1, 2]]), ValueError, r"y_score has shape \(1, 3\)"),
        (lambda: metrics.roc_auc([], []), ValueError, r"y_score has shape \(0,\), expected"),
        (lambda: metrics.roc_auc(1, [1]), ValueError, r"y_true has shape \(\), expected"),
        (lambda: metrics.log_loss([0, 1], [0.1, 1.5]), ValueError, "y_proba has 1.5, expected"),
        (lambda: metrics.log_loss([0, 0.5], [0.1, 0.5]), ValueError, "y_true has 0.5, expected"),
        (lambda: metrics.log_loss([0], [0.1], [-1]), ValueError, r"sample_weight\[0\] is -1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


# ------------------------------------------------------------------------- in a model


def expected_values(model, X, y, n_classes, weights):
    """Return what scikit-learn gives for the probabilities of a classifier."""
    rows, guess = model.predict_proba(X), model.predict(X)
    score = rows[:, -1] if n_classes == 2 else rows
    rows = rows if rows.shape[1] > 1 else rows[:, 0]
    return {
        "roc_auc": sk.roc_auc_score(y, score, multi_class="ovr", sample_weight=weights),
        "log_loss": sk.log_loss(y, rows, sample_weight=weights),
        "balanced_accuracy": sk.balanced_accuracy_score(y, guess, sample_weight=weights),
        "average_precision": sk.average_precision_score(y, score, sample_weight=weights),
        "matthews_corrcoef": sk.matthews_corrcoef(y, guess, sample_weight=weights),
        "neg_log_loss": -sk.log_loss(y, rows, sample_weight=weights),
        "roc_auc_score": sk.roc_auc_score(y, score, multi_class="ovr", sample_weight=weights),
    }


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("task", "n_outputs"), CLASSES)
def test_classes_by_name_and_by_function(task, n_outputs, weights):
    model, X, y = make(task, n_outputs)
    expected = expected_values(model, X, y, max(2, n_outputs), weights)
    asked = [*list(expected)[:-1], sk.roc_auc_score]
    found = model.evaluate(X, y, weights, asked)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    labels = model.evaluate(X, y, weights, [Metric(sk.roc_auc_score, "of rows")])["of rows"]
    assert labels == pytest.approx(expected["roc_auc"], rel=1e-6)
    scorer = sk.make_scorer(sk.log_loss, response_method="predict_proba", greater_is_better=False)
    partial = functools.partial(sk.fbeta_score, beta=2, average="macro")
    found = model.evaluate(X, y, weights, [scorer, partial])
    assert found["neg_log_loss"] == pytest.approx(-expected["log_loss"], rel=1e-5)
    fbeta = sk.fbeta_score(y, model.predict(X), beta=2, average="macro", sample_weight=weights)
    assert found["fbeta_score"] == pytest.approx(fbeta, rel=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        sk.log_loss, sk.roc_auc_score, sk.average_precision_score, sk.d2_log_loss_score,
        sk.brier_score_loss, sk.top_k_accuracy_score,
    ],
    ids=lambda function: function.__name__,
)  # fmt: skip
@pytest.mark.parametrize(("task", "n_outputs"), CLASSES)
def test_functions_of_sklearn_that_want_probabilities_get_them(task, n_outputs, function):
    model, X, y = make(task, n_outputs)
    rows = model.predict_proba(X)
    options = {"multi_class": "ovr"} if function is sk.roc_auc_score else {}
    score = rows[:, -1] if n_outputs <= 2 else rows
    if function is sk.top_k_accuracy_score:
        function = functools.partial(function, k=1)
    expected = function(y, score, **options)
    assert model.evaluate(X, y, metrics=[Metric(function, "it")])["it"] == pytest.approx(expected)


def test_a_class_that_no_held_out_sample_has():
    model, X, y = make("classes", 3)
    here = y != 2
    asked = ["roc_auc", "log_loss", "balanced_accuracy", sk.log_loss]
    found = model.evaluate(X[here], y[here], metrics=[*asked[:3], Metric(sk.log_loss, "other")])
    assert found["other"] == pytest.approx(found["log_loss"], rel=1e-6)
    assert all(math.isfinite(value) for value in found.values())


class Known(BaseEstimator):
    """An estimator of scikit-learn's that predicts as a model does."""

    def __init__(self, model=None):
        self.model = model

    def predict(self, X):
        return self.model.predict(X)


class KnownClassifier(ClassifierMixin, Known):
    @property
    def classes_(self):
        n_outputs = self.model.layers[-1].n_neurons
        if self.model.loss.task == "answers" and n_outputs > 1:
            return [np.arange(2)] * n_outputs
        return np.arange(max(2, n_outputs))

    def predict_proba(self, X):
        rows = self.model.predict_proba(X)
        return rows if rows.shape[1] > 1 else np.hstack([1 - rows, rows])


class KnownRegressor(RegressorMixin, Known):
    pass


OF_FASTNN = {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "r2"}


# Of the top 2 of two classes; of probabilities of two answers, which do not sum to one.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("task", "n_outputs"), TASKS)
def test_every_name_of_a_scorer_gives_what_the_scorer_gives(task, n_outputs):
    model, X, y = make(task, n_outputs)
    estimator = (KnownRegressor if task == "numbers" else KnownClassifier)(model)
    n_equal = 0
    for name in set(scorer_names(task)) - OF_FASTNN:
        try:
            expected = sk.get_scorer(name)(estimator, X, y)
        except ValueError as error:  # some are for two classes, for counts, or for one output
            message = f"metric {name} raised ValueError: {error}"
            with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
                model.evaluate(X, y, metrics=[name])
            continue
        found = model.evaluate(X, y, metrics=[name])[name]
        assert found == pytest.approx(expected, rel=1e-5)
        n_equal += 1
    assert n_equal >= 7


def test_names_of_regression():
    model, X, y = make("numbers", 1)
    guess = model.predict(X)
    asked = ["mse", "mean_squared_error", "mae", "mean_absolute_error", "rmse", "r2",
             "root_mean_squared_error", "neg_mean_absolute_error", "neg_max_error"]  # fmt: skip
    found = model.evaluate(X, y, metrics=asked)
    assert list(found) == ["loss", *asked]
    assert found["mse"] == found["mean_squared_error"]
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, guess), rel=1e-6)
    assert found["neg_mean_absolute_error"] == pytest.approx(-found["mae"], rel=1e-6)
    assert found["neg_max_error"] == pytest.approx(-np.abs(guess - y).max(), rel=1e-6)


def test_a_function_of_y_score_gets_probabilities_and_one_of_y_proba_all_of_them():
    model, X, y = make("classes", 2)
    seen = {}

    def first(y_true, y_score):
        seen["score"] = y_score
        return 0.0

    def second(y_true, y_proba):
        seen["proba"] = y_proba
        return 0.0

    model.evaluate(X, y, metrics=[first, second])
    assert np.array_equal(seen["score"], model.predict_proba(X)[:, 1])
    assert np.array_equal(seen["proba"], model.predict_proba(X))


def test_curves_of_names_and_early_stopping_knows_which_way_is_better():
    model, X, y = make("classes", 2)
    for monitor, sign in (("val_roc_auc", -1), ("val_log_loss", 1), ("val_average_precision", -1),
                          ("val_roc_auc_score", -1), ("val_brier_score_loss", 1)):  # fmt: skip
        stopping = fastnn.EarlyStopping(monitor, patience=50)
        asked = ["roc_auc", "log_loss", "average_precision", sk.roc_auc_score, sk.brier_score_loss]
        history = model.fit(
            X, y, epochs=3, seed=0, validation_data=(X, y), metrics=asked, callbacks=[stopping]
        )
        assert stopping._sign == sign
    last = model.evaluate(X, y, metrics=["roc_auc"])["roc_auc"]
    assert history.val_roc_auc[-1] == pytest.approx(last) or len(history) == 3


@pytest.mark.parametrize(
    ("task", "n_outputs", "value", "message"),
    [
        ("classes", 2, "AUC", "'AUC', expected one of accuracy, .*; did you mean 'roc_auc'"),
        ("classes", 2, "roc_auc_score", "'roc_auc_score', .*; did you mean 'roc_auc'"),
        ("classes", 3, "matthews_corcoef", ".*; did you mean 'matthews_corrcoef'"),
        ("classes", 2, "neg_mean_squared_error", "'neg_mean_squared_error', expected one of acc"),
        ("classes", 2, "rand_score", "'rand_score', expected one of accuracy"),
        ("numbers", 1, "roc_auc", "'roc_auc', expected one of mse, mae, "),
        ("numbers", 1, "RMSE", "'RMSE', .*; did you mean 'rmse'"),
        ("answers", 2, "log_loss", "'log_loss', expected one of accuracy, precision"),
        ("classes", 2, sk.hinge_loss, "hinge_loss, which takes distances .*, expected"),
    ],
)
def test_bad_names(task, n_outputs, value, message):
    model, X, y = make(task, n_outputs)
    with pytest.raises(ValueError, match=rf"^metrics\[0\] is {message}"):
        model.evaluate(X, y, metrics=[value])


def test_a_regression_has_no_probabilities():
    model, X, y = make("numbers", 1)
    with pytest.raises(ValueError, match=r"^metrics\[0\] wants probabilities, expected"):
        model.evaluate(X, y, metrics=[sk.roc_auc_score])


def test_names_do_not_load_sklearn_and_need_it_only_for_its_own():
    code = """
import sys
import numpy as np, fastnn
model = fastnn.Sequential([fastnn.Dense(1, 2, rng=0)])
found = model.evaluate([[1.0], [2.0]], [0, 1], metrics=["roc_auc", "log_loss", max])
print(sorted(found), "sklearn" in sys.modules)
sys.modules["sklearn"] = sys.modules["sklearn.metrics"] = None
try:
    model.evaluate([[1.0]], [0], metrics=["average_precision"])
except ValueError as error:
    print(error)
"""
    code = code.replace(", max]", "]")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "['accuracy', 'log_loss', 'loss', 'roc_auc'] False"
    assert lines[1].startswith("metrics[0] is 'average_precision', expected one of accuracy, bal")
    assert "or the name of a scorer of scikit-learn, which is not installed" in lines[1]
