"""Predictions of a Parquet file that is large: read, predicted and written part by part."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..tables import Table
from . import data, terminal

if TYPE_CHECKING:
    import polars as pl

MOST_BYTES = 2**28
"""A table of more numbers, 8 bytes each, is not read whole."""

_SINKS: dict[str, Callable[[pl.LazyFrame, Any], Any]] = {
    ".csv": lambda frame, file: frame.sink_csv(file),
    ".tsv": lambda frame, file: frame.sink_csv(file, separator="\t"),
    ".jsonl": lambda frame, file: frame.sink_ndjson(file),
    ".parquet": lambda frame, file: frame.sink_parquet(file),
}


def scan(options: Namespace) -> pl.LazyFrame | None:
    """Return the table of `options` where it is large, Parquet, and predicted into a file."""
    path = Path(options.data)
    kind = options.format or {".parquet": "parquet", ".pq": "parquet"}.get(path.suffix.lower())
    if not options.output or kind != "parquet" or not path.is_file():
        return None
    import polars as pl

    try:
        # Without wildcards and `key=value` folders in the path.
        table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        size = 8 * len(table.collect_schema()) * table.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None  # it is read as a whole, for the error
    return table if size > MOST_BYTES else None


def run(
    saved: data.Saved,
    table: pl.LazyFrame,
    predict: Callable[[Any, Table], pl.DataFrame],
    options: Namespace,
) -> None:
    """Predict the rows of a table into `options.output`.

    `predict` takes the inputs and the table of a part, and returns the frame of its predictions.
    """
    import polars as pl

    columns = table.collect_schema().names()
    index = "row"
    while index in columns:
        index += "_"
    used = [column.name for column in saved.preprocessor.columns if column.name in columns]
    used += [name for name in options.keep if name in columns and name not in used]
    first = Table(table.head(1).collect(), np.array([1]), options.data)
    for name in options.keep:
        first.require(name, "--keep")
    parts = _Parts(saved, predict, index, options.data)
    schema = parts.predict(first.frame.with_columns(pl.lit(0).alias(index))).schema
    parts.unknown.clear()
    predicted = table.select(used).with_row_index(index).map_batches(
        parts.predict, schema=schema, streamable=True
    )  # fmt: skip

    def write(file: Any) -> None:
        try:
            _SINKS[Path(options.output).suffix.lower()](predicted, file)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            if parts.errors:  # polars has made another error of it
                raise parts.errors[0] from None
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"path: {options.data} is no table of Parquet ({reason:.200})"
            ) from None

    files.replace_with(options.output, write)
    for line in data.lines_of(parts.unknown):
        terminal.note(line)


class _Parts:
    """Predicts parts of a table, several at once, and collects what all of them say."""

    def __init__(
        self,
        saved: data.Saved,
        predict: Callable[[Any, Table], pl.DataFrame],
        index: str,
        source: str,
    ) -> None:
        self.saved, self._predict, self.index, self.source = saved, predict, index, source
        self.unknown: dict[str, tuple[list[str], int]] = {}
        self.errors: list[Exception] = []
        self._lock = threading.Lock()

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the predictions of a part, whose column `index` has the numbers of its rows."""
        try:
            rows = frame[self.index].to_numpy().astype(np.int64) + 1
            table = Table(frame.drop(self.index), rows, self.source)
            preprocessor = self.saved.preprocessor
            typed = preprocessor.read(self.saved.read(table))
            X = data.inputs(preprocessor, table, typed, self.saved.model.dtype)
            with self._lock:
                for name, (categories, count) in preprocessor.unknown(typed).items():
                    known, n_rows = self.unknown.get(name, ([], 0))
                    self.unknown[name] = sorted({*known, *categories}), n_rows + count
            return self._predict(X, table)
        except Exception as error:
            self.errors.append(error)
            raise
