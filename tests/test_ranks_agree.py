"""What ranks compare with each other, so that none trains another network or is left waiting.

Ranks are threads here. `test_mpi.py` has the same with processes under mpirun.
"""

import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits
from test_ranks import Exchange, ThreadRanks, data, run_ranks, train

import fastnn
from fastnn import MLPClassifier
from fastnn.distributed import DivergedRanksError, RanksDifferError, one
from fastnn.nn.configs import find_difference
from fastnn.program.ranks import compare

HELD_OUT = data()[0][:40], data()[1][:40]
OTHER = HELD_OUT[0], (HELD_OUT[1] + 1) % 3


def fit_with(**others):
    """Return what each of two ranks raises or returns; rank 1 has other arguments."""
    return run_ranks(2, 4, lambda ranks: train(ranks, **(others if ranks.rank else {})))


def check_all_differ(errors, text):
    """Check that all ranks have the same error, which contains a text."""
    for error in errors:
        assert isinstance(error, RanksDifferError), repr(error)
        assert text in str(error)
        assert str(error) == str(errors[0])


def parts_of(arrays):
    """Return validation data that are read in parts."""
    return lambda: iter([tuple(each[:25] for each in arrays), tuple(each[25:] for each in arrays)])


# ------------------------------------------------------------------------- validation data


def validation_cases():
    X, y = HELD_OUT
    weights = np.arange(40.0)
    last = X.copy()
    last[-1, -1] += 1  # not one of a few samples that are looked at
    return {
        "y": ((X, y), OTHER, "the digest of y for validation"),
        "X": ((X, y), (last, y), "the digest of X for validation"),
        "rows": ((X, y), (X[:-1], y[:-1]), "the shape of X for validation is (39, 7)"),
        "targets": (
            (X, np.eye(3)[y]), (X, 0.9 * np.eye(3)[y] + 0.1 / 3),
            "the digest of the rows of y for validation",
        ),
        "weights": (
            (X, y, weights), (X, y, weights[::-1].copy()),
            "the digest of sample_weight for validation",
        ),
        "no weights": ((X, y, weights), (X, y), "the digest of sample_weight for validation"),
    }  # fmt: skip


@pytest.mark.parametrize("case", validation_cases())
def test_other_validation_data_are_named_on_all(case):
    first, other, text = validation_cases()[case]

    def fit(ranks):
        stop = fastnn.EarlyStopping(patience=3)
        train(ranks, validation_data=other if ranks.rank else first, callbacks=[stop], epochs=9)

    check_all_differ(run_ranks(2, 4, fit), f"on rank 1 {text}")


def test_other_samples_that_are_split_off_are_named():
    X, _ = data()
    others = X.copy()
    others[-1] += 1

    def fit(ranks):
        train(ranks, validation_split=0.2, X=others if ranks.rank else X)

    check_all_differ(run_ranks(2, 4, fit), "on rank 1 the digest of X for validation is")


def test_validation_data_on_one_rank_are_named():
    check_all_differ(
        fit_with(validation_data=HELD_OUT), "on rank 1 curves is ['loss', 'accuracy', 'val_loss'"
    )


def test_other_batches_of_validation_data_are_named():
    def fit(ranks, others):
        source = parts_of(others if ranks.rank else HELD_OUT)
        return train(ranks, validation_data=source)

    check_all_differ(
        run_ranks(2, 4, lambda ranks: fit(ranks, OTHER)),
        "on rank 1 the batches of validation_data are others than on rank 0 in epoch 1",
    )
    expected = train(one(4), validation_data=parts_of(HELD_OUT))
    assert run_ranks(2, 4, lambda ranks: fit(ranks, HELD_OUT)) == [expected] * 2


def test_validation_data_of_another_layout_are_the_same():
    """The dtype in memory, sparse or dense, does not matter: the network gets the same numbers."""
    from scipy import sparse

    X, y = HELD_OUT
    forms = [(X, y), (X.astype(np.float64), y), (np.asfortranarray(X), y), (sparse.csr_array(X), y)]
    expected = train(one(4), validation_data=forms[0])
    results = run_ranks(4, 4, lambda ranks: train(ranks, validation_data=forms[ranks.rank]))
    assert results == [expected] * 4


# --------------------------------------------------------- all else that decides the course


