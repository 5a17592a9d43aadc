"""What the cells of a column say: finite numbers, truth values, texts of one spelling."""

from __future__ import annotations

from typing import Any

from .libraries import polars as pl
from .table import Table

MARKS = ("?", "-", "n/a", "#n/a", "<na>", "nan", "null")
"""Texts that mean a missing value in any column, in any case."""

_MARKS_OF_NUMBERS = (*MARKS, "na", "none")  # names of categories may be among them


def as_texts(series: pl.Series) -> pl.Series:
    """Return a column as texts, spelled alike for all kinds of files: "true", "1" for 1.0."""
    if series.dtype.is_float():
        series = series.fill_nan(None)
        whole = (series == series.floor()) & (series.abs() < 2**53)
        return series.cast(pl.Int64, strict=False).cast(pl.String).zip_with(
            whole, series.cast(pl.String)
        )  # fmt: skip
    texts = series.cast(pl.String).str.replace(r"^(-?\d+)\.0*$", "$1")
    return texts.str.replace("(?i)^true$", "true").str.replace("(?i)^false$", "false")


def without_marks(texts: pl.Series) -> pl.Series:
    """Return a column of texts with null for "NA", "none", "NaN", "null" and the like."""
    return texts.set(texts.str.to_lowercase().is_in(_MARKS_OF_NUMBERS), None)


def as_truth_values(texts: pl.Series) -> pl.Series:
    """Return the texts "true" and "false" as Boolean, and null for all others."""
    return texts.replace_strict(
        ["true", "false"], [True, False], default=None, return_dtype=pl.Boolean
    )


def refuse_missing(table: Table, series: pl.Series, hint: str = "") -> None:
    """Raise ValueError where a typed column of the table has a null; it names the first row."""
    if series.null_count():
        at: Any = series.is_null().arg_max()
        cell = table.cell(series.name, at)
        shown = "empty" if cell is None else f"{cell!r:.80}, a missing value"
        raise ValueError(f"{table.place(series.name, at)} is {shown}, expected a value{hint}")


def read_numbers(
    table: Table, series: pl.Series, optional: bool = False, hint: str = ""
) -> pl.Series:
    """Return a column as finite Float64. NaN counts as missing if `optional`.

    Raises ValueError for the first value that is not a finite number.
    """
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        series = without_marks(series)
    numbers = series.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & series.is_not_null()
    if wrong.any():
        at: Any = wrong.arg_max()
        raise ValueError(
            f"{table.place(series.name, at)} is {series[at]!r:.80}, expected a number{hint}"
        )
    if optional:
        numbers = numbers.fill_nan(None)
    wrong = ~numbers.is_finite().fill_null(True)
    if wrong.any():
        at = wrong.arg_max()
        shown = repr(series[at]) if series.dtype == pl.String else series[at]
        raise ValueError(f"{table.place(series.name, at)} is {shown}, expected a finite number")
    return numbers
