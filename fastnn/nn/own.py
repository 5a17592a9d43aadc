"""What a user's own class replaces of fastnn's, and what its methods give, checked."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..types import Array, Floats
from ..validation import as_array

_PACKAGE = __name__.partition(".")[0]


def overrides(value: Any, kind: Any, *methods: str) -> bool:
    """Return whether `value`, a `kind`, has one of some methods from elsewhere."""
    class_: Any = type(value)
    return _replaces(class_, kind, methods) or not vars(value).keys().isdisjoint(methods)


def is_own(value: Any, *methods: str) -> bool:
    """Return whether one of some methods of `value` is a user's own, not of a class of fastnn's."""
    class_: Any = type(value)
    return _replaces(class_, None, methods) or not vars(value).keys().isdisjoint(methods)


@functools.cache
def _replaces(class_: Any, kind: Any, methods: tuple[str, ...]) -> bool:
    if kind is None:  # the nearest class of this package
        mro = class_.__mro__
        here = (each for each in mro if each.__module__.partition(".")[0] in (_PACKAGE, "builtins"))
        kind = next(here)
    return any(getattr(class_, name, None) is not getattr(kind, name, None) for name in methods)


def measure_by_passes(
    loss: Any, outputs: Floats, targets: Array, weights: Floats, values: Floats
) -> tuple[Floats, Floats]:
    """Return the losses (B,) and the gradient (B, O) of their weighted mean by a loss's methods.

    `forward(outputs, targets)` gives one number for each sample, or their mean where all samples
    weigh the same. `backward(values, targets)` gives the gradient of the mean, or keeps it in
    `dinputs`; `values` are the outputs, or what became of them.

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
