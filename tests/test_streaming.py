"""`fastnn.streaming`: windows of files and arrays, in an order that a seed determines."""

import re
import threading

import numpy as np
import pytest
from parquet_files import lose_last_column
from scipy import sparse

import fastnn
from fastnn.datasets import load_digits
from fastnn.program import trainer
from fastnn.streaming import Windows, sources, windows

N, FEATURES, BLOCK = 230, 4, 10
ROWS = {"rows": 50, "block_rows": BLOCK}


def make_data(dtype=np.float32):
    """Return rows that say where they lie: the first number is that of the row."""
    X = np.random.default_rng(0).integers(0, 100, (N, FEATURES))
    X[:, 0] = np.arange(N)
    return X.astype(dtype), np.arange(N) % 3


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(head + array.astype(np.uint8).tobytes())
    return path


def write_parquet(path, X, y, group=BLOCK, **others):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {f"x{j}": X[:, j] for j in range(X.shape[1])} | {"label": y} | others
    parquet.write_table(arrow.table(columns), path, row_group_size=group)
    return path


def as_npy(folder, X, y):
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return folder / "X.npy", folder / "y.npy", ROWS


def as_map(folder, X, y):
    as_npy(folder, X, y)
    return np.load(folder / "X.npy", mmap_mode="r"), y, ROWS


def as_part_of_a_map(folder, X, y):
    np.save(folder / "X.npy", np.concatenate([X[:7] + 1000, X, X[:3] + 1000]))
    return np.load(folder / "X.npy", mmap_mode="r")[7:-3], y.tolist(), ROWS


def as_columns_of_a_map(folder, X, y):
    np.save(folder / "X.npy", np.asfortranarray(X))
    return np.load(folder / "X.npy", mmap_mode="r"), y, ROWS


def as_idx(folder, X, y):
    images = write_idx(folder / "images", X.reshape(N, 2, 2))
    return images, write_idx(folder / "labels", y), ROWS


def as_dask(folder, X, y):
    array = pytest.importorskip("dask.array")
    return array.from_array(X, chunks=(BLOCK, 3)), array.from_array(y, chunks=7), {"rows": 50}


def as_zarr(folder, X, y):
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(folder / "X.zarr", data=X, chunks=(BLOCK, 3))
    return stored, y, {"rows": 50}


def as_parquet(folder, X, y):
    return write_parquet(folder / "X.parquet", X, y), "label", {"rows": 50}


def as_folder(folder, X, y):
    (folder / "part").mkdir()
    write_parquet(folder / "a.parquet", X[:100], y[:100])
    write_parquet(folder / "b.parquet", X[:0], y[:0])
    write_parquet(folder / "part" / "c.parquet", X[100:], y[100:])
    return str(folder), "label", {"rows": 50}


SOURCES = [
    as_npy, as_map, as_part_of_a_map, as_columns_of_a_map, as_idx, as_dask, as_zarr, as_parquet,
    as_folder,
]  # fmt: skip


def epoch_of(given, number=1, first=0):
    """Return [(X, y), ...] of an epoch."""
    return [tuple(map(np.array, window)) for window in given.of_epoch(number, first)]


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, b)
        for ones, others in zip(one, other, strict=True)
        for a, b in zip(ones, others, strict=True)
    )


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("read_ahead", [False, True])
def test_all_sources_give_the_windows_of_the_array(source, read_ahead, tmp_path):
    X, y = make_data(np.uint8 if source is as_idx else np.float32)
    theirs, labels, given = source(tmp_path, X, y)
    expected = Windows(X, y, **ROWS, seed=3)
    stream = Windows(theirs, labels, **given, seed=3, read_ahead=read_ahead)
    assert (stream.shape, len(stream), stream.window_rows) == ((N, FEATURES), 5, 50)
    assert stream.describe() == expected.describe()
    for epoch in (1, 2):
        assert same(epoch_of(stream, epoch), epoch_of(expected, epoch))
        assert same(epoch_of(stream, epoch, 3), epoch_of(expected, epoch)[3:])
    if source in (as_npy, as_map, as_part_of_a_map):
        assert isinstance(stream._sources[0], sources.FileSource)


