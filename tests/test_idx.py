"""IDX files: what they hold, what is memory-mapped, and what is wrong with a bad one."""

import gzip
import os

import numpy as np
import pytest

import fastnn
from fastnn.datasets import idx, load_idx, read_idx

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}
NAMES = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]


def as_idx(array):
    """Return the bytes of an IDX file."""
    code = CODES[array.dtype.str.lstrip("|")]
    return (
        bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    )


def write_folder(folder, packed=(), **arrays):
    """Write the four files, with random pixels; `packed` are the numbers of those in gzip."""
    rng = np.random.default_rng(0)
    defaults = {
        "train_images": rng.integers(0, 256, (30, 5, 4), np.uint8),
        "train_labels": np.arange(30, dtype=np.uint8) % 3,
        "t10k_images": rng.integers(0, 256, (7, 5, 4), np.uint8),
        "t10k_labels": np.arange(7, dtype=np.uint8) % 3,
    }
    values = list((defaults | arrays).values())
    for i, (name, array) in enumerate(zip(NAMES, values, strict=True)):
        if i in packed:
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(as_idx(array)))
        else:
            (folder / f"{name}-ubyte").write_bytes(as_idx(array))
    return values


# ---------------------------------------------------------------------- one file


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 1, 1, 1), (0,), (4, 0, 2)])
def test_a_file_keeps_its_values(tmp_path, dtype, shape, packed):
    array = np.random.default_rng(0).uniform(0, 100, shape).astype(dtype)
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(as_idx(array)) if packed else as_idx(array))
    values = read_idx(path)
    assert (values.dtype, values.shape) == (array.dtype, array.shape)
    assert values.tobytes() == array.tobytes()
    assert not values.flags.writeable
    assert isinstance(values, np.memmap) is (not packed and array.size > 0)
    assert np.array_equal(read_idx(str(path)), array)


WHOLE = as_idx(np.arange(24, dtype="u1").reshape(2, 3, 4))
# Without the time: it would be in the names of tests, and each worker of pytest-xdist has its own.
PACKED = gzip.compress(WHOLE, mtime=0)
CODES_SHOWN = (
    "0x08 (uint8), 0x09 (int8), 0x0b (int16), 0x0c (int32), 0x0d (float32), 0x0e (float64)"
)
WANTED = "expected an IDX file: 00 00, the code of a dtype, and the number of dimensions"
BAD_FILES = {
    "empty": (b"", f"is empty, {WANTED}"),
    "short": (b"\0\0\x08", f"begins with the bytes 00 00 08, {WANTED}"),
    "magic": (b"\x89PNG" + WHOLE, f"begins with the bytes 89 50 4e 47, {WANTED}"),
    "little-endian": (
        b"\x03\x08\0\0" + WHOLE[4:],
        f"begins with the bytes 03 08 00 00, {WANTED}",
    ),
    "code": (b"\0\0\x0a" + WHOLE[3:], f"has the dtype code 0x0a, expected one of {CODES_SHOWN}"),
    "no dimensions": (b"\0\0\x08\0" + WHOLE, "has 0 dimensions, expected 1 to 32"),
    "dimensions": (b"\0\0\x08\xff" + WHOLE * 99, "has 255 dimensions, expected 1 to 32"),
    "header": (WHOLE[:15], "ends within its header, expected the sizes of 3 dimensions"),
    "truncated": (WHOLE[:-1], "has 23 bytes after its header, expected 24 for (2, 3, 4) of uint8"),
    "longer": (
        WHOLE + b"\0",
        "has more bytes after its header, expected 24 for (2, 3, 4) of uint8",
    ),
    "huge": (
        b"\0\0\x0e\x03" + b"\xff" * 12,
        f"has 0 bytes after its header, expected {8 * (2**32 - 1) ** 3:,} for "
        f"{(2**32 - 1,) * 3} of float64",
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("content", "error"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused(tmp_path, content, error, packed):
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(content) if packed else content)
    if packed and "float64" in error and "0 bytes" in error:
        error = f"unpacks to {8 * (2**32 - 1) ** 3:,} bytes, expected at most"
    with pytest.raises(ValueError) as raised:  # noqa: PT011, its text is compared below
        read_idx(path)
    assert str(raised.value).startswith(f"path: {path} {error}")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (PACKED[:-9], "Compressed file ended before the end-of-stream marker was reached"),
        (PACKED[:5], "Compressed file ended before the end-of-stream marker was reached"),
        (PACKED[:-8] + b"12345678", "CRC check failed"),
        (PACKED[:10] + b"\xff" * 20, "Error -3 while decompressing data"),
        (PACKED[:2] + b"\x09" + PACKED[3:], "Unknown compression method"),
    ],
)
def test_a_damaged_packed_file_is_refused(tmp_path, content, error):
    path = tmp_path / "values.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError) as raised:  # noqa: PT011, its text is compared below
        read_idx(path)
    assert str(raised.value).startswith(f"path: {path} cannot be unpacked ({error}")


