"""IDX files: the format of MNIST, Fashion-MNIST and their like."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..memory import physical_memory
from ..types import Array, Integers, PathLike, Shape
from ..validation import as_path

# The third byte of a file. Numbers of several bytes start with the highest one.
_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP = b"\x1f\x8b"
_MOST_DIMENSIONS = 32
_SHOWN = 8  # names of a folder, in an error


def load_idx(folder: PathLike) -> tuple[tuple[Array, Integers], tuple[Array, Integers]]:
    """Read the four files of MNIST, Fashion-MNIST or another data set in their format.

    They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, or the same names with `.gz`. Where there are both, the file without
    `.gz` is read. Images in a file without `.gz` are memory-mapped: their bytes are read from the
    disk as they are used, and take no memory of the process. Debian has Fashion-MNIST as the
    package `dataset-fashion-mnist`.

    Parameters
    ----------
    folder : str or path-like
        The folder of the files.

    Returns
    -------
    train : (X, y)
        The images and labels of the files `train-...`.

        `X` is a read-only array of shape (N, I), the pixels of an image row by row: uint8 from 0 to
        255 in files with these names. It is a :class:`numpy.memmap` where the file is not
        compressed. Pass `scale=1 / 255` to `fit` and to the prediction methods. `y` is an array of
        shape (N,), int64.
    test : (X, y)
        The images and labels of the files `t10k-...`. `fit` takes the pair as `validation_data`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        Where there is no such folder, or a file is missing.
    ValueError
        For what `read_idx` refuses, files without images, labels that are not whole numbers, more
        or fewer labels than images, and test images of another size.

    See Also
    --------
    read_idx : One file, with all of its dimensions.

    Examples
    --------
    Here the files are written first: 3 images of 2x2 pixels to train on, and 1 to test on.

    >>> from pathlib import Path
    >>> from fastnn.datasets import load_idx
    >>> def write(name, *shape):
    ...     head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    ...     return Path(name).write_bytes(head + bytes(range(np.prod(shape))))
    >>> sizes = write("train-images-idx3-ubyte", 3, 2, 2), write("train-labels-idx1-ubyte", 3)
    >>> sizes = write("t10k-images-idx3-ubyte", 1, 2, 2), write("t10k-labels-idx1-ubyte", 1)
    >>> (X, y), (X_test, y_test) = load_idx(".")
    >>> X
    memmap([[ 0,  1,  2,  3],
            [ 4,  5,  6,  7],
            [ 8,  9, 10, 11]], dtype=uint8)
    >>> y, X_test.shape
    (array([0, 1, 2]), (1, 4))
    >>> model = fastnn.Sequential([fastnn.Dense(4, 3, rng=0)])
    >>> history = model.fit(X, y, validation_data=(X_test, y_test), scale=1 / 255, verbose=0)
    """
    name = as_path(folder, "folder")
    path = Path(name)
    if path.is_file():
        raise NotADirectoryError(f"folder is {name!r}, expected a folder, and it is a file")
    if not path.is_dir():
        raise FileNotFoundError(f"folder is {name!r}, expected a folder, and there is none")
    train, test = _load_part(path, "train"), _load_part(path, "t10k")
    if train[0].shape[1] != test[0].shape[1]:
        raise ValueError(
            f"folder: {name} has images of {train[0].shape[1]} pixels to train on, and of "
            f"{test[0].shape[1]} to test on, expected one size"
        )
    return train, test


def read_idx(path: PathLike) -> Array:
    """Read an IDX file, compressed by gzip or not.

    Parameters
    ----------
    path : str or path-like
        The first bytes of the file say whether it is compressed; its name does not matter.

    Returns
    -------
    ndarray
        Read-only, with the dimensions that the file states, such as (60000, 28, 28). It is a
        :class:`numpy.memmap` where the file is not compressed. The dtype is uint8, int8, int16,
        int32, float32 or float64, the last four big-endian, as in the file.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        For a file that is not IDX, one with less or more values than it states, damaged compressed
        data, and values that unpack to more than half the memory of this machine.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastnn.datasets import read_idx
    >>> header = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])  # uint8, 2 dimensions: 2 and 3
    >>> size = Path("numbers-idx2-ubyte").write_bytes(header + bytes([1, 2, 3, 4, 5, 6]))
    >>> read_idx("numbers-idx2-ubyte")
    memmap([[1, 2, 3],
            [4, 5, 6]], dtype=uint8)
    """
    name = as_path(path)
    if not Path(name).is_file():
        raise FileNotFoundError(f"path is {name!r}, expected a file, and there is none")
    with open(name, "rb") as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        return _read_packed(file, name) if is_packed else _map(file, name)


def _map(file: BinaryIO, name: str) -> Array:
    """Return the values of an open file, memory-mapped."""
    dtype, shape = _read_header(file, name)
    begin, end = file.tell(), os.fstat(file.fileno()).st_size
    _check_size(end - begin, dtype, shape, name)
    if end == begin:  # no system maps no bytes
        return np.frombuffer(b"", dtype).reshape(shape)
    return np.memmap(file, dtype, "r", begin, shape)


def _read_packed(file: BinaryIO, name: str) -> Array:
    """Return the values of an open file that is compressed by gzip."""
    try:
        with gzip.open(file) as unpacked:
            dtype, shape = _read_header(unpacked, name)
            size = _size(dtype, shape)
            if size > (most := physical_memory() // 2):
                raise ValueError(
                    f"path: {name} unpacks to {size:,} bytes, expected at most {most:,}, half the "
                    "memory of this machine: unpack the file, and it is memory-mapped"
                )
            content = unpacked.read(size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"path: {name} cannot be unpacked ({error})") from None
    _check_size(len(content), dtype, shape, name)
    return np.frombuffer(content, dtype).reshape(shape)  # read-only, as bytes are


def _read_header(file: BinaryIO | gzip.GzipFile, name: str) -> tuple[np.dtype[Any], Shape]:
    """Read the first bytes of a file, and return the dtype and shape of its values."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        shown = f"begins with the bytes {start.hex(' ')}" if start else "is empty"
        raise ValueError(
            f"path: {name} {shown}, expected an IDX file: 00 00, the code of a dtype, and the "
            "number of dimensions"
        )
    code, n_dimensions = start[2:]
    if code not in _DTYPES:
        known = ", ".join(f"0x{each:02x} ({dtype.name})" for each, dtype in _DTYPES.items())
        raise ValueError(f"path: {name} has the dtype code 0x{code:02x}, expected one of {known}")
    if not 1 <= n_dimensions <= _MOST_DIMENSIONS:
        raise ValueError(
            f"path: {name} has {n_dimensions} dimensions, expected 1 to {_MOST_DIMENSIONS}"
        )
    sizes = file.read(4 * n_dimensions)
    if len(sizes) < 4 * n_dimensions:
        raise ValueError(
            f"path: {name} ends within its header, expected the sizes of {n_dimensions} dimensions"
        )
    return _DTYPES[code], tuple(np.frombuffer(sizes, ">u4").tolist())


