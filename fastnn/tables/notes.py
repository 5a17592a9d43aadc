"""Checks of the JSON in which a model file describes columns and the target.

The file may come from anywhere, so every value is checked. All errors are ValueError.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any


def check_kind(value: Any, kind: Any, what: str) -> Any:
    """Return `value` if it is a `kind`, a type or a union; a bool is no number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"expected {what}, found {value!r:.80}")
    return value


def check_scale(values: Any) -> None:
    """Check the attributes `shift` and `scale`: finite numbers, the scale above 0."""
    check_finite(values.shift)
    if not check_finite(values.scale) > 0:
        raise ValueError(f"expected a scale above 0, found {values.scale}")


def check_finite(value: Any) -> float:
    """Return `value` if it is a finite number."""
    with contextlib.suppress(OverflowError):  # a whole number may be too large for a float
        number: float = check_kind(value, int | float, "a number")
        if math.isfinite(number):
            return number
    raise ValueError(f"expected a finite number, found {value!r:.80}")
