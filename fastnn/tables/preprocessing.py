"""Columns of a table as the features that a network takes.

What is fitted on the training part can be written as plain JSON, for a model file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from ..types import Floats
from .cells import as_texts, read_numbers, refuse_missing
from .columns import (
    PARTS,
    CategoricalColumn,
    Column,
    DateColumn,
    NumericColumn,
    column_from_dict,
    column_to_dict,
)
from .complaints import Complaints, collecting
from .dates import EPOCH, read_moments
from .kinds import MOST_CATEGORIES, check_type, is_pattern, leave_out, option_for
from .libraries import polars as pl
from .notes import check_kind
from .scaling import moments
from .table import Table, among


class Preprocessor:
    """Features of a table: numbers standardized, categories one-hot, parts of dates.

    Attributes
    ----------
    columns : list of NumericColumn, CategoricalColumn and DateColumn
    feature_names : list of str, of length I
    column_names : list of str, of length I
        The column of each feature.
    """

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.column_names = [column.name for column in columns for _ in column.feature_names]
        self.feature_names = [name for column in columns for name in column.feature_names]

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        missing: str = "refuse",
        max_categories: int = MOST_CATEGORIES,
    ) -> Self:
        """Learn from the columns of a frame that `read_features` has returned.

        Numbers are shifted by their mean and divided by their standard deviation, a constant is
        only shifted. With `missing` "median" or "mean", missing numbers become that value, missing
        categories the most frequent one, and missing dates the one in the middle. Of more than
        `max_categories` the rarest share one feature. Of dates, the parts that vary are features.
        """
        columns: list[Column] = []
        for series in frame:
            if series.null_count() == len(series):
                raise ValueError(
                    f"column {series.name!r:.80} has no values to train on; {leave_out(series)}"
                )
            if series.dtype == pl.String:
                columns.append(_fit_category(series, missing, max_categories))
            elif series.dtype == pl.Float64:
                columns.append(_fit_number(series, missing))
            else:
                columns.append(_fit_date(series, missing))
        return cls(columns)

    def read(self, table: Table) -> pl.DataFrame:
        """Return the typed frame of a table to predict, after all checks.

        Other columns are ignored. Raises ValueError for a missing column, for a value of the wrong
        type, and for a missing value where the model was trained without `missing`.
        """
        self.require(table)
        kinds = {column.name: column.kind for column in self.columns}
        optional = {column.name for column in self.columns if column.fill is not None}
        return read_features(table, kinds, optional, is_training=False)

    def require(self, table: Table) -> None:
        """Raise ValueError where the table does not have all columns."""
        names = set(table.frame.columns)
        for column in self.columns:
            if column.name not in names:
                known = among(column.name, table.frame.columns)
                raise ValueError(
                    f"column {column.name!r:.80} is missing, which the model needs: expected it "
                    f"among the columns {known}"
                )

    def transform(self, frame: pl.DataFrame, dtype: DTypeLike = np.float64) -> Floats:
        """Return the features (N, I) of a typed frame, computed in float64."""
        kind = pl.Float32 if np.dtype(dtype) == np.float32 else pl.Float64
        each = [e.cast(kind) for column in self.columns for e in column.expressions()]
        named = (e.alias(str(i)) for i, e in enumerate(each))
        return frame.select(named).to_numpy(order="c")

    def inputs(self, table: Table, frame: pl.DataFrame, dtype: DTypeLike) -> Floats:
        """Return the features (N, I) of the typed frame of a table.

        Raises ValueError for a number that overflows `dtype`.
        """
        with np.errstate(over="ignore"):
            X = self.transform(frame, dtype)
        wrong = ~np.isfinite(X)
        if wrong.any():
            row, feature = np.argwhere(wrong)[0]
            name = self.column_names[feature]
            raise ValueError(
                f"{table.place(name, row)} is {frame[name][int(row)]}, too large for {X.dtype} "
                "beside the values that the model was trained on: expected a smaller number"
            )
        return X

    def unknown(self, frame: pl.DataFrame) -> dict[str, tuple[list[str], int]]:
        """Return {column: (unknown categories, rows)}, for which `transform` has only zeros.

        In a column whose rarest categories share a feature, no category is unknown.
        """
        unknown = {}
        for column in self.columns:
            if isinstance(column, CategoricalColumn) and column.other is None:
                texts = frame[column.name].drop_nulls()
                texts = texts.filter(~texts.is_in(column.categories))
                if len(texts):
                    unknown[column.name] = texts.unique().sort().to_list(), len(texts)
        return unknown

    def to_list(self) -> list[dict[str, Any]]:
        """Return the columns as plain JSON, for `from_list`."""
        return [column_to_dict(column) for column in self.columns]

    @classmethod
    def from_list(cls, columns: Any) -> Self:
        """Return the Preprocessor that `to_list` has described; ValueError for other values."""
        checked = [
            column_from_dict(column) for column in check_kind(columns, list, "a list of columns")
        ]
        names = [column.name for column in checked]
        if len(set(names)) < len(names):
            raise ValueError(f"expected each column once, found {names!r:.80}")
        return cls(checked)


def _fit_number(series: pl.Series, missing: str) -> NumericColumn:
    fill = None
    if missing != "refuse":
        fill = float(getattr(series, missing)())
        series = series.fill_null(fill)
    shift, scale = moments(series.to_numpy())
    return NumericColumn(series.name, shift, scale, fill)


def _fit_category(series: pl.Series, missing: str, max_categories: int) -> CategoricalColumn:
    texts = series.drop_nulls()
    fill = texts.mode().sort()[0] if missing != "refuse" else None
    categories = texts.unique().sort()
    if len(categories) <= max_categories:
        return CategoricalColumn(series.name, categories.to_list(), fill)
    counts = texts.alias("text").value_counts(name="count")
    frequent = counts.sort(["count", "text"], descending=[True, False])["text"]
    kept = frequent.head(max_categories - 1)
    other = "other"
    while (kept == other).any():
        other = f"{other} texts"
    return CategoricalColumn(series.name, kept.sort().to_list(), fill, other)


def _fit_date(series: pl.Series, missing: str) -> DateColumn:
    moments_of = series.drop_nulls()
    fill: Any = moments_of.sort()[len(moments_of) // 2] if missing != "refuse" else None
    first: Any = moments_of.dt.truncate("1d").min()
    is_time = first == moments_of.dt.truncate("1d").max() == EPOCH
    column = DateColumn(
        series.name, first.isoformat(), ["hour"] if is_time else [*PARTS], [], [],
        None if fill is None else fill.isoformat(),
    )  # fmt: skip
    numbers = series.to_frame().select(
        part.alias(name) for name, part in zip(column.parts, column.numbers(), strict=True)
    )
    varying = [part for part in numbers if part.min() != part.max()] or [numbers.to_series(-1)]
    shifts, factors = zip(*(moments(part.to_numpy()) for part in varying), strict=True)
    parts = [part.name for part in varying]
    return column._replace(parts=parts, shifts=[*shifts], factors=[*factors])


def read_features(
    table: Table,
    kinds: Mapping[str, str],
    optional: Collection[str] = (),
    *,
    is_training: bool = True,
    complaints: Complaints | None = None,
) -> pl.DataFrame:
    """Return the columns of `kinds` as a frame of Float64, String and Datetime, null where missing.

    In a column of numbers, NA, NaN, null and the like are missing values too.

    Raises
    ------
    ValueError
        For text in place of a number, for a number that is not finite, and for a missing value,
        unless the column is one of `optional`. The message names the row, and while training the
        option that helps. `complaints` takes the errors of single columns.
    """
    if is_training:
        hint = "; --missing median fills it"
    else:
        hint = "; the model was trained without --missing, so it has nothing to fill in"
    columns = []
    clean = _read_clean_columns(table, [name for name in kinds if kinds[name] == "number"])
    for name, kind in kinds.items():
        if name in clean:
            columns.append(clean[name])
            continue
        series: pl.Series = table.frame[name]
        with collecting(complaints, name):
            check_type(series, table)
            if kind == "category":
                typed = as_texts(series)
            elif kind == "date":
                typed = read_moments(table, series)
            else:
                option = option_for("--categorical", name)
                takes_text = f"; {option} takes texts for categories" * is_training
                typed = read_numbers(table, series, name in optional, takes_text)
            if name not in optional:
                refuse_missing(table, typed, hint)
            columns.append(typed)
    return pl.DataFrame(columns)


def _read_clean_columns(table: Table, names: list[str]) -> dict[str, pl.Series]:
    """Return, as Float64, the columns in which every value is a finite number.

    One cast of all columns: 100,000 columns one by one take minutes.
    """
    frame = table.frame.select([name for name in names if not is_pattern(name)])
    known = [each.name for each in frame if each.dtype.is_numeric() or each.dtype == pl.String]
    numbers = frame.select(pl.col(known).cast(pl.Float64, strict=False))
    finite = numbers.select(pl.all().is_finite().all())
    return {
        each.name: each
        for each, is_finite in zip(numbers, finite, strict=True)
        if not each.null_count() and is_finite[0]
    }
