"""Data files as tables: polars frames, and for each row its number in the file."""

from __future__ import annotations

import contextlib
import difflib
import io
import itertools
import math
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..requirements import missing
from ..types import Array, PathLike
from . import sources
from .text import TextFormat, counts_rows, import_polars, is_index_name, read_table_of_text

if TYPE_CHECKING:
    import polars as pl

KINDS = {
    "csv": (".csv", ".txt"),
    "tsv": (".tsv", ".tab"),
    "parquet": (".parquet", ".pq"),
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "npy": (".npy",),
    "npz": (".npz",),
    "feather": (".feather", ".arrow", ".ipc"),
    "xlsx": (".xlsx",),
}
_PACKED = (".gz", ".zst")  # CSV and JSON lines, which polars unpacks
_MOST_SHOWN = 20  # columns that a message lists


class Table(NamedTuple):
    """Samples in rows.

    `frame` has the columns. Those of CSV and TSV files are texts without blanks around them, and
    null where the cell is empty.
    """

    frame: pl.DataFrame
    rows: np.ndarray
    """The number of each row in its file, from 1. Empty lines of CSV files count."""

    source: str
    """The name of the file in messages."""

    original: Any = None
    """The frame as it is in the file, where `frame` is another."""

    notes: tuple[str, ...] = ()
    """What the user is told of how the file was read."""

    def take(self, indices: Array) -> Table:
        """Return the table of some rows."""
        original = None if self.original is None else self.original[indices]
        return self._replace(frame=self.frame[indices], rows=self.rows[indices], original=original)

    def with_frame(self, frame: pl.DataFrame) -> Table:
        """Return the table with other values in the same rows. Messages show those of the file."""
        original = self.frame if self.original is None else self.original
        return self._replace(frame=frame, original=original)

    def cell(self, column: str, index: int) -> Any:
        """Return a value as it is in the file."""
        return (self.frame if self.original is None else self.original)[column][index]

    def place(self, column: str, index: int) -> str:
        """Return the name of a cell in messages."""
        return f"column {column!r:.80}, row {self.rows[index]}"

    def require(self, name: str, argument: str) -> None:
        """Raise ValueError where there is no column `name`, the value of `argument`."""
        if name not in self.frame.columns:
            expected = one_of(name, self.frame.columns)
            raise ValueError(f"{argument} is {name!r:.80}, expected {expected}")


def read_table(
    source: PathLike,
    kind: str | None = None,
    separator: str | None = None,
    *,
    encoding: str | None = None,
    has_header: bool = True,
    sheet: str | None = None,
) -> Table:
    """Read a file, or standard input, as a table.

    Parameters
    ----------
    source : str or path-like
        A path, or "-" for standard input.
    kind : str, optional
        One of `KINDS`. By default the suffix of the path decides, else the first bytes.
    separator : str, optional
        A single character between the values of a CSV file; " " is any number of blanks. By default
        it is found.
    encoding : str, optional
        Of a CSV or JSON file, as Python names it; by default UTF-8.
    has_header : bool
        Whether the first line of a CSV file or the first row of a sheet names the columns. If not,
        they are called "column_1", "column_2", ...
    sheet : str, optional
        The name of the sheet of an Excel file; by default the first one.

    Returns
    -------
    Table
        Of `.npy` the columns are "0", "1", ... or the fields of a structured array. Of `.npz` they
        have the names of the arrays; arrays with more than one dimension become "name[0]",
        "name[1]", ... A first column without a name that counts
        the rows is left out.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        For a file that is not of its kind, a column without a name, two columns of one name,
        arrays of different lengths, no rows, a table that takes more than half the memory, and an
        argument that the kind of file does not have.
    ImportError
        Where polars is not installed, or for `.xlsx` fastexcel.
    """
    data: Path | io.BytesIO

    def read_stream(stream: Any) -> io.BytesIO:
        return sources.read_stream(stream, name, lambda start: kind or _kind_of(start), encoding)

    if str(source) == "-":
        if sys.stdin is None:
            raise ValueError("path is '-', standard input, and that is closed: expected a table")
        name = "standard input"
        data = read_stream(sys.stdin.buffer)
    else:
        path = Path(source)
        name = str(path)
        if path.is_dir() or not path.exists():
            raise FileNotFoundError(f"path is {name!r}, expected a file, and there is none")
        data = path
        if not path.is_file():  # a pipe is read once
            with path.open("rb") as file:
                data = read_stream(file)
    kind = kind or (kind_of_file(data) if isinstance(data, Path) else _kind_of(data.getvalue()))
    form = TextFormat(separator or {"tsv": "\t"}.get(kind), encoding, has_header, sheet)
    check_form(kind, form._replace(separator=separator))
    if kind in ("csv", "tsv"):
        text = read_table_of_text(data, name, form)
        table = Table(text.frame, text.rows, name, notes=text.notes)
    else:
        frame = _read_other(data, kind, name, form)
        table = _without_index(Table(frame, np.arange(len(frame)) + 1, name))
        if kind == "xlsx":
            import_polars("tables")
            table = _without_empty_rows(table)
    if len(table.frame) == 0:
        raise _no_rows(name)
    return table


