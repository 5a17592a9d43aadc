"""The target column: its values as a network is trained on them, and predictions as values again.

What is fitted on the training part can be written as plain JSON, for a model file.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array, Floats, Integers
from .cells import as_texts, as_truth_values, read_numbers, refuse_missing, without_marks
from .kinds import check_type
from .libraries import polars as pl
from .notes import check_kind, check_scale
from .scaling import moments
from .table import Table, did_you_mean


class Classes(NamedTuple):
    """A target of classes. The labels are sorted whole numbers, truth values or texts."""

    name: str
    labels: list[Any]

    @property
    def task(self) -> Literal["classification"]:
        """The name of the task in files."""
        return "classification"

    @classmethod
    def fit(cls, table: Table, name: str) -> Self:
        """Return the classes of column `name`; ValueError for fewer than two."""
        series = _read_labels(table, name)
        labels = series.unique().sort().to_list()
        if len(labels) == 1:
            raise ValueError(
                f"target {name!r:.80} is {labels[0]!r:.80} in every row, expected two classes"
            )
        return cls(name, labels)

    def encode(self, table: Table) -> Integers:
        """Return the classes of a table as int64 (N,); ValueError for an unknown label."""
        series = _read_labels(table, self.name)
        if isinstance(self.labels[0], bool):
            series = as_truth_values(series.cast(pl.String))
        elif isinstance(self.labels[0], int):
            series = series.cast(pl.Int64, strict=False)
        else:
            series = as_texts(series)
        classes = series.replace_strict(
            self.labels, list(range(len(self.labels))), default=None, return_dtype=pl.Int64
        )
        if classes.null_count():
            at: Any = classes.is_null().arg_max()
            value = str(table.cell(self.name, at))
            known = [str(label) for label in self.labels]
            raise ValueError(
                f"{table.place(self.name, at)} is {value!r:.80}, expected one of the "
                f"{len(known)} classes {', '.join(f'{label:.80}' for label in known[:20])}"
                + did_you_mean(value, known)
            )
        return classes.to_numpy()

    def decode(self, predictions: Integers) -> pl.Series:
        """Return predicted classes (N,) as a polars column of labels."""
        return pl.Series(self.labels).gather(predictions)


class Quantity(NamedTuple):
    """A numeric target, standardized for training: (value - shift) / scale."""

    name: str
    shift: float
    scale: float

    @property
    def task(self) -> Literal["regression"]:
        """The name of the task in files."""
        return "regression"

    @classmethod
    def fit(cls, values: Array, name: str) -> Self:
        """Learn shift and scale from the values (N,) of the training part."""
        shift, scale = moments(values)
        return cls(name, shift, scale)

    def encode(self, table: Table) -> Floats:
        """Return the values of a table (N,), not standardized."""
        return read_quantity(table, self.name)

    def standardize(self, values: Floats) -> Floats:
        """Return values (N,) as the network is trained on them."""
        return (values - self.shift) / self.scale

    def decode(self, predictions: ArrayLike) -> Floats:
        """Return a network's predictions (N,) in the units of the target."""
        return np.asarray(predictions, np.float64) * self.scale + self.shift


Target: TypeAlias = Classes | Quantity


def leave_out_missing(table: Table, name: str) -> tuple[Table, list[str]]:
    """Return a table without the rows that have no target in column `name`, and a note of them.

    "NA" and the like are no classes. Raises ValueError where no row is left.
    """
    # Under another name: polars may take the name of a column for a pattern.
    series: pl.Series = table.frame[name].alias("target")
    if series.dtype == pl.String:
        texts = series.set(series.str.to_lowercase() == "na", None)
        numbers = without_marks(texts)
        is_numeric = numbers.cast(pl.Float64, strict=False).null_count() == numbers.null_count()
        series = numbers if is_numeric else texts
    elif series.dtype.is_float():
        series = series.fill_nan(None)
    count = series.null_count()
    if count == 0:
        return table, []
    if count == len(series):
        raise ValueError(f"target {name!r:.80} has no values, expected classes or numbers")
    have = "has" if count == 1 else "have"
    note = f"{count:,} of {len(series):,} rows {have} no target {name!r:.80}: left out"
    return table.take(np.flatnonzero(series.is_not_null().to_numpy())), [note]


def read_quantity(table: Table, name: str) -> Floats:
    """Return a numeric target (N,) as float64; ValueError for a missing value or text."""
    series: pl.Series = table.frame[name]
    check_type(series, table, is_target=True)
    if series.dtype == pl.String:
        series = without_marks(series)
    numbers = series.cast(pl.Float64, strict=False) if series.dtype == pl.String else series
    wrong = numbers.is_null() & series.is_not_null()
    if wrong.any():
        at: Any = wrong.arg_max()
        place = table.place(name, at)
        raise ValueError(
            f"{place} is {series[at]!r:.80}, expected a number, the target of a regression"
        )
    refuse_missing(table, numbers)
    return read_numbers(table, numbers).to_numpy()


def _read_labels(table: Table, name: str) -> pl.Series:
    """Return labels as Int64 or Boolean where that is exact, else as String."""
    series: pl.Series = table.frame[name]
    if series.dtype in (pl.Date, pl.Datetime, pl.Time):
        series = series.cast(pl.String)
    check_type(series, table, is_target=True)
    if series.dtype.is_float():
        read_numbers(table, series, optional=True)  # refuses infinities
        series = series.fill_nan(None)
    refuse_missing(table, series)
    if series.dtype == pl.Boolean:
        return series
    texts = as_texts(series)
    digits = without_marks(texts)
    whole = digits.cast(pl.Int64, strict=False)
    # Whole numbers that do not come back as they stand, such as "007", are text.
    if whole.null_count() < len(whole) and whole.cast(pl.String).eq_missing(digits).all():
        refuse_missing(table, whole)
        return whole
    truth = as_truth_values(texts)
    return texts if truth.null_count() else truth


def target_to_dict(target: Target) -> dict[str, Any]:
    """Return a target as plain JSON."""
    return {"task": target.task, **target._asdict()}


def target_from_dict(values: Any) -> Target:
    """Return the target that `target_to_dict` has described; ValueError for other values."""
    fields = dict(check_kind(values, dict, "a target"))
    task = check_kind(fields.pop("task", None), str, "a task")
    kinds: dict[str, Any] = {"classification": Classes, "regression": Quantity}
    kind = kinds.get(task)
    if kind is None or fields.keys() != set(kind._fields):
        raise ValueError(f"expected a target, found {values!r:.80}")
    target: Target = kind(**fields)
    check_kind(target.name, str, "a name")
    if isinstance(target, Quantity):
        check_scale(target)
    else:
        labels = check_kind(target.labels, list, "a list of labels")
        types = {type(label) for label in labels}
        if not (
            len(types) == 1 and types <= {int, bool, str} and 1 < len(labels) == len({*labels})
        ):
            raise ValueError(f"expected distinct labels of one kind, found {labels!r:.80}")
    return target
