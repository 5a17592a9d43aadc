"""Estimators that several ranks train together: the same on each, and on any number of them.

Ranks are threads here, as in `test_ranks.py`.
"""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_ranks import run_ranks

import fastnn
from fastnn import MLPClassifier, MLPRegressor
from fastnn.distributed import RankLeftError, RanksDifferError, one

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, LABELS = (array[:300] for array in load_digits(return_X_y=True))
X = X / 16
HELD_OUT = X[200:], LABELS[200:]
NUMBERS = np.stack([X[:, 10], X[:, 20] - X[:, 30]], axis=1)
WEIGHTS = np.random.default_rng(0).random(300)


def fit(ranks, kind=MLPClassifier, X=X, y=None, **options):
    """Return (all that a fit gives, the estimator)."""
    y = (LABELS if kind is MLPClassifier else NUMBERS) if y is None else y
    names = "sample_weight", "validation_data"
    data = {name: options.pop(name) for name in names if name in options}
    options = {"hidden_layer_sizes": 16, "max_iter": 4, "random_state": 0, **options}
    parts = options.pop("parts", False)
    network = kind(**options)
    network.fit(X, y, ranks=ranks, parts=parts, **data)
    results = (
        network.model_.parameters.tobytes(), network.history_.curves, network.loss_curve_,
        network.validation_scores_, network.best_validation_score_, network.n_iter_, network.t_,
    )  # fmt: skip
    return results, network


OPTIONS = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1, "n_iter_no_change": 1},
    "no momentum": {"solver": "sgd", "momentum": 0.0},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 30},
    "dropout": {"dropout": 0.3},
    "weights": {"sample_weight": WEIGHTS},
    "order": {"shuffle": False, "batch_size": 50},
    "sparse": {"X": sparse.csr_array(X)},
}
CLASSES = {
    "validation": {"validation_data": HELD_OUT},
    "balanced": {"class_weight": "balanced"},
    "two classes": {"y": LABELS % 2},
    "names": {"y": np.array([f"class {label}" for label in LABELS])},
    "smoothing": {"label_smoothing": 0.1},
}
CASES = [
    (kind, name, options)
    for kind, cases in ((MLPClassifier, OPTIONS | CLASSES), (MLPRegressor, OPTIONS))
    for name, options in cases.items()
]


@pytest.mark.parametrize(("kind", "name", "options"), CASES)
def test_the_number_of_ranks_changes_no_bit(kind, name, options):
    expected, _ = fit(one(4), kind, **options)
    for size in (2, 3):
        results = run_ranks(size, 4, lambda ranks: fit(ranks, kind, **options)[0])
        assert results == [expected] * size


@pytest.mark.parametrize(("kind", "name", "options"), CASES)
def test_one_shard_has_the_bits_of_a_fit_alone(kind, name, options):
    (parameters, curves, *_), _ = fit(one(), kind, alpha=0.0, **options)
    (expected, others, *_), _ = fit(None, kind, alpha=0.0, **options)
    assert parameters == expected
    assert curves.keys() == others.keys()
    for name, curve in curves.items():
        np.testing.assert_allclose(curve, others[name], rtol=1e-12)


def test_a_pipeline_and_what_follows():
    def train(ranks):
        network = MLPClassifier(16, max_iter=4, random_state=0)
        pipeline = make_pipeline(StandardScaler(), network)
        pipeline.fit(X, LABELS, mlpclassifier__ranks=ranks)
        return pipeline.predict_proba(X).tobytes()

    assert run_ranks(3, 4, train) == [train(one(4))] * 3


def test_a_fit_goes_on_with_ranks():
    def train(ranks):
        network = MLPClassifier(16, max_iter=2, random_state=0, warm_start=True)
        network.fit(X, LABELS, ranks=ranks).fit(X, LABELS, ranks=ranks)
        return network.model_.parameters.tobytes(), network.loss_curve_

    expected = train(one(4))
    assert len(expected[1]) == 4
    assert run_ranks(2, 4, train) == [expected] * 2


def test_ranks_are_no_part_of_an_estimator():
    import pickle

    _, network = fit(one(2))
    assert "ranks" not in network.get_params()
    assert pickle.loads(pickle.dumps(network)).score(X, LABELS) == network.score(X, LABELS)


def test_one_rank_prints(capsys):
    run_ranks(3, 4, lambda ranks: fit(ranks, verbose=True))
    assert capsys.readouterr().out.count("Iteration 1, loss = ") == 1


# ---------------------------------------------------------------------------- what goes wrong


def test_bad_input_of_one_rank_is_the_error_of_all():
    bad = X.copy()
    bad[3, 5] = np.nan
    cases = (
        ({"X": bad}, "on rank 1 Input X contains NaN"),
        ({"y": LABELS[:-1]}, "on rank 1 Found input variables with inconsistent"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "on rank 1 The"),
    )
    for options, text in cases:

        def call(ranks, options=options):
            own = {"X": X, "y": LABELS, **(options if ranks.rank == 1 else {})}
            samples = own.pop("X"), own.pop("y")
            network = MLPClassifier(16, max_iter=2, random_state=0, **own)
            before = dict(vars(network))
            try:
                network.fit(*samples, ranks=ranks)
            finally:
                assert vars(network) == before

        errors = run_ranks(3, 4, call)
        for error in errors:
            assert isinstance(error, ValueError), error
            assert str(error).startswith(text), error
            assert str(error) == str(errors[0])