def _size(dtype: np.dtype[Any], shape: Shape) -> int:
    """Return the bytes of an array. NumPy's own product of sizes may overflow."""
    return dtype.itemsize * math.prod(shape)


def _check_size(n_bytes: int, dtype: np.dtype[Any], shape: Shape, name: str) -> None:
    """Raise ValueError where the values of a file are not as many as its header says."""
    expected = _size(dtype, shape)
    if n_bytes != expected:
        there = f"{n_bytes:,} bytes" if n_bytes < expected else "more bytes"
        raise ValueError(
            f"path: {name} has {there} after its header, expected {expected:,} for {shape} of "
            f"{dtype.name}"
        )


def _load_part(folder: Path, part: str) -> tuple[Array, Integers]:
    """Return the images (N, I) and labels (N,) of "train" or "t10k"."""
    image_file = _find(folder, f"{part}-images-idx3-ubyte")
    label_file = _find(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim < 2 or images.size == 0:
        raise ValueError(
            f"path: {image_file} has values of shape {images.shape}, expected images: "
            "(N, rows, columns), none of them 0"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"path: {label_file} has {labels.dtype.name} of shape {labels.shape}, expected labels: "
            "whole numbers (N,)"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"folder: {folder} has {len(images)} images in {image_file.name} and {len(labels)} "
            f"labels in {label_file.name}, expected as many labels as images"
        )
    return images.reshape(len(images), -1), np.array(labels, np.int64)


def _find(folder: Path, name: str) -> Path:
    """Return the path of a file in `folder`, compressed or not."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    names = sorted(path.name for path in folder.iterdir())
    there = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise FileNotFoundError(
        f"folder: {folder} has no {name} or {name}.gz; it has {there or 'no files'}"
    )
