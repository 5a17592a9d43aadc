"""Windows of a large table: its rows as a network takes them, for `fit(batches=...)`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

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
    from ..tables.reading import Reading
    from ..tables.targets import Target


class Rows:
    """Chosen rows of a table, and their targets.

    Parameters
    ----------
    mask : ndarray of bool
        Which rows of the table are chosen.
    y : ndarray
        The target in every row of the table; anything where none is chosen.
    """

    def __init__(self, mask: Array, y: Array) -> None:
        self.mask, self.y = mask, y
        counts = [np.count_nonzero(mask[i : i + _BLOCK]) for i in range(0, len(mask), _BLOCK)]
        self._before = np.cumsum([0, *counts])

    def __len__(self) -> int:
        """Return how many rows are chosen."""
        return int(self._before[-1])

    def few(self, n: int) -> Rows:
        """Return the first `n` of the chosen rows, or fewer."""
        mask = self.mask.copy()
        mask[self.find(min(n, len(self)) - 1) + 1 :] = False
        return Rows(mask, self.y)

    def find(self, i: int) -> int:
        """Return the row of the table that is the chosen row `i`."""
        block = int(np.searchsorted(self._before, i, "right")) - 1
        first = block * _BLOCK
        indices = np.flatnonzero(self.mask[first : first + _BLOCK])
        return first + int(indices[i - self._before[block]])


_BLOCK = 2**16


class TableSource:
    """Chosen rows of a large table, as features (N, I) and targets (N,).

    Parameters
    ----------
    table : LargeTable
    reading : Reading
    preprocessor : Preprocessor
    target : Classes or Quantity
        A quantity is standardized.
    dtype : dtype
        Of the features.
    rows : Rows
    unknown : Unknown, optional
        Takes the categories that are unknown.
    """

    edges = None

    def __init__(
        self,
        table: LargeTable,
        reading: Reading,
        preprocessor: Preprocessor,
        target: Target,
        dtype: DTypeLike,
        rows: Rows,
        unknown: data.Unknown | None = None,
    ) -> None:
        self.table, self.reading, self.preprocessor = table, reading, preprocessor
        self.target, self.dtype, self.rows, self.unknown = target, np.dtype(dtype), rows, unknown
        self.n_rows = len(rows)
        self.names = [column.name for column in preprocessor.columns]
        label = np.dtype(np.int64 if target.task == "classification" else np.float64)
        n_features = len(preprocessor.feature_names)
        self.forms = [Form("X", (n_features,), self.dtype), Form("y", (), label)]

    def few(self, n: int) -> TableSource:
        """Return a source of the first `n` rows, or fewer."""
        return TableSource(
            self.table, self.reading, self.preprocessor, self.target, self.dtype, self.rows.few(n)
        )

    @contextlib.contextmanager
    def open(self) -> Iterator[Read]:
        """Return a context in which rows can be read."""
        yield self._read

    def _read(self, begin: int, end: int, outs: Sequence[Array]) -> None:
        X, y = outs
        rows, at = self.rows, 0
        for first, last in self.table.cut(rows.find(begin), rows.find(end - 1) + 1):
            indices = np.flatnonzero(rows.mask[first:last])
            if len(indices):
                place = slice(at, at + len(indices))
                X[place] = self._inputs(self.table.rows(first, last, self.names).take(indices))
                y[place] = self._targets(rows.y[first + indices])
                at += len(indices)

    def _inputs(self, part: Table) -> Array:
        part = self.reading.apply(part)
        typed = self.preprocessor.read(part)
        if self.unknown is not None:
            self.unknown.add(self.preprocessor, typed)
        return data.inputs(self.preprocessor, part, typed, self.dtype)

    def _targets(self, y: Array) -> Array:
        return y if self.target.task == "classification" else self.target.standardize(y)


def spread(indices: Integers, values: Any, n_rows: int) -> Array:
    """Return `values` at these indices of an array (n_rows,), which is 0 elsewhere."""
    array = np.zeros(n_rows, np.asarray(values).dtype)
    array[indices] = values
    return array


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