KINDS_WITH = {
    "separator": ("csv", "tsv"),
    "encoding": ("csv", "tsv", "json", "jsonl"),
    "has_header": ("csv", "tsv", "xlsx"),
    "sheet": ("xlsx",),
}
"""The kinds of files that have a field of TextFormat."""


def check_form(kind: str, form: TextFormat) -> None:
    """Raise ValueError for an argument that a kind of file does not have."""
    for name, kinds in KINDS_WITH.items():
        if getattr(form, name) != TextFormat._field_defaults[name] and kind not in kinds:
            argument = {"has_header": "no-header"}.get(name, name)
            raise ValueError(f"argument --{argument}: is for {', '.join(kinds)}, not for {kind}")


def _read_other(data: Path | io.BytesIO, kind: str, name: str, form: TextFormat) -> pl.DataFrame:
    """Return the frame of a file that is no CSV."""
    frame: pl.DataFrame
    if kind in ("npy", "npz"):
        frame = _read_arrays(data, name)
    elif kind == "xlsx":
        frame = _read_sheet(data, name, form)
    else:
        frame = _read_typed(data, kind, name, form.encoding)
    return frame


def _without_index(table: Table) -> Table:
    """Return a table without a first column that counts the rows and has no name."""
    frame = table.frame
    if frame.width < 2 or not is_index_name(frame.columns[0]) or not counts_rows(frame[:, 0]):
        return table
    note = f"{table.source} has a first column without a name that counts the rows: it is left out"
    return table._replace(frame=frame[:, 1:], notes=(*table.notes, note))


def _without_empty_rows(table: Table) -> Table:
    pl = import_polars("tables")
    filled = table.frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    return table.take(np.flatnonzero(filled.to_numpy()))


def _read_sheet(data: Path | io.BytesIO, name: str, form: TextFormat) -> Any:
    """Return a sheet of an Excel file."""
    pl = import_polars("tables")
    try:
        import fastexcel  # polars reads sheets with it
    except ModuleNotFoundError:
        raise missing("reading .xlsx files needs", "fastexcel", "cli") from None
    if isinstance(data, Path):
        sources.check_size(data, name)
        data = io.BytesIO(data.read_bytes())
    try:
        with zipfile.ZipFile(data) as packed:
            size = sum(each.file_size for each in packed.infolist())
        if size > sources.MOST_BYTES:
            raise sources.too_large(name, "unpacks to")
        if form.sheet is not None:
            _check_sheet(form.sheet, fastexcel.read_excel(data.getvalue()).sheet_names, name)
        frame: Any = pl.read_excel(
            data.getvalue(), sheet_name=form.sheet, has_header=form.has_header,
            infer_schema_length=None, drop_empty_rows=False, raise_if_empty=False,
        )  # fmt: skip
    except (sources.TooLargeError, _NoSheetError):
        raise
    except Exception as error:  # calamine and zipfile raise many kinds for a damaged file
        reason = str(error).partition("\n")[0]
        raise ValueError(f"path: {name} is no Excel file of sheets ({reason:.200})") from None
    if not form.has_header:  # fastexcel counts from 0
        frame.columns = [f"column_{i + 1}" for i in range(frame.width)]
    return frame


class _NoSheetError(ValueError):
    """An Excel file has no sheet of a name."""


def _check_sheet(sheet: str, names: list[str], name: str) -> None:
    if sheet not in names:
        shown = ", ".join(f"{each!r:.80}" for each in names[:_MOST_SHOWN])
        raise _NoSheetError(
            f"argument --sheet: {sheet!r:.80}, expected one of the sheets of {name}: {shown}"
            f"{did_you_mean(sheet, names)}"
        )


def _no_rows(name: str) -> ValueError:
    return ValueError(f"path: {name} has no rows below the column names, expected samples")


def table_of(columns: Mapping[str, Any], source: str) -> Table:
    """Return a Table of a dict of arrays (N,)."""
    pl = import_polars("tables")
    frame = pl.DataFrame(columns)
    return Table(frame, np.arange(len(frame)) + 1, source)


def one_of(name: str, names: Iterable[str]) -> str:
    """Return the part of a message that lists the columns, for `name` is none of them."""
    return f"one of the columns {among(name, names)}"


def among(name: str, names: Iterable[str]) -> str:
    """Return a text that lists the columns, and asks for the one most like `name`."""
    names = list(names)
    if len(names) == 1 and (others := [each for each in ";|\t" if each in names[0]]):
        return f"{names[0]!r:.80}; --separator {others[0]!r} makes several columns of it"
    shown = ", ".join(f"{each!r:.80}" for each in names[:_MOST_SHOWN])
    return shown + (", ..." * (len(names) > _MOST_SHOWN)) + did_you_mean(name, names)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question that suggests the most similar name, or "" where none is similar."""
    # With long names, or very many, the search would take minutes.
    folded = {each.lower(): each for each in itertools.islice(names, 10_000) if len(each) <= 100}
    near = difflib.get_close_matches(str(name)[:100].lower(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def kind_of_file(path: Path) -> str:
    """Return the kind of a file from its suffix, or from its first bytes."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _PACKED]
    for kind, known in KINDS.items():
        if suffixes and suffixes[-1] in known:
            return kind
    with path.open("rb") as file:
        return _kind_of(file.read(4096))


