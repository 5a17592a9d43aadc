"""A table that is larger than memory: what is learnt of its columns, and windows of its rows.

The columns are read once, a few at a time. The functions for a table in memory look at them, so
what is learnt has the same bits. A few bytes for each row stay in memory.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..memory import physical_memory
from ..types import Array, Integers, Precision
from . import assessment, data, dataset, limits, terminal
from .table_windows import OneOrder, Rows, TableSource, make_windows, spread

if TYPE_CHECKING:
    import polars as pl

    from ..model import Sequential
    from ..tables import Table
    from ..tables.columns import Column
    from ..tables.large import LargeTable
    from ..tables.preprocessing import Preprocessor
    from ..tables.reading import Reading
    from ..tables.targets import Target

BYTES_OF_ROW = 100
"""For each row, while a column is looked at; 96 were measured, of distinct numbers."""


class LargeDataset(NamedTuple):
    """A table that is read in windows, as :class:`dataset.TrainingData`."""

    reading: Reading
    preprocessor: Preprocessor
    target: Target
    train: TableSource
    held_out: TableSource
    lines: list[str]
    notes: list[str]

    @property
    def sizes(self) -> list[int]:
        """The samples of the two parts: training, held out."""
        return [self.train.n_rows, self.held_out.n_rows]

    def few(self, n: int) -> LargeDataset:
        """Return the first `n` samples of each part, or fewer."""
        return self._replace(train=self.train.few(n), held_out=self.held_out.few(n))

    def count_classes(self) -> Integers:
        """Return how many samples of each class there are to train on."""
        assert self.target.task == "classification"
        rows = self.train.rows
        return np.bincount(rows.y[rows.mask], minlength=len(self.target.labels))

    def fit_arguments(self, seed: int) -> dict[str, Any]:
        """Return the arguments of `Sequential.fit` that give it the samples and their order."""
        windows = make_windows(self.train, seed, shuffle=True)
        arguments: dict[str, Any] = {
            "batches": windows, "validation_data": make_windows(self.held_out, shuffle=False),
            "seed": seed,
        }  # fmt: skip
        if len(windows) == 1:  # the order that an array would have
            rng = np.random.default_rng(seed)
            arguments |= {"seed": rng, "shuffle": OneOrder(rng, self.train.n_rows)}
        return arguments

    def parts(self, k: int) -> Iterator[tuple[Array, ...]]:
        """Yield (X, y), as a network takes them, of the training part (0) or the other (1)."""
        source = (self.train, self.held_out)[k]
        with contextlib.closing(make_windows(source, shuffle=False).of_epoch(1)) as windows:
            yield from windows

    def assess(
        self, model: Sequential, k: int, threads: int | None, precision: Precision
    ) -> assessment.Assessment:
        """Return how good a model is on one of the two parts."""
        return assessment.assess_parts(
            model, self.target, self.parts(k), self.sizes[k], threads, precision
        )


def load_large_dataset(
    options: Namespace, table: LargeTable, split_rng: np.random.Generator
) -> LargeDataset:
    """Learn from the columns of a table, split its rows, and return windows of them.

    The preprocessing, the target and the held-out rows are those of a table in memory.
    """
    from ..tables.targets import leave_out_missing  # needs polars

    _check_memory(table)
    columns = _Columns(options, table, dataset.find_target(options, table.head()))
    name = columns.target
    (column,) = columns.read([name])
    column, left_out = leave_out_missing(column, name)
    kept = column.rows - 1
    with columns.faults["target"].collect():
        classes, why, y = dataset.read_target(options, column, name)
    del column
    if columns.faults["target"].messages:
        columns.learn(kept, None)  # for the other faults
    target, parts = dataset.fit_target(options, classes, name, y, split_rng)
    lines = [
        *dataset.target_lines(target, y, why),
        f"{len(parts[0]):,} to train on, {len(parts[1]):,} held out",
    ]
    if target.task == "classification":
        y = y.astype(np.min_scalar_type(len(target.labels)))
    y = spread(kept, y, table.n_rows)
    masks = [spread(kept[part], True, table.n_rows) for part in parts]
    del parts
    columns.learn(kept, masks[1][kept])
    reading, preprocessor = columns.reading(), columns.preprocessor()
    train, held_out = (
        TableSource(table, reading, preprocessor, target, options.dtype, Rows(mask, y))
        for mask in masks
    )
    windows = make_windows(train, shuffle=True)
    lines = [
        f"{table.source}: {terminal.some(len(kept), 'sample')}, "
        f"{terminal.some(len(preprocessor.feature_names), 'feature')}",
        *lines,
        *dataset.feature_lines(preprocessor, columns.nulls, options.missing),
        *columns.unknown.lines(),
        f"read in {terminal.some(len(windows), 'window')} of up to "
        f"{terminal.some(windows.window_rows, 'sample')}: {limits.reason(options, table)}",
    ]
    notes = [*columns.notes, *left_out, *columns.left_out]
    return LargeDataset(reading, preprocessor, target, train, held_out, lines, notes)


def _check_memory(table: LargeTable) -> None:
    """Raise ValueError for a table with so many rows that not even a column can be looked at."""
    if BYTES_OF_ROW * table.n_rows > physical_memory():
        raise ValueError(
            f"path: {table.source} has {table.n_rows:,} rows, of which each takes {BYTES_OF_ROW} "
            f"bytes while a column is looked at: expected rows that fit into the "
            f"{physical_memory():,} bytes of memory"
        )


class _Columns:
    """What is learnt of the columns of a table, which are read a few at a time.

    Attributes
    ----------
    faults : dict of str to Complaints
        The faults of all columns, in the order in which a table in memory shows them.
    notes : list of str
        What the user is told of texts that are not taken as they are.
    left_out : list of str
        What the user is told of columns that say nothing.
    nulls : dict of str to int
        The missing values of each column that has some.
    unknown : Unknown
        The categories that only the held-out part has.
    """

    def __init__(self, options: Namespace, table: LargeTable, target: str) -> None:
        from ..tables import kinds  # needs polars
        from ..tables.complaints import Complaints
        from ..tables.reading import Reading

        self.options, self.table, self.target = options, table, target
        head = table.head()
        for argument in ("drop", "categorical"):
            for name in getattr(options, argument):
                head.require(name, f"--{argument}")
        dropped = {target, *options.drop}
        self.features = [name for name in table.names if name not in dropped]
        if not self.features:
            kinds.infer_kinds(head, target=target, drop=options.drop)  # raises
        stages = "reading", "kinds", "features", "target"
        self.faults = {stage: Complaints() for stage in stages}
        self.notes: list[str] = []
        self.left_out: list[str] = []
        self.nulls: dict[str, int] = {}
        self.unknown = data.Unknown()
        self._columns: list[Column] = []
        self._reading = Reading()
        self._useless: dict[str, str] = {}

    def reading(self) -> Reading:
        """Return how the texts of the columns are read."""
        names = [column.name for column in self._columns]
        return self._reading.of_columns([*names, self.target])

    def preprocessor(self) -> Preprocessor:
        """Return what makes features of the columns."""
        from ..tables.preprocessing import Preprocessor

        return Preprocessor(self._columns)

    def read(self, names: Sequence[str]) -> Iterator[Table]:
        """Yield tables of the next few columns, with their texts read."""
        for part in self.table.columns(names):
            found = self._find_reading(part)
            self._reading = found._replace(
                numbers={**self._reading.numbers, **found.numbers},
                dates={**self._reading.dates, **found.dates},
            )
            self.notes += found.lines(part)
            yield found.apply(part)

    def _find_reading(self, part: Table) -> Reading:
        from ..tables.reading import Reading

        options = self.options
        return Reading.find(
            part, target=self.target, texts={*options.drop, *options.categorical},
            nulls=options.null, decimal=options.decimal, has_commas=self._has_commas(),
            day_first=options.day_first, complaints=self.faults["reading"],
        )  # fmt: skip

    def _has_commas(self) -> bool:
        return any(how.decimal == "," for how in self._reading.numbers.values())

    def learn(self, kept: Integers, is_held_out: Array | None) -> None:
        """Learn from the columns of features in the rows `kept`, of which some are held out.

        Raises ValueError for all faults together. Without `is_held_out`, it only looks for faults.
        """
        import polars as pl

        from ..tables import kinds, preprocessing

        faults, options = self.faults, self.options
        held_out = pl.Series([] if is_held_out is None else is_held_out, dtype=pl.Boolean)
        had_commas = self._has_commas()
        for part in self.read(self.features):
            if len(kept) < self.table.n_rows:
                part = part.take(kept)
            useless = self._find_useless(part)
            categorical = [name for name in options.categorical if name in part.frame.columns]
            if len(useless) == part.frame.width:
                continue
            kind_of = kinds.infer_kinds(
                part, drop=useless, categorical=categorical, complaints=faults["kinds"]
            )
            optional = kind_of if options.missing != "refuse" else ()
            typed = preprocessing.read_features(
                part, kind_of, optional, complaints=faults["features"]
            )
            if any(each.messages for each in faults.values()):
                continue
            train = typed.filter(~held_out).rechunk()  # else the mean of polars has other bits
            fitted = preprocessing.Preprocessor.fit(train, options.missing, options.max_categories)
            _check_range(fitted, part, typed, options)
            self.unknown.add(fitted, typed.filter(held_out))
            self.nulls |= dataset.count_nulls(typed)
            self._columns += fitted.columns
        if self._has_commas() and not had_commas:  # the first columns may have them too
            texts = [each.name for each in self.table.head().frame if each.dtype == pl.String]
            for part in self.table.columns([name for name in self.features if name in texts]):
                self._find_reading(part)
        self._check()

    def _find_useless(self, part: Table) -> dict[str, str]:
        from ..tables.selection import find_useless

        faulty = set().union(*(each.columns for each in self.faults.values()))
        useless = find_useless(part, {*self.options.categorical, *faulty})
        self._useless |= useless
        return useless

    def _check(self) -> None:
        from ..tables.complaints import Complaints
        from ..tables.selection import lines_of

        self.left_out = lines_of(self._useless)
        if len(self._useless) == len(self.features):
            raise ValueError(
                f"path: {self.table.source} has no column besides {self.target!r:.80}, expected "
                f"features; {'; '.join(self.left_out)}"
            )
        together = Complaints()
        for each in self.faults.values():
            together.messages += [text for text in each.messages if text not in together.messages]
        together.check()


def _check_range(
    preprocessor: Preprocessor, part: Table, typed: pl.DataFrame, options: Namespace
) -> None:
    """Raise ValueError for a number that is too large for the dtype of the features."""
    numbers = [column for column in preprocessor.columns if column.kind == "number"]
    for column in numbers:
        values = typed[column.name]
        extremes = np.array([values.arg_min() or 0, values.arg_max() or 0])
        one = type(preprocessor)([column])
        data.inputs(one, part.take(extremes), typed[extremes], options.dtype)
