"""What the estimators have beyond scikit-learn's, how they get on with its tools, bad input."""

import copy
import math
import pickle
import warnings

import joblib
import numpy as np
import pandas
import polars
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError, UndefinedMetricWarning
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, f1_score, log_loss, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import MLPClassifier, MLPRegressor
from fastnn.kernels import catalogue

# Most runs here are short on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

both = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])

DIGITS, LABELS = (array[:300] for array in load_digits(return_X_y=True))
DIGITS = DIGITS / 16
HELD_OUT = tuple(array[300:400] for array in load_digits(return_X_y=True))
HELD_OUT = HELD_OUT[0] / 16, HELD_OUT[1]


def small(Estimator=MLPClassifier, **options):
    options = {"hidden_layer_sizes": 16, "max_iter": 8, "random_state": 0, **options}
    return Estimator(**options)


# ------------------------------------------------------------------ more than scikit-learn's


def test_dropout():
    model = small(dropout=0.5).fit(DIGITS, LABELS)
    again = small(dropout=0.5).fit(DIGITS, LABELS)
    plain = small().fit(DIGITS, LABELS)
    assert [type(layer).__name__ for layer in model.model_.layers] == [
        "Dense", "ReLU", "Dropout", "Dense",
    ]  # fmt: skip
    assert np.array_equal(model.coefs_[0], again.coefs_[0])
    assert not np.allclose(model.coefs_[0], plain.coefs_[0])
    assert np.array_equal(model.predict_proba(DIGITS), model.predict_proba(DIGITS))
    assert model.transform(DIGITS).shape == (300, 16)
    other = small(dropout=0.5, random_state=1).fit(DIGITS, LABELS)
    assert not np.array_equal(model.coefs_[0], other.coefs_[0])


def test_class_weights_are_sample_weights():
    y = np.where(LABELS > 3, "many", "few")
    weights = {"many": 0.5, "few": 3.0}
    one = small(class_weight=weights, batch_size=32).fit(DIGITS, y)
    given = np.where(y == "many", 0.5, 3.0)
    other = small(batch_size=32).fit(DIGITS, y, sample_weight=given)
    assert np.array_equal(one.coefs_[0], other.coefs_[0])
    counts = {label: (y == label).sum() for label in weights}
    balanced = {label: len(y) / 2 / count for label, count in counts.items()}
    one = small(class_weight="balanced").fit(DIGITS, y, sample_weight=given)
    both = given * np.where(y == "many", balanced["many"], balanced["few"])
    other = small().fit(DIGITS, y, sample_weight=both)
    assert_allclose(one.coefs_[0], other.coefs_[0], rtol=1e-12)


@both
def test_sample_weights_are_repetitions(Estimator):
    """Of all samples in one batch, at any solver."""
    counts = np.random.default_rng(0).integers(0, 3, 100)
    X, y = DIGITS[:100], LABELS[:100]
    for solver in ("adam", "sgd", "lbfgs"):
        options = {"solver": solver, "batch_size": 100, "shuffle": False, "alpha": 1.0}
        one = small(Estimator, **options).fit(X, y, counts)
        options["batch_size"] = counts.sum()
        other = small(Estimator, **options).fit(np.repeat(X, counts, 0), np.repeat(y, counts))
        assert_allclose(one.coefs_[0], other.coefs_[0], rtol=1e-6, atol=1e-9)


def test_one_class_is_always_right():
    model = small(max_iter=1).fit(DIGITS, np.full(300, "yes"))
    model.intercepts_ = [np.zeros(16), [5.0]]  # as if it thought of another class
    assert_array_equal(model.predict(DIGITS), np.full(300, "yes"))
    assert_array_equal(model.predict_proba(DIGITS), np.ones((300, 1)))
    assert_array_equal(model.predict_log_proba(DIGITS), np.zeros((300, 1)))