def _kind_of(start: bytes) -> str:
    """Return the kind of a file from its first bytes."""
    start = start[:4096]
    magic = {b"PAR1": "parquet", b"\x93NUM": "npy", b"ARRO": "feather", b"PK\x03\x04": "npz"}
    if start[:4] == b"PK\x03\x04" and (b"[Content_Types].xml" in start or b"xl/" in start[:60]):
        return "xlsx"
    if start[:4] in magic:
        return magic[start[:4]]
    first = start.lstrip()[:1]
    if first in (b"{", b"["):
        return "jsonl" if first == b"{" else "json"
    line = start.partition(b"\n")[0]
    return "tsv" if line.count(b"\t") > line.count(b",") else "csv"


def _read_typed(
    source: Path | io.BytesIO, kind: str, name: str, encoding: str | None = None
) -> Any:
    pl = import_polars("tables")
    try:
        if kind == "feather":
            if isinstance(source, Path):
                sources.check_size(source, name)
                source = io.BytesIO(source.read_bytes())
            with silenced():
                return pl.read_ipc(source)
        if kind == "parquet":
            # From memory: polars would expand wildcards and `key=value` folders in a path.
            if isinstance(source, Path):
                sources.check_size(source, name)
                source = io.BytesIO(source.read_bytes())
            with silenced():
                _check_parquet(source, name)
                return pl.read_parquet(source)
        source = sources.read_text(source, name, encoding)
        if kind == "json":
            return pl.read_json(source, infer_schema_length=None)
        return pl.read_ndjson(source, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        what = {
            "parquet": "Parquet", "json": "JSON", "jsonl": "JSON lines", "feather": "Feather",
        }[kind]  # fmt: skip
        reason = str(error).partition("\n")[0]
        raise ValueError(f"path: {name} is no table of {what} ({reason:.200})") from None
    except OSError as error:
        raise OSError(f"path: {name} cannot be read ({error})") from None


def _check_parquet(source: io.BytesIO, name: str) -> None:
    """Raise ValueError for a table with more rows and columns than fit into memory."""
    pl = import_polars("tables")
    frame = pl.scan_parquet(source)
    n_columns = len(frame.collect_schema())
    n_rows = frame.select(pl.len()).collect().item()
    source.seek(0)
    if 8 * n_rows * n_columns > sources.MOST_BYTES:
        raise sources.too_large(name, f"has {n_rows:,} rows of {n_columns:,} columns, which take")


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Discard standard error: Rust prints its panics there, and an exception follows anyway."""
    try:
        stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # a process without standard error
        yield
        return
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def _read_arrays(source: Path | io.BytesIO, name: str) -> Any:
    pl = import_polars("tables")
    if isinstance(source, Path):
        sources.check_size(source, name)
    opened = contextlib.nullcontext(source) if isinstance(source, io.BytesIO) else source.open("rb")
    try:
        with opened as file:
            loaded: Any = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                packed: Any = loaded.zip
                size = sum(each.file_size for each in packed.infolist())
                arrays = dict(loaded) if size <= sources.MOST_BYTES else None
            else:
                arrays = {"": loaded}
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
        reason = str(error).partition("\n")[0]
        raise ValueError(f"path: {name} is no file of NumPy arrays ({reason:.200})") from None
    if arrays is None:
        raise sources.too_large(name, "unpacks to")
    columns: dict[str, Any] = {}
    for key, array in arrays.items():
        columns |= _as_columns(key, array, name)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise ValueError(f"path: {name} has arrays {shapes:.500}, expected one length for all")
    return pl.DataFrame(columns)


def _as_columns(key: str, array: Array, name: str) -> dict[str, Any]:
    # A header of a few bytes may announce any number of columns, or of values of no size.
    if array.ndim > 1 and len(array) == 0:
        raise _no_rows(name)
    if array.dtype.names and array.ndim and array.dtype.itemsize:
        return {field: np.ascontiguousarray(array[field]) for field in array.dtype.names}
    if array.dtype.kind not in "biufUM" or array.ndim == 0 or array.dtype.itemsize == 0:
        raise ValueError(
            f"path: {name} has {key or 'an array':.80} of {array.dtype}, shape {array.shape}; "
            "expected numbers or text, a row a sample"
        )
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.ndim == 1 or array[0:1].size == 1:
        return {key or "0": _native(array.reshape(len(array)))}
    matrix = _native(array.reshape(len(array), math.prod(array.shape[1:])).T)
    return {f"{key}[{j}]" if key else str(j): column for j, column in enumerate(matrix)}


def _native(array: Array) -> Any:
    if array.dtype.kind == "U":
        return array.tolist() if array.ndim == 1 else list(map(np.ndarray.tolist, array))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
