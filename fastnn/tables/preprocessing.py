"""Columns of a table as the features that a network takes.

What is fitted on the training part can be written as plain JSON, for a model file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from ..types import Floats
from .cells import as_texts, read_numbers, refuse_missing
from .complaints import Complaints, collecting
from .kinds import check_type, is_pattern, leave_out, option_for
from .libraries import polars as pl
from .notes import check_finite, check_kind, check_scale
from .scaling import moments
from .table import Table, among


class NumericColumn(NamedTuple):
    """A numeric column: (value - shift) / scale, and `fill` for a missing value."""

    name: str
    shift: float
    scale: float
    fill: float | None

    @property
    def kind(self) -> Literal["number"]:
        """The name of this kind in files."""
        return "number"

    @property
    def feature_names(self) -> list[str]:
        """One feature."""
        return [self.name]

    def expressions(self) -> list[pl.Expr]:
        """Return the feature as a polars expression."""
        column = pl.col(self.name)
        column = column if self.fill is None else column.fill_null(self.fill)
        return [(column - self.shift) / self.scale]


class CategoricalColumn(NamedTuple):
    """A column of categories: one feature for each, 1 where the value is that category, else 0."""

    name: str
    categories: list[str]
    fill: str | None

    @property
    def kind(self) -> Literal["category"]:
        """The name of this kind in files."""
        return "category"

    @property
    def feature_names(self) -> list[str]:
        """One feature a category."""
        return [f"{self.name}={category}" for category in self.categories]

    def expressions(self) -> list[pl.Expr]:
        """Return the features as polars expressions."""
        column = pl.col(self.name)
        column = column if self.fill is None else column.fill_null(self.fill)
        return [(column == category).cast(pl.Float64) for category in self.categories]


Column: TypeAlias = NumericColumn | CategoricalColumn


class Preprocessor:
    """Features of a table: numbers standardized, categories one-hot, missing values imputed.

    Attributes
    ----------
    columns : list of NumericColumn and CategoricalColumn
    feature_names : list of str, of length I
    """

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.feature_names = [name for column in columns for name in column.feature_names]

    @classmethod
    def fit(cls, frame: pl.DataFrame, missing: str = "refuse") -> Self:
        """Learn from the columns of a frame that `read_features` has returned.

        Numbers are shifted by their mean and divided by their standard deviation, a constant is
        only shifted. With `missing` "median" or "mean", missing numbers become that value, and
        missing categories the most frequent one.
        """
        fit: dict[Any, Callable[[pl.Series, str], Column]] = {
            pl.Float64: _fit_number,
            pl.String: _fit_category,
        }
        return cls([fit[type(series.dtype)](series, missing) for series in frame])

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

    def unknown(self, frame: pl.DataFrame) -> dict[str, tuple[list[str], int]]:
        """Return {column: (unknown categories, rows)}, for which `transform` has only zeros."""
        unknown = {}
        for column in self.columns:
            if isinstance(column, CategoricalColumn):
                texts = frame[column.name].drop_nulls()
                texts = texts.filter(~texts.is_in(column.categories))
                if len(texts):
                    unknown[column.name] = texts.unique().sort().to_list(), len(texts)
        return unknown

    def to_list(self) -> list[dict[str, Any]]:
        """Return the columns as plain JSON, for `from_list`."""
        return [{"kind": column.kind, **column._asdict()} for column in self.columns]

    @classmethod
    def from_list(cls, columns: Any) -> Self:
        """Return the Preprocessor that `to_list` has described; ValueError for other values."""
        kinds: dict[str, Any] = {"number": NumericColumn, "category": CategoricalColumn}
        checked = []
        for column in check_kind(columns, list, "a list of columns"):
            fields = dict(check_kind(column, dict, "a column"))
            kind = kinds.get(check_kind(fields.pop("kind", None), str, "a kind of column"))
            if kind is None or fields.keys() != set(kind._fields):
                raise ValueError(f"expected a column, found {column!r:.80}")
            checked.append(_check_column(kind(**fields)))
        names = [column.name for column in checked]
        if len(set(names)) < len(names):
            raise ValueError(f"expected each column once, found {names!r:.80}")
        return cls(checked)


def _fit_number(series: pl.Series, missing: str) -> NumericColumn:
    if series.null_count() == len(series):
        raise ValueError(
            f"column {series.name!r:.80} has no values to train on; {leave_out(series)}"
        )
    fill = None
    if missing != "refuse":
        fill = float(getattr(series, missing)())
        series = series.fill_null(fill)
    shift, scale = moments(series.to_numpy())
    return NumericColumn(series.name, shift, scale, fill)


def _fit_category(series: pl.Series, missing: str) -> CategoricalColumn:
    if series.null_count() == len(series):
        raise ValueError(
            f"column {series.name!r:.80} has no values to train on; {leave_out(series)}"
        )
    texts = series.drop_nulls()
    fill = texts.mode().sort()[0] if missing != "refuse" else None
    return CategoricalColumn(series.name, texts.unique().sort().to_list(), fill)


def read_features(
    table: Table,
    kinds: Mapping[str, str],
    optional: Collection[str] = (),
    *,
    is_training: bool = True,
    complaints: Complaints | None = None,
) -> pl.DataFrame:
    """Return the columns of `kinds` as a frame of Float64 and String, with null where missing.

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
        with collecting(complaints):
            check_type(series, table)
            if kind == "category":
                typed = as_texts(series)
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


def _check_column(column: Column) -> Column:
    check_kind(column.name, str, "a name")
    if isinstance(column, NumericColumn):
        check_scale(column)
        if column.fill is not None:
            check_finite(column.fill)
    else:
        for category in check_kind(column.categories, list, "a list of categories"):
            check_kind(category, str, "a category")
        if column.fill is not None:
            check_kind(column.fill, str, "a category")
    return column
