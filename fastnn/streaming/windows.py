"""Windows of rows, drawn at random from a file or an array, and read while the last one trains."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..memory import physical_memory
from ..program.threads import usable_cpus
from ..types import Array, Integers, PathLike
from ..validation import as_count, as_flag, as_index
from .parquet import ParquetSource
from .sources import Read, Source, find_source

WINDOW_BYTES = 2**27
"""Of a window, by default."""

BLOCKS = 64
"""Of a window, where rows can be read anywhere."""

BLOCK_BYTES = 2**19
"""The least bytes of a block, beside which the start of a read takes little time."""

PARQUET = (".parquet", ".pq")


class SourceWindows:
    """Windows of the rows of sources that have as many rows each; see :class:`Windows`."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        rows: int | None = None,
        block_rows: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        read_ahead: bool | None = None,
    ) -> None:
        self._seed = as_index(seed, "seed", 2**63)
        self._shuffle = as_flag(shuffle, "shuffle")
        self._reads_ahead = (
            usable_cpus() > 1 if read_ahead is None else as_flag(read_ahead, "read_ahead")
        )
        self._sources = sources
        self._edges = self._cut(rows, block_rows)
        n_rows, n_blocks = self.shape[0], len(self._edges) - 1
        wanted = default_rows(self._sources) if rows is None else as_count(rows, "rows")
        self._n_windows = min(n_blocks, -(-n_rows // wanted))
        most = -(-n_blocks // self._n_windows)
        sizes = np.sort(np.diff(self._edges))[::-1]
        self._window_rows = int(sizes[:most].sum())
        self._check_memory()

    @property
    def shape(self) -> tuple[int, int]:
        """(N, I)."""
        return self._sources[0].n_rows, self._sources[0].forms[0].row[0]

    @property
    def window_rows(self) -> int:
        """The rows of the largest window."""
        return self._window_rows

    @property
    def seed(self) -> int:
        """The seed of the order."""
        return self._seed

    @property
    def shuffle(self) -> bool:
        """Whether the order is random."""
        return self._shuffle

    @property
    def read_ahead(self) -> bool:
        """Whether a thread reads the next window."""
        return self._reads_ahead

    def __len__(self) -> int:
        """Return the number of windows of an epoch."""
        return self._n_windows

    def __repr__(self) -> str:
        return f"<Windows: {len(self)} an epoch, {self._window_rows} of {self.shape} rows>"

    def of_epoch(self, epoch: int, first: int = 0) -> Generator[tuple[Array, ...]]:
        """Yield the windows (X, y) or (X, y, sample_weight) of an epoch, `first` of them left out.

        The rows of a window are in the order of the blocks: `fit` shuffles them.
        """
        plan = self._plan(epoch)[first:]
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(source.open()) for source in self._sources]
            if not self._reads_ahead:
                for blocks in plan:
                    yield self._read(blocks, readers, None)
                return
            yield from self._iterate_ahead(plan, readers)

    def row_of(self, epoch: int, position: int, row: int) -> int:
        """Return which row of the source a row of a window is; the first window is 1."""
        blocks = self._plan(epoch)[position - 1]
        sizes = self._edges[blocks + 1] - self._edges[blocks]
        ends = np.cumsum(sizes)
        block = int(np.searchsorted(ends, row, "right"))
        return int(self._edges[blocks[block]] + row - (ends[block] - sizes[block]))

    def describe(self) -> dict[str, Any]:
        """Return what has to be the same in a resumed run."""
        return {
            "shape": [*self.shape], "seed": self._seed, "shuffle": self._shuffle,
            "windows": len(self), "blocks": len(self._edges) - 1,
        }  # fmt: skip

    def _cut(self, rows: int | None, block_rows: int | None) -> Integers:
        """Return where the blocks begin, and the end."""
        edges = self._sources[0].edges
        if edges is not None:
            if block_rows is not None:
                raise ValueError("block_rows is given, expected X without chunks or row groups")
            blocks: Integers = edges[np.append(np.diff(edges) > 0, True)]  # some may be empty
            return blocks
        n_rows = self.shape[0]
        if block_rows is None:
            wanted = default_rows(self._sources) if rows is None else as_count(rows, "rows")
            least = -(-BLOCK_BYTES // row_bytes(self._sources))
            block_rows = max(1, min(wanted, max(least, -(-wanted // BLOCKS))))
        else:
            block_rows = as_count(block_rows, "block_rows")
        return np.append(np.arange(0, n_rows, block_rows), n_rows)

    def _check_memory(self) -> None:
        n_bytes, memory = self._window_rows * row_bytes(self._sources), physical_memory()
        if n_bytes * (1 + self._reads_ahead) > memory:
            raise ValueError(
                f"rows: a window of {self._window_rows:,} rows takes {n_bytes / 2**30:,.1f} GiB, "
                f"expected windows that fit into the memory of {memory / 2**30:,.1f} GiB"
            )

    def _plan(self, epoch: int) -> list[Integers]:
        """Return the blocks of each window of an epoch."""
        n_blocks, n_windows = len(self._edges) - 1, len(self)
        if not self._shuffle:
            return np.array_split(np.arange(n_blocks), n_windows)
        # Of as many neighbors as there are windows, each window gets one: so each has rows from all
        # over the file, and rows that are sorted by class are mixed as well as any.
        rng = np.random.default_rng([self._seed, epoch])
        deals = np.tile(np.arange(n_windows), (-(-n_blocks // n_windows), 1))
        window_of = rng.permuted(deals, axis=1).ravel()[:n_blocks]
        return [np.flatnonzero(window_of == i) for i in rng.permutation(n_windows)]

    def _read(
        self, blocks: Integers, readers: Sequence[Read], stop: threading.Event | None
    ) -> tuple[Array, ...]:
        """Return the arrays of a window."""
        begins, ends = self._edges[blocks], self._edges[blocks + 1]
        n_rows = int((ends - begins).sum())
        window: list[Array] = []
        for source, read in zip(self._sources, readers, strict=True):
            arrays = [np.empty((n_rows, *form.row), form.dtype) for form in source.forms]
            at = 0
            for begin, end in _join(begins, ends, joins=source.edges is None):
                if stop is not None and stop.is_set():
                    break
                read(begin, end, [array[at : at + end - begin] for array in arrays])
                at += end - begin
            window += arrays
        return tuple(window)

    def _iterate_ahead(
        self, plan: Sequence[Integers], readers: Sequence[Read]
    ) -> Iterator[tuple[Array, ...]]:
        """Yield the windows of a plan; a thread reads the next one."""
        stop = threading.Event()
        with ThreadPoolExecutor(1, "fastnn windows") as pool:
            try:
                waiting: Future[tuple[Array, ...]] | None = None
                for i, blocks in enumerate(plan):
                    if waiting is None:
                        waiting = pool.submit(self._read, blocks, readers, stop)
                    window = waiting.result()
                    waiting = None
                    if i + 1 < len(plan):
                        waiting = pool.submit(self._read, plan[i + 1], readers, stop)
                    yield window
                    del window
            finally:
                stop.set()


class Windows(SourceWindows):
    """Windows of many rows of a file or an array that is larger than memory, in random order.

    The rows lie in blocks. Each epoch deals the blocks out to windows at random, in another way
    each time, so that each window has blocks from all parts of the file. The blocks of a window are
    read in the order in which they lie on the disk. Pass the
    object to `fit(batches=windows, batch_size=...)`, which shuffles the rows within each window
    and cuts it into steps. The next window is read while the last one trains.

    Parameters
    ----------
    X : array-like of shape (N, I), or path-like
        A memory map, an array of Dask, zarr or NumPy; or a `.npy` file, an IDX file, a Parquet
        file or a folder of Parquet files. IDX images become rows.
    y : array-like of shape (N,) or (N, O), or path-like
        Of the same kinds. For Parquet, the name of a column.
    sample_weight : array-like of shape (N,), path-like or str, optional
        Of the same kinds.
    columns : list of str, optional
        For Parquet: the features. By default all other columns.
    rows : int, optional
        The rows of a window, about. By default as many as 128 MiB hold. Two windows are in memory
        at a time. At least 1,000 steps of rows, of 8 blocks or more, mix well.
    block_rows : int, optional
        The rows of a block. By default a window has 64 blocks, of at least 512 KiB. Chunks of Dask
        or zarr and row groups of Parquet are blocks.
    seed : int
        The same seed gives the same windows.
    shuffle : bool
        If False, blocks and windows come in their order.
    read_ahead : bool, optional
        Whether a thread reads the next window. By default where the process may use 2 CPUs.
    dtype : dtype
        For Parquet: that of the features.

    Attributes
    ----------
    shape : tuple of int
        (N, I).
    window_rows : int
        The rows of the largest window.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TypeError, ValueError
        For bad arguments, a file that is not whole, a Parquet column that is not in each file, and
        windows that do not fit into memory: before anything is read. A file that cannot be read
        later ends `fit` with an error that names the place; the model keeps the steps before it.

    Examples
    --------
    >>> from fastnn.streaming import Windows
    >>> rng = np.random.default_rng(0)
    >>> X = np.lib.format.open_memmap("X.npy", "w+", np.float32, (1000, 2))
    >>> X[...] = rng.standard_normal((1000, 2))
    >>> windows = Windows("X.npy", X[:, 0] > 0, rows=250, block_rows=25, seed=0)
    >>> len(windows), windows.shape, windows.window_rows
    (4, (1000, 2), 250)
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    >>> history = model.fit(batches=windows, batch_size=10, epochs=5, seed=0)
    >>> [len(y) for X, y in windows.of_epoch(1)]
    [250, 250, 250, 250]
    """

    def __init__(
        self,
        X: ArrayLike | PathLike,
        y: ArrayLike | PathLike,
        sample_weight: ArrayLike | PathLike | None = None,
        *,
        columns: Sequence[str] | None = None,
        rows: int | None = None,
        block_rows: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        read_ahead: bool | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            _find_sources(X, y, sample_weight, columns, _as_dtype(dtype)), rows=rows,
            block_rows=block_rows, seed=seed, shuffle=shuffle, read_ahead=read_ahead,
        )  # fmt: skip


def _as_dtype(value: DTypeLike) -> np.dtype[Any]:
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "biuf":
        raise TypeError(f"dtype is {value!r}, expected a type of real numbers, such as float32")
    return dtype


def row_bytes(sources: Iterable[Source]) -> int:
    """Return the bytes of a row of all sources."""
    forms = [form for source in sources for form in source.forms]
    return sum(int(np.prod(form.row)) * form.dtype.itemsize for form in forms)


def default_rows(sources: Iterable[Source]) -> int:
    """Return how many rows a window has."""
    return max(1, WINDOW_BYTES // row_bytes(sources))


def _join(begins: Integers, ends: Integers, *, joins: bool) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of blocks; of neighbors in one piece, if `joins`."""
    pairs = [*zip(begins.tolist(), ends.tolist(), strict=True)]
    while pairs:
        begin, end = pairs.pop(0)
        while joins and pairs and pairs[0][0] == end:
            end = pairs.pop(0)[1]
        yield begin, end


def _find_sources(
    X: Any, y: Any, sample_weight: Any, columns: Sequence[str] | None, dtype: np.dtype[Any]
) -> list[Source]:
    """Return the sources of samples, targets and weights, with as many rows each."""
    path = Path(X) if isinstance(X, str | Path) else None
    if path is not None and (path.is_dir() or path.suffix.lower() in PARQUET):
        for value, name in ((y, "y"), (sample_weight, "sample_weight")):
            if not isinstance(value, str) and not (value is None and name != "y"):
                raise TypeError(f"{name} is {value!r:.80}, expected the name of a Parquet column")
        parquet = ParquetSource(path, columns, y, sample_weight, dtype)
        if parquet.n_rows == 0:
            raise ValueError(f"X: {path} has no rows")
        return [parquet]
    if columns is not None:
        raise ValueError("columns is given, expected a Parquet file or folder as X")
    sources: list[Source] = [find_source(X, "X"), find_source(y, "y")]
    if sample_weight is not None:
        sources.append(find_source(sample_weight, "sample_weight"))
    samples = sources[0]
    (form,) = samples.forms
    shape = samples.n_rows, *form.row
    if len(shape) != 2 or 0 in shape:
        raise ValueError(
            f"X has shape {shape}, expected (n_samples, n_features), at least one of both"
        )
    for source in sources[1:]:
        if source.n_rows != samples.n_rows:
            (form,) = source.forms
            raise ValueError(f"{form.name} has {source.n_rows} rows, expected {samples.n_rows}")
    for source in sources:
        (form,) = source.forms
        if form.dtype.kind not in "biuf":
            raise TypeError(f"{form.name} has dtype {form.dtype}, expected real numbers")
    return sources
