"""The only place that checks input: what passes here is safe for a kernel.

Every function takes the name of the argument that it checks and raises an error that gives the
name, the value and what was expected: TypeError for a wrong kind of value, ValueError else.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import kernels
from .types import Array, DType, Floats, Integers, PathLike, Rows, Scaling, Seed, Shape

DTYPES: tuple[DType, ...] = (np.dtype(np.float32), np.dtype(np.float64))


def as_dtype(value: DTypeLike, name: str = "dtype") -> DType:
    """Return `value` as one of the two dtypes that kernels are compiled for."""
    dtype: Any
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    # None is checked by itself: NumPy takes it for float64, also in a comparison.
    if value is None or dtype is None or dtype not in DTYPES:
        raise TypeError(f"{name} is {value!r}, expected float32 or float64")
    found: DType = dtype
    return found


def as_count(value: SupportsIndex, name: str) -> int:
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


def as_index(value: SupportsIndex, name: str, below: int) -> int:
    """Return `value` as an int that is at least 0 and less than `below`."""
    expected = f"expected a whole number from 0 to {below - 1}"
    try:
        index = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, {expected}") from None
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, {expected}")
    if not 0 <= index < below:
        raise ValueError(f"{name} is {index}, {expected}")
    return index


def as_positive(value: float, name: str) -> float:
    """Return `value` as a float that is finite and above 0."""
    expected = "expected a finite number above 0"
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, {expected}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {number}, {expected}")
    return number


def as_number(value: float, name: str, lowest: float, below: float = math.inf) -> float:
    """Return `value`, a finite number of at least `lowest` and less than `below`."""
    limit = "" if below == math.inf else f" and below {below}"
    expected = f"expected a number of at least {lowest}{limit}"
    if lowest == -math.inf:
        expected = f"expected a finite number{limit}"
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, {expected}")
    try:
        number = int(value) if isinstance(value, numbers.Integral) else float(value)
        finite = math.isfinite(number)
    except OverflowError:
        finite = False
    if not (finite and lowest <= number < below):
        raise ValueError(f"{name} is {value}, {expected}")
    return number


def as_scaling(scale: float, offset: float, dtype: DTypeLike) -> Scaling:
    """Return (scale, offset), finite numbers of `dtype` as floats; a scale of 0 is refused."""
    if type(scale) is type(offset) is float and scale == 1 and offset == 0:
        return 1.0, 0.0  # at once: a prediction of one row takes as long as the rest
    found: list[float] = []
    for value, name in ((scale, "scale"), (offset, "offset")):
        expected = f"expected a finite number of {np.dtype(dtype)}"
        expected += " other than 0" if name == "scale" else ""
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}, {expected}")
        try:
            found.append(float(value))
        except OverflowError:
            found.append(math.inf)
        with np.errstate(over="ignore", under="ignore"):
            number = np.float64(found[-1]).astype(dtype)
        if not np.isfinite(number) or (name == "scale" and number == 0):
            raise ValueError(f"{name} is {value}, {expected}")
    return found[0], found[1]


def as_flag(value: bool, name: str) -> bool:
    """Return `value`, True or False, as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def as_choice(value: str, name: str, choices: Iterable[str]) -> str:
    """Return `value`, one of some words."""
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(f'"{choice}"' for choice in choices)
        near = difflib.get_close_matches(str(value)[:80], choices, 1)
        raise ValueError(f"{name} is {value!r}, expected " + (f'"{near[0]}"' if near else words))
    return value


def as_path(value: PathLike, name: str = "path") -> str:
    """Return `value`, the name of a file, as a str."""
    path: Any
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise TypeError(f"{name} is {value!r}, expected the name of a file")
    if not path or "\0" in path:
        raise ValueError(f"{name} is {value!r}, expected the name of a file")
    return path


def as_generator(value: Seed, name: str = "rng") -> np.random.Generator:
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


def as_anything(value: ArrayLike, name: str) -> Array:
    """Return `value` as a plain array: an object of its own, on the same memory where it is one.

    A script, or another thread, may give its own object another shape or dtype at any time.
    """
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked values, expected a plain array")
    try:
        array = np.asarray(value).view()
    except ValueError:  # rows of different lengths
        raise ValueError(f"{name} is not rectangular, expected rows of one length") from None
    return _numbers_of_frame(value, array) if array.dtype.hasobject else array


def _numbers_of_frame(value: Any, array: Array) -> Array:
    """Return a pandas frame or series of numbers as such; else `array`, which NumPy made of it.

    NumPy gets objects from columns of different types, and from those that may have NA: they become
    NaN.
    """
    found = getattr(value, "dtypes", None)
    dtypes = [found] if hasattr(found, "kind") else list(found if np.iterable(found) else ())
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
    """A number is NaN or infinite, or too large for the dtype."""


def as_matrix(array: Array, name: str, dtype: DTypeLike, *, copy: bool = False) -> Floats:
    """Return an array of real numbers as finite, C-contiguous, aligned numbers of `dtype`.

    With `copy` in memory of their own: what is checked is what stays.
    """
    with np.errstate(over="ignore"):
        if copy:
            matrix = np.array(array, dtype, order="C")
        else:
            matrix = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    if not kernels.all_finite(unlocked(matrix)):
        refuse_not_finite(matrix, name, array)
    return matrix


def refuse_not_finite(
    matrix: Array, name: str, array: Array, first: int = 0, scaling: Scaling = (1.0, 0.0)
) -> NoReturn:
    """Raise the error about the first number in `matrix` that is not finite.

    It was made of `array`, from row `first` on, times the first number of `scaling` plus the
    second.
    """
    at = np.argwhere(~np.isfinite(matrix))[0]
    at[:1] += first
    place = f"{name}[{', '.join(map(str, at))}]"
    value = array[tuple(at)]
    if np.isfinite(value):
        scaled = "" if scaling == (1.0, 0.0) else " with scale {} and offset {}".format(*scaling)
        raise NotFiniteError(
            f"{place} is {value}, too large for {matrix.dtype}{scaled}: expected smaller numbers"
        )
    raise NotFiniteError(f"{place} is {value}, expected finite numbers")