def test_weights_come_along(tmp_path):
    X, y = make_data()
    w = np.random.default_rng(1).random(N)
    expected = Windows(X, y, w, **ROWS)
    path = write_parquet(tmp_path / "X.parquet", X, y, weight=w)
    stream = Windows(path, "label", "weight", rows=50)
    assert same(epoch_of(stream), epoch_of(expected))
    assert [len(window) for window in expected.of_epoch(1)] == [3] * 5
    some = Windows(path, "label", columns=["x2", "x0"], rows=50)
    assert same([(X[:, [2, 0]], y) for X, y, _ in epoch_of(expected)], epoch_of(some))


def test_each_epoch_has_every_row_once_in_an_order_of_its_own():
    X, y = make_data()
    orders = []
    for seed in (0, 1):
        stream = Windows(X, y, **ROWS, seed=seed)
        for number in (1, 2, 3):
            parts = epoch_of(stream, number)
            rows = np.concatenate([part[0][:, 0] for part in parts]).astype(int)
            assert sorted(rows) == list(range(N))
            assert np.array_equal(np.concatenate([part[1] for part in parts]), y[rows])
            for part in parts:  # blocks are read in their order
                assert np.all(np.diff(part[0][:, 0]) > 0)
            assert sorted(len(part[0]) for part in parts) == [40, 40, 50, 50, 50]
            for part in parts:  # from all over the file: of 5 neighbors each window has one
                assert np.all(np.diff(np.unique(part[0][:, 0] // (5 * BLOCK))) == 1)
            orders.append(tuple(rows))
        again = Windows(X, y, **ROWS, seed=seed)
        assert same(epoch_of(again, 2), epoch_of(stream, 2))
    assert len(set(orders)) == 6


def test_without_shuffle_the_rows_come_in_their_order():
    X, y = make_data()
    parts = epoch_of(Windows(X, y, **ROWS, shuffle=False), 2)
    assert np.array_equal(np.concatenate([part[0] for part in parts]), X)


def test_sizes_by_default():
    X = np.zeros((300_000, 784), np.uint8)  # 224 MiB, none of it touched
    stream = Windows(X, np.zeros(len(X), np.int8))
    assert len(stream) == 2
    assert len(stream._edges) - 1 == pytest.approx(2 * windows.BLOCKS * 0.9, rel=0.2)
    assert len(Windows(X[:1000], np.zeros(1000, np.int8))) == 1


# ------------------------------------------------------------------------------- training


def make_model():
    layers = [fastnn.Dense(FEATURES, 8, rng=0), fastnn.ReLU(), fastnn.Dropout(0.2)]
    return fastnn.Sequential([*layers, fastnn.Dense(8, 3, rng=1)])


def fit(stream, **options):
    model = make_model()
    given = {"batch_size": 8, "epochs": 3, "seed": 5, "verbose": 0, "scale": 0.01, **options}
    history = model.fit(batches=stream, optimizer=fastnn.Adam(0.01), **given)
    return model.parameters.tobytes(), history.curves


class Broken(Exception):
    """Ends a run as a crash would."""


@pytest.mark.parametrize("place", [(1, 9), (2, 20), (3, 1)])
def test_a_run_resumes_to_the_same_bits(place, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "FIRST_CHUNK", 1)
    X, y = make_data()
    path, given = tmp_path / "run.safetensors", (*as_npy(tmp_path, X, y)[:2],)

    def stop(run):
        if (run.epoch, run.step) == place:
            raise Broken

    writing = fastnn.Checkpoint(path, 1, unit="batches")
    with pytest.raises(Broken):
        fit(Windows(*given, **ROWS), callbacks=[writing, fastnn.LambdaCallback(on_chunk_end=stop)])
    resumed = fit(Windows(*given, **ROWS), callbacks=[writing], resume=path)
    for threads, read_ahead in ((1, False), (2, True)):
        stream = Windows(*given, **ROWS, read_ahead=read_ahead)
        assert fit(stream, threads=threads) == resumed
    with pytest.raises(ValueError, match=r"^batches.seed is 1, expected 0, as in"):
        fit(Windows(*given, **ROWS, seed=1), resume=path)
    with pytest.raises(ValueError, match=r"^batches.blocks is 46, expected 23, as in"):
        fit(Windows(*given, rows=50, block_rows=5), resume=path)


def test_rows_that_are_sorted_by_class_are_learned_as_shuffled_ones():
    """The loss is within 5 % of that from a shuffle of all rows."""
    X, y = load_digits()
    X, y = X[np.argsort(y, kind="stable")] / 16, np.sort(y)

    def train(seed, **given):
        layers = [fastnn.Dense(64, 32, rng=0), fastnn.ReLU(), fastnn.Dense(32, 10, rng=1)]
        model = fastnn.Sequential(layers)
        model.fit(**given, batch_size=16, epochs=4, seed=seed, optimizer=fastnn.SGD(0.1), verbose=0)
        return model.evaluate(X, y)["loss"]

    everywhere = np.mean([train(seed, X=X, y=y) for seed in range(5)])
    streamed = np.mean(
        [train(seed, batches=Windows(X, y, rows=450, block_rows=7, seed=seed)) for seed in range(5)]
    )
    assert streamed == pytest.approx(everywhere, rel=0.05)


# ------------------------------------------------------------------------------- threads, errors


def count_readers():
    return sum("fastnn windows" in each.name for each in threading.enumerate())


@pytest.mark.parametrize("end", ["close", "raise", "steps"])
def test_no_thread_is_left(end):
    X, y = make_data()
    stream = Windows(X, y, **ROWS, read_ahead=True)
    if end == "close":
        epoch = stream.of_epoch(1)
        next(epoch)
        assert count_readers() == 1
        epoch.close()
    elif end == "steps":
        fit(stream, steps_per_epoch=3)
    else:
        X[120] = np.nan
        with pytest.raises(ValueError, match=r"^batch \d: X\[\d+, 0\] is nan"):
            fit(stream)
    assert count_readers() == 0


@pytest.mark.parametrize("read_ahead", [False, True])
def test_a_file_that_loses_its_end_is_named(read_ahead, tmp_path):
    X, y = make_data()
    path = as_npy(tmp_path, X, y)[0]
    stream = Windows(path, y, **ROWS, read_ahead=read_ahead, shuffle=False)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100 * X[0].nbytes - 1)
    with pytest.raises(ValueError, match=r"^X: .*X.npy ends within row 129, expected 230 rows"):
        fit(stream)
    assert count_readers() == 0


def damage(path, begin, count):
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * count)


def test_a_row_group_that_cannot_be_read_is_named(tmp_path):
    """The model keeps the steps before it."""
    _, y = make_data()
    path = write_parquet(tmp_path / "X.parquet", np.random.default_rng(0).random((N, 4)), y, 50)
    stream = Windows(path, "label", rows=50, shuffle=False)
    damage(path, path.stat().st_size // 2, 600)
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=r"^X: .*X.parquet, row group \d, cannot be read \("):
        model.fit(batches=stream, batch_size=8, seed=0, verbose=0)
    assert not np.array_equal(model.parameters, before)
    assert np.isfinite(model.parameters).all()


def without(folder, X, y):
    write_parquet(folder / "a.parquet", X, y)
    write_parquet(folder / "b.parquet", X[:, :3], y)
    return folder, "label"


def cut_off(folder, X, y):
    path = write_parquet(folder / "a.parquet", X, y)
    path.write_bytes(path.read_bytes()[:-20])
    return path, "label"


def test_a_column_that_a_row_group_does_not_have(tmp_path):
    X, y = make_data()
    path = write_parquet(tmp_path / "X.parquet", X, y, 50)
    lose_last_column(path)
    with pytest.raises(ValueError, match=r"^X: .*X.parquet, row group 4, cannot be read \("):
        fit(Windows(path, "label", rows=50))


def with_text(folder, X, y):
    path = write_parquet(folder / "a.parquet", X, y, name=[str(i) for i in range(N)])
    return path, "label"


BAD = {
    "a column that vanishes": (without, {}, ValueError, r"b.parquet has no column 'x3', expected"),
    "a truncated file": (cut_off, {}, ValueError, r"^X: .*a.parquet is not a whole Parquet file"),
    "text": (with_text, {}, TypeError, r"a.parquet has string in column 'name', expected numbers"),
    "no column": (as_parquet, {"y": "z"}, ValueError, r"X.parquet has no column 'z', expected"),
    "no name": (as_parquet, {"y": [1]}, TypeError, r"^y is \[1\], expected the name of a Parq"),
    "no features": (as_parquet, {"columns": []}, ValueError, r"^columns is \[\], expected"),
    "blocks of chunks": (as_parquet, {"block_rows": 3}, ValueError, r"^block_rows is given"),
    "an empty folder": (lambda f, X, y: (f, "label"), {}, FileNotFoundError, "expected a folder"),
    "no file": (lambda f, X, y: (f / "x.npy", y), {}, FileNotFoundError, r"^X is .*x.npy', exp"),
    "no Parquet": (lambda f, X, y: (f / "x.pq", "y"), {}, FileNotFoundError, "no such file"),
    "rows": (lambda f, X, y: (X, y[1:]), {}, ValueError, "^y has 229 rows, expected 230"),
    "weights": (lambda f, X, y: (X, y, y[1:]), {}, ValueError, "^sample_weight has 229 rows"),
    "shape": (lambda f, X, y: (X[:, 0], y), {}, ValueError, r"^X has shape \(230,\), expected"),
    "no rows": (lambda f, X, y: (X[:0], y[:0]), {}, ValueError, r"^X has shape \(0, 4\), exp"),
    "no numbers": (lambda f, X, y: (X.astype("U9"), y), {}, TypeError, "^X has dtype <U9, exp"),
    "columns": (lambda f, X, y: (X, y), {"columns": ["a"]}, ValueError, "^columns is given"),
    "window": (lambda f, X, y: (X, y), {"rows": 0}, ValueError, "^rows is 0, expected"),
    "block": (lambda f, X, y: (X, y), {"block_rows": 0}, ValueError, "^block_rows is 0, exp"),
    "seed": (lambda f, X, y: (X, y), {"seed": -1}, ValueError, "^seed is -1, expected"),
    "shuffle": (lambda f, X, y: (X, y), {"shuffle": 3}, TypeError, "^shuffle is 3, expected"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, tmp_path):
    make, given, error, words = BAD[name]
    X, y, *others = make(tmp_path, *make_data())
    given = {"y": y} | given
    if others and not isinstance(others[0], dict):
        given["sample_weight"] = others[0]
    with pytest.raises(error, match=words):
        Windows(X, **given)


def test_a_window_larger_than_memory(monkeypatch):
    monkeypatch.setattr(windows, "physical_memory", lambda: 2000)
    X, y = make_data()
    with pytest.raises(ValueError, match=r"^rows: a window of 230 rows takes .*fit into the mem"):
        Windows(X, y, rows=N)
    Windows(X, y, rows=20)


def test_chunks_of_unknown_sizes():
    array = pytest.importorskip("dask.array")
    X, y = make_data()
    theirs = array.from_array(X, chunks=10)
    with pytest.raises(ValueError, match=r"^X has an unknown number of rows: X.compute_chunk_s"):
        Windows(theirs[theirs[:, 0] > 3], y)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "X.parquet", *make_data())
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r'^windows of Parquet files need pyarrow: pip install "py'
    ):
        Windows(path, "label")


