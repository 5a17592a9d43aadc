"""Ranks that hold a part of the samples each: the bits of the whole, and bad parts.

Ranks are threads here, as in `test_ranks.py`.
"""

import numpy as np
import pytest
from scipy import sparse
from test_ranks import CLASSES, FEATURES, NETWORKS, ROWS, data, run_ranks, train

import fastnn
from fastnn.distributed import RankLeftError, RanksDifferError, one
from fastnn.program import inputs, windows
from fastnn.run.request import FitArguments
from fastnn.validation import NotFiniteError

WEIGHTS = np.random.default_rng(3).random(ROWS)


def limits_of(size, kind="even"):
    """Return the limits of the parts of `size` ranks."""
    if kind == "even":
        return [ROWS * i // size for i in range(size + 1)]
    return [*range(size), ROWS]  # one row on each rank but the last


def train_part(ranks, *arguments, limits, X=None, y=None, sample_weight=None, **options):
    """As `train`, on the rows of this rank."""
    rows = slice(limits[ranks.rank], limits[ranks.rank + 1])
    whole = data(options.get("dtype", np.float32))
    X, y = (each if own is None else own for own, each in zip((X, y), whole, strict=True))
    if sample_weight is not None:
        options["sample_weight"] = sample_weight[rows]
    return train(ranks, *arguments, X=X[rows], y=y[rows], parts=True, **options)


def check(sizes, shards, *arguments, kind="even", **options):
    expected = train(one(shards), *arguments, **options)
    for size in sizes:
        limits = limits_of(size, kind)
        results = run_ranks(
            size,
            shards,
            lambda r, limits=limits: train_part(r, *arguments, limits=limits, **options),
        )
        assert results == [expected] * size, size


@pytest.fixture(autouse=True, params=[1, 2 * 32 * FEATURES * 4, 10**7])
def window(request, monkeypatch):
    """Let a window have one batch, some, or all."""
    monkeypatch.setattr(windows, "WINDOW_BYTES", request.param)


# ------------------------------------------------------------------------------------ the bits


@pytest.mark.parametrize("kind", ["even", "uneven"])
@pytest.mark.parametrize("network", ["relu", "dropout", "norm", "batch norm"])
def test_parts_have_the_bits_of_the_whole(network, kind):
    check((1, 2, 3, 4), 4, network, "adam", kind=kind)


OPTIONS = {
    "float64": {"dtype": np.float64},
    "weights": {"sample_weight": WEIGHTS},
    "a part without weight": {"sample_weight": np.r_[np.zeros(ROWS - 20), WEIGHTS[:20]]},
    "class weights": {"class_weight": {0: 1.0, 1: 0.0, 2: 3.0}},
    "rows of y": {"y": np.full((ROWS, CLASSES), 1 / 3)},
    "numbers": {"y": np.eye(3)[data()[1]], "loss": fastnn.MeanSquaredError()},
    "int8": {"X": (data()[0] * 20).astype(np.int8), "scale": 0.05},
    "float64 for float32": {"X": data(np.float64)[0]},
    "int64": {"X": (data()[0] * 20).astype(np.int64)},
    "strides": {"X": np.asfortranarray(data()[0])},
    "short epochs": {"drop_last": True, "steps_per_epoch": 2},
    "own order": {"shuffle": lambda n: np.arange(n)[::-1]},
    "in order": {"shuffle": False},
    "small batches": {"batch_size": 3},
    "one batch": {"batch_size": ROWS},
    "validation": {"validation_data": data(), "metrics": ["f1"]},
}  # fmt: skip


@pytest.mark.parametrize("small", [0, inputs.SMALL])
@pytest.mark.parametrize("name", OPTIONS)
def test_parts_have_the_bits_of_the_whole_for_all_data(name, small, monkeypatch):
    monkeypatch.setattr(inputs, "SMALL", small)
    options = OPTIONS[name]
    expected = train(one(4), **options)
    results = run_ranks(3, 4, lambda ranks: train_part(ranks, limits=limits_of(3), **options))
    if name == "validation":  # metrics of what other ranks hold are not measured
        assert "f1" in expected[1]
        del expected[1]["f1"]
    assert results == [expected] * 3


def test_small_and_large_parts_of_numbers_that_are_converted(monkeypatch):
    """Only the small part is converted beforehand: its rank sends others than these hold."""
    X = (data()[0] * 20).astype(np.int8)
    expected = train(one(4), X=X, scale=0.05)
    monkeypatch.setattr(inputs, "SMALL", 20 * FEATURES * 4)
    limits = [0, 100, 110, ROWS]
    results = run_ranks(3, 4, lambda r: train_part(r, limits=limits, X=X, scale=0.05))
    assert results == [expected] * 3


def test_a_file_in_memory_is_a_part(tmp_path):
    X, y = data()
    for rank, rows in enumerate(np.array_split(X, 3)):
        np.save(tmp_path / f"{rank}.npy", rows)

    def fit(ranks):
        part = np.load(tmp_path / f"{ranks.rank}.npy", mmap_mode="r")
        return train(ranks, X=part, y=np.array_split(y, 3)[ranks.rank], parts=True)

    assert run_ranks(3, 4, fit) == [train(one(4))] * 3


@pytest.mark.parametrize("weighted", [False, True])
def test_targets_of_a_part_may_all_be_missing(weighted):
    y = np.where(data()[1] == 1, np.nan, data()[0][:, :3].T > 0).T
    y[:60] = np.nan  # those of the first rank and some
    options = {"loss": fastnn.BinaryCrossEntropy(mask_nan=True), "y": y}
    if weighted:
        options["sample_weight"] = np.random.default_rng(3).random(ROWS)
    check([3], 4, **options)
    with pytest.raises(ValueError, match=r"^y has only NaN where samples count"):
        train(one(4), loss=options["loss"], y=np.full(y.shape, np.nan), parts=True)


@pytest.mark.parametrize("unit", ["epochs", "batches"])
def test_a_checkpoint_of_parts_resumes_on_others_and_on_the_whole(tmp_path, unit):
    path, expected = tmp_path / "run.safetensors", train(one(4), "dropout", "adam")

    class Stop(fastnn.Callback):
        chunk_steps = 1

        def on_chunk_end(self, run):
            if unit == "batches" and (run.epoch, run.step) == (2, 4):
                raise InterruptedError

        def on_epoch_begin(self, run):
            if unit == "epochs" and run.epoch == 2:
                raise InterruptedError

    def begin(ranks):
        callbacks = [fastnn.Checkpoint(path, unit=unit), Stop()]
        train_part(ranks, "dropout", "adam", limits=limits_of(2), callbacks=callbacks)

    results = run_ranks(2, 4, begin)
    assert all(isinstance(each, InterruptedError | RankLeftError) for each in results)
    assert train(one(4), "dropout", "adam", resume=path) == expected
    options = {"limits": limits_of(3), "resume": path}
    assert run_ranks(3, 4, lambda r: train_part(r, "dropout", "adam", **options)) == [expected] * 3


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array, sparse.coo_matrix])
def test_sparse_parts_have_the_bits_of_the_whole(kind, scale):
    X = data()[0] * (np.random.default_rng(5).random((ROWS, FEATURES)) < 0.3)
    X[40:60] = 0
    expected = train(one(4), X=X, scale=scale, offset=scale - 1, sample_weight=WEIGHTS)

    def fit(ranks, limits):
        rows = slice(limits[ranks.rank], limits[ranks.rank + 1])
        return train(
            ranks, X=kind(X[rows]), y=data()[1][rows], sample_weight=WEIGHTS[rows], parts=True,
            scale=scale, offset=scale - 1,
        )  # fmt: skip

    for limits in ([0, ROWS], [0, 40, 60, ROWS], limits_of(4)):
        results = run_ranks(len(limits) - 1, 4, lambda ranks, limits=limits: fit(ranks, limits))
        assert results == [expected] * (len(limits) - 1)


