"""Columns of a table as numbers that a network takes, and its answers as labels or numbers again.

What is fitted on the training part is kept as plain JSON, so that a model file can hold it.
Needs polars.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, NoReturn, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..requirements import missing

try:
    import polars as pl
except ModuleNotFoundError:
    raise missing("tables need", "polars", "cli") from None

from ..types import Array, Floats, Integers
from . import Table
from . import table as tables

MISSING = ("refuse", "median", "mean")
MOST_CATEGORIES = 100
MOST_CLASSES = 20
"""Whole numbers with more distinct values are taken for numbers, not for classes."""

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = "(?i)" + "|".join(
    (
        r"^\d{4}[./-]\d{1,2}[./-]\d{1,2}([T ].*)?$",
        r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?$",
        rf"^([a-z]+\.?,? )?\d{{1,2}}(\. |[ ./-]){_MONTH},?[ ./-]\d{{2,4}}( .*)?$",
        rf"^([a-z]+\.?,? )?{_MONTH}[ -]\d{{1,2}},?[ -]\d{{4}}( .*)?$",
        r"^\d{1,2}:\d{2}",
    )
)
_MARKS = ("na", "n/a", "#n/a", "nan", "null", "none")  # in place of a number


class Number(NamedTuple):
    """A numeric column: (value - shift) / scale, with `fill` for a missing value."""

    name: str
    shift: float
    scale: float
    fill: float | None

    @property
    def kind(self) -> str:
        """What files call it."""
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


class Category(NamedTuple):
    """A column of text: one feature a category, 1 where it is that one. Others have zeros."""

    name: str
    categories: list[str]
    fill: str | None

    @property
    def kind(self) -> str:
        """What files call it."""
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


Column: TypeAlias = Number | Category


class Preprocessor:
    """Features of a table: numbers standardised, categories one-hot, missing values imputed.

    Attributes
    ----------
    columns : list of Number and Category
    feature_names : list of str, of length I
    """

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.feature_names = [name for column in columns for name in column.feature_names]

    @classmethod
    def fit(cls, frame: pl.DataFrame, missing: str = "refuse") -> Self:
        """Learn from the columns of a frame that `read_features` has returned.

        A number is shifted by its mean and scaled by its standard deviation; a constant is
        shifted only. With `missing` "median" or "mean", missing numbers become that one, and
        missing categories the most frequent one.
        """
        fit: dict[Any, Callable[[pl.Series, str], Column]] = {
            pl.Float64: _fit_number,
            pl.String: _fit_category,
        }
        return cls([fit[type(series.dtype)](series, missing) for series in frame])

    def read(self, table: Table) -> pl.DataFrame:
        """Return the typed frame of a table that is to be predicted, after all checks.

        Other columns are ignored. Raises ValueError for a column that is missing, a value that
        cannot be taken, and a missing one where training had none.
        """
        there = set(table.frame.columns)
        for column in self.columns:
            if column.name not in there:
                known = tables.among(column.name, table.frame.columns)
                raise ValueError(
                    f"column {column.name!r:.80} is missing, which the model needs: expected it "
                    f"among the columns {known}"
                )
        kinds = {column.name: column.kind for column in self.columns}
        optional = {column.name for column in self.columns if column.fill is not None}
        return read_features(table, kinds, optional, is_training=False)

    def transform(self, frame: pl.DataFrame, dtype: DTypeLike = np.float64) -> Floats:
        """Return the features (N, I) of a typed frame; the arithmetic is float64."""
        kind = pl.Float32 if np.dtype(dtype) == np.float32 else pl.Float64
        each = [e.cast(kind) for column in self.columns for e in column.expressions()]
        named = (e.alias(str(i)) for i, e in enumerate(each))
        return frame.select(named).to_numpy(order="c")

    def unknown(self, frame: pl.DataFrame) -> dict[str, tuple[list[str], int]]:
        """Return {column: (unknown categories, rows)}: what `transform` has only zeros for."""
        found = {}
        for column in self.columns:
            if isinstance(column, Category):
                texts = frame[column.name].drop_nulls()
                texts = texts.filter(~texts.is_in(column.categories))
                if len(texts):
                    found[column.name] = texts.unique().sort().to_list(), len(texts)
        return found

    def to_list(self) -> list[dict[str, Any]]:
        """Return what `from_list` takes: plain JSON."""
        return [{"kind": column.kind, **column._asdict()} for column in self.columns]

    @classmethod
    def from_list(cls, columns: Any) -> Self:
        """Return the Preprocessor of what `to_list` has returned; ValueError for anything else."""
        kinds: dict[str, Any] = {"number": Number, "category": Category}
        made = []
        for column in _checked(columns, list, "a list of columns"):
            given = dict(_checked(column, dict, "a column"))
            kind = kinds.get(_checked(given.pop("kind", None), str, "a kind of column"))
            if kind is None or given.keys() != set(kind._fields):
                raise ValueError(f"expected a column, found {column!r:.80}")
            made.append(_check_column(kind(**given)))
        names = [column.name for column in made]
        if len(set(names)) < len(names):
            raise ValueError(f"expected each column once, found {names!r:.80}")
        return cls(made)


def _fit_number(series: pl.Series, missing: str) -> Number:
    if series.null_count() == len(series):
        raise ValueError(
            f"column {series.name!r:.80} has no values to train on; {_leave_out(series)}"
        )
    fill = None
    if missing != "refuse":
        fill = float(getattr(series, missing)())
        series = series.fill_null(fill)
    shift, scale = _moments(series.to_numpy())
    return Number(series.name, shift, scale, fill)


def _fit_category(series: pl.Series, missing: str) -> Category:
    if series.null_count() == len(series):
        raise ValueError(
            f"column {series.name!r:.80} has no values to train on; {_leave_out(series)}"
        )
    texts = series.drop_nulls()
    fill = texts.mode().sort()[0] if missing != "refuse" else None
    return Category(series.name, texts.unique().sort().to_list(), fill)


def _moments(values: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation, 1 for a constant, without overflow."""
    low, high = float(values.min()), float(values.max())
    # In units of the spread, squares never overflow, and those of a constant are exactly 0.
    spread = high / 2 - low / 2
    if spread == 0:
        return low, 1.0
    units = (values / 2 - low / 2) / spread
    return low + 2 * float(units.mean()) * spread, 2 * float(units.std()) * spread or 1.0