# ------------------------------------------------------------------------------- validation data


def test_validation_data_in_parts():
    """Windows, or a function that returns batches: what an array gives, to rounding."""
    X, y = make_data()
    weights = np.arange(1.0, N + 1)
    parts = Windows(X, y, weights, rows=50, block_rows=10, shuffle=False)
    assert len(parts) > 1
    curves = []
    for data in ((X, y, weights), parts, lambda: parts.of_epoch(1)):
        model = make_model()
        history = model.fit(X, y, epochs=3, seed=0, validation_data=data, verbose=0)
        curves.append([history.val_loss, history.val_accuracy])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-6)
    assert curves[1] == curves[2]


def test_bad_validation_data_in_parts():
    X, y = make_data()
    model, parts = make_model(), Windows(X, y, **ROWS)
    with pytest.raises(ValueError, match=r"^metrics is given, expected validation_data in one"):
        model.fit(X, y, validation_data=parts, metrics=["f1"], verbose=0)
    X = X.copy()
    X[7, 1] = np.nan
    parts = Windows(X, y, rows=50, shuffle=False)
    with pytest.raises(ValueError, match=r"^validation_data, batch 1: X\[7, 1\] is nan"):
        model.fit(np.nan_to_num(X), y, validation_data=parts, verbose=0)
    with pytest.raises(TypeError, match=r"^validation_data, batch 1 is of type int, expected"):
        model.fit(np.nan_to_num(X), y, validation_data=lambda: iter([3]), verbose=0)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_what_is_written_to_a_map_is_in_the_windows(mode, tmp_path):
    X, y = make_data()
    as_npy(tmp_path, X, y)
    mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)
    if mode != "r":
        mapped[3] = 7
    rows = np.concatenate(
        [rows for rows, _ in Windows(mapped, y, **ROWS, shuffle=False).of_epoch(1)]
    )
    assert np.array_equal(rows, mapped)


