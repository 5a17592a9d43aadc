"""Which values of a curve are better, for early stopping, checkpoints and schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

from ..metrics import Metric, higher_is_better

Mode: TypeAlias = Literal["auto", "min", "max"]
"""Whether lower or higher values of a curve are better; "auto" decides by the name of the curve."""


def as_mode(value: Mode, name: str) -> Mode:
    """Return `value`, one of "auto", "min" and "max"."""
    if value not in ("auto", "min", "max"):
        raise ValueError(f'{name} is {value!r}, expected "auto", "min" or "max"')
    return value


def as_curve(value: str, name: str) -> str:
    """Return `value`, the name of a curve."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected the name of a curve")
    return value


def sign_of(monitor: str, mode: Mode, names: Iterable[str], metrics: Iterable[Metric] = ()) -> int:
    """Return 1 where lower values of the curve `monitor` are better, else -1.

    Parameters
    ----------
    monitor : str
    mode : {"auto", "min", "max"}
    names : iterable of str
        The names of all curves.
    metrics : iterable of Metric
        The metrics of the run, which may say whether higher is better.

    Raises
    ------
    ValueError
        If there is no such curve, or "auto" cannot decide which values are better.
    """
    names = list(names)
    if monitor not in names:
        raise ValueError(f"monitor is {monitor!r}, expected one of {', '.join(names)}")
    high = higher_is_better(monitor, metrics) if mode == "auto" else mode == "max"
    if high is None:
        raise ValueError(f'mode is "auto", expected "min" or "max" for the curve {monitor!r}')
    return -1 if high else 1


def cost_of(value: float, sign: int) -> float:
    """Return a number that is lower for better values; a value that is not finite is the worst."""
    return sign * value if math.isfinite(value) else math.inf
