"""`MLPClassifier` and `MLPRegressor` beside scikit-learn's, and what scikit-learn's tests expect.

The tests of behavior are those of `sklearn/neural_network/tests/test_mlp.py`, told again: the
same data, the same expectations.
"""

import functools
import re
import warnings

import joblib
import numpy as np
import pandas
import pytest
import sklearn
from child import run_python
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import (
    load_digits,
    load_iris,
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import minmax_scale, scale
from sklearn.utils import estimator_checks

import fastnn
from fastnn import MLPClassifier, MLPRegressor

# Most runs here are short on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

both = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
every_activation = pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])

X_DIGITS, Y_DIGITS = load_digits(n_class=2, return_X_y=True)
X_IRIS, Y_IRIS = load_iris(return_X_y=True)


def first_digits(n_classes):
    X, y = load_digits(n_class=n_classes, return_X_y=True)
    return minmax_scale(X[:200]), y[:200]


DIGITS = {"three classes": first_digits(3), "two classes": first_digits(2)}
X_BINARY, Y_BINARY = DIGITS["two classes"]
every_digits = pytest.mark.parametrize("digits", DIGITS)

X_REG, Y_REG = make_regression(n_samples=200, n_features=10, bias=20.0, noise=100.0, random_state=7)
Y_REG = scale(Y_REG)


# ------------------------------------------------------------------ the module


def test_importing_fastnn_leaves_scikit_learn_alone():
    code = "import sys, fastnn; print('MLPClassifier' in dir(fastnn), 'sklearn' in sys.modules)"
    assert run_python(code) == "True False"


def test_what_to_install_is_said():
    code = (
        "import sys; sys.modules['sklearn'] = None\nimport fastnn\n"
        "try: fastnn.MLPRegressor\nexcept ImportError as error: print(error)"
    )
    expected = 'MLPClassifier and MLPRegressor need scikit-learn: pip install "scikit-learn>=1.6"'
    assert run_python(code) == expected


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'MLPTransformer'"):
        fastnn.MLPTransformer  # noqa: B018


# ------------------------------------------------------------------ beside scikit-learn's class

CASES = {
    "Adam": {},
    "Adam, short last batch": {"batch_size": 33, "activation": "identity"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.05},
    "logistic, strong penalty": {"activation": "logistic", "alpha": 10.0},
    "two layers, no shuffle": {
        "activation": "tanh", "hidden_layer_sizes": (9, 4), "shuffle": False,
    },
    "no hidden layer": {"hidden_layer_sizes": ()},
    "Nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    "plain": {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0, "alpha": 0},
    "inverse scaling": {
        "solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "power_t": 0.3,
    },
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1,
        "max_iter": 40,
    },
}  # fmt: skip
TARGETS = {
    "classes": lambda y: y,
    "strings": lambda y: np.array(["zero", "one", "two", "three", "4"])[y % 5],
    "binary": lambda y: y % 2,
    "labels": lambda y: np.column_stack([y % 2, y % 3 == 0, y > 4]).astype(int),
}


def both_fitted(name, *data, **options):
    """Return our estimator and scikit-learn's, fitted alike."""
    options = {"random_state": 3, "max_iter": 6, "hidden_layer_sizes": 12, **options}
    ours, theirs = getattr(fastnn, name)(**options), getattr(neural_network, name)(**options)
    return ours.fit(*data), theirs.fit(*data)


def assert_same(ours, theirs, rtol=1e-9):
    for name in ("coefs_", "intercepts_"):
        for array, expected in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert array.dtype == expected.dtype
            assert_allclose(array, expected, rtol=rtol, atol=rtol)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ("loss_", "best_loss_", "best_validation_score_"):
        expected = getattr(theirs, name)
        assert getattr(ours, name) == (None if expected is None else pytest.approx(expected, rtol))
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    if theirs.validation_scores_ is None:
        assert ours.validation_scores_ is None
    else:
        assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=rtol)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", TARGETS)
