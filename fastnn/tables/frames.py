"""Frames of other libraries, arrays by name and files as tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .libraries import polars as pl
from .table import KINDS_WITH, Table, kind_of_file, read_table
from .text import TextFormat

_EXPECTED = "a path, a polars, pandas or Arrow table, or a dict of columns"


PLAIN = TextFormat()


def as_table(data: Any, name: str = "data", form: TextFormat = PLAIN) -> Table:
    """Return a Table of a file, a frame, or a dict of columns.

    The index of a pandas frame is left out. What `form` says is for files that can have it.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        For a frame without rows, columns of different lengths, two columns of one name, and for a
        file as `read_table` does.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, str | os.PathLike):
        return _read_file(data, form)
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    frame: pl.DataFrame
    if isinstance(data, pl.DataFrame):
        frame = data
    elif type(data).__module__.split(".")[0] == "pandas" and hasattr(data, "columns"):
        frame = _from_pandas(data, name)
    elif isinstance(data, Mapping):
        frame = _frame_of(dict(data), name)
    elif hasattr(data, "__arrow_c_stream__"):
        frame = pl.DataFrame(data)
    else:
        raise TypeError(f"{name} is {data!r:.80}, expected {_EXPECTED}")
    if len(frame) == 0:
        raise ValueError(f"{name} has no rows, expected samples")
    return Table(frame, np.arange(len(frame)) + 1, name)


def _read_file(path: str | os.PathLike[str], form: TextFormat) -> Table:
    if form == PLAIN:
        return read_table(path)
    kind = _kind_of(path)
    fields = {
        name: value for name, value in form._asdict().items() if kind in (None, *KINDS_WITH[name])
    }
    return read_table(path, **fields)


def _kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return the kind of a file; None where that is not known before it is read."""
    return kind_of_file(Path(path)) if Path(path).is_file() else None


def refuse_form(data: Any, form: TextFormat) -> None:
    """Raise ValueError for an argument that `data` cannot have; the message names it."""
    kind = "a table that is not a file"
    if isinstance(data, str | os.PathLike):
        kind = _kind_of(data) or "csv"
    for name, kinds in KINDS_WITH.items():
        value = getattr(form, name)
        if value != getattr(PLAIN, name) and kind not in kinds:
            raise ValueError(
                f"{name} is {value!r:.80}, expected {getattr(PLAIN, name)!r} for {kind}: it is for "
                f"{', '.join(kinds)}"
            )


def _frame_of(columns: Mapping[Any, Any], name: str) -> pl.DataFrame:
    try:
        return pl.DataFrame({str(key): values for key, values in columns.items()}, strict=False)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{name} is no table of columns ({reason:.200})") from None


def _from_pandas(data: Any, name: str) -> pl.DataFrame:
    """Return a pandas frame. polars' own conversion needs pyarrow, which may not be installed."""
    names = [str(each) for each in data.columns]
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(
            f"{name} has {names.count(twice)} columns named {twice!r:.80}, expected one"
        )
    columns = {}
    for i, each in enumerate(names):
        values = data.iloc[:, i]
        dtype = values.dtype
        if isinstance(dtype, np.dtype) and dtype.kind in "biufM":
            columns[each] = values.to_numpy()
        else:  # texts, categories, and numbers that may be missing
            objects = values.astype(object)
            columns[each] = objects.where(objects.notna(), None).tolist()
    return _frame_of(columns, name)
