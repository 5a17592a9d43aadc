"""Numbers that are written in another way: decimal comma, thousands, percent, currencies.

A column of text is a column of numbers where all of its values agree on one way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .libraries import polars as pl

_CURRENCY = (
    r"[A-Z]{0,3}\p{Sc}|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR"
    r"|TRY|RUB|KRW|SGD|HKD|kr\.?|Fr\.?|zł|Kč"
)
_NUMBER = (
    r"^\s*(?P<open>\()?\s*(?P<sign>[-+\u2212\u2013])?\s*"
    rf"(?P<front>{_CURRENCY})?\s*(?P<inner>[-+\u2212\u2013])?\s*"
    r"(?P<digits>[0-9.,'\u2019\s]*[0-9.,](?:[eE][-+]?[0-9]+)?)\s*"
    rf"(?P<back>{_CURRENCY}|%)?\s*(?P<close>\))?\s*$"
)
_EVERY_SEPARATOR = r"[1-9][0-9]{0,2}(?:'[0-9]{3})+|[1-9][0-9]{0,2}(?:\u2019[0-9]{3})+"
_BLANKS = r"[1-9][0-9]{0,2}(?:\s[0-9]{3})+"
_EXPONENT = r"(?:[eE][-+]?[0-9]+)?$"
# Groups of two digits, as in 12,34,567, are usual in India.
_WHOLE = {
    ".": rf"[0-9]+|[1-9][0-9]{{0,2}}(?:,[0-9]{{2,3}})*,[0-9]{{3}}|{_EVERY_SEPARATOR}|{_BLANKS}",
    ",": rf"[0-9]+|[1-9][0-9]{{0,2}}(?:\.[0-9]{{3}})+|{_EVERY_SEPARATOR}|{_BLANKS}",
}
_DIGITS = {
    ".": rf"^(?:(?:{_WHOLE['.']})(?:\.[0-9]*)?|\.[0-9]+){_EXPONENT}",
    ",": rf"^(?:(?:{_WHOLE[',']})(?:,[0-9]*)?|,[0-9]+){_EXPONENT}",
}
_THOUSANDS = {".": r"[,'\u2019\s]", ",": r"[.'\u2019\s]"}
_POINTS_OR_THOUSANDS = r"^[-+]?[1-9][0-9]{0,2}(?:\.[0-9]{3})*$"
_MARKS = {".": "point", ",": "comma"}


class NumberFormat(NamedTuple):
    """How a column of text writes numbers."""

    decimal: str
    """The decimal mark, "." or ",". What may stand between thousands follows from it."""

    unit: str
    """"%" behind every number, a currency beside some, or "" for neither."""

    def __str__(self) -> str:
        text = f"a decimal {_MARKS[self.decimal]}"
        return f"{text} and {self.unit!r}" if self.unit else text


class AmbiguousNumbersError(ValueError):
    """All values of a column are numbers with either decimal mark. Its text is the first one."""


def find_format(texts: pl.Series, decimal: str | None = None) -> NumberFormat | None:
    """Return how a column of text writes its numbers, or None where it has other texts.

    Parameters
    ----------
    texts : polars.Series
        The values of the column, none of them missing.
    decimal : str, optional
        The decimal mark to take where both would do.

    Raises
    ------
    AmbiguousNumbersError
        Where both decimal marks would do and give other numbers.
    """
    if len(texts) == 0 or not texts.head(20).str.contains(_NUMBER).all():
        return None
    parts = _split(texts)
    units = parts["unit"].unique().to_list()
    if not parts["is_number"].all() or ("%" in units and len(units) > 1):
        return None
    units = [unit for unit in units if unit]
    if len(units) > 1:
        return None
    fits = [mark for mark in ".," if parts["digits"].str.contains(_DIGITS[mark]).all()]
    if not fits:
        return None
    if len(fits) == 2:
        differ = parts["digits"].str.contains("[.,]")
        if decimal is None and differ.any():
            at: Any = differ.arg_max()
            raise AmbiguousNumbersError(texts[at])
        fits = [decimal or "."]
    return NumberFormat(fits[0], *units or [""])


def read(texts: pl.Series, how: NumberFormat) -> pl.Series:
    """Return a column of text as Float64, with null for what is not written in that way."""
    parts = _split(texts)
    units = [how.unit] if how.unit == "%" else ["", how.unit]
    is_right = (
        parts["is_number"]
        & parts["unit"].is_in(units)
        & parts["digits"].str.contains(_DIGITS[how.decimal])
    )
    digits = parts["digits"].str.replace_all(_THOUSANDS[how.decimal], "")
    values = digits.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    values = values.zip_with(~parts["is_negative"].fill_null(False), -values)
    nothing = pl.Series([None], dtype=pl.Float64)
    return values.zip_with(is_right.fill_null(False), nothing).alias(texts.name)


def read_both(text: str) -> tuple[float, float]:
    """Return the number that a text is with a decimal point, and with a decimal comma."""
    texts = pl.Series([text])
    unit = _split(texts)["unit"][0]
    point, comma = (read(texts, NumberFormat(mark, unit))[0] for mark in ".,")
    return point, comma


def may_be_thousands(texts: pl.Series) -> bool:
    """Return whether each text is whole with points between thousands, as in "1.234"."""
    return bool(
        texts.str.contains(_POINTS_OR_THOUSANDS).all()
        and texts.str.contains(".", literal=True).any()
    )


def _split(texts: pl.Series) -> pl.DataFrame:
    """Return a frame of "digits", "unit", "is_negative" and "is_number"; null for other texts."""
    groups = texts.rename("text").str.extract_groups(_NUMBER).struct.unnest()
    opened, closed = pl.col("open").is_not_null(), pl.col("close").is_not_null()
    signs = pl.concat_str("sign", "inner", ignore_nulls=True)
    front, back = pl.col("front").is_not_null(), pl.col("back").is_not_null()
    return groups.select(
        "digits",
        unit=pl.concat_str("front", "back", ignore_nulls=True),
        is_negative=opened | signs.str.contains("[-\u2212\u2013]"),
        is_number=(
            pl.col("digits").is_not_null()
            & (opened == closed)
            & ((signs == "") | ((signs.str.len_chars() == 1) & ~opened))
            & ~(front & back)
        ),
    )