def test_other_settings_of_one_rank_are_named_on_all():
    def call(ranks, **options):
        own = options if ranks.rank == 1 else {}
        fit(ranks, **own)

    cases = (
        ({"random_state": 1}, "on rank 1 random_state is 1, expected 0, as on rank 0"),
        ({"alpha": 0.1}, "on rank 1 alpha is 0.1, expected 0.0001, as on rank 0"),
        ({"X": X + 1.0}, "the digest of samples of X"),
    )
    for options, text in cases:
        for error in run_ranks(2, 4, lambda ranks, options=options: call(ranks, **options)):
            assert isinstance(error, RanksDifferError), error
            assert text in str(error)


def test_another_order_is_named_on_all():
    """A random state that has been used draws other orders for a network that goes on."""

    def call(ranks):
        state = np.random.RandomState(0)
        network = MLPClassifier(16, max_iter=2, random_state=state, warm_start=True)
        network.fit(X, LABELS, ranks=ranks)
        if ranks.rank == 1:
            state.random_sample()
        network.fit(X, LABELS, ranks=ranks)

    for error in run_ranks(2, 4, call):
        assert isinstance(error, RanksDifferError), error
        assert "on rank 1 shuffle gave another order of the samples" in str(error)


def test_an_interrupted_rank_ends_all():
    def call(ranks):
        def interrupt(run):
            if ranks.rank == 1 and run.epoch == 2:
                raise KeyboardInterrupt

        fit(ranks, callbacks=[fastnn.LambdaCallback(on_epoch_begin=interrupt)])

    first, second = run_ranks(2, 4, call)
    assert isinstance(second, KeyboardInterrupt)
    assert isinstance(first, RankLeftError)
    assert str(first) == "rank 1 has left the training: KeyboardInterrupt"


def test_bad_arguments():
    network = MLPClassifier(16, max_iter=2, random_state=0)
    with pytest.raises(TypeError, match="ranks is 4, expected what mpi_ranks or one of"):
        network.fit(X, LABELS, ranks=4)
    with pytest.raises(ValueError, match="ranks is given, expected None for the solver lbfgs"):
        fit(one(2), solver="lbfgs")
    with pytest.raises(TypeError, match="random_state is None, expected an int beside ranks"):
        fit(one(2), random_state=None)
    assert not hasattr(network, "model_")


# ------------------------------------------------------------------------------------- parts


def fit_part(ranks, kind, **options):
    """As `fit`, where each rank has a part of the samples, of another size."""
    limits = [0, 40, 190, 300] if ranks.size == 3 else [300 * i // ranks.size for i in range(99)]
    own = slice(limits[ranks.rank], limits[ranks.rank + 1])
    y = LABELS if kind is MLPClassifier else NUMBERS
    samples = {"X": options.pop("X", X)[own], "y": options.pop("y", y)[own]}
    if "sample_weight" in options:
        samples["sample_weight"] = options.pop("sample_weight")[own]
    return fit(ranks, kind, parts=True, **samples, **options)


PARTS = [case for case in CASES if not case[2].get("early_stopping")]


@pytest.mark.parametrize(("kind", "name", "options"), PARTS)
def test_parts_have_the_bits_of_the_whole(kind, name, options):
    expected, whole = fit(one(4), kind, **options)
    results = run_ranks(3, 4, lambda ranks: fit_part(ranks, kind, **options))
    for result, network in results:
        assert result == expected
        if kind is MLPClassifier:
            assert np.array_equal(network.classes_, whole.classes_)
    assert fit_part(one(4), kind, **options)[0] == expected


def test_a_class_that_only_one_rank_has():
    order = np.argsort(LABELS, kind="stable")
    options = {"X": X[order], "y": LABELS[order]}
    expected, _ = fit(one(4), **options)
    for result, network in run_ranks(3, 4, lambda ranks: fit_part(ranks, MLPClassifier, **options)):
        assert result == expected
        assert len(network.classes_) == 10


def test_parts_that_do_not_fit_together_are_refused_on_all():
    def differ(ranks):
        fit(ranks, X=X[:, : 64 - (ranks.rank == 1)], parts=True)

    for error in run_ranks(3, 4, differ):
        assert isinstance(error, RanksDifferError)
        assert str(error) == (
            "on rank 1 the number of features of X is 63, expected 64, as on rank 0"
        )

    def kinds(ranks):
        fit(ranks, y=LABELS.astype(str) if ranks.rank == 2 else LABELS, parts=True)

    for error in run_ranks(3, 4, kinds):
        assert isinstance(error, RanksDifferError)
        assert str(error).startswith("on rank 2 the kind of y is 'U', expected 'i'")


def test_what_parts_cannot_have_is_refused():
    with pytest.raises(ValueError, match="parts is True, expected ranks beside it"):
        fit(None, parts=True)
    with pytest.raises(ValueError, match="early_stopping is True, expected validation_data"):
        fit(one(4), parts=True, early_stopping=True)
    fit(one(4), parts=True, early_stopping=True, validation_data=HELD_OUT)
    with pytest.raises(TypeError, match="parts is 1, expected"):
        fit(one(4), parts=1)