def test_an_activation_for_each_layer():
    given = ["tanh", fastnn.LeakyReLU(0.3), "identity", "gelu"]
    model = small(hidden_layer_sizes=(9, 8, 7, 6), activation=given).fit(DIGITS, LABELS)
    kinds = [type(layer).__name__ for layer in model.model_.layers]
    assert kinds == ["Dense", "Tanh", "Dense", "LeakyReLU", "Dense", "Dense", "GELU", "Dense"]
    assert model.model_.layers[3].negative_slope == 0.3
    assert model.model_.layers[3] is not given[1]
    clone(model).fit(DIGITS, LABELS)
    one, other = (small(activation=each).fit(DIGITS, LABELS) for each in ("tanh", ["tanh"]))
    assert np.array_equal(one.coefs_[0], other.coefs_[0])


def test_every_activation_of_the_catalogue_has_a_name():
    for name, layer in catalogue.ACTIVATION_LAYERS.items():
        name = "logistic" if name == "sigmoid" else name  # as scikit-learn has it
        model = small(activation=name, max_iter=1).fit(DIGITS, LABELS)
        assert type(model.model_.layers[1]).__name__ == layer or name == "identity"


def test_each_layer_starts_as_its_activation_wants():
    model = small(hidden_layer_sizes=(50, 50), activation=("logistic", "relu"), max_iter=1)
    model.set_params(learning_rate_init=1e-12).fit(DIGITS, LABELS)
    limits = [np.sqrt(2 / (64 + 50)), np.sqrt(6 / (50 + 50)), np.sqrt(6 / (50 + 10))]
    for weights, limit in zip(model.coefs_, limits, strict=True):
        assert 0.9 * limit < np.abs(weights).max() <= limit


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("absolute_error", np.median),
        ("quantile", np.median),
        (fastnn.Quantile(0.9), lambda y: np.quantile(y, 0.9)),
        ("squared_error", np.mean),
        ("poisson", np.mean),
    ],
)
def test_a_loss_is_least_where_it_should_be(loss, expected, solver):
    y = np.random.default_rng(0).exponential(size=501)
    model = MLPRegressor(
        loss, (), solver=solver, max_iter=400, learning_rate_init=0.05, alpha=0, tol=1e-9,
        random_state=0,
    ).fit(np.zeros((501, 1)), y)  # fmt: skip
    assert model.predict([[0.0]])[0] == pytest.approx(expected(y), abs=0.05)


def test_rates_that_overflow_are_no_score():
    model = MLPRegressor("poisson", (), max_iter=2, learning_rate_init=1e-9, random_state=0)
    X, y = np.linspace(-1, 1, 60).reshape(-1, 1), np.arange(60) % 5
    model.fit(X, y, validation_data=(1e6 * X, y))
    assert model.history_.val_loss == [np.inf] * 2
    assert np.isnan(model.history_.val_score).all()
    assert (model.predict(1e6 * X) == np.inf).any()


def test_hubers_loss_minds_outliers_less():
    X, y = make_regression(n_samples=200, n_features=3, random_state=0)
    y, clean = y / y.std(), y / y.std()
    y = y.copy()
    y[::10] += 50
    options = {"max_iter": 300, "learning_rate_init": 0.01, "random_state": 0}
    scores = {
        loss: r2_score(clean, MLPRegressor(loss, 20, **options).fit(X, y).predict(X))
        for loss in ("squared_error", "huber", "absolute_error")
    }
    assert scores["squared_error"] < 0 < 0.8 < min(scores["huber"], scores["absolute_error"])
    half = MLPRegressor(fastnn.Huber(0.5), 20, **options).fit(X, y)
    assert half.model_.loss.delta == 0.5


