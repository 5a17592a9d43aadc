"""A table as inputs and targets of a network: split, then fitted on the training part only."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from .. import datasets, tables
from ..tables import Table
from ..types import Array, Floats, Integers, Precision
from . import assessment, data, terminal

if TYPE_CHECKING:
    import polars as pl

    from ..model import Sequential
    from ..tables.preprocessing import Preprocessor
    from ..tables.reading import Reading
    from ..tables.targets import Classes, Target


class TrainingData(Protocol):
    """The training part and the held-out part of a table, and what was fitted on the first."""

    @property
    def reading(self) -> Reading:
        """How the texts of the table are read."""

    @property
    def preprocessor(self) -> Preprocessor:
        """What makes features of the columns."""

    @property
    def target(self) -> Target:
        """The classes, or the scale of the numbers."""

    @property
    def lines(self) -> list[str]:
        """What the user is told of the data."""

    @property
    def notes(self) -> list[str]:
        """What the user is told of texts that were not taken as they are."""

    @property
    def sizes(self) -> list[int]:
        """The samples of the two parts: training, held out."""

    def few(self, n: int) -> TrainingData:
        """Return the first `n` samples of each part, or fewer."""

    def count_classes(self) -> Integers:
        """Return how many samples of each class there are to train on."""

    def fit_arguments(self, seed: int) -> dict[str, Any]:
        """Return the arguments of `Sequential.fit` that give it the samples and their order."""

    def parts(self, k: int) -> Iterator[tuple[Array, ...]]:
        """Yield (X, y), as a network takes them, of the training part (0) or the other (1)."""

    def assess(
        self, model: Sequential, k: int, threads: int | None, precision: Precision
    ) -> assessment.Assessment:
        """Return how good a model is on one of the two parts."""


class Dataset(NamedTuple):
    """A table in memory, as :class:`TrainingData`."""

    reading: Reading
    preprocessor: Preprocessor
    target: Target
    inputs: list[Floats]
    """Features (N, I) of the two parts: training, held out."""

    targets: list[Array]
    """Class numbers (N,), or values (N,) in the units of the target, of the two parts."""

    lines: list[str]
    notes: list[str]
    frame: pl.DataFrame | None = None
    """The typed columns of the held-out part."""

    @property
    def sizes(self) -> list[int]:
        """The samples of the two parts: training, held out."""
        return [len(part) for part in self.inputs]

    def few(self, n: int) -> Dataset:
        """Return the first `n` samples of each part, or fewer."""
        inputs, targets = ([each[:n] for each in parts] for parts in (self.inputs, self.targets))
        return self._replace(inputs=inputs, targets=targets)

    def count_classes(self) -> Integers:
        """Return how many samples of each class there are to train on."""
        assert self.target.task == "classification"
        return np.bincount(self.targets[0], minlength=len(self.target.labels))

    def fit_arguments(self, seed: int) -> dict[str, Any]:
        """Return the arguments of `Sequential.fit` that give it the samples and their order."""
        ((X, y),), (held_out,) = self.parts(0), self.parts(1)
        return {"X": X, "y": y, "validation_data": held_out, "seed": seed}

    def parts(self, k: int) -> Iterator[tuple[Array, ...]]:
        """Yield (X, y), as a network takes them, of the training part (0) or the other (1)."""
        y = self.targets[k]
        yield self.inputs[k], self.target.standardize(y) if self.target.task == "regression" else y

    def assess(
        self, model: Sequential, k: int, threads: int | None, precision: Precision
    ) -> assessment.Assessment:
        """Return how good a model is on one of the two parts."""
        X, y = self.inputs[k], self.targets[k]
        return assessment.assess(model, self.target, X, y, threads, precision)


class Columns(NamedTuple):
    """A table that has been read, before it is split."""

    table: Table
    name: str
    """Of the target."""

    reading: Reading
    frame: pl.DataFrame
    """The features, as they are typed."""

    classes: Classes | None
    """None for numbers."""

    y: Array
    """Class numbers (N,), or values (N,) in the units of the target."""

    why: str | None
    """Why the task is what it is, where no option says it."""

    notes: list[str]

    def fit_parts(
        self, options: Namespace, parts: Sequence[Integers]
    ) -> tuple[Preprocessor, list[Floats]]:
        """Return the preprocessing, fitted to the first part of the rows, and inputs of each."""
        from ..tables.preprocessing import Preprocessor

        train = self.frame[parts[0]]
        preprocessor = Preprocessor.fit(train, options.missing, options.max_categories)
        inputs = [
            data.inputs(preprocessor, self.table.take(part), self.frame[part], options.dtype)
            for part in parts
        ]
        return preprocessor, inputs


def load_dataset(
    options: Namespace, split_rng: np.random.Generator, data_rng: np.random.Generator
) -> Dataset:
    """Read the table that the options name, split it, and fit the preprocessing."""
    columns = read_columns(options, data_rng)
    return split_columns(options, columns, split_rng)


def split_columns(options: Namespace, columns: Columns, split_rng: np.random.Generator) -> Dataset:
    """Split a table at random, and fit the preprocessing to the training part."""
    table, y, frame = columns.table, columns.y, columns.frame
    target, parts = fit_target(options, columns.classes, columns.name, y, split_rng)
    y_parts = [y[part] for part in parts]
    preprocessor, inputs = columns.fit_parts(options, parts)
    lines = [
        f"{table.source}: {terminal.some(len(table.frame), 'sample')}, "
        f"{terminal.some(inputs[0].shape[1], 'feature')}",
        *target_lines(target, y, columns.why),
        f"{len(y_parts[0]):,} to train on, {len(y_parts[1]):,} held out",
        *feature_lines(preprocessor, count_nulls(frame), options.missing),
        *data.unknown_lines(preprocessor, frame[parts[1]]),
    ]
    return Dataset(
        columns.reading, preprocessor, target, inputs, y_parts, lines, columns.notes,
        frame[parts[1]],
    )  # fmt: skip


def read_columns(options: Namespace, data_rng: np.random.Generator) -> Columns:
    """Read the table that the options name."""
    built_in = options.data in data.BUILT_IN
    if built_in:
        _refuse_options_of_files(options)
    table = data.load(options, data_rng)
    from ..tables import dataset  # needs polars

    name = data.BUILT_IN[options.data] if built_in else find_target(options, table)
    names = dataset.DataOptions._fields
    given = dataset.DataOptions(**{each: getattr(options, each) for each in names})
    read = dataset.read_columns(table, name, given, as_found=not built_in)
    why = None if built_in else read.why
    return Columns(
        read.table, name, read.reading, read.frame, read.classes, read.y, why, read.notes
    )


def read_target(
    options: Namespace, table: Table, name: str
) -> tuple[Classes | None, str | None, Array]:
    """Return (the classes or None for numbers, why the task is what it is, values of all rows)."""
    from ..tables import kinds, targets  # need polars

    task, why = options.task, None
    if task is None:
        task, why = kinds.infer_task(table, name)
    if task == "regression":
        return None, why, targets.read_quantity(table, name)
    classes = targets.Classes.fit(table, name)
    return classes, why, classes.encode(table)


def fit_target(
    options: Namespace,
    classes: Classes | None,
    name: str,
    y: Array,
    split_rng: np.random.Generator,
) -> tuple[Target, tuple[Integers, Integers]]:
    """Return the target, numbers fitted to the training part, and the rows of the two parts."""
    from ..tables import targets

    # In few bytes, as the table may be long.
    labels = None if classes is None else y.astype(np.min_scalar_type(len(classes.labels)))
    try:
        parts = datasets.split(len(y), options.validation_fraction, split_rng, labels=labels)
    except ValueError as error:
        raise ValueError(f"argument --validation-fraction: {error}") from None
    return classes or targets.Quantity.fit(y[parts[0]], name), parts


def _refuse_options_of_files(options: Namespace) -> None:
    flags = {
        "decimal-comma": options.decimal == ",",
        "decimal-point": options.decimal == ".",
        "day-first": options.day_first is True,
        "month-first": options.day_first is False,
        "no-header": options.no_header,
    }
    for flag, given in flags.items():
        if given:
            raise ValueError(f"argument --{flag}: is for data files; {options.data} is none")
    for name in (
        "target",
        "task",
        "drop",
        "categorical",
        "null",
        "separator",
        "encoding",
        "sheet",
        "format",
    ):
        value = getattr(options, name)
        if value:
            value = ",".join(value) if isinstance(value, list) else value
            raise ValueError(
                f"argument --{name}: {value!r} is for data files; {options.data} has labels"
            )


def find_target(options: Namespace, table: Table) -> str:
    """Return the column that the options name as the target."""
    name: str | None = options.target
    if name is None:
        raise ValueError(
            f"{table.source} needs --target COLUMN, the column to predict: "
            f"one of {tables.among('', table.frame.columns)}"
        )
    table.require(name, "target")
    if name in (*options.drop, *options.categorical):
        raise ValueError(f"target is {name!r:.80}, expected a column that no other option names")
    return name


def target_lines(target: Target, y: Array, why: str | None) -> Iterator[str]:
    if target.task == "classification":
        shown = ", ".join(map(str, target.labels))
        yield terminal.shortened(f"{len(target.labels):,} classes: {shown}")
    else:
        yield f"target {target.name!r:.80} from {y.min():,.6g} to {y.max():,.6g}"
    if why is not None:
        doubtful = target.task == "regression" or type(target.labels[0]) is int
        yield f"{target.task}: {why}{' (see --task)' if doubtful else ''}"


def feature_lines(
    preprocessor: Preprocessor, nulls: Mapping[str, int], missing: str
) -> Iterator[str]:
    numeric = [column.name for column in preprocessor.columns if column.kind == "number"]
    categories = [column for column in preprocessor.columns if column.kind == "category"]
    dates = [column for column in preprocessor.columns if column.kind == "date"]
    if numeric and not categories and not dates:
        yield "features standardized by mean and deviation of the training part only"
    elif numeric:
        yield f"{terminal.some(len(numeric), 'numeric column')}, standardized on the training part"
    if categories:
        count = sum(len(column.feature_names) for column in categories)
        columns = terminal.some(len(categories), "column")
        yield (
            f"{columns} of categories, one-hot, {terminal.some(count, 'feature')}: "
            + terminal.listed(
                [f"{each.name:.80} ({len(each.feature_names)})" for each in categories]
            )
        )
    for each in categories:
        if each.other is not None:
            yield (
                f"{each.name!r:.80} has more than {len(each.categories) + 1:,} categories: the "
                f"rarest are {each.other!r}"
            )
    if dates:
        shown = terminal.listed([f"{each.name:.80} ({', '.join(each.parts)})" for each in dates])
        yield f"{terminal.some(len(dates), 'column')} of dates: {shown}"
    if missing != "refuse":
        shown = terminal.listed([f"{name:.80} ({count:,})" for name, count in nulls.items()])
        yield f"missing values, filled with the {missing} or most frequent: {shown or 'none'}"


def count_nulls(frame: pl.DataFrame) -> dict[str, int]:
    """Return how many values are missing in each column where some are."""
    return {series.name: series.null_count() for series in frame if series.null_count()}
