"""`fastnn predict`: predict the rows of a table with a saved model."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tables import Table
from ..types import Floats
from . import data, outputs, predict_large, terminal
from .limits import find_large

if TYPE_CHECKING:
    import polars as pl

_WRITERS: dict[str, Callable[[pl.DataFrame, Any], Any]] = {
    ".csv": lambda frame, file: frame.write_csv(file),
    ".tsv": lambda frame, file: frame.write_csv(file, separator="\t"),
    ".jsonl": lambda frame, file: frame.write_ndjson(file),
    ".parquet": lambda frame, file: frame.write_parquet(file),
}


def run(options: Namespace) -> None:
    """Predict all rows of a table."""
    if options.output:
        inputs = {"MODEL": options.model, "DATA": options.data}
        outputs.check(options.output, "--output", tuple(_WRITERS), inputs)
    saved = data.Saved(options.model)
    if options.probabilities and saved.target.task != "classification":
        raise ValueError(
            "argument --probabilities: the model predicts numbers, expected one of classes"
        )
    large = None if options.data in data.BUILT_IN else find_large(options)
    if large is not None and predict_large.is_possible(options, large):
        predict_large.run(saved, large, lambda X, part: _predict(saved, X, part, options), options)
        return
    table = data.load(options)
    for name in options.keep:
        table.require(name, "--keep")
    X, notes = saved.features(saved.read(table))
    for line in notes:
        terminal.note(line)
    frame = _predict(saved, X, table, options)
    if options.output:
        write = _WRITERS[Path(options.output).suffix.lower()]
        outputs.write(options.output, lambda file: write(frame, file))
        return
    text = io.BytesIO()
    _WRITERS[".jsonl" if options.json else ".csv"](frame, text)
    sys.stdout.write(text.getvalue().decode())


def _predict(saved: data.Saved, X: Floats, table: Table, options: Namespace) -> pl.DataFrame:
    """Return a frame of the columns to keep, the predictions and the probabilities."""
    import polars as pl

    model, target = saved.model, saved.target
    columns = {name: table.frame[name] for name in options.keep}
    # Class numbers or values, as the task is.
    predictions: Any = model.predict(X, precision=options.precision)
    columns[_unused("prediction", columns)] = pl.Series(target.decode(predictions))
    if target.task == "classification" and options.probabilities:
        probabilities = model.predict_proba(X, precision=options.precision)
        for label, column in zip(target.labels, probabilities.T, strict=True):
            columns[_unused(f"probability {label}", columns)] = column
    return pl.DataFrame(columns)


def _unused(name: str, names: Collection[str]) -> str:
    """Return `name`, or a longer one that is not among `names`."""
    while name in names:
        name = f"{name} of the model"
    return name
