"""Parquet files that are larger than memory: some columns, or some rows, at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..types import PathLike
from .libraries import polars as pl
from .table import Table, silenced

PART_BYTES = 2**26
"""Of the rows or columns that are read at a time, 8 bytes a value."""


class LargeTable:
    """A Parquet file of which some columns, or some rows, are in memory at a time.

    Attributes
    ----------
    source : str
        The name of the file in messages.
    names : list of str
        The columns.
    n_rows : int
    scan : polars.LazyFrame

    Raises
    ------
    ValueError
        Where the file is no table of Parquet. The methods raise it where a part cannot be read.
    """

    def __init__(self, path: PathLike) -> None:
        self.source = str(path)
        with self.checked(), silenced():
            # Without wildcards and `key=value` folders in the path.
            self.scan = pl.scan_parquet(Path(path), glob=False, hive_partitioning=False)
            self._schema = self.scan.collect_schema()
            self.n_rows = int(self.scan.select(pl.len()).collect().item())
        self.names = self._schema.names()

    @property
    def n_bytes(self) -> int:
        """The size of the table in memory, 8 bytes a value."""
        return 8 * self.n_rows * len(self.names)

    def head(self) -> Table:
        """Return the table without its rows."""
        return Table(pl.DataFrame(schema=self._schema), np.empty(0, np.int64), self.source)

    def columns(self, names: Sequence[str]) -> Iterator[Table]:
        """Yield tables of all rows, each of the next few columns of `names`."""
        rows = np.arange(1, self.n_rows + 1)
        count = max(1, PART_BYTES // (8 * max(self.n_rows, 1)))
        for first in range(0, len(names), count):
            with self.checked(), silenced():
                frame = _select(names[first : first + count], self.scan)
            self._check_length(frame, self.n_rows)
            yield Table(frame, rows, self.source)

    def rows(self, begin: int, end: int, names: Sequence[str]) -> Table:
        """Return the table of the rows [begin, end) and the columns `names`."""
        with self.checked():
            frame = _select(names, self.scan.slice(begin, end - begin))
        self._check_length(frame, end - begin)
        return Table(frame, np.arange(begin + 1, end + 1), self.source)

    def cut(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (begin, end) of parts of the rows [begin, end) that may be read at a time."""
        count = max(1, PART_BYTES // (8 * max(len(self.names), 1)))
        for first in range(begin, end, count):
            yield first, min(first + count, end)

    @contextlib.contextmanager
    def checked(self) -> Iterator[None]:
        """Return a context in which errors of polars become a ValueError about the file."""
        try:
            yield
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise self.not_parquet(error) from None
        except OSError as error:
            raise OSError(f"path: {self.source} cannot be read ({error})") from None

    def not_parquet(self, error: BaseException) -> ValueError:
        """Return the ValueError for an error of polars."""
        reason = str(error).partition("\n")[0]
        return ValueError(f"path: {self.source} is no table of Parquet ({reason:.200})")

    def _check_length(self, frame: pl.DataFrame, expected: int) -> None:
        if len(frame) != expected:
            raise ValueError(
                f"path: {self.source} gave {len(frame):,} rows, expected {expected:,}, as when it "
                "was opened"
            )


def _select(names: Sequence[str], scan: pl.LazyFrame) -> pl.DataFrame:
    """Return columns in this order. polars takes some names for patterns, but not here."""
    return scan.select(pl.selectors.by_name(*names)).collect()[list(names)]
