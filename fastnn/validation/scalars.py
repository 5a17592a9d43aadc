"""Checks of single values: numbers, words, paths, dtypes and seeds."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import os
from collections.abc import Iterable
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike

from ..types import DType, PathLike, Scaling, Seed

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
    known: DType = dtype
    return known


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
        return 1.0, 0.0  # at once: the checks below take as long as a prediction of one row
    floats: list[float] = []
    for value, name in ((scale, "scale"), (offset, "offset")):
        expected = f"expected a finite number of {np.dtype(dtype)}"
        expected += " other than 0" if name == "scale" else ""
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}, {expected}")
        try:
            floats.append(float(value))
        except OverflowError:
            floats.append(math.inf)
        with np.errstate(over="ignore", under="ignore"):
            number = np.float64(floats[-1]).astype(dtype)
        if not np.isfinite(number) or (name == "scale" and number == 0):
            raise ValueError(f"{name} is {value}, {expected}")
    return floats[0], floats[1]


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
    path: object
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


def is_nothing(value: object) -> bool:
    """Return whether a repr may leave an argument out: None, 0 or False.

    An attribute of a subclass may be anything, also an array, which has no truth of its own.
    """
    return value is None or (isinstance(value, int | float | np.number) and value == 0)