def test_other_callbacks_are_named():
    def stop(**options):
        return fastnn.EarlyStopping("loss", **options)

    cases = (
        ([stop()], [stop(patience=3)], "on rank 1 callbacks[0].patience is 3, expected 10"),
        ([stop()], [], "on rank 1 the number of callbacks is 0, expected 1"),
        ([], [stop()], "on rank 1 the number of callbacks is 1, expected 0"),
        (
            [stop(), fastnn.WeightAverage(0.9)], [fastnn.WeightAverage(0.9), stop()],
            "on rank 1 the class of callbacks[0] is 'WeightAverage', expected 'EarlyStopping'",
        ),
    )  # fmt: skip
    for first, other, text in cases:

        def fit(ranks, first=first, other=other):
            train(ranks, callbacks=other if ranks.rank else first)

        check_all_differ(run_ranks(2, 4, fit), text)


def test_the_state_of_a_callback_of_another_checkpoint_is_named(tmp_path):
    def begin(baseline, path):
        stop = fastnn.EarlyStopping("loss", baseline=baseline)
        train(one(4), callbacks=[stop, fastnn.Checkpoint(path)], epochs=2)

    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    begin(None, paths[0])
    begin(0.0, paths[1])  # it has waited for two epochs

    def go_on(ranks):
        stop = fastnn.EarlyStopping("loss")
        train(ranks, callbacks=[stop], epochs=4, resume=paths[ranks.rank])

    check_all_differ(run_ranks(2, 4, go_on), "on rank 1 callbacks[0].state is")


def test_callbacks_that_write_and_those_of_a_user_may_be_on_one_rank(tmp_path):
    class Log(fastnn.Callback):
        def on_epoch_end(self, run):
            pass

    def fit(ranks):
        own = [Log(), fastnn.CSVLogger(tmp_path / "log.csv"), fastnn.LambdaCallback()]
        return train(ranks, callbacks=[] if ranks.rank else own)

    assert run_ranks(2, 4, fit) == [train(one(4))] * 2


def test_metrics_of_another_direction_are_named():
    def worst(y_true, y_pred):
        return float(np.abs(y_true - y_pred).max())

    def fit(ranks):
        train(ranks, metrics=[fastnn.Metric(worst, higher_is_better=bool(ranks.rank))])

    check_all_differ(run_ranks(2, 4, fit), "on rank 1 metrics[0].higher_is_better is True, expect")


def test_another_state_of_a_schedule_is_named():
    def fit(ranks):
        rate = fastnn.ReduceOnPlateau(0.1, monitor="loss", patience=3)
        optimizer = fastnn.SGD(rate, momentum=0.9)
        model = fastnn.Sequential([fastnn.Dense(7, 3, rng=0)])
        model.fit(*data(), seed=0, ranks=ranks, optimizer=optimizer)
        if ranks.rank:
            rate.observe({"loss": 99.0})
        model.fit(*data(), seed=0, ranks=ranks, optimizer=optimizer)

    check_all_differ(run_ranks(2, 4, fit), "on rank 1 the state of the learning rate is")


def test_a_random_generator_whose_state_has_arrays():
    def fit(ranks, other):
        seed = np.random.Generator(np.random.MT19937(other * ranks.rank))
        return train(ranks, seed=seed)

    assert run_ranks(2, 4, lambda ranks: fit(ranks, 0))[1][1]["loss"]
    check_all_differ(
        run_ranks(2, 4, lambda ranks: fit(ranks, 1)),
        "on rank 1 the state of the random generator of seed is",
    )


# ---------------------------------------------------------------------------- after the end


def test_parameters_that_differ_after_the_end_are_an_error_of_all():
    """A callback of a user has other parameters on a rank, and no epoch follows."""

    def fit(ranks):
        model = fastnn.Sequential([fastnn.Dense(7, 3, rng=0)])

        def change(run):
            if ranks.rank == 1:
                model.parameters = model.parameters * np.float32(2)

        change = fastnn.LambdaCallback(on_fit_end=change)
        model.fit(*data(), epochs=3, seed=0, ranks=ranks, callbacks=[change])

    for error in run_ranks(3, 4, fit):
        assert isinstance(error, DivergedRanksError), repr(error)
        assert str(error) == (
            "rank 1 has other parameters than rank 0 after the end of the training, "
            "expected the same bits on all ranks"
        )


