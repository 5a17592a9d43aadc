"""How good a network is on rows whose target is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .. import metrics
from ..types import Array, Floats, Integers, Precision

if TYPE_CHECKING:
    from ..model import Sequential
    from .targets import Target


class Assessment(NamedTuple):
    """How a model does on a part of the data."""

    scores: dict[str, float]
    """{"loss", "accuracy", "roc_auc", "log_loss"} of classes, {"r2", "rmse", "mae"} of numbers.

    The area under the ROC curve is NaN if all samples have the same class.
    """

    true: Array
    predicted: Array
    """Of all samples, or of some where there are many."""

    counts: Integers | None = None
    """The confusion matrix of all samples, where `true` has some; None: that of `true`."""


def assess(
    model: Sequential,
    target: Target,
    X: Floats,
    y: Array,
    threads: int | None = None,
    precision: Precision | None = None,
) -> Assessment:
    """Return the Assessment of a model on (N, I) samples.

    `y` (N,) are class numbers, or values in the units of the target.
    """
    if target.task == "classification":
        further = ["roc_auc", "log_loss"]
        scores = model.evaluate(X, y, metrics=further, threads=threads, precision=precision)
        return Assessment(scores, y, model.predict(X, threads=threads, precision=precision))
    predicted = model.predict(X, threads=threads, precision=precision)
    # In standardized units: squares of the target's own may overflow.
    scaled = target.standardize(y)
    scores = {
        "r2": metrics.r2(scaled, predicted),
        "rmse": target.scale * metrics.mean_squared_error(scaled, predicted) ** 0.5,
        "mae": target.scale * metrics.mean_absolute_error(scaled, predicted),
    }
    return Assessment(scores, y, target.decode(predicted))
