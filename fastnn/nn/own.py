"""Which methods of fastnn's classes a user's class overrides, and checks of their results."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..types import Array, Floats
from ..validation import as_array

_PACKAGE = __name__.partition(".")[0]


def overrides(value: Any, kind: Any, *methods: str) -> bool:
    """Return whether `value`, an instance of `kind`, overrides one of the `methods` of `kind`."""
    class_: Any = type(value)
    return _replaces(class_, kind, methods) or not vars(value).keys().isdisjoint(methods)


def is_own(value: Any, *methods: str) -> bool:
    """Return whether one of the `methods` of `value` is not from a class of fastnn."""
    class_: Any = type(value)
    return _replaces(class_, None, methods) or not vars(value).keys().isdisjoint(methods)


@functools.cache
def _replaces(class_: Any, kind: Any, methods: tuple[str, ...]) -> bool:
    if kind is None:  # the nearest class of this package
        mro = class_.__mro__
        own = (each for each in mro if each.__module__.partition(".")[0] in (_PACKAGE, "builtins"))
        kind = next(own)
    return any(getattr(class_, name, None) is not getattr(kind, name, None) for name in methods)


def measure_by_passes(
    loss: Any, outputs: Floats, targets: Array, weights: Floats, values: Floats
) -> tuple[Floats, Floats]:
    """Return the losses (B,) and the gradient (B, O) of their mean, from the methods of a loss.

    `forward(outputs, targets)` returns one number for each sample, or their mean if all samples
    have the same weight. `backward(values, targets)` returns the gradient of the mean, or keeps it
    in `dinputs`. `values` are the outputs, or probabilities formed from them.

    Raises
    ------
    TypeError, ValueError
        For results of another kind or shape.
    """
    n, uneven = len(outputs), bool((weights != 1).any())
    # Copies, as the methods may work in place.
    losses = as_array(loss.forward(outputs.copy(), targets.copy()), "what the loss's forward gave")
    if losses.shape == () and not uneven:
        losses = np.broadcast_to(losses, (n,))
    if losses.shape != (n,):
        why = " as the samples weigh differently" if losses.shape == () else ""
        raise ValueError(
            f"the loss's forward gave shape {losses.shape}, expected ({n},), "
            f"one number for each sample{why}"
        )
    output: Any = getattr(loss, "output", None)  # of a loss that forms probabilities
    fits = isinstance(output, np.ndarray) and output.shape == outputs.shape
    slopes: Any = loss.backward(output.copy() if fits else values.copy(), targets.copy())
    if slopes is None:
        slopes = getattr(loss, "dinputs", None)
    gradient = as_array(slopes, "what the loss's backward gave")
    if gradient.shape != outputs.shape:
        raise ValueError(
            f"the loss's backward gave shape {gradient.shape}, expected {outputs.shape}, "
            "as the outputs"
        )
    return np.array(losses, np.float64), np.array(gradient, outputs.dtype, order="C")
