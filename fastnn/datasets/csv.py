"""Samples of a CSV file as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import tables
from ..types import Array, Floats, Integers, PathLike
from ..validation import as_dtype


def read_csv(
    path: PathLike, target: str, *, dtype: DTypeLike = np.float32
) -> tuple[Floats, Array, list[str]]:
    """Read samples from a CSV file: one column of labels, and numbers in all others.

    Blanks around names and values are dropped, as are empty lines. Needs polars.

    Parameters
    ----------
    path : str or path-like
        A file of comma-separated values in UTF-8, whose first line names the columns.
    target : str
        The column of the labels.
    dtype : float32 or float64
        Of the features.

    Returns
    -------
    X : ndarray of shape (N, I)
        The features, in the order of the file.
    labels : ndarray of shape (N,)
        int64 where all are whole numbers, bool where all are "true" or "false", else text.
    feature_names : list of str, of length I

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        For a file that is not such a table, and a column that is missing, repeated or without a
        name; no features or rows, a missing value, text or a non-finite number in a feature, and
        less than two classes. Rows are counted from 1, the one after the names.
    ImportError
        Where polars is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastnn.datasets import read_csv
    >>> size = Path("pets.csv").write_text("weight,height,kind\\n4,25,cat\\n30,60,dog\\n")
    >>> X, labels, names = read_csv("pets.csv", target="kind")
    >>> X
    array([[ 4., 25.],
           [30., 60.]], dtype=float32)
    >>> print(*labels, *names)
    cat dog weight height
    """
    dtype = as_dtype(dtype)
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path is {str(path)!r}, expected a file, and there is none")
    table, rows = tables.read_text(path, path)
    names = table.columns
    if target not in names:
        raise ValueError(f"target is {target!r}, expected {tables.one_of(target, names)}")
    if len(names) == 1:
        raise ValueError(f"path: {path} has no column besides {target!r}, expected features")
    if len(table) == 0:
        raise ValueError(f"path: {path} has no rows below the column names, expected samples")
    for column in table:
        if column.null_count():
            row = rows[column.is_null().arg_max()]
            raise ValueError(f"column {column.name!r:.80}, row {row} is empty, expected a value")

    labels = table[target]
    if labels.n_unique() == 1:
        raise ValueError(
            f"target {target!r:.80} is {labels[0]!r:.80} in every row, expected two classes"
        )
    columns = table.drop(target)
    features = np.empty(columns.shape, dtype)
    for index, column in enumerate(columns):
        features[:, index] = _as_feature(column, rows, dtype)
    return features, _as_labels(labels), columns.columns


def _as_feature(texts: Any, rows: Integers, dtype: DTypeLike) -> Floats:
    """Return a column as finite numbers of `dtype`; `rows` are the numbers of its rows."""
    import polars as pl

    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count():
        at = numbers.is_null().arg_max()
        place = f"column {texts.name!r:.80}, row {rows[at]}"
        raise ValueError(f"{place} is {texts[at]!r:.80}, expected a number")
    with np.errstate(over="ignore"):
        feature: Floats = numbers.to_numpy().astype(dtype)
    if not np.isfinite(feature).all():
        at = int(np.isfinite(feature).argmin())
        place = f"column {texts.name!r:.80}, row {rows[at]}"
        raise ValueError(f"{place} is {texts[at]!r:.80}, expected a finite number within {dtype}")
    return feature


def _as_labels(texts: Any) -> Array:
    """Return labels as numbers or truth values, where that loses nothing, else as text."""
    import polars as pl

    whole = texts.cast(pl.Int64, strict=False)
    if whole.cast(pl.String).eq_missing(texts).all():  # "007" is text
        return np.asarray(whole.to_numpy())
    lowered = texts.str.to_lowercase()
    if lowered.is_in(["true", "false"]).all():
        return np.asarray((lowered == "true").to_numpy())
    return np.array(texts.to_list())