def test_losses_of_several_outputs_are_one_loss_each():
    X, y = make_regression(n_samples=80, n_features=4, random_state=0)
    y = y / y.std()
    for loss in ("squared_error", "absolute_error", "huber", "poisson"):
        y = np.abs(y) if loss == "poisson" else y
        one = MLPRegressor(loss, (), max_iter=5, random_state=0).fit(X, y)
        two = MLPRegressor(loss, (), max_iter=1, random_state=0).fit(X, np.column_stack([y, y]))
        start = MLPRegressor(loss, (), max_iter=1, random_state=0).fit(X, y)
        two.coefs_ = [np.column_stack([start.coefs_[0]] * 2)]
        two.intercepts_ = [np.repeat(start.intercepts_[0], 2)]
        two._optimizer.forget(two.model_.parameters)
        start._optimizer.forget(start.model_.parameters)
        for model, targets in ((start, y), (two, np.column_stack([y, y]))):
            model.partial_fit(X, targets)
        assert_allclose(two.coefs_[0][:, :1], start.coefs_[0], rtol=1e-12)
        # As scikit-learn has it, the loss of counts is the sum over the outputs, others their mean.
        count = 2 if loss == "poisson" else 1
        assert two.loss_curve_[-1] == pytest.approx(count * start.loss_curve_[-1], rel=1e-3)
        assert one.n_iter_ == 5


def test_given_samples_are_watched():
    X, y = HELD_OUT
    model = small().fit(DIGITS, LABELS, validation_data=HELD_OUT)
    assert model.n_iter_ == len(model.validation_scores_) == len(model.history_.val_loss) == 8
    assert model.validation_scores_[-1] == model.score(X, y)
    assert model.history_.val_loss[-1] == pytest.approx(log_loss(y, model.predict_proba(X)))
    assert model.history_.val_score == model.validation_scores_
    assert model.history_.loss == model.loss_curve_
    plain = small().fit(DIGITS, LABELS)
    assert np.array_equal(plain.coefs_[0], model.coefs_[0])


def test_given_samples_stop_the_training_and_the_best_weights_come_back():
    model = small(early_stopping=True, max_iter=200, tol=0.0, n_iter_no_change=3, solver="sgd",
                  learning_rate_init=0.5)  # fmt: skip
    model.fit(DIGITS, LABELS, validation_data=HELD_OUT)
    assert model.n_iter_ < 200
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(*HELD_OUT) == model.best_validation_score_
    assert model.t_ == 300 * model.n_iter_  # nothing was held out beside


def test_given_samples_have_weights():
    weights = np.random.default_rng(0).uniform(0, 2, 100)
    model = small().fit(DIGITS, LABELS, validation_data=(*HELD_OUT, weights))
    assert model.validation_scores_[-1] == pytest.approx(model.score(*HELD_OUT, weights))
    found = log_loss(HELD_OUT[1], model.predict_proba(HELD_OUT[0]), sample_weight=weights)
    assert model.history_.val_loss[-1] == pytest.approx(found)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (None, lambda model, X, y: model.score(X, y)),
        ("loss", lambda model, X, y: -log_loss(y, model.predict_proba(X))),
        ("neg_log_loss", lambda model, X, y: -log_loss(y, model.predict_proba(X))),
        ("f1_macro", lambda model, X, y: f1_score(y, model.predict(X), average="macro")),
        (accuracy_score, lambda model, X, y: model.score(X, y)),
        (make_scorer(accuracy_score), lambda model, X, y: model.score(X, y)),
    ],
)
def test_metrics(metric, expected):
    X, y = (pandas.DataFrame(HELD_OUT[0]), HELD_OUT[1])
    X.columns = [f"x{i}" for i in range(64)]
    frame = pandas.DataFrame(DIGITS, columns=X.columns)
    model = small(metric=metric).fit(frame, LABELS, validation_data=(X, y))
    assert model.validation_scores_[-1] == pytest.approx(expected(model, X, y))


@pytest.mark.parametrize("weighted", [False, True])
def test_r2_is_scikit_learns(weighted):
    X, y = make_regression(n_samples=100, n_targets=2, n_features=4, random_state=0)
    y[:, 1] = y[0, 1]  # constant
    weights = np.random.default_rng(0).uniform(0, 2, 100) if weighted else None
    model = small(MLPRegressor).fit(X, y, validation_data=(X, y, weights))
    expected = r2_score(y, model.predict(X), sample_weight=weights)
    assert model.validation_scores_[-1] == pytest.approx(expected)
    assert model._score(y, y, weights) == 1.0