def test_a_map_of_a_file_that_has_been_replaced(tmp_path):
    """The map still has the old file."""
    X, y = make_data()
    path = as_npy(tmp_path, X, y)[0]
    mapped = np.load(path, mmap_mode="r")
    np.save(tmp_path / "new.npy", X + 1)
    (tmp_path / "new.npy").replace(path)
    for _ in range(2):  # with another file under its name, and with none
        windows = Windows(mapped, y, **ROWS, shuffle=False)
        assert np.array_equal(np.concatenate([rows for rows, _ in windows.of_epoch(1)]), X)
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("read_ahead", [True, False])
@pytest.mark.parametrize("change", ["dtype", "file", "none"])
def test_a_file_that_is_another_one_later_is_refused(change, read_ahead, tmp_path):
    X, y = make_data()
    path = as_npy(tmp_path, X, y)[0]
    windows = Windows(path, y, **ROWS, read_ahead=read_ahead)
    words, error = r"^X: .*X.npy is another file, or has another header, than when", ValueError
    if change == "dtype":
        np.save(path, np.full(X.shape, 2.0, np.float64))
    elif change == "file":
        path.rename(tmp_path / "old.npy")
        np.save(path, X)
    else:
        path.unlink()
        words, error = r"^X is '.*X.npy', expected the file as it was when", FileNotFoundError
    with pytest.raises(error, match=words):
        fit(windows)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_number_that_is_not_finite_is_named_by_its_row_in_the_source(shuffle, tmp_path):
    X, y = make_data()
    X[123, 2] = np.nan
    windows = Windows(as_npy(tmp_path, X, y)[0], y, **ROWS, shuffle=shuffle)
    with pytest.raises(ValueError, match=r"^batch \d+: X\[(\d+), 2\] is nan.* Row (\d+)") as caught:
        fit(windows)
    place = re.search(
        r"X\[(\d+), 2\].*Row (\d+) of the batch is row 123 of the source$", str(caught.value)
    )
    assert place is not None
    assert place[1] == place[2]