# ---------------------------------------------------------------------- from text to types


def infer_kinds(
    table: Table,
    *,
    target: str | None = None,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
) -> dict[str, str]:
    """Return {column: "number" or "category"} for all columns but `target` and `drop`.

    Text is a category where no value of the column is a number, and where `categorical` says so.

    Raises
    ------
    ValueError
        For names that are no columns, columns that are neither, and where none is left.
    """
    there = set(table.frame.columns)
    for names, argument in ((drop, "--drop"), (categorical, "--categorical")):
        for name in names:
            if name not in there:
                table.require(name, argument)
    drop, categorical = set(drop), set(categorical)
    numeric, kinds = _numeric_texts(table), {}
    for series in table.frame:
        if series.name == target or series.name in drop:
            continue
        if series.name in categorical:
            kinds[series.name] = "category"
        else:
            kinds[series.name] = "number" if series.name in numeric else _infer_kind(series, table)
    if not kinds:
        besides = "" if target is None else f" besides {target!r:.80}"
        raise ValueError(f"path: {table.source} has no column{besides}, expected features")
    return kinds


# A message does not repeat a longer name.
_LONGEST_NAME = 200


def _leave_out(series: pl.Series) -> str:
    return f"leave it out with {_option('--drop', series.name)}"


def _option(flag: str, name: str) -> str:
    """Return an option that names a column, as one may paste it into a shell."""
    if len(name) > _LONGEST_NAME:
        return f"{flag} and its name"
    text = io.StringIO()
    # The command takes lists, in which a comma is part of a name where the name is in quotes.
    quoting: Any = csv.QUOTE_ALL if name != name.strip() else csv.QUOTE_MINIMAL
    csv.writer(text, quoting=quoting, lineterminator="\n").writerow([name])
    value = shlex.quote(text.getvalue().removesuffix("\n"))
    return f"{flag}={value}" if value.startswith("-") else f"{flag} {value}"


def _numeric_texts(table: Table) -> set[str]:
    """Return the names of the columns of text in which a value is a number.

    All at once: of 100,000 columns one by one it takes half a minute.
    """
    numbers = table.frame.select(pl.col(pl.String).cast(pl.Float64, strict=False))
    return {each.name for each in numbers if each.null_count() < len(each)}