def test_label_smoothing():
    sure = small(max_iter=300, learning_rate_init=0.01).fit(DIGITS, LABELS)
    smooth = clone(sure).set_params(label_smoothing=0.2).fit(DIGITS, LABELS)
    assert sure.predict_proba(DIGITS).max(axis=1).mean() > 0.97
    assert smooth.predict_proba(DIGITS).max(axis=1).mean() == pytest.approx(0.82, abs=0.03)
    halves = clone(smooth).fit(DIGITS, LABELS > 4)
    assert halves.predict_proba(DIGITS).max(axis=1).mean() == pytest.approx(0.9, abs=0.03)
    assert halves.score(DIGITS, LABELS > 4) == 1


def test_callbacks_see_every_curve():
    seen = []
    callback = fastnn.LambdaCallback(
        on_fit_begin=lambda run: seen.append(list(run.curve_names)),
        on_epoch_end=lambda run: seen.append(run.history.latest()),
    )
    model = small(callbacks=[callback], max_iter=3)
    model.fit(DIGITS, LABELS, validation_data=HELD_OUT)
    assert set(seen[0]) == set(seen[1]) == {"loss", "accuracy", "penalty", "val_loss", "val_score"}
    assert [each["loss"] for each in seen[1:]] == model.loss_curve_
    assert [each["val_score"] for each in seen[1:]] == model.validation_scores_
    stop = fastnn.EarlyStopping(monitor="val_loss", patience=0, min_delta=10.0)
    model = small(callbacks=[stop]).fit(DIGITS, LABELS, validation_data=HELD_OUT)
    assert model.n_iter_ == 2


@pytest.mark.parametrize("metric", ["roc_auc", lambda true, predicted: math.nan])
def test_a_metric_without_a_number_is_an_error_before_training(metric):
    X, y = DIGITS[LABELS < 2], LABELS[LABELS < 2]
    model = small(early_stopping=True, metric=metric)
    with (
        warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning),
        pytest.raises(ValueError, match=r"^metric is .*, which gives nan for the held-out samples"),
    ):
        model.fit(X, y, validation_data=(X[y == 0], y[y == 0]))
    assert model.n_iter_ == 0


@both
def test_lbfgs_refuses_what_needs_epochs(Estimator):
    for name, value in (
        ("callbacks", [fastnn.Callback()]), ("metric", "loss"), ("early_stopping", True),
    ):  # fmt: skip
        model = small(Estimator, solver="lbfgs", **{name: value})
        with pytest.raises(ValueError, match=rf"^{name} is .*, expected .* for the solver lbfgs"):
            model.fit(DIGITS, LABELS)
    model = small(Estimator, solver="lbfgs")
    with pytest.raises(ValueError, match=r"^validation_data is given, expected None for the solv"):
        model.fit(DIGITS, LABELS, validation_data=HELD_OUT)


@both
def test_threads_change_no_bit(Estimator):
    one, two = (
        small(Estimator, threads=n, max_iter=3, batch_size=64).fit(DIGITS, LABELS)
        for n in (1, 2)
    )  # fmt: skip
    assert np.array_equal(one.coefs_[0], two.coefs_[0])
    assert one.loss_curve_ == two.loss_curve_


@pytest.mark.parametrize("dtype", ["float32", np.float32, "float64"])
def test_a_dtype_of_choice(dtype):
    model = small(dtype=dtype).fit(DIGITS, LABELS)
    assert model.coefs_[0].dtype == model.model_.dtype == np.dtype(dtype)
    assert model.predict_proba(DIGITS).dtype == np.dtype(dtype)
    assert model.predict_proba(DIGITS.astype(np.float16)).dtype == np.dtype(dtype)


def test_the_network_is_there_to_be_taken_away():
    model = small().fit(DIGITS, LABELS)
    assert isinstance(model.model_, fastnn.Sequential)
    assert_array_equal(model.model_.predict(DIGITS), model.predict(DIGITS))
    assert all(not any(layer.penalties) for layer in model.model_.layers[::2])
    model.coefs_[0][...] = 0  # a view
    assert np.ptp(model.transform(DIGITS), axis=0).max() == 0


