"""Data files as tables: polars frames, and for each row its number in the file."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import itertools
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..requirements import missing
from ..types import Array, PathLike
from . import sources

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
}
_PACKED = (".gz", ".zst")  # CSV and JSON lines, which polars unpacks
_AS_TEXT: dict[str, Any] = {"has_header": False, "infer_schema_length": 0, "glob": False}
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


def read_table(source: PathLike, kind: str | None = None, separator: str | None = None) -> Table:
    """Read a file, or standard input, as a table.

    Parameters
    ----------
    source : str or path-like
        A path, or "-" for standard input.
    kind : str, optional
        One of `KINDS`. By default the suffix of the path decides, else the first bytes.
    separator : str, optional
        A single character between the values of a CSV file.

    Returns
    -------
    Table
        Of `.npy` the columns are "0", "1", ... or the fields of a structured array. Of `.npz` they
        have the names of the arrays; arrays with more than one dimension become "name[0]",
        "name[1]", ...

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        For a file that is not of its kind, a column without a name, two columns of one name,
        arrays of different lengths, no rows, and a table that takes more than half the memory.
    ImportError
        Where polars is not installed.
    """
    data: Path | io.BytesIO
    if str(source) == "-":
        if sys.stdin is None:
            raise ValueError("path is '-', standard input, and that is closed: expected a table")
        name = "standard input"
        data = sources.read_stream(sys.stdin.buffer, name, lambda start: kind or _kind_of(start))
    else:
        path = Path(source)
        name = str(path)
        if path.is_dir() or not path.exists():
            raise FileNotFoundError(f"path is {name!r}, expected a file, and there is none")
        data = path
        if not path.is_file():  # a pipe is read once
            with path.open("rb") as file:
                data = sources.read_stream(file, name, lambda start: kind or _kind_of(start))
    kind = kind or (kind_of_file(data) if isinstance(data, Path) else _kind_of(data.getvalue()))
    if kind in ("csv", "tsv"):
        frame, rows = read_text(data, name, separator or {"csv": ",", "tsv": "\t"}[kind])
    else:
        frame = _read_arrays(data, name) if kind[:2] == "np" else _read_typed(data, kind, name)
        rows = np.arange(len(frame)) + 1
    if len(frame) == 0:
        raise _no_rows(name)
    return Table(frame, rows, name)


def _no_rows(name: str) -> ValueError:
    return ValueError(f"path: {name} has no rows below the column names, expected samples")


def table_of(columns: Mapping[str, Any], source: str) -> Table:
    """Return a Table of a dict of arrays (N,)."""
    pl = _polars("tables")
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


def read_text(source: Path | io.BytesIO, name: PathLike, separator: str = ",") -> tuple[Any, Array]:
    """Return the cells of a CSV file as a frame of text, and the number of each row.

    Empty cells are null. Blanks around names and values are dropped, and so are empty lines; in a
    file of a single column, an empty line is a missing value.
    """
    pl = _polars("CSV files")
    source = sources.read_text(source, str(name))
    _check_cells(source, name, separator)
    # Names are read as a row, as polars renames repeated ones. Numbers are read as text, as polars
    # does not say which value of a column is not a number.
    try:
        frame = pl.read_csv(source, separator=separator, **_AS_TEXT)
    except pl.exceptions.NoDataError:
        raise ValueError(f"path: {name} is empty, expected column names and rows") from None
    except pl.exceptions.PolarsError as error:
        raise _no_csv(name, separator, str(error).partition("\n")[0]) from None
    except OSError as error:  # also for a packed file that ends too early
        raise OSError(f"path: {name} cannot be read ({error})") from None
    cells = pl.all().str.strip_chars()
    frame = frame.select(pl.when(cells != "").then(cells))

    names = frame.row(0)
    if None in names:
        raise ValueError(f"path: {name} has no name for column {names.index(None) + 1}")
    (most, count), *_ = Counter(names).most_common(1)
    if count > 1:
        raise ValueError(f"path: {name} has {count} columns named {most!r:.80}, expected one")
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
    frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    filled[0] = False  # the names
    return frame.filter(filled), np.flatnonzero(filled)


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


_BYTES_OF_CELL = 16  # of text in a polars frame


def _row_lengths(source: io.BytesIO, name: PathLike, separator: str, n: int | None = None) -> Array:
    """Return the number of values in each of the `n` rows of a CSV file.

    polars does not tell: it fills up short rows.
    """
    pl = _polars("CSV files")
    source.seek(0)
    try:
        # polars unpacks the file; this separator leaves the lines whole.
        lines = pl.read_csv(source, separator="\0", quote_char=None, **_AS_TEXT).to_series()
        lengths = list(map(len, csv.reader(lines.fill_null(""), delimiter=separator)))
    except (csv.Error, pl.exceptions.PolarsError) as error:
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
    magic = {b"PAR1": "parquet", b"\x93NUM": "npy", b"PK\x03\x04": "npz"}
    if start[:4] in magic:
        return magic[start[:4]]
    first = start.lstrip()[:1]
    if first in (b"{", b"["):
        return "jsonl" if first == b"{" else "json"
    line = start.partition(b"\n")[0]
    return "tsv" if line.count(b"\t") > line.count(b",") else "csv"


def _read_typed(source: Path | io.BytesIO, kind: str, name: str) -> Any:
    pl = _polars("tables")
    try:
        if kind == "parquet":
            # From memory: polars would expand wildcards and `key=value` folders in a path.
            if isinstance(source, Path):
                sources.check_size(source, name)
                source = io.BytesIO(source.read_bytes())
            with silenced():
                _check_parquet(source, name)
                return pl.read_parquet(source)
        source = sources.read_text(source, name)
        if kind == "json":
            return pl.read_json(source, infer_schema_length=None)
        return pl.read_ndjson(source, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        what = {"parquet": "Parquet", "json": "JSON", "jsonl": "JSON lines"}[kind]
        reason = str(error).partition("\n")[0]
        raise ValueError(f"path: {name} is no table of {what} ({reason:.200})") from None
    except OSError as error:
        raise OSError(f"path: {name} cannot be read ({error})") from None


def _check_parquet(source: io.BytesIO, name: str) -> None:
    """Raise ValueError for a table with more rows and columns than fit into memory."""
    pl = _polars("tables")
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
    pl = _polars("tables")
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


def _polars(what: str) -> Any:
    try:
        import polars
    except ModuleNotFoundError:
        raise missing(f"reading {what} needs", "polars", "cli") from None
    return polars