def is_nothing(value: object) -> bool:
    """Return whether a repr may leave an argument out: None, 0 or False.

    An attribute of a subclass may be anything, also an array, which has no truth of its own.
    """
    return value is None or (isinstance(value, int | float | np.number) and value == 0)


def unlocked(array: Array) -> Array:
    """Return `array`, or another one on the same memory where it may not be written.

    Numba compiles every kernel again for read-only arguments. No kernel writes to its inputs, so
    they may pass as writeable (tests: inputs from memory that is mapped read-only). Nobody but a
    kernel is to see the result.
    """
    return array if array.flags.writeable else np.asarray(_Unlocked(array))


class _Unlocked:
    def __init__(self, array: Array) -> None:
        self.array = array  # kept alive as the base of the view
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
    wanted = "B" if n_features is None else f"B, {n_features}"
    if array.ndim != 2:
        hint = "; one sample is x.reshape(1, -1)" if array.ndim == 1 else ""
        columns = "I" if n_features is None else n_features
        raise ValueError(f"{name} has shape {array.shape}, expected (B, {columns}){hint}")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"{name} has shape {array.shape}, expected ({wanted})")
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
    """Return an array of numbers as int64 labels in [0, n_classes), in memory of their own.

    Kernels read and write where they point, so the copy is what is checked: another thread may
    write to the given array meanwhile, as may whoever shares its memory.
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
    """Return indices (n_rows,) of samples, each in [0, n_rows), as an int64 array of their own."""
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


def as_values(value: ArrayLike, name: str, n_rows: int, n_outputs: int, dtype: DTypeLike) -> Floats:
    """Return targets (B,) or (B, O) of numbers as a (B, O) array of finite `dtype` numbers."""
    array = as_array(value, name)
    if array.ndim == 1 and n_outputs == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n_rows, n_outputs):
        plain = f"({n_rows},) or " if n_outputs == 1 else ""
        raise ValueError(f"{name} has shape {array.shape}, expected {plain}({n_rows}, {n_outputs})")
    return as_matrix(array, name, dtype, copy=True)


def as_sample_weights(value: ArrayLike, n_rows: int, name: str = "sample_weight") -> Floats:
    """Return weights (B,) as float64 numbers of at least 0, not all of them 0."""
    array = as_array(value, name)
    if array.shape != (n_rows,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n_rows},)")
    weights = as_matrix(array, name, np.float64, copy=True)
    if (weights < 0).any():
        at = int((weights < 0).argmax())
        raise ValueError(f"{name}[{at}] is {weights[at]}, expected numbers of at least 0")
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.finfo(np.float64).tiny <= total < np.inf:
        raise ValueError(f"{name} sums to {total:.3g}, expected a sum that is finite and above 0")
    return weights


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


def check_arrays(
    arrays: Mapping[str, Array], expected: Mapping[str, tuple[Shape, DTypeLike]]
) -> None:
    """Check arrays of a file, {name: array}, against {name: (shape, dtype)}; all are finite."""
    for name in [*expected, *arrays]:
        if name not in arrays:
            raise ValueError(f"the array {name} is missing")
        if name not in expected:
            raise ValueError(f"the array {name:.80} belongs to no layer")
        shape, dtype = expected[name]
        check_tree(arrays[name], np.empty(0, dtype), name, shape)
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} has numbers that are not finite")
        if name.endswith("running_variance") and (arrays[name] < 0).any():
            raise ValueError(f"{name} has negative numbers")


def check_tree(tree: Any, form: Any, name: str, shape: Shape | None = None) -> None:
    """Check a tree of dicts, lists, arrays and numbers of a file against one of the same form.

    A list may stand for a tuple, and an int for a float; `any` stands for anything.
    """
    if form is any:
        return
    if isinstance(form, np.ndarray):
        shape = form.shape if shape is None else shape
        if not isinstance(tree, np.ndarray) or tree.shape != shape or tree.dtype != form.dtype:
            found = f"{tree!r:.80}"
            if isinstance(tree, np.ndarray):
                found = f"{tree.dtype} of shape {tree.shape}"
            raise ValueError(f"{name} is {found}, expected {form.dtype} of {shape}")
    elif isinstance(form, dict):
        if not isinstance(tree, dict) or tree.keys() != form.keys():
            raise ValueError(f"{name} is {tree!r:.80}, expected {', '.join(form)}")
        for key, value in form.items():
            check_tree(tree[key], value, f"{name}.{key}")
    elif isinstance(form, list | tuple):
        if not isinstance(tree, list | tuple) or len(tree) != len(form):
            raise ValueError(f"{name} is {tree!r:.80}, expected a list of {len(form)}")
        for i, (child, value) in enumerate(zip(tree, form, strict=True)):
            check_tree(child, value, f"{name}[{i}]")
    else:
        kinds = (int, float) if type(form) is float else type(form)
        if not isinstance(tree, kinds) or isinstance(tree, bool) is not isinstance(form, bool):
            raise ValueError(f"{name} is {tree!r:.80}, expected a {type(form).__name__}")


def check_finite(tree: Any, name: str) -> None:
    """Raise ValueError where an array in a tree of lists has a number that is not finite."""
    if isinstance(tree, np.ndarray):
        if not np.isfinite(tree).all():
            raise ValueError(f"{name} has numbers that are not finite")
    else:
        for i, each in enumerate(tree):
            check_finite(each, f"{name}[{i}]")