def test_each_row_of_a_window_has_its_row_in_the_source():
    _, y = make_data()
    windows = Windows(np.arange(len(y), dtype=np.float32)[:, np.newaxis], y, **ROWS, seed=4)
    for epoch in (1, 2):
        for position, (rows, _) in enumerate(windows.of_epoch(epoch), start=1):
            found = [windows.row_of(epoch, position, i) for i in range(len(rows))]
            assert found == rows[:, 0].tolist()


def test_windows_need_a_batch_size():
    X, y = make_data()
    windows = Windows(X, y, **ROWS)
    with pytest.raises(
        ValueError, match=r"^batch_size is None, expected the samples of a step: ba"
    ):
        fit(windows, batch_size=None)


@pytest.mark.parametrize("name", ["seed", "shuffle", "read_ahead", "window_rows", "shape"])
def test_attributes_of_windows_stay(name):
    windows = Windows(*make_data(), **ROWS)
    with pytest.raises(AttributeError):
        setattr(windows, name, 1)


def test_windows_may_weigh_nothing():
    """As a batch of plain data may; all together they may not."""
    X, y = make_data()
    weights = np.arange(len(y)) >= len(y) - 40.0
    given = {"batch_size": 10, "epochs": 2, "seed": 5, "verbose": 0, "shuffle": False}
    model, expected = make_model(), make_model()
    model.fit(batches=Windows(X, y, weights, **ROWS, shuffle=False), **given)
    expected.fit(X, y, sample_weight=weights, **given)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert not np.array_equal(model.parameters, make_model().parameters)
    with pytest.raises(
        ValueError, match=r"^batches: the weights of the samples sum to 0 in epoch 1"
    ):
        fit(Windows(X, y, np.zeros(len(y)), **ROWS))