def test_a_packed_file_that_takes_half_the_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "values.gz"
    path.write_bytes(PACKED)
    monkeypatch.setattr(idx, "physical_memory", lambda: 48)
    assert read_idx(path).shape == (2, 3, 4)
    monkeypatch.setattr(idx, "physical_memory", lambda: 46)
    with pytest.raises(ValueError, match="unpacks to 24 bytes, expected at most 23, half"):
        read_idx(path)
    (tmp_path / "values").write_bytes(WHOLE)
    assert read_idx(tmp_path / "values").shape == (2, 3, 4)


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_file_that_is_not_there(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"^path is '{path}', expected a file, and there"):
        read_idx(path)
    with pytest.raises(TypeError, match=r"^path is 3, expected the name of a file"):
        read_idx(3)


# ---------------------------------------------------------------------- four files


@pytest.mark.parametrize("packed", [(), (0, 1, 2, 3), (1, 2)])
def test_a_folder_gives_rows_and_labels(tmp_path, packed):
    images, labels, test_images, test_labels = write_folder(tmp_path, packed)
    (X, y), (X_test, y_test) = load_idx(tmp_path)
    assert X.tobytes() == images.tobytes()
    assert X_test.tobytes() == test_images.tobytes()
    assert (X.shape, X_test.shape) == ((30, 20), (7, 20))
    for i, (pixels, classes, expected) in enumerate(
        ((X, y, labels), (X_test, y_test, test_labels))
    ):
        assert pixels.dtype == np.uint8
        assert not pixels.flags.writeable
        assert isinstance(pixels, np.memmap) is (2 * i not in packed)
        assert type(classes) is np.ndarray
        assert classes.dtype == np.int64
        assert classes.tolist() == expected.tolist()
    assert load_idx(str(tmp_path))[0][0].shape == (30, 20)


def test_a_file_that_is_not_packed_is_preferred(tmp_path):
    images, *_ = write_folder(tmp_path)
    (tmp_path / f"{NAMES[0]}-ubyte.gz").write_bytes(b"not even gzip")
    assert load_idx(tmp_path)[0][0].tobytes() == images.tobytes()


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^folder is .*nowhere', expected a folder, and t"):
        load_idx(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"^folder is .*file', .*, and it is a file$"):
        load_idx(tmp_path / "file")
    with pytest.raises(TypeError, match=r"^folder is None, expected the name of a file"):
        load_idx(None)


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_file_is_named_with_what_is_there(tmp_path, missing):
    write_folder(tmp_path)
    names = [f"{name}-ubyte" for name in NAMES]
    (tmp_path / names[missing]).rename(tmp_path / "old")
    there = ", ".join(sorted({*names, "old"} - {names[missing]}))
    with pytest.raises(FileNotFoundError) as raised:
        load_idx(tmp_path)
    name = names[missing]
    assert str(raised.value) == f"folder: {tmp_path} has no {name} or {name}.gz; it has {there}"