def test_the_hidden_layer_is_a_transformation():
    model = small(hidden_layer_sizes=(7, 5), activation="tanh").fit(DIGITS, LABELS)
    found = model.transform(DIGITS)
    expected = np.tanh(DIGITS @ model.coefs_[0] + model.intercepts_[0])
    expected = np.tanh(expected @ model.coefs_[1] + model.intercepts_[1])
    assert_allclose(found, expected, rtol=1e-9)
    assert list(model.get_feature_names_out()) == [f"mlpclassifier{i}" for i in range(5)]
    frame = model.set_output(transform="polars").transform(DIGITS)
    assert isinstance(frame, polars.DataFrame)
    assert frame.columns == list(model.get_feature_names_out())
    plain = small(hidden_layer_sizes=()).fit(DIGITS, LABELS)
    assert_array_equal(plain.transform(DIGITS), DIGITS)


# ------------------------------------------------------------------ with scikit-learn's tools


def test_a_grid_search_finds_the_same_everywhere():
    model = make_pipeline(StandardScaler(), small())
    grid = {
        "mlpclassifier__alpha": [1e-4, 10.0],
        "mlpclassifier__hidden_layer_sizes": [(4,), (16,)],
    }
    found = []
    for backend in ("sequential", "threading", "loky"):
        search = GridSearchCV(model, grid, cv=2, n_jobs=2)
        with joblib.parallel_backend(backend):
            search.fit(DIGITS, LABELS)
        found.append(search)
    for other in found[1:]:
        for name in ("split0_test_score", "split1_test_score"):
            assert_array_equal(found[0].cv_results_[name], other.cv_results_[name])
        assert np.array_equal(
            found[0].best_estimator_[-1].coefs_[0], other.best_estimator_[-1].coefs_[0]
        )
    assert found[0].best_params_["mlpclassifier__hidden_layer_sizes"] == (16,)


def test_a_job_beside_others_takes_one_thread():
    def threads_of(model):
        return model._threads()

    model = small()
    with joblib.parallel_backend("threading"):
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(threads_of)(model) for _ in range(2))
    assert found == [1, 1]
    assert model._threads() is None
    assert small(threads=2)._threads() == 2


def test_cross_validation():
    scores = cross_val_score(small(max_iter=60, learning_rate_init=0.01), DIGITS, LABELS, cv=3)
    assert scores.mean() > 0.85
    X, y = make_regression(n_samples=200, n_features=3, random_state=0)
    model = small(MLPRegressor, solver="lbfgs", max_iter=200)
    assert cross_val_score(model, X, y / y.std(), cv=3).mean() > 0.95


def test_calibration():
    model = CalibratedClassifierCV(small(max_iter=100, learning_rate_init=0.01), cv=2).fit(
        DIGITS, LABELS
    )
    assert model.score(*HELD_OUT) > 0.7
    assert_allclose(model.predict_proba(HELD_OUT[0]).sum(axis=1), 1)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_permutation_importance(n_jobs):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 4))
    model = small(MLPRegressor, solver="lbfgs", max_iter=100).fit(X, X[:, 1])
    found = permutation_importance(model, X, X[:, 1], n_repeats=3, random_state=0, n_jobs=n_jobs)
    assert found.importances_mean.argmax() == 1
    assert np.abs(np.delete(found.importances_mean, 1)).max() < 0.1


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_copy_goes_on_as_the_original_does(copier, solver):
    model = small(solver=solver, warm_start=True, early_stopping=solver == "sgd")
    model.fit(DIGITS, LABELS)
    other = copier(model)
    assert np.array_equal(model.predict_proba(DIGITS), other.predict_proba(DIGITS))
    before = model.coefs_[0].copy()
    model.fit(DIGITS, LABELS)
    assert np.array_equal(other.coefs_[0], before)
    other.fit(DIGITS, LABELS)
    assert np.array_equal(model.coefs_[0], other.coefs_[0])
    assert model.loss_curve_ == other.loss_curve_


