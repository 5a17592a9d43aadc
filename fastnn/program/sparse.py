"""Sparse samples: matrices of SciPy, of which a few rows at a time become dense."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from .. import kernels
from ..kernels.target import BLOCK_ROWS
from ..types import Array, Floats, Integers, Records, Scaling, Shape
from ..validation import refuse_not_finite
from .samples import UNSCALED, Samples

DENSE_BYTES = 32_000_000
"""Of the rows that are dense at a time while a network trains, unless one batch is larger."""


def is_sparse(value: Any) -> bool:
    """Return whether `value` is a sparse matrix or array of SciPy, which is not imported for it."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(value))


class SparseSamples(Samples):
    """Rows (N, I) of a CSR matrix of finite numbers of `dtype`, which nobody else has.

    `take` and `blocks` give dense rows, with the bits of those of the dense array.
    """

    is_sparse = True

    def __init__(self, matrix: Any, dtype: DTypeLike, scaling: Scaling = UNSCALED) -> None:
        self.matrix, self.dtype = matrix, np.dtype(dtype)
        self.scaling = np.array(scaling, np.float64)
        self.pending, self.is_ready = None, True

    @classmethod
    def checked(
        cls, matrix: Any, value: Any, name: str, dtype: DTypeLike, scaling: Scaling
    ) -> Self:
        """Return the samples of what `as_csr` has made of `value`, all of them finite."""
        with np.errstate(over="ignore"):
            matrix.data = matrix.data.astype(dtype)
        samples = cls(matrix, dtype, scaling)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = samples._convert(matrix.data)
        if not kernels.all_finite(scaled):
            at = int(np.flatnonzero(~np.isfinite(scaled))[0])
            row = int(np.searchsorted(matrix.indptr, at, "right")) - 1
            with np.errstate(over="ignore", invalid="ignore"):
                rows = samples.take([row])
            refuse_not_finite(rows, name, value.tocsr(), row, scaling)
        return samples

    @property
    def shape(self) -> Shape:
        """(N, I)."""
        n_rows, n_features = self.matrix.shape
        return int(n_rows), int(n_features)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> SparseSamples:
        part = SparseSamples(self.matrix[rows], self.dtype, tuple(self.scaling))
        part.categories = self.categories
        return part

    def view(self) -> tuple[Array, Records]:
        """Raise TypeError: kernels take the rows that `take` returns."""
        raise TypeError("sparse samples have no bytes of rows")

    def take(self, indices: Integers | list[int]) -> Floats:
        """Return the rows at `indices` as a C-contiguous array of `dtype`."""
        return self._as_rows(self.matrix[indices])

    def as_rows(self, numbers: Array, columns: Integers, starts: Integers) -> Floats:
        """Return rows of another CSR matrix of as many columns as `take` returns its own."""
        shape = len(starts) - 1, self.shape[1]
        return self._as_rows(type(self.matrix)((numbers, columns, starts), shape=shape))

    def _as_rows(self, matrix: Any) -> Floats:
        rows: Floats = matrix.toarray(order="C")
        return rows if tuple(self.scaling) == UNSCALED else self._convert(rows)

    def blocks(self, begin: int, end: int) -> Iterator[tuple[int, Floats]]:
        """Yield (first, rows): the rows [begin, end) in C-contiguous arrays of `dtype`."""
        for first in range(begin, end, BLOCK_ROWS):
            yield first, self._as_rows(self.matrix[first : min(first + BLOCK_ROWS, end)])

    def count_dense(self, batch_size: int) -> int:
        """Return how many batches are dense at a time."""
        return max(1, DENSE_BYTES // (batch_size * self.shape[1] * self.dtype.itemsize))

    def check_map(self, name: str) -> None:
        """Do nothing: the numbers are a copy."""

    def check(self, name: str, begin: int = 0) -> None:
        """Do nothing: the numbers have been checked."""


def as_csr(
    value: Any, name: str, *, n_features: int | None = None, allow_empty: bool = True
) -> Any:
    """Return a sparse matrix of real numbers, of any format, as a CSR matrix, a copy."""
    kind = np.dtype(value.dtype)
    if kind.kind not in "biuf":
        raise TypeError(f"{name} has dtype {kind}, expected real numbers")
    if value.ndim != 2 or n_features not in (None, value.shape[1]):
        columns = "I" if n_features is None else n_features
        raise ValueError(f"{name} has shape {value.shape}, expected (n_samples, {columns})")
    if value.shape[1] == 0 or (value.shape[0] == 0 and not allow_empty):
        raise ValueError(f"{name} has shape {value.shape}, expected at least one row and column")
    try:
        matrix = _checked(value).tocsr()
    except (ValueError, IndexError) as error:
        raise ValueError(f"{name} is not a whole sparse matrix: {error}") from None
    matrix.sum_duplicates()
    return matrix


def _checked(value: Any) -> Any:
    """Return a copy of a sparse matrix whose indices are all in range.

    SciPy reads and writes where the indices point, also in conversions: `tocsr` of a CSC matrix
    with an index out of range ends the process (tests: broken matrices of all formats).
    """
    if value.format in ("csr", "csc", "bsr"):
        matrix = value.copy()
        matrix.check_format(full_check=True)
        if len(matrix.indptr) > 1 and np.diff(matrix.indptr).min() < 0:  # not seen if the last is 0
            raise ValueError("indptr must be a non-decreasing sequence")
        return matrix
    matrix = value.tocoo(copy=True)
    for axis, (indices, size) in enumerate(zip(matrix.coords, matrix.shape, strict=True)):
        if len(indices) != len(matrix.data):
            raise ValueError(f"{len(matrix.data)} numbers have {len(indices)} indices")
        if len(indices) and not 0 <= indices.min() <= indices.max() < size:
            raise ValueError(f"an index of axis {axis} is not in [0, {size})")
    return matrix
