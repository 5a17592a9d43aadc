"""Checks of arrays: samples, targets, weights and gradients, as kernels take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import kernels
from ..memory import check_map
from ..types import Array, Floats, Integers, Rows, Scaling, Shape

MOST_LOADED = 2**30
"""An array of another library that has more bytes is not loaded without a word."""


def as_anything(value: ArrayLike, name: str) -> Array:
    """Return `value` as a plain array: a new object, on the memory of `value` where it has some.

    It is a new object because a script, or another thread, may give its own array another shape or
    dtype at any time.
    """
    if not isinstance(value, np.ndarray):
        _refuse_others(value, name)
        _refuse_to_load(value, name)
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked values, expected a plain array")
    try:
        array = np.asarray(value).view()
    except ValueError:  # rows of different lengths
        raise ValueError(f"{name} is not rectangular, expected rows of one length") from None
    check_map(array, name)
    return _numbers_of_frame(value, array) if array.dtype.hasobject else array


def _refuse_others(value: Any, name: str) -> None:
    """Raise TypeError for objects of which NumPy would make an array of one object."""
    if hasattr(value, "tocsr"):
        raise TypeError(f"{name} is a sparse matrix, expected an array: {name}.toarray() makes one")
    if hasattr(value, "of_epoch"):
        raise TypeError(f"{name} is {value!r:.80}, expected an array: fit(batches=...) takes it")


def _refuse_to_load(value: Any, name: str) -> None:
    """Raise ValueError for an array of another library that lies on disk and is large.

    NumPy would load it whole. Arrays of Dask, zarr, h5py and xarray have `chunks` or `compute`.
    """
    if not hasattr(value, "chunks") and not hasattr(value, "compute"):
        return
    size = float(getattr(value, "nbytes", np.nan))
    if size <= MOST_LOADED:
        return
    kind = f"{type(value).__module__.partition('.')[0]} {type(value).__name__}"
    large = "of unknown size" if np.isnan(size) else f"of {size / 2**30:.3g} GiB"
    raise ValueError(
        f"{name} is a {kind} {large}, which would be loaded into memory: expected at most "
        f"{MOST_LOADED / 2**30:.3g} GiB. fit(batches=...) takes its rows window by window, and "
        f"predictions some rows at a time; np.asarray({name}) loads it"
    )


def _numbers_of_frame(value: Any, array: Array) -> Array:
    """Return the numbers of a pandas frame or series; `array`, which NumPy made, for all else.

    NumPy makes objects of columns of different types, and of columns that may have NA. NA becomes
    NaN here.
    """
    dtypes = getattr(value, "dtypes", ())
    dtypes = [dtypes] if hasattr(dtypes, "kind") else list(dtypes if np.iterable(dtypes) else ())
    if not dtypes or any(getattr(dtype, "kind", "O") not in "biuf" for dtype in dtypes):
        return array
    plain = np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes))
    if not value.isna().to_numpy().any():
        numbers: Array = value.to_numpy(dtype=plain)
        return numbers
    numbers = value.to_numpy(dtype=plain if plain.kind == "f" else np.float64, na_value=np.nan)
    return numbers


def as_array(value: ArrayLike, name: str) -> Array:
    """Return `value` as a plain array of real numbers, without a copy where it is one."""
    array = as_anything(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array


class NotFiniteError(ValueError):
    """A number is NaN or infinite, or too large for the dtype.

    Attributes
    ----------
    row : int or None
        Its row in the array.
    """

    row: int | None = None


def as_matrix(
    array: Array,
    name: str,
    dtype: DTypeLike,
    *,
    copy: bool = False,
    allow_nan: bool = False,
    nan_hint: str = "",
) -> Floats:
    """Return an array of real numbers as finite, C-contiguous, aligned numbers of `dtype`.

    With `copy`, in new memory, so that no other thread can change the numbers after the check.
    With `allow_nan`, numbers may be NaN too; else `nan_hint` ends the error about one.
    """
    with np.errstate(over="ignore"):
        if copy:
            matrix = np.array(array, dtype, order="C")
        else:
            matrix = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    finite = np.nan_to_num(matrix, posinf=np.inf, neginf=-np.inf) if allow_nan else matrix
    if not kernels.all_finite(unlocked(finite)):
        refuse_not_finite(finite, name, array, nan_hint=nan_hint)
    return matrix


def refuse_not_finite(
    matrix: Array,
    name: str,
    array: Array,
    first: int = 0,
    scaling: Scaling = (1.0, 0.0),
    nan_hint: str = "",
) -> NoReturn:
    """Raise the error about the first number in `matrix` that is not finite.

    `matrix` is rows of `array` from row `first` on, times the first number of `scaling`, plus the
    second. `nan_hint` ends the error about NaN.
    """
    at = np.argwhere(~np.isfinite(matrix))[0]
    at[:1] += first
    place = f"{name}[{', '.join(map(str, at))}]"
    value = array[tuple(at)]
    if np.isfinite(value):
        scaled = "" if scaling == (1.0, 0.0) else " with scale {} and offset {}".format(*scaling)
        error = NotFiniteError(
            f"{place} is {value}, too large for {matrix.dtype}{scaled}: expected smaller numbers"
        )
    else:
        hint = nan_hint if np.isnan(value) else ""
        error = NotFiniteError(f"{place} is {value}, expected finite numbers{hint}")
    error.row = int(at[0]) if len(at) else None
    raise error


def unlocked(array: Array) -> Array:
    """Return `array`, or another one on the same memory where it may not be written.

    Numba compiles every kernel again for read-only arguments. No kernel writes to its inputs, so
    they may pass as writeable (tests: inputs from memory that is mapped read-only). Pass the result
    to kernels only: never return it to a caller, who could write to it.
    """
    return array if array.flags.writeable else np.asarray(_Unlocked(array))


class _Unlocked:
    def __init__(self, array: Array) -> None:
        self.array = array  # the base of the view: it keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def as_rows(
    value: ArrayLike,
    name: str,
    *,
    n_features: int | None = None,
    dtype: DTypeLike | None = None,
    allow_empty: bool = True,
) -> Rows:
    """Return samples as rows: a C-contiguous (B, I) array of finite `dtype` numbers.

    Without `dtype`, float32 and float64 stay what they are, and other numbers become what NumPy
    makes of them together with a float32.
    """
    array = as_table(value, name, n_features=n_features, allow_empty=allow_empty)
    if dtype is None:
        dtype = np.float32 if np.result_type(array, np.float32) == np.float32 else np.float64
    return as_matrix(array, name, dtype)


def as_table(
    value: ArrayLike, name: str, *, n_features: int | None = None, allow_empty: bool = True
) -> Array:
    """Return samples as an array (B, I) of real numbers as they are, NaN included."""
    array = as_array(value, name)
    if array.ndim != 2:
        hint = "; one sample is x.reshape(1, -1)" if array.ndim == 1 else ""
        columns = "I" if n_features is None else n_features
        raise ValueError(f"{name} has shape {array.shape}, expected (n_samples, {columns}){hint}")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"{name} has shape {array.shape}, expected (n_samples, {n_features})")
    if array.shape[1] == 0 or (len(array) == 0 and not allow_empty):
        raise ValueError(f"{name} has shape {array.shape}, expected at least one row and column")
    return array


def as_gradient(value: ArrayLike, name: str, shape: Shape, dtype: DTypeLike) -> Floats:
    """Return `value` as an array of finite `dtype` numbers that has the shape of the output."""
    array = as_array(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}, as the output")
    return as_matrix(array, name, dtype)


def as_targets(value: ArrayLike, name: str, n_rows: int, n_classes: int, dtype: DTypeLike) -> Array:
    """Return targets as labels (B,) of int64 or as distributions (B, C) of `dtype`."""
    array = as_anything(value, name)
    expected = f"expected {n_rows} labels or ({n_rows}, {n_classes}) rows of probabilities"
    if array.ndim == 2 and array.shape[1] == 1 and n_classes > 1:
        raise ValueError(f"{name} has shape {array.shape}, {expected}; labels are y.ravel()")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != n_classes):
        raise ValueError(f"{name} has shape {array.shape}, {expected}")
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} has dtype {array.dtype}, {expected}; fastnn.one_hot encodes any labels"
        )
    if len(array) != n_rows:
        raise ValueError(f"{name} has {len(array)} rows, {expected}")
    if array.ndim == 1:
        return as_labels(array, name, n_classes)
    return _as_distributions(array, name, dtype)


def as_labels(array: Array, name: str, n_classes: int) -> Integers:
    """Return an array of numbers as int64 labels in [0, n_classes), always new ones.

    Kernels read and write where labels point. So the copy is what is checked: another thread may
    write to `array` at any time.
    """
    expected = f"expected whole numbers from 0 to {n_classes - 1}"
    array = np.array(array)
    if array.dtype.kind == "f":
        wrong = ~np.isfinite(array) | (array != np.floor(array))
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(f"{name}[{at}] is {array[at]}, {expected}")
    wrong = (array < 0) | (array >= n_classes)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{name}[{at}] is {array[at]}, {expected}")
    return array.astype(np.int64, order="C", copy=False)


def as_order(value: ArrayLike, n_rows: int, name: str = "what shuffle gave") -> Integers:
    """Return indices (n_rows,) of samples, each in [0, n_rows), as a new array of int64."""
    array = as_array(value, name)
    if array.shape != (n_rows,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n_rows},)")
    return as_labels(array, name, n_rows)


def _as_distributions(array: Array, name: str, dtype: DTypeLike) -> Floats:
    rows = as_matrix(array, name, dtype, copy=True)
    wrong = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{name}[{at}] is {rows[at]}, expected probabilities that are at least 0 and sum to 1"
        )
    return rows


def as_values(
    value: ArrayLike,
    name: str,
    n_rows: int,
    n_outputs: int,
    dtype: DTypeLike,
    *,
    allow_nan: bool = False,
    nan_hint: str = "",
) -> Floats:
    """Return targets (B,) or (B, O) of numbers as a (B, O) array of finite `dtype` numbers.

    `allow_nan` and `nan_hint` as in `as_matrix`.
    """
    array = as_array(value, name)
    if array.ndim == 1 and n_outputs == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n_rows, n_outputs):
        plain = f"({n_rows},) or " if n_outputs == 1 else ""
        raise ValueError(f"{name} has shape {array.shape}, expected {plain}({n_rows}, {n_outputs})")
    return as_matrix(array, name, dtype, copy=True, allow_nan=allow_nan, nan_hint=nan_hint)


def as_sample_weights(value: ArrayLike, n_rows: int, name: str = "sample_weight") -> Floats:
    """Return weights (B,) as float64 numbers of at least 0, not all of them 0."""
    weights = as_weights(value, n_rows, name)
    check_sum(weights, name)
    return weights


def as_weights(value: ArrayLike, n_rows: int, name: str = "sample_weight") -> Floats:
    """Return weights (B,) as float64 numbers of at least 0."""
    array = as_array(value, name)
    if array.shape != (n_rows,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n_rows},)")
    weights = as_matrix(array, name, np.float64, copy=True)
    if (weights < 0).any():
        at = int((weights < 0).argmax())
        raise ValueError(f"{name}[{at}] is {weights[at]}, expected numbers of at least 0")
    return weights


def check_sum(weights: Floats, name: str = "sample_weight") -> None:
    """Raise ValueError for weights whose sum is 0 or not finite."""
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.finfo(np.float64).tiny <= total < np.inf:
        raise ValueError(f"{name} sums to {total:.3g}, expected a sum that is finite and above 0")


def as_class_weights(
    value: Mapping[Any, float], n_classes: int, name: str = "class_weight"
) -> Floats:
    """Return a dict of label to weight as an array (C,) of float64."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {value!r}, expected a dict of label to weight")
    missing = [label for label in range(n_classes) if label not in value]
    if missing or len(value) != n_classes:
        raise ValueError(f"{name} has {list(value)}, expected all of 0 to {n_classes - 1}")
    return as_sample_weights([value[label] for label in range(n_classes)], n_classes, name)


def check_codes(
    rows: Array,
    categories: Mapping[int, int],
    name: str,
    places: Sequence[int] | Array | None = None,
) -> None:
    """Raise ValueError where a column of rows (B, I) has a number that is no code of it.

    `categories` has the number of categories of each column with codes. `places` says where the
    rows are in the array `name`, by default in their order.
    """
    for column, count in categories.items():
        values = rows[:, column]
        wrong = ~((values >= 0) & (values < count) & (values == np.floor(values)))
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"{name}[{at if places is None else places[at]}, {column}] is {values[at]!s}, "
                f"expected a code of column {column}: a whole number from 0 to {count - 1}"
            )