@both
def test_a_clone_has_the_arguments_and_nothing_else(Estimator):
    model = small(Estimator, alpha=0.5, callbacks=[fastnn.Callback()]).fit(DIGITS, LABELS)
    other = clone(model)
    assert other.alpha == 0.5
    assert not hasattr(other, "coefs_")
    with pytest.raises(NotFittedError):
        other.predict(DIGITS)
    other.fit(DIGITS, LABELS)
    assert np.array_equal(model.coefs_[0], other.coefs_[0])


@both
@pytest.mark.parametrize("library", [pandas, polars])
def test_data_frames(Estimator, library):
    X = library.DataFrame({"height": [1.0, 2.0, 3.0, 4.0], "width": [2.0, 1.0, 4.0, 3.0]})
    y = library.Series([0, 1, 0, 1])
    model = small(Estimator).fit(X, y)
    assert list(model.feature_names_in_) == ["height", "width"]
    assert_array_equal(
        model.predict(X), small(Estimator).fit(np.array(X), np.array(y)).predict(np.array(X))
    )
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.rename({"height": "depth"}) if library is polars
                      else X.rename(columns={"height": "depth"}))  # fmt: skip


def test_sample_weights_are_routed():
    weights = np.where(LABELS == 0, 100.0, 1e-6)
    with sklearn.config_context(enable_metadata_routing=True):
        last = small(max_iter=50, learning_rate_init=0.05).set_fit_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), last)
        model.fit(DIGITS, LABELS, sample_weight=weights)
        assert (model.predict(DIGITS) == 0).mean() > 0.9
        last = small(max_iter=50, learning_rate_init=0.05).set_fit_request(sample_weight=False)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), last)
        with pytest.raises(TypeError, match="sample_weight"):
            model.fit(DIGITS, LABELS, sample_weight=weights)


def test_held_out_samples_stay_those_that_were_given():
    """Training writes neither into its samples nor into read-only ones."""
    X, y, (held_out, wanted) = DIGITS.copy(), LABELS.copy(), HELD_OUT
    X.flags.writeable = held_out.flags.writeable = False
    before = X.copy()
    small().fit(X, y, validation_data=(held_out, wanted))
    assert np.array_equal(X, before)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -1}, r"The 'alpha' parameter of MLPClassifier must be .*Got -1 instead"),
        ({"activation": "relo"}, r"'activation' parameter .* Got 'relo' instead"),
        ({"activation": ["relu", "tanh"]}, r"activation has 2 entries, expected 1, one a hidden"),
        ({"activation": ["relo"]}, r"activation is 'relo', expected one of identity, logistic"),
        ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes must be > 0, got \[3, 0\]"),
        ({"solver": "adamw"}, r"'solver' parameter .* Got 'adamw' instead"),
        ({"dropout": 1.0}, r"'dropout' parameter .*range \[0.0, 1.0\). Got 1.0 instead"),
        ({"hidden_layer_sizes": (5.5,)}, r"hidden_layer_sizes is \(5.5,\), expected whole numbers"),
        ({"dropout": 0.5, "solver": "lbfgs"}, r"dropout is 0.5, expected 0 for the solver lbfgs"),
        ({"label_smoothing": 1}, r"'label_smoothing' parameter .* Got 1 instead"),
        ({"class_weight": "even"}, r"'class_weight' parameter .* Got 'even' instead"),
        ({"class_weight": {0: -1.0}}, r"sample_weight\[0\] is -1.0, expected numbers of at least"),
        ({"metric": "acuracy"}, r"'metric' parameter .* Got 'acuracy' instead"),
        ({"callbacks": [print]}, r"callbacks is \[.*print>.*\], expected a list of fastnn.Callb"),
        ({"threads": 0}, r"'threads' parameter .* Got 0 instead"),
        ({"dtype": "float16"}, r"'dtype' parameter .* Got 'float16' instead"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        small(**options).fit(DIGITS, LABELS)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("log_loss", r"'loss' parameter of MLPRegressor .* Got 'log_loss' instead"),
        (fastnn.SoftmaxCrossEntropy(), r"loss is SoftmaxCrossEntropy\(\), expected a loss of num"),
    ],
)
def test_a_bad_loss(loss, words):
    with pytest.raises(ValueError, match=words):
        small(MLPRegressor, loss=loss).fit(DIGITS, LABELS)


