"""Samples as they lie in memory, and how they become numbers of a network's dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import DTypeLike

from .. import kernels
from ..kernels.codes import SampleType
from ..kernels.records import SAMPLE_LAYOUT
from ..memory import check_map
from ..types import Array, Floats, Integers, Records, Scaling, Shape
from ..validation import check_codes, refuse_not_finite, unlocked

# What is converted while a batch is gathered; numbers of other dtypes are converted beforehand.
KINDS = {
    np.dtype(np.uint8): SampleType.UINT8,
    np.dtype(np.int8): SampleType.INT8,
    np.dtype(np.float16): SampleType.FLOAT16,
    np.dtype(np.float32): SampleType.FLOAT32,
    np.dtype(np.float64): SampleType.FLOAT64,
}

# Rows of about so many bytes are converted at a time where a batch is not what is asked for.
_BLOCK = 1_000_000

UNSCALED = (1.0, 0.0)

NO_CODES: Mapping[int, int] = MappingProxyType({})


class Samples:
    """Rows (N, I) of finite numbers, of any dtype in `KINDS` and with any strides.

    A network takes `array.astype(dtype) * scale + offset`, calculated in `dtype`; (1, 0) as
    `scaling` stands for neither.
    """

    is_sparse = False
    is_part = False
    categories: Mapping[int, int] = NO_CODES
    """{column: number of categories} of the columns that have to have codes."""

    def __init__(self, array: Array, dtype: DTypeLike, scaling: Scaling = UNSCALED) -> None:
        self.array, self.dtype = array, np.dtype(dtype)
        self.pending: Array | None = None
        """(N,) bool: the rows that are still to be checked, by `check_rows`; None: none are."""
        self.scaling = np.array(scaling, np.float64)
        flags = array.flags
        plain = array.dtype == self.dtype and flags.c_contiguous and flags.aligned
        self.is_ready = plain and tuple(scaling) == UNSCALED
        """Whether the array is what a network takes, as it is."""

    @property
    def shape(self) -> Shape:
        """(N, I)."""
        return self.array.shape

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice | Array) -> Samples:
        part = Samples(self.array[rows], self.dtype, tuple(self.scaling))
        part.categories = self.categories
        if self.pending is not None:
            part.pending = self.pending[rows]
        return part

    def view(self) -> tuple[Array, Records]:
        """Return (bytes, layout): what kernels need to read the numbers.

        `layout` is an array (1,) of SAMPLE_LAYOUT, see `kernels/records.py`.
        """
        low, high = np.lib.array_utils.byte_bounds(self.array)
        start = self.array.__array_interface__["data"][0] - low
        layout = KINDS[self.array.dtype], start, *self.array.strides, *self.scaling
        record = np.array([layout], SAMPLE_LAYOUT)
        return np.asarray(_Bytes(self.array, low, high - low)), record

    def take(self, indices: Integers | list[int]) -> Floats:
        """Return the rows at `indices` as a C-contiguous array of `dtype`."""
        return self.array[indices] if self.is_ready else self._convert(self.array[indices])

    def _convert(self, rows: Array) -> Floats:
        """Return what the network takes for some rows of the array, with the kernels' bits."""
        with np.errstate(over="ignore"):
            result = np.array(rows, self.dtype, order="C")
            if tuple(self.scaling) != UNSCALED:
                scale, offset = self.scaling.astype(self.dtype)
                result *= scale
                result += offset
        return result

    def blocks(self, begin: int, end: int) -> Iterator[tuple[int, Floats]]:
        """Yield (first, rows): the rows [begin, end) in C-contiguous arrays of `dtype`."""
        if self.is_ready:
            yield begin, unlocked(self.array[begin:end])
            return
        height = max(1, _BLOCK // (self.shape[1] * self.dtype.itemsize))
        for first in range(begin, end, height):
            yield first, self._convert(self.array[first : min(first + height, end)])

    def check(self, name: str, begin: int = 0) -> None:
        """Raise NotFiniteError for a number that is not finite, or too large for `dtype`.

        ValueError for one that is no code, in a column of codes.

        Rows before `begin` are not looked at.
        """
        if self._needs_no_check():
            return
        for first, rows in self.blocks(begin, len(self)):
            if not kernels.all_finite(rows):
                refuse_not_finite(rows, name, self.array, first, tuple(self.scaling))
            check_codes(rows, self.categories, name, range(first, first + len(rows)))

    def _needs_no_check(self) -> bool:
        if self.array.dtype.kind not in "iu" or self.categories:
            return False
        limits = np.iinfo(self.array.dtype)
        extremes = np.array([[limits.min, limits.max]], self.array.dtype)
        return bool(np.isfinite(self._convert(extremes)).all())

    def check_map(self, name: str) -> None:
        """Raise ValueError if the rows lie in the map of a file that has become shorter."""
        check_map(self.array, name)

    def require_codes(self, categories: Mapping[int, int], name: str) -> None:
        """Check the codes of samples that have been checked already.

        Raises
        ------
        ValueError
            For a number that is no code of its column.
        """
        if self.pending is not None:
            self.pending[...] = True
        else:
            for first, rows in self.blocks(0, len(self)):
                check_codes(rows, categories, name, range(first, first + len(rows)))
        self.categories = categories

    def check_later(self) -> None:
        """Leave the check of rows to `check_rows`."""
        if not self._needs_no_check():
            self.pending = np.ones(len(self), bool)

    def check_rows(self, indices: Integers, name: str) -> None:
        """Check the rows at `indices` that have not been checked, as `check` does."""
        if self.pending is None:
            return
        indices = np.unique(indices[self.pending[indices]])
        height = max(1, _BLOCK // (self.shape[1] * self.dtype.itemsize))
        for i in range(0, len(indices), height):
            part = indices[i : i + height]
            if not kernels.all_finite(unlocked(self.take(part))):
                at = next(row for row in part if not np.isfinite(self.take([row])).all())
                refuse_not_finite(self.take([at]), name, self.array, at, tuple(self.scaling))
            if self.categories:
                check_codes(self.take(part), self.categories, name, part)
            self.pending[part] = False


class _Bytes:
    """The memory of an array, also of a read-only one. It is passed to kernels alone."""

    def __init__(self, array: Array, address: int, size: int) -> None:
        self.array = array  # kept alive as the base of the view
        self.__array_interface__ = {
            "version": 3, "data": (address, False), "shape": (size,), "typestr": "|u1",
        }  # fmt: skip