def test_the_classifier_follows_scikit_learn(case, kind):
    X, y = load_digits(return_X_y=True)
    X, y = X[:210] / 16, TARGETS[kind](y[:210])
    ours, theirs = both_fitted("MLPClassifier", X, y, **CASES[case])
    assert_same(ours, theirs)
    assert_array_equal(ours.classes_, theirs.classes_)
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.predict(X).dtype == theirs.predict(X).dtype
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-7)
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-6, atol=1e-9)
    assert ours.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_regressor_follows_scikit_learn(case, outputs):
    X, y = make_regression(n_samples=210, n_targets=outputs, n_features=6, random_state=0)
    ours, theirs = both_fitted("MLPRegressor", X, y / 100, **CASES[case])
    assert_same(ours, theirs)
    assert ours.predict(X).shape == theirs.predict(X).shape
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7, atol=1e-9)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_regressor_of_counts_follows_scikit_learn(case, outputs):
    X = np.random.default_rng(0).standard_normal((210, 6))
    y = np.random.default_rng(1).poisson(np.exp(1 + X[:, :outputs] / 2)).squeeze()
    options = {"loss": "poisson", **CASES[case]}
    if case in ("plain", "inverse scaling"):
        options["learning_rate_init"] /= 10  # else the rates overflow
    for weights in (None, np.arange(210.0) % 3):
        if weights is not None:  # in one batch, where both mean the same by the loss of an epoch
            options["batch_size"] = 189 if "early" in case else 210
        ours, theirs = both_fitted("MLPRegressor", X, y, weights, **options)
        assert_same(ours, theirs)
        assert ours.out_activation_ == "exp"
        assert ours.predict(X).shape == theirs.predict(X).shape
        assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7)
        assert ours.score(X, y) == pytest.approx(theirs.score(X, y))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_float32_follows_too(solver):
    X = X_BINARY.astype(np.float32)
    ours, theirs = both_fitted("MLPClassifier", X, Y_BINARY, solver=solver)
    assert ours.coefs_[0].dtype == np.float32
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_lbfgs_follows_scikit_learn(kind, weighted):
    X, y = load_digits(return_X_y=True)
    X, y = X[:210] / 16, TARGETS[kind](y[:210])
    weights = [np.random.default_rng(0).integers(0, 3, 210) * 0.7] if weighted else []
    ours, theirs = both_fitted(
        "MLPClassifier", X, y, *weights, solver="lbfgs", alpha=1.0, random_state=0
    )  # fmt: skip
    # (From seed 3 a step goes so far that scikit-learn clips its loss; ours is exact.)
    assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-6, atol=1e-8)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-9)
    assert ours.n_iter_ == theirs.n_iter_ == 6
    assert not hasattr(ours, "loss_curve_")


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sample_weights_follow_scikit_learn(solver, early_stopping):
    weights = np.random.default_rng(0).integers(0, 4, 200) * 0.7
    for name, X, y in (("MLPClassifier", X_BINARY, Y_BINARY), ("MLPRegressor", X_REG, Y_REG)):
        ours, theirs = both_fitted(
            name, X, y, weights, solver=solver, alpha=5.0, batch_size=33,
            early_stopping=early_stopping,
        )  # fmt: skip
        assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9, atol=1e-12)
        if early_stopping:
            assert_allclose(ours.validation_scores_, theirs.validation_scores_)


def test_warm_starts_and_partial_fits_follow_scikit_learn():
    for cls in (MLPClassifier, neural_network.MLPClassifier):
        model = cls(8, solver="sgd", warm_start=True, max_iter=3, random_state=0, power_t=0.2,
                    learning_rate="invscaling", learning_rate_init=0.3)  # fmt: skip
        model.fit(X_BINARY, Y_BINARY).fit(X_BINARY, Y_BINARY).partial_fit(X_BINARY, Y_BINARY)
        if cls is MLPClassifier:
            ours = model
    assert_same(ours, model)
    assert len(ours.loss_curve_) == 7


