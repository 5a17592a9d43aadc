"""Texts as dates and times. A column has one order of day, month and year.

The clock time is taken as it is written: a time zone behind it changes nothing.
"""

from __future__ import annotations

import datetime
from typing import Any

from .libraries import polars as pl
from .table import Table

EPOCH = datetime.datetime(1970, 1, 1)
"""The day of times that have no date."""

ORDERS = ("ymd", "dmy", "mdy", "time")
"""Year first, day first, month first, and a time of the day without a date."""

NAMES = {
    "ymd": "a date with the year first, as in 2024-01-31", "dmy": "a date with the day first",
    "mdy": "a date with the month first", "time": "a time such as 12:30",
}  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?:{'|'.join(_MONTHS)})[a-z]*\.?"
_TIME = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}(?:[.,][0-9]+)?))?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?:z|utc|gmt|[-+][0-9]{2}:?(?:[0-9]{2})?)?"
)
_DATE = (
    r"(?i)^\s*(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
    rf"(?P<a>[0-9]{{1,4}}|{_MONTH})(?:\. |[./ -])(?P<b>[0-9]{{1,2}}|{_MONTH})(?:, ?|\. |[./ -])"
    rf"(?P<c>[0-9]{{1,4}})(?:(?:t|,?\s+){_TIME})?\s*$"
)
_ONLY_TIME = rf"(?i)^\s*{_TIME}\s*$"
_FIRST_OF_THIS_CENTURY = 69  # two digits below it are years of 2000, as in POSIX


class AmbiguousDatesError(ValueError):
    """All dates of a column have a day that may be a month. Its text is the first of them."""


def find_order(texts: pl.Series, day_first: bool | None = None) -> str | None:
    """Return one of ORDERS for a column of text, or None where not all texts are dates of one.

    `texts` has no missing value. Raises AmbiguousDatesError where the day and the month may change
    places, unless `day_first` says which comes first or points are between them.
    """
    if len(texts) == 0:
        return None
    fits = [order for order in ORDERS if parse(texts, order).null_count() == 0]
    if fits != ["dmy", "mdy"]:
        return fits[0] if fits else None
    if day_first is not None:
        return "dmy" if day_first else "mdy"
    differs = parse(texts, "dmy") != parse(texts, "mdy")
    if not differs.any() or texts.str.contains(r"^\s*[0-9]+\.").all():
        return "dmy"
    at: Any = differs.arg_max()
    raise AmbiguousDatesError(texts[at])


def parse(texts: pl.Series, order: str) -> pl.Series:
    """Return texts as Datetime, times as of 1970-01-01, and null for what is not in that order."""
    pattern = _ONLY_TIME if order == "time" else _DATE
    pieces = texts.rename("text").str.extract_groups(pattern).struct.unnest().lazy()
    if order == "time":
        day = pl.lit("1970-01-01")
    else:
        year, month, day_of_month = (pl.col("abc"[order.index(each)]) for each in "ymd")
        number = month.str.slice(0, 3).str.to_lowercase().replace_strict(
            list(_MONTHS), [f"{i + 1}" for i in range(12)], default=month.str.strip_chars(".")
        )  # fmt: skip
        is_year = year.str.len_chars().is_in([4] if order == "ymd" else [2, 4])
        short = year.str.len_chars() == 2
        century = pl.when(year.cast(pl.Int64, strict=False) < _FIRST_OF_THIS_CENTURY)
        year = pl.when(short).then(century.then(pl.lit("20")).otherwise(pl.lit("19")) + year)\
            .otherwise(year)  # fmt: skip
        day = pl.when(is_year).then(pl.concat_str(year, number, day_of_month, separator="-"))
    hour, minute = (pl.col(each).cast(pl.Int64).fill_null(0) for each in ("hour", "minute"))
    second = pl.col("second").str.replace(",", ".").cast(pl.Float64).fill_null(0)
    is_pm = pl.col("half").str.to_lowercase().str.starts_with("p")
    hour = pl.when(pl.col("half").is_null()).then(hour).otherwise(hour % 12 + 12 * is_pm)
    is_time = (hour < 24) & (minute < 60) & (second < 61)
    if order == "time":
        is_time &= pl.col("hour").is_not_null()
    micros = (60 * hour + minute) * 60_000_000 + (1e6 * second).round().cast(pl.Int64)
    date = day.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    moment = pl.when(is_time).then(date + pl.duration(microseconds=micros))
    parsed: pl.Series = pieces.select(moment.alias(texts.name)).collect().to_series()
    return parsed


def read_moments(table: Table, series: pl.Series) -> pl.Series:
    """Return a column of dates, times or both as Datetime, with the clock time that is written.

    Texts have the year first. Raises ValueError for one that is no date.
    """
    if series.dtype == pl.String:
        return parse_all(table, series, "ymd")
    if series.dtype == pl.Time:
        return series.to_frame().select(
            pl.lit(EPOCH).dt.combine(pl.col(series.name)).alias(series.name)
        ).to_series()  # fmt: skip
    if series.dtype == pl.Datetime:
        series = series.dt.replace_time_zone(None)
    elif series.dtype not in (pl.Date, pl.Null):
        raise ValueError(
            f"column {series.name!r:.80} has values of type {series.dtype}, expected dates"
        )
    return series.cast(pl.Datetime("us"))


def parse_all(table: Table, texts: pl.Series, order: str) -> pl.Series:
    """Return a column of text as Datetime; ValueError for one that is not in that order."""
    parsed = parse(texts, order)
    wrong = parsed.is_null() & texts.is_not_null()
    if wrong.any():
        at: Any = wrong.arg_max()
        raise ValueError(
            f"{table.place(texts.name, at)} is {texts[at]!r:.80}, expected {NAMES[order]}"
        )
    return parsed
