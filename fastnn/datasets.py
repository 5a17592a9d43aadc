"""Data to train on: two that come with fastnn, CSV files, and how to split and scale them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import tables
from .types import Array, Floats, Integers, PathLike, Seed
from .validation import as_count, as_dtype, as_generator, as_positive, as_rows


def load_digits() -> tuple[NDArray[np.float32], Integers]:
    """Return 1,797 handwritten digits, 8x8 pixels each (`data/DIGITS.md`: source and licence).

    Returns
    -------
    X : ndarray of shape (1797, 64), float32
        Pixels from 0 (white) to 16 (black), the rows of an image one after the other.
    y : ndarray of shape (1797,), int64
        The digit, 0 to 9.

    Examples
    --------
    >>> from fastnn.datasets import load_digits
    >>> X, y = load_digits()
    >>> X.shape, y[:5]
    ((1797, 64), array([0, 1, 2, 3, 4]))
    """
    with resources.files("fastnn").joinpath("data/digits.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        return arrays["images"].astype(np.float32), arrays["labels"].astype(np.int64)


def make_spiral(
    n_samples_per_class: int = 100, n_classes: int = 3, *, noise: float = 0.2, rng: Seed = None
) -> tuple[NDArray[np.float32], Integers]:
    """Return points on the arms of a spiral, one arm a class: no straight line separates them.

    The formula of the Stanford course CS231n (https://cs231n.github.io/neural-networks-case-study):
    the radius grows from 0 to 1 while the angle of arm k runs from 4 k to 4 (k + 1), in radians.

    Parameters
    ----------
    n_samples_per_class, n_classes : int
        At least 1. Three arms are well apart; from eleven on, arms lie upon each other.
    noise : float
        Standard deviation of the angle, in radians, at least 0.
    rng : None, int or numpy.random.Generator
        Where the noise comes from; an int gives the same points every time.

    Returns
    -------
    X : ndarray of shape (n_classes * n_samples_per_class, 2), float32
    y : ndarray of shape (n_classes * n_samples_per_class,), int64
        The arms in order: 0, 0, ..., 1, 1, ...

    Raises
    ------
    TypeError, ValueError
        For counts that are not whole numbers of at least 1, negative or non-finite noise.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> X.shape, y[[0, 100, 200]]
    ((300, 2), array([0, 1, 2]))
    """
    n_samples_per_class = as_count(n_samples_per_class, "n_samples_per_class")
    n_classes = as_count(n_classes, "n_classes")
    noise = as_positive(noise, "noise") if noise != 0 else 0.0
    rng = as_generator(rng)

    arms = np.arange(n_classes)[:, None]  # (arms, 1), against (points,) along an arm
    radius = np.linspace(0, 1, n_samples_per_class)
    angle = 4 * arms + np.linspace(0, 4, n_samples_per_class)
    angle = angle + noise * rng.standard_normal(angle.shape)
    points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1)
    labels = np.repeat(np.arange(n_classes), n_samples_per_class)
    return points.reshape(-1, 2).astype(np.float32), labels.astype(np.int64)


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


def split(
    n_samples: int, fraction: float, rng: Seed = None, labels: ArrayLike | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw the samples that are held out of training, to measure on.

    Parameters
    ----------
    n_samples : int
        N, at least 2.
    fraction : float
        Of the samples to hold out, between 0 and 1.
    rng : None, int or numpy.random.Generator
        Where the choice comes from; an int gives the same one every time.
    labels : array-like of shape (N,), optional
        With these, every class has its share in both parts, to within a sample.

    Returns
    -------
    train, held_out : ndarray of int64
        Indices, ascending; each sample is in one of the two. `held_out` has
        round(fraction * N) of them.

    Raises
    ------
    TypeError, ValueError
        For a fraction outside of (0, 1) or one that leaves a part empty, another number of labels.

    Examples
    --------
    >>> from fastnn.datasets import split
    >>> train, held_out = split(8, 0.25, rng=0)
    >>> len(train), len(held_out)
    (6, 2)
    """
    n_samples = as_count(n_samples, "n_samples")
    fraction = as_positive(fraction, "fraction")
    n_held_out = round(fraction * n_samples)
    if not 0 < n_held_out < n_samples:
        raise ValueError(
            f"fraction is {fraction}, which holds out {n_held_out} of {n_samples} samples: "
            "expected at least one on either side"
        )
    rng = as_generator(rng)
    order = rng.permutation(n_samples)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (n_samples,):
            raise ValueError(f"labels has shape {labels.shape}, expected ({n_samples},)")
        # Class after class, at random within each: even steps then take a share of every class.
        # The order of an unstable sort would depend on the CPU.
        order = order[np.argsort(labels[order], kind="stable")]
    # From a start at random, so that each sample has the same chance.
    steps = (np.arange(n_held_out) * n_samples + rng.integers(n_samples)) // n_held_out
    is_held_out = np.full(n_samples, False)
    is_held_out[order[steps]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def standardise(train: ArrayLike, *others: ArrayLike) -> tuple[Floats, ...]:
    """Shift and scale each feature to mean 0 and standard deviation 1 *of the training part*.

    The other parts get the same shift and scale: what a network is measured on has no say in how
    it is trained. A feature that is constant in the training part is shifted only.

    Parameters
    ----------
    train, *others : array-like of shape (N, I), (M, I), ...

    Returns
    -------
    tuple of ndarray
        As many arrays as arguments, of the same shapes; float64 where `train` is, else float32
        (see `as_rows`). The arithmetic is float64.

    Raises
    ------
    TypeError, ValueError
        For an empty `train`, another number of features in `others`, and what is not finite.

    Examples
    --------
    >>> from fastnn.datasets import standardise
    >>> train, test = standardise([[1.0, 10.0], [3.0, 30.0]], [[2.0, 40.0]])
    >>> train
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> test
    array([[0., 2.]])
    """
    train = as_rows(train, "train", allow_empty=False)
    parts = [
        as_rows(other, f"others[{index}]", n_features=train.shape[1], dtype=np.float64)
        for index, other in enumerate(others)
    ]
    low = train.min(axis=0).astype(np.float64)
    spread = train.max(axis=0) - low
    # In units of the spread, the mean and deviation of a constant feature are exactly 0 (over
    # plain values, rounding leaves a deviation of 1e-17 to divide by), and squares never overflow.
    spread[spread == 0] = 1
    units = (train - low) / spread
    mean, deviation = units.mean(axis=0), units.std(axis=0)
    deviation[deviation == 0] = 1
    return tuple(
        (((part - low) / spread - mean) / deviation).astype(train.dtype) for part in (train, *parts)
    )


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