# ------------------------------------------------------------------ what scikit-learn's tests say


def test_a_larger_alpha_gives_smaller_weights():
    sums = []
    for alpha in (0, 1):
        model = MLPClassifier(10, alpha=alpha, random_state=1).fit(X_BINARY[:100], Y_BINARY[:100])
        sums.append([np.abs(weights).sum() for weights in model.coefs_])
    assert (np.array(sums[0]) > sums[1]).all()


def test_a_step_that_was_worked_out_by_hand():
    X, y = np.array([[0.6, 0.8, 0.7]]), np.array([0])
    model = MLPClassifier(
        2, "logistic", solver="sgd", learning_rate_init=0.1, alpha=0.1, momentum=0, random_state=1
    )
    model.partial_fit(X, y, classes=[0, 1])
    model.coefs_ = [[[0.1, 0.2], [0.3, 0.1], [0.5, 0]], [[0.1], [0.2]]]
    model.intercepts_ = [[0.1, 0.1], [1.0]]
    model.partial_fit(X, y)
    expected = [[0.098, 0.195756], [0.2956664, 0.096008], [0.4939998, -0.002244]]
    assert_allclose(model.coefs_[0], expected, atol=1.5e-3)
    assert_allclose(model.coefs_[1], [[0.04706], [0.154089]], atol=1.5e-3)
    assert_allclose(model.intercepts_[0], [0.098333, 0.09626], atol=1.5e-3)
    assert_allclose(model.intercepts_[1], [0.9235], atol=1.5e-3)
    assert model.predict_proba(X)[0, 1] == pytest.approx(0.739, abs=1.5e-3)


@every_digits
@every_activation
def test_lbfgs_learns_digits(digits, activation):
    X, y = DIGITS[digits]
    options = {"solver": "lbfgs", "hidden_layer_sizes": 50, "max_iter": 150, "random_state": 1}
    model = MLPClassifier(activation=activation, **options).fit(X[:150], y[:150])
    found = model.predict(X[150:])
    assert model.score(X[:150], y[:150]) > 0.95
    assert (found.shape, found.dtype.kind) == ((50,), y.dtype.kind)
    model = MLPClassifier(activation=activation, max_fun=10, **options)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        model.fit(X, y)
    assert model.n_iter_ <= 10


@every_activation
def test_lbfgs_learns_a_regression(activation):
    options = {"solver": "lbfgs", "hidden_layer_sizes": 50, "random_state": 1}
    model = MLPRegressor(activation=activation, max_iter=200, tol=1e-3, **options)
    assert model.fit(X_REG, Y_REG).score(X_REG, Y_REG) > (0.8 if activation == "identity" else 0.98)
    model = MLPRegressor(activation=activation, max_iter=150, tol=0.0, max_fun=10, **options)
    with pytest.warns(ConvergenceWarning):
        model.fit(X_REG, Y_REG)
    assert model.n_iter_ <= 10


def test_a_warm_start_goes_on_with_the_rate():
    X, y = [[3, 2], [1, 6], [5, 6], [-2, -4]], [1, 1, 1, 0]
    for learning_rate in ("invscaling", "constant"):
        model = MLPClassifier(
            4, solver="sgd", learning_rate=learning_rate, max_iter=1, power_t=0.25,
            warm_start=True,
        )  # fmt: skip
        model.fit(X, y)
        before = model._optimizer.learning_rate
        model.fit(X, y)
        expected = before if learning_rate == "constant" else 0.001 / (8 + 1) ** 0.25
        assert model._optimizer.learning_rate == expected


def test_several_labels():
    X, y = make_multilabel_classification(n_samples=50, random_state=0)
    options = {"hidden_layer_sizes": 50, "alpha": 1e-5, "max_iter": 150, "random_state": 0,
               "activation": "logistic", "learning_rate_init": 0.2}  # fmt: skip
    assert MLPClassifier(solver="lbfgs", **options).fit(X, y).score(X, y) > 0.97
    model = MLPClassifier(solver="sgd", **options)
    for _ in range(100):
        model.partial_fit(X, y, classes=[0, 1, 2, 3, 4])
    assert model.score(X, y) > 0.9
    assert MLPClassifier(early_stopping=True).fit(X, y).predict(X).shape == y.shape


