"""The only place that checks input: what passes here is safe for a kernel.

Every function takes the name of the argument that it checks and raises an error that gives the
name, the value and what was expected: TypeError for a wrong kind of value, ValueError else.
"""

import math
import operator

import numpy as np

from . import kernels

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def as_dtype(value, name="dtype"):
    """Return `value` as one of the two dtypes that kernels are compiled for."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    if dtype not in DTYPES:
        raise TypeError(f"{name} is {value!r}, expected float32 or float64")
    return dtype


def as_count(value, name):
    """Return `value` as an int that is at least 1."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, expected a positive whole number") from None
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, expected a positive whole number")
    if count < 1:
        raise ValueError(f"{name} is {count}, expected a positive whole number")
    return count


def as_positive(value, name):
    """Return `value` as a float that is finite and above 0."""
    expected = "expected a finite number above 0"
    if isinstance(value, bool | np.bool_ | str | bytes | complex):
        raise TypeError(f"{name} is {value!r}, {expected}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is {value!r}, {expected}") from None
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {number}, {expected}")
    return number


def as_generator(value, name="rng"):
    """Return a NumPy Generator: `value` itself, one seeded with an int, or a fresh one."""
    if isinstance(value, np.random.Generator):
        return value
    if value is not None:
        try:
            seed = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{name} is {value!r}, expected None, a whole number or a numpy Generator"
            ) from None
        if seed < 0:
            raise ValueError(f"{name} is {seed}, expected a whole number of at least 0")
    return np.random.default_rng(value)


def as_array(value, name):
    """Return `value` as a plain array of real numbers, without a copy where it is one."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{name} is not rectangular, expected rows of one length") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    return array


def as_matrix(array, name, dtype):
    """Return an array of real numbers as finite, C-contiguous numbers of `dtype`."""
    with np.errstate(over="ignore"):
        matrix = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    if not matrix.flags.writeable:
        matrix = _ReadOnly(matrix).seen_as_writeable()
    if not kernels.all_finite(matrix):
        at = np.argwhere(~np.isfinite(matrix))[0]
        place = f"{name}[{', '.join(map(str, at))}]"
        value = array[tuple(at)]
        if np.isfinite(value):
            raise ValueError(f"{place} is {value}, too large for {matrix.dtype}")
        raise ValueError(f"{place} is {value}, expected finite numbers")
    return matrix


class _ReadOnly:
    """A read-only array, seen through another that NumPy and numba take for a writeable one.

    Numba compiles every kernel again for read-only arguments. Kernels write to their outputs
    alone, so an input may pass as writeable (test_validation.py: read-only memory is mapped).
    """

    def __init__(self, array):
        self.array = array  # kept alive as the base of the view
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}

    def seen_as_writeable(self):
        return np.asarray(self)


def as_rows(value, name, *, n_features=None, dtype=None, allow_empty=True):
    """Return samples as rows: a C-contiguous (B, I) array of finite `dtype` numbers.

    Without `dtype`, float32 and float64 stay what they are, and other numbers become what NumPy
    makes of them together with a float32.
    """
    array = as_array(value, name)
    wanted = "B" if n_features is None else f"B, {n_features}"
    if array.ndim != 2:
        hint = "; one sample is x.reshape(1, -1)" if array.ndim == 1 else ""
        columns = "I" if n_features is None else n_features
        raise ValueError(f"{name} has shape {array.shape}, expected (B, {columns}){hint}")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"{name} has shape {array.shape}, expected ({wanted})")
    if array.shape[1] == 0 or (len(array) == 0 and not allow_empty):
        raise ValueError(f"{name} has shape {array.shape}, expected at least one row and column")
    if dtype is None:
        dtype = np.float32 if np.result_type(array, np.float32) == np.float32 else np.float64
    return as_matrix(array, name, dtype)


def as_gradient(value, name, output):
    """Return `value` as an array of the shape and dtype of `output`."""
    array = as_array(value, name)
    if array.shape != output.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {output.shape}, as the output")
    return as_matrix(array, name, output.dtype)


def as_targets(value, name, n_rows, n_classes, dtype):
    """Return targets as labels (B,) of int64 or as distributions (B, C) of `dtype`."""
    array = np.asarray(value)
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


def as_labels(array, name, n_classes):
    """Return an array of numbers as int64 labels in [0, n_classes)."""
    expected = f"expected whole numbers from 0 to {n_classes - 1}"
    if array.dtype.kind == "f":
        wrong = ~np.isfinite(array) | (array != np.floor(array))
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(f"{name}[{at}] is {array[at]}, {expected}")
    wrong = (array < 0) | (array >= n_classes)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{name}[{at}] is {array[at]}, {expected}")
    # A copy of what may be read-only: `astype` always makes one, 8 bytes a sample.
    return array.astype(np.int64)


def _as_distributions(array, name, dtype):
    rows = as_matrix(array, name, dtype)
    wrong = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{name}[{at}] is {rows[at]}, expected probabilities that are at least 0 and sum to 1"
        )
    return rows
