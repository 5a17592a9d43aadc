"""CSV files: what separates their values, how their letters are coded, and what names columns."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..requirements import missing
from ..types import Array, PathLike
from . import sources

if TYPE_CHECKING:
    import polars as pl

SEPARATORS = "\t;|,"
"""That are looked for, in this order."""

BLANKS = " "
"""The separator that stands for any number of blanks and tabs."""

_AS_TEXT: dict[str, Any] = {"has_header": False, "infer_schema_length": 0, "glob": False}
_BYTES_OF_CELL = 16  # of text in a polars frame
_BYTES_TO_LOOK_AT = 2**16
_LINES_TO_LOOK_AT = 100
_VALUES = {
    ",": "comma-separated values", "\t": "tab-separated values", ";": "values with ';' between",
    "|": "values with '|' between", BLANKS: "values with blanks between",
}  # fmt: skip


class TextFormat(NamedTuple):
    """How a CSV file or a sheet is written, as far as the user says so."""

    separator: str | None = None
    """None: the one that all lines have equally often."""

    encoding: str | None = None
    """None: UTF-8, and no other is taken."""

    has_header: bool = True
    """Whether the first line names the columns."""

    sheet: str | None = None
    """Of an Excel file; None: the first one."""


class TextTable(NamedTuple):
    """The cells of a CSV file as texts, and null where a cell is empty."""

    frame: pl.DataFrame
    rows: Array
    """The number of each row in the file, from 1. Empty lines count."""

    notes: tuple[str, ...]
    """What the user is told of how the file was read."""


def read_text(source: Path | io.BytesIO, name: PathLike, separator: str = ",") -> tuple[Any, Array]:
    """Return the cells of a CSV file as a frame of text, and the number of each row.

    Empty cells are null. Blanks around names and values are dropped, and so are empty lines; in a
    file of a single column, an empty line is a missing value.
    """
    frame, filled = _read_cells(sources.read_text(source, str(name)), name, separator)
    names = frame.row(0)
    _check_names(names, name)
    frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    filled[0] = False  # the names
    return frame.filter(filled), np.flatnonzero(filled)


def read_table_of_text(source: Path | io.BytesIO, name: PathLike, form: TextFormat) -> TextTable:
    """Return a CSV file as `read_text` does, as it is found.

    The separator is found where `form` has none. The first column is left out where it has no name
    and counts the rows, as pandas writes it.
    """
    source = sources.read_text(source, str(name), form.encoding)
    notes = []
    separator = form.separator
    if separator is None:
        separator = find_separator(_first_text(source))
        if separator not in ",\t":
            notes.append(f"{name} has {_VALUES[separator]} them")
    if separator == BLANKS and not sources.is_packed(source):
        source = _with_tabs(source)
        separator = "\t"
    frame, filled = _read_cells(source, name, separator)
    if not form.has_header:
        names = [f"column_{i + 1}" for i in range(frame.width)]
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
        return TextTable(frame.filter(filled), np.flatnonzero(filled) + 1, tuple(notes))
    names = list(frame.row(0))
    filled[0] = False  # the names
    rows = frame.filter(filled)
    numeric = _numeric_columns(rows)
    if frame.width > 1 and is_index_name(names[0]) and counts_rows(rows[:, 0]):
        notes.append(
            f"{name} has a first column {'without a name' if names[0] is None else repr(names[0])} "
            "that counts the rows: it is left out"
        )
        rows, names, numeric = rows[:, 1:], names[1:], numeric[1:]
    looks_like_data = _looks_like_data(names, numeric)
    _check_names(names, name, "; --no-header if the first line is a row" * looks_like_data)
    if looks_like_data:
        shown = ", ".join(f"{each!r:.40}" for each in names[:4]) + ", ..." * (len(names) > 4)
        notes.append(
            f"the first line of {name} names the columns {shown}, which looks like a row: "
            "--no-header takes it for one"
        )
    rows = rows.rename(dict(zip(rows.columns, names, strict=True)))
    return TextTable(rows, np.flatnonzero(filled), tuple(notes))


def _read_cells(source: io.BytesIO, name: PathLike, separator: str) -> tuple[Any, Array]:
    """Return all cells of a CSV file, those of the first line too, and which lines have some."""
    pl = import_polars("CSV files")
    _check_cells(source, name, separator)
    # Names are read as a row, as polars renames repeated ones. Numbers are read as text, as polars
    # does not say which value of a column is not a number.
    try:
        frame = pl.read_csv(source, separator=separator, **_AS_TEXT)
    except pl.exceptions.NoDataError:
        raise ValueError(f"path: {name} is empty, expected column names and rows") from None
    except pl.exceptions.PolarsError as error:
        sources.check_utf8(source, str(name))
        raise _no_csv(name, separator, str(error).partition("\n")[0]) from None
    except OSError as error:  # also for a packed file that ends too early
        raise OSError(f"path: {name} cannot be read ({error})") from None
    cells = pl.all().str.strip_chars()
    frame = frame.select(pl.when(cells != "").then(cells))
    filled = np.full(len(frame), True)
    if frame.width > 1 and frame[:, -1].null_count():
        lengths = _row_lengths(source, name, separator, len(frame))
        filled = (lengths > 1) | frame[:, 0].is_not_null().to_numpy()
        short = filled & (lengths < frame.width)
        if short.any():
            at = int(short.argmax())
            raise ValueError(
                f"path: {name} has {lengths[at]} of {frame.width} values in row {at}, expected one "
                "for each column"
            )
    return frame, filled


# ---------------------------------------------------------------------- names of columns


def _check_names(names: Sequence[str | None], name: PathLike, hint: str = "") -> None:
    """Raise ValueError for a column without a name, and for two of one name."""
    if None in names:
        raise ValueError(f"path: {name} has no name for column {names.index(None) + 1}{hint}")
    (most, count), *_ = Counter(names).most_common(1)
    if count > 1:
        raise ValueError(f"path: {name} has {count} columns named {most!r:.80}, expected one{hint}")


def is_index_name(name: str | None) -> bool:
    """Return whether a name is what pandas or polars gives to a column without one."""
    known = r"|Unnamed: \d+(\.\d+)*|__UNNAMED__\d+|__index_level_\d+__"
    return name is None or re.fullmatch(known, name) is not None


def counts_rows(cells: pl.Series) -> bool:
    """Return whether a column has whole numbers that count upward, as an index of pandas does."""
    pl = import_polars("CSV files")
    whole = cells.cast(pl.Int64, strict=False)
    return whole.null_count() == 0 and (len(whole) < 2 or bool((whole.diff()[1:] == 1).all()))


def _numeric_columns(frame: pl.DataFrame) -> list[bool]:
    """Return of each column whether all of its first cells are numbers."""
    pl = import_polars("CSV files")
    cells = frame.head(_LINES_TO_LOOK_AT)
    numbers = cells.select(pl.all().cast(pl.Float64, strict=False))
    return [
        each.null_count() == other.null_count() < len(each)
        for each, other in zip(numbers, cells, strict=True)
    ]


def _looks_like_data(names: Sequence[str | None], numeric: Sequence[bool]) -> bool:
    """Return whether the names above all columns of numbers are numbers too.

    Whole numbers that count upward may be names, such as years or the digits of pandas.
    """
    above = [name for name, is_numeric in zip(names, numeric, strict=True) if is_numeric]
    try:
        numbers = [float(name or "-") for name in above]
    except ValueError:
        return False
    counts = all(x < y for x, y in itertools.pairwise(numbers))
    return bool(numbers) and not (counts and all(x == int(x) for x in numbers))


# ---------------------------------------------------------------------- separators


def find_separator(start: str) -> str:
    """Return the separator of a CSV file that begins with `start`: one of SEPARATORS, or BLANKS.

    It is the first that all lines have equally often, then blanks if all lines have as many words.
    Where none is, it is a comma if the first line has one, else its most frequent separator.
    """
    lines = start.splitlines(keepends=True)
    if len(start) >= _BYTES_TO_LOOK_AT and len(lines) > 1:
        lines.pop()  # it may go on
    lines = [line for line in lines if line.strip()][:_LINES_TO_LOOK_AT]
    if not lines:
        return ","
    for separator in SEPARATORS:
        widths = set()
        try:
            for row in csv.reader(lines, delimiter=separator):
                widths.add(len(row))
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:
            return separator
    counts = {separator: lines[0].count(separator) for separator in ",\t;|"}
    if max(counts[","], counts[";"], counts["|"]) == 0 and _has_blanks_between(lines):
        return BLANKS
    return "," if counts[","] else max(counts, key=lambda each: counts[each])


def _has_blanks_between(lines: Sequence[str]) -> bool:
    """Return whether all lines have as many words, below the first one mostly numbers."""
    rows = list(csv.reader((" ".join(line.split()) for line in lines), delimiter=" "))
    words = [word for row in rows[1:] for word in row]
    widths = {len(row) for row in rows}
    return len(widths) == 1 and widths != {1} and 2 * sum(map(_is_number, words)) >= len(words) > 0


def _is_number(word: str) -> bool:
    return (
        re.fullmatch(r"[-+]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][-+]?[0-9]+)?", word) is not None
    )


def _first_text(source: io.BytesIO) -> str:
    if sources.is_packed(source):
        return ""  # polars unpacks it
    return bytes(source.getbuffer()[:_BYTES_TO_LOOK_AT]).decode("utf-8-sig", "replace")


def _with_tabs(source: io.BytesIO) -> io.BytesIO:
    """Return a text with one tab for each run of blanks outside quotes, and none around lines."""
    text = re.sub(rb"(?m)^[ \t]+|[ \t\r]+$", b"", source.getvalue())
    if b'"' in text:
        text = re.sub(rb'("[^"]*")|[ \t]+', lambda found: found[1] or b"\t", text)
    else:
        text = re.sub(rb"[ \t]+", b"\t", text)
    return io.BytesIO(text)


# ---------------------------------------------------------------------- sizes


def _check_cells(source: io.BytesIO, name: PathLike, separator: str) -> None:
    """Raise ValueError where the frame, whose short rows polars fills up, would not fit."""
    if sources.is_packed(source):
        lengths = _row_lengths(source, name, separator)
        width, n_rows = max(lengths, default=0), len(lengths)
    else:
        text = source.getvalue()
        width = text.count(separator.encode(), 0, text.find(b"\n")) + 1
        n_rows = text.count(b"\n") + 1
        if width * n_rows * _BYTES_OF_CELL > sources.MOST_BYTES:
            n_rows = len(_row_lengths(source, name, separator))  # values span lines
    if width * n_rows * _BYTES_OF_CELL > sources.MOST_BYTES:
        raise sources.too_large(str(name), f"has {n_rows:,} rows of {width:,} values, which take")


def _row_lengths(source: io.BytesIO, name: PathLike, separator: str, n: int | None = None) -> Array:
    """Return the number of values in each of the `n` rows of a CSV file.

    polars does not tell: it fills up short rows.
    """
    pl = import_polars("CSV files")
    source.seek(0)
    try:
        # polars unpacks the file; this separator leaves the lines whole.
        lines = pl.read_csv(source, separator="\0", quote_char=None, **_AS_TEXT).to_series()
        lengths = list(map(len, csv.reader(lines.fill_null(""), delimiter=separator)))
    except (csv.Error, pl.exceptions.PolarsError) as error:
        sources.check_utf8(source, str(name))
        raise _no_csv(name, separator, str(error).partition("\n")[0]) from None
    finally:
        source.seek(0)
    if n is None:
        return np.array(lengths)
    if len(lengths) != n:
        raise _no_csv(name, separator, "quotes that do not match")
    return np.array(lengths)


def _no_csv(name: PathLike, separator: str, reason: str) -> ValueError:
    values = {",": "comma-separated", "\t": "tab-separated"}.get(separator, "separated")
    return ValueError(
        f"path: {name} is no table of {values} values in UTF-8, each row as long as the line of "
        f"names ({reason:.200})"
    )


def import_polars(what: str) -> Any:
    """Return polars; ImportError that says what needs it where it is not installed."""
    try:
        import polars
    except ModuleNotFoundError:
        raise missing(f"reading {what} needs", "polars", "cli") from None
    return polars