def test_several_outputs():
    X, y = make_regression(n_samples=200, n_targets=5, random_state=11)
    model = MLPRegressor(
        solver="lbfgs", hidden_layer_sizes=50, max_iter=200, tol=1e-2, random_state=1
    )
    assert model.fit(X, y).score(X, y) > 0.9


def test_other_classes_in_partial_fit():
    model = MLPClassifier(solver="sgd")
    model.partial_fit([[3, 2]], [0], classes=[0, 1])
    with pytest.raises(ValueError, match="is not the same as on last call"):
        model.partial_fit([[3, 2]], [0], classes=[1, 2])
    with pytest.raises(ValueError, match=r"`y` has classes not in"):
        model.partial_fit([[3, 2]], [2])


@every_digits
def test_partial_fit_does_what_fit_does(digits):
    X, y = DIGITS[digits]
    options = {"solver": "sgd", "random_state": 1, "alpha": 1e-5, "learning_rate_init": 0.2}
    expected = MLPClassifier(max_iter=100, tol=0, **options).fit(X, y).predict(X)
    model = MLPClassifier(**options)
    for _ in range(100):
        model.partial_fit(X, y, classes=np.unique(y))
    assert_array_equal(model.predict(X), expected)
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_partial_fit_of_a_regression_does_what_fit_does(momentum):
    options = {"solver": "sgd", "random_state": 1, "learning_rate_init": 0.01,
               "batch_size": 200, "momentum": momentum}  # fmt: skip
    expected = MLPRegressor(max_iter=100, **options).fit(X_REG, Y_REG).predict(X_REG)
    model = MLPRegressor(**options)
    for _ in range(100):
        model.partial_fit(X_REG, Y_REG)
    assert_allclose(model.predict(X_REG), expected)
    assert model.score(X_REG, Y_REG) > 0.65


def test_classes_that_come_later():
    model = MLPClassifier(random_state=0)
    model.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    model.partial_fit([[4]], ["d"])
    assert model.score([[1], [2], [3], [4]], ["a", "b", "c", "d"]) > 0


def test_partial_fit_needs_steps_and_classes():
    X, y = [[3, 2], [1, 6]], [1, 0]
    with pytest.raises(ValueError, match="classes not in"):
        MLPClassifier(solver="sgd").partial_fit(X, y, classes=[2])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier(solver="sgd").partial_fit(X, y)
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        MLPRegressor(early_stopping=True).fit(X_IRIS, Y_IRIS).partial_fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_parameters_that_leave_the_numbers(solver):
    rng = np.random.RandomState(0)
    X = np.finfo(np.float64).max * rng.uniform(size=(10, 2))
    with pytest.raises(ValueError, match=r"Solver produced non-finite parameter weights\. The inp"):
        MLPRegressor(solver=solver).fit(X, rng.standard_normal(10))


@every_digits
def test_logarithms_of_probabilities(digits):
    X, y = DIGITS[digits]
    model = MLPClassifier(5, "logistic", random_state=1).fit(X[:50], y[:50])
    found, logarithms = model.predict_proba(X), model.predict_log_proba(X)
    assert found.shape == (200, len(np.unique(y)))
    assert_allclose(found.sum(axis=1), 1)
    assert_allclose(logarithms, np.log(found), rtol=1e-6)
    if digits == "two classes":
        assert roc_auc_score(y[:50], found[:50, 1]) == 1.0


