"""Sparse samples: the bits of the dense array, and a few rows dense at a time."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse
from test_ranks import run_ranks

import fastnn
from fastnn.distributed import one
from fastnn.program import sparse as sparse_samples
from fastnn.program import trainer, windows

N, FEATURES = 90, 40


class OwnDense(fastnn.Dense):
    """Trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """Let two batches of 8 be dense at a time."""
    monkeypatch.setattr(sparse_samples, "DENSE_BYTES", 16 * FEATURES * 4)


def make_data(dtype=np.float32, n=N):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, FEATURES)) * (rng.random((n, FEATURES)) < 0.1) * 9
    return X.astype(dtype), rng.integers(0, 3, n)


def make_model(kind=fastnn.Dense, dropout=0.2, **options):
    layers = [kind(FEATURES, 12, rng=0, **options), fastnn.ReLU(), fastnn.Dropout(dropout)]
    return fastnn.Sequential([*layers, fastnn.Dense(12, 3, rng=1, dtype=layers[0].dtype)])


def fit(model, X, y, optimizer=None, **options):
    given = {"batch_size": 8, "epochs": 3, "seed": 5, "verbose": 0, **options}
    return model.fit(X, y, optimizer=optimizer or fastnn.Adam(0.01), **given)


OPTIONS = {
    "plain": {},
    "descent": {"optimizer": fastnn.SGD(0.1)},
    "split": {"validation_split": 0.2, "metrics": ["f1"]},
    "weights": {"sample_weight": np.random.default_rng(1).random(N)},
    "class weights": {"class_weight": {0: 1, 1: 2, 2: 3}},
    "scale": {"scale": 0.5, "offset": 0.25},
    "rows of y": {"y": np.eye(3)[make_data()[1]]},
    "two threads": {"threads": 2},
    "drop_last": {"drop_last": True, "steps_per_epoch": 7},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", [fastnn.Dense, OwnDense])
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_the_same_bits_as_the_dense_array(name, kind):
    X, y = make_data()
    given = {"y": y, **OPTIONS[name]}
    model, expected = make_model(kind), make_model(kind)
    curves = fit(model, sparse.csr_array(X), **given).curves
    given["optimizer"] = fastnn.SGD(0.1) if "optimizer" in given else None
    assert curves == fit(expected, X, **given).curves
    assert model.parameters.tobytes() == expected.parameters.tobytes()


@pytest.mark.parametrize("bare", [True, False])
def test_short_epochs_and_chunks_of_any_length(bare, monkeypatch):
    """Several epochs in one call, the bare kernel, and a call for each step."""
    X, y = make_data()
    dropout = 0.0 if bare else 0.3
    for first, seconds in ((10_000_000, 0.05), (1, 0.0)):
        monkeypatch.setattr(trainer, "FIRST_CHUNK", first)
        monkeypatch.setattr(trainer, "CHUNK_SECONDS", seconds)
        model, expected = make_model(dropout=dropout), make_model(dropout=dropout)
        fit(model, sparse.csr_array(X), y, fastnn.SGD(0.1), epochs=9)
        fit(expected, X, y, fastnn.SGD(0.1), epochs=9)
        assert model.parameters.tobytes() == expected.parameters.tobytes()


@pytest.mark.parametrize("format", ["csr", "csc", "coo", "lil", "dok", "bsr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_formats_and_dtypes(format, dtype):
    X, y = np.abs(make_data()[0]).astype(dtype), make_data()[1]
    theirs = sparse.coo_array(X).asformat(format)
    for kind in (np.float32, np.float64):
        model, expected = make_model(dtype=kind), make_model(dtype=kind)
        fit(model, theirs, y)
        fit(expected, X, y)
        assert model.parameters.tobytes() == expected.parameters.tobytes()
        assert model.predict_proba(theirs).tobytes() == expected.predict_proba(X).tobytes()


def test_old_matrices_and_duplicates():
    X, y = make_data()
    twice = sparse.coo_matrix(X)
    data, rows, columns = (np.tile(each, 2) for each in (twice.data, twice.row, twice.col))
    twice = sparse.coo_matrix((data, (rows, columns)), X.shape)
    model, expected = make_model(), make_model()
    fit(model, twice, y)
    fit(expected, twice.toarray(), y)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    unsorted = sparse.csr_matrix(X)
    kept = unsorted.copy()
    fit(model, unsorted, y)
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(unsorted, name), getattr(kept, name))


def test_predictions_and_scores():
    X, y = make_data(n=300)
    model, theirs = make_model(), sparse.csr_array(X)
    fit(model, X, y)
    for call in (
        lambda X: model.predict(X),
        lambda X: model.predict_proba(X, threads=2),
        lambda X: model.predict_proba(X, batch_size=70),
        lambda X: model.predict_proba(X[:5]),
        lambda X: model.predict_proba(X[:1], scale=0.5),
        lambda X: model.activations(X, 1),
        lambda X: model.predict_proba(X[:0]),
        lambda X: model.activations(X[:0], 0),
        lambda X: np.array(list(model.evaluate(X, y, metrics=["f1"]).values())),
    ):
        assert call(theirs).tobytes() == call(X).tobytes()


def test_streams_and_many_models():
    X, y = make_data()
    theirs = sparse.csr_array(X)
    windows = lambda X: [(X[:50], y[:50]), (X[50:], y[50:])]  # noqa: E731
    model, expected = make_model(), make_model()
    fit(model, None, None, batches=windows(theirs))
    fit(expected, None, None, batches=windows(X))
    model.partial_fit(theirs, y, seed=0)
    expected.partial_fit(X, y, seed=0)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    models, others = ([make_model() for _ in range(3)] for _ in range(2))
    options = {"epochs": 2, "batch_size": 8, "seed": 0}
    fastnn.fit_many(models, theirs, y, **options)
    fastnn.fit_many(others, X, y, **options)
    for mine, other in zip(models, others, strict=True):
        assert mine.parameters.tobytes() == other.parameters.tobytes()


def changed(value, dtype=np.float64):
    X = sparse.csr_array(make_data(dtype)[0])
    X.data[5] = value
    return X


def with_a_wild_index():
    X = sparse.csr_array(make_data()[0])
    X.indices[3] = 10_000
    return X


def with_objects():
    X = sparse.csr_array(make_data()[0])
    X.data = X.data.astype(object)
    return X


BAD = {
    "nan": (lambda: changed(np.nan), ValueError, r"^X\[1, \d+\] is nan, expected finite"),
    "inf": (lambda: changed(-np.inf), ValueError, r"^X\[1, \d+\] is -inf, expected finite"),
    "large": (lambda: changed(1e300), ValueError, r"^X\[1, \d+\] is 1e\+300, too large"),
    "width": (lambda: sparse.csr_array((N, 7)), ValueError, r"^X has shape \(90, 7\), expected"),
    "empty": (lambda: sparse.csr_array((0, FEATURES)), ValueError, r"^X has shape \(0, 40\)"),
    "index": (with_a_wild_index, ValueError, "^X is not a whole sparse matrix: "),
    "complex": (lambda: changed(1).astype(complex), TypeError, "^X has dtype complex128, exp"),
    "objects": (with_objects, TypeError, "^X has dtype object, expected real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, error, words = BAD[name]
    model, X, y = make_model(), make(), make_data()[1]
    before = model.parameters.copy()
    calls = [lambda: fit(model, X, y), lambda: model.partial_fit(X, y)]
    if name != "empty":
        calls += [lambda: model.predict(X), lambda: model.predict(X, batch_size=9)]
    for call in calls:
        with pytest.raises(error, match=words):
            call()
    assert np.array_equal(model.parameters, before)


# In a process of its own, which an index out of range would end.
BROKEN = """
import numpy as np, fastnn
from scipy import sparse
whole = np.zeros((300, 40), np.float32)
whole[np.arange(0, 300, 3), np.arange(0, 300, 3) % 40] = 1
def breaks(kind, attribute, place, value):
    X = sparse.csr_array(whole).asformat(kind)
    part = getattr(X, attribute).copy()
    part[place] = value
    setattr(X, attribute, part)
    return X
def shorter(kind, attribute):
    X = sparse.csr_array(whole).asformat(kind)
    setattr(X, attribute, getattr(X, attribute)[:-1])
    return X
cases = [breaks(kind, "indices", 0, value) for kind in ("csr", "csc", "bsr")
         for value in (10**8, -10**8)]
cases += [breaks("coo", name, 0, value) for name in ("row", "col") for value in (10**8, -1)]
cases += [breaks(kind, "indptr", 1, 10**8) for kind in ("csr", "csc", "bsr")]
for kind in ("csr", "csc"):
    X = breaks(kind, "indptr", -1, 0)  # so that SciPy counts no numbers
    X.indptr[1] = 10**8
    cases.append(X)
cases += [shorter("coo", "row"), shorter("coo", "data"), shorter("csc", "data")]
model = fastnn.Sequential([fastnn.Dense(40, 3, rng=0)])
for X in cases:
    for call in (model.predict, lambda X: model.fit(X, np.zeros(300, int), verbose=0)):
        try:
            call(X)
        except ValueError as error:
            assert str(error).startswith("X is not a whole sparse matrix: "), error
        else:
            print("taken", repr(X))
print(len(cases))
"""


def test_broken_matrices_of_all_formats_are_refused():
    run = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "18\n", "")


def test_a_scale_that_is_too_large():
    with pytest.raises(ValueError, match=r"^X\[1, \d+\] is 1e\+38, too large for float32 with sca"):
        fit(make_model(), changed(1e38), make_data()[1], scale=10.0)


SCRIPT = """
import numpy as np, fastnn
from scipy import sparse
rng, n = np.random.default_rng(0), 60_000
columns = rng.integers(0, n, (n, 6))
ones, ends = np.ones(6 * n, np.float32), np.arange(0, 6 * n + 1, 6)
X = sparse.csr_array((ones, columns.ravel(), ends), (n, n))
y = (columns.min(axis=1) < n // 10).astype(int)
layers = [fastnn.Dense(n, 8, rng=0, init="zeros"), fastnn.ReLU(), fastnn.Dense(8, 2, rng=1)]
model = fastnn.Sequential(layers)
model.fit(X, y, batch_size=32, seed=0, steps_per_epoch=200, verbose=0)
print(model.predict_proba(X[:20_000]).shape)
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_60000_features_take_less_than_1_gb():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    shape, kilobytes = done.stdout.splitlines()
    assert shape == "(20000, 2)"
    assert int(kilobytes) < 1_000_000


@pytest.mark.parametrize("norm", [None, fastnn.LayerNorm, fastnn.BatchNorm])
def test_ranks_make_the_rows_of_their_shards_dense(norm, monkeypatch):
    X, y = make_data()
    theirs = sparse.csr_array(X)
    options = {"sample_weight": np.random.default_rng(1).random(N), "scale": 0.5, "offset": 0.25}

    def train(ranks, samples):
        model = make_model() if norm is None else make_norm_model(norm)
        curves = fit(model, samples, y, ranks=ranks, **options).curves
        return model.parameters.tobytes(), curves

    expected = train(one(shards=4), X)
    assert train(one(shards=4), theirs) == expected
    for n_bytes in (1, 10 * FEATURES * 4, 10**6):  # one batch, some, all in a window
        monkeypatch.setattr(windows, "WINDOW_BYTES", n_bytes)
        assert run_ranks(3, 4, lambda ranks: train(ranks, theirs)) == [expected] * 3


def make_norm_model(norm):
    layers = [fastnn.Dense(FEATURES, 12, rng=0), norm(12), fastnn.ReLU()]
    return fastnn.Sequential([*layers, fastnn.Dense(12, 3, rng=1)])


def test_a_rank_makes_no_other_rows_dense(monkeypatch):
    X, y = make_data()
    taken = []
    take = sparse_samples.SparseSamples.take

    def count(samples, indices):
        taken.append(len(indices))
        return take(samples, indices)

    monkeypatch.setattr(sparse_samples.SparseSamples, "take", count)
    run_ranks(2, 2, lambda ranks: fit(make_model(), sparse.csr_array(X), y, epochs=1, ranks=ranks))
    # And 64 rows of each rank are compared before the first step.
    assert sum(taken) == N + 2 * 64
