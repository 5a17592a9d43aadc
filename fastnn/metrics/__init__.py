"""Metrics: how good predictions are, by functions of (y_true, y_pred).

Labels are of any kind, (B,), or rows (B, C) (one-hot, probabilities, logits) whose largest entry,
the first of equals, is the class. Numbers are (B,) or (B, O). Each function takes weights of the
samples, `sample_weight` (B,), and raises ValueError for empty input, another number of dimensions,
or two different numbers of samples.
"""

from .classification import Average as Average
from .classification import accuracy, balanced_accuracy, f1, precision, recall, top_k_accuracy
from .metric import Metric
from .names import MetricLike as MetricLike
from .names import as_metrics as as_metrics
from .names import higher_is_better as higher_is_better
from .probabilities import log_loss, roc_auc
from .regression import (
    mean_absolute_error,
    mean_squared_error,
    poisson_deviance,
    r2,
    root_mean_squared_error,
)

__all__ = [
    "Metric",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "poisson_deviance",
    "precision",
    "r2",
    "recall",
    "roc_auc",
    "root_mean_squared_error",
    "top_k_accuracy",
]