@pytest.mark.parametrize(
    ("validation_data", "error", "words"),
    [
        (HELD_OUT[0], TypeError, r"validation_data is .*expected \(X, y\) or \(X, y, weights\)"),
        ((HELD_OUT[0][:, :3], HELD_OUT[1]), ValueError, "X has 3 features, but MLPClassifier is"),
        ((HELD_OUT[0], HELD_OUT[1][1:]), ValueError, "inconsistent numbers of samples"),
        ((HELD_OUT[0], HELD_OUT[1] + 5), ValueError, r"validation_data\[1\]` has classes not in"),
        ((*HELD_OUT, -np.ones(100)), ValueError, "Negative values in data passed to `sample_weig"),
    ],
)
def test_bad_validation_data(validation_data, error, words):
    with pytest.raises(error, match=words):
        small().fit(DIGITS, LABELS, validation_data=validation_data)


def test_a_metric_that_raises_does_so_before_training():
    epochs = []
    watch = fastnn.LambdaCallback(on_epoch_begin=lambda run: epochs.append(run.epoch))

    def fails(y_true, y_pred):
        raise ZeroDivisionError("nothing to divide by")

    model = small(metric=fails, callbacks=[watch])
    with pytest.raises(ZeroDivisionError, match="nothing to divide by"):
        model.fit(DIGITS, LABELS, validation_data=HELD_OUT)
    assert epochs == []


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(299), "sample_weight.shape == "),
        (-np.ones(300), "Negative values in data passed to `sample_weight`"),
        (np.zeros(300), "weight"),
    ],
)
def test_bad_sample_weights(weights, words):
    with pytest.raises(ValueError, match=words):
        small().fit(DIGITS, LABELS, weights)


def test_a_warm_start_needs_the_same_layers():
    model = small(warm_start=True).fit(DIGITS, LABELS)
    with pytest.raises(ValueError, match=r"sizes \[64, 5, 10\], expected \[64, 16, 10\], those of"):
        model.set_params(hidden_layer_sizes=5).fit(DIGITS, LABELS)


def test_balanced_weights_need_all_samples():
    with pytest.raises(ValueError, match='class_weight is "balanced", expected a dict or None'):
        small(class_weight="balanced").partial_fit(DIGITS, LABELS, classes=range(10))


def test_a_batch_larger_than_the_data_is_clipped():
    with pytest.warns(UserWarning, match="larger than sample size. It is going to be clipped"):
        small(batch_size=301).fit(DIGITS, LABELS)