def _infer_kind(series: pl.Series, table: Table) -> str:
    if series.dtype.is_numeric():
        return "number"
    if series.dtype in (pl.Categorical, pl.Enum):
        return _as_few(series)
    if series.dtype == pl.Boolean:
        return "category"
    if series.null_count() == len(series):
        raise ValueError(f"column {series.name!r:.80} has no values; {_leave_out(series)}")
    _check_type(series, table)
    texts = series.drop_nulls()
    if texts.cast(pl.Float64, strict=False).null_count() < len(texts):
        return "number"
    if _are_dates(texts):
        _refuse_date(series, table)
    return _as_few(texts)


def _is_pattern(name: str) -> bool:
    """Return whether polars takes the name of a column for a pattern of names."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def _check_type(series: pl.Series, table: Table, is_target: bool = False) -> None:
    """Raise ValueError for a column that can be neither numbers nor categories."""
    name = series.name
    if _is_pattern(name):
        hint = "" if is_target else f", or {_leave_out(series)}"
        raise ValueError(
            f"column {name!r} has a name that polars takes for a pattern of names, expected one "
            f"that is not '*' nor '^...$'; rename it{hint}"
        )
    if series.dtype.is_temporal():
        _refuse_date(series, table, is_target)
    simple = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
    if not (series.dtype.is_numeric() or series.dtype in simple):
        hint = "" if is_target else f"; {_leave_out(series)}"
        raise ValueError(
            f"column {series.name!r:.80} has values of type {series.dtype}, expected numbers or "
            f"text{hint}"
        )


def _are_dates(texts: pl.Series) -> bool:
    return len(texts) > 0 and bool(texts.str.contains(_DATE).all())


def _as_few(series: pl.Series) -> str:
    """Return "category", unless there would be too many."""
    distinct = series.n_unique()
    if distinct > MOST_CATEGORIES:
        raise ValueError(
            f"column {series.name!r:.80} has {distinct:,} different texts, expected at most "
            f"{MOST_CATEGORIES} categories; {_leave_out(series)}"
        )
    return "category"


def _refuse_date(series: pl.Series, table: Table, is_target: bool = False) -> NoReturn:
    at: Any = series.is_not_null().arg_max()
    expected = "class" if is_target else "category"
    hint = "--task classification takes each for a class" if is_target else f"{_leave_out(series)}"
    raise ValueError(
        f"{table.place(series.name, at)} is {str(series[at])!r:.80}, a date or time, expected a "
        f"number or a {expected}; make numbers of it, such as days since a day, or {hint}"
    )


def _spelled(series: pl.Series) -> pl.Series:
    """Return texts, of one spelling in files of all kinds: "true" for True, "1" for 1.0."""
    if series.dtype.is_float():
        series = series.fill_nan(None)
        whole = (series == series.floor()) & (series.abs() < 2**53)
        return series.cast(pl.Int64, strict=False).cast(pl.String).zip_with(
            whole, series.cast(pl.String)
        )  # fmt: skip
    texts = series.cast(pl.String).str.replace(r"^(-?\d+)\.0*$", "$1")
    return texts.str.replace("(?i)^true$", "true").str.replace("(?i)^false$", "false")


def read_features(
    table: Table,
    kinds: Mapping[str, str],
    optional: Collection[str] = (),
    *,
    is_training: bool = True,
) -> pl.DataFrame:
    """Return the columns of `kinds` as a frame of Float64 and String, nulls where missing.

    NA, NaN, null and the like are missing values too, in a column of numbers.

    Raises
    ------
    ValueError
        For text in place of a number, numbers that are not finite, and missing values, unless the
        column is one of `optional`. The row is named, and what helps while training.
    """
    if is_training:
        hint = "; --missing median fills it"
    else:
        hint = "; the model was trained without --missing, so it has nothing to fill in"
    columns, whole = [], _whole_numbers(table, [k for k, kind in kinds.items() if kind == "number"])
    for name, kind in kinds.items():
        if name in whole:
            columns.append(whole[name])
            continue
        series: pl.Series = table.frame[name]
        _check_type(series, table)
        if kind == "category":
            typed = _spelled(series)
        else:
            option = _option("--categorical", name)
            takes_text = f"; {option} takes texts for categories" * is_training
            typed = _read_numbers(table, series, name in optional, takes_text)
        if name not in optional:
            _refuse_missing(table, typed, hint)
        columns.append(typed)
    return pl.DataFrame(columns)


def _whole_numbers(table: Table, names: list[str]) -> dict[str, pl.Series]:
    """Return those columns of numbers, as Float64, in which all are there and finite.

    All at once: of 100,000 columns one by one it takes minutes.
    """
    frame = table.frame.select([name for name in names if not _is_pattern(name)])
    known = [each.name for each in frame if each.dtype.is_numeric() or each.dtype == pl.String]
    numbers = frame.select(pl.col(known).cast(pl.Float64, strict=False))
    finite = numbers.select(pl.all().is_finite().all())
    return {
        each.name: each
        for each, is_finite in zip(numbers, finite, strict=True)
        if not each.null_count() and is_finite[0]
    }


def _refuse_missing(table: Table, series: pl.Series, hint: str = "") -> None:
    if series.null_count():
        at: Any = series.is_null().arg_max()
        given = table.frame[series.name][at]
        found = "empty" if given is None else f"{given!r:.80}, a missing value"
        raise ValueError(f"{table.place(series.name, at)} is {found}, expected a value{hint}")


def _without_marks(texts: pl.Series) -> pl.Series:
    """Return texts of numbers, null where one of them says that there is none."""
    return texts.set(texts.str.to_lowercase().is_in(_MARKS), None)


def _read_numbers(
    table: Table, series: pl.Series, optional: bool = False, hint: str = ""
) -> pl.Series:
    """Return a column as finite Float64; NaN counts as missing if `optional`."""
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        series = _without_marks(series)
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


# ---------------------------------------------------------------------- the target


class Classes(NamedTuple):
    """A target of classes: labels that are whole numbers, truth values or text, sorted."""

    name: str
    labels: list[Any]

    @property
    def task(self) -> str:
        """What files call it."""
        return "classification"

    @classmethod
    def fit(cls, table: Table, name: str) -> Self:
        """Return the classes of column `name`; ValueError where there are less than two."""
        series = _read_labels(table, name)
        labels = series.unique().sort().to_list()
        if len(labels) == 1:
            raise ValueError(
                f"target {name!r:.80} is {labels[0]!r:.80} in every row, expected two classes"
            )
        return cls(name, labels)

    def encode(self, table: Table) -> Integers:
        """Return the labels of a table as int64 (N,); ValueError for one that is no class."""
        series = _read_labels(table, self.name)
        if isinstance(self.labels[0], bool):
            series = _as_truth(series.cast(pl.String))
        elif isinstance(self.labels[0], int):
            series = series.cast(pl.Int64, strict=False)
        else:
            series = _spelled(series)
        numbers = series.replace_strict(
            self.labels, list(range(len(self.labels))), default=None, return_dtype=pl.Int64
        )
        if numbers.null_count():
            at: Any = numbers.is_null().arg_max()
            value = str(table.frame[self.name][at])
            known = [str(label) for label in self.labels]
            raise ValueError(
                f"{table.place(self.name, at)} is {value!r:.80}, expected one of the "
                f"{len(known)} classes {', '.join(f'{label:.80}' for label in known[:20])}"
                + tables.did_you_mean(value, known)
            )
        return numbers.to_numpy()

    def decode(self, predictions: Integers) -> pl.Series:
        """Return predicted classes (N,) as a polars column of labels."""
        return pl.Series(self.labels).gather(predictions)


class Quantity(NamedTuple):
    """A numeric target, standardised for training: (value - shift) / scale."""

    name: str
    shift: float
    scale: float

    @property
    def task(self) -> str:
        """What files call it."""
        return "regression"

    @classmethod
    def fit(cls, values: Array, name: str) -> Self:
        """Return the shift and the scale of the numbers of the training part."""
        shift, scale = _moments(values)
        return cls(name, shift, scale)

    def encode(self, table: Table) -> Floats:
        """Return the numbers of a table (N,), as they are."""
        return read_quantity(table, self.name)

    def scaled(self, values: Floats) -> Floats:
        """Return values as the network is trained on them."""
        return (values - self.shift) / self.scale

    def decode(self, predictions: ArrayLike) -> Floats:
        """Return a network's predictions (N,) in the units of the target."""
        return np.asarray(predictions, np.float64) * self.scale + self.shift


