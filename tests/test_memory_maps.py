"""Arrays that need not be in memory: mapped files, and arrays of Dask and zarr."""

import subprocess
import sys

import numpy as np
import pytest
from test_ranks import run_ranks

import fastnn
from fastnn.distributed import one
from fastnn.program import inputs, samples, trainer
from fastnn.validation import arrays

N, FEATURES, BATCH = 240, 6, 8


class OwnDense(fastnn.Dense):
    """Trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


every_kind = pytest.mark.parametrize("kind", [fastnn.Dense, OwnDense])
slow = pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let small arrays stay in their files, and each compiled call take one step."""
    monkeypatch.setattr(inputs, "SMALL", 0)
    monkeypatch.setattr(trainer, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "FIRST_CHUNK", 1)


def make_file(path, bad=None, dtype=np.float32, value=np.nan):
    X = np.random.default_rng(0).standard_normal((N, FEATURES)).astype(dtype)
    if bad is not None:
        X[bad, 3] = value
    np.save(path, X)
    return np.load(path, mmap_mode="r"), np.random.default_rng(1).integers(0, 3, N)


def make_model(kind=fastnn.Dense):
    return fastnn.Sequential([kind(FEATURES, 8, rng=0), fastnn.ReLU(), fastnn.Dense(8, 3, rng=1)])


def fit(model, X, y, **options):
    return model.fit(X, y, **{"batch_size": BATCH, "seed": 3, "verbose": 0, "epochs": 2, **options})


@every_kind
@slow
def test_a_mapped_file_is_not_read_before_the_first_step(kind, tmp_path, monkeypatch):
    """Each row is looked at once, when its step comes."""
    X, y = make_file(tmp_path / "X.npy")
    seen, take = [], samples.Samples.take

    def note(self, indices):
        seen.append(len(indices))
        return take(self, indices)

    monkeypatch.setattr(samples.Samples, "check", lambda self, name: pytest.fail("was read"))
    monkeypatch.setattr(samples.Samples, "take", note)
    at_first_step = []
    watch = fastnn.LambdaCallback(on_chunk_end=lambda run: at_first_step.append(sum(seen)))
    model, expected = make_model(kind), make_model(kind)
    fit(model, X, y, callbacks=[watch])
    taken = 0 if kind is fastnn.Dense else 1  # a layer of your own is given the rows, too
    assert at_first_step[0] == BATCH + taken * BATCH
    assert sum(seen) == N + taken * 2 * N
    monkeypatch.undo()
    fit(expected, np.array(X), y)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


@every_kind
@slow
@pytest.mark.parametrize(("value", "words"), [(np.nan, "is nan"), (np.inf, "is inf")])
def test_a_row_that_is_not_finite_is_named(kind, value, words, tmp_path):
    """The model keeps the parameters after the last step before the rows of the bad one."""
    X, y = make_file(tmp_path / "X.npy", bad=100, value=value)
    model, expected = make_model(kind), make_model(kind)
    with pytest.raises(ValueError, match=rf"^X\[100, 3\] {words}, expected finite"):
        fit(model, X, y, shuffle=False)
    fit(expected, np.array(X[:96]), y[:96], shuffle=False, epochs=1)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    with pytest.raises(ValueError, match=rf"^X\[100, 3\] {words}, expected finite"):
        fit(make_model(kind), np.array(X), y)


def test_other_numbers_and_scales(tmp_path):
    X, y = make_file(tmp_path / "X.npy", bad=7, dtype=np.float64, value=1e300)
    with pytest.raises(ValueError, match=r"^X\[7, 3\] is 1e\+300, too large for float32: exp"):
        fit(make_model(), X, y)
    with pytest.raises(ValueError, match=r"^X\[7, 3\] is 1e\+300, too large.*with scale 0.5 and"):
        fit(make_model(), X[::-1][::-1], y, scale=0.5)
    X, y = make_file(tmp_path / "Y.npy", dtype=np.float64)
    model, expected = make_model(), make_model()
    fit(model, X, y, scale=0.5)
    fit(expected, np.array(X), y, scale=0.5)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_a_file_that_is_held_out_in_part(tmp_path):
    X, y = make_file(tmp_path / "X.npy", bad=230)
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=r"^X\[230, 3\] is nan"):
        fit(model, X, y, validation_split=0.1)
    assert np.array_equal(model.parameters, before)
    X, y = make_file(tmp_path / "Y.npy", bad=200)
    with pytest.raises(ValueError, match=r"^X\[200, 3\] is nan"):
        fit(model, X, y, validation_split=0.1)


def test_a_rank_reads_the_rows_of_its_own_shards_only(tmp_path, monkeypatch):
    X, y = make_file(tmp_path / "X.npy")
    taken = []
    check_rows = samples.Samples.check_rows

    def count(own, indices, name):
        taken.append(len(indices))
        check_rows(own, indices, name)

    monkeypatch.setattr(samples.Samples, "check_rows", count)
    run_ranks(3, 4, lambda ranks: fit(make_model(), X, y, epochs=1, ranks=ranks))
    assert sum(taken) == len(X)


