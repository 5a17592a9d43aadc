"""A table as inputs and targets of a network: split, then fitted on the training part only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..types import Array, Floats
from . import kinds, targets
from .complaints import Complaints
from .libraries import polars as pl
from .parts import split
from .preprocessing import Preprocessor, read_features
from .reading import Reading
from .selection import find_useless, lines_of
from .table import Table
from .targets import Target


class DataOptions(NamedTuple):
    """How a table becomes inputs and targets."""

    task: str | None = None
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    null: Sequence[str] = ()
    decimal: str | None = None
    day_first: bool | None = None
    max_categories: int = kinds.MOST_CATEGORIES
    missing: str = "refuse"
    validation_fraction: float = 0.2
    dtype: DTypeLike = np.float32


class SplitError(ValueError):
    """A table cannot be split into parts of the size that is asked for."""


class Dataset(NamedTuple):
    """The training part and the held-out part of a table, and what was fitted on the first."""

    reading: Reading
    preprocessor: Preprocessor
    target: Target
    inputs: list[Floats]
    """Features (N, I) of the two parts."""

    targets: list[Array]
    """Class numbers (N,), or values (N,) in the units of the target, of the two parts."""

    notes: list[str]
    """What the user is told of texts that were not taken as they are, and of what is left out."""


class ReadColumns(NamedTuple):
    """A table that has been read, before it is split."""

    table: Table
    """Its rows with a target."""

    reading: Reading
    frame: pl.DataFrame
    """The features, as they are typed."""

    classes: targets.Classes | None
    """None for numbers."""

    y: Array
    """Class numbers (N,), or values (N,) in the units of the target."""

    why: str | None
    """Why the task is what it is, unless it was given."""

    notes: list[str]


def read_columns(
    table: Table, name: str, options: DataOptions, *, as_found: bool = True
) -> ReadColumns:
    """Return the typed columns of a table whose target is the column `name`.

    With `as_found` False, texts are taken as they are, and no column and no row is left out.

    Raises ValueError for a table that does not do; the error has all of its faults.
    """
    complaints, reading, notes = Complaints(), Reading(), list(table.notes)
    drop = [*options.drop]
    if as_found:
        reading = Reading.find(
            table, target=name, texts={*drop, *options.categorical}, nulls=options.null,
            decimal=options.decimal, day_first=options.day_first, complaints=complaints,
        )  # fmt: skip
        notes += reading.lines(table)
        table, left_out = targets.leave_out_missing(reading.apply(table), name)
        useless = find_useless(table, {name, *drop, *options.categorical, *complaints.columns})
        drop += useless
        lines = lines_of(useless)
        notes += [*left_out, *lines]
        if useless and len({name, *drop}) == table.frame.width:
            raise ValueError(
                f"path: {table.source} has no column besides {name!r:.80}, expected features; "
                + "; ".join(lines)
            )
    kind_of = kinds.infer_kinds(
        table, target=name, drop=drop, categorical=options.categorical, complaints=complaints
    )
    optional = kind_of if options.missing != "refuse" else ()
    frame = read_features(table, kind_of, optional, complaints=complaints)
    classes: targets.Classes | None = None
    task, why = options.task, None
    with complaints.collect():
        if task is None:
            task, why = kinds.infer_task(table, name)
        if task == "classification":
            classes = targets.Classes.fit(table, name)
            y: Array = classes.encode(table)
        else:
            y = targets.read_quantity(table, name)
    complaints.check()
    reading = reading.of_columns([*kind_of, name])
    return ReadColumns(table, reading, frame, classes, y, why, notes)


def make_dataset(
    table: Table, name: str, options: DataOptions, rng: np.random.Generator
) -> Dataset:
    """Return the Dataset of a table whose target is the column `name`.

    Raises
    ------
    ValueError
        For a table that does not do; the error has all of its faults.
    SplitError
        Where a part would have no rows.
    """
    read = read_columns(table, name, options)
    y, frame = read.y, read.frame
    try:
        labels = None if read.classes is None else y
        parts = split(len(y), options.validation_fraction, rng, labels=labels)
    except ValueError as error:
        raise SplitError(str(error)) from None
    target: Target = read.classes or targets.Quantity.fit(y[parts[0]], name)
    preprocessor = Preprocessor.fit(frame[parts[0]], options.missing, options.max_categories)
    inputs = [
        preprocessor.inputs(read.table.take(part), frame[part], options.dtype) for part in parts
    ]
    y_parts = [y[part] for part in parts]
    return Dataset(read.reading, preprocessor, target, inputs, y_parts, read.notes)
