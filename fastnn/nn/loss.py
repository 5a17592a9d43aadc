"""The base classes of losses.

The loss of a batch is the mean over its samples. With weights it is the weighted mean: the sum of
weight * loss divided by the sum of the weights. Gradients are those of this mean.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import kernels
from ..kernels.catalogue import Operation
from ..settings import Guarded
from ..types import Array, Floats, Integers, MaybeNone, Shape, Task
from ..validation import as_number, as_rows, as_sample_weights, as_values, is_nothing, unlocked
from .layer import Layer
from .own import is_own, measure_by_passes


class Loss(Guarded):
    """Base class of losses. `forward(y_pred, y_true)` of a subclass returns a value per sample.

    Attributes
    ----------
    dinputs : ndarray of shape (B, O), or None
        From the last `backward`.

    Examples
    --------
    >>> class SquaredLength(fastnn.Loss):
    ...     def forward(self, y_pred, y_true):
    ...         return np.square(np.subtract(y_pred, y_true)).sum(axis=1)
    >>> float(SquaredLength().calculate([[1.0, 2.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]))
    3.0
    """

    _fixed = "kind", "task", "finish", "probability_layer", "threshold"

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "number":  # the kernels rely on it
            value = as_number(value, "number", 0)
        super().__setattr__(name, value)

    dinputs: Floats | MaybeNone = None

    # Attributes and methods of losses that a network can be trained on.
    kind: int
    number: float  # the parameter of the loss, such as Huber's delta, or 0
    task: Task
    finish: int  # the operation that turns outputs into probabilities
    probability_layer: type[Layer] | None = None  # the layer that does the same as `finish`
    threshold: float
    forward: Callable[..., Any]
    backward: Callable[..., Floats]
    decide: Callable[[Floats], Array]
    measure: Callable[[Floats, Array, Floats], tuple[Floats, Floats]]
    hits: Callable[[Floats, Array, Integers], Array]
    as_targets: Callable[[ArrayLike, str, int, int, DTypeLike], Floats]

    def calculate(
        self, y_pred: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> np.floating[Any]:
        """Return the mean of the losses of the samples, weighted by `sample_weight` (B,)."""
        losses: Floats = self.forward(y_pred, y_true)
        if sample_weight is None:
            return np.mean(losses)
        return np.average(losses, weights=as_sample_weights(sample_weight, len(losses)))

    @property
    def is_own(self) -> bool:
        """Whether a user's class overrides a method that the compiled program replaces."""
        return is_own(self, "forward", "backward", "measure", "hits", "smoothed")

    def measure_by(
        self, passes: Any, outputs: Floats, targets: Array, weights: Floats
    ) -> tuple[Floats, Floats]:
        losses, gradient = measure_by_passes(passes, outputs, targets, weights, outputs)
        return losses, weigh(gradient, weights)

    def without_results(self) -> Self:
        """Return the loss, or a copy of it without the arrays of its last passes."""
        arrays = [k for k in ("dinputs", "output") if k in vars(self) and hasattr(type(self), k)]
        if not arrays:
            return self
        twin = copy.copy(self)
        for name in arrays:
            delattr(twin, name)
        return twin

    def _weighted(self, gradient: Floats, sample_weight: ArrayLike | None) -> Floats:
        if sample_weight is None:
            return gradient
        return weigh(gradient, as_sample_weights(sample_weight, len(gradient)))

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if name not in _RESULTS and (isinstance(value, bool) or not is_nothing(value))
        )
        return f"{type(self).__name__}({arguments})"


# Attributes that a pass sets.
_RESULTS = ("dinputs", "output", "activation", "loss")


class OutputLoss(Loss):
    """A loss that is the mean over the O outputs of a sample; targets are (B,) or (B, O)."""

    kind: Any = None
    number = 0.0
    task: Task = "numbers"
    finish, threshold = Operation.IDENTITY, 0.0

    def decide(self, outputs: Floats) -> Array:
        """Return the predictions of outputs (..., O): (...) where O is 1."""
        return outputs[..., 0] if outputs.shape[-1] == 1 else outputs

    def forward(self, y_pred: ArrayLike, y_true: ArrayLike) -> Floats:
        """Return the losses (B,) of predictions (B, O)."""
        y_pred, targets = self._check(y_pred, "y_pred", y_true)
        losses = np.empty(len(y_pred), y_pred.dtype)
        kernels.loss_forward(losses, y_pred, targets, self.kind, self.number)
        return losses

    def backward(
        self, dvalues: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Floats:
        """Return the gradient (B, O) of the mean loss at the predictions `dvalues` (B, O)."""
        y_pred, targets = self._check(dvalues, "dvalues", y_true)
        dinputs = np.empty_like(y_pred)
        kernels.loss_backward(dinputs, y_pred, targets, self.kind, self.number)
        self.dinputs = self._weighted(dinputs, sample_weight)
        return dinputs

    def measure(self, outputs: Floats, targets: Array, weights: Floats) -> tuple[Floats, Floats]:
        """Return losses (B,) and the gradient of their weighted mean, without checks."""
        check_shape(targets, outputs.shape)
        targets = targets.astype(outputs.dtype, copy=False)
        if is_own(self, "forward", "backward"):
            return self.measure_by(self, outputs, targets, weights)
        losses, gradient = np.empty(len(outputs)), np.empty_like(outputs)
        kernels.loss_forward(losses, outputs, targets, self.kind, self.number)
        kernels.loss_backward(gradient, outputs, targets, self.kind, self.number)
        return losses, weigh(gradient, weights)

    def hits(self, outputs: Floats, targets: Array, labels: Integers) -> Array:
        """Return the fraction of right answers of each sample, (B,)."""
        right: Array = ((outputs > self.threshold) == (targets > 0.5)).mean(axis=1)
        return right

    def as_targets(
        self, value: ArrayLike, name: str, n_rows: int, n_outputs: int, dtype: DTypeLike
    ) -> Floats:
        """Return targets of a batch as (B, O) finite numbers."""
        return as_values(value, name, n_rows, n_outputs, dtype)

    def _check(self, y_pred: ArrayLike, name: str, y_true: ArrayLike) -> tuple[Floats, Floats]:
        y_pred = as_rows(y_pred, name, allow_empty=False)
        targets = self.as_targets(y_true, "y_true", *y_pred.shape, y_pred.dtype)
        return unlocked(y_pred), unlocked(targets)


def check_shape(targets: Array, shape: Shape) -> None:
    """Raise ValueError for targets of another shape."""
    if targets.shape != shape:
        raise ValueError(f"the targets have shape {targets.shape}, expected {shape}, as the loss")


def weigh(gradient: Floats, weights: Floats) -> Floats:
    """Turn the gradient of the mean into that of the weighted mean, in place."""
    if (weights != 1).any():
        scale = len(weights) / weights.sum() if weights.any() else 0.0
        gradient *= (weights * scale).astype(gradient.dtype)[:, np.newaxis]
    return gradient
