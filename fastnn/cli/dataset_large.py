"""A table that is larger than memory: what is learnt of its columns, and windows of its rows.

The columns are read once, a few at a time. The functions for a table in memory look at them, so
what is learnt has the same bits. A few bytes for each row stay in memory.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..memory import physical_memory
from ..types import Array, Integers, Precision
from . import assessment, data, dataset, limits, terminal
from .table_windows import OneOrder, TableSource, make_windows

if TYPE_CHECKING:
    import polars as pl

    from ..model import Sequential
    from ..tables import Table
    from ..tables.large import LargeTable
    from ..tables.preprocessing import Column, Preprocessor
    from ..tables.targets import Target

BYTES_OF_ROW = 48
"""For each row, while a column is looked at or the held-out rows are drawn."""


class LargeDataset(NamedTuple):
    """A table that is read in windows, as :class:`dataset.TrainingData`."""

    preprocessor: Preprocessor
    target: Target
    train: TableSource
    held_out: TableSource
    lines: list[str]

    @property
    def sizes(self) -> list[int]:
        """The samples of the two parts: training, held out."""
        return [self.train.n_rows, self.held_out.n_rows]

    def count_classes(self) -> Integers:
        """Return how many samples of each class there are to train on."""
        assert self.target.task == "classification"
        return self.train.count_classes(len(self.target.labels))

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

    def assess(
        self, model: Sequential, threads: int | None, precision: Precision
    ) -> list[assessment.Assessment]:
        """Return how good a model is on the two parts."""
        return [
            assessment.assess_parts(
                model, self.target, make_windows(source, shuffle=False).of_epoch(1), source.n_rows,
                threads, precision,
            )
            for source in (self.train, self.held_out)
        ]  # fmt: skip


def load_large_dataset(
    options: Namespace, table: LargeTable, split_rng: np.random.Generator
) -> LargeDataset:
    """Learn from the columns of a table, split its rows, and return windows of them.

    The preprocessing, the target and the held-out rows are those of a table in memory.
    """
    _check_memory(table)
    head = table.head()
    name = dataset.find_target(options, head)
    for argument in ("drop", "categorical"):
        for each in getattr(options, argument):
            head.require(each, f"--{argument}")
    (column,) = table.columns([name])
    target, why, y, (_, held_out) = dataset.read_target(options, column, name, split_rng)
    is_held_out = np.full(len(y), False)
    is_held_out[held_out] = True
    if target.task == "classification":
        y = y.astype(np.min_scalar_type(len(target.labels)))
    del column, held_out
    features = _Features(options, table, name, is_held_out)
    preprocessor = features.preprocessor
    train, held_out_rows = (
        TableSource(table, preprocessor, target, options.dtype, mask, y)
        for mask in (~is_held_out, is_held_out)
    )
    windows = make_windows(train, shuffle=True)
    lines = [
        f"{table.source}: {terminal.some(table.n_rows, 'sample')}, "
        f"{terminal.some(len(preprocessor.feature_names), 'feature')}",
        *dataset.target_lines(target, y, why),
        f"{train.n_rows:,} to train on, {held_out_rows.n_rows:,} held out",
        *dataset.feature_lines(preprocessor, features.nulls, options.missing),
        *features.unknown.lines(),
        f"read in {terminal.some(len(windows), 'window')} of up to "
        f"{terminal.some(windows.window_rows, 'sample')}: {limits.reason(options, table)}",
    ]
    return LargeDataset(preprocessor, target, train, held_out_rows, lines)


def _check_memory(table: LargeTable) -> None:
    """Raise ValueError for a table with so many rows that not even a column can be looked at."""
    if BYTES_OF_ROW * table.n_rows > physical_memory():
        raise ValueError(
            f"path: {table.source} has {table.n_rows:,} rows, of which each takes {BYTES_OF_ROW} "
            f"bytes while a column is looked at: expected rows that fit into the "
            f"{physical_memory():,} bytes of memory"
        )


class _Features:
    """What is learnt of the columns of a table but `target`.

    `is_held_out` says it of each row.
    """

    def __init__(
        self, options: Namespace, table: LargeTable, target: str, is_held_out: Array
    ) -> None:
        import polars as pl

        from ..tables import kinds, preprocessing  # need polars

        self.nulls: dict[str, int] = {}
        self.unknown = data.Unknown()
        names = [name for name in table.names if name != target and name not in options.drop]
        if not names:
            kinds.infer_kinds(table.head(), target=target, drop=options.drop)  # raises
        held_out = pl.Series(is_held_out)
        columns: list[Column] = []
        for part in table.columns(names):
            categorical = [name for name in options.categorical if name in part.frame.columns]
            kind_of = kinds.infer_kinds(part, categorical=categorical)
            optional = kind_of if options.missing != "refuse" else ()
            typed = preprocessing.read_features(part, kind_of, optional)
            train = typed.filter(~held_out).rechunk()  # else the mean of polars has other bits
            fitted = preprocessing.Preprocessor.fit(train, options.missing)
            _check_range(fitted, part, typed, options)
            self.unknown.add(fitted, typed.filter(held_out))
            self.nulls |= dataset.count_nulls(typed)
            columns += fitted.columns
        self.preprocessor = preprocessing.Preprocessor(columns)


def _check_range(
    preprocessor: Preprocessor, part: Table, typed: pl.DataFrame, options: Namespace
) -> None:
    """Raise ValueError for a number that is too large for the dtype of the features."""
    numbers = [column for column in preprocessor.columns if column.kind == "number"]
    for column in numbers:
        values = typed[column.name]
        extremes = np.array([values.arg_min() or 0, values.arg_max() or 0])
        data.inputs(
            type(preprocessor)([column]), part.take(extremes), typed[extremes], options.dtype
        )
