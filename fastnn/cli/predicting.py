"""`fastnn predict`: a saved model on raw rows."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ..tables import Table
from ..types import Floats
from . import data, outputs, printing

_WRITERS: dict[str, Callable[[Any, Any], None]] = {
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
    table = data.load(options)
    for name in options.keep:
        table.require(name, "--keep")
    X, notes = saved.features(table)
    for line in notes:
        printing.note(line)
    frame = _predict(saved, X, table, options)
    if options.output:
        write = _WRITERS[Path(options.output).suffix.lower()]
        outputs.write(options.output, lambda file: write(frame, file))
        return
    written = io.BytesIO()
    _WRITERS[".jsonl" if options.json else ".csv"](frame, written)
    sys.stdout.write(written.getvalue().decode())


def _predict(saved: data.Saved, X: Floats, table: Table, options: Namespace) -> Any:
    """Return the frame of columns to keep, predictions and probabilities."""
    import polars as pl

    model = saved.model
    target: Any = saved.target
    columns = {name: table.frame[name] for name in options.keep}
    predicted = target.decode(model.predict(X))
    columns[_free("prediction", columns)] = pl.Series(predicted)
    if options.probabilities:
        for label, probabilities in zip(target.labels, model.predict_proba(X).T, strict=True):
            columns[_free(f"probability {label}", columns)] = probabilities
    return pl.DataFrame(columns)


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name = f"{name} of the model"
    return name
