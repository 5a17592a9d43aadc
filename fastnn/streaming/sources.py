"""Where windows come from: arrays in memory, in files, and of Dask or zarr; read block by block."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from ..datasets import read_idx
from ..types import Array, Integers, Shape
from ..validation import as_anything

_HEADER = 4096
"""Bytes of a file, at most, that are compared when it is opened again."""

Read: TypeAlias = Callable[[int, int, Sequence[Array]], None]
"""Takes (begin, end, outs), and writes the rows [begin, end) into the arrays `outs`."""


class Form(NamedTuple):
    """An array (N, *row) of which a source has the rows."""

    name: str  # of the argument, for errors
    row: Shape
    dtype: np.dtype[Any]


class Source(Protocol):
    """Rows of one or more arrays."""

    n_rows: int

    @property
    def forms(self) -> Sequence[Form]:
        """The arrays."""

    @property
    def edges(self) -> Integers | None:
        """Where the parts begin that can only be read whole, and the end; None: anywhere."""

    def open(self) -> contextlib.AbstractContextManager[Read]:
        """Return a context in which rows can be read."""


class ArraySource:
    """An array in memory, or one of a library that reads it where it is indexed."""

    def __init__(self, array: Any, name: str) -> None:
        self.array, self.n_rows, self.edges = array, int(array.shape[0]), _find_edges(array)
        self.forms = [Form(name, tuple(array.shape[1:]), np.dtype(array.dtype))]

    @contextlib.contextmanager
    def open(self) -> Iterator[Read]:
        """Return a context in which rows can be read."""

        def read(begin: int, end: int, outs: Sequence[Array]) -> None:
            try:
                rows = np.asarray(self.array[begin:end])
            except Exception as error:
                error.add_note(f"{self.forms[0].name}[{begin}:{end}] cannot be read")
                raise
            outs[0][...] = rows

        yield read


class FileSource:
    """The rows of an array that lies in a file, one after the other.

    They are read, not mapped: then no page of the file counts as memory of the process, and the
    system reads what is asked for and nothing beyond.
    """

    edges = None

    def __init__(self, path: str, offset: int, shape: Shape, dtype: np.dtype[Any], name: str):
        self.path, self.offset, self.n_rows = path, offset, shape[0]
        self.forms = [Form(name, shape[1:], dtype)]
        self.row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        with open(path, "rb", buffering=0) as file:
            self._identity = self._identify(file)

    def _identify(self, file: Any) -> tuple[Any, ...]:
        """Return what is another for another file, and for rows of another dtype or shape."""
        status = os.fstat(file.fileno())
        return status.st_dev, status.st_ino, file.read(min(self.offset, _HEADER))

    def has_rows_of(self, array: Array) -> bool:
        """Return whether the file has the first and the last row of an array."""
        if self.n_rows == 0:
            return True
        row = np.empty((1, *self.forms[0].row), self.forms[0].dtype)
        with self.open() as read:
            for i in (0, self.n_rows - 1):
                try:
                    read(i, i + 1, [row])
                except ValueError:
                    return False
                if row.tobytes() != array[i].tobytes():
                    return False
        return True

    @contextlib.contextmanager
    def open(self) -> Iterator[Read]:
        """Return a context in which rows can be read."""
        name = self.forms[0].name
        try:
            file = open(self.path, "rb", buffering=0)
        except OSError as error:
            raise type(error)(
                f"{name} is {self.path!r}, expected the file as it was when it was opened ({error})"
            ) from None
        with file:
            if self._identify(file) != self._identity:
                raise ValueError(
                    f"{name}: {self.path} is another file, or has another header, than when it "
                    "was opened: expected the same"
                )
            if hasattr(os, "posix_fadvise"):  # no reading ahead, beyond a block
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

            def read(begin: int, end: int, outs: Sequence[Array]) -> None:
                file.seek(self.offset + begin * self.row_bytes)
                memory: Any = memoryview(outs[0].reshape(-1).view(np.uint8).data)
                while len(memory):
                    count = file.readinto(memory)
                    if not count:
                        raise ValueError(
                            f"{self.forms[0].name}: {self.path} ends within row "
                            f"{end - 1 - (len(memory) - 1) // self.row_bytes}, "
                            f"expected {self.n_rows} rows, as when it was opened"
                        )
                    memory = memory[count:]

            yield read


def find_source(value: Any, name: str) -> Source:
    """Return the source of an array, or of the path of a `.npy` or IDX file."""
    if isinstance(value, str | os.PathLike):
        value = _map(Path(value), name)
    if not isinstance(value, np.ndarray) and not hasattr(value, "chunks"):
        value = as_anything(value, name)
    if not value.shape:
        raise ValueError(f"{name} has shape (), expected an array of rows")
    if value.shape[0] != value.shape[0]:  # NaN
        raise ValueError(
            f"{name} has an unknown number of rows: {name}.compute_chunk_sizes() finds it"
        )
    return _find_file(value, name) or ArraySource(value, name)


def _map(path: Path, name: str) -> Array:
    """Return the array of a file, memory-mapped."""
    if not path.is_file():
        raise FileNotFoundError(f"{name} is {str(path)!r}, expected a file, and there is none")
    with path.open("rb") as file:
        start = file.read(6)
    if start != b"\x93NUMPY":
        try:
            array = read_idx(path)
        except ValueError as error:
            raise ValueError(
                f"{name} is {str(path)!r}, expected a .npy, IDX or Parquet file ({error})"
            ) from None
        return array.reshape(len(array), -1) if array.ndim > 1 else array
    try:
        mapped: Array = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{name}: {path} cannot be read ({error})") from None
    return mapped


def _find_file(array: Any, name: str) -> FileSource | None:
    """Return the source of an array that is mapped from a file, row after row; else None."""
    root = array
    while isinstance(root, np.ndarray) and isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not array.flags.c_contiguous or root.filename is None:
        return None
    if root.mode == "c":  # what was written to the array is not in the file
        return None
    first, start = (each.__array_interface__["data"][0] for each in (array, root))
    try:
        source = FileSource(
            str(root.filename), root.offset + first - start, array.shape, array.dtype, name
        )
        # Another file may have the name now: the map still has the one that it was made of.
        return source if source.has_rows_of(array) else None
    except OSError:
        return None


def _find_edges(array: Any) -> Integers | None:
    """Return where the chunks of an array of Dask or zarr begin, and its end; else None."""
    if isinstance(array, np.ndarray):
        return None
    chunks = getattr(array, "shards", None) or getattr(array, "chunks", None)
    if not chunks:
        return None
    if not isinstance(chunks[0], int):  # of Dask: the size of each chunk
        return np.concatenate([[0], np.cumsum(chunks[0])]).astype(np.int64)
    return np.append(np.arange(0, array.shape[0], chunks[0]), array.shape[0])