Target: TypeAlias = Classes | Quantity


def infer_task(table: Table, name: str) -> tuple[str, str]:
    """Return ("classification" or "regression", why) for the target in column `name`.

    Raises ValueError for dates, and for what is neither numbers nor text.
    """
    series: pl.Series = table.frame[name]
    _check_type(series, table, is_target=True)
    series = series.drop_nulls()
    distinct = series.n_unique()
    if series.dtype == pl.String:
        if _are_dates(series):
            _refuse_date(table.frame[name], table, is_target=True)
        texts = _without_marks(series).drop_nulls()
        numbers = texts.cast(pl.Float64, strict=False)
        if numbers.null_count() == 0 and len(numbers):
            # Of texts, as float64 does not tell large whole numbers from each other.
            series, distinct = numbers, _spelled(texts).n_unique()
    if not series.dtype.is_numeric():
        return "classification", f"{name!r:.80} is not numeric"
    if (series != series.floor()).any():
        return "regression", f"{name!r:.80} has {distinct:,} different numbers"
    few = distinct <= MOST_CLASSES
    task = "classification" if few else "regression"
    return task, f"{name!r:.80} has {distinct:,} different whole numbers"


def read_quantity(table: Table, name: str) -> Floats:
    """Return a numeric target (N,) as float64; ValueError for what is none or missing."""
    series: pl.Series = table.frame[name]
    _check_type(series, table, is_target=True)
    if series.dtype == pl.String:
        series = _without_marks(series)
    numbers = series.cast(pl.Float64, strict=False) if series.dtype == pl.String else series
    wrong = numbers.is_null() & series.is_not_null()
    if wrong.any():
        at: Any = wrong.arg_max()
        place = table.place(name, at)
        raise ValueError(
            f"{place} is {series[at]!r:.80}, expected a number, the target of a regression"
        )
    _refuse_missing(table, numbers)
    return _read_numbers(table, numbers).to_numpy()