def test_best_epochs_that_differ_are_an_error_of_all():
    """A metric of a user is not the same on the ranks: each restores another epoch."""

    def fit(ranks):
        values = iter([5.0, 1.0, 2.0, 3.0] if ranks.rank else [5.0, 3.0, 2.0, 1.0])
        metric = fastnn.Metric(lambda y, p: next(values), "own", higher_is_better=False)
        train(ranks, metrics=[metric], callbacks=[fastnn.EarlyStopping("own")])

    for error in run_ranks(2, 4, fit):
        assert isinstance(error, DivergedRanksError), repr(error)
        assert "after the end of the training" in str(error)


# ------------------------------------------------------------------------------- estimators

X, LABELS = (array[:300] for array in load_digits(return_X_y=True))
X = X / 16


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_other_validation_data_of_an_estimator_are_named():
    options = {"max_iter": 4, "random_state": 0, "early_stopping": True}
    pair = X[200:], LABELS[200:]
    other = X[200:], (LABELS[200:] + 1) % 10

    def fit(ranks):
        network = MLPClassifier(16, **options)
        network.fit(X, LABELS, ranks=ranks, validation_data=other if ranks.rank else pair)

    check_all_differ(run_ranks(2, 4, fit), "on rank 1 the digest of y for validation is")


def test_a_metric_of_an_estimator_that_raises_is_the_error_of_all():
    def fit(ranks):
        def metric(y_true, y_pred):
            if ranks.rank:
                raise ValueError("no such metric")
            return 1.0

        network = MLPClassifier(16, random_state=0, early_stopping=True, metric=metric)
        network.fit(X, LABELS, ranks=ranks)

    for error in run_ranks(2, 4, fit):
        assert isinstance(error, ValueError), repr(error)
        assert "no such metric" in str(error)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_best_parameters_of_an_estimator_that_differ_are_an_error_of_all():
    def fit(ranks):
        scores = iter([0.0, 0.5, 0.1, 0.1, 0.1] if ranks.rank else [0.0, 0.5, 0.1, 0.1, 0.6])
        network = MLPClassifier(
            16, max_iter=4, random_state=0, early_stopping=True, metric=lambda *_: next(scores)
        )
        network.fit(X, LABELS, ranks=ranks)

    for error in run_ranks(2, 4, fit):
        assert isinstance(error, DivergedRanksError), repr(error)
        assert "rank 1 has other parameters than rank 0 after the end" in str(error)


# -------------------------------------------------------------------- messages of all sizes


def run_with_shards(shards, call):
    """Return what call(ranks) gives on each rank; rank r has `shards[r]`."""
    shared, results = Exchange(len(shards)), [None] * len(shards)

    def run(rank):
        try:
            results[rank] = call(ThreadRanks(rank, shards[rank], shared))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(shards))]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
        assert not each.is_alive(), "a rank hangs"
    return results


@pytest.mark.parametrize("shards", [(4, 5), (4, 40), (2, 3, 2), (1, 2)])
def test_other_shards_are_named_on_all(shards):
    if len(shards) > shards[0]:
        shards = tuple(each + 2 for each in shards)
    errors = run_with_shards(shards, train)
    check_all_differ(errors, f"on rank 1 shards is {shards[1]}, expected {shards[0]}, as on rank 0")
    estimator = MLPClassifier(16, max_iter=2, random_state=0)
    errors = run_with_shards(shards, lambda ranks: estimator.fit(X, LABELS, ranks=ranks))
    check_all_differ(errors, "on rank 1 shards is")


def test_another_version_is_named_on_all(monkeypatch):
    versions = threading.local()

    class Version:
        def __str__(self):
            return versions.here

    monkeypatch.setattr("fastnn.program.ranks.__version__", Version())

    def fit(ranks):
        versions.here = f"9.{ranks.rank}"
        train(ranks)

    check_all_differ(
        run_ranks(2, 4, fit), "on rank 1 the version of fastnn is '9.1', expected '9.0'"
    )


