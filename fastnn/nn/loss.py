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
from ..kernels.catalogue import MASKED, Operation
from ..settings import Guarded, Setting
from ..types import Array, Floats, Integers, MaybeNone, Shape, Task
from ..validation import (
    as_flag,
    as_number,
    as_rows,
    as_sample_weights,
    as_values,
    is_nothing,
    unlocked,
)
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
        sample_weight = self._counted(y_pred, y_true, sample_weight)
        if sample_weight is None:
            return np.mean(losses)
        return np.average(losses, weights=as_sample_weights(sample_weight, len(losses)))

    def _counted(
        self, y_pred: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None
    ) -> ArrayLike | None:
        """Return the weights of samples for the mean: 0 where no target is known."""
        return sample_weight

    @property
    def masks_targets(self) -> bool:
        """Whether targets that are NaN are left out."""
        # A class of a user's own need not call the constructor, and old pickles have no attribute.
        return vars(self).get("mask_nan", False) is True

    @property
    def kernel_code(self) -> int:
        """The code that kernels take: `kind`, and MASKED where targets may be NaN."""
        return self.kind + MASKED if self.masks_targets else self.kind

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
            if name not in _UNSHOWN or value != _UNSHOWN[name]
        )
        return f"{type(self).__name__}({arguments})"


# Values that a repr leaves out.
_UNSHOWN = {"mask_nan": False, "pos_weight": 1.0}
# Attributes that a pass sets.
_RESULTS = ("dinputs", "output", "activation", "loss")


class OutputLoss(Loss):
    """A loss that is the mean over the O outputs of a sample; targets are (B,) or (B, O).

    Parameters
    ----------
    mask_nan : bool
        Whether targets may be NaN, which leaves them out. See :class:`MeanSquaredError`.
    """

    # Targets are checked by it, so it cannot change later.
    mask_nan = Setting(as_flag, lasts=True)

    def __init__(self, mask_nan: bool = False) -> None:
        self.mask_nan = mask_nan

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
        kernels.loss_forward(losses, y_pred, targets, self.kernel_code, self.number)
        return losses

    def _counted(
        self, y_pred: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None
    ) -> ArrayLike | None:
        if self.masks_targets:
            _, targets = self._check(y_pred, "y_pred", y_true)
            return _known_weights(targets, sample_weight)
        return sample_weight

    def backward(
        self, dvalues: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Floats:
        """Return the gradient (B, O) of the mean loss at the predictions `dvalues` (B, O)."""
        y_pred, targets = self._check(dvalues, "dvalues", y_true)
        dinputs = np.empty_like(y_pred)
        kernels.loss_backward(dinputs, y_pred, targets, self.kernel_code, self.number)
        if self.masks_targets:
            sample_weight = _known_weights(targets, sample_weight)
        self.dinputs = self._weighted(dinputs, sample_weight)
        return dinputs

    def measure(self, outputs: Floats, targets: Array, weights: Floats) -> tuple[Floats, Floats]:
        """Return losses (B,) and the gradient of their weighted mean, without checks."""
        check_shape(targets, outputs.shape)
        targets = targets.astype(outputs.dtype, copy=False)
        if is_own(self, "forward", "backward"):
            return self.measure_by(self, outputs, targets, weights)
        losses, gradient = np.empty(len(outputs)), np.empty_like(outputs)
        kernels.loss_forward(losses, outputs, targets, self.kernel_code, self.number)
        kernels.loss_backward(gradient, outputs, targets, self.kernel_code, self.number)
        return losses, weigh(gradient, weights)

    def hits(self, outputs: Floats, targets: Array, labels: Integers) -> Array:
        """Return the fraction of right answers of each sample, (B,)."""
        right: Array = np.asarray((outputs > self.threshold) == (targets > 0.5))
        if self.masks_targets:
            known = ~np.isnan(targets)
            part: Array = (right & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            return part
        mean: Array = right.mean(axis=1)
        return mean

    def as_targets(
        self, value: ArrayLike, name: str, n_rows: int, n_outputs: int, dtype: DTypeLike
    ) -> Floats:
        """Return targets of a batch as (B, O) finite numbers, or NaN with `mask_nan`."""
        # A loss of your own has no such argument.
        can_mask = "mask_nan" in vars(self)
        hint = "; mask_nan=True of the loss leaves it out" if can_mask else ""
        return as_values(
            value, name, n_rows, n_outputs, dtype, nan_hint=hint, allow_nan=self.masks_targets
        )

    def _check(self, y_pred: ArrayLike, name: str, y_true: ArrayLike) -> tuple[Floats, Floats]:
        y_pred = as_rows(y_pred, name, allow_empty=False)
        targets = self.as_targets(y_true, "y_true", *y_pred.shape, y_pred.dtype)
        return unlocked(y_pred), unlocked(targets)


def known_rows(targets: Floats) -> Array:
    """Return for each sample whether a target is known, (B,)."""
    known: Array = ~np.asarray(np.isnan(targets).all(axis=1))
    return known


def _known_weights(targets: Floats, sample_weight: ArrayLike | None) -> ArrayLike | None:
    """Return the weights (B,) of samples: 0 where no target is known."""
    known = known_rows(targets)
    if known.all():
        return sample_weight
    return known.astype(np.float64) * (
        1.0 if sample_weight is None else as_sample_weights(sample_weight, len(known))
    )


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
