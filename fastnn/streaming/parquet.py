"""Parquet files as a source of windows: their row groups, read through pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..requirements import missing
from ..types import Array
from .sources import Form, Read


class ParquetSource:
    """The features, the target and the weights of a Parquet file, or of those in a folder.

    All files are opened once before anything is read, so that a file without a column is noticed
    at once. A row group is read whole.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str] | None,
        y: str,
        sample_weight: str | None,
        dtype: np.dtype[Any],
    ) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError:
            raise missing("windows of Parquet files need", "pyarrow", "stream") from None
        self._arrow = pyarrow
        if columns is not None:
            columns = _as_names(columns)
        paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not paths:
            raise FileNotFoundError(f"X is {str(path)!r}, expected a folder of Parquet files")
        self.groups: list[tuple[Path, int]] = []
        sizes, others = [0], [each for each in (y, sample_weight) if each is not None]
        for file in paths:
            schema, counts = self._read_footer(file)
            if columns is None:
                columns = [name for name in schema.names if name not in others]
            self._check_schema(file, schema, columns, others)
            self.groups += [(file, i) for i in range(len(counts))]
            sizes += counts
        assert columns is not None
        self.columns, self.others = [*columns], others
        self.edges = np.cumsum(np.array(sizes, np.int64))
        self.n_rows = int(self.edges[-1])
        if not self.columns:
            raise ValueError(f"columns is {self.columns}, expected the names of features")
        kinds = schema.field(y).type
        label = np.dtype(np.int64 if pyarrow.types.is_integer(kinds) else np.float64)
        self.forms = [Form("X", (len(self.columns),), dtype), Form("y", (), label)]
        if sample_weight is not None:
            self.forms.append(Form("sample_weight", (), np.dtype(np.float64)))

    def _read_footer(self, path: Path) -> tuple[Any, list[int]]:
        """Return (schema, rows of each row group) of a file."""
        try:
            with self._arrow.parquet.ParquetFile(path) as file:
                meta = file.metadata
                counts = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
                return file.schema_arrow, counts
        except FileNotFoundError:
            raise FileNotFoundError(f"X is {str(path)!r}, and there is no such file") from None
        except (self._arrow.ArrowException, OSError) as error:
            raise ValueError(f"X: {path} is not a whole Parquet file ({error})") from None

    def _check_schema(
        self, path: Path, schema: Any, columns: Sequence[str], others: Sequence[str]
    ) -> None:
        """Raise ValueError for a missing column, TypeError for one without numbers."""
        types = self._arrow.types
        for name in [*columns, *others]:
            if schema.get_field_index(name) < 0:
                raise ValueError(f"X: {path} has no column {name!r}, expected it in each file")
            kind = schema.field(name).type
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                raise TypeError(f"X: {path} has {kind} in column {name!r}, expected numbers")

    @contextlib.contextmanager
    def open(self) -> Iterator[Read]:
        """Return a context in which row groups can be read."""
        names = [*self.columns, *self.others]

        def read(begin: int, end: int, outs: Sequence[Array]) -> None:
            path, i = self.groups[int(np.searchsorted(self.edges, begin, "right")) - 1]
            place = f"X: {path}, row group {i},"
            try:
                with self._arrow.parquet.ParquetFile(path, pre_buffer=False) as file:
                    table = file.read_row_group(i, columns=names, use_threads=False)
            except (self._arrow.ArrowException, OSError) as error:
                raise ValueError(f"{place} cannot be read ({error})") from None
            absent = [name for name in names if name not in table.column_names]
            if absent:
                raise ValueError(f"{place} has no column {absent[0]!r}, expected it in each file")
            self._check_schema(path, table.schema, self.columns, self.others)
            if table.num_rows != end - begin:
                raise ValueError(f"{place} has {table.num_rows} rows, expected {end - begin}")
            # Columns are contiguous; one copy turns them into rows.
            columns = np.empty((len(self.columns), end - begin), outs[0].dtype)
            for column, name in zip(columns, self.columns, strict=True):
                _convert(column, self._as_numbers(table[name]), f"{place} column {name!r}")
            outs[0][...] = columns.T
            for name, out in zip(self.others, outs[1:], strict=True):
                if table[name].null_count:
                    raise ValueError(f"{place} has missing values in {name!r}, expected none")
                _convert(out, self._as_numbers(table[name]), f"{place} column {name!r}")

        yield read

    def _as_numbers(self, column: Any) -> Array:
        """Return a column as an array, with NaN for what is missing."""
        numbers: Array = column.to_numpy()
        if numbers.dtype == object:  # booleans of which some are missing
            numbers = np.array([np.nan if each is None else each for each in numbers], np.float64)
        return numbers


def _as_names(columns: Any) -> list[str]:
    """Return the names of features as a list."""
    names = [columns] if isinstance(columns, str) else [*columns]
    if isinstance(columns, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"columns is {columns!r:.80}, expected a list of names")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"columns has {twice[0]!r} twice, expected each name once")
    return names


def _convert(out: Array, numbers: Array, place: str) -> None:
    """Write numbers into an array; ValueError for one that its integers or booleans cannot hold.

    A number that is too large for a float becomes inf, which training refuses.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = numbers.astype(out.dtype)
    if out.dtype.kind in "iub":
        wrong = np.flatnonzero(out != numbers)
        if len(wrong):
            raise ValueError(
                f"{place} has {numbers[wrong[0]]}, expected numbers that dtype {out.dtype} holds"
            )
