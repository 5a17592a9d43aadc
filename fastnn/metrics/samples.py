"""Weights of samples, for all metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array, Floats
from ..validation import as_sample_weights


def as_weights(true: Array, predicted: Array, sample_weight: ArrayLike | None) -> Floats | None:
    """Return the weights (B,) of as many samples in both arrays, or None where all are 1."""
    if len(predicted) != len(true):
        raise ValueError(f"y_pred has {len(predicted)} samples, y_true {len(true)}: expected equal")
    return None if sample_weight is None else as_sample_weights(sample_weight, len(true))


def mean(values: Array, weights: Floats | None) -> float:
    """Return the weighted mean of the values (B,) of the samples."""
    return float(np.average(values, weights=weights))