# ---------------------------------------------------------------------------------- bad input


def parts_with(rank, X=None, y=None, **options):
    """Return a call of `fit` in which one rank passes something else."""

    def fit(ranks):
        part = [each[50 * ranks.rank : 50 * ranks.rank + 50] for each in data()]
        model = fastnn.Sequential(NETWORKS["relu"](np.float32))
        before = model.parameters.tobytes()
        if ranks.rank == rank:
            part = [own(each) if own else each for own, each in zip((X, y), part, strict=True)]
        try:
            model.fit(*part, seed=0, ranks=ranks, parts=True, verbose=0, **options)
        finally:
            assert model.parameters.tobytes() == before

    return fit


def nan_in_row_7(rows):
    rows = rows.copy()
    rows[7, 3] = np.nan
    return rows


BAD = {
    "features": (
        {"X": lambda X: X[:, :6]}, ValueError, "X has shape (50, 6), expected (n_samples, 7)",
    ),
    "one axis": ({"X": lambda X: X[0]}, ValueError, "X has shape (7,), expected (n_samples, 7)"),
    "empty": (
        {"X": lambda X: X[:0], "y": lambda y: y[:0]}, ValueError,
        "X has shape (0, 7), expected at least one row and column",
    ),
    "NaN": ({"X": nan_in_row_7}, ValueError, "X[7, 3] is nan"),
    "objects": ({"X": lambda X: X.astype(object) * "a"}, TypeError, ""),
    "rows of y": ({"y": lambda y: y[:-1]}, ValueError, "y has 49 rows, expected 50 labels"),
    "labels": ({"y": lambda y: y + 1}, ValueError, "y"),
    "names": ({"y": lambda y: y.astype(str)}, TypeError, "y has dtype <U21"),
    "dtype": (
        {"X": lambda X: X.astype(np.float64)}, RanksDifferError,
        "the dtype of X is '<f8', expected '<f4', as on rank 0",
    ),
    "form of y": (
        {"y": lambda y: np.eye(3)[y]}, RanksDifferError,
        "the form of y is 'rows', expected 'labels', as on rank 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_part_has_the_same_error_on_all_ranks(name):
    options, kind, text = BAD[name]
    if name == "objects":
        options = {"X": lambda X: X.astype(str)}
    errors = run_ranks(3, 4, parts_with(1, **options))
    for error in errors:
        assert isinstance(error, kind), error
        assert str(error) == str(errors[0])
        assert str(error).startswith(f"on rank 1 {text}")


def test_other_weights_have_the_same_error_on_all_ranks():
    def fit(ranks, weights):
        X, y = data()
        train(ranks, X=X, y=y, parts=True, sample_weight=weights[ranks.rank])

    some = np.ones(ROWS)
    cases = (
        ((some, None), "on rank 1 sample_weight is 'None', expected 'an array', as on rank 0"),
        ((some, -some), "on rank 1 sample_weight[0] is -1.0, expected numbers of at least 0"),
        ((some, some[1:]), "on rank 1 sample_weight has shape (149,), expected (150,)"),
        ((some * 0, some * 0), "sample_weight sums to 0, expected"),
    )
    for weights, text in cases:
        for error in run_ranks(2, 4, lambda ranks, weights=weights: fit(ranks, weights)):
            assert isinstance(error, ValueError)
            assert str(error).startswith(text)


def test_a_row_that_is_not_finite_in_a_file_is_named_on_all_ranks(tmp_path):
    X, y = data()
    np.save(tmp_path / "X.npy", nan_in_row_7(X[75:]))

    def fit(ranks):
        part = np.load(tmp_path / "X.npy", mmap_mode="r") if ranks.rank else X[:75]
        train(ranks, X=part, y=y[75:] if ranks.rank else y[:75], parts=True)

    first, second = run_ranks(2, 4, fit)
    assert isinstance(second, NotFiniteError)
    assert str(second).startswith("X[7, 3] is nan")
    assert isinstance(first, RankLeftError)
    assert str(first).startswith("rank 1 has left the training: NotFiniteError: X[7, 3] is nan")


def test_bad_arguments():
    cases = {
        "parts is True, expected ranks beside it": {"ranks": None},
        "parts is 1, expected True or False": {"parts": 1},
        "validation_split is 0.5, expected validation_data in its place": {"validation_split": 0.5},
        "metrics is given, expected validation_data beside it": {"metrics": ["f1"]},
    }
    for text, options in cases.items():
        with pytest.raises((TypeError, ValueError), match=text):
            train(**{"ranks": one(4), "parts": True, **options})
    assert FitArguments().parts is False


def test_a_sparse_part_beside_an_array_is_named_on_all_ranks():
    for error in run_ranks(3, 4, parts_with(1, X=sparse.csr_array)):
        assert isinstance(error, RanksDifferError), error
        assert str(error) == (
            "on rank 1 the kind of X is 'a sparse matrix', expected 'an array', as on rank 0"
        )
