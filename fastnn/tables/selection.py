"""Columns that say nothing of a target: constants, and names of single rows."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from .kinds import are_dates, is_pattern
from .libraries import polars as pl
from .table import Table

_FEWEST_ROWS = 21  # of fewer, distinct texts may be chance
_IS_IDENTIFIER = re.compile(
    r"(?i:(?:.*[\s_.-])?(?:ids?|uuid|guid|key|index|idx|row|nr|no|number)\.?)|\w*[a-z](?:Id|ID)"
)


def find_useless(table: Table, but: Collection[str] = ()) -> dict[str, str]:
    """Return {column: why} of columns to leave out: constants, and identifiers.

    An identifier is a column of text that has another value in every row, or one of such whole
    numbers whose name says so, as "id" does. Columns in `but` are not looked at.
    """
    names = [
        each.name
        for each in table.frame
        if each.name not in but and not is_pattern(each.name) and not each.dtype.is_nested()
    ]
    if not names or len(table.frame) < 2:
        return {}
    frame = table.frame.select(names)
    counts = frame.select(pl.all().n_unique()).row(0)
    useless = {}
    for name, count in zip(names, counts, strict=True):
        if count == 1:
            value: Any = frame[name][0]
            what = "empty" if value is None else repr(value)
            useless[name] = f"is {what:.80} in every row"
        elif count == len(frame) >= _FEWEST_ROWS and _is_identifier(frame[name]):
            useless[name] = "has another value in every row"
    return useless


def _is_identifier(series: pl.Series) -> bool:
    if series.dtype != pl.String and not series.dtype.is_numeric():
        return False
    if series.dtype == pl.String:
        numbers = series.cast(pl.Float64, strict=False)
        if numbers.null_count() == len(series):
            return not are_dates(series)  # with a fault in one of them
        if numbers.null_count():
            return False
        series = numbers
    named = _IS_IDENTIFIER.fullmatch(series.name) is not None
    return named and series.null_count() == 0 and bool((series == series.floor()).all())


def lines_of(useless: dict[str, str]) -> list[str]:
    """Return what the user is told of columns that are left out."""
    of_reason: dict[str, list[str]] = {}
    for name, why in useless.items():
        of_reason.setdefault(why, []).append(name)
    lines = []
    for why, names in of_reason.items():
        shown = ", ".join(f"{name!r:.80}" for name in names[:10]) + ", ..." * (len(names) > 10)
        which = f"column {shown} {why}" if len(names) == 1 else f"each of {shown} {why}"
        lines.append(f"{which}: left out")
    return lines
