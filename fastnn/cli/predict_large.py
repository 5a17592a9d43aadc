"""Predictions of a Parquet file that is large: read, predicted and written part by part."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..tables import Table, sources
from . import data, limits, terminal

if TYPE_CHECKING:
    import polars as pl

    from ..tables.large import LargeTable

_SINKS: dict[str, Callable[[pl.LazyFrame, Any], Any]] = {
    ".csv": lambda frame, file: frame.sink_csv(file),
    ".tsv": lambda frame, file: frame.sink_csv(file, separator="\t"),
    ".jsonl": lambda frame, file: frame.sink_ndjson(file),
    ".parquet": lambda frame, file: frame.sink_parquet(file),
}


def is_possible(options: Namespace, table: LargeTable) -> bool:
    """Return whether a large table is predicted part by part: into a file.

    Raises
    ------
    ValueError
        Where `--output` is missing, for a table that may not be read whole either.
    """
    if options.output:
        return True
    if options.max_memory is None and table.n_bytes <= sources.MOST_BYTES:
        return False
    raise ValueError(
        f"argument --output: {limits.reason(options, table)}: expected a file, into which the "
        "predictions of a large table are written part by part"
    )


def run(
    saved: data.Saved,
    table: LargeTable,
    predict: Callable[[Any, Table], pl.DataFrame],
    options: Namespace,
) -> None:
    """Predict the rows of a table into `options.output`.

    `predict` takes the inputs and the table of a part, and returns the frame of its predictions.
    """
    import polars as pl

    columns = table.names
    index = "row"
    while index in columns:
        index += "_"
    used = [column.name for column in saved.preprocessor.columns if column.name in columns]
    used += [name for name in options.keep if name in columns and name not in used]
    first = table.rows(0, min(1, table.n_rows), columns)
    for name in options.keep:
        first.require(name, "--keep")
    parts = _Parts(saved, predict, index, options.data)
    schema = parts.predict(first.frame.with_columns(pl.lit(0).alias(index))).schema
    parts.unknown = data.Unknown()
    predicted = table.scan.select(used).with_row_index(index).map_batches(
        parts.predict, schema=schema, streamable=True
    )  # fmt: skip

    def write(file: Any) -> None:
        try:
            with table.checked():
                _SINKS[Path(options.output).suffix.lower()](predicted, file)
        except (ValueError, OSError):
            if parts.errors:  # polars has made another error of it
                raise parts.errors[0] from None
            raise

    files.replace_with(options.output, write)
    for line in parts.unknown.lines():
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
        self.unknown = data.Unknown()
        self.errors: list[Exception] = []

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the predictions of a part, whose column `index` has the numbers of its rows."""
        try:
            rows = frame[self.index].to_numpy().astype(np.int64) + 1
            table = Table(frame.drop(self.index), rows, self.source)
            preprocessor = self.saved.preprocessor
            typed = preprocessor.read(self.saved.read(table))
            X = data.inputs(preprocessor, table, typed, self.saved.model.dtype)
            self.unknown.add(preprocessor, typed)
            return self._predict(X, table)
        except Exception as error:
            self.errors.append(error)
            raise