BAD_NUMBERS = {
    "fraction": ([1.5, 2.0], np.uint8, "1.5"), "negative": ([-1, 2], np.uint8, "-1"),
    "large": ([300, 1], np.uint8, "300"), "missing": ([None, 1.0], np.int64, "nan"),
    "flag": ([2, 1], bool, "2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_NUMBERS)
def test_numbers_that_integers_cannot_hold(case, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    values, dtype, shown = BAD_NUMBERS[case]
    table = pyarrow.table({"a": values, "y": [0, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "table.parquet")
    windows = Windows(tmp_path / "table.parquet", "y", dtype=dtype)
    with pytest.raises(
        ValueError, match=rf"row group 0, column 'a' has {shown}.*, expected numbers"
    ):
        next(windows.of_epoch(1))


@pytest.mark.parametrize("dtype", ["nope", "U5", object, complex])
def test_a_dtype_without_real_numbers(dtype, tmp_path):
    with pytest.raises(TypeError, match=r"^dtype is .*, expected a type of real numbers"):
        Windows(*make_data(), dtype=dtype)


def test_an_error_of_a_source_names_the_rows():
    class Failing:
        shape, dtype, chunks = (N, 2), np.dtype(np.float32), ((115, 115), (2,))

        def __getitem__(self, rows):
            if rows.start:
                raise ZeroDivisionError("of a library")
            return np.zeros((N, 2), np.float32)[rows]

    windows = Windows(Failing(), np.zeros(N), rows=115, shuffle=False)
    with pytest.raises(ZeroDivisionError, match="of a library") as caught:
        list(windows.of_epoch(1))
    assert caught.value.__notes__ == ["X[115:230] cannot be read"]


WRONG = {
    "sparse": (lambda X, y, folder: (sparse.csr_array(X), y), {}, "X is a sparse matrix, expected"),
    "number": (lambda X, y, folder: (3.0, y), {}, r"X has shape \(\), expected an array of rows"),
    "text": (lambda X, y, folder: (write_text(folder), y), {}, "X is '.*', expected a .npy"),
    "one name": (as_parquet, {"columns": "x0"}, "columns is 'x0', expected a list of names"),
    "numbers": (as_parquet, {"columns": [0]}, r"columns is \[0\], expected a list of names"),
    "twice": (as_parquet, {"columns": ["x0", "x1", "x0"]}, "columns has 'x0' twice, expected each"),
}  # fmt: skip


def write_text(folder):
    (folder / "X.csv").write_text("a,b\n1,2\n")
    return folder / "X.csv"


@pytest.mark.parametrize("case", WRONG)
def test_what_windows_cannot_read_is_named(case, tmp_path):
    make, options, words = WRONG[case]
    make = {as_parquet: lambda X, y, folder: as_parquet(folder, X, y)[:2]}.get(make, make)
    X, y, *_ = make(*make_data(), tmp_path)
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        Windows(X, y, **options)


def test_windows_in_place_of_an_array():
    X, y = make_data()
    model = make_model()
    for call in (model.fit, model.predict, model.evaluate):
        with pytest.raises(
            TypeError, match=r"^X is <Windows: .*>, expected an array: fit\(batches"
        ):
            call(Windows(X, y, **ROWS), *([] if call == model.predict else [y]))
    for name, call in {
        "y": lambda: model.fit(X, sparse.csr_array(X)),
        "sample_weight": lambda: model.fit(X, y, sample_weight=sparse.csr_array(X)),
        "inputs": lambda: model.forward(sparse.csr_array(X)),
    }.items():
        with pytest.raises(TypeError, match=f"^{name} is a sparse matrix, expected an array"):
            call()