def test_more_epochs_than_it_had_are_asked_for():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(8\) reached"):
        small().fit(DIGITS, LABELS)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("hook", ["on_fit_begin", "on_epoch_begin", "on_epoch_end"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_history_is_of_the_fit_that_was_broken_off(kind, hook, error):
    """Not of the one before, of which nothing else is left."""

    def stop(run):
        if hook == "on_fit_begin" or run.epoch == 3:
            raise error

    model = small(kind, max_iter=5).fit(DIGITS, LABELS, validation_data=HELD_OUT)
    before = model.history_
    model.set_params(callbacks=[fastnn.LambdaCallback(**{hook: stop})], random_state=5)
    expect = pytest.warns(UserWarning, match="Training interrupted by user")
    with expect if error is KeyboardInterrupt else pytest.raises(error):
        model.fit(DIGITS, LABELS, validation_data=HELD_OUT)
    epochs = {"on_fit_begin": 0, "on_epoch_begin": 2, "on_epoch_end": 3}[hook]
    assert len(model.history_) == model.n_iter_ == epochs
    assert model.history_.loss == model.loss_curve_
    assert model.history_.curves.get("val_score", []) == (model.validation_scores_ or [])
    assert before is not model.history_


def test_the_history_of_a_fit_that_diverged():
    model = small(MLPRegressor, solver="sgd", max_iter=5, learning_rate_init=1e-6)
    model.fit(DIGITS, LABELS)
    assert len(model.history_) == 5
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.set_params(learning_rate_init=1e9).fit(DIGITS, LABELS)
    assert len(model.history_) == model.n_iter_ < 5


def test_ctrl_c_between_two_curves_leaves_whole_epochs():
    def stop(run):
        if run.epoch == 3:
            run.history.curves["loss"].append(1.0)
            run.history.curves["accuracy"].pop()
            raise KeyboardInterrupt

    model = small(callbacks=[fastnn.LambdaCallback(on_epoch_end=stop)])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(DIGITS, LABELS)
    assert model.history_.epochs == [1, 2]
    assert {len(curve) for curve in model.history_.curves.values()} == {2}
    assert str(model.history_)


def test_lbfgs_leaves_no_history_of_another_solver():
    model = small().fit(DIGITS, LABELS)
    assert len(model.history_)
    model.set_params(solver="lbfgs", tol=1e9).fit(DIGITS, LABELS)
    assert not hasattr(model, "history_")


# ------------------------------------------------------------------ held-out labels


@pytest.mark.parametrize("labels", [np.arange(10), np.array(list("abcdefghij"))])
@pytest.mark.parametrize("early", [False, True])
def test_held_out_samples_may_lack_a_class(labels, early):
    X, y = HELD_OUT
    few = y < 8
    model = small(warm_start=True, early_stopping=early)
    for _ in range(2):
        model.fit(DIGITS, labels[LABELS], validation_data=(X[few], labels[y[few]]))
    score = model.score(X[few], labels[y[few]])
    found = max(model.validation_scores_) if early else model.validation_scores_[-1]
    assert found == pytest.approx(score)
    with pytest.raises(ValueError, match="`y` has the same classes as in the previous call"):
        model.fit(DIGITS[LABELS < 8], labels[LABELS[LABELS < 8]])


@pytest.mark.parametrize("warm", [False, True])
def test_held_out_samples_of_an_unknown_class(warm):
    X, y = HELD_OUT
    known = LABELS < 8
    with pytest.raises(ValueError, match=r"`validation_data\[1\]` has classes not in `self.clas"):
        small(warm_start=warm).fit(DIGITS[known], LABELS[known], validation_data=(X, y))


@pytest.mark.parametrize(
    ("kind", "y", "held_out", "words"),
    [
        (MLPClassifier, np.eye(4)[LABELS % 4], LABELS % 4, r"\(300,\), expected \(300, 4\), as y"),
        (MLPClassifier, LABELS % 4, np.eye(4)[LABELS % 4], r"\(300, 4\), expected \(300,\), as y"),
        (MLPClassifier, LABELS % 2, np.eye(2)[LABELS % 2], r"\(300, 2\), expected \(300,\), as y"),
        (MLPClassifier, np.eye(4)[LABELS % 4], np.eye(4)[LABELS % 4][:, :3], r"\(300, 3\), expect"),
        (MLPRegressor, np.eye(2)[LABELS % 2], LABELS % 2, r"\(300,\), expected \(300, 2\), as y"),
    ],
)
def test_held_out_targets_are_of_the_form_of_the_others(kind, y, held_out, words):
    with pytest.raises(ValueError, match=r"validation_data\[1\] has shape " + words):
        small(kind).fit(DIGITS, y, validation_data=(DIGITS, held_out))


def test_ctrl_c_ends_training_with_a_warning():
    def interrupt(run):
        if run.epoch == 3:
            raise KeyboardInterrupt

    model = small(callbacks=[fastnn.LambdaCallback(on_epoch_end=interrupt)])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(DIGITS, LABELS)
    assert model.n_iter_ == 3
    assert model.predict(DIGITS).shape == (300,)


def test_multilabel_targets_of_more_than_yes_and_no():
    y = np.column_stack([LABELS, LABELS])
    with pytest.raises(ValueError, match="Multioutput target data is not supported"):
        small().fit(DIGITS, y)
    X, y = make_multilabel_classification(n_samples=60, n_classes=4, random_state=0)
    model = small().fit(X, y)
    assert_array_equal(model.classes_, range(4))
    with pytest.raises(ValueError, match="the same classes as in the previous"):
        model.set_params(warm_start=True).fit(X, y[:, :3])