def _read_labels(table: Table, name: str) -> pl.Series:
    """Return labels as Int64 or Boolean where that loses nothing, else as String."""
    series: pl.Series = table.frame[name]
    if series.dtype in (pl.Date, pl.Datetime, pl.Time):
        series = series.cast(pl.String)
    _check_type(series, table, is_target=True)
    if series.dtype.is_float():
        _read_numbers(table, series, optional=True)  # for what is infinite
        series = series.fill_nan(None)
    _refuse_missing(table, series)
    if series.dtype == pl.Boolean:
        return series
    texts = _spelled(series)
    digits = _without_marks(texts)
    whole = digits.cast(pl.Int64, strict=False)
    # "007" is text.
    if whole.null_count() < len(whole) and whole.cast(pl.String).eq_missing(digits).all():
        _refuse_missing(table, whole)
        return whole
    truth = _as_truth(texts)
    return texts if truth.null_count() else truth


def _as_truth(texts: pl.Series) -> pl.Series:
    return texts.replace_strict(
        ["true", "false"], [True, False], default=None, return_dtype=pl.Boolean
    )


def target_to_dict(target: Target) -> dict[str, Any]:
    """Return a target as plain JSON."""
    return {"task": target.task, **target._asdict()}


def target_from_dict(values: Any) -> Target:
    """Return the target of what `target_to_dict` has returned; ValueError for anything else."""
    given = dict(_checked(values, dict, "a target"))
    task = _checked(given.pop("task", None), str, "a task")
    kinds: dict[str, Any] = {"classification": Classes, "regression": Quantity}
    kind = kinds.get(task)
    if kind is None or given.keys() != set(kind._fields):
        raise ValueError(f"expected a target, found {values!r:.80}")
    target: Target = kind(**given)
    _checked(target.name, str, "a name")
    if isinstance(target, Quantity):
        _check_scale(target)
    else:
        labels = _checked(target.labels, list, "a list of labels")
        found = {type(label) for label in labels}
        if not (
            len(found) == 1 and found <= {int, bool, str} and 1 < len(labels) == len({*labels})
        ):
            raise ValueError(f"expected distinct labels of one kind, found {labels!r:.80}")
    return target


# ---------------------------------------------------------------------- foreign JSON


def _checked(value: Any, kind: Any, what: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"expected {what}, found {value!r:.80}")
    return value


def _check_column(column: Column) -> Column:
    _checked(column.name, str, "a name")
    if isinstance(column, Number):
        _check_scale(column)
        if column.fill is not None:
            _check_number(column.fill)
    else:
        for category in _checked(column.categories, list, "a list of categories"):
            _checked(category, str, "a category")
        if column.fill is not None:
            _checked(column.fill, str, "a category")
    return column


def _check_scale(values: Any) -> None:
    _check_number(values.shift)
    if not _check_number(values.scale) > 0:
        raise ValueError(f"expected a scale above 0, found {values.scale}")


def _check_number(value: Any) -> float:
    with contextlib.suppress(OverflowError):  # of a whole number that is no float
        number: float = _checked(value, int | float, "a number")
        if math.isfinite(number):
            return number
    raise ValueError(f"expected a finite number, found {value!r:.80}")