def test_parts_on_one_rank_are_named_on_all():
    check_all_differ(fit_with(parts=True), "on rank 1 parts is True, expected False, as on rank 0")

    def fit(ranks):
        train(ranks, parts=ranks.rank == 0)

    check_all_differ(run_ranks(3, 4, fit), "on rank 1 parts is False, expected True, as on rank 0")


def test_a_bad_value_of_parts_on_one_rank_is_the_error_of_all():
    for usual in (True, False):

        def fit(ranks, usual=usual):
            train(ranks, parts=2 if ranks.rank == 1 else usual)

        for error in run_ranks(3, 4, fit):
            assert isinstance(error, TypeError), repr(error)
            assert str(error) == "on rank 1 parts is 2, expected True or False"


def test_networks_that_differ_are_named_before_parts_are_joined():
    """The rows of y that ranks send each other have a size that depends on the network."""
    x, _ = data()

    def fit(ranks, n_outputs, dtype):
        model = fastnn.Sequential(
            [fastnn.Dense(7, n_outputs, rng=0, dtype=dtype)], loss=fastnn.MeanSquaredError()
        )
        targets = np.ones((len(x), n_outputs))
        model.fit(x, targets, seed=0, ranks=ranks, parts=True)

    cases = (
        (lambda rank: (3 + rank, np.float32), "on rank 1 model.layers[0].n_neurons is 4, expected"),
        (lambda rank: (3, (np.float32, np.float64)[rank]), "on rank 1 model.dtype is 'float64'"),
    )
    for arguments, text in cases:
        errors = run_ranks(
            2, 4, lambda ranks, arguments=arguments: fit(ranks, *arguments(ranks.rank))
        )
        check_all_differ(errors, text)


# -------------------------------------------------------------------- the first difference


def test_the_first_difference_is_named_by_its_path():
    def fit(ranks):
        layers = [fastnn.Dense(7, 3, rng=0, weights_l2=0.1 * ranks.rank)]
        fastnn.Sequential(layers).fit(*data(), seed=0, ranks=ranks)

    check_all_differ(
        run_ranks(2, 4, fit),
        "on rank 1 model.layers[0].weights_l2 is 0.1, expected 0.0, as on rank 0",
    )
    check_all_differ(fit_with(batch_size=16), "on rank 1 batch_size is 16, expected 32, as on")
    check_all_differ(fit_with(scale=2.0), "on rank 1 scale is 2.0, expected 1.0, as on rank 0")
    check_all_differ(
        fit_with(optimizer="clip"), "on rank 1 the class of optimizer is 'Adam', expected 'SGD'"
    )
    check_all_differ(fit_with(network="dropout"), "on rank 1 the number of model.layers is 4")


def test_compare_names_what_only_one_rank_has():
    def call(ranks, first, other):
        compare(ranks, other if ranks.rank else first)

    cases = (
        ({}, {"a": 1}, "on rank 1 a is 1, expected None, as on rank 0"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "on rank 1 a.b[1] is 3, expected 2, as"),
        (
            {"a": "x" * 500 + "y"},
            {"a": "x" * 500 + "z"},
            f"on rank 1 a is ...{'x' * 30}z', expected",
        ),
        ({"a": [1, 2]}, {"a": [1]}, "on rank 1 a is [1], expected [1, 2], as on rank 0"),
    )
    for first, other, text in cases:
        errors = run_ranks(2, 2, lambda ranks, a=first, b=other: call(ranks, a, b))
        check_all_differ(errors, text)
    assert run_ranks(2, 2, lambda ranks: call(ranks, {"a": 1}, {"a": 1.0})) == [None] * 2


def test_find_difference_of_empty_lists():
    assert find_difference([], [{"class": "Dense"}], "layers") == ("the number of layers", 0, 1)
    assert find_difference([], [], "layers") is None


# --------------------------------------------------------------------- attributes of ranks


@pytest.mark.parametrize("name", ["rank", "size", "shards", "timeout"])
def test_attributes_of_ranks_cannot_be_assigned(name):
    ranks = one(4)
    before = train(ranks)
    for value in (0, 4, 7, "x", None):
        with pytest.raises(AttributeError, match=f"{name} cannot be assigned.*make new ranks"):
            setattr(ranks, name, value)
    with pytest.raises(AttributeError, match=f"{name} cannot be deleted"):
        delattr(ranks, name)
    assert train(ranks) == before