def test_a_folder_of_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"; it has no files$"):
        load_idx(tmp_path)
    for i in range(9):
        (tmp_path / f"{i}.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"; it has 0.txt, 1.txt, .*, 7.txt, \.\.\.$"):
        load_idx(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        (
            {"train_labels": np.zeros(29, np.uint8)},
            "folder: {folder} has 30 images in train-images-idx3-ubyte and 29 labels in "
            "train-labels-idx1-ubyte, expected as many labels as images",
        ),
        (
            {"t10k_images": np.zeros((8, 5, 4), np.uint8)},
            "folder: {folder} has 8 images in t10k-images-idx3-ubyte and 7 labels in "
            "t10k-labels-idx1-ubyte, expected as many labels as images",
        ),
        (
            {"t10k_images": np.zeros((7, 5, 5), np.uint8)},
            "folder: {folder} has images of 20 pixels to train on, and of 25 to test on, expected "
            "one size",
        ),
        (
            {"train_images": np.zeros(30, np.uint8)},
            "path: {folder}{sep}train-images-idx3-ubyte has values of shape (30,), expected images",
        ),
        (
            {"train_images": np.zeros((0, 5, 4), np.uint8), "train_labels": np.zeros(0, np.uint8)},
            "path: {folder}{sep}train-images-idx3-ubyte has values of shape (0, 5, 4), expected im",
        ),
        (
            {"t10k_labels": np.zeros(7, ">f4")},
            "path: {folder}{sep}t10k-labels-idx1-ubyte has float32 of shape (7,), expected labels",
        ),
        (
            {"t10k_labels": np.zeros((7, 3), np.uint8)},
            "path: {folder}{sep}t10k-labels-idx1-ubyte has uint8 of shape (7, 3), expected labels",
        ),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, arrays, error):
    write_folder(tmp_path, **arrays)
    with pytest.raises(ValueError) as raised:  # noqa: PT011, its text is compared below
        load_idx(tmp_path)
    assert str(raised.value).startswith(error.format(folder=tmp_path, sep=os.sep))


# ---------------------------------------------------------------------- training on them


def train(X, y, test):
    layers = [fastnn.Dense(784, 8, rng=0), fastnn.ReLU(), fastnn.Dense(8, 10, rng=1)]
    model = fastnn.Sequential(layers)
    history = model.fit(
        X, y, epochs=2, batch_size=100, seed=0, optimizer=fastnn.Adam(), validation_data=test,
        scale=1 / 255, verbose=0,
    )  # fmt: skip
    return (
        np.array(history.loss + history.val_loss),
        model.parameters,
        model.predict(X, scale=1 / 255),
        model.predict_proba(test[0], scale=1 / 255),
        np.array(list(model.evaluate(*test, scale=1 / 255).values())),
    )


@pytest.mark.parametrize("packed", [(), (0, 2)], ids=["memory-mapped", "packed"])
def test_a_network_trains_on_bytes_where_they_lie(tmp_path, packed):
    rng = np.random.default_rng(1)
    n = 2000  # more than `inputs.SMALL` once converted, so that no copy is made
    images = rng.integers(0, 256, (n, 28, 28), np.uint8)
    labels = (images[:, 14, 14] // 26).astype(np.uint8)
    write_folder(
        tmp_path, packed, train_images=images, train_labels=labels,
        t10k_images=images[:1500], t10k_labels=labels[:1500],
    )  # fmt: skip
    (X, y), test = load_idx(tmp_path)
    rows = images.reshape(n, -1)
    expected = train(rows, labels, (rows[:1500], labels[:1500]))
    results = train(X, y, test)
    assert [each.tobytes() for each in results] == [each.tobytes() for each in expected]
    assert results[0][1] < results[0][0]
    assert np.array_equal(X, rows)


def test_a_network_trains_on_big_endian_numbers(tmp_path):
    images = np.random.default_rng(0).uniform(0, 255, (30, 5, 4))
    write_folder(tmp_path, train_images=images.astype(">f4"))
    (X, y), _ = load_idx(tmp_path)
    losses = [
        fastnn.Sequential([fastnn.Dense(20, 3, rng=0)])
        .fit(values, y, seed=0, verbose=0, scale=1 / 255)
        .loss
        for values in (X, images.reshape(30, -1).astype(np.float32))
    ]
    assert losses[0] == losses[1]
