"""What a column holds, numbers or categories, and which task a target sets."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Collection
from typing import Any, NoReturn

from .cells import as_texts, without_marks
from .complaints import Complaints, collecting
from .libraries import polars as pl
from .table import Table

MOST_CATEGORIES = 100
MOST_CLASSES = 20
"""A target of whole numbers with more distinct values is a regression."""

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = "(?i)" + "|".join(
    (
        r"^\d{4}[./-]\d{1,2}[./-]\d{1,2}([T ].*)?$",
        r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}(,? .*)?$",
        rf"^([a-z]+\.?,? )?\d{{1,2}}(\. |[ ./-]){_MONTH},?[ ./-]\d{{2,4}}( .*)?$",
        rf"^([a-z]+\.?,? )?{_MONTH}[ -]\d{{1,2}},?[ -]\d{{4}}( .*)?$",
        r"^\d{1,2}:\d{2}",
    )
)


def infer_kinds(
    table: Table,
    *,
    target: str | None = None,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
    complaints: Complaints | None = None,
) -> dict[str, str]:
    """Return {column: "number", "category" or "date"} for all columns but `target` and `drop`.

    A column of text is a category where none of its values is a number. A column that
    `categorical` names is a category whatever it holds. A column that is neither is left out if
    `complaints` takes its error.

    Raises
    ------
    ValueError
        For a name that is not a column, for a column that is neither, and where no column is left.
    """
    columns = set(table.frame.columns)
    for names, argument in ((drop, "--drop"), (categorical, "--categorical")):
        for name in names:
            if name not in columns:
                table.require(name, argument)
    drop, categorical = set(drop), set(categorical)
    numeric, kinds = _numeric_texts(table), {}
    for series in table.frame:
        if series.name == target or series.name in drop:
            continue
        if complaints is not None and series.name in complaints.columns:
            continue
        if series.name in categorical:
            kinds[series.name] = "category"
        elif series.name in numeric:
            kinds[series.name] = "number"
        else:
            with collecting(complaints, series.name):
                kinds[series.name] = _infer_kind(series, table)
    if complaints is not None and complaints.messages:
        return kinds
    if not kinds:
        besides = "" if target is None else f" besides {target!r:.80}"
        raise ValueError(f"path: {table.source} has no column{besides}, expected features")
    return kinds


def _numeric_texts(table: Table) -> set[str]:
    """Return the names of the columns of text in which a value is a number.

    One cast of all columns: 100,000 columns one by one take half a minute.
    """
    numbers = table.frame.select(pl.col(pl.String).cast(pl.Float64, strict=False))
    return {each.name for each in numbers if each.null_count() < len(each)}


def _infer_kind(series: pl.Series, table: Table) -> str:
    if series.dtype.is_numeric():
        return "number"
    if series.dtype in (pl.Categorical, pl.Enum):
        return "category"
    if series.dtype == pl.Boolean:
        return "category"
    if series.dtype in (pl.Date, pl.Datetime, pl.Time):
        return "date"
    if series.null_count() == len(series):
        raise ValueError(f"column {series.name!r:.80} has no values; {leave_out(series)}")
    check_type(series, table)
    texts = series.drop_nulls()
    if texts.cast(pl.Float64, strict=False).null_count() < len(texts):
        return "number"
    if are_dates(texts):
        refuse_date(series, table)
    return "category"


def infer_task(table: Table, name: str) -> tuple[str, str]:
    """Return ("classification" or "regression", why) for the target in column `name`.

    Raises ValueError for dates, and for values that are neither numbers nor text.
    """
    series: pl.Series = table.frame[name]
    check_type(series, table, is_target=True)
    series = series.drop_nulls()
    distinct = series.n_unique()
    if series.dtype == pl.String:
        if are_dates(series):
            refuse_date(table.frame[name], table, is_target=True)
        texts = without_marks(series).drop_nulls()
        numbers = texts.cast(pl.Float64, strict=False)
        if numbers.null_count() == 0 and len(numbers):
            # Texts are counted, as float64 does not tell large whole numbers apart.
            series, distinct = numbers, as_texts(texts).n_unique()
    if not series.dtype.is_numeric():
        return "classification", f"{name!r:.80} is not numeric"
    if (series != series.floor()).any():
        return "regression", f"{name!r:.80} has {distinct:,} different numbers"
    task = "classification" if distinct <= MOST_CLASSES else "regression"
    return task, f"{name!r:.80} has {distinct:,} different whole numbers"


def is_pattern(name: str) -> bool:
    """Return whether polars takes the name of a column for a pattern of names."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def check_type(series: pl.Series, table: Table, is_target: bool = False) -> None:
    """Raise ValueError for a column that can be neither numbers nor categories."""
    name = series.name
    if is_pattern(name):
        hint = "" if is_target else f", or {leave_out(series)}"
        raise ValueError(
            f"column {name!r} has a name that polars takes for a pattern of names, expected one "
            f"that is not '*' nor '^...$'; rename it{hint}"
        )
    if series.dtype.is_temporal() and (is_target or series.dtype == pl.Duration):
        refuse_date(series, table, is_target)
    simple = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
    is_simple = series.dtype in simple or series.dtype.is_numeric() or series.dtype.is_temporal()
    if not is_simple:
        hint = "" if is_target else f"; {leave_out(series)}"
        raise ValueError(
            f"column {series.name!r:.80} has values of type {series.dtype}, expected numbers or "
            f"text{hint}"
        )


def are_dates(texts: pl.Series) -> bool:
    """Return whether all texts look like dates or times."""
    return len(texts) > 0 and bool(texts.str.contains(_DATE).all())


def refuse_date(series: pl.Series, table: Table, is_target: bool = False) -> NoReturn:
    """Raise ValueError for a column of dates or times."""
    at: Any = series.is_not_null().arg_max()
    expected = "class" if is_target else "category"
    hint = "--task classification takes each for a class" if is_target else f"{leave_out(series)}"
    raise ValueError(
        f"{table.place(series.name, at)} is {str(series[at])!r:.80}, a date or time, expected a "
        f"number or a {expected}; make numbers of it, such as days since a day, or {hint}"
    )


_LONGEST_NAME = 200  # that a message repeats


def leave_out(series: pl.Series) -> str:
    """Return the hint that names the option which leaves a column out."""
    return f"leave it out with {option_for('--drop', series.name)}"


def option_for(flag: str, name: str) -> str:
    """Return an option with the name of a column, quoted for a shell."""
    if len(name) > _LONGEST_NAME:
        return f"{flag} and its name"
    text = io.StringIO()
    # The option takes a list of names: a name with a comma in it has to be quoted.
    quoting: Any = csv.QUOTE_ALL if name != name.strip() else csv.QUOTE_MINIMAL
    csv.writer(text, quoting=quoting, lineterminator="\n").writerow([name])
    value = shlex.quote(text.getvalue().removesuffix("\n"))
    return f"{flag}={value}" if value.startswith("-") else f"{flag} {value}"
