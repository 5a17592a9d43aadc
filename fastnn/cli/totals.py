"""The scores of a model on samples that come in parts: sums that parts add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .. import metrics
from ..types import Array, Floats, Integers

if TYPE_CHECKING:
    from ..tables.targets import Quantity


class Hits:
    """The losses, the confusion matrix and the area under the ROC curve of classes."""

    def __init__(self, n_classes: int, n_samples: int) -> None:
        self.counts: Integers = np.full((n_classes, n_classes), 0, np.int64)
        self._areas = _Areas(n_classes, n_samples)
        self._losses: list[tuple[float, float]] = []
        self._sizes: list[int] = []

    def add(
        self, true: Array, predicted: Array, probabilities: Floats, scores: Mapping[str, float]
    ) -> None:
        """Add a part, whose `scores` have the loss and the log loss."""
        self.counts += count_pairs(true, predicted, len(self.counts))
        self._areas.add(true, probabilities)
        self._losses.append((scores["loss"], scores["log_loss"]))
        self._sizes.append(len(true))

    def scores(self) -> dict[str, float]:
        """Return the scores of all parts, as `assessment.assess` does."""
        loss, log_loss = np.average(self._losses, axis=0, weights=self._sizes).tolist()
        return {
            "loss": loss,
            "accuracy": float(np.trace(self.counts) / self.counts.sum()),
            "roc_auc": self._areas.mean(),
            "log_loss": log_loss,
        }


class Spaced:
    """Samples at equal distances, at most `most` of `n_samples` that come in parts."""

    def __init__(self, n_samples: int, most: int) -> None:
        n_chosen = min(n_samples, most)
        self._rows = np.arange(n_chosen) * n_samples // n_chosen
        self._at = 0

    def next(self, n_samples: int) -> Integers:
        """Return which of the `n_samples` of the next part are among them."""
        begin, self._at = self._at, self._at + n_samples
        first, last = np.searchsorted(self._rows, [begin, self._at])
        return self._rows[first:last] - begin


_MOST_BYTES = 2**28


class _Areas:
    """The areas under ROC curves: of all samples whose probabilities take 256 MiB, or as many."""

    def __init__(self, n_classes: int, n_samples: int) -> None:
        self.columns = [1] if n_classes == 2 else [*range(n_classes)]
        self._spaced = Spaced(n_samples, _MOST_BYTES // (4 * len(self.columns)))
        self._true: list[Array] = []
        self._probabilities: list[Floats] = []

    def add(self, true: Array, probabilities: Floats) -> None:
        """Add the samples of a part, labels (N,) and probabilities (N, C)."""
        rows = self._spaced.next(len(true))
        self._true.append(true[rows].astype(np.min_scalar_type(self.columns[-1])))
        self._probabilities.append(probabilities[rows][:, self.columns])

    def mean(self) -> float:
        """Return what `metrics.roc_auc` does; one class at a time, as that takes less memory."""
        true = np.concatenate(self._true)
        areas = [
            metrics.roc_auc(true == k, np.concatenate([each[:, i] for each in self._probabilities]))
            for i, k in enumerate(self.columns)
        ]
        known = [area for area in areas if not np.isnan(area)]
        return float(np.mean(known)) if known else float("nan")


class Errors:
    """The sums that the scores of numbers need, over parts of the samples."""

    def __init__(self, target: Quantity) -> None:
        self.scale = target.scale
        self.count, self.mean, self.spread = 0, 0.0, 0.0
        self.squares, self.absolutes = 0.0, 0.0

    def add(self, true: Array, predicted: Array) -> None:
        """Add a part, whose numbers are standardized."""
        errors = predicted.astype(np.float64) - true
        self.squares += float(np.square(errors).sum())
        self.absolutes += float(np.abs(errors).sum())
        # Chan, Golub, LeVeque, "Algorithms for computing the sample variance" (1983): sums of
        # squares alone would cancel where the numbers are far from 0.
        count, mean = len(true), float(true.mean())
        apart, n = mean - self.mean, self.count + count
        self.spread += float(np.square(true - mean).sum()) + apart**2 * self.count * count / n
        self.mean += apart * count / n
        self.count = n

    def scores(self) -> dict[str, float]:
        """Return the scores of all parts, as `assessment.assess` does."""
        r2 = float(self.squares == 0)  # as that of `metrics.r2` for constant targets
        if self.squares and self.spread:
            r2 = (self.spread - self.squares) / self.spread
        return {
            "r2": r2,
            "rmse": self.scale * (self.squares / self.count) ** 0.5,
            "mae": self.scale * self.absolutes / self.count,
        }


def count_pairs(true: Array, predicted: Array, n_classes: int) -> Integers:
    """Return the confusion matrix (C, C) of classes (N,)."""
    pairs = true * n_classes + predicted
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