def test_probabilities_of_several_labels_do_not_sum_to_one():
    X, y = make_multilabel_classification(n_samples=50, random_state=0)
    model = MLPClassifier(solver="lbfgs", hidden_layer_sizes=30, random_state=0).fit(X, y)
    found = model.predict_proba(X)
    assert found.shape == y.shape
    assert_array_equal(found > 0.5, y)
    assert np.abs(found.sum(axis=1) - 1).max() > 1e-5
    logarithms = model.predict_log_proba(X)
    assert np.isfinite(logarithms).all()
    assert_allclose(logarithms[found > 0], np.log(found[found > 0]), rtol=1e-6)
    # Several are 1 to the last bit; then the first of them is the most probable in both.
    assert ((found == 1).sum(axis=1) > 1).any()
    assert_array_equal(logarithms.argmax(axis=1), found.argmax(axis=1))
    model.coefs_ = [-weights for weights in model.coefs_]
    model.intercepts_ = [-1e4 * np.ones_like(biases) for biases in model.intercepts_]
    assert (model.predict_proba(X) == 0).all()
    assert_allclose(model.predict_log_proba(X), -1e4, rtol=0.1)


def test_a_log_probability_is_finite_where_the_probability_is_zero():
    model = MLPClassifier(2, max_iter=1, random_state=0).fit([[0.0], [1.0], [2.0]], [0, 1, 2])
    model.coefs_ = [np.ones((1, 2)), np.array([[1.0, 0, -1], [1.0, 0, -1]])]
    found = model.predict_log_proba([[1e4]])
    assert model.predict_proba([[1e4]])[0, 2] == 0
    assert found[0, 2] == pytest.approx(-4e4, rel=1e-3)


def test_shuffling_is_repeatable_and_matters():
    X, y = make_regression(n_samples=50, n_features=5, random_state=0)
    found = {}
    for shuffle in (True, False):
        first, second = (
            MLPRegressor(
                hidden_layer_sizes=1, max_iter=1, batch_size=1, random_state=0, shuffle=shuffle
            ).fit(X, y).coefs_[0]
            for _ in range(2)
        )  # fmt: skip
        assert np.array_equal(first, second)
        found[shuffle] = first
    assert not np.array_equal(found[True], found[False])


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
def test_sparse_samples_are_samples(container):
    X, y = X_BINARY[:50], Y_BINARY[:50]
    model = MLPClassifier(15, solver="lbfgs", random_state=1)
    expected = model.fit(X, y).predict_proba(X)
    found = model.fit(container(X), y).predict_proba(container(X))
    assert_array_equal(found, expected)
    assert_array_equal(model.transform(container(X)), model.transform(X))


def test_a_tolerance_ends_training():
    X, y = [[3, 2], [1, 6]], [1, 0]
    model = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd").fit(X, y)
    assert model.n_iter_ < 3000
    model.set_params(learning_rate="adaptive").fit(X, y)
    assert model.n_iter_ < 3000
    assert model._optimizer.learning_rate < 1e-6


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_verbose_runs_print(solver, capsys):
    X, y = [[3, 2], [1, 6]], [1, 0]
    model = MLPClassifier(2, solver=solver, max_iter=2, verbose=10, random_state=0).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Iteration 1", "Iteration 2"]
    if solver == "sgd":
        assert lines[1] == f"Iteration 2, loss = {model.loss_:.8f}"
        model.partial_fit(X, y)
        assert capsys.readouterr().out.startswith("Iteration 1, loss = ")


def test_verbose_runs_say_why_they_stop(capsys):
    options = {"solver": "sgd", "verbose": True, "random_state": 0, "n_iter_no_change": 1}
    MLPClassifier(4, early_stopping=True, tol=1.0, **options).fit(X_BINARY, Y_BINARY)
    out = capsys.readouterr().out
    assert "Validation score: " in out
    assert out.endswith(
        "Validation score did not improve more than tol=1.000000 for 1 consecutive epochs. "
        "Stopping.\n"
    )
    MLPClassifier(4, learning_rate="adaptive", tol=1.0, **options).fit(X_BINARY, Y_BINARY)
    out = capsys.readouterr().out
    assert "for 1 consecutive epochs. Setting learning rate to 0.000200\n" in out
    assert out.endswith("Learning rate too small. Stopping.\n")


