"""How the texts of a table are read: marks of missing values, numbers in another writing, dates.

It is found in the table that a model is trained on, is saved with the model, and holds for every
table that the model predicts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from . import dates, number_formats
from .cells import MARKS, without_marks
from .complaints import Complaints, collecting
from .dates import AmbiguousDatesError
from .kinds import are_dates, is_pattern
from .libraries import polars as pl
from .notes import check_kind
from .number_formats import AmbiguousNumbersError, NumberFormat
from .table import Table

_NONE: Mapping[str, Any] = MappingProxyType({})
_MOST_NAMES = 10


class Reading(NamedTuple):
    """What turns texts of a table into missing values, numbers and dates."""

    nulls: tuple[str, ...] = ()
    """Texts that mean a missing value, in any column. A lowercase one holds in any case."""

    numbers: Mapping[str, NumberFormat] = _NONE
    """{column: how it writes numbers} of the columns that write them in another way."""

    dates: Mapping[str, str] = _NONE
    """{column: one of `dates.ORDERS`} of the columns of dates."""

    @classmethod
    def find(
        cls,
        table: Table,
        *,
        target: str | None = None,
        texts: Collection[str] = (),
        nulls: Iterable[str] = (),
        decimal: str | None = None,
        has_commas: bool = False,
        day_first: bool | None = None,
        complaints: Complaints | None = None,
    ) -> Self:
        """Return how a table to train on is read.

        Parameters
        ----------
        table : Table
        target : str, optional
            A column that is not read as dates.
        texts : collection of str
            Columns whose values stay texts.
        nulls : iterable of str
            Marks of missing values in addition to the usual ones.
        decimal : str, optional
            "." or ",": the decimal mark of columns in which both would do.
        has_commas : bool
            Whether another column of the file has decimal commas.
        day_first : bool, optional
            Whether the day or the month is first in columns of dates in which both would do.
        complaints : Complaints, optional
            Takes the errors of single columns. By default the first is raised.

        Raises
        ------
        ValueError
            For a column of numbers such as "1,234" only, without `decimal`, and for one of dates
            such as "1/2/2024" only, without `day_first`.
        """
        marks = cls((*MARKS, *(mark for mark in nulls if mark not in MARKS)))
        frame = marks.apply(table).frame
        names = [
            each.name
            for each in frame
            if each.dtype == pl.String and each.name not in texts and not is_pattern(each.name)
        ]
        others = _names_of_texts(frame, names)
        formats: dict[str, NumberFormat] = {}
        orders: dict[str, str] = {}
        for name in others:
            with collecting(complaints, name):
                if how := _find_format(table, without_marks(frame[name]).drop_nulls(), decimal):
                    formats[name] = how
                elif name != target and (
                    order := _find_order(table, frame[name].drop_nulls(), day_first)
                ):
                    orders[name] = order
        if decimal == "," or has_commas or any(how.decimal == "," for how in formats.values()):
            for name in set(names).difference(others):
                series = frame[name].drop_nulls()
                if not number_formats.may_be_thousands(series):
                    continue
                with collecting(complaints, name):
                    if decimal is None:
                        raise _ambiguous(table, name, _with_point(series))
                    if decimal == ",":
                        formats[name] = NumberFormat(",", "")
        return cls(marks.nulls, formats, orders)

    def apply(self, table: Table) -> Table:
        """Return a table with null for marks of missing values, and with numbers and dates.

        Raises ValueError for a text that is written in another way than in training.
        """
        frame = table.frame
        texts = [each.name for each in frame if each.dtype == pl.String]
        if self.nulls and texts:
            each, marks = pl.col(pl.String), list(self.nulls)
            is_mark = each.is_in(marks) | each.str.to_lowercase().is_in(marks)
            frame = frame.with_columns(pl.when(~is_mark).then(each).name.keep())
        columns = [
            _read_numbers(table, frame[name], self.numbers[name])
            if name in self.numbers
            else dates.parse_all(table, frame[name], self.dates[name])
            for name in texts
            if name in self.numbers or name in self.dates
        ]
        if columns:
            frame = frame.with_columns(columns)
        return table if frame is table.frame else table.with_frame(frame)

    def lines(self, table: Table) -> Iterator[str]:
        """Yield what the user is told of numbers and dates in another writing, with examples."""
        of_format: dict[NumberFormat, list[str]] = {}
        for name, how in self.numbers.items():
            of_format.setdefault(how, []).append(name)
        for how, names in of_format.items():
            texts = without_marks(Reading(self.nulls).apply(table).frame[names[0]])
            values = number_formats.read(texts, how)
            at: Any = texts.cast(pl.Float64, strict=False).ne_missing(values).arg_max()
            example = f"{texts[at]!r:.80} is {values[at]:.12g}"
            yield f"{_which(names)} read as numbers with {how}: {example}"
        yield from self._date_lines(table)

    def _date_lines(self, table: Table) -> Iterator[str]:
        """Yield what the user is told of dates whose order of day and month has to be known."""
        for order in ("dmy", "mdy"):
            names = [name for name, each in self.dates.items() if each == order]
            if names:
                texts = Reading(self.nulls).apply(table).frame[names[0]].drop_nulls()
                moment = dates.parse(texts.head(1), order)[0]
                yield f"{_which(names)} read as dates: {texts[0]!r:.80} is {moment:%Y-%m-%d}"

    def of_columns(self, names: Collection[str]) -> Self:
        """Return how these columns are read."""
        known = set(names)
        numbers = {name: how for name, how in self.numbers.items() if name in known}
        orders = {name: order for name, order in self.dates.items() if name in known}
        return self._replace(numbers=numbers, dates=orders)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, for `from_dict`."""
        numbers = {name: how._asdict() for name, how in self.numbers.items()}
        return {"nulls": list(self.nulls), "numbers": numbers, "dates": {**self.dates}}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Return the Reading that `to_dict` has described; ValueError for other values."""
        fields = dict(check_kind(values, dict, "how texts are read"))
        if fields.keys() != set(cls._fields):
            raise ValueError(f"expected how texts are read, found {values!r:.80}")
        nulls = check_kind(fields["nulls"], list, "a list of marks")
        for mark in nulls:
            check_kind(mark, str, "a mark of a missing value")
        numbers = {
            name: _format_of(how)
            for name, how in check_kind(fields["numbers"], dict, "formats of numbers").items()
        }
        orders = check_kind(fields["dates"], dict, "orders of dates")
        for order in orders.values():
            if order not in dates.ORDERS:
                raise ValueError(f"expected one of {', '.join(dates.ORDERS)}, found {order!r:.80}")
        return cls(tuple(nulls), numbers, orders)


def _which(names: list[str]) -> str:
    shown = ", ".join(f"{name!r:.80}" for name in names[:_MOST_NAMES])
    if len(names) == 1:
        return f"column {shown} is"
    return f"columns {shown}{', ...' * (len(names) > _MOST_NAMES)} are"


def _format_of(values: Any) -> NumberFormat:
    """Return a checked NumberFormat."""
    fields = check_kind(values, dict, "a format of numbers")
    if fields.keys() != set(NumberFormat._fields) or fields["decimal"] not in (".", ","):
        raise ValueError(f"expected a format of numbers, found {values!r:.80}")
    return NumberFormat(fields["decimal"], check_kind(fields["unit"], str, "a unit"))


def _names_of_texts(frame: pl.DataFrame, names: list[str]) -> list[str]:
    """Return the names of the columns with a text that is not a plain number.

    One cast of all columns: 100,000 columns one by one take half a minute.
    """
    texts = frame.select(names)
    wrong = texts.select(
        pl.all().is_not_null() & pl.all().cast(pl.Float64, strict=False).is_null()
    ).sum()
    return [each.name for each in wrong if each[0]]


def _find_format(table: Table, texts: pl.Series, decimal: str | None) -> NumberFormat | None:
    if texts.cast(pl.Float64, strict=False).null_count() == 0:
        return None  # plain numbers, and marks of missing values
    try:
        return number_formats.find_format(texts, decimal)
    except AmbiguousNumbersError as error:
        raise _ambiguous(table, texts.name, str(error)) from None


def _find_order(table: Table, texts: pl.Series, day_first: bool | None) -> str | None:
    if not are_dates(texts):
        return None
    try:
        return dates.find_order(texts, day_first)
    except AmbiguousDatesError as error:
        text = str(error)
        at: Any = (table.frame[texts.name] == text).arg_max()
        day, month = (dates.parse(pl.Series([text]), order)[0] for order in ("dmy", "mdy"))
        raise ValueError(
            f"{table.place(texts.name, at)} is {text!r:.80}, and its other values do not tell "
            f"whether the day or the month is first: --day-first reads {day:%Y-%m-%d}, "
            f"--month-first reads {month:%Y-%m-%d}"
        ) from None


def _ambiguous(table: Table, name: str, text: str) -> ValueError:
    at: Any = (table.frame[name] == text).arg_max()
    point, comma = number_formats.read_both(text)
    return ValueError(
        f"{table.place(name, at)} is {text!r:.80}, and its other values do not tell whether that "
        f"is {point:.12g} or {comma:.12g}: --decimal-point reads {point:.12g}, --decimal-comma "
        f"reads {comma:.12g}"
    )


def _read_numbers(table: Table, texts: pl.Series, how: NumberFormat) -> pl.Series:
    texts = without_marks(texts)
    values = number_formats.read(texts, how)
    wrong = values.is_null() & texts.is_not_null()
    if wrong.any():
        at: Any = wrong.arg_max()
        raise ValueError(
            f"{table.place(texts.name, at)} is {texts[at]!r:.80}, expected a number with {how}, "
            "as the model was trained on"
        )
    return values


def _with_point(texts: pl.Series) -> str:
    """Return the first text with a point in it."""
    text: str = texts.filter(texts.str.contains(".", literal=True))[0]
    return text