def test_ranks_look_at_the_rows_of_a_step_too(tmp_path):
    X, y = make_file(tmp_path / "X.npy", bad=100)
    model, expected = make_model(), make_model()
    with pytest.raises(ValueError, match=r"^X\[100, 3\] is nan, expected finite"):
        fit(model, X, y, shuffle=False, ranks=one(shards=2))
    fit(expected, X[:96], y[:96], shuffle=False, epochs=1, ranks=one(shards=2))
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_several_epochs_in_one_call(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "FIRST_CHUNK", 10_000_000)
    X, y = make_file(tmp_path / "X.npy", bad=100)
    with pytest.raises(ValueError, match=r"^X\[100, 3\] is nan"):
        fit(make_model(), X, y, epochs=9)
    X, y = make_file(tmp_path / "Y.npy")
    model, expected = make_model(), make_model()
    assert fit(model, X, y, epochs=9).curves == fit(expected, np.array(X), y, epochs=9).curves


# ------------------------------------------------------------- arrays of other libraries


class Far:
    """As an array that a library reads on demand; to read it fails the test."""

    chunks = ((3, 3),)
    shape, dtype, ndim = (6, FEATURES), np.dtype(np.float32), 2

    def __init__(self, nbytes):
        self.nbytes = nbytes

    def __array__(self, dtype=None, copy=None):
        pytest.fail("was loaded")


@pytest.mark.parametrize(
    ("nbytes", "words"), [(5 * 2**30, "of 5 GiB"), (float("nan"), "of unknown size")]
)
def test_large_arrays_of_other_libraries_are_not_loaded(nbytes, words):
    model, X, y = make_model(), Far(nbytes), np.zeros(6, int)
    for call in (
        lambda: fit(model, X, y),
        lambda: model.predict(X),
        lambda: model.predict_proba(X, batch_size=2),
        lambda: model.evaluate(X, y),
        lambda: model.partial_fit(X, y),
        lambda: fastnn.fit_many([model], X, y),
    ):
        with pytest.raises(ValueError, match=rf"^X is a .* Far {words}, .*fit\(batches=\.\.\.\)"):
            call()


@pytest.mark.parametrize("library", ["dask.array", "zarr"])
def test_small_arrays_of_other_libraries_are_loaded(library, monkeypatch):
    module = pytest.importorskip(library)
    X = np.random.default_rng(0).standard_normal((40, FEATURES)).astype(np.float32)
    theirs = module.from_array(X, chunks=(8, 6)) if "dask" in library else module.array(X)
    y = np.zeros(40, int)
    model, expected = make_model(), make_model()
    fit(model, theirs, y)
    fit(expected, X, y)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    monkeypatch.setattr(arrays, "MOST_LOADED", 100)
    with pytest.raises(ValueError, match=r"^X is a (dask|zarr) Array of .* GiB, which would be"):
        fit(model, theirs, y)


# In a process of its own, which a read behind the end of the file would end (SIGBUS).
SHRINKS = """
import os, sys
import numpy as np, fastnn
kind, own = sys.argv[1:]
class Own(fastnn.Dense):
    pass
def layers():
    first = Own if own == "own" else fastnn.Dense
    return [first(64, 4, rng=0), fastnn.ReLU(), fastnn.Dense(4, 3, rng=1)]
def cut(_):
    os.truncate("cut.npy", 5000)
np.save("cut.npy", np.ones((20000, 64) if kind == "X" else (20000, 3), np.float32))
mapped = np.load("cut.npy", mmap_mode="r")
X, y = np.ones((20000, 64), np.float32), np.zeros(20000, int)
loss = None
if kind == "X":
    X = mapped
else:
    y, loss = mapped, fastnn.MeanSquaredError()
model = fastnn.Sequential(layers(), loss=loss) if loss else fastnn.Sequential(layers())
calls = [fastnn.LambdaCallback(on_epoch_end=cut)]
import warnings
warnings.simplefilter("ignore")
for call in (lambda: model.fit(X, y, epochs=3, batch_size=5000, seed=0, verbose=0, callbacks=calls),
             lambda: model.predict(X), lambda: model.evaluate(X, y)):
    try:
        call()
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("own", ["compiled", "own"])
@pytest.mark.parametrize("kind", ["X", "y"])
def test_a_file_that_becomes_shorter_is_refused(kind, own, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SHRINKS, kind, own], capture_output=True, text=True, cwd=tmp_path
    )
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    sizes = {"X": "5,120,128", "y": "240,128"}
    expected = f"{kind} is a memory map whose file now has 5,000 bytes, expected {sizes[kind]} as"
    assert len(lines) == {"X": 3, "y": 1}[kind]  # `fit` has a copy of y
    assert all(line.startswith(expected) for line in lines)
