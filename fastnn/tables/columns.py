"""The columns of a fitted preprocessor: what each makes of its values, and its form in files."""

from __future__ import annotations

import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from .libraries import polars as pl
from .notes import check_finite, check_kind, check_scale


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

    @property
    def scales(self) -> list[tuple[float, float]]:
        """(shift, scale) of each feature."""
        return [(self.shift, self.scale)]

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
    other: str | None = None
    """The name of the last feature, which is 1 for every other value; None: there is none."""

    @property
    def kind(self) -> Literal["category"]:
        """The name of this kind in files."""
        return "category"

    @property
    def feature_names(self) -> list[str]:
        """One feature a category."""
        other = [] if self.other is None else [self.other]
        return [f"{self.name}={category}" for category in [*self.categories, *other]]

    @property
    def scales(self) -> list[tuple[float, float]]:
        """(shift, scale) of each feature."""
        return [(0.0, 1.0)] * len(self.feature_names)

    def expressions(self) -> list[pl.Expr]:
        """Return the features as polars expressions."""
        column = pl.col(self.name)
        column = column if self.fill is None else column.fill_null(self.fill)
        each = [column == category for category in self.categories]
        if self.other is not None:
            each.append(~column.is_in(self.categories))
        return [feature.cast(pl.Float64) for feature in each]


def _hours(moment: pl.Expr) -> pl.Expr:
    return moment.dt.hour() + moment.dt.minute() / 60 + moment.dt.second() / 3600


PARTS = ("year", "month", "day of year", "weekday", "hour", "days")
"""Features of a date: "weekday" from 1, Monday, to 7, "days" since the first one in training."""


class DateColumn(NamedTuple):
    """A column of dates: its parts as numbers, each (value - shift) / scale."""

    name: str
    first: str
    """The day from which days are counted, as in 2024-01-31."""

    parts: list[str]
    shifts: list[float]
    factors: list[float]
    fill: str | None

    @property
    def kind(self) -> Literal["date"]:
        """The name of this kind in files."""
        return "date"

    @property
    def feature_names(self) -> list[str]:
        """One feature a part."""
        return [f"{self.name}: {part}" for part in self.parts]

    @property
    def scales(self) -> list[tuple[float, float]]:
        """(shift, scale) of each feature."""
        return list(zip(self.shifts, self.factors, strict=True))

    def expressions(self) -> list[pl.Expr]:
        """Return the features as polars expressions."""
        return [
            (part - shift) / scale
            for part, (shift, scale) in zip(self.numbers(), self.scales, strict=True)
        ]

    def numbers(self) -> list[pl.Expr]:
        """Return the parts as polars expressions, not standardized."""
        moment = pl.col(self.name)
        if self.fill is not None:
            moment = moment.fill_null(datetime.datetime.fromisoformat(self.fill))
        first = datetime.datetime.fromisoformat(self.first)
        of_part = {
            "year": moment.dt.year(),
            "month": moment.dt.month(),
            "day of year": moment.dt.ordinal_day(),
            "weekday": moment.dt.weekday(),
            "hour": _hours(moment),
            "days": (moment - first).dt.total_seconds() / 86_400,
        }
        return [of_part[part].cast(pl.Float64) for part in self.parts]


Column: TypeAlias = NumericColumn | CategoricalColumn | DateColumn
_KINDS: dict[str, Any] = {
    "number": NumericColumn, "category": CategoricalColumn, "date": DateColumn,
}  # fmt: skip


def column_to_dict(column: Column) -> dict[str, Any]:
    """Return a column as plain JSON. What has its default is not in it."""
    defaults = type(column)._field_defaults
    values = {
        name: value
        for name, value in column._asdict().items()
        if name not in defaults or value != defaults[name]
    }
    return {"kind": column.kind, **values}


def column_from_dict(values: Any) -> Column:
    """Return the column that `column_to_dict` has described; ValueError for other values."""
    fields = dict(check_kind(values, dict, "a column"))
    kind = _KINDS.get(check_kind(fields.pop("kind", None), str, "a kind of column"))
    if kind is None or not (
        {*kind._fields} - {*kind._field_defaults} <= fields.keys() <= {*kind._fields}
    ):
        raise ValueError(f"expected a column, found {values!r:.80}")
    column: Column = kind(**fields)
    check_kind(column.name, str, "a name")
    if isinstance(column, NumericColumn):
        check_scale(column)
        if column.fill is not None:
            check_finite(column.fill)
    elif isinstance(column, CategoricalColumn):
        for category in check_kind(column.categories, list, "a list of categories"):
            check_kind(category, str, "a category")
        for text in (column.fill, column.other):
            if text is not None:
                check_kind(text, str, "a category")
    else:
        _check_date(column)
    return column


def _check_date(column: DateColumn) -> None:
    for part in check_kind(column.parts, list, "a list of parts"):
        if part not in PARTS:
            raise ValueError(f"expected one of {', '.join(PARTS)}, found {part!r:.80}")
    for values in (column.shifts, column.factors):
        if len(check_kind(values, list, "a list of numbers")) != len(column.parts):
            raise ValueError(f"expected a number for each part, found {values!r:.80}")
        for value in values:
            check_finite(value)
    if not all(factor > 0 for factor in column.factors):
        raise ValueError(f"expected scales above 0, found {column.factors!r:.80}")
    for text in [column.first] + [column.fill] * (column.fill is not None):
        try:
            datetime.datetime.fromisoformat(check_kind(text, str, "a date"))
        except ValueError:
            raise ValueError(f"expected a date, found {text!r:.80}") from None
