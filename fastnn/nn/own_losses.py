"""A loss of a user's own: an object with two methods, or a pair of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.catalogue import LOSS_OF
from ..types import Array, Floats
from .classes import loss_named
from .layer import Layer
from .loss import Loss, OutputLoss
from .losses import CategoricalCrossEntropy

_Function: TypeAlias = Callable[[Floats, Floats], ArrayLike]


class TwoMethods(Protocol):
    """An object that is a loss: it may return its gradient or keep it in `dinputs`."""

    def forward(self, y_pred: Any, y_true: Any, /) -> Any: ...
    def backward(self, y_pred: Any, y_true: Any, /) -> Any: ...


LossLike: TypeAlias = str | Loss | TwoMethods | tuple[_Function, _Function]
"""A loss of fastnn's or its name, or one of your own: two methods, or a pair of functions."""


class OwnLoss(OutputLoss):
    """The form in which a model keeps a loss of your own. Such a model trains layer by layer.

    Parameters
    ----------
    given : object or pair of callables
        With methods `forward(y_pred, y_true)`, which returns the losses (B,) of predictions and
        targets (B, O), and `backward(y_pred, y_true)`, which returns the gradient (B, O) of their
        mean, or keeps it in `dinputs`. Or these two functions.

    Attributes
    ----------
    given
    dinputs : ndarray of shape (B, O)
        From the last `backward`.

    Examples
    --------
    >>> def forward(y_pred, y_true):
    ...     return ((y_pred - y_true) ** 4).mean(axis=1)
    >>> def backward(y_pred, y_true):
    ...     return 4 * (y_pred - y_true) ** 3 / y_pred.size
    >>> model = fastnn.Sequential([fastnn.Dense(1, 1, rng=0)], loss=(forward, backward))
    >>> model.loss.forward([[1.0], [2.0]], [[0.0], [0.0]])
    array([ 1., 16.])
    """

    is_own = True

    def __init__(self, given: Any) -> None:
        self.given = given

    @property
    def name(self) -> str:
        """The name of the loss in messages."""
        loss = self.given
        return "the pair of functions" if isinstance(loss, tuple) else type(loss).__name__

    def forward(self, y_pred: ArrayLike, y_true: ArrayLike) -> Floats:
        """Return the losses (B,) of predictions (B, O)."""
        outputs, targets = self._check(y_pred, "y_pred", y_true)
        losses: Floats = np.asarray(self._passes.forward(outputs.copy(), targets.copy()))
        return losses

    def backward(
        self, dvalues: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Floats:
        """Return the gradient (B, O) of the mean loss at the predictions `dvalues` (B, O)."""
        outputs, targets = self._check(dvalues, "dvalues", y_true)
        _, gradient = self.measure(outputs, targets, np.ones(1))
        self.dinputs = self._weighted(gradient, sample_weight)
        return self.dinputs

    @property
    def _passes(self) -> Any:
        return _Pair(*self.given) if isinstance(self.given, tuple) else self.given

    def measure(self, outputs: Floats, targets: Array, weights: Floats) -> tuple[Floats, Floats]:
        """Return losses (B,) and the gradient of their weighted mean."""
        return self.measure_by(self._passes, outputs, targets, weights)

    def __repr__(self) -> str:
        return f"OwnLoss({self.given!r})"


class _Pair:
    """Two functions as the methods of an object."""

    def __init__(self, forward: Any, backward: Any) -> None:
        self.forward, self.backward = forward, backward


def _task_of(loss: Loss) -> str:
    row = LOSS_OF.get(loss.kind)  # none of an :class:`OwnLoss`
    return row.task if row else "numbers"


def as_loss(value: Any) -> Loss:
    """Return a loss that a network can be trained on."""
    if isinstance(value, str):
        return loss_named(value)
    if isinstance(value, Loss) and hasattr(value, "kind"):
        if value.task != _task_of(value):
            raise TypeError(
                f"loss is {value!r} with the task {value.task!r}, "
                "expected the task of the class that it is derived from"
            )
        return value
    if isinstance(value, tuple | list) and len(value) == 2 and all(map(callable, value)):
        return OwnLoss(tuple(value))
    passes = [getattr(value, name, None) for name in ("forward", "backward")]
    other = isinstance(value, type | Layer | CategoricalCrossEntropy)
    if other or not all(map(callable, passes)):
        raise TypeError(
            f"loss is {value!r}, expected a loss such as MeanSquaredError(), "
            "an object with forward and backward methods, or a pair of such functions"
        )
    return OwnLoss(value)