@both
def test_early_stopping(Estimator):
    X, y, tol = X_BINARY[:100], Y_BINARY[:100], 0.2
    model = Estimator(tol=tol, max_iter=3000, solver="sgd", early_stopping=True).fit(X, y)
    assert model.n_iter_ < 3000
    assert model.best_loss_ is None
    assert isinstance(model.validation_scores_, list)
    assert max(model.validation_scores_) == model.best_validation_score_
    assert model.best_validation_score_ + tol > max(model.validation_scores_[-2:])
    model = Estimator(tol=tol, max_iter=3000, solver="sgd").fit(X, y)
    assert model.validation_scores_ is model.best_validation_score_ is None
    assert model.best_loss_ is not None


def test_a_warm_start_needs_the_same_classes():
    def start():
        model = MLPClassifier(2, solver="lbfgs", warm_start=True, random_state=42, tol=1e-2)
        return model.fit(X_IRIS, Y_IRIS)

    start().fit(X_IRIS, Y_IRIS).fit(X_IRIS, np.repeat([0, 1, 2], [40, 40, 70]))
    for counts in ({0: 75, 1: 75}, {0: 50, 1: 50, 3: 50}, dict.fromkeys(range(5), 30)):
        y = np.repeat(list(counts), list(counts.values()))
        message = (
            "warm_start can only be used where `y` has the same classes as in the previous call "
            f"to fit. Previously got [0 1 2], `y` has {np.unique(y)}"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            start().fit(X_IRIS, y)


@both
def test_a_warm_start_takes_all_its_epochs(Estimator):
    model = Estimator(hidden_layer_sizes=2, solver="sgd", warm_start=True, max_iter=3)
    assert model.fit(X_IRIS, Y_IRIS).n_iter_ == 3
    assert model.fit(X_IRIS, Y_IRIS).n_iter_ == 3


@pytest.mark.parametrize("patience", [2, 5, 10, 50, 100])
def test_epochs_without_a_change(patience):
    model = MLPClassifier(tol=0.01, max_iter=3000, solver="sgd", n_iter_no_change=patience)
    model.fit(X_BINARY[:100], Y_BINARY[:100])
    assert model._no_improvement_count == patience + 1
    assert model.n_iter_ < 3000


def test_epochs_without_a_change_for_ever():
    model = MLPClassifier(tol=1e9, max_iter=1000, solver="sgd", n_iter_no_change=np.inf)
    model.fit(X_BINARY[:100], Y_BINARY[:100])
    assert model.n_iter_ == 1000
    assert model._no_improvement_count == 999


def test_what_is_held_out_is_stratified():
    message = r"The least populated class.* in y have only 1 member|only 1 member"
    with pytest.raises(ValueError, match=message):
        MLPClassifier(early_stopping=True).fit([[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1])


def test_early_stopping_with_strings():
    X, y = make_classification(
        n_samples=200, n_features=10, n_classes=3, n_informative=5, random_state=42
    )
    y = np.array(["class_a", "class_b", "class_c"], dtype=object)[y]
    model = MLPClassifier(early_stopping=True, max_iter=50, random_state=42).fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_
    assert np.isfinite(model.validation_scores_).all()
    assert set(model.predict(X)) <= set(y)


@both
def test_both_dtypes_find_the_same(Estimator):
    options = {"alpha": 1e-5, "hidden_layer_sizes": (5, 3), "random_state": 1,
               "max_iter": 150, "tol": 1e-3}  # fmt: skip
    X, y = X_DIGITS, Y_DIGITS
    wide = Estimator(**options).fit(X[:300], y[:300])
    narrow = Estimator(**options).fit(X[:300].astype(np.float32), y[:300])
    for model, dtype in ((wide, np.float64), (narrow, np.float32)):
        assert all(array.dtype == dtype for array in [*model.coefs_, *model.intercepts_])
    if Estimator is MLPRegressor:
        assert narrow.predict(X[300:]).dtype == np.float32
        assert_allclose(wide.predict(X[300:]), narrow.predict(X[300:]), rtol=5e-4)
    else:
        assert_array_equal(wide.predict(X[300:]), narrow.predict(X[300:]))
        assert_allclose(wide.predict_proba(X[300:]), narrow.predict_proba(X[300:]), rtol=1e-2)


def test_a_loaded_model_learns_on(tmp_path):
    model = MLPRegressor(hidden_layer_sizes=42, random_state=42, learning_rate_init=0.01)
    joblib.dump(model.fit([[2]], [4]), tmp_path / "model")
    loaded = joblib.load(tmp_path / "model")
    for _ in range(200):
        loaded.partial_fit([[2]], [1])
        model.partial_fit([[2]], [1])
    assert_allclose(loaded.predict([[2]]), [1], rtol=1e-4)
    assert np.array_equal(loaded.coefs_[0], model.coefs_[0])  # Adam's averages came along


@both
def test_feature_names_with_early_stopping(Estimator):
    X = pandas.DataFrame(np.random.RandomState(0).randn(10, 2), columns=["a", "b"])
    model = Estimator(early_stopping=True, validation_fraction=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, pandas.Series(np.full(10, 1), name="y"))
    assert list(model.feature_names_in_) == ["a", "b"]


@both
def test_early_stopping_goes_on_in_a_warm_start(Estimator):
    model = Estimator(max_iter=10, random_state=0, warm_start=True, early_stopping=True)
    n = len(model.fit(X_IRIS, Y_IRIS).validation_scores_)
    assert len(model.set_params(max_iter=20).fit(X_IRIS, Y_IRIS).validation_scores_) > n


@both
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_warm_start_stops_at_its_limit(Estimator, solver):
    model = Estimator(
        solver=solver, warm_start=True, max_iter=10, n_iter_no_change=np.inf, random_state=0
    )
    for n in (10, 20):
        with pytest.warns(ConvergenceWarning):
            model.set_params(max_iter=n).fit(X_IRIS, Y_IRIS)
        assert model.n_iter_ == n


def test_a_diverging_run_with_early_stopping_keeps_the_best():
    model = MLPRegressor(
        hidden_layer_sizes=100, activation="identity", solver="sgd", learning_rate_init=1,
        max_iter=20, early_stopping=True, random_state=0,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="the loss is no longer finite"):
        model.fit(X_IRIS, Y_IRIS)
    assert isinstance(model.validation_scores_[-1], float)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.predict(X_IRIS)).all()


def test_a_diverging_run_says_so():
    model = MLPRegressor(
        activation="identity", solver="sgd", learning_rate_init=1, max_iter=20, random_state=0
    )
    with pytest.raises(ValueError, match=r"non-finite .* no longer finite in epoch \d"):
        model.fit(X_IRIS, Y_IRIS)


def test_weights_of_one_with_early_stopping():
    X, y = make_regression(n_samples=100, n_features=2, n_informative=2, random_state=42)
    options = {"hidden_layer_sizes": 10, "early_stopping": True, "tol": 1e-2,
               "learning_rate_init": 0.01, "batch_size": 10, "random_state": 42}  # fmt: skip
    found = MLPRegressor(**options).fit(X, y, sample_weight=np.ones(100)).predict(X)
    assert_allclose(found, MLPRegressor(**options).fit(X, y).predict(X))


def test_a_validation_set_that_is_too_small():
    X, y = make_regression(n_samples=2, n_features=5, random_state=0)
    with pytest.raises(ValueError, match="The validation set is too small"):
        MLPRegressor(early_stopping=True, random_state=0).fit(X, y)


# ------------------------------------------------------------------ scikit-learn's checks

# The number of checks of each class, and what cannot run: no decision_function, as in
# scikit-learn's class, and one that needs a setting of SciPy.
SKIPPED = {
    "MLPClassifier": {
        "check_array_api_input", "check_classifiers_multilabel_output_format_decision_function",
    },
    "MLPRegressor": {"check_array_api_input"},
}  # fmt: skip


@functools.cache
def checks_of(module, name):
    estimator = getattr(module, name)()
    found = estimator_checks.estimator_checks_generator(estimator, legacy=True)
    return [check for _, check in found]


@both
def test_every_check_of_an_estimator(Estimator):
    name = Estimator.__name__
    results = estimator_checks.check_estimator(Estimator(), on_fail=None, on_skip=None)
    statuses = {status: [] for status in ("passed", "failed", "xfail", "skipped")}
    for result in results:
        statuses[result["status"]].append(result["check_name"])
    assert statuses["failed"] == statuses["xfail"] == []
    assert set(statuses["skipped"]) <= SKIPPED[name]
    expected = [check.func.__name__ for check in checks_of(neural_network, name)]
    ran = [result["check_name"] for result in results]
    assert set(expected) <= set(ran)
    assert len(ran) >= len(expected)
    assert len(statuses["passed"]) == len(checks_of(fastnn, name)) - len(statuses["skipped"])
    if sklearn.__version__.startswith("1.9."):
        assert len(ran) == {"MLPClassifier": 74, "MLPRegressor": 66}[name]


@pytest.mark.parametrize("name", SKIPPED)
def test_scikit_learn_skips_the_same_checks(name):
    wanted = [c for c in checks_of(neural_network, name) if c.func.__name__ in SKIPPED[name]]
    assert {check.func.__name__ for check in wanted} == SKIPPED[name]
    for check in wanted:
        with pytest.raises(Exception, match=r"not checking|does not have"):
            check(getattr(neural_network, name)())


@both
@pytest.mark.filterwarnings(
    "ignore:X (has|does not have valid) feature names"
)  # the checks' own doing
@pytest.mark.parametrize(
    "check",
    [
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_param_validation",
        "check_dataframe_column_names_consistency",
        "check_n_features_in_after_fitting",
    ],
)
def test_checks_beside_those(Estimator, check):
    name = Estimator.__name__
    getattr(estimator_checks, check)(name, Estimator(hidden_layer_sizes=5, max_iter=2))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_held_out_counts_are_not_below_zero(early_stopping):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.poisson(2.0, 60).astype(float)
    model = MLPRegressor("poisson", (4,), max_iter=2, early_stopping=early_stopping)
    with pytest.raises(ValueError, match=r"validation_data\[1\]\[0, 0\] is -.*at least 0"):
        model.fit(X, y, validation_data=(X, -1 - y))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"early_stopping": True, "validation_fraction": 0.2},
        {"solver": "sgd", "shuffle": False},
        {"solver": "lbfgs"},
        {"early_stopping": True, "metric": "accuracy"},
    ],
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_sparse_samples_train_to_the_same_bits(kind, options, monkeypatch):
    """They are never dense as a whole."""
    X, y = X_BINARY[:120], Y_BINARY[:120]
    if kind is MLPRegressor and "metric" in options:
        options = {**options, "metric": "r2"}
    given = {"hidden_layer_sizes": 15, "max_iter": 5, "random_state": 1, "batch_size": 32}
    model = kind(**given, **options)
    expected = sklearn.base.clone(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        monkeypatch.setattr("fastnn.scikit.solvers._ROWS", 50)
        expected.fit(X, y)
        with pytest.MonkeyPatch.context() as patch:
            whole = sparse.csr_array.toarray

            def part(self, *arguments, **named):
                assert self.shape[0] < len(X)
                return whole(self, *arguments, **named)

            patch.setattr("fastnn.program.sparse.DENSE_BYTES", 1)
            patch.setattr("fastnn.program.sparse.BLOCK_ROWS", 16)
            patch.setattr(sparse.csr_array, "toarray", part)
            model.fit(sparse.csr_array(X), y)
            found = model.predict(sparse.csr_array(X))
    assert_array_equal(found, expected.predict(X))
    for one, other in zip(model.coefs_, expected.coefs_, strict=True):
        assert_array_equal(one, other)
