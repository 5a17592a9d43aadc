"""Windows of a large table: its rows as a network takes them, for `fit(batches=...)`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from ..nn.batches import draw_order
from ..streaming.sources import Form, Read
from ..streaming.windows import SourceWindows, default_rows
from ..types import Array, Integers
from . import data

if TYPE_CHECKING:
    from ..tables import Table
    from ..tables.large import LargeTable
    from ..tables.preprocessing import Preprocessor
    from ..tables.targets import Target


class TableSource:
    """Chosen rows of a large table, as features (N, I) and targets (N,).

    Parameters
    ----------
    table : LargeTable
    preprocessor : Preprocessor
    target : Classes or Quantity
        A quantity is standardized.
    dtype : dtype
        Of the features.
    mask : ndarray of bool
        Which rows of the table are chosen.
    y : ndarray, optional
        What `target.encode` returns for all rows of the table. By default it is called for the rows
        that are read.
    """

    edges = None

    def __init__(
        self,
        table: LargeTable,
        preprocessor: Preprocessor,
        target: Target,
        dtype: DTypeLike,
        mask: Array,
        y: Array | None = None,
    ) -> None:
        self.table, self.preprocessor, self.target = table, preprocessor, target
        self.dtype, self.mask, self.y = np.dtype(dtype), mask, y
        self.unknown = data.Unknown()
        self._before = _count_before(mask)
        self.n_rows = int(self._before[-1])
        self.names = [column.name for column in preprocessor.columns]
        if y is None:
            self.names.append(target.name)
        label = np.dtype(np.int64 if target.task == "classification" else np.float64)
        n_features = len(preprocessor.feature_names)
        self.forms = [Form("X", (n_features,), self.dtype), Form("y", (), label)]

    def count_classes(self, n_classes: int) -> Integers:
        """Return how many of the rows are of each class."""
        assert self.y is not None
        return np.bincount(self.y[self.mask], minlength=n_classes)

    @contextlib.contextmanager
    def open(self) -> Iterator[Read]:
        """Return a context in which rows can be read."""
        yield self._read

    def _read(self, begin: int, end: int, outs: Sequence[Array]) -> None:
        X, y = outs
        at = 0
        for first, last in self.table.cut(self._find(begin), self._find(end - 1) + 1):
            indices = np.flatnonzero(self.mask[first:last])
            if len(indices):
                part = self.table.rows(first, last, self.names).take(indices)
                rows = slice(at, at + len(indices))
                X[rows], y[rows] = self._inputs(part), self._targets(part, first + indices)
                at += len(indices)

    def _inputs(self, part: Table) -> Array:
        typed = self.preprocessor.read(part)
        if self.y is None:  # it is not known yet what is in the table
            self.unknown.add(self.preprocessor, typed)
        return data.inputs(self.preprocessor, part, typed, self.dtype)

    def _targets(self, part: Table, indices: Integers) -> Array:
        y: Array = self.target.encode(part) if self.y is None else self.y[indices]
        return y if self.target.task == "classification" else self.target.standardize(y)

    def _find(self, i: int) -> int:
        """Return the row of the table that is the chosen row `i`."""
        block = int(np.searchsorted(self._before, i, "right")) - 1
        first = block * _BLOCK
        indices = np.flatnonzero(self.mask[first : first + _BLOCK])
        return first + int(indices[i - self._before[block]])


BLOCKS = 16
"""Of a window: to read 64 short ones takes 8 times as long, as each read has to begin."""


def make_windows(source: TableSource, seed: int = 0, *, shuffle: bool) -> SourceWindows:
    """Return the windows (X, y) of a source."""
    rows = min(source.n_rows, default_rows([source]))
    return SourceWindows(
        [source], rows=rows, block_rows=-(-rows // BLOCKS), seed=seed % 2**63, shuffle=shuffle
    )


class OneOrder:
    """The orders of samples that `fit` draws for an array, for windows that have all rows each.

    `fit` draws the order of an epoch and then the key of its dropout masks. With batches it draws
    the key first, so each order is drawn one epoch ahead here.
    """

    def __init__(self, rng: np.random.Generator, n_rows: int) -> None:
        self.rng = rng
        self._next: Integers = draw_order(rng, n_rows)

    def __call__(self, n: int) -> Integers:
        """Return the order of the `n` rows of the next epoch."""
        order, self._next = self._next, draw_order(self.rng, n)
        return order


_BLOCK = 2**16


def _count_before(mask: Array) -> Integers:
    """Return how many rows are chosen before each block of the table, and in all of it."""
    counts = [np.count_nonzero(mask[i : i + _BLOCK]) for i in range(0, len(mask), _BLOCK)]
    return np.cumsum([0, *counts])
