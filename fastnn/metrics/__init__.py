"""Metrics: how good predictions are, by functions of (y_true, y_pred).

Labels are of any kind, (B,), or rows (B, C) (one-hot, probabilities, logits) whose largest entry,
the first of equals, is the class. Numbers are (B,) or (B, O). Each function takes weights of the
samples, `sample_weight` (B,), and raises ValueError for empty input, another number of dimensions,
or two different numbers of samples.
"""

from .classification import Average as Average
from .classification import accuracy, f1, precision, recall, top_k_accuracy
from .metric import Metric
from .metric import MetricLike as MetricLike
from .metric import as_metrics as as_metrics
from .metric import higher_is_better as higher_is_better
from .regression import mean_absolute_error, mean_squared_error, poisson_deviance, r2

__all__ = [
    "Metric",
    "accuracy",
    "f1",
    "mean_absolute_error",
    "mean_squared_error",
    "poisson_deviance",
    "precision",
    "r2",
    "recall",
    "top_k_accuracy",
]
